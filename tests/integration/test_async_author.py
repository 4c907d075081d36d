"""What an author runs on an event loop beside handlers: hooks, lifespans and tasks of their own, and how they end."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import LOOP_FDS, LOOP_THREADS, BuildPlugin, StartHost, until
from nrhost import NrHost, Status

SOURCE = """
import asyncio
import os
import threading
from nylon_ring_py import Plugin

plugin = Plugin("tasks", shutdown_timeout_s=float(os.environ.get("TEST_TIMEOUT", "20")),
                event_loop=os.environ.get("TEST_EVENT_LOOP", "asyncio"))
running = set()
how = os.environ.get("TEST_HOW", "")

def say(*words): print("said:", *words, flush=True)

async def work(name):
    say(name, "begins")
    try:
        while True:
            await asyncio.sleep(3600)
    finally:
        await asyncio.sleep(0.01)
        say(name, "ends")

async def wrong():
    try:
        await asyncio.sleep(3600)
    finally:
        raise KeyError("on its way out")

async def stubborn():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            say("not me")

def begin(coroutine):
    task = asyncio.create_task(coroutine, name=coroutine.__name__)
    running.add(task)

@plugin.lifespan
async def span(plugin):
    begin(work("of the lifespan"))
    yield
    await asyncio.sleep(0)
    say("lifespan is left")

@plugin.on_init
async def init():
    begin(work("of on_init"))
    if how == "wrong": begin(wrong())
    if how == "stubborn": begin(stubborn())

@plugin.handle("begin")
async def begin_one(req):
    begin(work("of a handler"))
    return b"begun"

@plugin.handle("block")
async def block(req):
    print("handler: in", flush=True)
    threading.Event().wait()

@plugin.handle_sync("ping")
def ping(req): return b"pong"

@plugin.on_shutdown
async def bye():
    async def child():
        await asyncio.sleep(0.01)
        return await asyncio.to_thread(lambda: "a thread")
    if how == "hook":
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            say("hook is cancelled")
            raise
    say("on_shutdown with", await asyncio.create_task(child()), sum(not task.done() for task in running))
"""


@pytest.fixture(scope="module")
def tasks(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "tasks")


def said(host: NrHost) -> list[str]:
    return [line[6:] for line in host.stderr().decode().splitlines() if line.startswith("said: ")]


EVENT_LOOPS = pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])


def start_tasks(start_host: StartHost, event_loop: str = "asyncio", **env: str) -> NrHost:
    return start_host(
        env={"TEST_EVENT_LOOP": event_loop, **env},
        resident_threads=LOOP_THREADS[event_loop],
        resident_fds=LOOP_FDS[event_loop],
    )


@EVENT_LOOPS
def test_tasks_of_the_author_s_own_are_cancelled_last(tasks: Path, start_host: StartHost, event_loop: str) -> None:
    """The hooks and lifespans come first, with the tasks alive; each task's finally runs to its end."""
    host = start_tasks(start_host, event_loop)
    assert host.load(tasks) == Status.OK
    assert host.call("begin").reply.data == b"begun"
    until(lambda: "of a handler begins" in said(host))
    host.shutdown()
    assert said(host)[3:5] == ["on_shutdown with a thread 3", "lifespan is left"]
    assert sorted(said(host)[5:]) == ["of a handler ends", "of on_init ends", "of the lifespan ends"]


@EVENT_LOOPS
def test_tasks_that_end_badly_are_logged(tasks: Path, start_host: StartHost, event_loop: str) -> None:
    host = start_tasks(start_host, event_loop, TEST_HOW="wrong")
    assert host.load(tasks) == Status.OK
    host.unload()
    assert b"task 'wrong' raised" in host.stderr()
    assert b"KeyError: 'on its way out'" in host.stderr()


@EVENT_LOOPS
def test_tasks_that_do_not_end_are_logged(tasks: Path, start_host: StartHost, event_loop: str) -> None:
    host = start_tasks(start_host, event_loop, TEST_HOW="stubborn")
    assert host.load(tasks) == Status.OK
    host.unload()
    assert b"task 'stubborn' did not end when the plugin was unloaded" in host.stderr()
    assert "not me" in said(host)


@EVENT_LOOPS
def test_a_hook_on_the_loop_that_never_ends(tasks: Path, start_host: StartHost, event_loop: str) -> None:
    """It is cancelled in time for the lifespans to be left."""
    host = start_tasks(start_host, event_loop, TEST_HOW="hook", TEST_TIMEOUT="0.3")
    assert host.load(tasks) == Status.OK
    host.join(host.start_shutdown())
    assert "hook is cancelled" in said(host)
    assert b"TimeoutError: it did not end within the plugin's shutdown_timeout_s, and was cancelled" in host.stderr()
    assert b"left behind" not in host.stderr()


def test_a_hook_on_a_loop_that_is_blocked(tasks: Path, start_host: StartHost) -> None:
    host = start_host(env={"TEST_TIMEOUT": "0.3"}, leaks=False)
    assert host.load(tasks) == Status.OK
    sid = host.submit("block").sid
    until(lambda: b"handler: in" in host.stderr())
    host.join(host.start_shutdown())
    assert host.wait(sid).reply.status == Status.ERR
    assert b"on_shutdown bye raised" in host.stderr()
    assert b"TimeoutError: it did not end within the plugin's shutdown_timeout_s" in host.stderr()
    assert b"1 thread(s) did not end within" in host.stderr()
    host.unload()
    assert host.load(tasks, plugin="next") == Status.OK


def test_hooks_on_the_loop_that_shutdown_was_called_from(tasks: Path, start_host: StartHost) -> None:
    """They cannot run, and are not waited for: their plugin's shutdown_timeout_s is longer than this test may take."""
    host = start_host(env={"TEST_TIMEOUT": "600"})
    assert host.load(tasks) == Status.OK
    host.callback("shutdown", budget=1)
    assert host.call("begin").reply.data == b"begun"
    until(lambda: host.callback_report(shutdowns=1)["shutdowns"] == 1)
    text = host.stderr().decode()
    assert text.count("on whose thread shutdown was called from inside a send") == 2  # the hook, and the lifespan
    host.unload()
    until(lambda: "of on_init ends" in said(host))
