"""Python's allocator fails, in the author's code, in the library's, or between the two."""

from __future__ import annotations

import sys

import pytest
from faults.bench import EVERY, Bench
from faults.injector import Injector, Kind
from faults.life import ENTRIES, live, settle, use_all
from nrhost import NrHost, Status

pytestmark = pytest.mark.long

LIMIT = 30.0  # seconds

# Not the entry that starts a thread of its author's: threading loses one whose first lines find no memory, or waits for
# it for ever.
OURS = [entry for entry in ENTRIES if entry != "later"]
CHOSEN = OURS if EVERY == 1 else ["sync", "raw", "callback_sync", "coroutine", "feed", "async_talk"]


def watch_python(host: NrHost, bench: Bench) -> None:
    """From here on Python's memory is watched."""
    assert host.load(bench.plugin) == Status.OK
    assert host.call("watch_python", body=str(bench.library).encode()).reply.text == "0"


def sweep(host: NrHost, injector: Injector, entry: str, every: int) -> None:
    """A call of an entry while the n-th request for memory fails, n = 0, every, …; then one without a fault."""
    for n in range(0, 100_000, every):
        try:
            with injector.armed(Kind.PYTHON_MEMORY, n):
                use_all(host, [entry], timeout=LIMIT)
            use_all(host, [entry], timeout=LIMIT)
        except BaseException as error:
            error.add_note(f"request {n}")
            raise
        if injector.failed == 0:
            return


@pytest.mark.parametrize("entry", CHOSEN)
def test_each_request_of_a_call(bench: Bench, entry: str) -> None:
    """One at a time: two in a row are more than CPython survives (a token of PyContextVar_Set, and its value)."""
    injector = bench.injector()
    with bench.host(injector) as host:
        watch_python(host, bench)
        use_all(host)
        sweep(host, injector, entry, 1 if EVERY == 1 else 3)


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="3.12.1 and 3.13.0 crash by themselves where a def has no memory"
)
def test_requests_of_a_load(bench: Bench) -> None:
    """Imports, hooks, loops, a shutdown: refused or done, and nothing stays."""
    injector = bench.injector()
    with bench.host(injector) as host:
        watch_python(host, bench)
        host.unload()
        assert live(host, bench.plugin)
        before = host.process()
        step = 61 if EVERY == 1 else 2003
        for n in range(0, 1_000_000, step):
            try:
                with injector.armed(Kind.PYTHON_MEMORY, n):
                    if host.load(bench.plugin) == Status.OK:
                        host.unload()
                if host.process().fds > before.fds:  # an event loop that could not be closed goes when it is collected
                    assert live(host, bench.plugin)
                settle(host, before.threads, before.fds)
            except BaseException as error:
                error.add_note(f"request {n}")
                raise
            if injector.failed == 0:
                break
        assert live(host, bench.plugin)
