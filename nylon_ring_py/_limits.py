"""The limits of an entry as the core takes them: what its decorator says, and where it is silent, the plugin."""

from __future__ import annotations

from nylon_ring_py._core import ASYNC, SYNC
from nylon_ring_py.entry import executor_of
from nylon_ring_py.settings import time_limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from nylon_ring_py.entry import Entry
    from nylon_ring_py.settings import Settings

    CoreLimits: TypeAlias = tuple[int, int, int, int, int]


def core_limits(entry: Entry, settings: Settings) -> CoreLimits:
    """The limits of one entry.

    Args:
        entry: registered, so its options are in range.
        settings: the plugin's.

    Returns:
        timeout_s, idle_timeout_s and close_timeout_s in nanoseconds, max_pending and max_buffered; 0 for no limit.
    """
    options, is_stream = entry.options, entry.kind == "stream"
    timeout_s, idle_s, close_s, pending = options.timeout_s, 0.0, 0.0, options.max_pending
    if timeout_s is None and not is_stream and not entry.flags & SYNC:
        timeout_s = settings.timeout_s
    waits_elsewhere = entry.flags & ASYNC or executor_of(entry, settings) is not None
    if pending is None and not is_stream and waits_elsewhere:
        # On the event loop, or in an executor, and in no queue of the core's: the number of such calls is what bounds
        # the memory. An open stream lasts as long as its host wants, so only its own decorator limits those.
        pending = settings.max_pending
    if is_stream:
        idle_s = settings.idle_timeout_s if options.idle_timeout_s is None else options.idle_timeout_s
        close_s = settings.close_timeout_s if options.close_timeout_s is None else options.close_timeout_s
    return (
        _nanoseconds(timeout_s),
        _nanoseconds(idle_s or None),
        _nanoseconds(close_s or None),
        pending or 0,
        options.max_buffered or settings.max_buffered,
    )


def _nanoseconds(seconds: float | None) -> int:
    limit = time_limit("seconds", seconds)
    return 0 if limit == float("inf") else max(1, round(limit * 1e9))
