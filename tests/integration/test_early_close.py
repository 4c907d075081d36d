"""A stream that the host closes before its handler has begun still has its end, and nothing else."""

from __future__ import annotations

import pytest
from conftest import BuildPlugin, StartHost, until
from nrhost import Status

SOURCE = """
import threading
from nylon_ring_py import Plugin

plugin = Plugin("early", workers=1)
stands, go_on = threading.Semaphore(0), threading.Event()
begun = []

@plugin.handle("worker_stands")
def worker_stands(req):
    stands.release()
    go_on.wait()

@plugin.handle("loop_stands")
async def loop_stands(req):
    stands.release()
    go_on.wait()

@plugin.handle_sync("wait")
def wait(req): stands.acquire()

@plugin.handle_sync("go")
def go(req): go_on.set()

@plugin.handle_sync("begun")
def show_begun(req): return str(len(begun))

@plugin.handle("plain", max_pending=1)
def plain(req):
    begun.append(req.sid)
    yield b"frame"

@plugin.handle("async", max_pending=1)
async def asynchronous(req):
    begun.append(req.sid)
    yield b"frame"
"""


@pytest.mark.parametrize(("stands", "entry"), [("worker_stands", "plain"), ("loop_stands", "async")])
def test_closed_before_it_begins(stands: str, entry: str, build_once: BuildPlugin, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(build_once(SOURCE, "early")) == Status.OK
    standing = host.submit(stands).sid
    host.call("wait")
    sid = host.submit(entry, kind="stream").sid
    assert host.stream_close(sid) == Status.OK
    assert host.stream_close(sid) == Status.INVALID
    host.call("go")
    assert host.wait(standing).reply.status == Status.OK
    assert [(frame.status, frame.data) for frame in host.wait(sid).frames] == [(Status.STREAM_END, b"")]
    assert host.call("begun").reply.data == b"0"
    until(lambda: host.stream(entry).data == [b"frame", b""])  # max_pending=1: once the first call is over here too
