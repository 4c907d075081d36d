"""Stream objects: both directions of one stream in one function, on the event loop and on threads of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost, until
from nrhost import Abi, NrHost, Status

SOURCE = """
import asyncio
import threading
from nylon_ring_py import CallEndedError, HandlerError, Plugin, Response, Status, current_call

plugin = Plugin("objects", workers=2, max_sync_streams=8, shutdown_timeout_s=5)
log = []
events = {}
later = {}
streams = {}

def event(name):
    return events.setdefault(name, threading.Event())

async def reached(name):
    await asyncio.to_thread(event(name).wait)

@plugin.handle_sync("log")
def show_log(req): return ",".join(log)

@plugin.handle_sync("running")
def running(req): return str(plugin.stats().entries[req.path].running)

@plugin.handle_sync("go")
def go(req): event(req.body.decode()).set()

@plugin.handle_sync("send_result")
def send_result(req):
    return str(plugin.send_result(int(req.path), int(req.query), req.body))

plugin.handle("send_pooled")(send_result)

# ---- on the event loop ----

@plugin.stream("a_echo")
async def a_echo(stream):
    async for frame in stream:
        await stream.send(frame)

@plugin.stream("a_after")
async def a_after(stream):
    count = 0
    async for frame in stream:
        count += 1
    for n in range(3):
        await stream.send(f"{count} {n}")

@plugin.stream("a_facts")
async def a_facts(stream):
    request = stream.request
    stream.state.set("k", b"v")
    await stream.send(f"{stream.entry} {stream.sid == request.sid} {request.method} {request.path} {request.query}")
    await stream.send(request.body)
    await stream.send(request.state.get("k"))
    await stream.send(f"{stream.closed} {stream.cancelled} {current_call().sid == stream.sid}")
    await stream.send(repr(stream).replace(str(stream.sid), "N"))
    streams["facts"] = stream
    async for frame in stream: pass

@plugin.handle("after_facts")
async def after_facts(req):
    stream = streams.pop("facts")
    try:
        await stream.send(b"x")
    except CallEndedError as error:
        return f"{stream.closed} {stream.cancelled} {stream.close()} {[f async for f in stream]} {type(error).__name__}"

@plugin.stream("a_kept")
async def a_kept(stream):
    streams["kept"] = stream

@plugin.handle_sync("request_of_kept")
def request_of_kept(req):
    request = streams.pop("kept").request
    return f"{request.method} {request.path} {request.body.decode()} {request.entry} {request.sid}"

@plugin.stream("a_close")
async def a_close(stream):
    status, _, data = stream.request.body.decode().partition(" ")
    log.append(str(stream.close(Status[status], data)))
    log.append(str(stream.close(Status.ERR, "second")))
    log.append(str(stream.closed))

@plugin.stream("a_close_ok")
async def a_close_ok(stream):
    stream.close(Status.OK)

@plugin.stream("a_two_tasks")
async def a_two_tasks(stream):
    async def read():
        async for frame in stream:
            log.append(frame.decode())
        log.append("read all")
    async def write():
        for n in range(100):
            await stream.send(str(n))
            await asyncio.sleep(0)
    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        group.create_task(write())

@plugin.stream("a_closed_by_other")
async def a_closed_by_other(stream):
    async def read():
        async for frame in stream: pass
        log.append("read ended")
    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    stream.close(Status.STREAM_END, b"bye")
    await reading

@plugin.stream("a_two_readers")
async def a_two_readers(stream):
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    try:
        await anext(stream)
    except RuntimeError as error:
        log.append(str(error))
    await stream.send(await first)

@plugin.stream("a_writers")
async def a_writers(stream):
    async def write(n):
        for i in range(60):
            await stream.send(f"{n} {i}")
    await asyncio.gather(*[write(n) for n in range(5)])

@plugin.stream("a_room_meanwhile")
async def a_room_meanwhile(stream):
    sends = [stream.send(str(n)) for n in range(200)]
    event("room").wait()  # on the loop's thread: nobody has awaited them yet
    sends += [stream.send(str(n)) for n in range(200, 220)]
    await asyncio.gather(*sends)

@plugin.stream("a_never_awaited")
async def a_never_awaited(stream):
    sends = [stream.send(str(n)) for n in range(100)]
    event("room").wait()
    unsent = sends[99:]
    del sends
    await stream.send(b"last")

@plugin.stream("a_one_each")
async def a_one_each(stream):
    await asyncio.gather(*[stream.send(str(n)) for n in range(500)])

@plugin.stream("a_cancelled_writer")
async def a_cancelled_writer(stream):
    async def write(n):
        await stream.send(str(n))
    for n in range(200):
        task = asyncio.create_task(write(n))
        await asyncio.sleep(0)
        if n % 2 and not task.done():
            task.cancel()
            log.append(str(n))
    log.append("all")
    await stream.send(b"last")

@plugin.stream("a_wait_for")
async def a_wait_for(stream):
    for _ in range(3):
        try:
            await asyncio.wait_for(anext(stream), 0.01)
        except TimeoutError:
            await stream.send(b"nothing yet")
    async with asyncio.timeout(30):
        await stream.send(await anext(stream))
    await stream.send(await asyncio.wait_for(anext(stream), 30))

@plugin.stream("a_end_of_anext")
async def a_end_of_anext(stream):
    await stream.send(await anext(stream, b"default"))
    try:
        await anext(stream)
    except StopAsyncIteration:
        await stream.send(b"stop")

@plugin.stream("a_early")
async def a_early(stream):
    await stream.send(await anext(stream))

@plugin.stream("a_returns")
async def a_returns(stream):
    return b"value"

@plugin.stream("a_raises")
async def a_raises(stream):
    async for frame in stream:
        if frame == b"raise": raise KeyError("in handler")
        if frame == b"refuse": raise HandlerError(Status.INVALID, "not that")
        await stream.send(frame)

@plugin.stream("a_sends_wrong")
async def a_sends_wrong(stream):
    for wrong in (5, object()):
        try:
            await stream.send(wrong)
        except TypeError as error:
            log.append("TypeError")
    await stream.send(Response(b"end", Status.UNSUPPORTED))

@plugin.stream("a_sync_read")
async def a_sync_read(stream):
    for frame in stream: pass

@plugin.stream("a_late")
async def a_late(stream):
    await reached(stream.request.path)
    async for frame in stream:
        await stream.send(frame)

@plugin.stream("a_thread")
async def a_thread(stream):
    def work():
        for n in range(300):
            stream.send(str(n))
    await asyncio.to_thread(work)

@plugin.stream("a_idle")
async def a_idle(stream):
    await stream.send(b"open")
    async for frame in stream: pass

# ---- on threads ----

@plugin.stream("s_echo")
def s_echo(stream):
    for frame in stream:
        stream.send(frame)

@plugin.stream("s_after")
def s_after(stream):
    count = len(list(stream))
    for n in range(3):
        stream.send(f"{count} {n}")

@plugin.stream("s_early")
def s_early(stream):
    stream.send(next(stream))

@plugin.stream("s_returns")
def s_returns(stream):
    return b"value"

@plugin.stream("s_raises")
def s_raises(stream):
    for frame in stream:
        if frame == b"raise": raise KeyError("in handler")
        if frame == b"refuse": raise HandlerError(Status.INVALID, "not that")
        stream.send(frame)

@plugin.stream("s_closed_by_other")
def s_closed_by_other(stream):
    closer = threading.Timer(0.05, stream.close, (Status.STREAM_END, b"bye"))
    closer.start()
    for frame in stream: pass
    log.append("read ended")

@plugin.stream("s_async_read")
def s_async_read(stream):
    stream.__aiter__().__anext__()

@plugin.stream("s_late")
def s_late(stream):
    event(stream.request.path).wait()
    for frame in stream:
        stream.send(frame)

@plugin.stream("s_threads")
def s_threads(stream):
    def send(n):
        for i in range(200):
            stream.send(f"{n} {i}")
    senders = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for sender in senders: sender.start()
    for sender in senders: sender.join()
"""

KINDS = pytest.mark.parametrize("kind", ["a", "s"])


@pytest.fixture(scope="module")
def objects(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "objects")


@pytest.fixture
def host(objects: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(objects) == Status.OK
    return host


@pytest.fixture
def slow_host(objects: Path, start_host: StartHost) -> NrHost:
    """A v2 host whose streams hold four frames until they are read."""
    host = start_host()
    assert host.load(objects, abi="v2", stream_capacity=4) == Status.OK
    return host


def opened(host: NrHost, entry: str, body: bytes = b"", path: str = "") -> int:
    call = host.submit(entry, kind="stream", body=body, path=path)
    assert call.handle == Status.OK
    return call.sid


def text(host: NrHost) -> str:
    return host.call("log").reply.text


# ---- echo, half-close, end ----


@KINDS
def test_frames_come_back_in_order(host: NrHost, kind: str) -> None:
    sids = [opened(host, f"{kind}_echo") for _ in range(4)]
    for n in range(300):
        for sid in sids:
            assert host.stream_data(sid, b"%d" % n) == Status.OK
    for sid in sids:
        assert host.stream_close(sid) == Status.OK
        call = host.wait(sid)
        assert call.data == [b"%d" % n for n in range(300)] + [b""]
        assert call.frames[-1].status == Status.STREAM_END


@KINDS
def test_after_a_half_close_the_handler_still_sends(host: NrHost, kind: str) -> None:
    sid = opened(host, f"{kind}_after")
    for _ in range(10):
        host.stream_data(sid, b"x")
    assert host.stream_close(sid) == Status.OK
    assert host.stream_close(sid) == Status.INVALID
    assert host.stream_data(sid, b"x") == Status.INVALID
    assert host.wait(sid).data == [b"10 0", b"10 1", b"10 2", b""]


@KINDS
def test_frames_of_64_kib_both_ways(host: NrHost, kind: str) -> None:
    sid = opened(host, f"{kind}_echo")
    body = bytes(range(256)) * 256
    for _ in range(50):
        assert host.stream_data(sid, body) == Status.OK
    host.stream_close(sid)
    call = host.wait(sid, full=True)
    assert [frame.data for frame in call.frames] == [body] * 50 + [b""]


@KINDS
def test_a_handler_that_returns_early(host: NrHost, kind: str) -> None:
    sid = opened(host, f"{kind}_early")
    host.stream_data(sid, b"one")
    assert host.wait(sid).data == [b"one", b""]
    assert host.stream_data(sid, b"two") == Status.INVALID
    assert host.stream_close(sid) == Status.INVALID


@KINDS
def test_a_handler_returns_nothing_else(host: NrHost, kind: str) -> None:
    last = host.stream(f"{kind}_returns").reply
    assert (last.status, last.text) == (
        Status.ERR,
        "TypeError: a handler of a stream returned bytes: send what the host is to have, and return None",
    )


@KINDS
@pytest.mark.parametrize(
    ("frame", "status", "reply"),
    [(b"raise", Status.ERR, b"KeyError: 'in handler'"), (b"refuse", Status.INVALID, b"not that")],
)
def test_a_handler_that_raises(host: NrHost, kind: str, frame: bytes, status: Status, reply: bytes) -> None:
    sid = opened(host, f"{kind}_raises")
    for data in (b"x", frame, b"y"):
        host.stream_data(sid, data)
    call = host.wait(sid)
    assert call.data == [b"x", reply]
    assert call.frames[-1].status == status


@KINDS
def test_input_before_the_handler_reads(host: NrHost, kind: str) -> None:
    sid = opened(host, f"{kind}_late", path="before")
    for n in range(50):
        assert host.stream_data(sid, b"%d" % n) == Status.OK
    assert host.stream_close(sid) == Status.OK
    host.call("go", body=b"before")
    assert host.wait(sid).data == [b"%d" % n for n in range(50)] + [b""]


@KINDS
def test_a_full_inbox_refuses_and_the_stream_lives_on(objects: Path, start_host: StartHost, kind: str) -> None:
    refusals: dict[Abi, Status] = {"v1": Status.ERR, "v2": Status.BACKPRESSURE}
    for abi, refusal in refusals.items():
        host = start_host()
        assert host.load(objects, abi=abi, stream_capacity=0 if abi == "v2" else None) == Status.OK
        sid = opened(host, f"{kind}_late", path="" if abi == "v2" else "full")
        taken = 0
        while (status := host.stream_data(sid, b"%d" % taken)) == Status.OK:
            taken += 1
        assert (status, taken) == (refusal, 1024)
        host.call("go", body=b"" if abi == "v2" else b"full")
        expected = [b"%d" % n for n in range(taken)]
        assert host.wait(sid, frames=taken).data == expected
        assert host.stream_data(sid, b"more") == Status.OK
        assert host.wait(sid, frames=1).data == [b"more"]
        assert host.stream_close(sid) == Status.OK
        assert host.wait(sid).data == [b""]


@pytest.mark.parametrize("sender", ["send_result", "send_pooled"])  # a host waits below it, or does not
@KINDS
def test_an_end_from_another_thread_ends_the_reading(host: NrHost, kind: str, sender: str) -> None:
    sid = opened(host, f"{kind}_echo")
    host.stream_data(sid, b"x")
    assert host.wait(sid, frames=1).data == [b"x"]
    assert host.call(sender, path=str(sid), query="4", body=b"by hand").reply.data == b"True"
    assert host.wait(sid).data == [b"by hand"]
    until(lambda: host.call("running", path=f"{kind}_echo").reply.data == b"0")
    assert host.call("send_result", path=str(sid), query="0", body=b"late").reply.data == b"False"


@KINDS
def test_an_end_by_the_object_ends_the_reading(host: NrHost, kind: str) -> None:
    assert host.stream(f"{kind}_closed_by_other").data == [b"bye"]
    until(lambda: text(host) == "read ended")


# ---- the object ----


def test_what_a_stream_tells(host: NrHost) -> None:
    sid = host.submit("a_facts", kind="stream", method="GET", path="/p", query="q=1", body=b"body").sid
    assert host.wait(sid, frames=5).data == [
        b"a_facts True GET /p q=1",
        b"body",
        b"v",
        b"False False True",
        b"<Stream entry='a_facts' sid=N>",
    ]
    host.stream_close(sid)
    assert host.wait(sid).ended
    assert host.call("after_facts").reply.text == "True True False [] CallEndedError"


def test_the_request_of_a_stream_that_is_over(host: NrHost) -> None:
    sid = opened(host, "a_kept", body=b"body", path="/kept")
    assert host.wait(sid).ended
    assert host.call("request_of_kept").reply.text == f" /kept body a_kept {sid}"


@pytest.mark.parametrize("status", [Status.STREAM_END, Status.ERR, Status.INVALID, Status.UNSUPPORTED])
def test_closed_by_a_status(host: NrHost, status: Status) -> None:
    frame = host.stream("a_close", body=f"{status.name} last words".encode()).reply
    assert (frame.status, frame.text) == (status, "last words")
    until(lambda: text(host) == "True,False,True")  # the handler has not gone on yet


def test_ok_closes_nothing(host: NrHost) -> None:
    assert host.stream("a_close_ok").reply.text == (
        "ValueError: Status.OK does not end a stream: close with STREAM_END, or with a failure"
    )


def test_wrong_data_is_told_and_nothing_is_sent(host: NrHost) -> None:
    frame = host.stream("a_sends_wrong").reply
    assert (frame.status, frame.data) == (Status.UNSUPPORTED, b"end")
    assert text(host) == "TypeError,TypeError"


def test_the_wrong_loop_is_told(host: NrHost) -> None:
    assert "write `async for`" in host.stream("a_sync_read").reply.text
    assert "write `for frame in stream`" in host.stream("s_async_read").reply.text


# ---- several tasks on one stream ----


def test_one_task_reads_and_another_sends(host: NrHost) -> None:
    sid = opened(host, "a_two_tasks")
    for n in range(20):
        host.stream_data(sid, b"%d" % n)
    assert host.wait(sid, frames=100).data == [b"%d" % n for n in range(100)]
    host.stream_close(sid)
    assert host.wait(sid).data == [b""]
    assert text(host) == ",".join([*(str(n) for n in range(20)), "read all"])


def test_a_second_reader_is_refused(host: NrHost) -> None:
    sid = opened(host, "a_two_readers")
    until(lambda: text(host) != "")
    host.stream_data(sid, b"x")
    assert host.wait(sid).data == [b"x", b""]
    assert text(host) == "another task is reading this stream"


def test_reading_with_a_limit_loses_nothing(host: NrHost) -> None:
    sid = opened(host, "a_wait_for")
    assert host.wait(sid, frames=3).data == [b"nothing yet"] * 3
    host.stream_data(sid, b"one")
    host.stream_data(sid, b"two")
    assert host.wait(sid).data == [b"one", b"two", b""]


def test_the_end_of_input_by_hand(host: NrHost) -> None:
    sid = opened(host, "a_end_of_anext")
    host.stream_close(sid)
    assert host.wait(sid).data == [b"default", b"stop", b""]


def test_a_thread_of_a_coroutine_sends(host: NrHost) -> None:
    assert host.stream("a_thread").data == [b"%d" % n for n in range(300)] + [b""]


# ---- a host that is slow ----


def test_a_send_does_not_pass_those_that_are_not_awaited_yet(slow_host: NrHost) -> None:
    sid = opened(slow_host, "a_room_meanwhile")
    frames = slow_host.wait(sid, frames=40).data
    slow_host.call("go", body=b"room")
    assert frames + slow_host.wait(sid).data == [b"%d" % n for n in range(220)] + [b""]


def test_a_send_that_is_never_awaited_holds_nobody_up(slow_host: NrHost) -> None:
    sid = opened(slow_host, "a_never_awaited")
    frames = slow_host.wait(sid, frames=40).data
    slow_host.call("go", body=b"room")
    frames += slow_host.wait(sid).data
    assert frames == [*(b"%d" % n for n in range(len(frames) - 2)), b"last", b""]


def test_writers_that_wait_for_room_keep_their_order(slow_host: NrHost) -> None:
    assert slow_host.stream("a_one_each").data == [b"%d" % n for n in range(500)] + [b""]


@pytest.mark.parametrize(("entry", "writers", "frames"), [("a_writers", 5, 60), ("s_threads", 4, 200)])
def test_several_writers_and_a_slow_host(slow_host: NrHost, entry: str, writers: int, frames: int) -> None:
    sent = [frame.text.split() for frame in slow_host.stream(entry).frames[:-1]]
    assert len(sent) == writers * frames
    for n in range(writers):
        assert [int(i) for number, i in sent if number == str(n)] == list(range(frames))


def test_a_writer_that_is_cancelled_sends_nothing(slow_host: NrHost) -> None:
    sid = opened(slow_host, "a_cancelled_writer")
    until(lambda: text(slow_host).endswith("all"))
    call = slow_host.wait(sid)
    assert [frame.text for frame in call.frames[-2:]] == ["last", ""]
    sent = [int(frame.text) for frame in call.frames[:-2]]
    cancelled = {int(number) for number in text(slow_host).split(",")[:-1]}
    assert sent == sorted(sent)
    assert set(range(200)) - set(sent) <= cancelled
    assert len(cancelled - set(sent)) > 10  # but for one that was sent, and then waited for the other tasks' turn


@KINDS
def test_a_receiver_that_goes_ends_the_handler(slow_host: NrHost, kind: str) -> None:
    sid = opened(slow_host, f"{kind}_echo")
    slow_host.stream_data(sid, b"x")
    assert slow_host.wait(sid, frames=1).data == [b"x"]
    slow_host.drop(sid)
    until(lambda: slow_host.stream_data(sid, b"y") == Status.INVALID)


# ---- many ----


def test_many_streams_at_once(objects: Path, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(objects) == Status.OK
    sids = [opened(host, "a_idle") for _ in range(2000)]
    for sid in sids:
        assert host.wait(sid, frames=1).data == [b"open"]
    for sid in sids:
        assert host.stream_close(sid) == Status.OK
    for sid in sids:
        assert host.wait(sid).data == [b""]


def test_a_storm_of_streams(host: NrHost) -> None:
    storm = host.storm(calls=4000, threads=16, stream="a_returns", body_size=0)
    assert (storm.terminals, storm.timeouts) == (4000, 0)
