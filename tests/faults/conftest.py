"""What the tests of faults share: a bench for what the machine does, hosts of their own for what processes do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import build_plugin, is_sanitized
from faults.bench import Bench
from faults.injector import build_injector
from faults.life import SOURCE
from hosts.environments import compile_host
from hosts.processes import Ended, RunHost
from nrhost import TROUBLE


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_plugin(SOURCE, tmp_path_factory.mktemp("plugins") / "fault_all.so")


@pytest.fixture(scope="session")
def bench(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    if is_sanitized("asan") or is_sanitized("tsan"):
        pytest.skip("a sanitizer's allocator and threads stand before the injector's")
    folder = tmp_path_factory.mktemp("faults")
    return Bench(plugin, build_injector(folder), folder)


@pytest.fixture(scope="session")
def process_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_host(tmp_path_factory.mktemp("hosts") / "process_host", "tests/hosts/process_host.c")


@pytest.fixture(scope="session")
def run_host(process_host: Path) -> RunHost:
    """run_host(plugin, *steps): runs a process_host to its end, and its children to theirs."""

    def run(plugin: Path, *steps: str, env: dict[str, str] | None = None) -> Ended:
        command = [str(process_host), str(plugin), *steps]
        # Whoever has stdout open keeps this waiting: so all its children have ended, too.
        environment = {**os.environ, **(env or {})}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
        assert not TROUBLE.search(done.stderr.encode()), done.stderr
        assert "Fatal" not in done.stderr, done.stderr
        return Ended(done)

    return run
