"""Programs that handlers start have the signals of the host's main thread, and not those that our threads block."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost
from nrhost import NrHost, Status

SOURCE = """
import asyncio
import os
import signal
import subprocess
import threading
from nylon_ring_py import Plugin

plugin = Plugin("parent", event_loop=os.environ.get("TEST_EVENT_LOOP", "asyncio"))
SHOW = ["grep", "SigBlk", "/proc/self/status"]

def mask():
    return sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))

def show(argv=SHOW, **options):
    before = mask()
    said = subprocess.run(argv, capture_output=True, text=True, **options).stdout.split()[1]
    assert mask() == before
    return said

@plugin.handle("pooled")
def pooled(req): return show()

@plugin.handle("spawned")
def spawned(req): return show(["/bin/grep", *SHOW[1:]], close_fds=False)

@plugin.handle("preexec")
def preexec(req): return show(preexec_fn=os.getpid)

@plugin.handle_sync("sync")
def sync(req): return show()

@plugin.handle("thread")
def in_thread(req):
    said = []
    thread = threading.Thread(target=lambda: said.append(show()))
    thread.start()
    thread.join()
    return said[0]

@plugin.handle("coroutine")
async def coroutine(req):
    child = await asyncio.create_subprocess_exec(*SHOW, stdout=subprocess.PIPE)
    return (await child.communicate())[0].split()[1]

@plugin.handle("fails")
def fails(req):
    before = mask()
    try:
        subprocess.run(["/no/such/program"])
    except FileNotFoundError:
        return str(mask() == before)

@plugin.handle("terminates")
def terminates(req):
    child = subprocess.Popen(["sleep", "3600"])
    child.terminate()
    return str(child.wait())
"""

ENTRIES = ["pooled", "spawned", "preexec", "sync", "thread", "coroutine"]


@pytest.fixture(scope="module")
def parent(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "parent")


@contextlib.contextmanager
def blocked(*numbers: signal.Signals) -> Iterator[None]:
    """What is started meanwhile inherits that these signals are blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def masks(host: NrHost) -> dict[str, int]:
    """What the program's child has blocked, by the entry that starts it."""
    return {entry: int(host.call(entry).reply.text, 16) for entry in ENTRIES}


@pytest.mark.parametrize("numbers", [(), (signal.SIGUSR1, signal.SIGRTMAX)], ids=["none", "some"])
def test_a_program_has_the_host_s_signals(
    start_host: StartHost, parent: Path, numbers: tuple[signal.Signals, ...]
) -> None:
    with blocked(*numbers):
        host = start_host()
    assert host.load(parent) == Status.OK
    assert masks(host) == dict.fromkeys(ENTRIES, sum(1 << (number - 1) for number in numbers))
    assert host.call("fails").reply.text == "True"


def test_a_program_can_be_told_to_terminate(start_host: StartHost, parent: Path) -> None:
    host = start_host()
    assert host.load(parent) == Status.OK
    assert host.call("terminates").reply.text == str(-signal.SIGTERM)


def test_uvloop_s_children(start_host: StartHost, parent: Path) -> None:
    host = start_host(env={"TEST_EVENT_LOOP": "uvloop"}, resident_fds=2, resident_threads=6)
    assert host.load(parent) == Status.OK
    assert host.call("coroutine").reply.text == "0" * 16
