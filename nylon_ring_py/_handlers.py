"""What handlers and hooks look like to a type checker. Never imported at run time: it would cost start-up time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from nylon_ring_py._core import Callback, Request, Stream
from nylon_ring_py.plugin import Plugin
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


Codec: TypeAlias = Literal["json", "msgpack"]

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
Awaiting: TypeAlias = (
    Callable[[Request], Coroutine[Any, Any, Result]]
    | Callable[[Request, Callback], Coroutine[Any, Any, Result]]
    | Callable[[Callback, Request], Coroutine[Any, Any, Result]]
)
RawAwaiting: TypeAlias = (
    Callable[[bytes], Coroutine[Any, Any, Result]]
    | Callable[[bytes, Callback], Coroutine[Any, Any, Result]]
    | Callable[[Callback, bytes], Coroutine[Any, Any, Result]]
)
AnyHandler: TypeAlias = (
    Answering | Awaiting | Callable[[Request], Iterator[Result]] | Callable[[Request], AsyncIterator[Result]]
)
AnyRawHandler: TypeAlias = (
    RawAnswering | RawAwaiting | Callable[[bytes], Iterator[Result]] | Callable[[bytes], AsyncIterator[Result]]
)
AnyDuplexHandler: TypeAlias = Callable[[Stream], None] | Callable[[Stream], Coroutine[Any, Any, None]]

Handler = TypeVar("Handler", bound=AnyHandler)
SyncHandler = TypeVar("SyncHandler", bound=Answering)
RawHandler = TypeVar("RawHandler", bound=AnyRawHandler)
DuplexHandler = TypeVar("DuplexHandler", bound=AnyDuplexHandler)
SharedObjects: TypeAlias = Mapping[str, Any] | None
AnyLifespan: TypeAlias = (
    Callable[[], AsyncIterator[SharedObjects]]
    | Callable[[Plugin], AsyncIterator[SharedObjects]]
    | Callable[[], Iterator[SharedObjects]]
    | Callable[[Plugin], Iterator[SharedObjects]]
    | Callable[[], AbstractAsyncContextManager[object]]
    | Callable[[Plugin], AbstractAsyncContextManager[object]]
    | Callable[[], AbstractContextManager[object]]
    | Callable[[Plugin], AbstractContextManager[object]]
)
Lifespan = TypeVar("Lifespan", bound=AnyLifespan)
Hook = TypeVar("Hook", bound=Callable[[], object])
DataHook = TypeVar("DataHook", bound=Callable[[int, bytes], object])
CloseHook = TypeVar("CloseHook", bound=Callable[[int], object])
