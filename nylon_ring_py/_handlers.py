"""What handlers and hooks look like to a type checker. Never imported at run time: it would cost start-up time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias, TypeVar

from nylon_ring_py._core import Callback, Request
from nylon_ring_py.entry import Stream
from nylon_ring_py.response import Payload, Response

Result: TypeAlias = Payload | Response


class CallbackByKeyword(Protocol):
    """A handler with a keyword-only callback."""

    def __call__(self, request: Request, /, *, callback: Callback) -> Result:
        """Answer, now or later."""


class RawCallbackByKeyword(Protocol):
    """A raw handler with a keyword-only callback."""

    def __call__(self, payload: bytes, /, *, callback: Callback) -> Result:
        """Answer, now or later."""


Answering: TypeAlias = (
    Callable[[Request], Result]
    | Callable[[Request, Callback], Result]
    | Callable[[Callback, Request], Result]
    | CallbackByKeyword
)
RawAnswering: TypeAlias = (
    Callable[[bytes], Result]
    | Callable[[bytes, Callback], Result]
    | Callable[[Callback, bytes], Result]
    | RawCallbackByKeyword
)
AnyHandler: TypeAlias = Answering | Callable[[Request], Iterator[Result]]
AnyRawHandler: TypeAlias = RawAnswering | Callable[[bytes], Iterator[Result]]

Handler = TypeVar("Handler", bound=AnyHandler)
SyncHandler = TypeVar("SyncHandler", bound=Answering)
RawHandler = TypeVar("RawHandler", bound=AnyRawHandler)
DuplexHandler = TypeVar("DuplexHandler", bound=Callable[[Stream], object])
Hook = TypeVar("Hook", bound=Callable[[], object])
DataHook = TypeVar("DataHook", bound=Callable[[int, bytes], object])
CloseHook = TypeVar("CloseHook", bound=Callable[[int], object])
