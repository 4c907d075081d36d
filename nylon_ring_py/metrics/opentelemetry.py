"""Statistics of plugins for OpenTelemetry (the extra ``opentelemetry``).

from opentelemetry import metrics
from nylon_ring_py.metrics import opentelemetry

@plugin.on_init
def init() -> None:
    opentelemetry.observe(plugin, metrics.get_meter("orders"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from nylon_ring_py.errors import MissingDependencyError
from nylon_ring_py.metrics import Watched, shared

try:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation
except ImportError as missing:
    raise MissingDependencyError(
        "nylon_ring_py.metrics.opentelemetry needs opentelemetry-api: pip install 'nylon-ring-py[opentelemetry]'"
    ) from missing

if TYPE_CHECKING:
    from nylon_ring_py.plugin import Plugin

__all__ = ["QUANTILES", "observe"]

QUANTILES = (0.5, 0.9, 0.99)
"""Of ``nylon_ring.latency``: OpenTelemetry has no histogram that is read like a gauge."""

_COUNTERS = {
    "calls": ("{call}", "Handlers that have begun."),
    "errors": ("{call}", "Terminal replies other than OK and StreamEnd."),
    "refused": ("{call}", "Calls not taken because a queue or max_pending was full."),
    "timeouts": ("{call}", "Calls answered at their timeout_s."),
}
_LEVELS = {
    "running": ("{call}", "Handlers that run, and coroutines and streams that are open."),
    "queued": ("{call}", "Calls that wait for a worker."),
}
_PLUGIN_COUNTERS = {
    "late_replies": ("{reply}", "Replies that came after their call had ended."),
    "frames_dropped": ("{frame}", "Frames of streams that had ended."),
}


def observe(plugin: Plugin, meter: Meter) -> None:
    """Have a meter observe a plugin's statistics, from its load until it is unloaded.

    All plugins of a process that name the same meter share its instruments. Call it again as often as you like.

    Args:
        plugin: the plugin.
        meter: makes the instruments, whose names begin with ``nylon_ring.``; their attributes are
            ``nylon_ring.plugin`` and ``nylon_ring.entry``.
    """

    def make() -> Watched:
        watched = Watched()
        _make_instruments(meter, watched)
        return watched

    watched: Watched = shared(meter, make)
    watched.add(plugin)


def _make_instruments(meter: Meter, watched: Watched) -> None:
    for field, (unit, text) in _COUNTERS.items():
        meter.create_observable_counter(f"nylon_ring.{field}", [_entries(watched, field)], unit, text)
    for field, (unit, text) in _LEVELS.items():
        meter.create_observable_up_down_counter(f"nylon_ring.{field}", [_entries(watched, field)], unit, text)
    meter.create_observable_gauge(
        "nylon_ring.queue_age", [_entries(watched, "queue_age_s")], "s", "How long the oldest waiting call has waited."
    )
    for field, (unit, text) in _PLUGIN_COUNTERS.items():
        meter.create_observable_counter(f"nylon_ring.{field}", [_plugins(watched, field)], unit, text)
    meter.create_observable_up_down_counter(
        "nylon_ring.workers", [_plugins(watched, "workers")], "{thread}", "Worker threads."
    )
    meter.create_observable_counter(
        "nylon_ring.latency.count", [_answered(watched)], "{call}", "Calls that have had their terminal reply."
    )
    meter.create_observable_counter(
        "nylon_ring.latency.sum", [_time(watched)], "s", "From the host's call to the terminal reply, of all calls."
    )
    meter.create_observable_gauge(
        "nylon_ring.latency", [_quantiles(watched)], "s", "Quantiles of the time to the terminal reply since the load."
    )


_Callback = Callable[[CallbackOptions], Iterable[Observation]]


def _attributes(plugin: str, entry: str) -> dict[str, Any]:
    return {"nylon_ring.plugin": plugin, "nylon_ring.entry": entry}


def _entries(watched: Watched, field: str) -> _Callback:
    return lambda options: [
        Observation(getattr(entry, field), _attributes(name, entry.name)) for name, entry in watched.read_entries()
    ]


def _plugins(watched: Watched, field: str) -> _Callback:
    return lambda options: [
        Observation(getattr(stats, field), {"nylon_ring.plugin": name}) for name, stats in watched.read().items()
    ]


def _answered(watched: Watched) -> _Callback:
    return lambda options: [
        Observation(entry.latency.count, _attributes(name, entry.name)) for name, entry in watched.read_entries()
    ]


def _time(watched: Watched) -> _Callback:
    return lambda options: [
        Observation(entry.latency.sum_s, _attributes(name, entry.name)) for name, entry in watched.read_entries()
    ]


def _quantiles(watched: Watched) -> _Callback:
    return lambda options: [
        Observation(entry.latency.quantile(q), {**_attributes(name, entry.name), "quantile": q})
        for name, entry in watched.read_entries()
        if entry.latency.count
        for q in QUANTILES
    ]
