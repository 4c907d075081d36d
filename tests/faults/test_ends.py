"""The host ends without a shutdown, in every way there is, with every kind of entry at work."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import BuildPlugin, until
from hosts.processes import RunHost

SOURCE = """
import asyncio
import multiprocessing
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from nylon_ring_py import Plugin

def pool():
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

plugin = Plugin("ending", workers=4, shutdown_timeout_s=0.2)
begun = []
kept = []

@plugin.handle_raw("begun", sync=True)
def show_begun(payload): return str(len(begun))

@plugin.handle("print")
def say(req):
    print("a line of the plugin's")
    sys.stderr.write("and one on stderr\\n")
    return "done"

@plugin.handle_sync("sync")
def sync(req):
    begun.append(1)
    while True:
        sum(range(1000))

@plugin.handle_sync("sync_waits")
def sync_waits(req):
    begun.append(1)
    threading.Event().wait()

@plugin.handle("pooled")
def pooled(req):
    begun.append(1)
    while True:
        sum(range(1000))

@plugin.handle("coroutine", timeout_s=3600)
async def coroutine(req):
    begun.append(1)
    while True:
        await asyncio.sleep(0)

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

@plugin.handle("in_thread", executor=ThreadPoolExecutor(1))
def in_thread(req):
    begun.append(1)
    while True:
        sum(range(1000))

@plugin.handle("in_process", executor=pool)
def in_process(req):
    while True:
        sum(range(1000))

@plugin.handle("callback")
def callback(req, callback):
    begun.append(1)
    kept.append(callback)

@plugin.on_shutdown
def bye():
    print("on_shutdown")
"""

# frames fill stdout, which nobody reads as fast: their host has a run of its own.
BUSY = ["call:pooled", "call:coroutine", "call:chat", "call:in_thread", "call:callback", "begun:5"]
ON_HOST_THREADS = ["thread:sync", "thread:sync_waits", "begun:2"]


@pytest.fixture(scope="module")
def ending(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "ending")


@pytest.mark.long
@pytest.mark.parametrize("how", ["return", "exit", "_exit", "quick_exit", "abort"])
def test_a_host_ends_with_everything_at_work(run_host: RunHost, ending: Path, how: str) -> None:
    """Its exit code is its own, what was printed is there, and the worker processes end with it."""
    expected = -signal.SIGABRT if how == "abort" else 40
    for work in ([*BUSY, "call:in_process"], ON_HOST_THREADS):
        ended = run_host(ending, "load", "call:print", "replies:1", *work, f"end:{how}:40")
        assert ended.code == expected, str(ended)
        assert "a line of the plugin's" in ended.lines
        assert "and one on stderr" in ended.stderr
        assert "on_shutdown" not in ended.lines


@pytest.mark.long
@pytest.mark.parametrize("how", ["return", "_exit", "quick_exit", "abort"])
def test_a_host_ends_with_a_stream_at_full_speed(run_host: RunHost, ending: Path, how: str) -> None:
    ended = run_host(ending, "load", "call:frames", "replies:100", f"end:{how}:41")
    assert ended.code == (-signal.SIGABRT if how == "abort" else 41), ended.stderr


def test_a_main_thread_that_ends_by_pthread_exit(run_host: RunHost, ending: Path) -> None:
    """The plugin serves on, and the process ends when it is told to."""
    steps = ["load", "leave_main", "call:print", "replies:1", "shutdown", "dlclose", "end:exit:42"]
    ended = run_host(ending, *steps)
    assert ended.code == 42, str(ended)
    assert ended.lines[-3:] == ["on_shutdown", "shut down", "dlclose 0"], str(ended)


def takes_sigterm(task: Path) -> bool:
    """Whether this thread has it open: ours block it, and the others are the host's."""
    lines = (task / "status").read_text().splitlines()
    blocked = next(int(line.split()[1], 16) for line in lines if line.startswith("SigBlk:"))
    return not blocked >> (signal.SIGTERM - 1) & 1


def test_a_process_without_host_threads_stays(process_host: Path, ending: Path) -> None:
    """Its main thread has ended by pthread_exit, and so has the last of its others: Python's own are left."""
    steps = ["load", "leave_main", "call:print", "replies:1", "shutdown", "dlclose", "end:pthread_exit:0"]
    with subprocess.Popen([process_host, ending, *steps], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout
            while process.stdout.readline() != b"dlclose 0\n":
                assert process.poll() is None
            until(lambda: host_threads(process.pid) == 0)
            assert process.poll() is None
        finally:
            process.kill()


def host_threads(pid: int) -> int:
    """How many threads of the host's there are but the main one, which is a zombie."""
    count = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
            count += task.name != str(pid) and takes_sigterm(task)
    return count
