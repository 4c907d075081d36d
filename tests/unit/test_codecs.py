"""Codecs: what goes out of a handler and how, and generators among them."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgpack
import msgspec
import pydantic
import pytest
from coded import (
    BAD,
    CODECS,
    GOOD,
    KINDS,
    Dataclass,
    DataclassItem,
    Dict,
    DictItem,
    Model,
    ModelDataclass,
    ModelItem,
    Struct,
    StructItem,
    always,
    called,
)

from nylon_ring_py import HandlerError, RegistrationError, Request, Response, Status
from nylon_ring_py.codecs import Codec


@pytest.mark.parametrize("codec", CODECS)
def test_plain_objects_in_and_out(codec: str) -> None:
    encode, decode = CODECS[codec]
    value = {"a": [1, 2.5, None, True, "ü"], "b": {}}
    body = encode(value)
    assert decode(called(lambda payload: [payload], codec=codec, raw=True)(body)) == [value]
    read = (lambda req: [req.json()]) if codec == "json" else (lambda req: [req.msgpack()])
    assert decode(called(read, codec=codec)(Request(body=body))) == [value]
    for wrong in (b"\xc1", b"") if codec == "msgpack" else (b"{", b""):
        with pytest.raises(HandlerError, match="the body is no ") as caught:
            called(lambda payload: 1 / 0, codec=codec, raw=True)(wrong)
        assert caught.value.status is Status.INVALID


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_out_as_it_is_and_what_is_encoded(codec: str, kind: str) -> None:
    encode = CODECS[codec][0]
    make, take = KINDS[kind]
    values: list[Any] = []

    def run(value: Any) -> Any:
        handler = make(None, values)
        call = called(handler, codec=codec, raw=True)
        return take(call(encode(value)))[0]

    assert run("text") == encode("text")
    assert run(None) == encode(None)
    given: list[Any] = [b"as it is", bytearray(b"x"), memoryview(b"x"), Response(b"x", Status.INVALID)]
    for value in given:
        assert called(always(value), codec=codec, raw=True)(encode(1)) is value
    for value in ({"a": 1}, "text", None):
        reply = called(always(Response(value, Status.ERR)), codec=codec, raw=True)(encode(1))
        assert reply == Response(encode(value), Status.ERR)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("value", [object(), {"a": [object()]}, "\ud800", 1j, 2**70, Response(object())], ids=repr)
def test_what_cannot_be_encoded_is_a_type_error(codec: str, value: Any) -> None:
    with pytest.raises(TypeError, match=r"cannot be encoded as (JSON|MessagePack): "):
        called(lambda req: value, codec=codec)(Request())


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        ("json", object()),
        ("json", "\ud800"),
        ("json", {(1, 2): 3}),
        ("msgpack", 1j),
        ("msgpack", "\ud800"),
        ("msgpack", 2**70),
    ],
    ids=repr,
)
def test_what_msgspec_cannot_encode_is_a_type_error_too(codec: str, value: Any) -> None:
    def handler(order: Struct) -> Any:
        return value

    with pytest.raises(TypeError, match="cannot be encoded as "):
        called(handler, codec=codec)(Request(body=CODECS[codec][0](GOOD)))


def test_a_partial_handler_without_annotations_gets_plain_objects() -> None:
    def handler(extra: Any, payload):  # type: ignore[no-untyped-def]
        return [extra, payload]

    assert called(functools.partial(handler, 1), codec="json", raw=True)(b"[2]") == b"[1,[2]]"


@pytest.mark.parametrize("codec", CODECS)
def test_a_result_that_goes_on_for_ever_is_a_type_error(codec: str) -> None:
    endless: list[Any] = []
    endless.append(endless)

    def typed(order: Struct) -> Any:
        return endless

    for handler in (always(endless), typed):
        with pytest.raises(TypeError, match="this list cannot be encoded as "):
            called(handler, codec=codec)(Request(body=CODECS[codec][0](GOOD)))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("typed", [False, True])
def test_objects_of_every_library_go_out_of_every_handler(codec: str, typed: bool) -> None:
    """Also where the annotations say nothing of them."""
    made = [
        Struct([StructItem(1)]), Dataclass([DataclassItem(1)]), Model(items=[ModelItem(price=1)]),
        ModelDataclass(items=[ModelItem(price=1)]), Dict(items=[DictItem(price=1)]),
    ]  # fmt: skip

    def untyped_handler(req):  # type: ignore[no-untyped-def]
        return {"made": made}

    def typed_handler(order: Struct) -> Any:
        return {"made": made}

    encode, decode = CODECS[codec]
    call = called(typed_handler if typed else untyped_handler, codec=codec)
    expected = {"items": [{"price": 1}]}
    assert decode(call(Request(body=encode(GOOD)))) == {"made": [expected] * 5}


class Money(str):
    pass


@dataclass
class Rich:
    amount: Decimal
    blob: bytes
    numbers: dict[int, str]
    name: str = "n"


@pytest.mark.parametrize("codec", CODECS)
def test_what_a_payload_may_hold_can_be_sent_back(codec: str) -> None:
    def handler(rich: Rich) -> Rich:
        rich.name = Money("m")
        return rich

    library: Any = getattr(msgspec, codec)
    body = library.encode(Rich(Decimal("1.50"), b"\0\xff", {1: "a"}))
    back = library.decode(called(handler, codec=codec)(Request(body=body)), type=Rich)
    assert back == Rich(Decimal("1.50"), b"\0\xff", {1: "a"}, "m")


def test_bytes_of_a_model_stay_bytes_in_message_pack() -> None:
    class Blob(pydantic.BaseModel):
        data: bytes
        amount: Decimal

    def handler(blob: Any) -> Any:
        return blob

    handler.__annotations__ = {"blob": Blob}
    body = msgpack.packb({"data": b"\0\xff", "amount": "1.5"})
    assert msgpack.unpackb(called(handler, codec="msgpack")(Request(body=body))) == {"data": b"\0\xff", "amount": "1.5"}


def test_nan_is_what_the_library_makes_of_it() -> None:
    assert called(lambda req: math.nan, codec="json")(Request()) == b"null"


def test_with_a_codec_the_only_parameter_may_be_of_any_type() -> None:
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    assert called(total, codec="json")(Request(body=b"[1, 2]")) == b"3"
    assert called(total, codec="json", raw=True)(b"[1, 2]") == b"3"
    with pytest.raises(HandlerError, match=r"the body is no list\[int\]: Expected `int`, got `str` - at `\$\[0\]`"):
        called(total, codec="json")(Request(body=b'["x"]'))

    def untouched(payload: Any) -> Any:
        return payload

    def request(req: Request) -> str:
        return req.path

    assert called(untouched, codec="json", raw=True)(b'["x"]') == b'["x"]'
    assert called(request, codec="json")(Request(path="/p")) == b'"/p"'


def test_bytes_stay_bytes_in_message_pack_alone() -> None:
    def handler(payload: bytes) -> int:
        return len(payload)

    assert called(handler, codec="msgpack", raw=True)(msgpack.packb(b"abc")) == b"\x03"
    with pytest.raises(RegistrationError, match="payload is annotated bytes"):
        called(handler, codec="json", raw=True)


# ---- generators


def test_every_frame_is_encoded_and_the_end_is_kept() -> None:
    closed: list[str] = []

    def handler(req: Any) -> Iterator[Any]:
        try:
            yield 1
            yield b"as it is"
            yield Response(["x"], Status.STREAM_END)
        finally:
            closed.append("closed")

    call = called(handler, codec="json")
    assert list(call(Request())) == [b"1", b"as it is", Response(b'["x"]', Status.STREAM_END)]
    frames = call(Request())
    next(frames)
    frames.close()
    assert closed == ["closed", "closed"]


def test_a_generator_that_returns_a_value_still_does() -> None:
    def handler(req: Any) -> Any:
        yield 1
        return 5

    frames = called(handler, codec="json")(Request())
    next(frames)
    with pytest.raises(StopIteration) as ended:
        next(frames)
    assert ended.value.value == 5  # which the core refuses


@pytest.mark.parametrize("fails", [True, False])
def test_a_generator_is_closed_with_the_one_around_it(fails: bool) -> None:
    closed: list[str] = []
    kept: list[Any] = []  # so that it does not go by itself

    def frames(req: Any) -> Iterator[Any]:
        try:
            yield 1
            yield object()
        finally:
            closed.append("closed")

    @functools.wraps(frames)
    def handler(req: Any) -> Any:
        kept.append(frames(req))
        return kept[0]

    encoded = called(handler, codec="json")(Request())
    assert next(encoded) == b"1"
    if fails:
        with pytest.raises(TypeError, match="this object cannot be encoded as JSON"):
            next(encoded)
    else:
        encoded.close()
    assert closed == ["closed"]


@pytest.mark.parametrize("fails", [True, False])
def test_an_async_generator_is_closed_with_the_one_around_it(fails: bool) -> None:
    closed: list[str] = []

    async def handler(req: Any) -> AsyncIterator[Any]:
        try:
            yield 1
            yield object()
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    async def run() -> None:
        encoded = called(handler, codec="json")(Request())
        assert await anext(encoded) == b"1"
        if fails:
            with pytest.raises(TypeError, match="this object cannot be encoded as JSON"):
                await anext(encoded)
        else:
            await encoded.aclose()
        assert closed == ["closed"]  # before the loop ends, which would close it too

    asyncio.run(run())


# ---- Codec


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_a_codec_of_ones_own(name: Any) -> None:
    orders = Codec(name, Struct)
    assert orders.decode(orders.encode(Struct([StructItem(1)]))) == Struct([StructItem(1)])
    with pytest.raises(HandlerError, match="the body is no Struct: ") as caught:
        orders.decode(orders.encode(BAD))
    assert caught.value.status is Status.INVALID
    plain = Codec(name)
    assert plain.decode(plain.encode(GOOD)) == GOOD
    with pytest.raises(TypeError, match="cannot be encoded"):
        plain.encode(object())
    assert repr(plain) == f"Codec({name!r})"


def test_a_codec_that_is_none() -> None:
    with pytest.raises(ValueError, match='codec= is "json" or "msgpack", not \'yaml\''):
        Codec("yaml")  # type: ignore[call-overload]
