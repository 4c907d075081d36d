"""What a plugin's code leaves behind, or does at its end: exit callbacks and child processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from conftest import CORE_THREADS, BuildPlugin, StartHost, until
from nrhost import NrHost, Status

SOURCE = """
import atexit
import os
import subprocess
import sys
import threading
from nylon_ring_py import Plugin, Status

WAY = os.environ.get("WAY", "")
plugin = Plugin("leaving", shutdown_timeout_s=0.3)
kept = []

@plugin.handle("keep")
def keep(req, callback):
    kept.append((req.sid, callback))
    print("kept")

@plugin.handle("echo")
def echo(req): return req.body

@plugin.handle("leave_child")
def leave_child(req):
    kept.append(subprocess.Popen(["sleep", "3600"], stdout=subprocess.PIPE))
    return str(kept[-1].pid)

@plugin.handle("leave_zombie")
def leave_zombie(req):
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    return str(child.pid)

def say(word): print("atexit:", word)

def raises():
    say("raises")
    raise ValueError("at the end")

def leaves():
    say("leaves")
    sys.exit(5)

def registers():
    say("registers")
    atexit.register(say, "registered at the end")

def calls_back():
    for sid, callback in kept:
        try:
            say(f"answer {callback(b'late')} {plugin.send_result(sid, Status.OK, b'late')}")
        except Exception as error:
            say(type(error).__name__)

def hangs():
    say("hangs")
    threading.Event().wait()

if WAY == "atexit":
    atexit.register(say, "the first one")
    for each in (raises, leaves, registers, calls_back):
        atexit.register(each)
if WAY == "hangs":
    atexit.register(say, "never")
    atexit.register(hangs)
"""


@pytest.fixture(scope="module")
def leaving(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "leaving")


def said(host: NrHost, start: str) -> list[str]:
    """What lines that begin like that say."""
    return [line[len(start) :] for line in host.stderr().decode().splitlines() if line.startswith(start)]


def test_exit_callbacks_that_fail_and_call_back(start_host: StartHost, leaving: Path) -> None:
    """The rest still runs, and nothing of it reaches the host."""
    host = start_host(env={"WAY": "atexit"})
    assert host.load(leaving) == Status.OK
    sid = host.submit("keep").sid
    until(lambda: b"kept" in host.stderr())
    host.shutdown()
    reply = host.wait(sid).reply
    assert (reply.status, reply.text) == (Status.ERR, "the plugin is shutting down")
    assert said(host, "atexit: ") == [
        "answer False False",
        "registers",
        "registered at the end",
        "leaves",
        "raises",
        "the first one",
    ]
    assert "ValueError: at the end" in host.stderr_tail()
    host.unload()
    assert host.load(leaving) == Status.OK


def test_an_exit_callback_that_hangs(start_host: StartHost, leaving: Path) -> None:
    """The shutdown comes back, says so, and the next load is as good as the first."""
    host = start_host(env={"WAY": "hangs"}, leaks=False)
    assert host.load(leaving) == Status.OK
    host.unload()
    assert said(host, "atexit: ") == ["hangs"]
    assert "on_shutdown did not end within shutdown_timeout_s=0.3" in host.stderr_tail()
    assert host.load(leaving) == Status.OK
    assert host.call("echo", body=b"x").reply.data == b"x"
    assert host.exit("return", code=6) == 6


@pytest.mark.parametrize("end", ["unload", "exit"])
def test_a_child_process_that_is_left(start_host: StartHost, leaving: Path, end: str) -> None:
    """It is its author's to end, and holds nothing up."""
    host = start_host(leaks=False)
    assert host.load(leaving) == Status.OK
    pid = int(host.call("leave_child").reply.text)
    try:
        if end == "unload":
            host.unload()
            assert host.load(leaving) == Status.OK
            assert host.call("echo", body=b"x").reply.data == b"x"
            assert host.process().children == 1
        assert host.exit("return", code=6) == 6
        os.kill(pid, 0)  # it lives on
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_zombie(start_host: StartHost, leaving: Path) -> None:
    """Collected with the plugin, or when the next process is started, as in any Python."""
    host = start_host(resident_threads=CORE_THREADS)
    assert host.load(leaving) == Status.OK
    for _ in range(5):
        assert host.call("leave_zombie").reply.status == Status.OK
    assert host.process().children <= 1
    host.unload()
    assert host.process().children == 0
