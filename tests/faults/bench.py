"""A plugin with everything in it under an injector, and sweeps: each call of a kind fails once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conftest import CORE_THREADS
from faults.injector import Injector, Kind
from faults.life import live, settle
from hosts.environments import installed_package
from nrhost import Abi, NrHost

# `make faults` lets every single allocation fail, `make test` one of so many.
EVERY = int(os.environ.get("FAULTS_EVERY", "29"))


@dataclass(frozen=True)
class Bench:
    """The plugin, and what it takes to start hosts with faults."""

    plugin: Path
    library: Path
    folder: Path

    def injector(self) -> Injector:
        """A new one, for one host process."""
        return Injector(self.library, self.folder)

    def where(self, injector: Injector) -> str:
        """The place of the first failure, for messages."""
        return injector.where(self.plugin, *installed_package().glob("_core.*.so"))

    @contextmanager
    def host(self, injector: Injector) -> Iterator[NrHost]:
        """A host process that runs with it, and is checked at its end."""
        with NrHost(env=injector.env, resident_threads=CORE_THREADS) as host:
            yield host


def sweep_first_lives(bench: Bench, kind: Kind, abi: Abi, *, every: int = EVERY, count: int = 1) -> int:
    """For n = 0, every, …: a new process, in whose first life the n-th watched call and `count` - 1 more fail. Then a
    life without faults. Ends where the n-th is never made.

    Returns:
        How many such calls a life makes.
    """
    for n in range(0, 100_000, every):
        injector = bench.injector()
        try:
            with bench.host(injector) as host:
                with injector.armed(kind, n, count):
                    live(host, bench.plugin, abi)
                assert live(host, bench.plugin, abi), "the next one did not start"
        except BaseException as error:
            error.add_note(f"number {n} failed at {bench.where(injector)}")
            raise
        if injector.failed == 0:
            return injector.seen
    raise AssertionError("there is no end of it")


def sweep_later_lives(bench: Bench, kind: Kind, abi: Abi, *, every: int = EVERY, count: int = 1) -> int:
    """The same in one process, where Python runs and its threads have been made."""
    injector = bench.injector()
    with bench.host(injector) as host:
        threads = host.process().threads + CORE_THREADS  # not all of them are needed in each life
        assert live(host, bench.plugin, abi)
        fds = host.process().fds
        for n in range(0, 100_000, every):
            try:
                with injector.armed(kind, n, count):
                    live(host, bench.plugin, abi)
                settle(host, threads, fds)
            except BaseException as error:
                error.add_note(f"number {n} failed at {bench.where(injector)}")
                raise
            if injector.failed == 0:
                assert live(host, bench.plugin, abi)
                return injector.seen
    raise AssertionError("there is no end of it")
