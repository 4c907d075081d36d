"""Code that writes where it should not: in the host's process it ends the host, in a pool of processes a worker."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost
from nrhost import HostError, NrHost, Status

SOURCE = """
import ctypes
import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from nylon_ring_py import Plugin

def pool():
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))

plugin = Plugin("risky", shutdown_timeout_s=0.5)

def crash(req):
    ctypes.string_at(0)

plugin.handle("here")(crash)
plugin.handle_sync("here_sync")(crash)
plugin.handle("there", executor=pool)(crash)

@plugin.handle("aborts", executor=pool)
def aborts(req):
    os.abort()

@plugin.handle("echo", executor=pool)
def echo(req):
    return f"{os.getpid()} {req.body.decode()}"

@plugin.handle("local")
def local(req):
    return req.body

def wait(req):
    with open(req.path, "w") as fifo:
        fifo.write(f"{os.getpid()} ")
    with open(req.query) as fifo:
        return fifo.read()

plugin.handle("wait", executor=pool)(wait)
plugin.handle("wait_limited", executor=pool, timeout_s=2)(wait)
"""


@pytest.fixture(scope="module")
def risky(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "risky")


@pytest.fixture
def host(risky: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(risky) == Status.OK
    return host


@pytest.mark.parametrize("entry", ["here", "here_sync"])
def test_in_the_host_s_process_it_is_the_host_s_end(start_host: StartHost, risky: Path, entry: str) -> None:
    """By the signal itself: nothing of ours catches it, so that the host's own handler or core dump has it."""
    host = start_host(clean=False, leaks=False)
    assert host.load(risky) == Status.OK
    with pytest.raises(HostError, match="SIGSEGV"):
        host.call(entry)


@pytest.mark.parametrize("entry", ["there", "aborts"])
def test_in_a_worker_process_it_is_an_answer(host: NrHost, entry: str) -> None:
    """The calls that the pool had are Err, the next ones find a new worker, and the host notices nothing."""
    before = {host.call("echo").reply.text.split()[0] for _ in range(4)}
    sids = [host.submit("echo", body=b"x").sid for _ in range(8)] + [host.submit(entry).sid for _ in range(2)]
    replies = [host.wait(sid).reply for sid in sids]
    assert {reply.text.partition(":")[0] for reply in replies[-2:]} == {"BrokenProcessPool"}
    assert all(reply.status == Status.OK or reply.text.startswith("BrokenProcessPool") for reply in replies)
    after = [host.call("echo", body=b"x").reply for _ in range(4)]
    assert {reply.status for reply in after} == {Status.OK}
    assert not {reply.text.split()[0] for reply in after} & before
    assert host.call("local", body=b"here").reply.data == b"here"


@pytest.fixture
def fifos(tmp_path: Path) -> list[Path]:
    """Where a handler says that it has begun, and two to wait at."""
    paths = [tmp_path / name for name in ("begun", "first", "second")]
    for path in paths:
        os.mkfifo(path)
    return paths


def stop_worker(fifo: Path) -> int:
    """Stops the process that has begun to wait."""
    pid = int(fifo.read_text().split()[0])
    os.kill(pid, signal.SIGSTOP)
    return pid


def test_a_worker_that_is_stopped_for_a_while(host: NrHost, fifos: list[Path]) -> None:
    """Its call waits, another worker serves on, and when it goes on it answers; a call with a limit does not wait."""
    begun, first, second = fifos
    sid = host.submit("wait", path=str(begun), query=str(first)).sid
    stopped = [stop_worker(begun)]
    assert host.call("echo", body=b"by another").reply.text.endswith("by another")
    limited = host.submit("wait_limited", path=str(begun), query=str(second)).sid
    stopped.append(stop_worker(begun))
    assert host.wait(limited).reply.text.startswith("TimeoutError")
    late = host.submit("echo", body=b"late").sid
    assert host.call("local", body=b"here").reply.data == b"here"
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    for fifo in (first, second):
        fifo.write_text("done")
    assert host.wait(sid).reply.text == "done"
    assert host.wait(late).reply.text.endswith("late")


def test_a_shutdown_with_a_stopped_worker(host: NrHost, fifos: list[Path]) -> None:
    """It cannot even be told to terminate: it is killed."""
    sid = host.submit("wait", path=str(fifos[0]), query=str(fifos[1])).sid
    stop_worker(fifos[0])
    host.shutdown()
    assert host.wait(sid).reply.status == Status.ERR
    assert host.process().children == 0
