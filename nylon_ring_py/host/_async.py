"""`AsyncHost`: a plugin to call from an event loop. Replies come to the loop with one wake for all that wait."""

from __future__ import annotations

import asyncio
import os
from _thread import get_ident
from types import TracebackType
from typing import Self

from nylon_ring_py.host._abi import body_view
from nylon_ring_py.host._async_calls import AsyncCall, AsyncStream, Mailbox, reply_of
from nylon_ring_py.host._functions import Abi
from nylon_ring_py.host._host import DEFAULT_STREAM_CAPACITY, BaseHost
from nylon_ring_py.host._instance import Instance
from nylon_ring_py.host._types import Body, Headers, Text
from nylon_ring_py.host.errors import HostError
from nylon_ring_py.host.reply import Reply


class AsyncHost(BaseHost):
    """A loaded plugin, for the event loop that loaded it. An async context manager: leaving it unloads.

    Entries that answer on the caller's thread (`handle_sync` in Python plugins) do so on the loop's: keep them small,
    or call them by `asyncio.to_thread` through a `Host`.
    """

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self._mailbox = Mailbox(asyncio.get_running_loop())

    @classmethod
    async def load(
        cls,
        path: str | os.PathLike[str],
        *,
        abi: Abi | None = None,
        stream_capacity: int = DEFAULT_STREAM_CAPACITY,
    ) -> Self:
        """Load a plugin on a thread, so that the loop goes on. Arguments and errors are those of `Host.load`."""
        return cls(await asyncio.to_thread(Instance, path, abi, stream_capacity))

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
        """See `Host.call`. A cancelled call is given up; its reply is ignored."""
        request, keep = self._request(method, path, query, headers)
        call, sid = self._start(entry, self._instance.functions.handle, False, request, body_view(body))
        del keep
        return await reply_of(self._instance, call, sid, timeout_s, entry)

    async def call_raw(self, entry: str, body: Body = b"", *, timeout_s: float | None = None) -> Reply:
        """See `Host.call_raw`."""
        call, sid = self._start(entry, self._instance.functions.handle_raw, False, body_view(body))
        return await reply_of(self._instance, call, sid, timeout_s, entry)

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
        """See `Host.call_stream`."""
        request, keep = self._request(method, path, query, headers)
        call, sid = self._start(entry, self._instance.functions.handle, True, request, body_view(body))
        del keep
        return AsyncStream(self._instance, call, sid)

    def send_stream_data(self, sid: int, data: Body) -> None:
        """See `Host.send_stream_data`: the plugin queues the frame, so nothing is awaited."""
        self._instance.send_stream_data(sid, data)

    def close_stream(self, sid: int) -> None:
        """See `Host.close_stream`."""
        self._instance.close_stream(sid)

    async def unload(self, *, timeout_s: float | None = None) -> None:
        """See `Host.unload`; on a thread, so that the loop goes on."""
        await asyncio.to_thread(self._instance.unload, timeout_s)

    def _start(self, entry: str, function: object, streams: bool, *arguments: object) -> tuple[AsyncCall, int]:
        if get_ident() != self._mailbox.thread:
            raise HostError("an AsyncHost is used on the thread of the event loop that loaded it: use Host elsewhere")
        instance = self._instance
        call = AsyncCall(self._mailbox, streams, instance.stream_capacity if streams else 0)
        assert callable(function)
        return call, instance.start(call, function, instance.name(entry), *arguments, entry=entry)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.unload()
