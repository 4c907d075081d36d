"""plugin.stats(), and what monitoring systems make of it. Calls are real; only the host is a FakeHost."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import prometheus_client
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint

from nylon_ring_py import HandlerError, Plugin, Request, Status
from nylon_ring_py.errors import NotBoundError
from nylon_ring_py.host.errors import RefusedError
from nylon_ring_py.metrics import opentelemetry, prometheus
from nylon_ring_py.stats import BUCKETS, EntryStats, Histogram, Stats, merge, read_stats
from nylon_ring_py.testing import FakeHost


class _Shop:
    """A plugin with entries of several kinds, one of which stands still until it is let go."""

    def __init__(self, name: str = "shop") -> None:
        self.started = threading.Event()
        self.gate = threading.Event()
        self.cancelled = threading.Event()
        self.plugin = plugin = Plugin(name, workers=1, max_pending=1)

        @plugin.handle("ok")
        def ok(request: Request) -> bytes:
            return b"ok"

        @plugin.handle_sync("bad")
        def bad(request: Request) -> bytes:
            raise HandlerError(Status.INVALID, "no")

        @plugin.handle("hold")
        def hold(request: Request) -> Iterator[bytes]:
            self.started.set()
            assert self.gate.wait(60)
            yield b"frame"

        @plugin.handle("slow", timeout_s=5)
        async def slow(request: Request) -> None:
            self.started.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()


def _call(host: FakeHost, entry: str) -> None:
    """From a new thread: each one's first calls are timed, and later ones only now and then."""
    caller = threading.Thread(target=host.call, args=(entry,))
    caller.start()
    caller.join()


@pytest.fixture
def shop() -> Iterator[_Shop]:
    made = _Shop()
    yield made
    made.gate.set()


def test_calls_and_errors_are_counted_per_entry(shop: _Shop) -> None:
    with FakeHost(shop.plugin) as host:
        for _ in range(3):
            _call(host, "ok")
        _call(host, "bad")
        stats = shop.plugin.stats()
    assert list(stats.entries) == ["ok", "bad", "hold", "slow"]
    assert {name: (entry.calls, entry.errors, entry.running) for name, entry in stats.entries.items()} == {
        "ok": (3, 0, 0),
        "bad": (1, 1, 0),
        "hold": (0, 0, 0),
        "slow": (0, 0, 0),
    }
    assert [entry.latency.count for entry in stats.entries.values()] == [3, 1, 0, 0]
    assert 0 < stats.entries["ok"].latency.sum_s < 60
    assert stats.workers == 1
    totals = stats.totals
    assert (totals.calls, totals.errors, totals.latency.count) == (4, 1, 4)
    assert totals.latency.sum_s == pytest.approx(sum(entry.latency.sum_s for entry in stats.entries.values()))


def test_what_runs_waits_and_is_refused_is_told(shop: _Shop) -> None:
    with FakeHost(shop.plugin) as host:
        streams = [host.call_stream("hold")]
        assert shop.started.wait(60)
        streams.append(host.call_stream("hold"))
        with pytest.raises(RefusedError):
            host.call_stream("hold")
        hold = shop.plugin.stats().entries["hold"]
        assert (hold.calls, hold.running, hold.queued, hold.refused) == (1, 1, 1, 1)
        assert 0 < hold.queue_age_s < 60
        shop.gate.set()
        assert [[frame.data for frame in stream] for stream in streams] == [[b"frame", b""]] * 2
        host.settle()
        hold = shop.plugin.stats().entries["hold"]
        assert (hold.calls, hold.queued, hold.queue_age_s, hold.errors) == (2, 0, 0.0, 0)


def test_timeouts_are_counted(shop: _Shop) -> None:
    with FakeHost(shop.plugin, clock="manual") as host:
        caller = threading.Thread(target=lambda: host.call("slow"))
        caller.start()
        assert shop.started.wait(60)
        host.advance(6)
        caller.join()
        assert shop.cancelled.wait(60)  # the core counts between the answer and this
        slow = shop.plugin.stats().entries["slow"]
        assert (slow.timeouts, slow.errors) == (1, 1)


def test_without_a_host_there_are_none(shop: _Shop) -> None:
    with pytest.raises(NotBoundError, match=r"plugin.stats\(\) was called outside a host"):
        shop.plugin.stats()


def test_they_are_json(shop: _Shop) -> None:
    with FakeHost(shop.plugin) as host:
        _call(host, "ok")
        told = json.loads(json.dumps(shop.plugin.stats().to_dict()))
    assert told["entries"]["ok"]["calls"] == told["totals"]["calls"] == 1
    assert told["entries"]["ok"]["latency"]["count"] == 1
    ((bound, count),) = told["entries"]["ok"]["latency"]["buckets"]
    assert count == 1
    assert bound / 2 <= told["entries"]["ok"]["latency"]["p50_s"] <= bound
    unused: dict[str, Any] = {"count": 0, "sum_s": 0.0, "p50_s": None, "p90_s": None, "p99_s": None, "buckets": []}
    assert told["entries"]["hold"]["latency"] == unused
    assert told["workers"] == 1


# ---- histograms


def _histogram(counts: dict[int, int], sum_s: float = 0.0) -> Histogram:
    return Histogram(tuple(counts.get(i, 0) for i in range(BUCKETS)), sum_s)


def test_buckets_are_cumulative_and_in_seconds() -> None:
    histogram = _histogram({0: 1, 10: 2, 39: 3})
    assert histogram.count == 6
    assert len(histogram.buckets) == BUCKETS
    assert histogram.buckets[0] == (2e-9, 1)
    assert histogram.buckets[9] == (1.024e-6, 1)
    assert histogram.buckets[10] == (2.048e-6, 3)
    assert histogram.buckets[39] == (2.0**40 / 1e9, 6)


def test_quantiles_lie_inside_their_buckets() -> None:
    histogram = _histogram({10: 50, 20: 50})
    assert histogram.quantile(0) == pytest.approx(1.024e-6)
    assert histogram.quantile(0.25) == pytest.approx(1.536e-6)
    assert histogram.quantile(0.5) == pytest.approx(2.048e-6)
    assert histogram.quantile(0.75) == pytest.approx(1.5 * 2**20 / 1e9)
    assert histogram.quantile(1) == pytest.approx(2**21 / 1e9)
    assert math.isnan(_histogram({}).quantile(0.5))
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="but must be from 0 to 1"):
            histogram.quantile(wrong)


def _entry(name: str, calls: int, age_s: float, bucket: int) -> EntryStats:
    return EntryStats(name, calls, 1, 2, 3, age_s, 4, 5, _histogram({bucket: calls}, calls / 4))


def test_several_loads_add_up() -> None:
    one = Stats({"a": _entry("a", 1, 0.5, 3), "b": _entry("b", 2, 0.1, 3)}, 1, 2, 3)
    two = Stats({"a": _entry("a", 4, 0.25, 5)}, 10, 20, 30)
    both = merge([one, two])
    assert both.entries["a"] == EntryStats("a", 5, 2, 4, 6, 0.5, 8, 10, _histogram({3: 1, 5: 4}, 1.25))
    assert both.entries["b"] == one.entries["b"]
    assert (both.late_replies, both.frames_dropped, both.workers) == (11, 22, 33)


def test_no_entries_have_totals_too() -> None:
    assert Stats({}, 0, 0, 0).totals == EntryStats("", 0, 0, 0, 0, 0.0, 0, 0, _histogram({}))


def test_a_core_of_another_version_is_told() -> None:
    core: dict[str, Any] = {"entries": [{"name": "a", "latency": (1, 2)}]}
    with pytest.raises(RuntimeError, match="gives 2 buckets of latency, and not 40"):
        read_stats(core, ["a"])


# ---- prometheus


def test_a_registry_shows_every_entry(shop: _Shop) -> None:
    registry = prometheus_client.CollectorRegistry()
    prometheus.register(shop.plugin, registry)
    with FakeHost(shop.plugin) as host:
        for _ in range(3):
            _call(host, "ok")
        _call(host, "bad")
        text = prometheus_client.generate_latest(registry).decode()

        def value(name: str, entry: str, **labels: str) -> float | None:
            return registry.get_sample_value(name, {"plugin": "shop", "entry": entry, **labels})

        assert value("nylon_ring_calls_total", "ok") == 3
        assert value("nylon_ring_errors_total", "bad") == 1
        assert value("nylon_ring_running", "hold") == 0
        assert value("nylon_ring_queue_age_seconds", "ok") == 0
        assert value("nylon_ring_latency_seconds_count", "ok") == 3
        assert value("nylon_ring_latency_seconds_bucket", "ok", le="+Inf") == 3
        assert value("nylon_ring_latency_seconds_bucket", "ok", le="68.719476736") == 3
        latency = shop.plugin.stats().entries["ok"].latency
        assert value("nylon_ring_latency_seconds_sum", "ok") == latency.sum_s
        assert registry.get_sample_value("nylon_ring_workers", {"plugin": "shop"}) == 1
        assert registry.get_sample_value("nylon_ring_late_replies_total", {"plugin": "shop"}) == 0
    assert text.count("# TYPE nylon_ring_calls_total counter") == 1
    assert text.count("# TYPE nylon_ring_latency_seconds histogram") == 1


def test_a_registry_is_shared_by_plugins_and_survives_them() -> None:
    registry = prometheus_client.CollectorRegistry(auto_describe=True)
    one, two, again = _Shop("one"), _Shop("two"), _Shop("one")
    for shop in (one, two, again, two):
        prometheus.register(shop.plugin, registry)

    def calls(plugin: str) -> float | None:
        return registry.get_sample_value("nylon_ring_calls_total", {"plugin": plugin, "entry": "ok"})

    assert calls("one") is None
    with FakeHost(one.plugin) as first, FakeHost(two.plugin) as second:
        _call(first, "ok")
        _call(second, "ok")
        with FakeHost(again.plugin) as third:  # as while a plugin is reloaded
            _call(third, "ok")
            assert (calls("one"), calls("two")) == (2, 1)
        assert (calls("one"), calls("two")) == (1, 1)
    assert (calls("one"), calls("two")) == (None, None)


def test_a_registry_keeps_no_plugin() -> None:
    registry = prometheus_client.CollectorRegistry()
    collector = prometheus.PluginCollector(Plugin("other"))
    registry.register(collector)
    gc.collect()
    assert list(collector._watched._plugins) == []


# ---- opentelemetry


def _points(reader: InMemoryMetricReader) -> dict[str, dict[tuple[Any, ...], float]]:
    data = reader.get_metrics_data()
    found: dict[str, dict[tuple[Any, ...], float]] = {}
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    assert isinstance(point, NumberDataPoint)
                    found.setdefault(metric.name, {})[tuple((point.attributes or {}).values())] = point.value
    return found


def test_a_meter_observes_every_entry() -> None:
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader]).get_meter("shop")
    one, two = _Shop("one"), _Shop("two")
    opentelemetry.observe(one.plugin, meter)
    opentelemetry.observe(two.plugin, meter)
    opentelemetry.observe(two.plugin, meter)
    assert _points(reader) == {}
    with FakeHost(one.plugin) as first, FakeHost(two.plugin) as second:
        for _ in range(2):
            _call(first, "ok")
        _call(second, "bad")
        points = _points(reader)
        latency = one.plugin.stats().entries["ok"].latency
    assert points["nylon_ring.calls"]["one", "ok"] == 2
    assert points["nylon_ring.calls"]["two", "bad"] == 1
    assert points["nylon_ring.errors"]["two", "bad"] == 1
    assert points["nylon_ring.queued"]["one", "ok"] == 0
    assert points["nylon_ring.latency.count"]["one", "ok"] == 2
    assert points["nylon_ring.latency.sum"]["one", "ok"] == latency.sum_s
    assert points["nylon_ring.latency"]["one", "ok", 0.5] == latency.quantile(0.5)
    assert ("two", "ok", 0.5) not in points["nylon_ring.latency"]
    assert points["nylon_ring.workers"] == {("one",): 1, ("two",): 1}
    reader.collect()


# ---- without the libraries


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [("prometheus", "prometheus_client", "prometheus"), ("opentelemetry", "opentelemetry", "opentelemetry")],
)
def test_a_missing_library_is_named(module: str, library: str, extra: str) -> None:
    code = f"""
import sys
sys.modules[{library!r}] = None
from nylon_ring_py.errors import MissingDependencyError
try:
    import nylon_ring_py.metrics.{module}
except MissingDependencyError as missing:
    print(missing)
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert f"pip install 'nylon-ring-py[{extra}]'" in done.stdout
