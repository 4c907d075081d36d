"""Endless recursion by other ways than a plain call, and memory that runs out: replies like any other failure."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost, is_sanitized
from nrhost import Status

SOURCE = """
import asyncio
import json
import pickle
import resource
from nylon_ring_py import Plugin

plugin = Plugin("deep", workers=3)

class Mirror:
    def __repr__(self): return repr(self)
    def __eq__(self, other): return self == other
    def __getattr__(self, name): return getattr(self, name)
    __hash__ = object.__hash__

def nested(levels=30_000):
    value = []
    for _ in range(levels):
        value = [value]
    return value

def frames():
    yield from frames()

async def deep():
    return await deep()

async def deep_frames():
    async for each in deep_frames():
        yield each

async def first():
    async for each in deep_frames():
        return each

WAYS = {
    "repr": lambda: repr(Mirror()),
    "eq": lambda: Mirror() == Mirror(),
    "getattr": lambda: Mirror().anything,
    "compare": lambda: nested() == nested(),
    "json": lambda: json.dumps(nested()),
    "json_loads": lambda: json.loads("[" * 30_000),
    "pickle": lambda: pickle.dumps(nested()),
    "frames": lambda: next(frames()),
    "coroutine": lambda: deep().send(None),
    "async_frames": lambda: first().send(None),
    "memory": lambda: bytes(1 << 62),
    "list": lambda: [0] * (1 << 60),
}

def run(req): return str(WAYS[req.body.decode()]())

plugin.handle("pooled")(run)
plugin.handle_sync("sync")(run)

@plugin.handle("on_loop")
async def on_loop(req):
    if req.body == b"coroutine":
        return await deep()
    return str(await first()) if req.body == b"async_frames" else run(req)

@plugin.handle("frames_of")
def frames_of(req):
    yield b"one"
    yield run(req)

hoard = []

@plugin.handle("fill")
def fill(req):
    \"\"\"Takes all the address space there is to be had from now on, but for a little.\"\"\"
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + (64 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    try:
        while True:
            hoard.append(bytearray(4 << 20))
    except MemoryError:
        for _ in range(4):
            hoard.pop()
    return "full"

@plugin.handle("too_much")
def too_much(req): return bytes(1 << 30)

@plugin.handle_sync("too_much_sync")
def too_much_sync(req): return bytes(1 << 30)

@plugin.handle("too_much_async")
async def too_much_async(req): return bytes(1 << 30)

@plugin.handle("echo")
def echo(req): return req.body

@plugin.handle("free")
def free(req):
    hoard.clear()
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_AS)[1]))
"""

MEMORY = ["memory", "list"]
WAYS = ["repr", "eq", "getattr", "compare", "json", "json_loads", "pickle", "frames", "coroutine", "async_frames"]


@pytest.fixture(scope="module")
def deep(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "deep")


def test_a_handler_that_goes_too_deep(start_host: StartHost, deep: Path) -> None:
    """On our threads, on the host's main thread, and on one with the stack that Rust gives."""
    host = start_host()
    assert host.load(deep) == Status.OK
    for way in (*WAYS, *MEMORY):
        expected = "MemoryError" if way in MEMORY else "RecursionError: maximum recursion depth exceeded"
        replies = [host.call(entry, body=way.encode()).reply for entry in ("pooled", "sync", "on_loop")]
        replies.append(host.call("sync", body=way.encode(), on="thread", stack=2 << 20).reply)
        replies.append(host.stream("frames_of", body=way.encode()).frames[-1])
        assert [reply.status for reply in replies] == [Status.ERR] * 5, way
        assert [reply.text[: len(expected)] for reply in replies] == [expected] * 5, way


@pytest.mark.skipif(is_sanitized("asan") or is_sanitized("tsan"), reason="they need terabytes of address space")
def test_the_address_space_runs_out(start_host: StartHost, deep: Path) -> None:
    """What finds no memory is answered Err, what needs little is served, and with memory all is as before."""
    host = start_host()
    assert host.load(deep) == Status.OK
    for _ in range(2):
        assert host.call("fill").reply.text == "full"
        for entry in ("too_much", "too_much_sync", "too_much_async"):
            reply = host.call(entry).reply
            assert (reply.status, reply.text) == (Status.ERR, "MemoryError")
            assert host.call("echo", body=b"little").reply.data == b"little"
        assert host.call("free").reply.status == Status.OK
        assert host.call("echo", body_size=8 << 20).reply.length == 8 << 20
