"""The Python host's parts, without a plugin: types, views, replies, and the functions that plugins call."""

from __future__ import annotations

import gc
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nylon_ring_py import HandlerError, NylonRingError, Response, Status
from nylon_ring_py.host import _replies, errors
from nylon_ring_py.host._abi import CData, body_view, copied, entry_name, ffi, request_view, text_of
from nylon_ring_py.host._calls import FULL, GONE, TAKEN, Call, Deadline, FastCall, StreamCall, UnaryCall
from nylon_ring_py.host.reply import Reply

HEADERS = sorted((Path(__file__).parents[2] / "shim/abi").glob("*.h"))

# ---- layouts ----


def pins() -> list[tuple[str, str | None, int]]:
    """Every size and offset that the C headers pin: type, field (None: the size), bytes."""
    text = "\n".join(header.read_text() for header in HEADERS)
    found: list[tuple[str, str | None, int]] = []
    found += [(kind, None, int(size)) for kind, size in re.findall(r"NR_PIN_SIZE\((\w+), (\d+)\)", text)]
    found += [(kind, field, int(at)) for kind, field, at in re.findall(r"NR_PIN_OFFSET\((\w+), (\w+), (\d+)\)", text)]
    return [pin for pin in found if pin[0] != "NrHostExt"]  # which this host does not offer


def test_layouts_are_those_of_the_c_headers() -> None:
    assert len(pins()) > 60
    for kind, field, expected in pins():
        assert (ffi.offsetof(kind, field) if field else ffi.sizeof(kind)) == expected, (kind, field)


# ---- views ----


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"bytes", b"bytes"),
        (bytearray(b"array"), b"array"),
        (memoryview(b"a view")[2:], b"view"),
        (memoryview(b"12345678").cast("I"), b"12345678"),
        ("Grüße", "Grüße".encode()),
        (b"", b""),
        ("", b""),
        (None, b""),
    ],
)
def test_body(body: Any, expected: bytes) -> None:
    kept = body_view(body)
    view = ffi.new("NrBytes *", kept)
    assert copied(view.ptr, view.len) == expected


def test_a_body_is_not_copied() -> None:
    memory = bytearray(b"before")
    pointer, length = body_view(memory)
    memory[:] = b"behind"
    assert copied(pointer, length) == b"behind"


@pytest.mark.parametrize("body", [5, ["x"], memoryview(b"abcdef")[::2]])
def test_what_is_no_body(body: Any) -> None:
    with pytest.raises((TypeError, BufferError, ValueError)):
        body_view(body)


def test_request() -> None:
    headers: list[tuple[str | bytes, str | bytes]] = [
        ("Accept", "ä"),
        (b"raw", b"\xff"),
        ("Accept", "again"),
        ("empty", ""),
    ]
    view, keep = request_view("GET", "/päth", "", headers)
    gc.collect()
    assert [text_of(text) for text in (view.method, view.path, view.query)] == ["GET", "/päth", ""]
    shown = [(text_of(view.headers[i].key), view.headers[i].value) for i in range(view.headers_len)]
    assert [key for key, _ in shown] == ["Accept", "raw", "Accept", "empty"]
    assert [copied(value.ptr, value.len) for _, value in shown] == ["ä".encode(), b"\xff", b"again", b""]
    assert (view.reserved0, view.reserved1, view.path.reserved) == (0, 0, 0)
    del keep


def test_headers_of_a_mapping_and_none() -> None:
    view, keep = request_view("", "", "", {"a": "1"})
    assert (view.headers_len, text_of(view.headers[0].value)) == (1, "1")
    view, keep = request_view("", "", "", ())
    assert (view.headers_len, view.headers) == (0, ffi.NULL)
    del keep


def test_a_name_outlives_its_maker() -> None:
    names = [entry_name(f"entry {i} " + "x" * 100) for i in range(100)]
    gc.collect()
    assert [text_of(name) for name, _ in names] == [f"entry {i} " + "x" * 100 for i in range(100)]


def test_a_null_pointer_with_a_length() -> None:
    with pytest.raises(ValueError, match="null pointer with a length of 3"):
        copied(ffi.NULL, 3)
    assert copied(ffi.cast("char *", 1), 0) == b""


# ---- replies and errors ----


def test_reply() -> None:
    status, data = reply = Reply(b"x", 0)
    assert (status, data, reply.text, reply.ok) == (Status.OK, b"x", "x", True)
    assert isinstance(status, Status)
    assert reply == Response(b"x")
    assert reply != Response(b"x", Status.ERR)
    assert repr(Reply(b"", 4)) == "Reply(b'', Status.STREAM_END)"


def test_a_reply_may_have_any_status() -> None:
    assert Reply(b"", 5).status is Status.PANIC
    assert (Reply(b"", 4000000000).status, Reply(b"", 7).ok) == (4000000000, False)
    assert repr(Reply(b"", 7)) == "Reply(b'', status 7)"


def test_errors_have_one_base_and_their_status() -> None:
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, NylonRingError)]
    assert len(classes) > 10
    assert all(issubclass(each, errors.HostError) for each in classes if each is not NylonRingError)
    assert not issubclass(errors.HostError, HandlerError)
    assert errors.RefusedError("it", 3).status is Status.UNSUPPORTED
    assert errors.RefusedError("it", 9).status is Status.ERR
    assert "status 9" in str(errors.RefusedError("it", 9))
    refused = errors.InitRefusedError("a.so", 2)
    assert (refused.status, refused.path) == (Status.INVALID, "a.so")
    assert "Status.INVALID" in str(refused)
    assert issubclass(errors.PluginNotFoundError, FileNotFoundError)
    assert issubclass(errors.CallTimeoutError, TimeoutError)


# ---- calls ----


def taken(call: Call, *frames: tuple[int, bytes]) -> tuple[list[int], dict[int, Call]]:
    """What a call says to frames, and the table it was in."""
    table = {1: call}
    return [call.take(table, 1, status, data) for status, data in frames], table


@pytest.mark.parametrize("status", [0, 1, 4, 5])
def test_the_first_reply_ends_a_unary_call(status: int) -> None:
    call = UnaryCall()
    said, table = taken(call, (status, b"first"), (0, b"second"))
    assert (said, table) == ([TAKEN, GONE], {})
    assert call.wait(0) == Reply(b"first", status)


def test_a_unary_call_waits_for_another_thread() -> None:
    call = UnaryCall()
    thread = threading.Thread(target=taken, args=(call, (0, b"late")))
    thread.start()
    assert call.wait(30) == Reply(b"late")
    thread.join()
    assert UnaryCall().wait(0) is None
    assert UnaryCall().wait(-5) is None


def test_an_interrupt_behind_the_removal_loses_no_reply() -> None:
    class Interrupted(dict[int, Call]):
        def pop(self, *arguments: Any) -> Any:
            super().pop(*arguments)
            raise KeyboardInterrupt

    call = UnaryCall()
    with pytest.raises(KeyboardInterrupt):
        call.take(Interrupted({1: call}), 1, 0, b"kept")
    assert call.wait(None) == Reply(b"kept")


def test_a_failure_is_raised_by_who_waits() -> None:
    unary, stream = UnaryCall(), StreamCall(0)
    taken(stream, (0, b"frame"))
    for call in (unary, stream):
        call.fail(errors.HostClosedError("gone"))
    with pytest.raises(errors.HostClosedError):
        unary.wait(None)
    assert stream.next(None) == Reply(b"frame")
    with pytest.raises(errors.HostClosedError):
        stream.next(None)
    assert stream.next(None) is None


def test_a_fast_call_takes_replies_of_its_thread_only() -> None:
    mine, theirs = FastCall(), FastCall()
    assert taken(mine, (0, b"x"))[0] == [TAKEN]
    assert mine.reply == Reply(b"x")
    said: list[int] = []
    thread = threading.Thread(target=lambda: said.extend(taken(theirs, (0, b"x"))[0]))
    thread.start()
    thread.join()
    assert (said, theirs.reply) == ([GONE], None)


def test_a_stream_is_read_to_its_last_frame() -> None:
    call = StreamCall(0)
    said, table = taken(call, (0, b"a"), (0, b"b"), (4, b""))
    assert (said, table) == ([TAKEN] * 3, {})
    assert [call.next(0) for _ in range(5)] == [Reply(b"a"), Reply(b"b"), Reply(b"", 4), None, None]


def test_a_bounded_stream_refuses_what_has_no_room_the_end_too() -> None:
    call = StreamCall(2)
    said, table = taken(call, (0, b"a"), (0, b"b"), (0, b"c"), (4, b""))
    assert said == [TAKEN, TAKEN, FULL, FULL]
    assert call.next(0) == Reply(b"a")
    assert call.take(table, 1, 4, b"") == TAKEN
    assert table == {}


def test_a_dropped_stream_throws_frames_away_and_lets_its_reader_go() -> None:
    call = StreamCall(0)
    read: list[Reply | None] = []
    reader = threading.Thread(target=lambda: read.append(call.next(None)))
    reader.start()
    call.drop()
    reader.join()
    said, table = taken(call, (0, b"a"), (4, b""))
    assert (read, said, table, call.next(0)) == ([None], [TAKEN, TAKEN], {}, None)


def test_no_frame_in_time() -> None:
    with pytest.raises(errors.CallTimeoutError):
        StreamCall(0).next(0)
    assert Deadline(None).left_s is None
    assert Deadline(-1).left_s == 0


# ---- what plugins call ----


class Receiver:
    """Notes what it is given; raises where `broken` is set."""

    def __init__(self) -> None:
        self.got: list[tuple[int, int, bytes]] = []
        self.failed: list[tuple[int, BaseException]] = []
        self.broken: BaseException | None = None
        self.memory = ffi.new("char[]", 8)

    def deliver(self, sid: int, status: int, ptr: CData, length: int) -> int:
        if self.broken is not None:
            raise self.broken
        self.got.append((sid, status, copied(ptr, length)))
        return TAKEN

    def lease(self, sid: int, capacity: int) -> tuple[CData, int, int]:
        if self.broken is not None:
            raise self.broken
        return self.memory, capacity, sid + 100

    def commit(self, sid: int, status: int, token: int, length: int) -> int:
        assert token == sid + 100
        return self.deliver(sid, status, self.memory, length)

    def callback_failed(self, sid: int, error: BaseException) -> None:
        self.failed.append((sid, error))


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def ctx(receiver: Receiver) -> Iterator[int]:
    number = _replies.enrol(receiver)
    yield number
    _replies.dismiss(number)


def vec(data: bytes, drop: CData = ffi.NULL) -> tuple[object, ...]:
    """An initialiser of NrVecU8; owned where there is a drop function. The bytes live as long as the tuple."""
    return (ffi.from_buffer(data), len(data), len(data), int(drop != ffi.NULL), b"\0" * 7, drop)


def test_replies_of_v1_and_v2(receiver: Receiver, ctx: int) -> None:
    payload = b"payload"
    _replies.VTABLE_V1.send_result(ctx, 2**64 - 1, 1, (ffi.from_buffer(payload), 7))
    assert _replies.VTABLE_V2.send_result(ctx, 3, 0, vec(payload)) == TAKEN
    lease = _replies.VTABLE_V2.acquire_result_buffer(ctx, 4, 8)
    assert (lease.cap, lease.token) == (8, 104)
    ffi.memmove(lease.ptr, b"leased", 6)
    assert _replies.VTABLE_V2.commit_result_buffer(ctx, 4, 0, lease.token, 6) == TAKEN
    assert receiver.got == [(2**64 - 1, 1, b"payload"), (3, 0, b"payload"), (4, 0, b"leased")]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("broken", [True, False])
def test_owned_bytes_are_released_once(receiver: Receiver, ctx: int, known: bool, broken: bool) -> None:
    released: list[tuple[int, int]] = []
    drop = ffi.callback("void(char *, size_t, size_t)", lambda ptr, length, cap: released.append((length, cap)))
    free = ffi.callback("void(void *, const char *, uint64_t)", lambda ctx, ptr, length: released.append((length, 0)))
    receiver.broken = RuntimeError("no room") if broken else None
    number = ctx if known else ctx + 8
    data = b"owned"
    expected = TAKEN if known and not broken else GONE
    assert _replies.VTABLE_V2.send_result(number, 5, 0, vec(data, drop)) == expected
    owned = (ffi.from_buffer(data), len(data), ffi.NULL, free)
    assert _replies.VTABLE_V2.send_result_owned(number, 6, 0, owned) == expected
    assert released == [(5, 5), (5, 0)]
    assert [sid for sid, _ in receiver.failed] == ([5, 6] if known and broken else [])


def test_a_failing_receiver_is_told_and_nothing_passes_through_c(receiver: Receiver, ctx: int) -> None:
    receiver.broken = KeyboardInterrupt()
    _replies.VTABLE_V1.send_result(ctx, 8, 0, (ffi.NULL, 0))
    assert _replies.VTABLE_V2.acquire_result_buffer(ctx, 9, 8).ptr == ffi.NULL
    assert receiver.failed == [(8, receiver.broken), (9, receiver.broken)]


def test_a_number_that_nobody_has_is_answered_invalid(ctx: int) -> None:
    _replies.dismiss(ctx)
    _replies.VTABLE_V1.send_result(ctx, 1, 0, (ffi.NULL, 0))
    assert _replies.VTABLE_V2.send_result(ctx, 1, 0, vec(b"late")) == Status.INVALID
    assert _replies.VTABLE_V2.acquire_result_buffer(ctx, 1, 8).ptr == ffi.NULL
    assert _replies.VTABLE_V2.commit_result_buffer(ctx, 1, 0, 1, 1) == Status.INVALID
    assert _replies.enrol(Receiver()) != ctx
