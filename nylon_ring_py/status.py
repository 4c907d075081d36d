"""The ABI's status numbers, and which of them an author may send."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """How a call, or one frame of a stream, came out. The numbers are the ABI's."""

    OK = 0
    ERR = 1
    INVALID = 2
    UNSUPPORTED = 3
    STREAM_END = 4
    PANIC = 5
    BACKPRESSURE = 6

    @property
    def sendable(self) -> bool:
        """Whether an author may send this status."""
        return self not in _NOT_SENDABLE


_NOT_SENDABLE = {
    Status.PANIC: "it reports a crash that only the host can have seen, and ABI v1 does not know it; send Status.ERR",
    Status.BACKPRESSURE: "it is the answer of a full queue, not of a handler, and ABI v1 does not know it; "
    "send Status.ERR",
}


def sendable_status(status: int) -> Status:
    """Check a status an author wants to send.

    Args:
        status: a `Status`, or its number.

    Returns:
        The `Status`.

    Raises:
        TypeError: it is no integer.
        ValueError: no such status exists, or it cannot be sent; the message says why.
    """
    if isinstance(status, bool) or not isinstance(status, int):
        raise TypeError(f"a status is a nylon_ring_py.Status or its number, not {type(status).__name__}")
    try:
        known = Status(status)
    except ValueError:
        raise ValueError(f"there is no status {status}: use a member of nylon_ring_py.Status") from None
    reason = _NOT_SENDABLE.get(known)
    if reason is not None:
        raise ValueError(f"Status.{known.name} cannot be sent: {reason}")
    return known
