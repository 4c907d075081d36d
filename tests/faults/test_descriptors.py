"""The process has no descriptor left: at the start, and later."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults.bench import Bench, sweep_first_lives, sweep_later_lives
from faults.injector import Kind
from faults.life import check_all_work, live, settle, use_all
from nrhost import Abi, NrHost, Status

pytestmark = pytest.mark.long


@contextmanager
def descriptors(host: NrHost, more: int) -> Iterator[None]:
    """The process may open so many more."""
    used = {int(fd.name) for fd in Path(f"/proc/{host.pid}/fd").iterdir()}
    free = [fd for fd in range(max(used) + more + 2) if fd not in used]
    before = resource.prlimit(host.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(host.pid, resource.RLIMIT_NOFILE, (free[more], before[1]))
    try:
        yield
    finally:
        resource.prlimit(host.pid, resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("abi", ["v1", "v2"])
def test_each_descriptor_of_ours(bench: Bench, abi: Abi) -> None:
    assert sweep_first_lives(bench, Kind.DESCRIPTOR, abi, every=1) >= 3
    assert sweep_later_lives(bench, Kind.DESCRIPTOR, abi, every=1) >= 3


@pytest.mark.parametrize("warm", [False, True])
def test_a_load_with_few_left(bench: Bench, warm: bool) -> None:
    """Python's own start, imports and event loops among it: it starts or says no, and is there when there is room."""
    refused = 0
    for more in range(12):
        injector = bench.injector()
        with bench.host(injector) as host:
            if warm:
                assert live(host, bench.plugin)
            before = host.process()
            host.load(bench.plugin, get_only=True)  # dlopen is the host's own
            with descriptors(host, more):
                started = host.init() == Status.OK
            refused += not started
            host.unload()
            settle(host, before.threads + (0 if warm else 2), before.fds)
            assert live(host, bench.plugin), more
        if started:
            break
    assert started
    assert refused > 0


def test_calls_with_none_left(bench: Bench) -> None:
    injector = bench.injector()
    with bench.host(injector) as host:
        assert host.load(bench.plugin) == Status.OK
        with descriptors(host, 0):
            for call in use_all(host):
                assert call.handle == Status.OK
            check_all_work(host, on="main")
            host.unload()
        assert live(host, bench.plugin)
