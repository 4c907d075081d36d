"""Streams: all frames in order, one end, and a producer that can be stopped."""

from __future__ import annotations

from conformance.answers import ERR, INVALID, OK, STREAM_END, UNSUPPORTED, Answer, Failed, expect, expect_status
from conformance.case import case
from conformance.pair import Pair, eventually

END = (STREAM_END, b"")


def numbers(start: int, stop: int) -> list[bytes]:
    """The frames of `count` and `endless`."""
    return [b"%d" % number for number in range(start, stop)]


@case()
def count(pair: Pair) -> None:
    """0, 1, 5 and 10,000 frames come in order, then one StreamEnd."""
    for frames in (0, 1, 5, 10_000):
        pair.call("count", b"%d" % frames, kind="stream").expect_frames(numbers(0, frames), END, f"count of {frames}")


@case()
def count_fail(pair: Pair) -> None:
    """A stream whose handler fails has its frames, then Err with the text."""
    for frames in (0, 1, 500):
        answer = pair.call("count_fail", b"%d" % frames, kind="stream")
        answer.expect_frames(numbers(0, frames), (ERR, b"RuntimeError: broken"), f"count_fail of {frames}")


@case(entries=("count_async", "count_fail_async"))
def count_async(pair: Pair) -> None:
    """The same of streams whose handler may wait between two frames."""
    for frames in (0, 1, 5, 10_000):
        answer = pair.call("count_async", b"%d" % frames, kind="stream")
        answer.expect_frames(numbers(0, frames), END, f"count_async of {frames}")
    for frames in (0, 500):
        answer = pair.call("count_fail_async", b"%d" % frames, kind="stream")
        answer.expect_frames(numbers(0, frames), (ERR, b"RuntimeError: broken"), f"count_fail_async of {frames}")


@case()
def slow_consumer(pair: Pair) -> None:
    """A receiver that takes its time loses nothing: 10,000 frames in order, taken in pieces."""
    _reads_slowly(pair, "count")


@case(entries=("count_async",))
def slow_consumer_async(pair: Pair) -> None:
    """The same of a stream whose handler may wait."""
    _reads_slowly(pair, "count_async")


def _reads_slowly(pair: Pair, entry: str) -> None:
    sid = pair.open(entry, b"10000")
    for start in range(0, 10_000, 1000):
        pair.wait(sid, 1000).expect_frames(numbers(start, start + 1000), None, f"frames {start} to {start + 1000}")
    pair.wait(sid).expect_frames([], END, "the end")


@case(needs=("backpressure",), abis=("v2",), elsewhere="streams of v1 hosts have no bound")
def backpressure(pair: Pair) -> None:
    """Where the host's buffers are bounded, streams that nobody reads hold up neither each other nor other calls."""
    sids = [pair.open("count", b"5000") for _ in range(4)]
    pair.call("echo", b"through").expect_reply(OK, b"through", "a call beside full streams")
    for sid in reversed(sids):
        pair.wait(sid).expect_frames(numbers(0, 5000), END, "a stream read late")


@case()
def many_at_once(pair: Pair) -> None:
    """Fifty open streams keep their frames apart."""
    sids = {pair.open("count", b"%d" % size): size for size in range(50)}
    expect(len(sids), 50, "sids of fifty streams")
    for sid, size in sids.items():
        pair.wait(sid).expect_frames(numbers(0, size), END, f"the stream of {size}")


@case()
def endless_closed(pair: Pair) -> None:
    """A closed producer stops: its frames, one StreamEnd, nothing after; and its own end has run."""
    _closes(pair, "endless")


@case(entries=("endless_async",))
def endless_async_closed(pair: Pair) -> None:
    """The same of a producer that may be waiting for something else when it is closed."""
    _closes(pair, "endless_async")


def _closes(pair: Pair, entry: str) -> None:
    sid = pair.open(entry)
    pair.wait(sid, 3).expect_frames(numbers(0, 3), None, entry)
    expect_status(pair.stream_close(sid), OK, "stream_close")
    _expect_tail(pair.wait(sid), 3)
    eventually(lambda: pair.number("ended") == 1, "`ended` is 1 after the close")


@case(needs=("drop_stops",))
def endless_dropped(pair: Pair) -> None:
    """A producer whose receiver is gone stops, and its own end has run."""
    _drops(pair, "endless")


@case(needs=("drop_stops",), entries=("endless_async",))
def endless_async_dropped(pair: Pair) -> None:
    """The same of a producer that may be waiting for something else."""
    _drops(pair, "endless_async")


def _drops(pair: Pair, entry: str) -> None:
    sids = [pair.open(entry) for _ in range(3)]
    for sid in sids:
        pair.wait(sid, 2).expect_frames(numbers(0, 2), None, entry)
        pair.drop(sid)
    eventually(lambda: pair.number("ended") == 3, "`ended` is 3 after three drops")


@case()
def endless_unloaded(pair: Pair) -> None:
    """An unload ends the streams that are open, and comes back."""
    for _ in range(3):
        pair.wait(pair.open("endless"), 1)
    pair.unload()


@case(entries=("endless_async", "count_async"))
def async_unloaded(pair: Pair) -> None:
    """The same of streams whose handlers may wait, with frames that nobody has read."""
    pair.open("count_async", b"10000")
    for _ in range(3):
        pair.wait(pair.open("endless_async"), 1)
    pair.unload()


@case()
def generators_take_no_input(pair: Pair) -> None:
    """Data for a stream that takes no input is Unsupported, and the stream lives on."""
    sid = pair.open("endless")
    expect_status(pair.stream_data(sid, b"in"), UNSUPPORTED, "stream_data")
    pair.wait(sid, 3).expect_frames(numbers(0, 3), None, "endless afterwards")
    expect_status(pair.stream_close(sid), OK, "stream_close")
    _expect_tail(pair.wait(sid), 3)


@case()
def closed_twice(pair: Pair) -> None:
    """A second close is Invalid, before the stream's end and after it."""
    sid = pair.open("endless")
    expect_status(pair.stream_close(sid), OK, "stream_close")
    expect_status(pair.stream_close(sid), INVALID, "a second stream_close")
    _expect_tail(pair.wait(sid), 0)
    expect_status(pair.stream_close(sid), INVALID, "stream_close after the end")


@case()
def not_a_stream(pair: Pair) -> None:
    """Data or a close for a sid that is no open stream is Invalid."""
    sid = pair.open("count", b"2")
    pair.wait(sid).expect_frames(numbers(0, 2), END, "count")
    for what, number in (("an ended stream", sid), ("a sid that never was", 987_654_321)):
        expect_status(pair.stream_data(number, b"in"), INVALID, f"stream_data for {what}")
        expect_status(pair.stream_close(number), INVALID, f"stream_close for {what}")


@case(files=("plain",))
def no_stream_entry(pair: Pair) -> None:
    """A plugin without a stream entry answers data and close with Unsupported."""
    pair.load("plain", plugin="plain")
    pair.call("echo_sync", b"x", plugin="plain").expect_reply(OK, b"x", "echo_sync of plain")
    expect_status(pair.stream_data(1, b"in", plugin="plain"), UNSUPPORTED, "stream_data")
    expect_status(pair.stream_close(1, plugin="plain"), UNSUPPORTED, "stream_close")


def _expect_tail(answer: Answer, start: int) -> None:
    """From `start` on, however many there were, then the end."""
    if not answer.frames:
        raise Failed("after the close: no StreamEnd in time")
    answer.expect_frames(numbers(start, start + len(answer.frames) - 1), END, "after the close")
