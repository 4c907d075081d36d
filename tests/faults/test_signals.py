"""A storm of signals at every thread: the host's handlers run on the host's threads, and nothing breaks."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hosts.environments import compile_host
from nrhost import TROUBLE

ENTRIES = [
    "sync", "raw_sync", "queued", "raw", "long", "state", "limited", "callback", "callback_sync", "later", "coroutine"
]  # fmt: skip


def test_a_storm_of_signals(plugin: Path, tmp_path: Path) -> None:
    """While it loads, under calls of every kind from large and small stacks, and while it shuts down."""
    host = compile_host(tmp_path / "signal_host", "tests/faults/signal_host.c")
    command = [str(host), str(plugin), "300", *ENTRIES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert not TROUBLE.search(done.stderr.encode()), done.stderr
    expected = "1200 of 1200, clean, signals came, 0 on threads of the plugin's\n"
    assert (done.returncode, done.stdout) == (0, expected), done.stderr
