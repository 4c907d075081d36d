"""Codecs and typed payloads that a type checker must accept. Checked by `mypy --strict`, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, TypedDict, assert_type

import msgspec
import pydantic

from nylon_ring_py import Callback, Plugin, Request, Response, Status
from nylon_ring_py.codecs import Codec

plugin = Plugin("typed")


class Order(msgspec.Struct):
    price: int


@dataclass
class Point:
    x: int


class Movie(TypedDict):
    title: str


class Person(pydantic.BaseModel):
    name: str


# ---- without codec=: a typed payload is JSON


@plugin.handle("struct")
def struct(order: Order) -> Order:
    return order


assert_type(struct(Order(1)), Order)


@plugin.handle("dataclass")
def dataclass_(point: Point) -> list[Point]:
    return [point]


@plugin.handle("typed_dict")
def typed_dict(movie: Movie) -> int:
    return len(movie["title"])


@plugin.handle("model")
def model(person: Person) -> Response[Person]:
    return Response(person, Status.OK)


@plugin.handle("container")
def container(people: list[Person]) -> dict[str, Person]:
    return {person.name: person for person in people}


@plugin.handle("union")
def union(order: Order | Movie | None) -> None: ...


@plugin.handle("beside")
def beside(req: Request, order: Order) -> dict[str, object]:
    return {"path": req.path, "price": order.price}


@plugin.handle("before")
def before(order: Order, req: Request) -> str:
    return req.path


@plugin.handle("later")
def later(order: Order, callback: Callback) -> None:
    callback(b"")


@plugin.handle("all_three")
def all_three(req: Request, callback: Callback, order: Order) -> None: ...


@plugin.handle("frames")
def frames(order: Order) -> Iterator[Order | Response[dict[str, int]]]:
    yield order
    yield Response({"price": order.price}, Status.STREAM_END)


@plugin.handle_sync("sync")
def sync(order: Order) -> int:
    return order.price


@plugin.handle_raw("raw")
def raw(order: Order) -> int:
    return order.price


@plugin.handle_raw("raw_later")
def raw_later(order: Order, callback: Callback) -> None: ...


# ---- with one: any plain object, and any type in place of the request


@plugin.handle("plain", codec="json")
def plain(req: Request) -> dict[str, list[int]]:
    assert_type(req.json(), Any)
    return {"a": [1]}


assert_type(plain(req=Request()), dict[str, list[int]])


@plugin.handle("numbers", codec="msgpack")
def numbers(values: list[int]) -> int:
    return sum(values)


assert_type(numbers(values=[1]), int)


@plugin.handle("coded_beside", codec="json")
def coded_beside(req: Request, order: Order) -> object:
    return order


@plugin.handle("coded_before", codec="json")
def coded_before(order: Order, req: Request) -> object:
    return order


@plugin.handle("coded_later", codec="json")
def coded_later(req: Request, callback: Callback) -> None: ...


@plugin.handle("coroutine", codec="json")
async def coroutine(order: Order) -> Order:
    return order


@plugin.handle("async_frames", codec="json")
async def async_frames(req: Request) -> AsyncIterator[int]:
    yield 1


@plugin.handle_sync("coded_sync", codec="json")
def coded_sync(req: Request) -> float:
    return 1.5


@plugin.handle_raw("coded_raw", codec="msgpack", sync=True)
def coded_raw(payload: Any) -> Any:
    return payload


@plugin.handle_raw("coded_raw_later", codec="json")
def coded_raw_later(payload: dict[str, int], callback: Callback) -> None: ...


orders = Codec("json", Order)
assert_type(orders.decode(b"{}"), Order)
assert_type(orders.encode([Order(1)]), bytes)
assert_type(Codec("msgpack").decode(b""), Any)
