"""What every test may ask for: a built plugin, and a host process that loads it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nrhost import NrHost

ROOT = Path(__file__).resolve().parents[1]

# What the core keeps for good once Python runs: its runtime thread, and the timers' two once there was a deadline. All
# else must be gone after an unload.
CORE_THREADS = 3

# What libuv keeps for the process: descriptors once there was a loop, threads once it had a blocking call to make.
LOOP_FDS = {"asyncio": 0, "uvloop": 2}
LOOP_THREADS = {"asyncio": CORE_THREADS, "uvloop": CORE_THREADS + 4}

# What loads and unloads may add to the memory of a process once they have been through everything.
GROWTH_KIB = 1024

BuildPlugin = Callable[..., Path]
StartHost = Callable[..., NrHost]


def build_plugin(source: str | Path, out: Path, *options: str) -> Path:
    """Build a plugin with the nylon-ring of the Python that runs the tests.

    Args:
        source: a plugin file or package, or the text of a plugin file.
        out: the .so to write; its folder exists.
        options: more options for build-plugin.

    Returns:
        `out`.
    """
    if isinstance(source, str):
        file = out.parent / f"{out.stem}.py"
        file.write_text(textwrap.dedent(source))
        source = file
    command = [sys.executable, "-m", "nylon_ring_py.cli", "build-plugin", str(source), "-o", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def build(tmp_path: Path) -> BuildPlugin:
    """build(source, name="plugin", *options): the built .so, in this test's folder."""

    def run(source: str | Path, name: str = "plugin", *options: str) -> Path:
        return build_plugin(source, tmp_path / f"{name}.so", *options)

    return run


@pytest.fixture(scope="module")
def build_once(tmp_path_factory: pytest.TempPathFactory) -> BuildPlugin:
    """The same, shared by the tests of a module."""
    folder = tmp_path_factory.mktemp("plugins")

    def run(source: str | Path, name: str = "plugin", *options: str) -> Path:
        return build_plugin(source, folder / f"{name}.so", *options)

    return run


@pytest.fixture
def start_host() -> Iterator[StartHost]:
    """start_host(**options): an NrHost that expects the core's thread to stay; left, and checked, after the test."""
    running: list[NrHost] = []

    def run(**options: object) -> NrHost:
        options.setdefault("resident_threads", CORE_THREADS)
        host = NrHost(**options)  # type: ignore[arg-type]  # passed through as they came
        host.__enter__()
        running.append(host)
        return host

    yield run
    for host in reversed(running):
        host.__exit__(None, None, None)


def until(seen: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Asks again until it is so; AssertionError where it never comes to that."""
    deadline = time.monotonic() + limit_s
    while not seen():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.001)  # who is waited for may need this processor


def is_sanitized(kind: str) -> bool:
    """Whether this run's host is instrumented: "asan" or "tsan"."""
    nrhost = Path(os.environ.get("NRHOST", str(ROOT / "build/c/nrhost")))
    return f"__{kind}_init".encode() in nrhost.read_bytes()


def fewer(count: int) -> int:
    """A twentieth of so many calls, streams or rounds where each takes ten times as long: under a sanitizer."""
    return count // 20 if is_sanitized("asan") or is_sanitized("tsan") else count


def needs_fork() -> None:
    """Skips the test where a forked child may hang: it finds the allocator of GCC's AddressSanitizer locked."""
    if is_sanitized("asan"):
        pytest.skip("GCC's AddressSanitizer does not give its allocator's locks to the child of a process with threads")


def memory_counts() -> bool:
    """Whether resident memory says what is kept: a sanitizer keeps what was freed, and books that grow."""
    return not is_sanitized("asan") and not is_sanitized("tsan")


def check_flat(host: NrHost, rounds: Callable[[], object], keeps_fds: int = 0) -> None:
    """Runs the rounds until they add nothing: the first time fills caches, and a busy machine may make a thread more
    the second time; what leaks adds every time. Free memory of the heap is given back before it is looked at.

    Args:
        host: where they run.
        rounds: loads and unloads.
        keeps_fds: descriptors that a library keeps for the process.
    """
    before = host.process()
    growth: list[int] = []
    after = before
    while not growth or (growth[-1] > GROWTH_KIB and len(growth) < 4):
        filled = after
        rounds()
        host.malloc_trim()
        after = host.process()
        growth.append(after.rss_kib - filled.rss_kib)
    if memory_counts():
        assert growth[-1] <= GROWTH_KIB, growth
    until(lambda: host.process().threads <= before.threads + CORE_THREADS)  # a thread that has ended shows for a moment
    assert after.fds <= before.fds + keeps_fds
