"""What a plugin answers."""

from __future__ import annotations

from collections.abc import Iterator

from nylon_ring_py.host.errors import status_name
from nylon_ring_py.response import Response
from nylon_ring_py.status import Status

_STATUSES = tuple(Status)


class Reply(Response):
    """A reply, or a frame of a stream. Unpacks as `status, data = reply`.

    A plugin's own failure is a reply, too: look at `status`. A number that the ABI does not name stays a plain int.

    Args:
        data: the payload.
        status: what the plugin sent; unlike that of a `Response` it may be any.
    """

    __slots__ = ()

    data: bytes

    def __init__(self, data: bytes, status: int = Status.OK) -> None:
        self.data = data
        self.status = _STATUSES[status] if status < len(_STATUSES) else status  # type: ignore[assignment]

    @property
    def ok(self) -> bool:
        """Whether it says Ok, or is the good end of a stream."""
        return self.status == Status.OK or self.status == Status.STREAM_END

    @property
    def text(self) -> str:
        """The payload as UTF-8; UnicodeDecodeError where it is none."""
        return self.data.decode()

    def __iter__(self) -> Iterator[Status | bytes]:
        yield self.status
        yield self.data

    def __repr__(self) -> str:
        return f"Reply({self.data!r}, {status_name(self.status)})"
