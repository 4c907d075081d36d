"""Tracebacks of handlers and hooks: in the log of their plugin, never in a reply. A flood is counted, not written."""

from __future__ import annotations

import time
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import TypeAlias

    Key: TypeAlias = tuple[str, str]

RECORDS_PER_SECOND = 10
"""Per entry and type of exception: enough to see a pattern, and a log on a slow disk does not stop the handlers."""


class ExceptionLog:
    """Writes exceptions to the logger ``nylon_ring.<plugin>``, at most so many a second for each pair of place and
    type. What is left out is counted, and the count written: with the first exception of a later second, or by `flush`.

    Any thread may use it. Nothing here raises: what the log itself does wrong goes to file descriptor 2.

    Args:
        plugin_name: the end of the logger's name.
        per_second: records per second, place and type.
        clock: seconds that never go back; for tests.
    """

    def __init__(
        self, plugin_name: str, *, per_second: int = RECORDS_PER_SECOND, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.logger_name = f"nylon_ring.{plugin_name}"
        self._per_second = per_second
        self._clock = clock
        self._lock = allocate_lock()
        self._window_end = clock() + 1.0
        self._seen: dict[Key, int] = {}  # guarded by _lock; the exceptions of this second, so it stays small

    def exception(self, where: str, sid: int | None, exc: BaseException) -> None:
        """Write an exception with its traceback, or count it.

        Args:
            where: what raised, for example ``entry 'feed'``.
            sid: the call, or None where there was none.
            exc: what was raised.
        """
        type_name = _type_name(exc)
        if self._is_written((where, type_name)):
            call = "" if sid is None else f" (sid {sid})"
            self._write(f"{where} raised {type_name}{call}", where, sid, exc)

    def remote(self, where: str, sid: int, type_name: str, traceback: str) -> None:
        """Write an exception of a worker process, or count it.

        Args:
            where: what raised, for example ``entry 'feed'``.
            sid: the call.
            type_name: of what was raised.
            traceback: as the process has formatted it.
        """
        if self._is_written((where, type_name)):
            text = f"{where} raised {type_name} in a worker process (sid {sid})\n{traceback.rstrip()}"
            self._write(text, where, sid, None)

    def note(self, message: str) -> None:
        """Write what is no exception, and not said often."""
        self._write(message, "the plugin", None, None)

    def warning(self, message: str) -> None:
        """Write what is no exception.

        Args:
            message: the whole of it.
        """
        try:
            import logging

            logging.getLogger(self.logger_name).warning("%s", message)
        except BaseException as broken:
            last_resort(f"{self.logger_name}: {message}; logging it raised {_type_name(broken)}")

    def flush(self) -> None:
        """Write the counts of what was left out so far."""
        with self._lock:
            left_out = self._take_left_out()
        self._summarise(left_out)

    def _is_written(self, key: Key) -> bool:
        """Count an exception; whether it is to be written."""
        with self._lock:
            left_out = self._take_left_out() if self._clock() >= self._window_end else []
            self._seen[key] = self._seen.get(key, 0) + 1
            written = self._seen[key] <= self._per_second
        # The lock is free again: a logging handler may well raise and come back here.
        self._summarise(left_out)
        return written

    def _take_left_out(self) -> list[tuple[Key, int]]:
        """Start a new second; _lock is held."""
        left_out = [(key, count - self._per_second) for key, count in self._seen.items() if count > self._per_second]
        self._seen.clear()
        self._window_end = self._clock() + 1.0
        return left_out

    def _summarise(self, left_out: list[tuple[Key, int]]) -> None:
        for (where, type_name), count in left_out:
            self._write(
                f"{where} raised {type_name} {count} more times; their tracebacks were left out", where, None, None
            )

    def _write(self, message: str, where: str, sid: int | None, exc: BaseException | None) -> None:
        try:
            import logging

            extra = {"nylon_where": where, "nylon_sid": sid}
            shown = None if exc is None else (type(exc), exc, _from_the_author_on(exc.__traceback__))
            logging.getLogger(self.logger_name).error("%s", message, exc_info=shown, extra=extra)
        except BaseException as broken:
            last_resort(f"{self.logger_name}: {message}; logging it raised {_type_name(broken)}")


def last_resort(line: str) -> None:
    """Write a line to file descriptor 2, for when the log itself fails; a closed descriptor leaves nowhere to tell.

    Args:
        line: without its end of line.
    """
    import contextlib
    import os

    with contextlib.suppress(OSError):
        os.write(2, line.encode("utf-8", "backslashreplace") + b"\n")


_OWN_FOLDER = __file__.removesuffix("logs.py")


def _from_the_author_on(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of this package it begins with, which decode a payload or wait for a frame; whole
    where there is nothing else.
    """
    step = traceback
    while step is not None and step.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
        step = step.tb_next
    return step or traceback


def _type_name(exc: BaseException) -> str:
    return type.__dict__["__name__"].__get__(type(exc))  # type: ignore[no-any-return]  # a metaclass may lie or raise
