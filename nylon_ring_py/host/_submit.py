"""A call by any door that is not waited for at once: what the driver and its storms are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from nylon_ring_py.host._abi import NULL, body_view, request_view
from nylon_ring_py.host._calls import OK, FastCall, StreamCall, UnaryCall
from nylon_ring_py.host._instance import Instance
from nylon_ring_py.host._types import Text
from nylon_ring_py.host.errors import CallTimeoutError, HostError, RefusedError
from nylon_ring_py.host.reply import Reply
from nylon_ring_py.host.stream import Stream
from nylon_ring_py.status import Status

Door: TypeAlias = Literal["handle", "raw", "fast", "id"]


@dataclass
class Request:
    """A call to make. The four fields of a request go with door `handle` alone, and v2 takes none of them."""

    entry: str
    body: bytes = b""
    stream: bool = False
    door: Door = "handle"
    method: Text = ""
    path: Text = ""
    query: Text = ""
    headers: list[tuple[Text, Text]] = field(default_factory=list)


class Pending(Protocol):
    """A call that the plugin took."""

    sid: int

    def recv(self, timeout_s: float | None) -> Reply | None:
        """The next frame; None behind the last. Raises as `Stream.recv`."""

    def close(self) -> None:
        """Give it up."""


class PendingReply:
    """A unary call; `recv` gives its reply once."""

    def __init__(self, instance: Instance, call: UnaryCall, sid: int) -> None:
        self.sid = sid
        self._instance = instance
        self._call: UnaryCall | None = call

    def recv(self, timeout_s: float | None) -> Reply | None:
        """See `Pending`."""
        if self._call is None:
            return None
        reply = self._call.wait(timeout_s)
        if reply is None:
            raise CallTimeoutError(f"no reply came in {timeout_s} s; the call is still open")
        self._call = None
        return reply

    def close(self) -> None:
        """See `Pending`."""
        self._instance.give_up(self.sid)


def submit(instance: Instance, request: Request) -> Pending:
    """Make the call.

    Raises:
        RefusedError: the plugin did not take it; an entry that has no number is Invalid.
        HostError: what `Host.call` and the other doors raise.
    """
    view = body_view(request.body)
    call: UnaryCall | StreamCall
    if request.stream:
        call = StreamCall(instance.stream_capacity)
    else:
        call = FastCall() if request.door == "fast" else UnaryCall()
    function, target, arguments, keep = _way_in(instance, request)
    sid = instance.start(call, function, target, *arguments, view, entry=request.entry)
    del keep
    if isinstance(call, StreamCall):
        return Stream(instance, call, sid)
    if request.door == "fast" and call.reply is None:
        instance.give_up(sid)
    return PendingReply(instance, call, sid)


def _way_in(instance: Instance, request: Request) -> tuple[Callable[..., int], object, tuple[object, ...], object]:
    functions = instance.functions
    if request.door == "id":
        if functions.handle_by_id is None:
            raise HostError(f"{instance.path} has no entries by number")
        number = instance.entry_id(request.entry)
        if number is None:
            raise RefusedError(f"the entry {request.entry!r}, which has no number,", Status.INVALID)
        return functions.handle_by_id, number, (), None
    name = instance.name(request.entry)
    if request.door != "handle":
        return functions.handle_raw, name, (), None
    if functions.abi == "v2":
        if request.method or request.path or request.query or request.headers:
            raise HostError("ABI v2 carries no method, path, query or headers")
        return functions.handle, name, (NULL,), None
    view, keep = request_view(request.method, request.path, request.query, request.headers)
    return functions.handle, name, (view,), keep


def is_last(request: Request, frame: Reply) -> bool:
    """Whether a frame ends its call."""
    return not request.stream or frame.status != OK
