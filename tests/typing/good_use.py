"""What authors write and a type checker must accept. Checked by `mypy --strict`, never run."""

import contextlib
from collections.abc import AsyncIterator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, assert_type

from nylon_ring_py import (
    Callback,
    HandlerError,
    Plugin,
    Request,
    Response,
    Status,
    Stream,
    current_call,
    define_plugin,
)
from nylon_ring_py.host import Host
from nylon_ring_py.metrics import prometheus
from nylon_ring_py.request import Args, Headers
from nylon_ring_py.state import State
from nylon_ring_py.stats import Stats
from nylon_ring_py.testing import AsyncFakeHost, BuildPlugin, FakeHost, RecordedCall, Reply
from nylon_ring_py.testing import Stream as FrameStream

plugin = Plugin("typed", version="1.0.0", workers=4, max_pending=100, shutdown_timeout_s=2)


@plugin.handle("unary")
def unary(req: Request) -> bytes:
    assert_type(req.path, str)
    assert_type(req.args, Args)
    assert_type(req.args.first("a"), str | None)
    assert_type(req.headers, Headers)
    assert_type(req.headers.get("Host"), str | None)
    assert_type(req.headers.get("Host", ""), str)
    assert_type(req.state, State)
    assert_type(req.state.get("k"), bytes | None)
    return req.body


assert_type(unary(Request(path="/", headers=[("a", b"b")])), bytes)


@plugin.handle("text")
def text(req: Request) -> str:
    if not req.path:
        raise HandlerError(Status.INVALID, "no path")
    return f"OK: {req.path}"


@plugin.handle("nothing")
def nothing(req: Request) -> None: ...


@plugin.handle("view")
def view(req: Request) -> memoryview | bytearray:
    return memoryview(req.body)


@plugin.handle("either")
def either(req: Request) -> Response | str | None:
    return Response("no", Status.UNSUPPORTED)


@plugin.handle("later")
def later(req: Request, callback: Callback) -> None:
    assert_type(callback(b"now", status=Status.OK), bool)
    assert_type(callback.sid, int)


@plugin.handle("later_first")
def later_first(answer: Callback, req: Request) -> None: ...


@plugin.handle("later_keyword")
def later_keyword(req: Request, *, callback: Callback) -> None: ...


@plugin.handle("feed")
def feed(req: Request) -> Iterator[str]:
    yield "frame"


@plugin.handle("feed_mixed")
def feed_mixed(req: Request) -> Generator[bytes | Response, None, None]:
    yield b"frame"
    yield Response(b"bye", Status.STREAM_END)


@plugin.handle("open", stream=True)
def opened(req: Request) -> None: ...


@plugin.handle_sync("ping")
def ping(req: Request) -> bytes:
    return b"pong"


@plugin.handle_raw("echo")
def echo(payload: bytes) -> bytes:
    return payload


@plugin.handle_raw("echo_now", sync=True)
def echo_now(payload: bytes) -> memoryview:
    return memoryview(payload)


@plugin.handle_raw("frames")
def frames(payload: bytes) -> Iterator[bytes]:
    yield payload


@plugin.handle("fetch")
async def fetch(req: Request) -> bytes:
    assert_type(current_call().cancelled, bool)
    return req.body


@plugin.handle("ticks")
async def ticks(req: Request) -> AsyncIterator[str]:
    yield "tick"


@plugin.handle("open_async", stream=True)
async def opened_async(req: Request) -> None: ...


@plugin.stream("chat")
def chat(stream: Stream) -> None:
    for frame in stream:
        assert_type(frame, bytes)
        stream.send(frame)


@plugin.stream("chat_async", timeout_s=60, max_pending=10)
async def chat_async(stream: Stream) -> None:
    assert_type(stream.request, Request)
    async for frame in stream:
        assert_type(frame, bytes)
        assert_type(await stream.send(frame), None)
    assert_type(stream.close(Status.STREAM_END, "bye"), bool)


@plugin.stream_data
def data(sid: int, frame: bytes) -> None:
    assert_type(plugin.send_result(sid, Status.OK, frame), bool)
    plugin.state(sid).set("last", frame)


@plugin.stream_close
def close(sid: int) -> None:
    plugin.send_result(sid, Status.STREAM_END)


@plugin.on_init
def init() -> None: ...


@plugin.on_shutdown
def bye() -> None: ...


@plugin.on_init
async def init_async() -> None: ...


@plugin.on_shutdown
async def bye_async() -> None: ...


@plugin.lifespan
async def pool() -> AsyncIterator[dict[str, object]]:
    yield {"pool": plugin.config.dsn}


@plugin.lifespan
def store(given: Plugin) -> Iterator[None]:
    given.ctx.store = 7
    assert_type(given.ctx.pool, Any)
    yield


@plugin.lifespan
@contextlib.asynccontextmanager
async def client() -> AsyncIterator[None]:
    yield


@plugin.lifespan
def file() -> contextlib.AbstractContextManager[object]:
    return Path("orders.log").open()


assert_type(plugin.config, Any)
plugin.config = {"dsn": "test"}
assert_type(plugin.stats(), Stats)
assert_type(plugin.stats().entries["unary"].latency.quantile(0.99), float)
assert_type(plugin.stats().totals.queue_age_s, float)
prometheus.register(plugin)


made = define_plugin(
    "made",
    init=init,
    shutdown=bye,
    lifespan=pool,
    entries={"unary": unary, "feed": feed, "later": later, "fetch": fetch, "ticks": ticks},
    sync_entries={"ping": ping},
    raw_entries={"echo": echo, "frames": frames},
    stream_entries={"open": opened, "open_async": opened_async},
    duplex_entries={"chat": chat, "chat_async": chat_async},
    stream_handlers={"data": data, "close": close},
    executor=lambda: ThreadPoolExecutor(4),
    timeout_s=2,
    idle_timeout_s=60,
    close_timeout_s=5,
    max_buffered=16,
    max_sync_streams=8,
    loops=1,
    event_loop="uvloop",
    slow_callback_s=None,
)
assert_type(made, Plugin)


def test_author(fake_host: FakeHost, host: Host, nylon_ring_plugin: Plugin, nylon_ring_build: BuildPlugin) -> None:
    assert_type(fake_host.call("unary", "body", path="/", headers={"a": b"b"}, timeout_s=1), Reply)
    assert_type(fake_host.call_raw("echo", b"x").data, bytes)
    assert_type(fake_host.call_stream("feed"), FrameStream)
    assert_type([frame.text for frame in fake_host.call_stream("feed")], list[str])
    assert_type(fake_host.calls, list[RecordedCall])
    assert_type(fake_host.calls[0].refused, Status | None)
    assert_type(fake_host.replies, list[tuple[int, Reply]])
    fake_host.advance(1)
    fake_host.settle()
    assert_type(host.call("unary"), Reply)
    assert_type(nylon_ring_build("orders.py", abi="v1-raw"), Path)
    with FakeHost(nylon_ring_plugin, abi="v2", capacity=2, clock="manual") as other:
        assert_type(other, FakeHost)


async def test_author_async(nylon_ring_plugin: Plugin) -> None:
    async with AsyncFakeHost(nylon_ring_plugin) as fake_host:
        assert_type(await fake_host.call("unary"), Reply)
        assert_type([frame.text async for frame in await fake_host.call_stream("feed")], list[str])
        await fake_host.settle()
