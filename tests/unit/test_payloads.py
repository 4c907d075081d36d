"""Typed payloads: which parameter takes the body, what it gets, and what a wrong body is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from coded import BAD, CODECS, GOOD, KINDS, PAYLOADS, Dict, Model, ModelItem, Struct, called, plain

from nylon_ring_py import Callback, HandlerError, Plugin, RegistrationError, Request, Status
from nylon_ring_py._core import CALLBACK


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("payload", PAYLOADS, ids=str)
def test_a_payload_is_decoded_and_the_result_encoded(payload: Any, kind: str, codec: str, raw: bool) -> None:
    make, take = KINDS[kind]
    encode, decode = CODECS[codec]
    seen: list[Any] = []
    call = called(make(payload, seen), codec=codec, raw=raw)
    body = encode(GOOD)
    frames = take(call(body if raw else Request(body=body)))
    assert [decode(frame) for frame in frames] == [GOOD]
    assert all(type(frame) is bytes for frame in frames)
    entered = seen[0]
    if payload is not Dict:
        assert type(entered).__name__ in str(payload)
        entered = entered.items[0]
        assert entered.price == 1
    else:
        assert entered == GOOD


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("payload", PAYLOADS, ids=str)
def test_a_wrong_body_is_told_by_its_field_and_the_handler_never_runs(
    payload: Any, kind: str, codec: str, raw: bool
) -> None:
    make, take = KINDS[kind]
    seen: list[Any] = []
    call = called(make(payload, seen), codec=codec, raw=raw)
    body = CODECS[codec][0](BAD)
    with pytest.raises(HandlerError) as caught:
        take(call(body if raw else Request(body=body)))
    assert caught.value.status is Status.INVALID
    assert caught.value.message.startswith("the body is no ")
    assert "items[1].price" in caught.value.message
    assert "int" in caught.value.message
    assert seen == []


@pytest.mark.parametrize(
    ("payload", "body", "message"),
    [
        (Struct, b'{"items":[{"price":""}]}', "the body is no Struct: Expected `int`, got `str` - at `$.items[0]"),
        (Struct, b"{}", "the body is no Struct: Object missing required field `items`"),
        (Struct, b"{", "the body is no JSON: Input data was truncated"),
        (Struct, b'{"items":[]}\xff', "the body is no JSON: "),
        (Struct, b'{"items":"\xff"}', "the body is no Struct: Expected `array`, got `str` - at `$.items`"),
        (Struct, b"", "the body is no JSON: Input data was truncated"),
        (Struct, b"NaN", "the body is no JSON: "),
        (Struct, b'{"x":' + b"[" * 100_000, "the body is no JSON: "),
        (dict[str, Struct], b'{"a":{"items":[1]}}', "the body is no dict[str, Struct]: Expected `object`, got `int`"),
        (Model, b"{}", "the body is no Model: Field required - at `$.items`"),
        (Model, b"{", "the body is no JSON: EOF while parsing an object at line 1 column 1"),
        (list[Model], b"[{}]", "the body is no list[Model]: Field required - at `$[0].items`"),
        (
            list[ModelItem],
            json.dumps([{}] * 7).encode(),
            "the body is no list[ModelItem]: "
            + "; ".join(f"Field required - at `$[{i}].price`" for i in range(5))
            + "; and 2 more",
        ),
    ],
)  # fmt: skip
def test_what_a_wrong_body_is_told(payload: Any, body: bytes, message: str) -> None:
    with pytest.raises(HandlerError) as caught:
        called(plain(payload, []))(Request(body=body))
    assert caught.value.message.startswith(message)
    assert caught.value.status is Status.INVALID


@pytest.mark.parametrize("payload", [Struct, Model])
def test_what_is_no_message_pack(payload: Any) -> None:
    call = called(plain(payload, []), codec="msgpack")
    for body in (b"", b"\xc1", b"\x81", b"\x80\x80"):
        with pytest.raises(HandlerError, match="the body is no ") as caught:
            call(Request(body=body))
        assert caught.value.status is Status.INVALID


# ---- where the payload stands


def _only(order: Struct) -> object:
    return order.items[0].price


def _second(req: Request, order: Struct) -> object:
    return [req.path, order.items[0].price]


def _first(order: Struct, req: Request) -> object:
    return [req.path, order.items[0].price]


def _unannotated(req, order: Struct):  # type: ignore[no-untyped-def]
    return [req.path, order.items[0].price]


def _keyword(req: Request, *, order: Struct) -> object:
    return [req.path, order.items[0].price]


def _only_keyword(*, order: Struct) -> object:
    return order.items[0].price


def _positional(req: Request, order: Struct, /) -> object:
    return [req.path, order.items[0].price]


def _default(req: Request, order: Struct = None) -> object:  # type: ignore[assignment]
    return [req.path, order.items[0].price]


class _Object:
    def __call__(self, req: Request, order: Struct) -> object:
        return [req.path, order.items[0].price]

    def method(self, order: Struct) -> object:
        return order.items[0].price


@pytest.mark.parametrize(
    "function",
    [_only, _second, _first, _unannotated, _keyword, _only_keyword, _positional, _default, _Object(), _Object().method],
)
def test_a_payload_is_found_wherever_it_stands(function: Callable[..., Any]) -> None:
    plugin = Plugin("shop")
    plugin.handle("x")(function)
    entry = plugin.entries["x"]
    assert json.loads(entry.call(Request(path="/p", body=orjson.dumps(GOOD)))) in (1, ["/p", 1])
    assert entry.function is function
    assert entry.flags == 0


def _callback_last(order: Struct, callback: Any) -> None:
    callback([None, order.items[0].price])


def _callback_first(answer: Callback, order: Struct) -> None:
    answer([None, order.items[0].price])  # type: ignore[arg-type]


def _all(answer: Callback, order: Struct, req: Request) -> None:
    answer([req.path, order.items[0].price])  # type: ignore[arg-type]


def _all_by_keyword(req: Request, *, callback: Any, order: Struct) -> None:
    callback([req.path, order.items[0].price])


@pytest.mark.parametrize("function", [_callback_last, _callback_first, _all, _all_by_keyword])
@pytest.mark.parametrize("raw", [False, True])
def test_a_payload_beside_a_callback(function: Callable[..., Any], raw: bool) -> None:
    plugin = Plugin("shop")
    register = plugin.handle_raw("x") if raw else plugin.handle("x")
    if raw and "all" in function.__name__.split("_"):
        with pytest.raises(RegistrationError, match="nothing fills req"):
            register(function)
        return
    register(function)
    entry = plugin.entries["x"]
    assert entry.flags & CALLBACK
    answers: list[Any] = []
    body = orjson.dumps(GOOD)
    assert entry.call(body if raw else Request(path="/p", body=body), answers.append) is None  # and not null
    assert answers in ([[None, 1]], [["/p", 1]])
    body = orjson.dumps(BAD)
    with pytest.raises(HandlerError, match=r"items\[1\]"):
        entry.call(body if raw else Request(body=body), answers.append)
    assert len(answers) == 1


def test_an_open_stream_sends_nothing_for_none() -> None:
    assert called(lambda req: None, codec="json", stream=True)(Request()) is None
    assert called(lambda req: {}, codec="json", stream=True)(Request()) == b"{}"


def test_without_codec_and_payload_the_function_itself_is_called() -> None:
    def handler(req: Any) -> Any: ...
    def annotated(req: Request, callback: Callback) -> None: ...
    def raw(payload: bytes) -> bytes: ...  # type: ignore[empty-body]

    assert called(handler) is handler
    assert called(annotated) is annotated
    assert called(raw, raw=True) is raw
