"""Running what measures: commands, and what they say when they fail."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LIMIT_S = 120


class BenchError(Exception):
    """Something that should have run did not; its text says what, and what it said."""


def run(command: list[str], limit_s: float = LIMIT_S, environment: Mapping[str, str] | None = None) -> str:
    """Run a command to its end.

    Args:
        command: the program and its arguments.
        limit_s: how long it may take.
        environment: what it has beside this process's own.

    Returns:
        its standard output.

    Raises:
        BenchError: it cannot be started, fails, or takes longer than `limit_s`.
    """
    try:
        own = {**os.environ, **environment} if environment else None
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, env=own)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise BenchError(f"{' '.join(command)}\nended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def figures_of(command: list[str], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The JSON object that a command prints.

    Raises:
        BenchError: it fails, or prints something else.
    """
    said = run(command, environment=environment)
    try:
        figures: dict[str, Any] = json.loads(said)
    except ValueError as error:
        raise BenchError(f"{' '.join(command)}\nprinted no JSON: {said[:200]!r}") from error
    return figures


def wall_ns(command: list[str]) -> float:
    """How long a command takes, process and all, in nanoseconds."""
    began = time.perf_counter_ns()
    run(command)
    return float(time.perf_counter_ns() - began)


def build_command(python: str, source: Path, out: Path) -> list[str]:
    """How a user builds a plugin with that Python."""
    return [python, "-P", "-m", "nylon_ring_py.cli", "build-plugin", str(source), "-o", str(out)]
