"""What a driver's answers say, and how a case compares them with what was promised."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OK, ERR, INVALID, UNSUPPORTED, STREAM_END = range(5)
NAMES = ("Ok", "Err", "Invalid", "Unsupported", "StreamEnd", "Panic", "Backpressure")


class Failed(Exception):
    """A promise was not kept: what came, and what should have come."""


def status_name(status: int) -> str:
    """The ABI's name of a status."""
    return NAMES[status] if 0 <= status < len(NAMES) else f"status {status}"


def expect(got: object, wanted: object, what: str) -> None:
    """Fail unless the two are equal."""
    if got != wanted:
        raise Failed(f"{what}: {got!r}, expected {wanted!r}")


def expect_status(got: int, wanted: int, what: str) -> None:
    """Fail unless a function answered so."""
    if got != wanted:
        raise Failed(f"{what}: {status_name(got)}, expected {status_name(wanted)}")


def pattern(size: int) -> bytes:
    """The body that `body_size=size` makes."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@dataclass(frozen=True)
class Frame:
    """One reply or frame. `data` is None where only length and CRC-32 came (above 64 KiB)."""

    status: int
    length: int
    crc32: int
    data: bytes | None

    def __str__(self) -> str:
        text = f"{self.length} bytes" if self.data is None or self.length > 80 else repr(self.data)
        return f"{status_name(self.status)} {text}"

    def expect(self, status: int, data: bytes, what: str) -> None:
        """Fail unless this is the frame that was promised."""
        same = self.length == len(data) and self.crc32 == zlib.crc32(data) and self.data in (None, data)
        if self.status != status or not same:
            raise Failed(f"{what}: {self}, expected {Frame(status, len(data), 0, data)}")

    def expect_text(self, status: int, text: str, what: str) -> None:
        """Fail unless the frame has this status, and the text somewhere in it."""
        if self.status != status or text.encode() not in (self.data or b""):
            raise Failed(f"{what}: {self}, expected {status_name(status)} with the text {text!r}")


@dataclass(frozen=True)
class Answer:
    """What came of a call so far: the status `handle` returned, and the frames that were taken."""

    handle: int
    sid: int
    frames: Sequence[Frame]
    ended: bool
    timed_out: bool

    @staticmethod
    def read(answer: Mapping[str, Any], sid: int = 0) -> Answer:
        """Out of a driver's JSON; Failed where it lacks something."""
        try:
            frames = [
                Frame(f["status"], f["len"], f["crc32"], bytes.fromhex(f["hex"]) if "hex" in f else None)
                for f in answer.get("frames", [])
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise Failed(f"a frame without status, len or crc32, or with hex that is none: {error!r}") from error
        handle, ended, timed_out = answer.get("handle", OK), answer.get("ended", False), answer.get("timeout", False)
        return Answer(handle, answer.get("sid", sid), frames, ended, timed_out)

    def expect_reply(self, status: int, data: bytes, what: str) -> None:
        """Fail unless the call was accepted and had exactly this reply."""
        expect_status(self.handle, OK, f"{what}: handle")
        if len(self.frames) != 1:
            raise Failed(f"{what}: {len(self.frames)} replies{' in time' if self.timed_out else ''}, expected one")
        self.frames[0].expect(status, data, what)
        expect(self.ended, True, f"{what}: 'ended' with the reply")

    def expect_failure(self, status: int, text: str, what: str) -> None:
        """Fail unless the call was accepted, and its one reply has this status and the text somewhere in it."""
        expect_status(self.handle, OK, f"{what}: handle")
        expect(len(self.frames), 1, f"{what}: replies")
        self.frames[0].expect_text(status, text, what)
        expect(self.ended, True, f"{what}: 'ended' with the reply")

    def expect_refused(self, status: int, what: str) -> None:
        """Fail unless `handle` answered so, and no reply came."""
        expect_status(self.handle, status, f"{what}: handle")
        expect(len(self.frames), 0, f"{what}: replies after a refusal")

    def expect_frames(self, frames: Sequence[bytes], end: tuple[int, bytes] | None, what: str) -> None:
        """Fail unless these Ok frames came in this order, then `end` (None: the stream is still open)."""
        expect_status(self.handle, OK, f"{what}: handle")
        for number, (frame, data) in enumerate(zip(self.frames, frames, strict=False)):
            frame.expect(OK, data, f"{what}: frame {number}")
        if end is None:
            expect(len(self.frames), len(frames), f"{what}: frames")
            expect(self.ended, False, f"{what}: 'ended' of an open stream")
            return
        if len(self.frames) != len(frames) + 1:
            late = ", then nothing in time" if self.timed_out else ""
            raise Failed(f"{what}: {len(self.frames)} frames{late}, expected {len(frames)} and the end")
        self.frames[-1].expect(*end, f"{what}: the end")
        expect(self.ended, True, f"{what}: 'ended' with the terminal frame")


@dataclass(frozen=True)
class Tally:
    """What became of a storm's calls."""

    accepted: int
    refused: int
    replies: int
    wrong: int
    lost: int

    @staticmethod
    def read(answer: Mapping[str, Any]) -> Tally:
        """Out of a driver's JSON; Failed where a count is missing."""
        try:
            return Tally(*(int(answer[key]) for key in ("accepted", "refused", "replies", "wrong", "lost")))
        except KeyError as error:
            raise Failed(f"the answer lacks the count {error}: {dict(answer)!r}") from error

    def expect_all_answered(self, what: str, *, calls: int | None = None) -> None:
        """Fail unless every accepted call had its right reply; with `calls`, unless so many were accepted."""
        if self.wrong or self.lost or self.replies != self.accepted or not self.accepted:
            raise Failed(f"{what}: {self}, expected some accepted, as many replies, none wrong, none lost")
        if calls is not None and (self.accepted, self.refused) != (calls, 0):
            raise Failed(f"{what}: {self}, expected {calls} accepted and none refused")
