"""One call of a storm: whether what comes back is the body that went in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from nylon_ring_py.host._instance import Instance
from nylon_ring_py.host._submit import Pending, Request, is_last, submit
from nylon_ring_py.host.errors import CallTimeoutError, HostClosedError, HostError, RefusedError
from nylon_ring_py.status import Status

LOST_AFTER_S = 30.0

_PATTERN = bytes(range(251))
_FULL = (Status.ERR, Status.BACKPRESSURE)


def body_of(number: int, size: int) -> bytes:
    """A body that no other call has.

    Every byte tells the call and its own place: a frame of another call, or in another's place, is seen.
    """
    start = number % len(_PATTERN)
    pattern = _PATTERN[start:] + _PATTERN[:start]
    body = pattern * (size // len(pattern) + 1)
    return (number.to_bytes(8, "little") + body[8:])[:size]


class Echo:
    """A call in progress, made when this is.

    Args:
        instance: what is called.
        request: what to call; its body is what is to come back.
        pieces: how many the body is cut into where it is sent to an open stream; 0: it goes with the call.

    Raises:
        RefusedError, HostError: as `submit`.
    """

    def __init__(self, instance: Instance, request: Request, pieces: int) -> None:
        self._instance = instance
        self._request = request
        self._pieces = pieces
        self._came = 0  # bytes of the body that are back
        self._ended = False
        self._wrong = False
        self._pending: Pending = submit(instance, replace(request, body=b"") if pieces else request)

    def finish(self) -> bool | None:
        """Send what is to be sent, and read to the end.

        Returns:
            Whether the answer was right; None where it did not come to an end.
        """
        try:
            if self._pieces:
                self._send()
            while not self._ended:
                self._read()
        except (CallTimeoutError, HostClosedError):
            self._pending.close()
            return None
        except HostError:
            return False
        return not self._wrong

    def _send(self) -> None:
        """A piece that the plugin has no room for goes again once there was a frame."""
        for piece in self._cut():
            while not self._ended and not self._takes(piece):
                self._read()
        # What is wrong with the close shows in the end that does not come.
        with contextlib.suppress(RefusedError, HostClosedError):
            self._instance.close_stream(self._pending.sid)

    def _cut(self) -> Iterator[bytes]:
        body = self._request.body
        size = max(1, len(body) // self._pieces)
        return (body[start : start + size] for start in range(0, len(body), size))

    def _takes(self, piece: bytes) -> bool:
        try:
            self._instance.send_stream_data(self._pending.sid, piece)
        except HostClosedError:
            return False  # its last frame says how it has ended
        except RefusedError as error:
            self._wrong = self._wrong or not (error.status in _FULL or self._instance.closing)
            return False
        return True

    def _read(self) -> None:
        frame = self._pending.recv(LOST_AFTER_S)
        if frame is None:
            self._ended = self._wrong = True
            return
        self._ended = is_last(self._request, frame)
        if self._ended and frame.status == Status.ERR and self._instance.closing:
            return  # in progress when the plugin was shut down
        stream_end = self._ended and self._request.stream
        right = frame.status == (Status.STREAM_END if stream_end else Status.OK) and not (stream_end and frame.data)
        right = right and self._request.body.startswith(frame.data, self._came)
        self._came += len(frame.data)
        self._wrong = self._wrong or not right or (self._ended and self._came != len(self._request.body))
