"""What a type checker must refuse: `mypy --strict` reports an ignore that is not needed. Never run."""

from collections.abc import Iterator

from nylon_ring_py import Callback, HandlerError, Plugin, Request, Response, Status, Stream, define_plugin
from nylon_ring_py.testing import FakeHost

plugin = Plugin("wrong", workers="4")  # type: ignore[arg-type]


@plugin.handle("number")  # type: ignore[type-var]
def number(req: Request) -> int:
    return 5


@plugin.handle("plain_object")  # type: ignore[type-var]
def plain_object(req: Request) -> dict[str, int]:
    return {}


@plugin.handle_sync("coroutine")  # type: ignore[type-var]
async def coroutine(req: Request) -> bytes:
    return b""


@plugin.handle("no_request")  # type: ignore[type-var]
def no_request() -> bytes:
    return b""


@plugin.handle("too_many")  # type: ignore[type-var]
def too_many(req: Request, other: int) -> bytes:
    return b""


@plugin.handle("wrong_request")  # type: ignore[type-var]
def wrong_request(req: str) -> bytes:
    return b""


@plugin.handle("wrong_frames")  # type: ignore[type-var]
def wrong_frames(req: Request) -> Iterator[int]:
    yield 5


@plugin.handle_sync("frames")  # type: ignore[type-var]
def frames(req: Request) -> Iterator[bytes]:
    yield b""


@plugin.handle_raw("takes_request")  # type: ignore[type-var]
def takes_request(req: Request) -> bytes:
    return b""


@plugin.handle  # type: ignore[call-overload]
def no_parentheses(req: Request) -> bytes:
    return b""


@plugin.handle_sync("deadline", timeout_s=1.0)  # type: ignore[call-overload, untyped-decorator]
def deadline(req: Request) -> bytes:
    return b""


@plugin.stream_data  # type: ignore[type-var]
def data(sid: int) -> None: ...


@plugin.stream_close  # type: ignore[type-var]
def close(sid: int, frame: bytes) -> None: ...


@plugin.on_init  # type: ignore[type-var]
def init(app: Plugin) -> None: ...


@plugin.stream("yields")  # type: ignore[type-var]
def yields(stream: Stream) -> Iterator[bytes]:
    yield b""


@plugin.stream("of_a_request")  # type: ignore[type-var]
async def of_a_request(req: Request) -> None: ...


@plugin.lifespan  # type: ignore[type-var]
async def life() -> None: ...


@plugin.lifespan  # type: ignore[type-var]
def life_of(app: Plugin, other: int) -> Iterator[None]:
    yield


def answers(req: Request, callback: Callback) -> None:
    callback(5)  # type: ignore[arg-type]
    callback(Response(5))  # type: ignore[arg-type]
    HandlerError("invalid", "text")  # type: ignore[arg-type]
    req.path = "/"  # type: ignore[misc]
    req.state.set("k", 5)  # type: ignore[arg-type]
    plugin.send_result("7", Status.OK)  # type: ignore[arg-type]
    plugin.entries["x"] = None  # type: ignore[index]


define_plugin("wrong", loops="2")  # type: ignore[arg-type]
define_plugin("wrong", event_loop="trio")  # type: ignore[arg-type]
define_plugin("wrong", sync_entries={"a": coroutine})  # type: ignore[dict-item]
define_plugin("wrong", duplex_entries={"a": of_a_request})  # type: ignore[dict-item]
define_plugin("wrong", lifespan=life)  # type: ignore[arg-type]
FakeHost("wrong.py")  # type: ignore[arg-type]
FakeHost(plugin, abi="v1-raw")  # type: ignore[arg-type]
FakeHost(plugin).call("unary", 5)  # type: ignore[arg-type]
FakeHost(plugin).call("unary").data.encode()  # type: ignore[attr-defined]
