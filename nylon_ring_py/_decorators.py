"""What the decorators of `Plugin` are to a type checker. Never imported at run time: it would cost start-up time.

A handler comes out as it went in. Only the names of its parameters before the payload, and the payload's, are lost
where it has a typed payload; with a codec and no other parameter they are kept there too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Concatenate, Never, ParamSpec, Protocol, TypeAlias, TypedDict, TypeVar, overload

from nylon_ring_py._core import Callback, Request
from nylon_ring_py._handlers import Handler, RawHandler, SyncHandler


class Struct(Protocol):
    """A msgspec Struct."""

    __struct_fields__: ClassVar[tuple[str, ...]]


class Dataclass(Protocol):
    """A dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class Model(Protocol):
    """A pydantic model; not by its import, for it may not be installed."""

    __pydantic_fields_set__: Any


# A TypedDict is a Mapping[str, object], and so are others; what their values are is seen when the module is imported.
Typed: TypeAlias = (
    Struct
    | Dataclass
    | Model
    | Mapping[str, object]
    | dict[Any, Any]
    | list[Any]
    | tuple[Any, ...]
    | set[Any]
    | frozenset[Any]
    | None
)

Body = TypeVar("Body", bound=Typed)
First = TypeVar("First", Request, Callback)
Second = TypeVar("Second", Request, Callback)
Rest = ParamSpec("Rest")
Given = TypeVar("Given")

BodyFirst: TypeAlias = Callable[Concatenate[Body, Rest], Given]
BodyBefore: TypeAlias = Callable[Concatenate[Body, First, Rest], Given]
BodySecond: TypeAlias = Callable[Concatenate[First, Body, Rest], Given]
BodyThird: TypeAlias = Callable[Concatenate[First, Second, Body, Rest], Given]


class CallbackByKeyword(Protocol):
    """A handler with a codec and a keyword-only callback."""

    def __call__(self, argument: Never, /, *, callback: Callback) -> object:
        """Answer, now or later."""


# Never stands for any type of parameter: with a codec the only one may be a payload of every kind.
Coded = TypeVar(
    "Coded",
    bound=Callable[[Never], object]
    | Callable[[Request, Callback], object]
    | Callable[[Callback, Request], object]
    | CallbackByKeyword,
)
CodedRaw = TypeVar(
    "CodedRaw",
    bound=Callable[[Never], object]
    | Callable[[Never, Callback], object]
    | Callable[[Callback, Never], object]
    | CallbackByKeyword,
)


class Decorator(Protocol):
    """Of `Plugin.handle`."""

    @overload
    def __call__(self, function: Handler, /) -> Handler: ...
    @overload
    def __call__(self, function: BodyFirst[Body, Rest, Given], /) -> BodyFirst[Body, Rest, Given]: ...
    @overload
    def __call__(self, function: BodySecond[First, Body, Rest, Given], /) -> BodySecond[First, Body, Rest, Given]: ...
    @overload
    def __call__(
        self, function: BodyThird[First, Second, Body, Rest, Given], /
    ) -> BodyThird[First, Second, Body, Rest, Given]: ...


class SyncDecorator(Protocol):
    """Of `Plugin.handle_sync`."""

    @overload
    def __call__(self, function: SyncHandler, /) -> SyncHandler: ...
    @overload
    def __call__(self, function: BodyFirst[Body, Rest, Given], /) -> BodyFirst[Body, Rest, Given]: ...
    @overload
    def __call__(self, function: BodySecond[First, Body, Rest, Given], /) -> BodySecond[First, Body, Rest, Given]: ...
    @overload
    def __call__(
        self, function: BodyThird[First, Second, Body, Rest, Given], /
    ) -> BodyThird[First, Second, Body, Rest, Given]: ...


class CodedDecorator(Protocol):
    """Of `Plugin.handle` and `Plugin.handle_sync` with a codec."""

    @overload
    def __call__(self, function: Coded, /) -> Coded: ...
    @overload
    def __call__(self, function: BodyBefore[Body, First, Rest, Given], /) -> BodyBefore[Body, First, Rest, Given]: ...
    @overload
    def __call__(self, function: BodySecond[First, Body, Rest, Given], /) -> BodySecond[First, Body, Rest, Given]: ...
    @overload
    def __call__(
        self, function: BodyThird[First, Second, Body, Rest, Given], /
    ) -> BodyThird[First, Second, Body, Rest, Given]: ...


class RawDecorator(Protocol):
    """Of `Plugin.handle_raw`."""

    @overload
    def __call__(self, function: RawHandler, /) -> RawHandler: ...
    @overload
    def __call__(self, function: Callable[[Body], Given], /) -> Callable[[Body], Given]: ...
    @overload
    def __call__(self, function: Callable[[Body, Callback], Given], /) -> Callable[[Body, Callback], Given]: ...
    @overload
    def __call__(self, function: Callable[[Callback, Body], Given], /) -> Callable[[Callback, Body], Given]: ...


class CodedRawDecorator(Protocol):
    """Of `Plugin.handle_raw` with a codec."""

    def __call__(self, function: CodedRaw, /) -> CodedRaw:
        """Register the function."""


class SyncOptions(TypedDict, total=False):
    """The options of `Plugin.handle_sync` beside its codec."""

    timeout_s: None
    executor: None
    borrow: bool


class Options(TypedDict, total=False):
    """The options of `Plugin.handle` beside its codec."""

    stream: bool
    timeout_s: float | None
    executor: object
    borrow: bool
    max_pending: int | None
    max_buffered: int | None
    idle_timeout_s: float | None
    close_timeout_s: float | None


class RawOptions(Options, total=False):
    """The options of `Plugin.handle_raw` beside its codec."""

    sync: bool
