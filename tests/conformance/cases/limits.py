"""Limits of time and number: each is kept by the plugin, and told to the host."""

from __future__ import annotations

from conformance.answers import ERR, INVALID, OK, STREAM_END, Answer, expect, expect_status
from conformance.case import case
from conformance.pair import Pair, eventually

BACKPRESSURE = 6
TIMED_OUT = "TimeoutError: "
#: No inbox is as large as that.
FRAMES_MAX = 20_000


def _full(pair: Pair) -> int:
    """What a plugin answers that has no room."""
    return BACKPRESSURE if pair.abi == "v2" else ERR


def _lets_go(pair: Pair, number: int) -> None:
    released = 0

    def all_released() -> bool:
        nonlocal released
        released += pair.number("let_go")
        return released == number

    eventually(all_released, f"let_go has let {number} go")


@case(entries=("deadline", "deadline_async"))
def deadlines(pair: Pair) -> None:
    """A call that takes longer than its entry's limit is answered Err then, once; others are no concern of it."""
    for entry in ("deadline", "deadline_async"):
        sids = [pair.submit(entry) for _ in range(5)]
        pair.call("echo", b"beside").expect_reply(OK, b"beside", "a call beside late ones")
        for sid in sids:
            pair.wait(sid).expect_failure(ERR, TIMED_OUT, entry)
    pair.call("echo", b"alive").expect_reply(OK, b"alive", "echo afterwards")


@case(entries=("idle",))
def idle_streams(pair: Pair) -> None:
    """A stream that moves no frame for longer than its limit ends with Err, after the frames it had."""
    sids = [pair.open("idle") for _ in range(3)]
    for sid in sids:
        _expect_timeout(pair.wait(sid), b"0", "idle")
        expect_status(pair.stream_close(sid), INVALID, "stream_close after the end")


@case(needs=("duplex",), entries=("overstays",))
def closed_in_vain(pair: Pair) -> None:
    """A stream whose handler goes on after the close ends with Err when its time is over, and not before the close."""
    sids = [pair.open("overstays", b"you") for _ in range(3)]
    for sid in sids:
        pair.wait(sid, 1).expect_frames([b"hello you"], None, "the opening")
        expect_status(pair.stream_data(sid, b"in"), OK, "stream_data")
        expect_status(pair.stream_close(sid), OK, "stream_close")
    for sid in sids:
        pair.wait(sid).expect_failure(ERR, TIMED_OUT, "overstays")


@case(entries=("limited", "limited_async"))
def limited(pair: Pair) -> None:
    """An entry with room for two unanswered calls refuses the third at once, and takes calls again after an answer."""
    for entry in ("limited", "limited_async"):
        for turn in range(2):
            sids = [pair.submit(entry, b"%d" % number) for number in range(2)]
            for _ in range(3):
                pair.call(entry, b"too many").expect_refused(_full(pair), f"a third {entry}")
            pair.call("echo", b"other").expect_reply(OK, b"other", "another entry")
            _lets_go(pair, 2)
            for number, sid in enumerate(sids):
                pair.wait(sid).expect_reply(OK, b"%d" % number, f"{entry}, turn {turn}")


@case(needs=("duplex",), entries=("full_inbox",))
def full_inbox(pair: Pair) -> None:
    """What a stream has no room for is refused: it lives on, and answers the frames that were taken."""
    sid = pair.open("full_inbox")
    taken = 0
    while (status := pair.stream_data(sid, b"%d" % taken)) == OK and taken < FRAMES_MAX:
        taken += 1
    expect_status(status, _full(pair), f"stream_data after {taken} frames that nobody reads")
    pair.call("echo", b"other").expect_reply(OK, b"other", "a call beside it")
    _lets_go(pair, 1)
    expect(taken > 0, True, "some frames were taken")
    pair.wait(sid, taken).expect_frames([b"%d" % number for number in range(taken)], None, "answers to what was taken")
    expect_status(pair.stream_data(sid, b"again"), OK, "stream_data once there is room")
    expect_status(pair.stream_close(sid), OK, "stream_close")
    pair.wait(sid).expect_frames([b"AGAIN"], (STREAM_END, b""), "after the close")


@case(needs=("duplex",), entries=("limited_async", "full_inbox", "overstays", "idle"))
def unloaded_at_the_limit(pair: Pair) -> None:
    """An unload comes back, whatever waits for its limit."""
    pair.submit("limited_async")
    for entry in ("full_inbox", "overstays", "idle"):
        pair.open(entry)
    pair.unload()


def _expect_timeout(answer: Answer, first: bytes, what: str) -> None:
    expect_status(answer.handle, OK, f"{what}: handle")
    expect(len(answer.frames), 2, f"{what}: frames and the end")
    answer.frames[0].expect(OK, first, what)
    answer.frames[1].expect_text(ERR, TIMED_OUT, f"{what}: the end")
