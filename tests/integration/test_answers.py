"""Answers by sid and by status: what may be sent, when, and what becomes of the rest."""

from __future__ import annotations

import pytest
from conftest import BuildPlugin, StartHost, until
from nrhost import NrHost, Status

STATUSES = """
from nylon_ring_py import Plugin, Response, Status

plugin = Plugin("statuses")

def of(body):
    return Response(b"data", int(body))

plugin.handle("pooled")(lambda req: of(req.body))
plugin.handle_sync("sync")(lambda req: of(req.body))
plugin.handle_raw("raw")(of)
plugin.handle_raw("raw_sync", sync=True)(of)

@plugin.handle("callback")
def callback(req, callback):
    callback(b"data", status=int(req.body))

@plugin.handle("response")
def response(req, callback):
    callback(of(req.body))

@plugin.handle("over")
def over(req, callback):
    callback(Response(b"data", Status.OK), status=int(req.body))

@plugin.handle("by_sid")
def by_sid(req):
    plugin.send_result(req.sid, Status(int(req.body)), b"data")

@plugin.handle("response_by_sid")
def response_by_sid(req):
    plugin.send_result(req.sid, data=of(req.body))

@plugin.handle("over_by_sid")
def over_by_sid(req):
    plugin.send_result(req.sid, int(req.body), Response(b"data", Status.OK))

@plugin.handle("feed")
def feed(req):
    yield of(req.body)
    yield "more"

@plugin.handle("stream", stream=True)
def stream(req):
    return of(req.body)

@plugin.handle("refused")
def refused(req, callback):
    errors = []
    for status in (5, Status.BACKPRESSURE, 7, -1, 2**70, True, "1", 1.0):
        for send in (lambda: callback(b"", status=status), lambda: plugin.send_result(req.sid, status, b"")):
            try:
                send()
            except (ValueError, TypeError) as error:
                errors.append(f"{type(error).__name__}: {error}")
    callback("\\n".join(errors))

@plugin.handle_sync("made_up")
def made_up(req):
    number = int(req.body)
    class MadeUp(Response):
        status = property(lambda self: number, lambda self, given: None)
    return MadeUp(b"data")
"""


HANDLERS = ("pooled", "sync", "raw", "raw_sync")


def test_a_status_that_no_response_takes(build_once: BuildPlugin, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(build_once(STATUSES, "statuses")) == Status.OK
    for number in (-1, 5, 6, 7):
        reply = host.call("made_up", body=b"%d" % number).reply
        assert (reply.status, reply.text.partition(": ")[0]) == (Status.ERR, "ValueError")


def test_every_status_that_can_be_sent(build_once: BuildPlugin, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(build_once(STATUSES, "statuses")) == Status.OK
    for status in set(Status) - {Status.BACKPRESSURE}:  # that one is a host's to answer
        body = b"%d" % status
        for entry in (*HANDLERS, "callback", "response", "over", "by_sid", "response_by_sid", "over_by_sid"):
            reply = host.call(entry, body=body).reply
            assert (reply.status, reply.data) == (status, b"data"), entry
        call = host.stream("feed", body=body)
        more = [(Status.OK, b"more"), (Status.STREAM_END, b"")] if status == Status.OK else []
        assert [(frame.status, frame.data) for frame in call.frames] == [(status, b"data"), *more]
        if status != Status.OK:
            call = host.stream("stream", body=body)
            assert [(frame.status, frame.data) for frame in call.frames] == [(status, b"data")]
    refusals = host.call("refused").reply.text.splitlines()
    assert refusals[::2] == refusals[1::2]
    assert [refusal.partition(",")[0] for refusal in refusals[::2]] == [
        "ValueError: Status.PANIC cannot be sent: it reports a crash that only the host can have seen",
        "ValueError: Status.BACKPRESSURE cannot be sent: it is the answer of a full queue",
        "ValueError: there is no status 7: use a member of nylon_ring_py.Status",
        "ValueError: there is no status -1: use a member of nylon_ring_py.Status",
        f"ValueError: there is no status {2**70}: use a member of nylon_ring_py.Status",
        "TypeError: a status is a nylon_ring_py.Status or its number",
        "TypeError: a status is a nylon_ring_py.Status or its number",
        "TypeError: a status is a nylon_ring_py.Status or its number",
    ]


BY_SID = """
import threading
from nylon_ring_py import Plugin, Status

plugin = Plugin("by_sid", workers=2)
go = threading.Event()

@plugin.handle("twice")
def twice(req):
    first = plugin.send_result(req.sid, Status.OK, b"first")
    second = plugin.send_result(req.sid, Status.OK, b"second")
    assert (first, second) == (True, False)
    return b"third"

@plugin.handle_sync("sync_twice")
def sync_twice(req):
    assert plugin.send_result(req.sid, Status.OK, b"first")
    return "second"

@plugin.handle("wait")
def wait(req):
    go.wait()
    return b"too late"

@plugin.handle("go")
def let_go(req):
    go.set()

@plugin.handle_sync("answer")
def answer(req):
    sid = int(req.body)
    try:
        return str(plugin.send_result(sid, Status.INVALID, b"by sid"))
    except LookupError as error:
        return f"LookupError: {error}"

def threaded(req):
    thread = threading.Thread(target=lambda: plugin.send_result(req.sid, Status.OK, b"thread"))
    thread.start()
    thread.join()
    return b"handler"

plugin.handle("threaded")(threaded)
plugin.handle_sync("sync_threaded")(threaded)

@plugin.handle_sync("late")
def late(req):
    return str(plugin._instance.late_replies)
"""


FAR = 1 << 40  # beyond the sids that the host gives out by itself


def wait_for_late(host: NrHost, count: int) -> None:
    """Until so many replies came too late: a handler goes on after its first answer has left."""
    until(lambda: host.call("late").reply.data == b"%d" % count)


def test_answers_by_sid(build_once: BuildPlugin, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(build_once(BY_SID, "by_sid")) == Status.OK
    assert host.call("twice", sid=FAR).reply.data == b"first"
    wait_for_late(host, 2)
    assert host.call("sync_twice", sid=FAR + 1).reply.data == b"first"
    wait_for_late(host, 3)
    assert host.call("answer", body=b"%d" % FAR).reply.data == b"False"
    wait_for_late(host, 4)
    assert host.call("answer", body=b"%d" % (FAR + 2)).reply.text.startswith("LookupError: ")
    assert host.call("answer", body=b"-1").reply.status == Status.ERR
    wait_for_late(host, 4)


def test_a_running_call_is_answered_by_sid_from_a_synchronous_one(
    build_once: BuildPlugin, start_host: StartHost
) -> None:
    """The answer is for another sid than the one the host's thread waits for: it may not leave on that thread."""
    host = start_host()
    assert host.load(build_once(BY_SID, "by_sid")) == Status.OK
    sid = host.submit("wait", sid=FAR).sid
    until(lambda: host.call("answer", body=b"%d" % FAR).reply.data == b"True")  # until a worker has taken it
    reply = host.wait(sid).reply
    assert (reply.status, reply.data) == (Status.INVALID, b"by sid")
    host.call("go")
    assert host.ledger().strangers == 0


@pytest.mark.parametrize("entry", ["threaded", "sync_threaded"])
def test_a_thread_answers_before_its_handler_returns(
    build_once: BuildPlugin, start_host: StartHost, entry: str
) -> None:
    host = start_host()
    assert host.load(build_once(BY_SID, "by_sid")) == Status.OK
    for n in range(1, 51):
        assert host.call(entry).reply.data == b"thread"
        wait_for_late(host, n)  # what the handler returned


FULL = """
import threading
from nylon_ring_py import Plugin

plugin = Plugin("full", workers=1, max_pending=4)
go = threading.Event()

@plugin.handle("wait")
def wait(req):
    go.wait()
    return req.body

@plugin.handle("feed")
def feed(req):
    yield req.body

plugin.handle("callback")(lambda req, callback: callback(req.body))

@plugin.handle_sync("go")
def let_go(req): go.set()
"""


def test_a_full_queue_refuses_and_what_it_took_is_answered(build_once: BuildPlugin, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(build_once(FULL, "full")) == Status.OK
    taken = []
    refused = 0
    while refused < 12:
        for entry in ("wait", "feed", "callback"):
            call = host.submit(entry, body=b"x", kind="stream" if entry == "feed" else "unary")
            if call.handle == Status.OK:
                taken.append((entry, call.sid))
            else:
                assert call.handle == Status.ERR
                refused += 1
    assert 4 <= len(taken) <= 5 + 4  # the worker has taken one meanwhile, and a full look at the counts may lag
    assert host.call("go").reply.status == Status.OK
    for entry, sid in taken:
        assert host.wait(sid).data == ([b"x", b""] if entry == "feed" else [b"x"])
    ledger = host.ledger()
    assert (ledger.refused, ledger.after_refusal) == (refused, 0)
    assert host.call("wait", body=b"again").reply.data == b"again"


def test_another_plugin_cannot_take_responses_away(build_once: BuildPlugin, start_host: StartHost) -> None:
    """Not even by importing their module once more."""
    again = """
    import importlib
    import nylon_ring_py.response
    from nylon_ring_py import Plugin

    plugin = Plugin("again")

    @plugin.handle("again")
    def again(req):
        importlib.reload(nylon_ring_py.response)
    """
    host = start_host()
    assert host.load(build_once(STATUSES, "statuses")) == Status.OK
    assert host.load(build_once(again, "again"), plugin="other") == Status.OK
    assert host.call("again", plugin="other").reply.status == Status.OK
    reply = host.call("pooled", body=b"2").reply
    assert (reply.status, reply.data) == (Status.INVALID, b"data")


LEFT_BEHIND = """
import contextvars
from nylon_ring_py import Plugin

plugin = Plugin("left_behind", workers=1)
kept = []
variable = contextvars.ContextVar("variable")

class Answers:
    def __del__(self):
        kept.pop()(b"from a finalizer")

class Bytes(Answers, bytes):
    pass

class ByteArray(Answers, bytearray):
    pass

@plugin.handle("later")
def later(req, callback):
    kept.append(callback)

plugin.handle("kept")(lambda req: str(len(kept)))

@plugin.handle_sync("in_the_handler")
def in_the_handler(req):
    Answers()
    return b"own"

@plugin.handle_sync("in_its_context")
def in_its_context(req):
    variable.set(Answers())
    return b"own"

@plugin.handle_sync("callback_in_its_context")
def callback_in_its_context(req, callback):
    variable.set(Answers())
    callback(b"own")

plugin.handle_sync("its_bytes")(lambda req: Bytes(b"own"))
plugin.handle_sync("its_bytearray")(lambda req: ByteArray(b"own"))
"""


@pytest.mark.parametrize(
    "entry", ["in_the_handler", "in_its_context", "callback_in_its_context", "its_bytes", "its_bytearray"]
)
def test_what_a_call_leaves_behind_answers_another_one(
    build_once: BuildPlugin, start_host: StartHost, entry: str
) -> None:
    """Its finalizer runs on the host's thread, which still waits for the first: the other reply leaves elsewhere."""
    host = start_host()
    assert host.load(build_once(LEFT_BEHIND, "left_behind")) == Status.OK
    other = host.submit("later").sid
    until(lambda: host.call("kept").reply.data == b"1")
    assert host.call(entry).reply.data == b"own"
    assert host.wait(other).reply.data == b"from a finalizer"
    assert host.ledger().strangers == 0
