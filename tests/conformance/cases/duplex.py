"""Streams with frames both ways."""

from __future__ import annotations

from conformance.answers import INVALID, OK, STREAM_END, expect_status, pattern
from conformance.case import case
from conformance.pair import Pair, eventually

END = (STREAM_END, b"")


def _says(pair: Pair, sid: int, *frames: bytes) -> None:
    for frame in frames:
        expect_status(pair.stream_data(sid, frame), OK, f"stream_data {frame[:20]!r}")


@case(needs=("duplex",))
def chat(pair: Pair) -> None:
    """The opening frame, an answer to each frame in its turn, and StreamEnd after the close."""
    sid = pair.open("chat", b"anna")
    pair.wait(sid, 1).expect_frames([b"hello anna"], None, "the opening")
    for word in (b"one", b"two", b"", bytes(range(256))):
        _says(pair, sid, word)
        pair.wait(sid, 1).expect_frames([word.upper()], None, "an answer")
    expect_status(pair.stream_close(sid), OK, "stream_close")
    pair.wait(sid).expect_frames([], END, "after the close")


@case(needs=("duplex",))
def data_at_once(pair: Pair) -> None:
    """A sid takes data as soon as `handle` has returned, and the opening frame is still the first."""
    for _ in range(20):
        sid = pair.open("chat", b"you")
        _says(pair, sid, b"a", b"b", b"c")
        expect_status(pair.stream_close(sid), OK, "stream_close")
        pair.wait(sid).expect_frames([b"hello you", b"A", b"B", b"C"], END, "chat")


@case(needs=("duplex",))
def big_frames(pair: Pair) -> None:
    """Frames of 256 KiB go in and come out whole."""
    body = pattern(256 << 10)
    sid = pair.open("chat")
    _says(pair, sid, body)
    expect_status(pair.stream_close(sid), OK, "stream_close")
    pair.wait(sid).expect_frames([b"hello ", body.upper()], END, "chat")


@case(needs=("duplex",))
def interleaved(pair: Pair) -> None:
    """Open streams keep their frames and their order apart."""
    sids = [pair.open("chat", b"%d" % number) for number in range(8)]
    for turn in range(10):
        for number, sid in enumerate(sids):
            _says(pair, sid, b"s%d t%d" % (number, turn))
    for number, sid in reversed(list(enumerate(sids))):
        expect_status(pair.stream_close(sid), OK, "stream_close")
        frames = [b"hello %d" % number, *(b"S%d T%d" % (number, turn) for turn in range(10))]
        pair.wait(sid).expect_frames(frames, END, f"stream {number}")


@case(needs=("duplex",))
def data_after_close(pair: Pair) -> None:
    """Data and a second close are Invalid after the close, and after the end."""
    sid = pair.open("chat")
    expect_status(pair.stream_close(sid), OK, "stream_close")
    for when in ("after the close", "after the end"):
        expect_status(pair.stream_data(sid, b"late"), INVALID, f"stream_data {when}")
        expect_status(pair.stream_close(sid), INVALID, f"stream_close {when}")
        if when == "after the close":
            pair.wait(sid).expect_frames([b"hello "], END, "chat")


#: Entries that answer the close, beside `chat`.
TALKS = ("chat_async", "chat_object")


@case(needs=("duplex",), entries=TALKS)
def half_closed(pair: Pair) -> None:
    """A close is the end of the input: what came before it is answered, and the handler may go on sending."""
    for entry in TALKS:
        sid = pair.open(entry, b"anna")
        pair.wait(sid, 1).expect_frames([b"hello anna"], None, f"the opening of {entry}")
        _says(pair, sid, b"one", b"", bytes(range(256)))
        expect_status(pair.stream_close(sid), OK, "stream_close")
        expect_status(pair.stream_data(sid, b"late"), INVALID, "stream_data after the close")
        expect_status(pair.stream_close(sid), INVALID, "a second stream_close")
        answers = [b"ONE", b"", bytes(range(256)).upper(), b"bye"]
        pair.wait(sid).expect_frames(answers, END, f"{entry} after the close")
        expect_status(pair.stream_data(sid, b"late"), INVALID, "stream_data after the end")


@case(needs=("duplex",), entries=TALKS)
def talks_at_once(pair: Pair) -> None:
    """Many of them are open at once, take data as soon as `handle` has returned, and keep their frames apart."""
    sids = {pair.open(entry, b"%d" % number): number for entry in TALKS for number in range(12)}
    for turn in range(10):
        for sid, number in sids.items():
            _says(pair, sid, b"s%d t%d" % (number, turn))
    for sid, number in reversed(sids.items()):
        expect_status(pair.stream_close(sid), OK, "stream_close")
        frames = [b"hello %d" % number, *(b"S%d T%d" % (number, turn) for turn in range(10)), b"bye"]
        pair.wait(sid).expect_frames(frames, END, f"stream {number}")


@case(needs=("duplex",), entries=TALKS)
def talks_unloaded(pair: Pair) -> None:
    """An unload ends them too, read or not, and comes back."""
    for entry in TALKS:
        pair.wait(pair.open(entry), 1)
        _says(pair, pair.open(entry), b"x", b"y")
    pair.unload()


@case(needs=("duplex", "drop_stops"))
def chat_dropped(pair: Pair) -> None:
    """When its receiver is dropped, a stream ends at the plugin: its sid is none any more."""
    sid = pair.open("chat")
    pair.wait(sid, 1).expect_frames([b"hello "], None, "the opening")
    pair.drop(sid)
    eventually(lambda: pair.stream_data(sid, b"anyone?") == INVALID, "stream_data of a dropped stream is Invalid")
    pair.call("echo", b"alive").expect_reply(OK, b"alive", "echo afterwards")


@case(needs=("duplex",))
def chat_unloaded(pair: Pair) -> None:
    """An unload ends open duplex streams, and comes back."""
    for _ in range(3):
        pair.wait(pair.open("chat"), 1)
    pair.unload()
