"""Many threads that call at once, and the count of what became of each call."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, replace

from nylon_ring_py.host._echo import Echo, body_of
from nylon_ring_py.host._host import Host
from nylon_ring_py.host._submit import Request
from nylon_ring_py.host.errors import HostClosedError, RefusedError


@dataclass
class Counts:
    """What became of a storm's calls, as docs/conformance.md defines it."""

    accepted: int = 0
    refused: int = 0
    replies: int = 0
    wrong: int = 0
    lost: int = 0

    def add(self, other: Counts) -> None:
        """Add another count to this one."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


class Storm:
    """Callers of one entry.

    Args:
        host: whose plugin; `reload` may replace it meanwhile.
        request: what to call; the bodies are made anew, each unlike any other.
        body_size: bytes of a body.
        pieces: how many a body is cut into where it is sent to an open stream; 0: it goes with the call.
        threads: how many callers.
        calls: how many calls they make between them; None: until `stop`, or until the plugin is unloaded.
    """

    def __init__(
        self, host: Host, request: Request, *, body_size: int, pieces: int = 0, threads: int, calls: int | None
    ) -> None:
        self._host = host
        self._request = request
        self._body_size = body_size
        self._pieces = pieces
        self._left = calls
        self._number = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._counts = Counts()
        self._threads = [threading.Thread(target=self._work) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Have no new calls made."""
        self._stop.set()

    def join(self) -> Counts:
        """Wait for the callers, and count."""
        for thread in self._threads:
            thread.join()
        return self._counts

    def _next_number(self) -> int | None:
        with self._lock:
            if self._stop.is_set() or self._left == 0:
                return None
            if self._left is not None:
                self._left -= 1
            self._number += 1
            return self._number

    def _work(self) -> None:
        counts = Counts()
        while (number := self._next_number()) is not None:
            if not self._call(number, counts):
                break
        with self._lock:
            self._counts.add(counts)

    def _call(self, number: int, counts: Counts) -> bool:
        """One call; False when there is nobody to call any more."""
        request = replace(self._request, body=body_of(number, self._body_size))
        instance = self._host.instance
        try:
            echo = Echo(instance, request, self._pieces)
        except HostClosedError:
            counts.refused += 1
            return self._host.instance is not instance
        except RefusedError:
            counts.refused += 1
            return True
        counts.accepted += 1
        right = echo.finish()
        if right is None:
            counts.lost += 1
            return True
        counts.replies += 1
        counts.wrong += not right
        return True
