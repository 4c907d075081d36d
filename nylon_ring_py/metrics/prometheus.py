"""Statistics of plugins for prometheus_client (the extra ``prometheus``).

from nylon_ring_py.metrics import prometheus

@plugin.on_init
def init() -> None:
    prometheus.register(plugin)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nylon_ring_py.errors import MissingDependencyError
from nylon_ring_py.metrics import Watched, shared

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as missing:
    raise MissingDependencyError(
        "nylon_ring_py.metrics.prometheus needs prometheus_client: pip install 'nylon-ring-py[prometheus]'"
    ) from missing

if TYPE_CHECKING:
    from nylon_ring_py.plugin import Plugin
    from nylon_ring_py.stats import Histogram

__all__ = ["PluginCollector", "register"]

_LABELS = ("plugin", "entry")
_COUNTERS = {
    "calls": "Handlers that have begun.",
    "errors": "Terminal replies other than OK and StreamEnd.",
    "refused": "Calls not taken because a queue or max_pending was full.",
    "timeouts": "Calls answered at their timeout_s.",
}
_GAUGES = {
    "running": ("running", "Handlers that run, and coroutines and streams that are open."),
    "queued": ("queued", "Calls that wait for a worker."),
    "queue_age_s": ("queue_age_seconds", "How long the oldest waiting call has waited."),
}
_PLUGIN_COUNTERS = {
    "late_replies": "Replies that came after their call had ended.",
    "frames_dropped": "Frames of streams that had ended.",
}
_BUCKETS = range(9, 37, 2)
"""Of the core's 40, those that reach to 1 µs, 4 µs and so on to 69 s: each time series costs its server memory."""


class PluginCollector(Collector):
    """Reads plugins' statistics when a registry is scraped. Plugins that are not loaded then are left out.

    Args:
        plugins: what to read; `add` takes further ones.
    """

    def __init__(self, *plugins: Plugin) -> None:
        self._watched = Watched()
        for plugin in plugins:
            self._watched.add(plugin)

    def add(self, plugin: Plugin) -> None:
        """Read one more plugin; again does nothing."""
        self._watched.add(plugin)

    def describe(self) -> Iterator[Metric]:
        """Give the metrics without samples: what a registry asks when this is registered."""
        return self._families(None)

    def collect(self) -> Iterator[Metric]:
        """Give the metrics with the samples of now."""
        return self._families(self._watched)

    def _families(self, watched: Watched | None) -> Iterator[Metric]:
        plugins = {} if watched is None else watched.read()
        entries = [((name, each.name), each) for name, stats in plugins.items() for each in stats.entries.values()]
        for field, text in _COUNTERS.items():
            counter = CounterMetricFamily(f"nylon_ring_{field}", text, labels=_LABELS)
            for labels, entry in entries:
                counter.add_metric(labels, getattr(entry, field))
            yield counter
        for field, (name, text) in _GAUGES.items():
            gauge = GaugeMetricFamily(f"nylon_ring_{name}", text, labels=_LABELS)
            for labels, entry in entries:
                gauge.add_metric(labels, getattr(entry, field))
            yield gauge
        times = HistogramMetricFamily(
            "nylon_ring_latency_seconds", "From the host's call to the terminal reply.", labels=_LABELS
        )
        for labels, entry in entries:
            times.add_metric(labels, _bounds(entry.latency), entry.latency.sum_s)
        yield times
        for field, text in _PLUGIN_COUNTERS.items():
            counter = CounterMetricFamily(f"nylon_ring_{field}", text, labels=("plugin",))
            for name, stats in plugins.items():
                counter.add_metric((name,), getattr(stats, field))
            yield counter
        workers = GaugeMetricFamily("nylon_ring_workers", "Worker threads.", labels=("plugin",))
        for name, stats in plugins.items():
            workers.add_metric((name,), stats.workers)
        yield workers


def register(plugin: Plugin, registry: CollectorRegistry = REGISTRY) -> None:
    """Have a registry show a plugin's statistics, from its load until it is unloaded.

    All plugins of a process that name the same registry share one collector there. Call it again as often as you like.

    Args:
        plugin: the plugin.
        registry: prometheus_client's own default, or another.
    """

    def make() -> PluginCollector:
        collector = PluginCollector()
        registry.register(collector)
        return collector

    collector: PluginCollector = shared(registry, make)
    collector.add(plugin)


def _bounds(latency: Histogram) -> list[tuple[str, float]]:
    buckets = latency.buckets
    return [*((repr(buckets[i][0]), buckets[i][1]) for i in _BUCKETS), ("+Inf", latency.count)]
