"""Codecs and typed payloads in a built plugin, through every kind of entry."""

from __future__ import annotations

import json
from pathlib import Path

import msgpack
import pytest
from conftest import BuildPlugin, StartHost
from nrhost import NrHost, Status

SOURCE = """
from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import msgspec
import pydantic

from nylon_ring_py import Callback, Plugin, Request, Response, Status

plugin = Plugin("orders", workers=2)
entered = []


class Item(msgspec.Struct):
    price: int


class Order(msgspec.Struct):
    items: list[Item]


@dataclass
class Point:
    x: int


class Movie(TypedDict):
    title: str


class Person(pydantic.BaseModel):
    name: str
    age: int


@plugin.handle("unary")
def unary(req: Request, order: Order) -> Order:
    entered.append("unary")
    return order


@plugin.handle_sync("sync", codec="msgpack")
def sync(order: Order) -> Order:
    entered.append("sync")
    return order


@plugin.handle_raw("raw", codec="json", sync=True)
def raw(order: Order) -> Order:
    entered.append("raw")
    return order


@plugin.handle("callback")
def callback(order: Order, callback: Callback) -> None:
    entered.append("callback")
    callback(msgspec.json.encode(order))


@plugin.handle("generator")
def generator(order: Order):
    entered.append("generator")
    for item in order.items:
        yield item
    yield Response({"done": True}, Status.STREAM_END)


@plugin.handle("coroutine")
async def coroutine(order: Order) -> Order:
    entered.append("coroutine")
    return order


@plugin.handle("async_generator")
async def async_generator(order: Order):
    entered.append("async_generator")
    for item in order.items:
        yield item


@plugin.handle_raw("plain", codec="json")
def plain(payload):
    return {"got": payload}


@plugin.handle("point")
def point(point: Point) -> Point:
    return Point(point.x + 1)


@plugin.handle("movie")
def movie(movie: Movie) -> list[Movie]:
    return [movie]


@plugin.handle("person")
def person(person: Person) -> dict[str, Person]:
    return {"it": person}


@plugin.handle("object", codec="json")
def an_object(req):
    return object()


def deeper(order):
    raise RuntimeError("deeper")


@plugin.handle("fails")
def fails(order: Order) -> None:
    deeper(order)


@plugin.handle("fails_in_frames")
def fails_in_frames(order: Order):
    yield 1
    deeper(order)


@plugin.handle_sync("entered", codec="json")
def show_entered(req):
    return entered
"""

GOOD = {"items": [{"price": 1}, {"price": 2}]}
BAD = {"items": [{"price": 1}, {"price": "much"}]}
INVALID = "the body is no Order: Expected `int`, got `str` - at `$.items[1].price`"


@pytest.fixture(scope="module")
def orders(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "orders")


@pytest.fixture
def host(orders: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(orders) == Status.OK
    return host


def body_of(entry: str, value: object) -> bytes:
    return bytes(msgpack.packb(value)) if entry == "sync" else json.dumps(value).encode()


@pytest.mark.parametrize("door", ["handle", "raw"])
@pytest.mark.parametrize("entry", ["unary", "sync", "raw", "callback", "coroutine"])
def test_a_typed_call(host: NrHost, entry: str, door: str) -> None:
    reply = host.call(entry, door=door, body=body_of(entry, GOOD)).reply  # type: ignore[arg-type]
    assert reply.status == Status.OK
    assert (msgpack.unpackb(reply.data) if entry == "sync" else json.loads(reply.text)) == GOOD
    assert json.loads(host.call("entered").reply.text) == [entry]
    wrong = host.call(entry, door=door, body=body_of(entry, BAD)).reply  # type: ignore[arg-type]
    assert (wrong.status, wrong.text) == (Status.INVALID, INVALID)
    assert json.loads(host.call("entered").reply.text) == [entry]  # and no second time


@pytest.mark.parametrize("entry", ["generator", "async_generator"])
def test_a_typed_stream(host: NrHost, entry: str) -> None:
    frames = [(frame.status, frame.data) for frame in host.stream(entry, body=body_of(entry, GOOD)).frames]
    end = b'{"done":true}' if entry == "generator" else b""
    assert frames == [(Status.OK, b'{"price":1}'), (Status.OK, b'{"price":2}'), (Status.STREAM_END, end)]
    wrong = [(frame.status, frame.text) for frame in host.stream(entry, body=body_of(entry, BAD)).frames]
    assert wrong == [(Status.INVALID, INVALID)]
    assert json.loads(host.call("entered").reply.text) == [entry]


@pytest.mark.parametrize(
    ("entry", "body", "expected"),
    [
        ("plain", b'["x"]', b'{"got":["x"]}'),
        ("point", b'{"x":1}', b'{"x":2}'),
        ("movie", b'{"title":"t"}', b'[{"title":"t"}]'),
        ("person", b'{"name":"n","age":7}', b'{"it":{"name":"n","age":7}}'),
    ],
)
def test_each_kind_of_type(host: NrHost, entry: str, body: bytes, expected: bytes) -> None:
    reply = host.call(entry, body=body).reply
    assert (reply.status, reply.data) == (Status.OK, expected)
    for wrong in (b"1" if entry != "plain" else b"", b"{", b"", b"[" * 100_000):
        reply = host.call(entry, body=wrong).reply
        assert reply.status == Status.INVALID
        assert reply.text.startswith("the body is no ")


def test_a_result_that_has_no_form_is_a_type_error(host: NrHost) -> None:
    reply = host.call("object").reply
    assert reply.status == Status.ERR
    assert reply.text.startswith("TypeError: this object cannot be encoded as JSON: ")


@pytest.mark.parametrize("entry", ["fails", "fails_in_frames"])
def test_the_log_begins_with_the_authors_frames(host: NrHost, entry: str) -> None:
    kind = "unary" if entry == "fails" else "stream"
    last = host.call(entry, kind=kind, body=body_of(entry, GOOD)).frames[-1]  # type: ignore[arg-type]
    assert (last.status, last.text) == (Status.ERR, "RuntimeError: deeper")
    logged = host.stderr().decode()
    trace = logged[logged.index("Traceback") :]
    places = [line.strip().rpartition(", in ")[2] for line in trace.splitlines() if line.startswith("  File ")]
    assert places == [entry, "deeper"]
