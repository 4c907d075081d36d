"""What a run measures with: the host's `bench`, the floor, our plugin, and the commands beside them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LIMIT_S = 120
BUILD_LIMIT_S = 600


class BenchError(Exception):
    """Something that should have run did not; its text says what, and what it said."""


def run(command: list[str], limit_s: float = LIMIT_S) -> str:
    """Run a command to its end.

    Returns:
        its standard output.

    Raises:
        BenchError: it cannot be started, fails, or takes longer than `limit_s`.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise BenchError(f"{' '.join(command)}\nended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def wall_ns(command: list[str]) -> float:
    """How long a command takes, process and all, in nanoseconds."""
    began = time.perf_counter_ns()
    run(command)
    return float(time.perf_counter_ns() - began)


@dataclass(frozen=True)
class Tools:
    """The files of one run."""

    host: Path
    plugin: Path
    second: Path
    loop: Path  # the plugin with an event loop
    floor: Path
    peer: Path
    rust: Path | None  # the folder of the Rust hosts, where there is cargo

    def bench(self, plugin: Path, entry: str, kind: str, **options: object) -> dict[str, Any]:
        """One `nrhost bench`; an option `busy_end="x"` is `--busy-end x`.

        Returns:
            the figures it wrote.
        """
        command = [str(self.host), "bench", str(plugin), entry, "--kind", kind, "--json"]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        figures: dict[str, Any] = json.loads(run(command))
        return figures


def libpython() -> str:
    """The shared library of this Python."""
    said = run([sys.executable, "-I", "-m", "nylon_ring_py._probe"])
    facts = dict(line.partition("=")[::2] for line in said.splitlines())
    if not facts.get("libpython"):
        raise BenchError(f"{sys.executable} has no shared libpython: {facts.get('libpython_tried', said)}")
    return facts["libpython"]


def build_floor(out: Path) -> None:
    """Compile the floor against this Python."""
    library = Path(libpython())
    base = getattr(sys, "_base_executable", sys.executable)
    includes = [f"-isystem{sysconfig.get_path('include')}", f"-I{ROOT / 'shim/abi'}"]
    compiler = os.environ.get("CC", "cc")
    options = ["-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", f'-DPEER_PYTHON="{base}"']
    rpath = f"-Wl,-rpath,{library.parent}"
    run([compiler, *options, *includes, str(HERE / "floor/floor.c"), str(library), rpath, "-o", str(out)])


def build_peer(out: Path) -> None:
    """Compile the v2 plugin in C."""
    options = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", f"-I{ROOT / 'shim/abi'}"]
    run([os.environ.get("CC", "cc"), *options, str(HERE / "peers/peer.c"), "-o", str(out), "-lpthread"])


def build_rust() -> Path | None:
    """Build the Rust hosts, optimised; None where there is no cargo.

    Raises:
        BenchError: cargo fails.
    """
    if shutil.which("cargo") is None:
        print("no cargo on PATH: the Rust hosts are left out", file=sys.stderr)
        return None
    return Path(run([sys.executable, str(ROOT / "scripts/rust.py"), "--release"], BUILD_LIMIT_S).strip())


def build_command(source: Path, out: Path) -> list[str]:
    """How a user builds a plugin with this Python."""
    return [sys.executable, "-P", "-m", "nylon_ring_py.cli", "build-plugin", str(source), "-o", str(out)]


def prepare(folder: Path) -> Tools:
    """Build all that is measured, in `folder`.

    Raises:
        BenchError: the host is missing, or something does not build.
    """
    host = Path(os.environ.get("NRHOST", str(ROOT / "build/c/nrhost")))
    if not host.exists():
        raise BenchError(f"there is no host at {host}: make host")
    tools = Tools(
        host=host,
        plugin=folder / "plugin.so",
        second=folder / "second.so",
        loop=folder / "loop.so",
        floor=folder / "floor.so",
        peer=folder / "peer.so",
        rust=build_rust(),
    )
    build_floor(tools.floor)
    build_peer(tools.peer)
    run(build_command(HERE / "plugin.py", tools.plugin))
    run(build_command(HERE / "plugin_loop.py", tools.loop))
    shutil.copy(HERE / "plugin.py", folder / "second.py")
    run(build_command(folder / "second.py", tools.second))
    return tools
