"""Callbacks: an answer that comes later, from anywhere, once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost, until
from nrhost import NrHost, Status

SOURCE = '''
import gc, threading
from nylon_ring_py import Callback, Plugin, Request, Response, Status

plugin = Plugin("later", workers=2, shutdown_timeout_s=0.1)
held = {}

def hold(req, callback):
    held[req.sid] = callback

plugin.handle("hold")(hold)
plugin.handle_sync("hold_sync")(hold)

@plugin.handle("typed")
def typed(req: Request, answer: Callback):
    answer(f"{answer.sid}")

@plugin.handle("first")
def first(callback, req): callback(req.body)

@plugin.handle_raw("keyword")
def keyword(payload, *, callback): callback(payload)

@plugin.handle("drop")
def drop(req, callback): pass

@plugin.handle_sync("drop_sync")
def drop_sync(req, callback): return None

@plugin.handle("cycle")
def cycle(req, callback):
    loop = [callback]
    loop.append(loop)

@plugin.handle_sync("collect")
def collect(req):
    gc.collect()

@plugin.handle_sync("forget")
def forget(req):
    del held[int(req.body)]

@plugin.handle_sync("answer")
def answer(req):
    """Inside a synchronous call: the answer is another sid's."""
    return str(held[int(req.body)](b"held"))

@plugin.handle("answer_pooled")
def answer_pooled(req):
    return str(held[int(req.body)](b"held"))

@plugin.handle("returned")
def returned(req, callback): return b"returned"

@plugin.handle("both")
def both(req, callback):
    said = [callback(b"one"), callback(b"two"), plugin.send_result(req.sid, Status.OK, b"three")]
    held["said"] = said
    return b"four"

@plugin.handle_sync("both_sync")
def both_sync(req, callback):
    return both(req, callback)

@plugin.handle("raises_after")
def raises_after(req, callback):
    callback(b"one")
    raise ValueError("logged")

@plugin.handle_sync("said")
def said(req): return repr((held.get("said"), plugin._instance.late_replies))

def from_thread(req, callback):
    def later(n):
        if callback(str(n)):
            won.append(n)
    for thread in [threading.Thread(target=later, args=(n,)) for n in range(8)]:
        thread.start()

won = []
plugin.handle("thread")(from_thread)
plugin.handle_sync("thread_sync")(from_thread)

@plugin.handle("bad")
def bad(req, callback):
    errors = []
    for data in (7, object(), [b"x"], Response(7), "\\ud800"):
        try:
            callback(data)
        except (TypeError, UnicodeEncodeError) as error:
            errors.append(type(error).__name__)
    try:
        callback(b"", status="ok")
    except TypeError:
        errors.append("status")
    callback(",".join(errors))

@plugin.handle("open", stream=True)
def open_stream(req, callback):
    held[req.sid] = callback
    callback(b"one")
    callback(b"two", Status.OK)

@plugin.handle_sync("end")
def end(req):
    callback = held[int(req.body)]
    return repr([callback(b"three"), callback(Response(b"bye", Status.STREAM_END)), callback(b"never")])
'''

FAR = 1 << 40  # beyond the sids that the host gives out by itself
DROPPED = b"the handler dropped its callback without an answer"


@pytest.fixture(scope="module")
def later(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "later")


@pytest.fixture
def host(later: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(later) == Status.OK
    return host


def test_each_way_to_take_a_callback(host: NrHost) -> None:
    assert host.call("typed", sid=42).reply.data == b"42"
    assert host.call("first", body=b"x").reply.data == b"x"
    assert host.call("keyword", body=b"x", door="raw").reply.data == b"x"


@pytest.mark.parametrize("entry", ["hold", "hold_sync"])
@pytest.mark.parametrize("by", ["answer", "answer_pooled"])
def test_answered_from_another_call(host: NrHost, entry: str, by: str) -> None:
    sid = host.submit(entry, sid=FAR).sid
    if entry == "hold":
        host.call("typed")  # the first call has been handled, or its worker is at it
        until(lambda: host.call(by, body=b"%d" % FAR).reply.data == b"True")
    else:
        assert host.call(by, body=b"%d" % FAR).reply.data == b"True"
    assert host.wait(sid).reply.data == b"held"
    assert host.call(by, body=b"%d" % FAR).reply.data == b"False"
    assert host.call(by, body=b"%d" % FAR).reply.data == b"False"
    assert host.ledger().strangers == 0


@pytest.mark.parametrize("entry", ["drop", "drop_sync"])
def test_dropped(host: NrHost, entry: str) -> None:
    reply = host.call(entry).reply
    assert (reply.status, reply.data) == (Status.ERR, DROPPED)


def test_dropped_in_another_call(host: NrHost) -> None:
    sid = host.submit("hold_sync").sid
    assert host.call("forget", body=b"%d" % sid).reply.status == Status.OK
    assert host.wait(sid).reply.data == DROPPED


def test_dropped_by_the_collector(host: NrHost) -> None:
    """On a host's thread inside another call."""
    sid = host.submit("cycle").sid
    while (call := host.wait(sid, timeout=0.01)).timed_out:  # its handler may not have run yet
        host.call("collect")
    assert call.reply.data == DROPPED


def test_kept_for_ever_ends_with_the_plugin(host: NrHost) -> None:
    sid = host.submit("hold_sync").sid
    host.shutdown()
    assert host.wait(sid).reply.status == Status.ERR


CLOSING = """
import sys, threading
from nylon_ring_py import Plugin

plugin = Plugin("closing", workers=1, shutdown_timeout_s=60)

@plugin.handle("hold")
def hold(req, callback):
    kept = [callback]
    pipe = req.path

    def drop():
        with open(pipe) as told:
            told.read()
        kept.clear()

    threading.Thread(target=drop).start()

plugin.handle("pooled")(lambda req: b"pooled")
"""


def test_dropped_while_the_plugin_shuts_down(build_once: BuildPlugin, start_host: StartHost, tmp_path: Path) -> None:
    """Shutdown waits for the callback, and the worker that would send for it has nothing more to do with the queue."""
    host = start_host()
    assert host.load(build_once(CLOSING, "closing")) == Status.OK
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    sid = host.submit("hold", path=str(pipe)).sid
    assert host.call("pooled").reply.data == b"pooled"  # one worker: so the callback is held now
    down = host.start_shutdown()
    until(lambda: host.call("pooled").handle != Status.OK)
    pipe.write_text("drop")
    assert host.wait(sid).reply.data == DROPPED
    host.join(down)


def test_a_returned_value_is_an_answer(host: NrHost) -> None:
    assert host.call("returned").reply.data == b"returned"


@pytest.mark.parametrize("entry", ["both", "both_sync"])
def test_only_the_first_answer_counts(host: NrHost, entry: str) -> None:
    assert host.call(entry).reply.data == b"one"
    # What it returned comes last.
    until(lambda: host.call("said").reply.data == repr(([True, False, False], 3)).encode())


def test_an_exception_after_the_answer(host: NrHost) -> None:
    assert host.call("raises_after").reply.data == b"one"
    assert host.call("typed").reply.status == Status.OK
    until(lambda: b"ValueError: logged" in host.stderr())


@pytest.mark.parametrize("entry", ["thread", "thread_sync"])
def test_answered_by_threads_of_the_plugin(host: NrHost, entry: str) -> None:
    for _ in range(50):
        assert host.call(entry).reply.data in b"0 1 2 3 4 5 6 7".split()


def test_what_cannot_be_sent_leaves_the_call_open(host: NrHost) -> None:
    assert host.call("bad").reply.data == b"TypeError,TypeError,TypeError,TypeError,UnicodeEncodeError,status"


def test_the_callback_of_a_stream(host: NrHost) -> None:
    sid = host.submit("open", kind="stream").sid
    assert host.wait(sid, frames=2).data == [b"one", b"two"]
    assert host.call("end", body=b"%d" % sid).reply.data == b"[True, True, False]"
    call = host.wait(sid)
    assert call.data == [b"three", b"bye"]
    assert call.frames[-1].status == Status.STREAM_END
