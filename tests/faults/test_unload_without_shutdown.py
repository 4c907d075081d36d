"""The host lets the plugin's file go without a shutdown: it hears nothing more, and nothing of the plugin stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import CORE_THREADS, BuildPlugin
from hosts.processes import RunHost

SOURCE = """
import asyncio
import os
import threading
import weakref
from nylon_ring_py import Plugin

plugin = Plugin("left", workers=2, shutdown_timeout_s=0.3)
begun = []
gone = threading.Event()

@plugin.handle_raw("begun", sync=True)
def show_begun(payload): return str(len(begun))

@plugin.handle("plain")
def plain(req):
    begun.append(1)
    gone.wait(1)                      # most often until on_shutdown, and then there is no host
    return b"too late"

@plugin.handle("callback")
def with_callback(req, callback):
    begun.append(1)
    threading.Thread(target=lambda: (gone.wait(), callback(b"too late"))).start()

@plugin.handle("coroutine", timeout_s=0.3)
async def coroutine(req):
    begun.append(1)
    try:
        await asyncio.sleep(3600)
    finally:
        begun.append(2)

@plugin.handle("frames")
def frames(req):
    begun.append(1)
    while True:
        yield b"frame"

@plugin.stream("chat")
def chat(stream):
    begun.append(1)
    for frame in stream:
        pass
    stream.send(b"too late")

@plugin.on_shutdown
def bye():
    gone.set()
    os.write(1, b"on_shutdown\\n")

class Kept: pass
kept = Kept()
weakref.finalize(kept, os.write, 1, b"collected\\n").atexit = False
"""

BUSY = ["call:plain", "call:callback", "call:coroutine", "call:frames", "call:chat", "begun:5"]


@pytest.fixture(scope="module")
def left(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "left")


def test_nothing_is_sent_after_it(run_host: RunHost, left: Path) -> None:
    """The plugin's own code ends in order, and its modules go; then the same file serves again."""
    steps = ["load", *BUSY, "dlclose", f"threads:{1 + CORE_THREADS}", "load", "begun:0", "shutdown", "dlclose"]
    ended = run_host(left, *steps, "end:return:3")
    assert ended.code == 3, str(ended)
    after = ended.lines[ended.lines.index("dlclose 0") + 1 :]
    said = [line for line in after if line != "collected"]  # late, where a handler's thread has ended late
    assert said[:2] == ["on_shutdown", "init 0"], str(ended)
    assert [line.split()[-1] for line in said[2:]] == ["0", "on_shutdown", "down", "0"], str(ended)
    assert after.count("collected") == 2, str(ended)
    assert ended.stderr.count("has let the plugin's file go without shutdown") == 1


def test_nothing_stays(run_host: RunHost, left: Path) -> None:
    rounds = ["load", "call:coroutine", "begun:1", "dlclose"] * 20
    ended = run_host(left, *rounds, f"threads:{1 + CORE_THREADS}", "end:return:3")
    assert ended.code == 3, str(ended)
    assert ended.lines.count("collected") == 20, str(ended)


@pytest.mark.long
@pytest.mark.parametrize("how", ["return", "_exit", "quick_exit"])
def test_the_process_ends_at_once(run_host: RunHost, left: Path, how: str) -> None:
    ended = run_host(left, "load", *BUSY, "dlclose", f"end:{how}:4")
    assert ended.code == 4, str(ended)


def test_after_a_shutdown_it_is_silent(run_host: RunHost, left: Path) -> None:
    ended = run_host(left, "load", "shutdown", "dlclose", "end:return:3")
    assert (ended.code, ended.stderr) == (3, "")


def test_a_child_unmaps_it(run_host: RunHost, left: Path) -> None:
    """What the parent has is the parent's."""
    ended = run_host(left, "load", *BUSY, "fork:dlclose", "shutdown", "end:return:3")
    assert ended.code == 3, str(ended)
    assert "exited 5" in ended.lines, str(ended)
    assert "without shutdown" not in ended.stderr
