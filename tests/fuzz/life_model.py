"""What a plugin owes its host, by the state its instance is in: the model of test_life_cycle.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from nrhost import Abi, Status

#: got: get_plugin was called; open: init was; ending: a shutdown is under way; ended: it has returned.
Phase = Literal["got", "open", "ending", "ended"]

ECHOES = ("show_callback", "show_async", "show", "show_sync", "raw", "raw_sync")
FAILS = {"fails": Status.ERR, "leaves": Status.ERR, "junk": Status.ERR, "refuses": Status.INVALID, "late": Status.ERR,
         "dropped": Status.ERR}  # fmt: skip
HELD = ("held", "limited")
INPUT = ("open", "talk", "talk_async")
FEEDS = ("feed", "feed_async")

#: Plain handlers of streams that plugin.py has threads for, and calls that its entry "limited" takes.
TALKERS = 2
LIMIT = 2


@dataclass
class Held:
    """A call that is answered when something else happens."""

    sid: int
    entry: str
    body: bytes


@dataclass
class Stream:
    """An open stream, and the frames that are still to come of it."""

    sid: int
    entry: str
    coming: list[bytes] = field(default_factory=list)
    taken: int = 0
    closed: bool = False


@dataclass
class Instance:
    """A loaded plugin."""

    name: str
    abi: Abi
    phase: Phase = "got"
    held: list[Held] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    jobs: list[int] = field(default_factory=list)
    limited: int = 0
    """Calls of "limited" that were ever taken."""

    def allowed(self, entry: str) -> set[int]:
        """What a call that is in order may be answered by `handle`."""
        if self.phase in ("got", "ended"):
            return {Status.INVALID}
        if self.phase == "ending":
            return {Status.OK, Status.ERR, Status.INVALID}
        if entry == "talk" and sum(stream.entry == "talk" for stream in self.streams) >= TALKERS:
            return {Status.OK, *self._full()}
        if entry == "limited":
            unanswered = sum(call.entry == "limited" for call in self.held)
            if unanswered >= LIMIT:
                return self._full()
            # The room of a call that was answered a moment ago may not be free yet.
            return {Status.OK} if self.limited < LIMIT else {Status.OK, *self._full()}
        return {Status.OK}

    def _full(self) -> set[int]:
        return {Status.ERR, Status.BACKPRESSURE} if self.abi == "v2" else {Status.ERR}

    def input_status(self, stream: Stream) -> set[int]:
        """What stream_data may answer."""
        if self.phase == "ended":
            return {Status.INVALID}
        if self.phase == "ending":
            return {Status.OK, Status.ERR, Status.INVALID, Status.UNSUPPORTED, Status.BACKPRESSURE}
        if stream.entry in FEEDS:
            return {Status.UNSUPPORTED, Status.INVALID}  # it may be over by now
        return {Status.INVALID} if stream.closed else {Status.OK}

    def close_status(self, stream: Stream) -> set[int]:
        """What stream_close may answer."""
        if self.phase == "ended":
            return {Status.INVALID}
        if self.phase == "ending" or stream.entry in FEEDS:
            return {Status.OK, Status.ERR, Status.INVALID}
        return {Status.INVALID} if stream.closed else {Status.OK}
