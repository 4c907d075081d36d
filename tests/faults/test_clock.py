"""The wall clock jumps, by an hour forwards or back: no limit of ours goes by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import CORE_THREADS, BuildPlugin
from faults.bench import Bench
from faults.injector import Injector
from nrhost import NrHost, Status

HOUR = 3600.0

SOURCE = """
    import os
    import threading
    import time
    from nylon_ring_py import Plugin

    plugin = Plugin("timed", workers=2, shutdown_timeout_s=float(os.environ.get("TEST_TIMEOUT", "30")))
    held = threading.Event()
    released = threading.Event()

    @plugin.handle("hold", timeout_s=1800)
    def hold(req):
        held.set()
        released.wait()
        return "released"

    plugin.handle_sync("wait_held")(lambda req: str(held.wait()))
    plugin.handle_sync("release")(lambda req: released.set())

    @plugin.handle("late", timeout_s=0.2)
    def late(req): threading.Event().wait(30)

    @plugin.handle("blocks_its_loop")
    async def blocks_its_loop(req):
        held.set()
        threading.Event().wait()

    @plugin.handle("stubborn")
    def stubborn(req):
        held.set()
        while True:
            try:
                threading.Event().wait()
            except BaseException:
                pass

    @plugin.on_shutdown
    def leave(): time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def timed(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "timed")


@pytest.fixture
def injector(bench: Bench) -> Injector:
    return bench.injector()


@pytest.fixture
def timeout_s() -> float:
    return 30.0


@pytest.fixture
def host(timed: Path, injector: Injector, timeout_s: float) -> Iterator[NrHost]:
    env = {**injector.env, "TEST_TIMEOUT": str(timeout_s)}
    with NrHost(env=env, resident_threads=CORE_THREADS + 1, resident_fds=4) as host:
        assert host.load(timed) == Status.OK
        yield host


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_deadline_comes_when_it_is_due(host: NrHost, injector: Injector, jump: float) -> None:
    """And none comes early."""
    held = host.submit("hold").sid
    late = host.submit("late").sid
    assert host.call("wait_held").reply.text == "True"
    injector.jump_clock(jump)
    assert host.wait(late).reply.text == "TimeoutError: no answer within timeout_s=0.2"
    assert host.call("release").reply.status == Status.OK
    assert host.wait(held).reply.text == "released"


@pytest.mark.parametrize(
    ("entry", "jump", "timeout_s"), [("", HOUR, 30.0), ("", -HOUR, 30.0), ("blocks_its_loop", HOUR, 0.5)]
)
def test_a_shutdown_waits_for_as_long_as_ever(host: NrHost, injector: Injector, entry: str, jump: float) -> None:
    if entry:
        host.submit(entry)
        assert host.call("wait_held").reply.text == "True"
    injector.jump_clock(jump)
    host.unload()
    said = host.stderr()
    assert b"on_shutdown did not end" not in said
    assert b"were not gone" not in said
    assert (b"did not end within" in said) == bool(entry)


@pytest.mark.parametrize(("jump", "timeout_s"), [(HOUR, 0.3), (-HOUR, 0.3)])
def test_an_exit_with_a_handler_at_work(host: NrHost, injector: Injector, jump: float) -> None:
    host.submit("stubborn")
    assert host.call("wait_held").reply.text == "True"
    injector.jump_clock(jump)
    assert host.exit("exit_without_shutdown", code=7) == 7
