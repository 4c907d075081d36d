"""Shutdown: every accepted call gets its terminal reply, the author's hooks run, then the host hears nothing more."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from conftest import CORE_THREADS, BuildPlugin, StartHost, until
from nrhost import NrHost, Status

SOURCE = """
    import atexit
    import sys
    import threading
    from nylon_ring_py import Callback, Plugin, Status

    plugin = Plugin("ending", version="1", shutdown_timeout_s={timeout_s}, workers={workers})
    kept = []

    @plugin.handle("wait")
    def wait(req):
        with open(req.path) as fifo:
            print("handler: in")
            return fifo.read()

    @plugin.handle_sync("wait_sync")
    def wait_sync(req):
        with open(req.path) as fifo:
            print("handler: in")
            return fifo.read()

    @plugin.handle("for_ever")
    def for_ever(req):
        print("handler: in")
        threading.Event().wait()

    @plugin.handle_sync("for_ever_sync")
    def for_ever_sync(req):
        print("handler: in")
        threading.Event().wait()

    @plugin.handle("echo")
    def echo(req):
        return req.body

    @plugin.handle_sync("ping")
    def ping(req):
        return b"pong"

    @plugin.handle("open", stream=True)
    def open_stream(req):
        return None

    @plugin.handle("keep")
    def keep(req, callback: Callback):
        kept.append(callback)

    @plugin.handle("endless")
    def endless(req):
        number = 0
        try:
            while True:
                yield str(number)
                number += 1
        finally:
            print("generator: finally")

    @plugin.on_init
    def start():
        print("on_init")

    @plugin.on_shutdown
    def first():
        for callback in kept:
            callback(b"late")
        print("on_shutdown: registered first")

    @plugin.on_shutdown
    def second():
        sys.stdout.write("on_shutdown: registered second\\n")

    @atexit.register
    def leave():
        sys.stdout.write("atexit: no newline")
"""


@pytest.fixture(scope="module")
def ending(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE.format(timeout_s=10, workers=4), "ending")


@pytest.fixture(scope="module")
def hasty(build_once: BuildPlugin) -> Path:
    """The same with a shutdown_timeout_s that runs out."""
    return build_once(SOURCE.format(timeout_s=0.2, workers=4), "hasty")


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@contextmanager
def writer(host: NrHost, fifo: Path, readers: int) -> Iterator[int]:
    """Opens the writing end, and waits until so many handlers are reading. Leaving it lets them go."""
    end = os.open(fifo, os.O_WRONLY)
    try:
        wait_until_said(host, "handler: in", readers)
        yield end
    finally:
        os.close(end)


def wait_until_said(host: NrHost, words: str, times: int = 1) -> None:
    until(lambda: host.stderr().count(words.encode()) >= times)


def wait_until_closing(host: NrHost) -> None:
    until(lambda: host.call("ping").handle != Status.OK)
    assert host.call("ping").handle == Status.ERR


# ---- what was accepted is answered ----


def test_a_thousand_calls_queued_and_running(start_host: StartHost, ending: Path, fifo: Path) -> None:
    """The queued ones are refused at once, the running ones finish their work."""
    host = start_host()
    assert host.load(ending) == Status.OK
    running = [host.submit("wait", path=str(fifo)).sid for _ in range(4)]
    with writer(host, fifo, 4):
        queued = [host.submit("echo", body=b"x").sid for _ in range(1000)]
        job = host.start_shutdown()
        wait_until_closing(host)
    host.join(job)
    answers = [host.wait(sid).reply for sid in running]
    assert [reply.status for reply in answers] == [Status.OK] * 4
    statuses = [host.wait(sid).reply.status for sid in queued]
    assert set(statuses) <= {Status.ERR, Status.OK}
    ledger = host.unload()
    assert ledger is not None
    assert ledger.accepted == ledger.terminals >= 1004


def test_queued_calls_are_told_why(start_host: StartHost, hasty: Path) -> None:
    host = start_host(resident_threads=CORE_THREADS + 4)
    assert host.load(hasty) == Status.OK
    sids = [host.submit("for_ever").sid for _ in range(40)]
    wait_until_said(host, "handler: in", 4)
    host.shutdown()
    replies = [host.wait(sid).reply for sid in sids]
    assert {(reply.status, reply.text) for reply in replies} == {(Status.ERR, "the plugin is shutting down")}


def test_a_handler_that_never_ends(start_host: StartHost, hasty: Path, ending: Path) -> None:
    """It is answered Err when shutdown_timeout_s is over, and the dlclose is harmless."""
    host = start_host(resident_threads=CORE_THREADS + 1)
    assert host.load(hasty) == Status.OK
    sid = host.submit("for_ever").sid
    wait_until_said(host, "handler: in")
    host.shutdown()
    assert host.wait(sid).reply.status == Status.ERR
    assert "did not end within shutdown_timeout_s=0.2" in host.stderr_tail()
    host.unload()
    assert host.load(ending) == Status.OK
    assert host.call("echo", body=b"next").reply.data == b"next"


def test_a_worker_whose_handler_ends_after_the_unload(start_host: StartHost, hasty: Path, fifo: Path) -> None:
    host = start_host()
    assert host.load(hasty) == Status.OK
    sid = host.submit("wait", path=str(fifo)).sid
    with writer(host, fifo, 1):
        host.shutdown()
        assert host.wait(sid).reply.status == Status.ERR
        host.unload()
    assert host.load(hasty) == Status.OK
    assert host.call("echo", body=b"next").reply.data == b"next"


def test_a_small_stack_s_handler_that_never_ends(start_host: StartHost, hasty: Path) -> None:
    """A worker runs the handler for a thread with little stack, and that thread sends: Err, before shutdown returns."""
    host = start_host(resident_threads=CORE_THREADS + 1)
    assert host.load(hasty) == Status.OK
    call = host.start_call("for_ever_sync", on="thread", stack=65536)
    wait_until_said(host, "handler: in")
    host.shutdown()
    assert host.join_call(call).reply.text == "the plugin is shutting down"


def test_a_host_thread_in_a_handler_that_ends_after_the_unload(start_host: StartHost, hasty: Path, fifo: Path) -> None:
    """Its way back leads through the plugin's file, which therefore stays mapped."""
    host = start_host()
    assert host.load(hasty) == Status.OK
    job = host.start_call("wait_sync", path=str(fifo), sid=99)
    with writer(host, fifo, 1):
        host.shutdown()
        assert b"the plugin's file stays mapped for it" in host.stderr()
    assert host.join_call(job).reply.status == Status.ERR
    host.unload()
    assert str(hasty) in Path(f"/proc/{host.pid}/maps").read_text()
    assert host.load(hasty) == Status.OK
    assert host.call("echo", body=b"next").reply.data == b"next"


def test_an_answer_on_the_host_s_thread_during_shutdown(start_host: StartHost, ending: Path, fifo: Path) -> None:
    host = start_host()
    assert host.load(ending) == Status.OK
    job = host.start_call("wait_sync", path=str(fifo))
    with writer(host, fifo, 1) as end:
        closing = host.start_shutdown()
        wait_until_closing(host)
        os.write(end, b"in time")
    assert host.join_call(job).reply.data == b"in time"
    host.join(closing)


def test_open_streams_get_err(start_host: StartHost, ending: Path) -> None:
    host = start_host()
    assert host.load(ending) == Status.OK
    sids = [host.submit("open", kind="stream").sid for _ in range(10)]
    host.shutdown()
    for sid in sids:
        frames = host.wait(sid).frames
        assert [frame.status for frame in frames] == [Status.ERR]


def test_a_generator_is_closed(start_host: StartHost, ending: Path) -> None:
    """Between two frames, with its finally; the stream ends with Err."""
    host = start_host()
    assert host.load(ending) == Status.OK
    sids = [host.submit("endless", kind="stream").sid for _ in range(3)]
    for sid in sids:
        host.wait(sid, frames=2)
    host.shutdown()
    for sid in sids:
        assert host.wait(sid).frames[-1].status == Status.ERR
    assert host.stderr().count(b"generator: finally") == 3


def test_a_kept_callback_is_answered_err(start_host: StartHost, hasty: Path) -> None:
    """on_shutdown runs when all is answered: what it sends is too late, and goes nowhere."""
    host = start_host()
    assert host.load(hasty) == Status.OK
    sids = [host.submit("keep").sid for _ in range(5)]
    host.shutdown()
    for sid in sids:
        reply = host.wait(sid).reply
        assert (reply.status, reply.text) == (Status.ERR, "the plugin is shutting down")
    assert b"on_shutdown: registered first" in host.stderr()


# ---- the author's hooks ----


def test_hooks_and_exit_callbacks_run_in_order(start_host: StartHost, ending: Path) -> None:
    host = start_host()
    assert host.load(ending) == Status.OK
    host.shutdown()
    assert host.stderr().decode().splitlines()[-4:] == [
        "on_init",
        "on_shutdown: registered second",
        "on_shutdown: registered first",
        "atexit: no newline",
    ]


def test_hooks_that_fail_stop_nobody(start_host: StartHost, build: BuildPlugin) -> None:
    source = """
        import atexit
        import sys
        from nylon_ring_py import Plugin

        plugin = Plugin("failing")

        @plugin.on_shutdown
        def last():
            print("the last hook")

        @plugin.on_shutdown
        def leave():
            sys.exit(9)

        @plugin.on_shutdown
        def fail():
            raise ValueError("no way out")

        atexit.register(print, "the exit callback")
    """
    host = start_host()
    assert host.load(build(source)) == Status.OK
    host.unload()
    text = host.stderr_tail()
    assert "ValueError: no way out" in text
    assert "the last hook" in text
    assert "the exit callback" in text
    assert host.load(build(source, "again")) == Status.OK


def test_a_hook_that_never_ends(start_host: StartHost, build: BuildPlugin, ending: Path) -> None:
    """Shutdown returns all the same; what stays behind is named."""
    source = """
        import threading
        from nylon_ring_py import Plugin

        plugin = Plugin("stuck", shutdown_timeout_s=0.1)

        @plugin.on_shutdown
        def wait():
            threading.Event().wait()
    """
    host = start_host(leaks=False)
    assert host.load(build(source)) == Status.OK
    host.unload()
    assert "on_shutdown did not end within shutdown_timeout_s=0.1" in host.stderr_tail()
    assert host.load(ending) == Status.OK
    assert host.call("echo", body=b"next").reply.data == b"next"


# ---- from inside the host's code ----


def wait_until_shut_down(host: NrHost) -> None:
    """The reply is seen before the host's callback for it begins."""
    until(lambda: host.callback_report()["shutdowns"] >= 1)


@pytest.mark.parametrize("place", ["main", "thread"])
@pytest.mark.parametrize("entry", ["echo", "ping", "endless", "keep"])
def test_shutdown_from_inside_send_result(start_host: StartHost, hasty: Path, entry: str, place: str) -> None:
    """On a worker's stack, on the host's own below a synchronous call, inside a stream's frame."""
    host = start_host()
    assert host.load(hasty) == Status.OK
    held = [host.submit("open", kind="stream").sid for _ in range(3)]
    host.callback("shutdown", budget=1)
    if entry == "endless":
        sid = host.submit(entry, kind="stream", on=place).sid
        assert [frame.status for frame in host.wait(sid).frames] == [Status.OK, Status.ERR]
    elif entry == "keep":
        sid = host.submit(entry, on=place).sid
        host.shutdown()
        assert host.wait(sid).reply.status == Status.ERR
    else:
        assert host.call(entry, on=place).reply.status == Status.OK
    wait_until_shut_down(host)
    for sid in held:
        assert host.wait(sid).frames[-1].status == Status.ERR
    assert host.call("ping").handle == Status.INVALID


def test_shutdown_from_inside_send_result_with_calls_queued(start_host: StartHost, ending: Path, fifo: Path) -> None:
    host = start_host()
    assert host.load(ending) == Status.OK
    blocked = [host.submit("wait", path=str(fifo)).sid for _ in range(4)]
    with writer(host, fifo, 4):
        queued = [host.submit("echo").sid for _ in range(100)]
        host.callback("shutdown", budget=1)
    sids = blocked + queued
    statuses = [host.wait(sid).reply.status for sid in sids]
    assert set(statuses) <= {Status.OK, Status.ERR}
    wait_until_shut_down(host)


def test_shutdown_waits_for_a_thread_inside_send_result(start_host: StartHost, hasty: Path) -> None:
    """Without a deadline: the host frees its context when shutdown returns."""
    host = start_host()
    assert host.load(hasty) == Status.OK
    host.callback("block", budget=1)
    sid = host.submit("echo", body=b"x").sid
    host.parked()
    job = host.start_shutdown()
    wait_until_closing(host)
    # Longer than shutdown_timeout_s and what is granted on_shutdown: it is still closing, not closed.
    over = time.monotonic() + 1.5
    while time.monotonic() < over:
        assert host.call("ping").handle == Status.ERR
        time.sleep(0.05)
    host.release()
    host.join(job)
    assert host.call("ping").handle == Status.INVALID
    assert host.wait(sid).reply.data == b"x"


@pytest.mark.parametrize("entry", ["endless", "echo"])
def test_a_stream_whose_frame_the_host_sits_on(start_host: StartHost, hasty: Path, entry: str) -> None:
    """Its terminal reply follows when the host comes back, however late, and before shutdown returns."""
    host = start_host()
    assert host.load(hasty) == Status.OK
    host.callback("block", budget=3)
    kind: Literal["unary", "stream"] = "stream" if entry == "endless" else "unary"
    sids = [host.submit(entry, kind=kind).sid for _ in range(3)]
    host.parked(3)
    job = host.start_shutdown()
    wait_until_said(host, "on_shutdown: registered first")
    host.release()
    host.join(job)
    for sid in sids:
        statuses = [frame.status for frame in host.wait(sid).frames]
        assert statuses == ([Status.OK, Status.ERR] if entry == "endless" else [Status.OK])


def test_shutdown_waits_for_a_synchronous_send(start_host: StartHost, hasty: Path) -> None:
    host = start_host()
    assert host.load(hasty) == Status.OK
    host.callback("block", budget=1)
    call = host.start_call("ping")
    host.parked()
    job = host.start_shutdown()
    until(lambda: host.call("echo").handle != Status.OK)
    over = time.monotonic() + 1.5
    while time.monotonic() < over:
        assert host.call("echo").handle == Status.ERR
        time.sleep(0.05)
    host.release()
    host.join(job)
    assert host.join_call(call).reply.data == b"pong"


# ---- out of turn ----


def test_everything_after_shutdown_is_invalid(start_host: StartHost, ending: Path) -> None:
    host = start_host()
    assert host.load(ending) == Status.OK
    sid = host.submit("open", kind="stream").sid
    host.shutdown()
    for entry in ("echo", "ping", "endless", "no such entry"):
        assert host.call(entry).handle == Status.INVALID
    assert host.stream_data(sid, b"x") == Status.INVALID
    assert host.stream_close(sid) == Status.INVALID
    host.shutdown()
    assert host.call("echo").handle == Status.INVALID
    assert host.wait(sid).frames[-1].status == Status.ERR


def test_shutdown_by_several_threads_at_once(start_host: StartHost, ending: Path) -> None:
    for _ in range(10):
        host = start_host()
        assert host.load(ending) == Status.OK
        sids = [host.submit("echo", body=b"x").sid for _ in range(50)]
        jobs = [host.start_shutdown() for _ in range(4)]
        for job in jobs:
            host.join(job)
        for sid in sids:
            assert host.wait(sid).reply.status in (Status.OK, Status.ERR)
        host.unload()


def test_shutdown_of_an_instance_that_never_started(start_host: StartHost, ending: Path) -> None:
    host = start_host()
    host.load(ending, get_only=True)
    host.shutdown()
    assert host.init() == Status.INVALID


# ---- under load ----


def test_a_storm_meets_shutdown(start_host: StartHost, ending: Path) -> None:
    host = start_host()
    for _ in range(8):
        assert host.load(ending) == Status.OK
        storm = host.start_storm(until="refused", threads=4, waves=2, unary="echo", fast="ping", window=32)
        until(lambda: host.ledger().terminals >= 500)
        host.shutdown()
        counts = host.join(storm)
        assert counts["accepted"] == counts["terminals"]
        assert counts["refused"] == 8  # one of each thread, in both waves
        assert counts["timeouts"] == counts["wrong"] == 0
        host.unload()


def test_a_storm_meets_reloads(start_host: StartHost, ending: Path) -> None:
    """The new instance starts while the old one is stormed; then the old one ends under its storm."""
    host = start_host()
    assert host.load(ending, plugin="p0") == Status.OK
    for i in range(8):
        old, new = f"p{i}", f"p{i + 1}"
        storm = host.start_storm(until="refused", threads=3, unary="echo", raw="ping", window=16, plugin=old)
        until(lambda plugin=old: host.ledger(plugin=plugin).terminals >= 200)  # type: ignore[misc]  # mypy knows no default of a lambda
        assert host.load(ending, plugin=new) == Status.OK
        host.shutdown(plugin=old)
        counts = host.join(storm)
        assert counts["accepted"] == counts["terminals"]
        host.unload(plugin=old)
        assert host.call("echo", body=b"%d" % i, plugin=new).reply.data == b"%d" % i
    host.unload(plugin="p8")
