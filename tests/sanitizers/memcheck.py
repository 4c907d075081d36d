"""A short life under valgrind: every kind of call through every door, streams, coroutines, failures, loads and unloads.

`make memcheck` runs it; valgrind itself is what fails: any wrong access, and anything that is definitely lost.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost
from nrhost import Abi, NrHost, Status

SOURCE = """
import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from nylon_ring_py import Callback, HandlerError, Plugin, Response, Status

plugin = Plugin("watched", workers=2, max_pending=64, shutdown_timeout_s=60)

def show(req): return json.dumps([req.method, req.path, req.query, req.headers.items(), req.args, req.body.decode()])

plugin.handle("show")(show)
plugin.handle_sync("show_sync")(show)

@plugin.handle("echo")
def echo(req): return req.body

@plugin.handle_sync("sync")
def sync(req): return req.body

@plugin.handle_raw("raw")
def raw(body): return body

@plugin.handle_raw("raw_sync", sync=True)
def raw_sync(body): return body

@plugin.handle("coroutine")
async def coroutine(req):
    await asyncio.sleep(0)
    return req.body

@plugin.handle("elsewhere", executor=lambda: ThreadPoolExecutor(2))
def elsewhere(req): return req.body

@plugin.handle("later")
def later(req, callback: Callback): threading.Thread(target=callback, args=(req.body,)).start()

@plugin.handle("dropped")
def dropped(req, callback: Callback): pass

@plugin.handle("json", codec="json")
def typed(body: dict[str, int]) -> dict[str, int]: return body

@plugin.handle("state")
def state(req):
    req.state.set("k", req.body)
    return req.state.get("k") + b"!"

@plugin.handle("fails")
def fails(req): raise ValueError(req.body.decode())

@plugin.handle_sync("fails_sync")
def fails_sync(req): raise HandlerError(Status.UNSUPPORTED, "no")

@plugin.handle("fails_later")
async def fails_later(req):
    await asyncio.sleep(0)
    raise ValueError("later")

@plugin.handle("overdue", timeout_s=0.05)
async def overdue(req): await asyncio.Event().wait()

@plugin.handle("generator")
def generator(req):
    yield from (req.body[at:at + 16] for at in range(0, len(req.body), 16))

@plugin.handle("async_generator")
async def async_generator(req):
    for at in range(0, len(req.body), 16):
        yield req.body[at:at + 16]
        await asyncio.sleep(0)

@plugin.handle("endless")
def endless(req):
    while True:
        yield b"more"

@plugin.handle("breaks")
def breaks(req):
    yield b"first"
    raise ValueError("in between")

@plugin.handle("hooks", stream=True)
def hooks(req): return None

@plugin.stream_data
def on_data(sid, data): return data

@plugin.stream("object")
def duplex(stream):
    for frame in stream:
        stream.send(frame)

@plugin.stream("async_object")
async def async_duplex(stream):
    async for frame in stream:
        await stream.send(frame)

@plugin.handle_sync("stats")
def stats(req): return json.dumps(plugin.stats().to_dict())
"""

UNARY = ("echo", "sync", "raw", "raw_sync", "coroutine", "elsewhere", "later")
FAILING = {"fails": Status.ERR, "fails_sync": Status.UNSUPPORTED, "fails_later": Status.ERR, "dropped": Status.ERR,
           "overdue": Status.ERR}  # fmt: skip
DUPLEX = ("hooks", "object", "async_object")
SIZES = (0, 1, 900, 70_000)


@pytest.fixture(scope="module")
def watched(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "watched")


def call_everything(host: NrHost, abi: Abi, plugin: str) -> None:
    """Each entry by each door, with sizes that are empty, short, a block's and malloc's own."""
    named = host.call("show", plugin=plugin, method="GET", path="/p", query="a=1&b=2", headers=[("K", "v")], body=b"x")
    if abi == "v1":
        assert named.reply.text == '["GET", "/p", "a=1&b=2", [["K", "v"]], {"a": ["1"], "b": ["2"]}, "x"]'
    assert host.call("show_sync", plugin=plugin, headers=100).reply.status == Status.OK
    for entry in UNARY:
        for size in SIZES:
            assert host.call(entry, plugin=plugin, body_size=size).reply.length == size, (entry, size)
            assert host.call(entry, plugin=plugin, door="raw", body_size=size).reply.length == size, (entry, size)
    for entry in ("sync", "raw_sync"):
        assert host.call(entry, plugin=plugin, door="fast", body=b"x").reply.data == b"x"
    assert host.call("json", plugin=plugin, body=b'{"a": 1}').reply.data == b'{"a":1}'
    assert host.call("json", plugin=plugin, body=b"no json").reply.status != Status.OK
    assert host.call("state", plugin=plugin, body=b"v").reply.data == b"v!"
    for entry, status in FAILING.items():
        assert host.call(entry, plugin=plugin, body=b"why").reply.status == status, entry
    assert host.call("nobody", plugin=plugin).handle == Status.INVALID
    assert host.call("echo", plugin=plugin, raw={"entry": "null:5"}).handle == Status.INVALID
    assert host.call("stats", plugin=plugin).reply.status == Status.OK


def stream_everything(host: NrHost, plugin: str) -> None:
    """Streams that end by themselves, that fail, that are fed, and that the host closes or drops in between."""
    for entry in ("generator", "async_generator"):
        streamed = host.stream(entry, plugin=plugin, body_size=100)
        assert (streamed.frames[-1].status, len(streamed.frames)) == (Status.STREAM_END, 8)
    assert [frame.status for frame in host.stream("breaks", plugin=plugin).frames] == [Status.OK, Status.ERR]
    for entry in DUPLEX:
        fed = host.submit(entry, plugin=plugin, kind="stream")
        for _ in range(20):
            assert host.stream_data(fed.sid, b"x" * 300, plugin=plugin) == Status.OK
        assert len(host.wait(fed.sid, frames=20, plugin=plugin).frames) == 20
        assert host.stream_close(fed.sid, plugin=plugin) == Status.OK
        assert host.wait(fed.sid, plugin=plugin).frames[-1].status == Status.STREAM_END
    closed = host.submit("endless", plugin=plugin, kind="stream")
    assert host.stream_close(closed.sid, plugin=plugin) == Status.OK
    assert host.wait(closed.sid, plugin=plugin).frames[-1].status == Status.STREAM_END
    for entry in ("endless", *DUPLEX):
        host.drop(host.submit(entry, plugin=plugin, kind="stream").sid, plugin=plugin)


@pytest.mark.parametrize("abi", ["v1", "v2"])
def test_a_life(start_host: StartHost, watched: Path, abi: Abi) -> None:
    """Two instances, one after the other and one beside the other, traffic, a reload under calls, and the end."""
    host = start_host(leaks=False)  # valgrind has descriptors of its own in the process
    for plugin in ("one", "two"):
        assert host.load(watched, abi=abi, plugin=plugin) == Status.OK
        call_everything(host, abi, plugin)
        stream_everything(host, plugin)
    storm = host.storm(calls=400, threads=4, window=8, unary="echo", fast="sync", stream="generator", plugin="one")
    assert storm.accepted == storm.terminals == 400
    for open_stream in DUPLEX:  # open, with frames unread, when the end comes
        host.stream_data(host.submit(open_stream, plugin="two", kind="stream").sid, b"unread", plugin="two")
    host.unload(plugin="two")
    counts, broken = host.reload(3, plugin="one", entry="coroutine", threads=2)
    assert (counts.lost, counts.wrong, broken) == (0, 0, [])
    host.unload(plugin="one")


def test_a_refused_init_and_a_load_after_it(start_host: StartHost, build: BuildPlugin, watched: Path) -> None:
    raises = "from nylon_ring_py import Plugin\nplugin = Plugin('no')\n@plugin.on_init\ndef init(): raise ValueError\n"
    host = start_host(leaks=False)
    assert host.load(build(raises, "refuses")) == Status.ERR
    for _ in range(3):
        assert host.load(watched) == Status.OK
        assert host.call("coroutine", body=b"x").reply.data == b"x"
        host.unload()
