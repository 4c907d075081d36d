"""A task and a context for each call, to the author's eyes: what one call leaves there, the next does not find."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import LOOP_FDS, LOOP_THREADS, BuildPlugin, StartHost, until
from nrhost import NrHost, Status

SOURCE = """
import asyncio
import contextvars
import gc
import os
import sys
import weakref
from nylon_ring_py import Plugin, current_call

plugin = Plugin("tasks", event_loop=os.environ.get("TEST_EVENT_LOOP", "asyncio"))
log, kept, waiting = [], [], []
by_task = weakref.WeakKeyDictionary()
var = contextvars.ContextVar("var", default="nothing")

@plugin.handle_sync("log")
def show_log(req): return ",".join(map(str, log))

async def pause(req):
    if req.query: await asyncio.sleep(0)

@plugin.handle("echo")
async def echo(req):
    await pause(req)
    return req.body

@plugin.handle("finds")
async def finds(req):
    before, task = var.get(), asyncio.current_task()
    found = [task in kept, task in by_task, task.get_name() == f"finds#{req.sid}", task.cancelling(),
             hasattr(task, "mark"), before, task.get_coro() is not None, current_call().sid == req.sid]
    await asyncio.sleep(0)
    return repr(found)

@plugin.handle("leaves")
async def leaves(req):
    if req.path == "var before": var.set("left")
    await pause(req)
    match req.path:
        case "reference": kept.append(asyncio.current_task())
        case "weak reference": by_task[asyncio.current_task()] = req.sid
        case "attribute": asyncio.current_task().mark = "left"
        case "name": asyncio.current_task().set_name("left")
        case "cancel": asyncio.current_task().cancel()
        case "uncancel":
            asyncio.current_task().cancel()
            asyncio.current_task().uncancel()
        case "var": var.set("left")
        case "var and back": var.reset(var.set("left"))
        case "context": kept.append(contextvars.copy_context())
        case "context before var":
            kept.append(contextvars.copy_context())
            var.set("left")
        case "context with var":
            kept.append(contextvars.copy_context())
            kept[-1].run(var.set, "left")
        case "method": kept.append(asyncio.current_task().get_name)
        case "coroutine": kept.append(asyncio.current_task().get_coro())
        case "repr": log.append(repr(asyncio.current_task()))
        case "done": asyncio.current_task().add_done_callback(lambda task: log.append(task.get_name()))
        case "child": asyncio.create_task(asyncio.sleep(0))
        case "raises": raise ValueError("left")
    return b"left"

# ---- what others see of a task ----

@plugin.handle("kept_call")
async def kept_call(req): return str(kept[-1].run(current_call).sid)

@plugin.handle_sync("tasks_left")
def tasks_left(req): return str(sum(isinstance(each, asyncio.Task) for each in gc.get_objects()))

@plugin.handle("await_kept")
async def await_kept(req):
    task = kept[-1]
    return f"{await task} {task.done()} {task.get_name()}"

@plugin.handle("others")
async def others(req):
    return ",".join(sorted(task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()}))

@plugin.handle("wait")
async def wait(req):
    if req.path == "keep": kept.append(asyncio.current_task())
    future = asyncio.get_running_loop().create_future()
    waiting.append(future)
    await future
    return req.body

@plugin.handle("go_on")
async def go_on(req):
    while waiting: waiting.pop().set_result(None)

@plugin.handle("cancel_others")
async def cancel_others(req):
    for task in asyncio.all_tasks() - {asyncio.current_task()}: task.cancel()

@plugin.handle("child_reports")
async def child_reports(req):
    future = asyncio.get_running_loop().create_future()
    async def child():
        if req.path == "sets": var.set("child's")
        await future
        log.append(f"{current_call().sid} {req.sid}")
    task = asyncio.create_task(child())
    waiting.append(future)
    if req.query: await asyncio.sleep(0)
    task.add_done_callback(lambda task: None)

# ---- how many tasks there are ----

@plugin.handle("count")
async def count(req):
    loop = asyncio.get_running_loop()
    was = loop.get_debug
    def get_debug():
        if sys._getframe(1).f_code.co_name != "__init__": log.append(1)
        return was()
    loop.get_debug = get_debug  # a task asks for it when it is made, and a handle

# ---- finalizers ----

class Garbage:
    def __init__(self, left):
        self.me, self.left = self, left
    def __del__(self):
        try:
            found = current_call().entry
        except LookupError:
            found = "none"
        if self.left: Garbage(self.left - 1)
        else: log.append("all")
        names.add(found)

names = set()

@plugin.handle("garbage")
async def garbage(req):
    Garbage(200)
    gc.set_threshold(1)
"""

FOUND = "[False, False, True, 0, False, 'nothing', True, True]"
LEFT = [
    "reference",
    "weak_reference",
    "attribute",
    "name",
    "cancel",
    "uncancel",
    "var",
    "var_before",
    "var_and_back",
    "context",
    "context_before_var",
    "context_with_var",
    "method",
    "coroutine",
    "repr",
    "done",
    "child",
    "raises",
    "nothing",
]
LOOPS = pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])


@pytest.fixture(scope="module")
def tasks(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "tasks")


@pytest.fixture
def host(tasks: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(tasks) == Status.OK
    return host


@pytest.fixture
def loop_host(tasks: Path, start_host: StartHost, event_loop: str) -> NrHost:
    env = {"TEST_EVENT_LOOP": event_loop}
    host = start_host(env=env, resident_threads=LOOP_THREADS[event_loop], resident_fds=LOOP_FDS[event_loop])
    assert host.load(tasks) == Status.OK
    return host


def logged(host: NrHost) -> list[str]:
    return host.call("log").reply.text.split(",")


@pytest.mark.parametrize("wait", ["", "wait"])
@LOOPS
def test_nothing_is_left_for_the_next_call(loop_host: NrHost, wait: str, event_loop: str) -> None:
    host = loop_host
    for left in LEFT:
        for _ in range(2):
            reply = host.call("leaves", path=left.replace("_", " "), query=wait).reply
            assert reply.text == ("ValueError: left" if left == "raises" else "left"), left
            assert [host.call("finds").reply.text for _ in range(2)] == [FOUND] * 2, left


@pytest.mark.parametrize("wait", ["", "wait"])
def test_a_task_that_somebody_keeps_is_done(host: NrHost, wait: str) -> None:
    for _ in range(2):
        sid = host.call("leaves", path="reference", query=wait).sid
        assert host.call("await_kept").reply.text == f"None True leaves#{sid}"
    sid = host.call("leaves", path="done", query=wait).sid
    until(lambda: logged(host) == [f"leaves#{sid}"])


def test_a_task_that_somebody_awaits(host: NrHost) -> None:
    waits = host.submit("wait", path="keep").sid
    awaits = host.submit("await_kept").sid
    host.call("go_on")
    assert host.wait(awaits).reply.text == f"None True wait#{waits}"
    assert host.wait(waits).reply.status == Status.OK


# ---- asyncio.all_tasks() ----


@LOOPS
def test_all_tasks_are_the_calls_that_wait(loop_host: NrHost, event_loop: str) -> None:
    host = loop_host
    for is_seen in (False, True):
        sids = [host.submit("wait").sid for _ in range(20)]
        if is_seen:
            assert host.call("others").reply.text.split(",") == sorted(f"wait#{sid}" for sid in sids)
        host.call("go_on")
        assert [host.wait(sid).reply.status for sid in sids] == [Status.OK] * 20
        assert host.call("others").reply.text == ""
    sids = [host.submit("wait").sid for _ in range(20)]
    host.call("cancel_others")
    assert [host.wait(sid).reply.text for sid in sids] == ["CancelledError"] * 20
    assert host.call("echo", body=b"x", query="wait").reply.data == b"x"


def test_tasks_without_a_call_end_without_a_word(host: NrHost, tasks: Path) -> None:
    sids = [host.submit("wait").sid for _ in range(50)]
    host.call("go_on")
    assert [host.wait(sid).reply.status for sid in sids] == [Status.OK] * 50
    host.unload()
    assert host.stderr() == b""
    assert host.load(tasks) == Status.OK
    assert host.call("tasks_left").reply.text == "0"


# ---- current_call() ----


@pytest.mark.parametrize("wait", ["", "wait"])
@pytest.mark.parametrize("path", ["", "sets"])
def test_a_child_keeps_its_call(host: NrHost, wait: str, path: str) -> None:
    """Its context is a copy of the one that the next calls have."""
    sids = []
    for _ in range(3):
        sids.append(host.call("child_reports", path=path, query=wait).sid)
        for pause in ("", "wait"):
            assert host.call("echo", body=b"x", query=pause).reply.data == b"x"
    host.call("go_on")
    until(lambda: len(logged(host)) == len(sids))
    assert sorted(logged(host)) == [f"{sid} {sid}" for sid in sids]


@pytest.mark.parametrize("wait", ["", "wait"])
def test_a_context_that_somebody_keeps(host: NrHost, wait: str) -> None:
    for path in ("context", "context before var", "context with var"):
        sid = host.call("leaves", path=path, query=wait).sid
        assert [host.call("echo", body=b"x", query=pause).reply.data for pause in ("", "wait")] == [b"x"] * 2
        assert host.call("kept_call").reply.text == str(sid), path


def test_a_finalizer_between_two_calls(host: NrHost) -> None:
    """It runs in the context of a task that has no call then."""
    host.call("garbage")

    def is_over() -> bool:
        assert host.call("echo", body=b"x", query="wait").reply.data == b"x"
        return "all" in logged(host)

    until(is_over)


# ---- what it is for ----


@pytest.mark.parametrize("wait", ["", "wait"])
@LOOPS
def test_a_task_serves_many_calls(loop_host: NrHost, wait: str, event_loop: str) -> None:
    host = loop_host
    host.call("count")
    for n in range(100):
        assert host.call("echo", body=b"%d" % n, query=wait).reply.data == b"%d" % n
    assert len(logged(host)) <= 2
