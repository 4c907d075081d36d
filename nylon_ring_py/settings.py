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


class Settings:
    """The checked settings of one plugin; the arguments are those of `Plugin`.

    Raises:
        TypeError: a value has the wrong type.
        ValueError: a value is out of range; the message names the range.
    """

    __slots__ = ("config", "max_pending", "shutdown_timeout_s", "workers")

    def __init__(
        self, *, workers: int | None, max_pending: int | None, shutdown_timeout_s: float, config: object
    ) -> None:
        self.workers = default_workers() if workers is None else _count("workers", workers, MAX_WORKERS)
        self.max_pending = (
            DEFAULT_MAX_PENDING if max_pending is None else _count("max_pending", max_pending, MAX_MAX_PENDING)
        )
        self.shutdown_timeout_s = _seconds("shutdown_timeout_s", shutdown_timeout_s, MAX_SHUTDOWN_TIMEOUT_S)
        self.config = config


def _count(name: str, value: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is an int, not {type(value).__name__}")
    if not 1 <= value <= most:
        raise ValueError(f"{name} is {value}, but must be from 1 to {most}")
    return int(value)


def _seconds(name: str, value: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a number of seconds, not {type(value).__name__}")
    if not 0 <= value <= most:  # NaN fails this too
        raise ValueError(f"{name} is {value}, but must be from 0 to {most:.0f} seconds")
    return float(value)
