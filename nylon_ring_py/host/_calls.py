"""Calls in progress, and how each takes what the plugin sends. `take` and `fail` run on any thread, inside the plugin's
send: they keep what came, wake who waits, and call nothing else.
"""

from __future__ import annotations

import time
from _thread import allocate_lock, get_ident
from collections.abc import MutableMapping
from queue import Empty, SimpleQueue
from typing import Protocol

from nylon_ring_py.host._types import CallOwner
from nylon_ring_py.host.errors import CallTimeoutError, HostError
from nylon_ring_py.host.reply import Reply
from nylon_ring_py.status import Status

# The answers of a host's functions as plain numbers: this code runs once a frame.
TAKEN, GONE, FULL = int(Status.OK), int(Status.INVALID), int(Status.BACKPRESSURE)
OK = int(Status.OK)


class Call(Protocol):
    """What the table of calls holds, by sid."""

    streams: bool
    """Whether the first Ok leaves the call open."""

    def take(self, table: MutableMapping[int, Call], sid: int, status: int, data: bytes) -> int:
        """Keep a reply or frame; remove the call from the table with its last. TAKEN, GONE or FULL."""

    def fail(self, error: HostError) -> None:
        """End the call, which has left the table, with an error for who waits."""


class UnaryCall:
    """A call whose first reply ends it, waited for by the thread that made it."""

    __slots__ = ("_arrived", "failure", "reply")

    streams = False

    def __init__(self) -> None:
        self.reply: Reply | None = None
        self.failure: HostError | None = None
        self._arrived = allocate_lock()
        self._arrived.acquire()

    def take(self, table: MutableMapping[int, Call], sid: int, status: int, data: bytes) -> int:
        """See `Call`. Of two replies at once the one that removes the call is its reply."""
        reply = Reply(data, status)
        try:
            if table.pop(sid, None) is None:
                return GONE
            self.reply = reply
            self._arrived.release()
        except BaseException:
            # An interrupt just behind the pop: nobody else can find the call any more, and its thread waits.
            if self.reply is None and table.get(sid) is not self:
                self.reply = reply
                self._arrived.release()
            raise
        return TAKEN

    def fail(self, error: HostError) -> None:
        """See `Call`."""
        self.failure = error
        self._arrived.release()

    def wait(self, timeout_s: float | None) -> Reply | None:
        """The reply; None when it did not come in time. Raises what ended the call instead of a reply."""
        if self.reply is None and self.failure is None:
            self._arrived.acquire(timeout=-1 if timeout_s is None else max(0.0, timeout_s))
        if self.failure is not None:
            raise self.failure
        return self.reply


def wait_for_reply(owner: CallOwner, call: UnaryCall, sid: int, timeout_s: float | None, entry: str) -> Reply:
    """The reply of a call that was taken. Where it raises the call is given up; see `Host.call`."""
    try:
        reply = call.wait(timeout_s)
    except BaseException:
        owner.give_up(sid)
        raise
    if reply is None:
        owner.give_up(sid)
        # It may have come between the end of the wait and the giving up.
        if call.reply is None:
            raise CallTimeoutError(f"entry {entry!r} of {owner.path} did not answer in {timeout_s} s")
        reply = call.reply
    return reply


class FastCall(UnaryCall):
    """A call whose reply must come inside `handle`, on the thread that called it.

    A reply from another thread is refused even while `handle` runs: whether it comes in time would be chance.
    """

    __slots__ = ("_thread",)

    def __init__(self) -> None:
        super().__init__()
        self._thread = get_ident()

    def take(self, table: MutableMapping[int, Call], sid: int, status: int, data: bytes) -> int:
        """See `Call`."""
        if get_ident() != self._thread:
            table.pop(sid, None)
            return GONE
        return super().take(table, sid, status, data)


class StreamCall:
    """A call whose first reply that is not Ok ends it: a queue of frames, read by one thread at a time.

    Args:
        capacity: frames that may wait; 0 for any number.
    """

    __slots__ = ("_capacity", "_frames", "dropped", "over")

    streams = True

    def __init__(self, capacity: int) -> None:
        self._frames: SimpleQueue[Reply | HostError | None] = SimpleQueue()
        self._capacity = capacity
        self.dropped = False
        self.over = False  # the last frame has been read, or what ended the stream was raised

    def take(self, table: MutableMapping[int, Call], sid: int, status: int, data: bytes) -> int:
        """See `Call`. The frames of one stream come one at a time, so there is no race for the last place."""
        if not self.dropped:
            if self._capacity and self._frames.qsize() >= self._capacity:
                return FULL
            self._frames.put(Reply(data, status))
        if status != OK:
            table.pop(sid, None)
        return TAKEN

    def fail(self, error: HostError) -> None:
        """See `Call`."""
        self._frames.put(error)

    def drop(self) -> None:
        """Nobody wants more frames; a reader that waits gets None."""
        self.dropped = True
        self._frames.put(None)

    def next(self, timeout_s: float | None) -> Reply | None:
        """The next frame; None behind the last, and after `drop`.

        Raises:
            CallTimeoutError: none came in `timeout_s` seconds; the stream goes on.
            HostError: what ended the stream instead of a frame.
        """
        if self.over or self.dropped:
            return None
        try:
            frame = self._frames.get(timeout=None if timeout_s is None else max(0.0, timeout_s))
        except Empty:
            raise CallTimeoutError(f"no frame came in {timeout_s} s; the stream is still open") from None
        if isinstance(frame, HostError):
            self.over = True
            raise frame
        if frame is not None:
            self.over = frame.status != Status.OK
        return frame


class Deadline:
    """A limit over several waits.

    Args:
        timeout_s: seconds from now; None for no limit.
    """

    def __init__(self, timeout_s: float | None) -> None:
        self._end = None if timeout_s is None else time.monotonic() + timeout_s

    @property
    def left_s(self) -> float | None:
        """Seconds left, not below 0; None without a limit."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())
