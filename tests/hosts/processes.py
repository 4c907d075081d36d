"""How a process_host ended, and what it said."""

from __future__ import annotations

import subprocess
from collections.abc import Callable


class Ended:
    """How a process_host ended: its exit code (negative: a signal), the lines it said, and its stderr."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code = done.returncode
        self.lines = done.stdout.splitlines()
        self.stderr = done.stderr

    def __str__(self) -> str:
        return "\n".join([f"ended with {self.code}", *self.lines, self.stderr])


RunHost = Callable[..., Ended]
"""run_host(plugin, *steps, env={}): a process_host, from its start to its end and that of its children."""
