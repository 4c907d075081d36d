"""One plugin in this process, as its FakeHost drives it: its calls by sid, what it sends, its end."""

from __future__ import annotations

import atexit
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from nylon_ring_py import _core
from nylon_ring_py.host._calls import OK, Call
from nylon_ring_py.host._types import Body, Headers, Text, as_bytes
from nylon_ring_py.host.errors import HostClosedError, HostError, RefusedError
from nylon_ring_py.host.reply import Reply
from nylon_ring_py.plugin import Plugin
from nylon_ring_py.testing._ledger import Ledger
from nylon_ring_py.testing._time import run_out

if TYPE_CHECKING:
    from typing import TypeVar

    AnyCall = TypeVar("AnyCall", bound=Call)

Abi: TypeAlias = Literal["v1", "v2"]
Clock: TypeAlias = Literal["real", "manual"]
CoreRequest: TypeAlias = tuple[bytes, bytes, bytes, tuple[tuple[bytes, bytes], ...]]


class FakeInstance:
    """Loads on construction; see `FakeHost` for arguments and errors."""

    def __init__(self, plugin: Plugin, abi: Abi, capacity: int | None, clock: Clock) -> None:
        if not isinstance(plugin, Plugin):
            raise TypeError(f"a FakeHost takes a nylon_ring_py.Plugin, not {type(plugin).__name__}")
        if abi not in ("v1", "v2"):
            raise ValueError(f"abi is 'v1' or 'v2', not {abi!r}")
        if clock not in ("real", "manual"):
            raise ValueError(f"clock is 'real' or 'manual', not {clock!r}")
        if capacity is not None and (abi == "v1" or not 1 <= capacity < 2**32):
            raise ValueError(
                f"capacity={capacity!r} does not fit: a v1 host has no way to say that it is full"
                if abi == "v1"
                else f"capacity is 1 to {2**32 - 1} frames, not {capacity!r}"
            )
        if clock == "manual" and plugin._settings.event_loop != "asyncio":
            raise ValueError(f"{plugin._settings.event_loop} keeps its own time: clock='manual' is for asyncio's loop")
        self.path = f"plugin {plugin.name!r}"  # what messages of a Host call by its file
        self.plugin = plugin
        self.abi: Abi = abi
        self.closed = False
        self.ledger = Ledger()
        self._calls: dict[int, Call] = {}
        self._sids = itertools.count(1)
        self._to_close: deque[int] = deque()  # v1 streams without a reader, to be closed at the plugin
        self._ending = threading.Lock()
        self._pid = os.getpid()
        self.core = _core.FakeHost(plugin, plugin.name, abi == "v2", capacity or 0, clock == "manual")
        self._pump = threading.Thread(target=self._receive, name=f"FakeHost of {self.path}", daemon=True)
        self._pump.start()
        atexit.register(self.unload)

    # ---- into the plugin ----

    def is_stream(self, entry: str) -> bool:
        """Whether the plugin has an entry of this name that is a stream."""
        found = self.plugin.entries.get(entry)
        return found is not None and found.kind == "stream"

    def request(self, method: Text, path: Text, query: Text, headers: Headers) -> CoreRequest | None:
        """A request as the core wants it; None in v2, which carries none."""
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        table = tuple((as_bytes(key), as_bytes(value)) for key, value in pairs)
        if self.abi == "v1":
            return as_bytes(method), as_bytes(path), as_bytes(query), table
        if method or path or query or table:
            raise HostError(
                "ABI v2 carries no method, path, query or headers: use FakeHost(plugin, abi='v1'), or put them into "
                "the body"
            )
        return None

    def start(
        self, make: Callable[[int], AnyCall], entry: str, request: CoreRequest | None, body: Body
    ) -> tuple[AnyCall, int]:
        """Make a call, `make(sid)`.

        Returns:
            The call and its sid.

        Raises:
            RefusedError: the plugin did not take it.
        """
        self.close_dropped()
        self._check_open()
        payload = _payload(body)
        sid = next(self._sids)
        call = make(sid)
        self._calls[sid] = call
        self.ledger.begin(sid, entry, self.is_stream(entry))
        try:
            status = self.core.handle(entry.encode(), sid, request, payload, self.is_stream(entry))
        except BaseException:
            self._calls.pop(sid, None)
            self.ledger.forget(sid)
            raise
        if status != OK:
            self._calls.pop(sid, None)
            self.ledger.refuse(sid, status)
            raise RefusedError(f"the call of entry {entry!r} of {self.path}", status)
        return call, sid

    def send_stream_data(self, sid: int, body: Body = b"") -> None:
        """See `Host.send_stream_data`."""
        self._check_open()
        status = self.core.stream_data(sid, _payload(body))
        if status != OK:
            raise RefusedError(f"a frame for stream {sid} of {self.path}", status)

    def close_stream(self, sid: int) -> None:
        """See `Host.close_stream`."""
        self._check_open()
        status = self.core.stream_close(sid)
        if status != OK:
            raise RefusedError(f"the close of stream {sid} of {self.path}", status)

    def advance(self, seconds: float) -> None:
        """See `FakeHost.advance`."""
        loops = self.core.event_loops()
        for loop in loops:
            run_out(loop)
        self.core.advance(seconds)
        for loop in loops:
            run_out(loop)

    # ---- calls that end early ----

    def give_up(self, sid: int) -> None:
        """Forget who waits. The reply still counts."""
        self._calls.pop(sid, None)

    def drop_stream(self, sid: int) -> bool:
        """See `StreamOwner`."""
        if sid not in self._calls or self.closed:
            return False
        if self.abi == "v2":
            self.forsake(sid)
            return False
        self._to_close.append(sid)
        return True

    def forsake(self, sid: int) -> None:
        """Nobody reads for this sid any more: in v2 the next send is answered Invalid."""
        self._calls.pop(sid, None)
        if self.abi == "v2":
            self.ledger.drop(sid)
            self.core.drop(sid)

    def close_dropped(self) -> None:
        """See `StreamOwner`. What the plugin answers matters to nobody."""
        while self._to_close:
            sid = self._to_close.popleft()
            if sid in self._calls and not self.closed:
                self.core.stream_close(sid)

    # ---- what the plugin sends ----

    def _receive(self) -> None:
        while batch := self.core.take():
            for sid, status, data in batch:
                reply = Reply(data, status)
                call = self._calls.get(sid)
                self.ledger.reply(sid, reply)
                if call is not None:
                    call.take(self._calls, sid, status, data)

    # ---- the end ----

    def unload(self) -> None:
        """Shut the plugin down, and wait for all that it sends. A second call does nothing."""
        if os.getpid() != self._pid:
            return  # the threads of a forked process are the parent's
        with self._ending:
            if self.closed:
                return
            self.closed = True
            self.core.close()
            self._pump.join()
            atexit.unregister(self.unload)
            while self._calls:
                _, call = self._calls.popitem()
                call.fail(HostClosedError(f"{self.path} was unloaded, and had not answered this call"))

    @property
    def in_progress(self) -> int:
        """Calls and streams that have not ended."""
        return len(self.ledger.open_calls())

    def _check_open(self) -> None:
        if self.closed:
            raise HostClosedError(f"{self.path} is unloaded: make another FakeHost of it")


def _payload(body: Body) -> bytes | bytearray | memoryview:
    return b"" if body is None else body.encode() if isinstance(body, str) else body
