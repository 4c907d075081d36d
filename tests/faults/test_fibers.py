"""Fibers that call, many on one thread, and change places inside send_result."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hosts.environments import compile_host
from nrhost import TROUBLE

# Some are answered on the caller's thread, some there inside the handler, some on a thread of ours.
ENTRIES = ["sync", "raw_sync", "callback_sync", "long_sync", "queued", "raw", "callback", "coroutine"]
FIBERS_AND_THREAD = 7


@pytest.fixture(scope="module")
def fiber_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_host(tmp_path_factory.mktemp("hosts") / "fiber_host", "tests/faults/fiber_host.c")


@pytest.mark.parametrize("stack_kib", [64, 256, 8192])
def test_fibers_call_and_change_places(fiber_host: Path, plugin: Path, stack_kib: int) -> None:
    rounds = 40
    command = [str(fiber_host), str(plugin), str(stack_kib), str(rounds), *ENTRIES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert not TROUBLE.search(done.stderr.encode()), done.stderr
    calls = FIBERS_AND_THREAD * rounds * len(ENTRIES)
    assert (done.returncode, done.stdout) == (0, f"{calls} of {calls} of {calls}\n"), done.stderr
