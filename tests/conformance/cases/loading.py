"""Loading, refusing, several plugins at once, and leaving nothing behind."""

from __future__ import annotations

from conformance.answers import OK, Failed, expect
from conformance.case import case
from conformance.cases.traffic import expect_flat
from conformance.pair import Pair, eventually

LOADS = 50


@case(load=False, files=("refuses",))
def init_refused(pair: Pair) -> None:
    """A plugin whose init fails is not loaded, its status is known, and the host and other plugins go on."""
    pair.load()
    for _ in range(3):
        answer = pair.refused("load", [("path", pair.files.refuses or ""), ("abi", pair.abi), ("plugin", "refuses")])
        if answer.get("init") in (None, OK):
            raise Failed(f"load of a plugin that refuses: {dict(answer)!r}, expected its init status")
        pair.call("echo", b"alive").expect_reply(OK, b"alive", "echo of the other plugin")


@case(entries=("prepared",))
def prepared(pair: Pair) -> None:
    """What init makes is there with the first call, after each load."""
    for _ in range(3):
        pair.call("prepared").expect_reply(OK, b"ready", "prepared")
        pair.unload()
        pair.load()


@case(load=False)
def no_such_file(pair: Pair) -> None:
    """A file that is not there is an error, and the host goes on."""
    missing = pair.files.main.with_name("no-such-plugin.so")
    pair.refused("load", [("path", missing), ("abi", pair.abi)])
    pair.load()
    pair.call("echo", b"alive").expect_reply(OK, b"alive", "echo afterwards")


@case()
def calls_after_unload(pair: Pair) -> None:
    """A host refuses calls of a plugin that it has unloaded."""
    pair.call("echo", b"x").expect_reply(OK, b"x", "echo")
    pair.unload()
    pair.refused("call", [("entry", "echo"), ("body", b"x")])
    pair.load()
    pair.call("echo", b"x").expect_reply(OK, b"x", "echo after another load")


@case(files=("plain",))
def two_plugins(pair: Pair) -> None:
    """Two plugins in one process answer for themselves, and one lives on without the other."""
    pair.load("plain", plugin="other")
    pair.call("echo_sync", b"to main").expect_reply(OK, b"to main", "main")
    pair.call("echo_sync", b"to other", plugin="other").expect_reply(OK, b"to other", "other")
    pair.call("echo", plugin="other").expect_refused(2, "echo of plain")
    pair.unload()
    pair.call("echo_sync", b"alone", plugin="other").expect_reply(OK, b"alone", "other alone")


@case()
def loaded_twice(pair: Pair) -> None:
    """One file loaded twice is two instances, each with its own calls, streams and counts."""
    pair.load(plugin="second")
    sid = pair.open("endless")
    pair.wait(sid, 1)
    expect(pair.stream_close(sid), OK, "stream_close")
    pair.wait(sid)
    eventually(lambda: pair.number("ended") == 1, "`ended` of the first is 1")
    expect(pair.number("ended", plugin="second"), 0, "`ended` of the second")
    held = pair.submit("held", b"held", plugin="second")
    expect(pair.number("let_go"), 0, "calls that the first lets go of")
    pair.unload()
    eventually(lambda: pair.number("let_go", plugin="second") == 1, "the second lets go of its call")
    pair.wait(held, plugin="second").expect_reply(OK, b"held", "the second's call")


@case(load=False)
def loaded_fifty_times(pair: Pair) -> None:
    """Load, call, unload, fifty times: no thread and no descriptor stays, and memory is flat."""
    rss_kib = []
    for _ in range(LOADS):
        pair.load()
        pair.call("echo", b"x").expect_reply(OK, b"x", "echo")
        pair.call("count", b"3", kind="stream")
        pair.unload()
        rss_kib.append(pair.process().rss_kib)
        if len(rss_kib) == 2:
            before = pair.process()
    # A plugin that leaves its modules behind keeps 100 KiB and more of each load, so more than this of 25.
    expect_flat(rss_kib, 2048, f"memory over {LOADS} loads")

    def is_as_before() -> bool:
        now = pair.process()
        return now.threads <= before.threads and now.fds <= before.fds

    # A joined thread stands in /proc a moment longer.
    eventually(is_as_before, f"threads and descriptors after {LOADS} loads are those after two, {before}")
