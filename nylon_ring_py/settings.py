"""What an author may set about a plugin's resources: defaults with their reasons, and the checks."""

from __future__ import annotations

import os

MAX_NAME_BYTES = 64
MAX_VERSION_BYTES = 48
"""Both stand in fixed places of the plugin file's image, where hosts read them before any Python runs."""

MAX_WORKERS = 1024
"""More threads than this under one GIL only cost memory (8 MiB of address space each): most likely a typing error."""

DEFAULT_MAX_PENDING = 65536
"""A burst of one second at 65,000 calls a second waits; what comes on top is refused at once, not queued for ever."""

MAX_MAX_PENDING = 2**31 - 1

DEFAULT_SHUTDOWN_TIMEOUT_S = 10.0
"""Long enough for a handler inside a database call to end, short enough for a service manager that kills after 30."""

MAX_SHUTDOWN_TIMEOUT_S = 1_000_000.0


def default_workers() -> int:
    """Worker threads when the author names no number, as concurrent.futures counts them: handlers mostly wait for
    something else than the GIL, so a few more than the cores; never more than 32, since they share one GIL.
    """
    return min(32, (os.cpu_count() or 1) + 4)


DEFAULT_CLOSE_TIMEOUT_S = 30.0
"""After a host has closed its end a handler may still send what it has; a service manager's patience is the measure."""

DEFAULT_MAX_BUFFERED = 64
"""Frames a host leaves waiting before their producer waits too: as many as the released hosts buffer themselves."""

MAX_MAX_BUFFERED = 2**20

DEFAULT_MAX_SYNC_STREAMS = 256
"""Threads of plain-def duplex handlers: each costs some 40 KiB while it waits, and shares the one GIL."""

MAX_LOOPS = 64

DEFAULT_SLOW_CALLBACK_S = 0.5
"""A step of a coroutine that takes longer is logged. What every other call on the loop waits for; asyncio's own debug
mode says 0.1, but that is for development."""

MAX_TIMEOUT_S = 1_000_000.0


class Settings:
    """The checked settings of one plugin; the arguments are those of `Plugin`.

    Raises:
        TypeError: a value has the wrong type.
        ValueError: a value is out of range; the message names the range.
    """

    __slots__ = (
        "close_timeout_s",
        "config",
        "event_loop",
        "executor",
        "idle_timeout_s",
        "loops",
        "max_buffered",
        "max_pending",
        "max_sync_streams",
        "shutdown_timeout_s",
        "slow_callback_s",
        "timeout_s",
        "workers",
    )

    def __init__(
        self,
        *,
        workers: int | None,
        max_pending: int | None,
        shutdown_timeout_s: float,
        config: object,
        executor: object = None,
        timeout_s: float | None = None,
        idle_timeout_s: float | None = None,
        close_timeout_s: float = DEFAULT_CLOSE_TIMEOUT_S,
        max_buffered: int = DEFAULT_MAX_BUFFERED,
        max_sync_streams: int = DEFAULT_MAX_SYNC_STREAMS,
        loops: int = 1,
        event_loop: str = "asyncio",
        slow_callback_s: float | None = DEFAULT_SLOW_CALLBACK_S,
    ) -> None:
        self.workers = default_workers() if workers is None else count("workers", workers, MAX_WORKERS)
        self.max_pending = (
            DEFAULT_MAX_PENDING if max_pending is None else count("max_pending", max_pending, MAX_MAX_PENDING)
        )
        self.shutdown_timeout_s = _seconds("shutdown_timeout_s", shutdown_timeout_s, MAX_SHUTDOWN_TIMEOUT_S)
        self.timeout_s = time_limit("timeout_s", timeout_s)
        self.idle_timeout_s = time_limit("idle_timeout_s", idle_timeout_s)
        self.close_timeout_s = time_limit("close_timeout_s", close_timeout_s)
        self.slow_callback_s = time_limit("slow_callback_s", slow_callback_s)
        self.max_buffered = count("max_buffered", max_buffered, MAX_MAX_BUFFERED)
        self.max_sync_streams = count("max_sync_streams", max_sync_streams, MAX_WORKERS)
        self.loops = count("loops", loops, MAX_LOOPS)
        if event_loop not in ("asyncio", "uvloop"):
            raise ValueError(f"event_loop is {event_loop!r}, but must be 'asyncio' or 'uvloop'")
        self.event_loop = event_loop
        self.executor = executor
        self.config = config


def count(name: str, value: int, most: int) -> int:
    """A number of things, from 1 to `most`.

    Raises:
        TypeError: it is no int.
        ValueError: it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is an int, not {type(value).__name__}")
    if not 1 <= value <= most:
        raise ValueError(f"{name} is {value}, but must be from 1 to {most}")
    return int(value)


def time_limit(name: str, value: float | None) -> float:
    """A time limit in seconds; None and infinity mean none, which is infinity.

    Raises:
        TypeError: it is no number.
        ValueError: it is zero, negative, NaN, or longer than `MAX_TIMEOUT_S`.
    """
    if value is None or value == _INFINITY:
        return _INFINITY
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a number of seconds, not {type(value).__name__}")
    if not 0 < value <= MAX_TIMEOUT_S:  # NaN fails this too
        raise ValueError(f"{name} is {value}, but must be above 0 and at most {MAX_TIMEOUT_S:.0f} seconds")
    return float(value)


_INFINITY = float("inf")


def _seconds(name: str, value: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a number of seconds, not {type(value).__name__}")
    if not 0 <= value <= most:  # NaN fails this too
        raise ValueError(f"{name} is {value}, but must be from 0 to {most:.0f} seconds")
    return float(value)
