"""Handlers of every kind with typed payloads of every kind, called as the core calls them, without a host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar

import msgpack
import msgspec
import orjson
import pydantic
import pydantic.dataclasses

from nylon_ring_py._binding import bind
from nylon_ring_py._signature import Subject, shape_of
from nylon_ring_py.entry import Options

Each = TypeVar("Each")


class StructItem(msgspec.Struct):
    price: int


class Struct(msgspec.Struct):
    items: list[StructItem]


@dataclass
class DataclassItem:
    price: int


@dataclass
class Dataclass:
    items: list[DataclassItem]


class DictItem(TypedDict):
    price: int


class Dict(TypedDict):
    items: list[DictItem]


class ModelItem(pydantic.BaseModel):
    price: int


class Model(pydantic.BaseModel):
    items: list[ModelItem]


@pydantic.dataclasses.dataclass
class ModelDataclass:
    items: list[ModelItem]


class Page(msgspec.Struct, Generic[Each]):
    items: list[Each]


PAYLOADS = [
    Struct, Dataclass, Dict, Model, ModelDataclass, Page[StructItem], Struct | None, Model | None,
]  # fmt: skip
GOOD: Any = {"items": [{"price": 1}, {"price": 2}]}
BAD: Any = {"items": [{"price": 1}, {"price": "much"}]}
CODECS: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "json": (orjson.dumps, orjson.loads),
    "msgpack": (msgpack.packb, msgpack.unpackb),
}


def called(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """What the core would call; coroutine functions and async generators too, which no decorator is needed for."""
    subject = Subject("entry 'x'", function)
    return bind(function, shape_of(function, subject), Options(**options), subject)[0]


async def _listed(frames: AsyncIterator[Any]) -> list[Any]:
    return [frame async for frame in frames]


def always(value: Any) -> Callable[[Any], Any]:
    return lambda payload: value


# A handler of every kind: made of the payload's type and a list of what it was entered with; and how its frames or its
# one reply are got from what calling it gives.


def plain(type_: Any, seen: list[Any]) -> Callable[..., Any]:
    def handler(order: Any) -> Any:
        seen.append(order)
        return order

    handler.__annotations__ = {"order": type_, "return": type_}
    return handler


def generator(type_: Any, seen: list[Any]) -> Callable[..., Any]:
    def handler(order: Any) -> Iterator[Any]:
        seen.append(order)
        yield order

    handler.__annotations__ = {"order": type_, "return": Iterator[type_]}
    return handler


def coroutine(type_: Any, seen: list[Any]) -> Callable[..., Any]:
    async def handler(order: Any) -> Any:
        await asyncio.sleep(0)
        seen.append(order)
        return order

    handler.__annotations__ = {"order": type_, "return": type_}
    return handler


def async_generator(type_: Any, seen: list[Any]) -> Callable[..., Any]:
    async def handler(order: Any) -> AsyncIterator[Any]:
        await asyncio.sleep(0)
        seen.append(order)
        yield order

    handler.__annotations__ = {"order": type_}
    return handler


KINDS: dict[str, tuple[Callable[[Any, list[Any]], Callable[..., Any]], Callable[[Any], list[Any]]]] = {
    "plain": (plain, lambda result: [result]),
    "generator": (generator, list),
    "coroutine": (coroutine, lambda result: [asyncio.run(result)]),
    "async generator": (async_generator, lambda result: asyncio.run(_listed(result))),
}
