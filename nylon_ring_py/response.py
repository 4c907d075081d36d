"""A reply that says its status."""

from __future__ import annotations

from nylon_ring_py._core import take_response_type
from nylon_ring_py.status import Status, sendable_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Generic, TypeAlias, overload

    from typing_extensions import TypeVar

    Payload: TypeAlias = bytes | bytearray | memoryview | str | None
    Data = TypeVar("Data", covariant=True, default=Payload)
else:
    from types import GenericAlias

    Data = None

    class Generic:
        """Typing's, for type checkers; at run time a subscript is enough, and typing is not imported for it."""

        __slots__ = ()
        __class_getitem__ = classmethod(GenericAlias)


class Response(Generic[Data]):
    """What a handler returns, or a frame, when `Status.OK` is not what it means.

    Args:
        data: the payload: bytes-like as it is, str in UTF-8, None for an empty one. In an entry with a codec all that
            is not bytes-like is encoded, None too.
        status: any status but `Status.PANIC` and `Status.BACKPRESSURE`.

    Raises:
        TypeError: status is no integer.
        ValueError: the status is unknown or cannot be sent.
    """

    __slots__ = ("data", "status")

    data: Data
    status: Status

    if TYPE_CHECKING:

        @overload
        def __init__(self: Response[None], data: None = None, status: int = Status.OK) -> None: ...
        @overload
        def __init__(self, data: Data, status: int = Status.OK) -> None: ...

    def __init__(self, data: object = None, status: int = Status.OK) -> None:
        self.data = data  # type: ignore[assignment]  # the overloads say which
        self.status = Status.OK if status is Status.OK else sendable_status(status)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Response):
            return NotImplemented
        return self.status == other.status and self.data == other.data

    __hash__ = None  # type: ignore[assignment]  # data may be a bytearray

    def __repr__(self) -> str:
        return f"Response({self.data!r}, Status.{self.status.name})"


take_response_type(Response)
