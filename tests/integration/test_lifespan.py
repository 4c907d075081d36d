"""The life of a built plugin in a host: what is set up before the first call and taken down after the last."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost
from nrhost import Abi, Status

TRACE = """
import asyncio, atexit, os
from nylon_ring_py import Plugin

plugin = Plugin("life")

def say(what):
    with open(os.environ["TRACE"], "a") as file:
        file.write(what + "\\n")
    if os.environ.get("FAIL") == what:
        raise OSError("failed at " + what)

atexit.register(say, "atexit")
plugin.on_shutdown(lambda: say("on_shutdown"))
"""

SYNC = (
    TRACE
    + """
import sqlite3

@plugin.lifespan
def store():
    say("store in")
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    try:
        yield {"db": connection}
    finally:
        connection.close()
        say("store out")

@plugin.lifespan
def cache(given):
    assert given is plugin
    plugin.ctx.db.execute("create table seen (n)")
    say("cache in")
    yield
    say("cache out")

plugin.on_init(lambda: say("on_init"))

@plugin.handle("count")
def count(req):
    plugin.ctx.db.execute("insert into seen values (1)")
    return str(plugin.ctx.db.execute("select count(*) from seen").fetchone()[0])
"""
)

ASYNC = (
    TRACE
    + """
@plugin.lifespan
async def client():
    async with asyncio.timeout(None):           # one that another task cannot leave
        say("client in")
        queue = asyncio.Queue()
        async def work():
            while True:
                future = await queue.get()
                future.set_result(b"worked")
        worker = asyncio.create_task(work())
        yield {"queue": queue}
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        say("client out")

@plugin.on_init
async def init():
    await asyncio.sleep(0)
    say("on_init")

@plugin.on_shutdown
async def bye():
    await asyncio.sleep(0)
    say("async on_shutdown")

@plugin.handle("work")
async def work(req):
    future = asyncio.get_running_loop().create_future()
    await plugin.ctx.queue.put(future)
    return await future

@plugin.handle("pooled")
def pooled(req):
    return repr(plugin.ctx)
"""
)


ALONE = (
    TRACE
    + """
@plugin.lifespan
async def alone():
    say("in")
    yield
    say("out")
"""
)


@pytest.fixture(scope="module")
def synchronous(build_once: BuildPlugin) -> Path:
    return build_once(SYNC, "synchronous")


@pytest.fixture(scope="module")
def asynchronous(build_once: BuildPlugin) -> Path:
    return build_once(ASYNC, "asynchronous")


@pytest.mark.parametrize("abi", ["v1", "v2"])
def test_lifespans_are_around_hooks_and_calls(
    start_host: StartHost, synchronous: Path, tmp_path: Path, abi: Abi
) -> None:
    trace = tmp_path / "trace"
    host = start_host(env={"TRACE": str(trace)})
    assert host.load(synchronous, abi=abi) == Status.OK
    assert trace.read_text().split("\n")[:-1] == ["store in", "cache in", "on_init"]
    assert [host.call("count").reply.text for _ in range(3)] == ["1", "2", "3"]
    trace.unlink()
    host.unload()
    assert trace.read_text().split("\n")[:-1] == ["on_shutdown", "cache out", "store out", "atexit"]


@pytest.mark.parametrize("abi", ["v1", "v2"])
def test_asynchronous_ones_live_on_the_loop(
    start_host: StartHost, asynchronous: Path, tmp_path: Path, abi: Abi
) -> None:
    trace = tmp_path / "trace"
    host = start_host(env={"TRACE": str(trace)})
    assert host.load(asynchronous, abi=abi) == Status.OK
    assert trace.read_text().split("\n")[:-1] == ["client in", "on_init"]
    assert [host.call("work").reply.text for _ in range(3)] == ["worked"] * 3
    assert host.call("pooled").reply.text == "Context(queue)"
    trace.unlink()
    host.unload()
    assert trace.read_text().split("\n")[:-1] == ["async on_shutdown", "on_shutdown", "client out", "atexit"]
    assert b"Traceback" not in host.stderr()


def test_a_lifespan_alone_has_a_loop(start_host: StartHost, build: BuildPlugin, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    host = start_host(env={"TRACE": str(trace)})
    assert host.load(build(ALONE)) == Status.OK
    host.unload()
    assert trace.read_text().split("\n")[:-1] == ["in", "on_shutdown", "out", "atexit"]


def test_a_shared_object_is_of_one_load(start_host: StartHost, synchronous: Path, tmp_path: Path) -> None:
    host = start_host(env={"TRACE": str(tmp_path / "trace")})
    for name in ("one", "two"):
        assert host.load(synchronous, plugin=name) == Status.OK
    assert host.call("count", plugin="one").reply.text == "1"
    assert host.call("count", plugin="one").reply.text == "2"
    assert host.call("count", plugin="two").reply.text == "1"


@pytest.mark.parametrize(
    ("failing", "trace"),
    [
        ("store in", ["store in", "atexit"]),
        ("cache in", ["store in", "cache in", "store out", "atexit"]),
        ("on_init", ["store in", "cache in", "on_init", "cache out", "store out", "atexit"]),
    ],
)
def test_a_failing_start_fails_init_and_leaves_what_was_entered(
    start_host: StartHost, synchronous: Path, tmp_path: Path, failing: str, trace: list[str]
) -> None:
    file = tmp_path / "trace"
    host = start_host(env={"TRACE": str(file), "FAIL": failing})
    assert host.load(synchronous) == Status.ERR
    assert file.read_text().split("\n")[:-1] == trace
    assert f"OSError: failed at {failing}" in host.stderr().decode()


@pytest.mark.parametrize(
    ("failing", "trace"),
    [("client in", ["client in", "atexit"]), ("on_init", ["client in", "on_init", "client out", "atexit"])],
)
def test_a_failing_asynchronous_start_does_so_too(
    start_host: StartHost, asynchronous: Path, tmp_path: Path, failing: str, trace: list[str]
) -> None:
    file = tmp_path / "trace"
    host = start_host(env={"TRACE": str(file), "FAIL": failing})
    assert host.load(asynchronous) == Status.ERR
    assert file.read_text().split("\n")[:-1] == trace
    assert f"OSError: failed at {failing}" in host.stderr().decode()


def test_a_failing_end_is_logged_and_the_rest_still_runs(
    start_host: StartHost, synchronous: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    host = start_host(env={"TRACE": str(trace), "FAIL": "cache out"})
    assert host.load(synchronous) == Status.OK
    trace.unlink()
    host.unload()
    assert trace.read_text().split("\n")[:-1] == ["on_shutdown", "cache out", "store out", "atexit"]
    assert "lifespan cache raised OSError" in host.stderr().decode()
