"""Host threads that come and go: their Python state stays theirs, ends with them, and each call starts afresh."""

from __future__ import annotations

import re
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import BuildPlugin, StartHost, fewer, until
from nrhost import NrHost, Status

SOURCE = '''
import contextvars, ctypes, threading
from nylon_ring_py import Plugin, Response, Status

plugin = Plugin("threaded", workers=1)
local = threading.local()
var = contextvars.ContextVar("var", default="unset")
log = []

plugin.handle("echo")(lambda req: req.body)
plugin.handle_sync("echo_sync")(lambda req: req.body)
plugin.handle_raw("echo_raw", sync=True)(lambda payload: payload)
plugin.handle_raw("echo_raw_pooled")(lambda payload: payload)

@plugin.handle("feed")
def feed(req): yield req.body

def count(req):
    local.calls = getattr(local, "calls", 0) + 1
    return str(local.calls)

plugin.handle("count")(count)
plugin.handle_sync("count_sync")(count)

class Ends:
    def __del__(self):
        log.append(threading.get_ident() != main and var.get())

main = threading.get_ident()

@plugin.handle_sync("leave")
def leave(req):
    """What the thread's local data holds must be freed when the thread ends, by code that runs as usual."""
    local.ends = Ends()

@plugin.handle("log")
def show_log(req): return repr(log)

# ---- contexts ----

opened = threading.Event()
plugin.handle("hold")(lambda req: opened.wait() and b"held")
plugin.handle_sync("open")(lambda req: opened.set())

def note(name):
    before = var.get()
    var.set(name)
    return f"{before} {var.get()}"

plugin.handle("ctx")(lambda req: note("pooled"))
plugin.handle_sync("ctx_sync")(lambda req: note("sync"))
plugin.handle_raw("ctx_raw", sync=True)(lambda payload: note("raw"))

@plugin.handle("ctx_callback")
def ctx_callback(req, callback): callback(note("callback"))

@plugin.handle_sync("ctx_callback_sync")
def ctx_callback_sync(req, callback): callback(note("callback_sync"))

@plugin.handle("ctx_feed")
def ctx_feed(req):
    try:
        yield note("frames")
        yield var.get()
        yield note("more")
        yield var.get()
    finally:
        log.append(var.get())

@plugin.handle("ctx_open", stream=True)
def ctx_open(req): return note("opened")

@plugin.stream_data
def data(sid, data): return note("data")

@plugin.stream_close
def close(sid): return note("close")

# ---- answers from Python threads ----

@plugin.handle("later")
def later(req, callback):
    threading.Thread(target=lambda: callback(req.body)).start()

@plugin.handle_sync("later_sync")
def later_sync(req, callback):
    threading.Thread(target=lambda: callback(req.body)).start()

@plugin.handle("later_stream", stream=True)
def later_stream(req):
    def send():
        for n in range(10):
            plugin.send_result(req.sid, Status.OK, str(n))
        plugin.send_result(req.sid, Status.STREAM_END)
    threading.Thread(target=send).start()

# ---- thread states ----

api = ctypes.pythonapi
api.PyInterpreterState_Main.restype = ctypes.c_void_p
for function in (api.PyInterpreterState_ThreadHead, api.PyThreadState_Next):
    function.restype = ctypes.c_void_p
    function.argtypes = [ctypes.c_void_p]

@plugin.handle("states")
def states(req):
    number, state = 0, api.PyInterpreterState_ThreadHead(api.PyInterpreterState_Main())
    while state:
        number, state = number + 1, api.PyThreadState_Next(state)
    return str(number)
'''


@pytest.fixture(scope="module")
def threaded(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "threaded")


@pytest.fixture
def host(threaded: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(threaded) == Status.OK
    return host


def states(host: NrHost) -> int:
    return int(host.call("states").reply.text)


@pytest.mark.long
def test_a_million_calls_from_threads_that_come_and_go(host: NrHost) -> None:
    calls = fewer(1_000_000)
    before = states(host)
    storm = host.storm(
        calls=calls, threads=64, waves=4, body_size=16, check_echo=True, unary="echo_sync", raw="echo_raw",
        fast="echo_sync", stream="feed", limit=140,
    )  # fmt: skip
    assert (storm.accepted, storm.terminals, storm.refused) == (calls, calls, 0)
    assert (storm.wrong, storm.timeouts, storm.no_reply) == (0, 0, 0)
    until(lambda: states(host) == before)


def test_pooled_calls_of_64_threads(host: NrHost) -> None:
    before = states(host)
    storm = host.storm(
        calls=60_000, threads=64, waves=3, check_echo=True, unary="echo", raw="echo_raw_pooled", stream="feed"
    )
    assert (storm.terminals, storm.wrong, storm.timeouts) == (60_000, 0, 0)
    until(lambda: states(host) == before)


def switches(pid: int) -> int:
    """How often the threads of a process have gone to sleep."""
    counts = re.compile(r"^voluntary_ctxt_switches:\s*(\d+)", re.MULTILINE)
    return sum(int(counts.findall(file.read_text())[0]) for file in Path(f"/proc/{pid}/task").glob("*/status"))


@pytest.mark.parametrize("entry", ["echo", "echo_raw_pooled"])
def test_a_call_wakes_a_process_that_sleeps(host: NrHost, entry: str) -> None:
    """Not a thread is left that looks now and then: who is not woken sleeps for ever."""
    for _ in range(3):
        assert host.call(entry, body=b"x").reply.data == b"x"
        seen = [-1]
        while switches(host.pid) != seen[-1]:
            seen.append(switches(host.pid))
            time.sleep(0.05)


def test_threads_with_little_stack(host: NrHost) -> None:
    before = states(host)
    storm = host.storm(
        calls=20_000, threads=64, waves=2, stack=64 << 10, window=4, check_echo=True, unary="echo_sync",
        raw="echo_raw", fast="echo_raw", stream="feed",
    )  # fmt: skip
    assert (storm.terminals, storm.wrong, storm.timeouts, storm.no_reply) == (20_000, 0, 0, 0)
    for entry in ("echo", "echo_sync", "echo_raw", "ctx_callback", "ctx_callback_sync", "later_sync"):
        assert host.call(entry, on="thread", stack=64 << 10).reply.status == Status.OK
    until(lambda: states(host) == before)  # a thread of Python's that has answered still has its end before it


def test_a_plugin_loaded_and_left_by_a_thread_with_little_stack(threaded: Path, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(threaded, on="thread", stack=64 << 10) == Status.OK
    assert host.call("echo_sync", body=b"x").reply.data == b"x"
    host.shutdown(on="thread", stack=64 << 10)


def test_a_host_thread_keeps_its_local_data(host: NrHost) -> None:
    before = states(host)
    for n in range(1, 6):
        for pool in ("pool:1", "pool:2"):
            assert host.call("count_sync", on=pool).reply.data == b"%d" % n
    for _ in range(3):
        assert host.call("count_sync", on="thread").reply.data == b"1"
    assert states(host) == before + 2
    for n in range(1, 4):  # the one worker has its own
        assert host.call("count").reply.data == b"%d" % n


def has_freed(host: NrHost, times: int) -> bool:
    return host.call("log").reply.text == repr(["unset"] * times)


def test_local_data_is_freed_when_the_host_thread_ends(host: NrHost) -> None:
    for n in range(5):
        assert host.call("leave", on="thread").reply.status == Status.OK
        # The driver joins that thread before it answers, or soon after.
        until(partial(has_freed, host, n + 1))


CONTEXTS: list[tuple[str, str, list[bytes]]] = [
    ("ctx", "pooled", [b"unset pooled"]),
    ("ctx_sync", "sync", [b"unset sync"]),
    ("ctx_raw", "raw", [b"unset raw"]),
    ("ctx_callback", "callback", [b"unset callback"]),
    ("ctx_callback_sync", "callback_sync", [b"unset callback_sync"]),
    ("ctx_feed", "frames", [b"unset frames", b"frames", b"frames more", b"more", b""]),
]


@pytest.mark.parametrize("place", ["pool:1", "thread"])
def test_a_fresh_context_per_call(host: NrHost, place: str) -> None:
    for _ in range(3):
        for entry, _, expected in CONTEXTS:
            more: dict[str, Any] = {"kind": "stream"} if entry == "ctx_feed" else {}
            assert host.call(entry, on=place, **more).data == expected
    assert host.call("log").reply.text == repr(["more"] * 3)


def test_a_fresh_context_for_each_of_what_a_worker_finds_waiting(host: NrHost) -> None:
    sids = [host.submit(entry).sid for entry in ("hold", "ctx", "ctx", "ctx")]
    host.call("open")
    assert [host.wait(sid).reply.data for sid in sids] == [b"held"] + [b"unset pooled"] * 3


def test_a_fresh_context_per_frame_of_input(host: NrHost) -> None:
    sid = host.submit("ctx_open", kind="stream").sid
    for _ in range(200):
        assert host.stream_data(sid) == Status.OK
    assert host.stream_close(sid) == Status.OK
    assert host.wait(sid).data == [b"unset opened", *[b"unset data"] * 200, b"unset close", b""]


@pytest.mark.parametrize("mode", ["reenter", "join"])
@pytest.mark.parametrize("inner", ["ctx_raw", "ctx_callback_sync"])
def test_a_context_is_back_after_a_call_inside_send_result(host: NrHost, mode: Any, inner: str) -> None:
    host.callback(mode, entry=inner, depth=2)
    for entry, _, expected in CONTEXTS:
        more: dict[str, Any] = {"kind": "stream"} if entry == "ctx_feed" else {}
        assert host.call(entry, on="pool:1", **more).data == expected
    report = host.callback_report()
    assert report["inner_replies"] == report["inner_calls"] > 0


def test_python_threads_answer_later(host: NrHost) -> None:
    before = states(host)
    storm = host.storm(calls=2000, threads=16, check_echo=True, unary="later", raw="later_sync", stream="later_stream")
    assert (storm.terminals, storm.wrong, storm.timeouts) == (2000, 0, 0)
    assert host.stream("later_stream").data == [*(b"%d" % n for n in range(10)), b""]
    until(lambda: states(host) == before)  # the last thread is past its answer, but maybe not past its end
