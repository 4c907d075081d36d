"""The system has no thread to give: at the start, later, and for the thread that shuts down."""

from __future__ import annotations

import pytest
from faults.bench import Bench, sweep_first_lives, sweep_later_lives
from faults.injector import FOREVER, Kind
from faults.life import ENTRIES, check_all_work, live, use_all
from nrhost import Abi, Status

pytestmark = pytest.mark.long

SMALL = 64 << 10  # bytes of stack: no Python runs there


@pytest.mark.parametrize("abi", ["v1", "v2"])
def test_each_thread_from_the_first_load_on(bench: Bench, abi: Abi) -> None:
    """The runtime's, workers', an event loop's, the timer's, the one that shuts down."""
    assert sweep_first_lives(bench, Kind.THREAD, abi, every=1) >= 6


def test_each_thread_of_a_later_load(bench: Bench) -> None:
    assert sweep_later_lives(bench, Kind.THREAD, "v1", every=1) >= 4


def test_threads_of_the_author_s(bench: Bench) -> None:
    """A handler that cannot start one has raised, and its call is answered."""
    injector = bench.injector()
    with bench.host(injector) as host:
        assert host.load(bench.plugin) == Status.OK
        with injector.armed(Kind.PYTHON_THREAD):
            (call,) = use_all(host, ["later"])
        assert injector.failed == 1
        assert call.reply.text == "RuntimeError: can't start new thread"


@pytest.mark.parametrize("stack", [0, SMALL])
def test_no_more_threads_at_all(bench: Bench, stack: int) -> None:
    """One worker and one loop do it all; the shutdown takes the runtime's thread, never a host's with little stack."""
    injector = bench.injector()
    with bench.host(injector) as host:
        assert host.load(bench.plugin) == Status.OK
        with injector.armed(Kind.THREAD, count=FOREVER):
            calls = use_all(host, stack=stack)
            accepted = [entry for entry, call in zip(ENTRIES, calls, strict=True) if call.handle == Status.OK]
            assert set(ENTRIES) - set(accepted) <= {"limited"}  # its deadline needs the timer
            host.shutdown(on="thread", stack=stack)
        assert injector.failed > 0
        host.unload()
        assert live(host, bench.plugin)


def test_two_shut_down_with_one_thread(bench: Bench) -> None:
    injector = bench.injector()
    with bench.host(injector) as host:
        for name in ("one", "two"):
            assert host.load(bench.plugin, plugin=name) == Status.OK
        with injector.armed(Kind.THREAD, count=FOREVER):
            jobs = [host.start_shutdown(plugin=name) for name in ("one", "two")]
            for job in jobs:
                host.join(job)
        assert injector.failed >= 2
        for name in ("one", "two"):
            host.unload(plugin=name)
        assert host.load(bench.plugin) == Status.OK
        check_all_work(host)
