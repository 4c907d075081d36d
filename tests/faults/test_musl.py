"""A host on musl opens a plugin file, and is told why it cannot start."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from conftest import BuildPlugin
from hosts.environments import ROOT, missing

SOURCE = """
    from nylon_ring_py import Plugin
    plugin = Plugin("glibc")
"""


def test_init_says_that_the_host_runs_on_another_libc(build: BuildPlugin, tmp_path: Path) -> None:
    if shutil.which("musl-gcc") is None:
        missing("musl-gcc (Debian: musl-tools)")
    host = tmp_path / "musl_host"
    command = ["musl-gcc", "-std=c11", "-Ishim/abi", "-o", str(host), "tests/faults/musl_host.c"]
    subprocess.run(command, check=True, cwd=ROOT)
    done = subprocess.run([str(host), str(build(SOURCE))], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "glibc: init 1\n"), done.stderr
    assert "This host runs on another C library (musl?) than the plugin's Python" in done.stderr
