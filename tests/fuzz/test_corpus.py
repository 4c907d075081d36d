"""The corpus of every target, replayed by a program of the C compiler: what was found once is never found again."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import BuildPlugin
from fuzz.targets import FUZZ, PAYLOAD, TARGETS, VTABLE, Target, compile_replay, inputs_of
from nrhost import TROUBLE

pytestmark = pytest.mark.long


def replay(program: Path, files: list[Path], **environment: str) -> None:
    """Runs files; a crash names the one it was at."""
    done = subprocess.run([program, *files], capture_output=True, env={**os.environ, **environment}, timeout=300)
    said = done.stdout.decode().splitlines()
    assert done.returncode == 0, f"{said[-1:]}: {done.returncode}\n{done.stderr.decode(errors='replace')[-4000:]}"
    assert not TROUBLE.search(done.stderr), done.stderr.decode(errors="replace")[-4000:]
    assert said[-1] == f"{len(files)} inputs"


def test_the_payloads(tmp_path: Path) -> None:
    replay(compile_replay(PAYLOAD, tmp_path), inputs_of(PAYLOAD))


def test_the_plugins_functions(build: BuildPlugin, tmp_path: Path) -> None:
    for abi in ("v1", "v1-raw"):
        build(FUZZ / "plugin.py", abi, "--abi", abi)
    replay(compile_replay(VTABLE, tmp_path), inputs_of(VTABLE), NRPY_FUZZ_PLUGINS=str(tmp_path))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_corpus_is_small(target: Target) -> None:
    files = inputs_of(target)
    assert 10 < len(files) < 300
    assert sum(path.stat().st_size for path in files) < 256 << 10
