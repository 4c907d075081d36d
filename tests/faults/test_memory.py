"""malloc fails, in the plugin file or in the core: a call is refused or answered, and the next one works."""

from __future__ import annotations

import pytest
from faults.bench import Bench, sweep_first_lives, sweep_later_lives
from faults.injector import FOREVER, Kind
from faults.life import check_all_work, live, use_all
from nrhost import Abi, Status

pytestmark = pytest.mark.long


@pytest.mark.parametrize("abi", ["v1", "v2"])
def test_each_allocation_from_the_first_load_on(bench: Bench, abi: Abi) -> None:
    assert sweep_first_lives(bench, Kind.MEMORY, abi) > 50


@pytest.mark.parametrize("abi", ["v1", "v2"])
@pytest.mark.parametrize("count", [1, 3, 20])
def test_each_allocation_of_a_later_load(bench: Bench, abi: Abi, count: int) -> None:
    """And some in a row: what is to be said where there is no memory must not need any."""
    assert sweep_later_lives(bench, Kind.MEMORY, abi, count=count) > 50


@pytest.mark.parametrize("abi", ["v1", "v2"])
def test_none_at_all_for_a_while(bench: Bench, abi: Abi) -> None:
    injector = bench.injector()
    with bench.host(injector) as host:
        assert host.load(bench.plugin, abi=abi) == Status.OK
        with injector.armed(Kind.MEMORY, count=FOREVER):
            use_all(host)
            use_all(host, on="main")
            assert injector.failed > 10
        check_all_work(host)
        with injector.armed(Kind.MEMORY, count=FOREVER):
            host.unload()
        assert live(host, bench.plugin, abi)
