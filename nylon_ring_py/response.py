"""A reply that says its status."""

from __future__ import annotations

from nylon_ring_py.status import Status, sendable_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Payload: TypeAlias = bytes | bytearray | memoryview | str | None


class Response:
    """What a handler returns, or a frame, when `Status.OK` is not what it means.

    Args:
        data: the payload: bytes-like as it is, str in UTF-8, None for an empty one.
        status: any status but `Status.PANIC` and `Status.BACKPRESSURE`.

    Raises:
        TypeError: status is no integer.
        ValueError: the status is unknown or cannot be sent.
    """

    __slots__ = ("data", "status")

    data: Payload
    status: Status

    def __init__(self, data: Payload = None, status: int = Status.OK) -> None:
        self.data = data
        self.status = Status.OK if status is Status.OK else sendable_status(status)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Response):
            return NotImplemented
        return self.status == other.status and self.data == other.data

    __hash__ = None  # type: ignore[assignment]  # data may be a bytearray

    def __repr__(self) -> str:
        return f"Response({self.data!r}, Status.{self.status.name})"
