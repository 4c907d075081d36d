"""The host forks, whenever it likes: the child is refused, leaves or executes; and inherits no descriptor of ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import BuildPlugin
from hosts.processes import RunHost

# Everything that has descriptors or threads: event loops, deadlines, process pools with their pipes, logs.
SOURCE = """
import asyncio
import multiprocessing
import subprocess
import threading
from concurrent.futures import ProcessPoolExecutor
from nylon_ring_py import Plugin

def pool():
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

plugin = Plugin("busy", workers=3, loops=2, shutdown_timeout_s=0.2)
begun = []
kept = []

@plugin.handle_raw("begun", sync=True)
def show_begun(payload): return str(len(begun))

@plugin.handle("echo")
def echo(req): return "done"

@plugin.handle_sync("echo_sync")
def echo_sync(req): return "done"

@plugin.handle("computes")
def computes(req):
    begun.append(1)
    while True:
        sum(range(1000))

@plugin.handle("waits", timeout_s=3600)
async def waits(req):
    begun.append(1)
    await asyncio.sleep(3600)

@plugin.handle("spins")
async def spins(req):
    begun.append(1)
    while True:
        await asyncio.sleep(0)

@plugin.handle("frames")
def frames(req):
    begun.append(1)
    while True:
        yield b"frame"

@plugin.handle("coroutine")
async def coroutine(req): return "done"

@plugin.handle("pooled", executor=pool)
def pooled(req): return "done"

@plugin.handle("with_callback")
def with_callback(req, callback):
    threading.Thread(target=callback, args=("done",)).start()

@plugin.handle("late", timeout_s=0.01)
async def late(req): await asyncio.sleep(3600)

@plugin.stream("chat")
def chat(stream): stream.send("done")

@plugin.handle("child")
def child(req):
    kept.append(subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    begun.append(1)
    return "done"

@plugin.on_shutdown
def bye():
    for each in kept:
        each.kill()
        each.communicate()
"""


@pytest.fixture(scope="module")
def busy(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "busy")


CHILDREN = {
    "exit": [],
    "_exit": [],
    "call": ["child handle 1"],
    "fork": ["child handle 1", "child exited 5"],
    "exec": [],
}


@pytest.mark.long
@pytest.mark.parametrize("how", CHILDREN)
def test_a_child_of_the_host_s(run_host: RunHost, busy: Path, how: str) -> None:
    """While workers compute, loops spin, timers are armed and threads wait for the GIL."""
    load = ["call:computes", "call:spins", "call:spins", "call:waits", "call:child", "call:pooled", "begun:5"]
    ended = run_host(busy, "load", *load, *[f"fork:{how}"] * 2, "call:echo_sync", "shutdown", "end:return:3")
    assert ended.code == 3, str(ended)
    lines = ended.lines[ended.lines.index("init 0") :]
    assert told(lines) == [*CHILDREN[how], "exited 5"] * 2, str(ended)


# By whom each is answered: a worker, an event loop, a thread of the author's, of a stream's, of a pool's, the timer.
OURS = ["echo", "coroutine", "with_callback", "chat", "pooled", "late"]


def told(lines: list[str]) -> list[str]:
    """What is said of children, and by them."""
    return [line for line in lines if line.startswith(("child", "exited", "signal", "hung", "descriptor"))]


def forks(entries: list[str], how: str) -> list[str]:
    """The steps that fork inside a send for each of the entries."""
    steps = []
    for entry in entries:
        # A stream has a terminal beside its frame, which may come before the next step.
        steps += [f"in_send:{how}", f"call:{entry}", "sent"]
    return steps


@pytest.mark.long
@pytest.mark.parametrize("how", ["exit", "call", "exec", "fork"])
def test_a_child_made_inside_send_result(run_host: RunHost, busy: Path, how: str) -> None:
    """On whatever thread of ours, or of the host's, that is."""
    entries = ["echo_sync", *OURS]
    ended = run_host(busy, "load", "call:spins", *forks(entries, how), "end:return:3")
    assert ended.code == 3, str(ended)
    assert told(ended.lines) == [*CHILDREN[how], "exited 5"] * len(entries), str(ended)


def test_a_child_that_comes_back_to_a_thread_of_ours(run_host: RunHost, busy: Path) -> None:
    """It has no host to go to, and must not work at what its parent works at."""
    ended = run_host(busy, "load", *forks(OURS, "return"), "call:echo_sync", "end:return:3")
    assert ended.code == 3, str(ended)
    assert told(ended.lines) == ["exited 1"] * len(OURS), str(ended)
    assert ended.stderr.count("a child of fork came back") == len(OURS)


def test_a_child_that_comes_back_to_the_host_s_thread(run_host: RunHost, busy: Path) -> None:
    """Its handle returns, and it goes on as the host likes."""
    steps = ["load", "in_send:return", "call:echo_sync", "call:echo", "shutdown", "end:return:3"]
    ended = run_host(busy, *steps)
    assert ended.code == 3
    assert [line for line in ended.lines if line.startswith("child")] == [
        "child handle 0",
        "child handle 1",
        "child shut down",
    ], str(ended)
    assert "exited 3" in ended.lines
    assert ended.lines[-1] == "shut down"
