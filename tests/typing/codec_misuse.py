"""Codecs and typed payloads that a type checker must refuse: `mypy --strict` reports an ignore that is not needed."""

import msgspec

from nylon_ring_py import Plugin, Request, Response
from nylon_ring_py.codecs import Codec

plugin = Plugin("wrong")


class Order(msgspec.Struct):
    price: int


@plugin.handle("unknown", codec="xml")  # type: ignore[call-overload, untyped-decorator]
def unknown(order: Order) -> Order:
    return order


@plugin.handle("no_codec")  # type: ignore[type-var]
def no_codec(req: Request) -> dict[str, int]:
    return {}


@plugin.handle("no_codec_response")  # type: ignore[type-var]
def no_codec_response(req: Request) -> Response[dict[str, int]]:
    return Response({})


@plugin.handle("no_payload_type")  # type: ignore[type-var]
def no_payload_type(price: int) -> bytes:
    return b""


@plugin.handle("no_payload_beside", codec="json")  # type: ignore[type-var]
def no_payload_beside(req: Request, price: int) -> bytes:
    return b""


@plugin.handle("nothing", codec="json")  # type: ignore[type-var]
def nothing() -> int:
    return 1


@plugin.handle_raw("request", codec="json")  # type: ignore[type-var]
def request(req: Request, order: Order) -> int:
    return 1


@plugin.handle_raw("raw_no_codec")  # type: ignore[type-var]
def raw_no_codec(payload: bytes) -> int:
    return 1


def codecs() -> None:
    Codec("yaml")  # type: ignore[call-overload]
    orders = Codec("json", Order)
    orders.decode("text")  # type: ignore[arg-type]
    price: str = orders.decode(b"").price  # type: ignore[assignment]
    print(price)
