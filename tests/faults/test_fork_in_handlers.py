"""A handler forks: its child never answers the host, and never returns into it."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import BuildPlugin
from hosts.processes import RunHost

SOURCE = """
import asyncio
import multiprocessing
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from nylon_ring_py import Plugin, Status

plugin = Plugin("forking", executor=None)
begun = 0

@plugin.handle_raw("begun", sync=True)
def show_begun(payload): return str(begun)

def fork(in_child):
    child = os.fork()
    if child == 0:
        return in_child()
    return f"child {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}"

def fail():
    raise ValueError("in the child")

WAYS = {
    "returns": lambda: "from the child",
    "fails": fail,
    "leaves": lambda: sys.exit(7),
    "leaves_well": lambda: sys.exit(),
    "leaves_badly": lambda: sys.exit("why"),
    "ends": lambda: os._exit(9),
    "answers": lambda: plugin.send_result(current, Status.OK, b"from the child") or os._exit(8),
}
current = 0

def register(way):
    in_child = WAYS[way]

    @plugin.handle(f"pooled_{way}")
    def pooled(req):
        global current
        current = req.sid
        return fork(in_child)

    @plugin.handle_sync(f"sync_{way}")
    def sync(req):
        global current
        current = req.sid
        return fork(in_child)

    @plugin.handle(f"callback_{way}")
    def with_callback(req, callback):
        global current
        current = req.sid
        callback(fork(in_child))

    @plugin.handle(f"coroutine_{way}")
    async def coroutine(req):
        global current
        current = req.sid
        return fork(in_child)

    @plugin.handle(f"executor_{way}", executor=ThreadPoolExecutor(1))
    def in_executor(req):
        global current
        current = req.sid
        return fork(in_child)

for way in WAYS:
    register(way)

@plugin.handle("waits_in_child")
async def waits_in_child(req):
    child = os.fork()
    await asyncio.sleep(0)
    return f"child {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}"

@plugin.handle("frames")
def frames(req):
    yield "before"
    yield fork(lambda: "from the child")

@plugin.handle("async_frames")
async def async_frames(req):
    yield "before"
    yield fork(lambda: "from the child")

@plugin.stream("duplex")
def duplex(stream):
    stream.send("before")
    stream.send(fork(lambda: "from the child"))

@plugin.handle("process")
def process(req):
    receiver, sender = multiprocessing.Pipe(duplex=False)
    worker = multiprocessing.get_context("fork").Process(target=sender.send, args=("from the child",))
    worker.start()
    said = receiver.recv()
    worker.join()
    return f"{said} {worker.exitcode}"

if os.environ.get("FORK_AT") == "import":
    print("import", fork(lambda: "from the child"), flush=True)

@plugin.on_init
def init():
    if os.environ.get("FORK_AT") == "init":
        print("init", fork(lambda: "from the child"), flush=True)

@plugin.on_shutdown
def bye():
    if os.environ.get("FORK_AT") == "shutdown":
        print("shutdown", fork(lambda: "from the child"), flush=True)
"""

SAID = "a child of fork came back"


@pytest.fixture(scope="module")
def forking(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "forking")


KINDS = ["pooled", "sync", "coroutine", "callback", "executor"]


@pytest.mark.parametrize(
    ("way", "codes"),
    [
        ("returns", [0, 0, 0, 1, 0]),  # what the fourth returns goes to its callback, and so to the host
        ("fails", [1, 1, 1, 1, 1]),
        ("answers", [1, 1, 1, 1, 1]),
        ("leaves", [7, 7, 7, 7, 7]),
        ("leaves_well", [0, 0, 0, 0, 0]),
        ("leaves_badly", [1, 1, 1, 1, 1]),
        ("ends", [9, 9, 9, 9, 9]),
    ],
)
def test_a_child_of_a_handler(run_host: RunHost, forking: Path, way: str, codes: list[int]) -> None:
    """The parent's call is answered once, by the parent, with the child's exit code."""
    steps = [step for number, kind in enumerate(KINDS, 1) for step in (f"call:{kind}_{way}", f"replies:{number}")]
    ended = run_host(forking, "load", *steps, "shutdown", "dlclose", "end:return:0")
    assert ended.code == 0, str(ended)
    assert [line for line in ended.lines if "sent" in line] == [
        f"sent {number} 0 child {code}" for number, code in enumerate(codes, 1)
    ], str(ended)
    assert not any(line.startswith("child handle") for line in ended.lines), str(ended)
    assert (SAID in ended.stderr) == (way in ("returns", "fails", "answers")), str(ended)


@pytest.mark.parametrize(("entry", "code"), [("frames", 0), ("async_frames", 1), ("duplex", 1)])
def test_a_child_of_a_stream_s_handler(run_host: RunHost, forking: Path, entry: str, code: int) -> None:
    ended = run_host(forking, "load", f"call:{entry}", "replies:3", "shutdown", "end:return:0")
    assert [line for line in ended.lines if "sent" in line] == [
        "sent 1 0 before",
        f"sent 1 0 child {code}",
        "sent 1 4 ",
    ], str(ended)


def test_a_child_that_awaits(run_host: RunHost, forking: Path) -> None:
    """It is ended before its event loop, whose descriptors it shares, takes anything from the parent's."""
    steps = ["call:waits_in_child", "replies:1"] + [f"call:coroutine_ends replies:{n}" for n in range(2, 6)]
    ended = run_host(forking, "load", *" ".join(steps).split(), "shutdown", "end:return:0")
    assert [line for line in ended.lines if "sent" in line] == [
        "sent 1 0 child 0",
        *(f"sent {n} 0 child 9" for n in range(2, 6)),
    ], str(ended)


@pytest.mark.parametrize("hook", ["import", "init", "shutdown"])
def test_a_child_of_a_hook(run_host: RunHost, forking: Path, hook: str) -> None:
    steps = ("load", "call:pooled_ends", "replies:1", "shutdown", "end:return:3")
    ended = run_host(forking, *steps, env={"FORK_AT": hook})
    assert ended.code == 3
    lines = ["init 0", "sent 1 0 child 9", "shut down"]
    lines.insert(lines.index("shut down") if hook == "shutdown" else 0, f"{hook} child 0")
    beside = ["handle 0", f"{hook} from the child"]  # a worker may have answered before handle has returned
    assert [line for line in ended.lines if line not in beside] == lines, str(ended)
    assert "handle 0" in ended.lines, str(ended)


def test_multiprocessing_by_fork(run_host: RunHost, forking: Path) -> None:
    """Its children end by themselves."""
    ended = run_host(forking, "load", "call:process", "replies:1", "shutdown", "end:return:0")
    assert "sent 1 0 from the child 0" in ended.lines, str(ended)
    assert SAID not in ended.stderr
