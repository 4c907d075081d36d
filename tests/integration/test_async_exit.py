"""The host ends without a shutdown, or forks, while event loops are at work: no hang, no crash, its exit code kept."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost, needs_fork
from hosts.environments import compile_host
from nrhost import TROUBLE, Status

RUNS = 6
# Runs with what cannot be ended take as long as an exit may wait.
LONG = {"blocks": 2, "in_thread": 2}

SOURCE = """
import asyncio
import os
import threading
from nylon_ring_py import Plugin

plugin = Plugin("busy", workers=2, shutdown_timeout_s=0.1, loops=2,
                event_loop=os.environ.get("TEST_EVENT_LOOP", "asyncio"))
begun = []

@plugin.handle_raw("begun", sync=True)
def show_begun(payload): return str(len(begun))

@plugin.handle_raw("idle", sync=True)
def idle(payload): return payload

@plugin.handle("waits")
async def waits(req):
    begun.append(1)
    await asyncio.get_running_loop().create_future()

@plugin.handle("spins")
async def spins(req):
    begun.append(1)
    while True:
        await asyncio.sleep(0)

@plugin.handle("computes")
async def computes(req):
    begun.extend([1, 1, 1])
    while True:
        sum(range(1000))

@plugin.handle("swallows")
async def swallows(req):
    begun.append(1)
    while True:
        try:
            sum(range(1000))
            await asyncio.sleep(0)
        except BaseException:
            pass

@plugin.handle("blocks")
async def blocks(req):
    begun.extend([1, 1, 1])
    threading.Event().wait()

@plugin.handle("in_thread")
async def in_thread(req):
    begun.append(1)
    await asyncio.to_thread(threading.Event().wait)

@plugin.handle("streams")
async def streams(req):
    begun.append(1)
    while True:
        yield b"frame"

@plugin.on_init
async def init():
    asyncio.create_task(asyncio.sleep(3600)).set_name("kept")
    await asyncio.sleep(0)
"""

ENTRIES = ["idle", "waits", "spins", "computes", "swallows", "blocks", "in_thread", "streams"]


@pytest.fixture(scope="module")
def ending_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_host(tmp_path_factory.mktemp("hosts") / "ending_host", "tests/hosts/ending_host.c")


@pytest.fixture(scope="module")
def busy(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "busy")


def run(host: Path, plugin: Path, entry: str, count: int, how: str, code: int) -> None:
    """Runs the host to its end, and looks at its exit code and at what it has said."""
    command = [str(host), str(plugin), entry, str(count), how, str(code)]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert not TROUBLE.search(done.stderr), done.stderr.decode()
    assert b"Fatal" not in done.stderr
    assert done.returncode == code, (how, done.returncode, done.stderr.decode())


EVENT_LOOPS = pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])


@pytest.mark.long
@EVENT_LOOPS
@pytest.mark.parametrize("entry", ENTRIES)
def test_the_process_exits_with_loops_at_work(
    ending_host: Path, busy: Path, monkeypatch: pytest.MonkeyPatch, entry: str, event_loop: str
) -> None:
    monkeypatch.setenv("TEST_EVENT_LOOP", event_loop)
    for i in range(LONG.get(entry, RUNS)):
        run(ending_host, busy, entry, 0 if entry == "idle" else 3, ("return", "exit_thread")[i % 2], 10 + i)


@EVENT_LOOPS
@pytest.mark.parametrize("entry", ["idle", "waits", "spins", "in_thread", "streams"])
def test_a_forked_child_is_refused_and_leaves(
    ending_host: Path, busy: Path, monkeypatch: pytest.MonkeyPatch, entry: str, event_loop: str
) -> None:
    needs_fork()
    monkeypatch.setenv("TEST_EVENT_LOOP", event_loop)
    for code in (0, 7):
        run(ending_host, busy, entry, 0 if entry == "idle" else 2, "fork", code)


@EVENT_LOOPS
def test_a_fork_in_between(start_host: StartHost, busy: Path, event_loop: str) -> None:
    needs_fork()
    host = start_host(env={"TEST_EVENT_LOOP": event_loop}, resident_fds=2, resident_threads=6)
    assert host.load(busy) == Status.OK
    sid = host.submit("waits").sid
    for _ in range(10):
        forked = host.fork("waits")
        assert (forked.hung, forked.signal, forked.handle, forked.answered) == (False, 0, Status.ERR, False)
    host.shutdown()
    assert host.wait(sid).reply.status == Status.ERR
