"""What a run leaves when something does not hold: all that is needed to look at it, and to do it again."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nrhost import HostError, NrHost

GDB_S = 120


def backtraces(host: NrHost, core: Path | None = None) -> str:
    """Where every thread of the host stands, or stood when it dumped its core; why not, if that cannot be told."""
    if shutil.which("gdb") is None:
        return "no gdb here: apt-get install gdb"
    target = [str(host.binary), str(core)] if core else ["-p", str(host.pid)]
    command = ["gdb", "-nx", "-batch", "-ex", "thread apply all bt", *target]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GDB_S)
    except subprocess.TimeoutExpired:
        return f"gdb took more than {GDB_S} s"
    return done.stdout + done.stderr


def write_backtraces(folder: Path, host: NrHost) -> None:
    """backtraces.txt, unless there is one: of a host that had to be killed they were taken before."""
    file = folder / "backtraces.txt"
    if not file.exists():
        file.write_text(backtraces(host, next(iter(folder.glob("core*")), None)))


def leave(folder: Path, host: NrHost, why: str, plan: Sequence[str], samples: Any, replay: str) -> Path:
    """Write finding.md, events.txt, backtraces.txt and samples.json.

    Args:
        folder: where to.
        host: the host, dead or alive.
        why: the first thing that did not hold.
        plan: the phases as far as the run came, in words.
        samples: all that was measured, for JSON.
        replay: the command that does it again.

    Returns:
        finding.md.
    """
    (folder / "samples.json").write_text(json.dumps(samples))
    write_backtraces(folder, host)
    try:
        host.command("trouble", [("write", 1)])
    except HostError as error:
        why += f"\n\nThe host had nothing more to say: {error}"
    (folder / "stderr.txt").write_bytes(host.stderr())
    finding = folder / "finding.md"
    finding.write_text(
        f"# What does not hold\n\n{why}\n\nAgain: `{replay}`\n\n"
        "Beside this: events.txt (the ledgers' last events), backtraces.txt (all threads), stderr.txt (the host's and "
        "the plugins' words), samples.json.\n\n"
        "## The plan, as far as it came\n\n" + "\n".join(f"- {line}" for line in plan) + "\n"
    )
    return finding
