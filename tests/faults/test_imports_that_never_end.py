"""A plugin whose import, or whose on_init, never comes back: its host thread waits, and nobody else does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import pytest
from conftest import BuildPlugin, StartHost, until
from nrhost import NrHost, Status

STUCK = """
import os
import sys
import threading
from nylon_ring_py import Plugin

print("began", os.environ.get("STUCK_IN", ""), flush=True)

def stay():
    while True:
        if os.environ["HOW"] == "waits":
            with open(os.environ["FIFO"]) as fifo:
                if fifo.read():
                    return
        else:
            sum(range(1000))

plugin = Plugin("stuck")

@plugin.handle("echo")
def echo(req): return req.body

if os.environ.get("STUCK_IN", "") == "import":
    stay()

@plugin.on_init
def init():
    if os.environ.get("STUCK_IN", "") == "init":
        stay()
"""

GOOD = """
import xml.dom.minidom                # imports of its own, while the other stands in the middle of one
from nylon_ring_py import Plugin

plugin = Plugin("good")

@plugin.handle("echo")
def echo(req):
    import xml.sax.saxutils
    return req.body

@plugin.handle_sync("echo_sync")
def echo_sync(req): return req.body

@plugin.handle("coroutine")
async def coroutine(req): return req.body
"""


@pytest.fixture(scope="module")
def stuck(build_once: BuildPlugin) -> Path:
    return build_once(STUCK, "stuck")


@pytest.fixture(scope="module")
def good(build_once: BuildPlugin) -> Path:
    return build_once(GOOD, "good")


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def begin(start_host: StartHost, stuck: Path, fifo: Path, where: str, how: str) -> tuple[NrHost, int]:
    host = start_host(env={"STUCK_IN": where, "FIFO": str(fifo), "HOW": how}, leaks=how == "waits")
    job = host.start("load", path=str(stuck), plugin="stuck")
    until(lambda: f"began {where}".encode() in host.stderr())
    return host, job


def check_good(host: NrHost, good: Path) -> None:
    """Another plugin loads, answers, is unloaded, and loaded again."""
    for _ in range(2):
        assert host.load(good, plugin="good") == Status.OK
        for entry in ("echo", "echo_sync", "coroutine"):
            assert host.call(entry, body=b"x", plugin="good").reply.data == b"x"
        host.unload(plugin="good")


@pytest.mark.parametrize("where", ["import", "init"])
@pytest.mark.parametrize("how", ["waits", "computes"])
def test_others_go_on(start_host: StartHost, stuck: Path, good: Path, fifo: Path, where: str, how: str) -> None:
    host, job = begin(start_host, stuck, fifo, where, how)
    check_good(host, good)
    if how == "computes":
        assert host.exit("exit_without_shutdown", code=7) == 7
        return
    fifo.write_text("go on")
    answer = host.join(job)
    assert answer["init"] == Status.OK
    assert host.call("echo", body=b"at last", plugin="stuck").reply.data == b"at last"
    check_good(host, good)
    assert host.command("unload", [("plugin", "stuck")])["ledger"]["clean"]


@pytest.mark.long
@pytest.mark.parametrize("where", ["import", "init"])
@pytest.mark.parametrize("how", ["waits", "computes"])
@pytest.mark.parametrize("end", ["return", "_exit"])
def test_the_host_ends(
    start_host: StartHost,
    stuck: Path,
    fifo: Path,
    where: str,
    how: str,
    end: Literal["return", "_exit"],
) -> None:
    host, _ = begin(start_host, stuck, fifo, where, how)
    assert host.exit(end, code=9) == 9
    assert b"Fatal" not in host.stderr()
