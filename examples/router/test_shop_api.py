"""Handlers are plain functions: requests made by hand test them without a host."""

import json

import pytest
from shop_api import http

from nylon_ring_py import HandlerError, Request, Status


def answer(method: str, path: str, query: str = "", body: bytes = b"") -> object:
    reply = http(Request(method=method, path=path, query=query, body=body))
    assert isinstance(reply.data, str)
    return json.loads(reply.data)


def test_products() -> None:
    assert answer("GET", "/products") == {"tea": 4.5, "coffee": 7.25, "cups": 12.0}
    assert answer("GET", "/products", "max_price=5") == {"tea": 4.5}
    assert answer("GET", "/products/tea") == {"name": "tea", "price": 4.5}


def test_an_order() -> None:
    body = b'{"product": "tea", "count": 2}'
    assert answer("POST", "/orders", body=body) == {"product": "tea", "count": 2, "sum": 9.0}


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "status"),
    [
        ("GET", "/nowhere", "", b"", Status.INVALID),
        ("DELETE", "/orders", "", b"", Status.UNSUPPORTED),
        ("GET", "/products/gold", "", b"", Status.INVALID),
        ("GET", "/products", "max_price=cheap", b"", Status.INVALID),
        ("POST", "/orders", "", b"{", Status.INVALID),
        ("POST", "/orders", "", b'{"product": "tea", "count": 0}', Status.INVALID),
    ],
)
def test_what_the_shop_refuses(method: str, path: str, query: str, body: bytes, status: Status) -> None:
    with pytest.raises(HandlerError) as caught:
        answer(method, path, query, body)
    assert caught.value.status is status
