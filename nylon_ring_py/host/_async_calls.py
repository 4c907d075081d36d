"""Calls that coroutines wait for, and how their replies come to the loop. Needs no cffi."""

from __future__ import annotations

import asyncio
from _thread import get_ident
from collections import deque
from collections.abc import AsyncIterator, MutableMapping
from types import TracebackType
from typing import Self

from nylon_ring_py.host._calls import FULL, GONE, OK, TAKEN, Call
from nylon_ring_py.host._types import Body, CallOwner, StreamOwner
from nylon_ring_py.host.errors import CallTimeoutError, HostError
from nylon_ring_py.host.reply import Reply
from nylon_ring_py.status import Status


class Mailbox:
    """Calls that have news for a loop's thread.

    The loop is woken when the first is posted; those posted until it has looked ride along.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread = get_ident()
        self._posted: deque[AsyncCall] = deque()
        self._woken = False

    def post(self, call: AsyncCall) -> None:
        """Have `call.wake` run by the loop. From any thread; nothing happens where the loop is closed."""
        if get_ident() == self.thread:
            call.wake()
            return
        self._posted.append(call)
        if not self._woken:
            self._woken = True
            try:
                self.loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop is closed: whoever waited on it is gone
                self._posted.clear()

    def _drain(self) -> None:
        # First the flag: what is posted from here on wakes again, what was posted before is seen below.
        self._woken = False
        while self._posted:
            self._posted.popleft().wake()


class AsyncCall:
    """A call or stream whose replies a coroutine waits for. One coroutine at a time."""

    def __init__(self, mailbox: Mailbox, streams: bool, capacity: int = 0) -> None:
        self.streams = streams
        self.frames: deque[Reply] = deque()
        self.failure: HostError | None = None
        self.dropped = False
        self.over = False
        self._mailbox = mailbox
        self._capacity = capacity
        self._waiter: asyncio.Future[None] | None = None

    def take(self, table: MutableMapping[int, Call], sid: int, status: int, data: bytes) -> int:
        """See `_calls.Call`."""
        if not self.streams:
            if table.pop(sid, None) is None:
                return GONE
        elif self._capacity and len(self.frames) >= self._capacity:
            return FULL
        elif status != OK:
            table.pop(sid, None)
        if not self.dropped:
            self.frames.append(Reply(data, status))
            self._mailbox.post(self)
        return TAKEN

    def fail(self, error: HostError) -> None:
        """See `_calls.Call`."""
        self.failure = error
        self._mailbox.post(self)

    def drop(self) -> None:
        """Nobody wants more frames; a reader that waits gets None. On the loop's thread."""
        self.dropped = True
        self.frames.clear()
        self.wake()

    def wake(self) -> None:
        """On the loop's thread: let the waiting coroutine look."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> Reply | None:
        """The next frame; None behind the last. Raises what ended the call instead of a frame."""
        while not self.over and not self.dropped:
            if self.frames:
                frame = self.frames.popleft()
                self.over = not self.streams or frame.status != Status.OK
                return frame
            if self.failure is not None:
                self.over = True
                raise self.failure
            self._waiter = self._mailbox.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return None


async def reply_of(owner: CallOwner, call: AsyncCall, sid: int, timeout_s: float | None, entry: str) -> Reply:
    """The reply of a call that was taken. Where it raises the call is given up; see `Host.call`."""
    try:
        if timeout_s is None or call.frames:
            reply = await call.next()
        else:
            async with asyncio.timeout(timeout_s):
                reply = await call.next()
    except TimeoutError:
        owner.give_up(sid)
        if not call.frames:
            raise CallTimeoutError(f"entry {entry!r} of {owner.path} did not answer in {timeout_s} s") from None
        return call.frames.popleft()
    except BaseException:
        owner.give_up(sid)
        raise
    assert reply is not None
    return reply


class AsyncStream:
    """The asyncio twin of `Stream`: `async for frame in stream`. One coroutine reads at a time.

    Attributes:
        sid: its number.
    """

    def __init__(self, instance: StreamOwner, call: AsyncCall, sid: int) -> None:
        self.sid = sid
        self._instance = instance
        self._call = call

    async def recv(self, timeout_s: float | None = None) -> Reply | None:
        """The next frame; arguments, result and errors are those of `Stream.recv`."""
        if timeout_s is None:
            return await self._call.next()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._call.next()
        except TimeoutError:
            raise CallTimeoutError(f"no frame came in {timeout_s} s; the stream is still open") from None

    def send(self, data: Body) -> None:
        """Send a frame to the plugin, which queues it: nothing is waited for. Raises as `Host.send_stream_data`."""
        self._instance.send_stream_data(self.sid, data)

    def close_input(self) -> None:
        """See `Stream.close_input`."""
        self._instance.close_stream(self.sid)

    def close(self) -> None:
        """See `Stream.close`."""
        if not self._call.dropped:
            self._call.drop()
            if not self._call.over and self._instance.drop_stream(self.sid):
                self._instance.close_dropped()

    def __aiter__(self) -> AsyncIterator[Reply]:
        return self

    async def __anext__(self) -> Reply:
        frame = await self._call.next()
        if frame is None:
            raise StopAsyncIteration
        return frame

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # As in Stream: the plugin is told by the next call.
        call = getattr(self, "_call", None)
        if call is not None and not call.dropped:
            call.dropped = True
            if not call.over:
                self._instance.drop_stream(self.sid)
