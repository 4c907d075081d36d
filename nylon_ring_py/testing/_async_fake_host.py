"""`AsyncFakeHost`: a plugin to call from an event loop, in this process."""

from __future__ import annotations

import asyncio
from _thread import get_ident
from types import TracebackType
from typing import Self

from nylon_ring_py.host._async_calls import AsyncCall, AsyncStream, Mailbox, reply_of
from nylon_ring_py.host._types import Body, Headers, Text
from nylon_ring_py.host.errors import HostError
from nylon_ring_py.host.reply import Reply
from nylon_ring_py.plugin import Plugin
from nylon_ring_py.testing._fake_host import DEFAULT_SETTLE_S, BaseFakeHost
from nylon_ring_py.testing._instance import Abi, Clock, CoreRequest, FakeInstance


class AsyncFakeHost(BaseFakeHost):
    """The asyncio twin of `FakeHost`, for the loop that enters it: ``async with AsyncFakeHost(plugin) as host``.

    The plugin is loaded when the block is entered, on a thread, and shut down when it is left. Entries that answer on
    the caller's thread (`handle_sync`) do so on the loop's. Arguments and errors are those of `FakeHost`.
    """

    _mailbox: Mailbox

    def __init__(self, plugin: Plugin, *, abi: Abi = "v1", capacity: int | None = None, clock: Clock = "real") -> None:
        self._arguments = plugin, abi, capacity, clock

    async def call(
        self,
        entry: str,
        body: Body = b"",
        *,
        method: Text = "",
        path: Text = "",
        query: Text = "",
        headers: Headers = (),
        timeout_s: float | None = None,
    ) -> Reply:
        """See `FakeHost.call`. A cancelled call is given up, and still recorded."""
        return await self._call(entry, self._instance.request(method, path, query, headers), body, timeout_s)

    async def call_raw(self, entry: str, body: Body = b"", *, timeout_s: float | None = None) -> Reply:
        """See `FakeHost.call_raw`."""
        return await self._call(entry, None, body, timeout_s)

    async def call_stream(
        self,
        entry: str,
        body: Body = b"",
        *,
        method: Text = "",
        path: Text = "",
        query: Text = "",
        headers: Headers = (),
    ) -> AsyncStream:
        """See `FakeHost.call_stream`."""
        self._check_stream(entry)
        instance = self._instance
        request = instance.request(method, path, query, headers)
        mailbox = self._on_loop()
        call, sid = instance.start(lambda number: _AsyncFrames(mailbox, instance, number), entry, request, body)
        return AsyncStream(instance, call, sid)

    async def settle(self, timeout_s: float | None = DEFAULT_SETTLE_S) -> None:
        """See `FakeHost.settle`."""
        await asyncio.to_thread(self._instance.ledger.settle, timeout_s)

    async def unload(self) -> None:
        """See `FakeHost.unload`; on a thread, so that the loop goes on."""
        await asyncio.to_thread(self._instance.unload)

    async def _call(self, entry: str, request: CoreRequest | None, body: Body, timeout_s: float | None) -> Reply:
        instance, mailbox = self._instance, self._on_loop()
        call, sid = instance.start(lambda _: AsyncCall(mailbox, streams=False), entry, request, body)
        reply = await reply_of(instance, call, sid, timeout_s, entry)
        if instance.is_stream(entry):
            instance.forsake(sid)
        return reply

    def _on_loop(self) -> Mailbox:
        if get_ident() != self._mailbox.thread:
            raise HostError("an AsyncFakeHost is for the thread of the loop that entered it: use FakeHost elsewhere")
        return self._mailbox

    async def __aenter__(self) -> Self:
        self._mailbox = Mailbox(asyncio.get_running_loop())
        self._instance = await asyncio.to_thread(FakeInstance, *self._arguments)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.unload()
        self._finish(error)


class _AsyncFrames(AsyncCall):
    """Tells the host of each frame that was read: its capacity is counted there."""

    def __init__(self, mailbox: Mailbox, instance: FakeInstance, sid: int) -> None:
        super().__init__(mailbox, streams=True)
        self._instance = instance
        self._sid = sid

    async def next(self) -> Reply | None:
        """See `AsyncCall`."""
        frame = await super().next()
        if frame is not None:
            self._instance.core.read(self._sid)
        return frame
