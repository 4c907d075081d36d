"""Headers, query arguments, decoded bodies and state: what a request gives when it is asked."""

from __future__ import annotations

import copy
import importlib
import json
import pickle
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

import nylon_ring_py
from nylon_ring_py import HandlerError, Request, Status, _json, request
from nylon_ring_py.errors import MissingDependencyError
from nylon_ring_py.request import Headers, decode_msgpack, parse_args
from nylon_ring_py.state import State

RAW = [(b"Accept", b"text/html"), (b"X-Tag", b"one"), (b"accept", b"*/*"), (b"X-Name", b"Ren\xe9")]


@pytest.fixture
def json_without(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The JSON codec as it is where libraries are not installed."""

    def load(*names: str) -> Any:
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, "nylon_ring_py._json", raising=False)
        monkeypatch.delattr(nylon_ring_py, "_json", raising=False)
        return importlib.import_module("nylon_ring_py._json")

    return load


def test_a_header_is_found_in_any_case_and_the_first_one_wins() -> None:
    headers = Headers(RAW)
    assert headers["ACCEPT"] == headers["accept"] == "text/html"
    assert headers.get("x-tag") == "one"
    assert headers.get_all("Accept") == ["text/html", "*/*"]
    assert "aCCEPT" in headers


def test_a_missing_header() -> None:
    headers = Headers(RAW)
    assert headers.get("Host") is None
    assert headers.get("Host", "none") == "none"
    assert headers.get_all("Host") == []
    assert "Host" not in headers
    assert 5 not in headers
    with pytest.raises(KeyError, match="Host"):
        headers["Host"]


def test_order_and_repeats_are_kept() -> None:
    headers = Headers(RAW)
    assert headers.items() == [("Accept", "text/html"), ("X-Tag", "one"), ("accept", "*/*"), ("X-Name", "Ren\udce9")]
    assert headers.values() == ["text/html", "one", "*/*", "Ren\udce9"]
    assert headers.keys() == list(headers) == ["Accept", "X-Tag", "X-Name"]
    assert len(headers) == 4
    assert dict(headers) == {"Accept": "text/html", "X-Tag": "one", "X-Name": "Ren\udce9"}


def test_a_latin_1_value_can_be_read_and_got_back() -> None:
    headers = Headers(RAW)
    assert headers.raw == RAW
    assert headers["X-Name"].encode("utf-8", "surrogateescape") == b"Ren\xe9"
    assert Headers(headers.items()) == headers


def test_a_name_that_no_header_can_have_is_just_missing() -> None:
    assert "\ud800" not in Headers([("a", "b")])


def test_equality_does_not_see_the_case_of_names() -> None:
    assert Headers([("A", "1")]) == Headers([(b"a", b"1")])
    assert Headers([("A", "x")]) != Headers([("A", "X")])
    assert Headers([("A", "1"), ("B", "2")]) != Headers([("B", "2"), ("A", "1")])
    assert Headers() != {}
    assert repr(Headers([("A", "1")])) == "Headers([('A', '1')])"


@pytest.mark.parametrize("count", [32, 33, 1000])  # few are looked through, many are found by a dict
def test_many_headers_are_found_as_few_are(count: int) -> None:
    pairs = [(f"Name-{i // 2}" if i % 2 else f"name-{i // 2}", f"{i}") for i in range(count)]
    headers = Headers(pairs)
    assert headers.keys() == list(headers) == [f"name-{i}" for i in range((count + 1) // 2)]
    for i in range(0, count, 2):
        assert headers[f"NAME-{i // 2}"] == f"{i}"
        assert headers.get_all(f"nAme-{i // 2}") == [f"{n}" for n in (i, i + 1) if n < count]
    assert headers.get("name") is None
    assert f"name-{count}" not in headers


def test_the_case_of_letters_alone_does_not_count() -> None:
    headers = Headers([("@[x", "at"), ("`{x", "grave"), ("É", "acute")])
    assert (headers["@[X"], headers["`{X"], headers["É"]) == ("at", "grave", "acute")
    assert "é" not in headers


def test_get_by_keyword() -> None:
    headers = Headers([("a", "1")])
    assert headers.get(name="A") == headers.get("A", default="2") == "1"
    assert headers.get("b", default="2") == headers.get(default="2", name="b") == "2"


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((), {}, "takes the name"),
        ((), {"default": 1}, "takes the name"),
        (("a", 1, 2), {}, "not 3 arguments"),
        (("a",), {"name": "a"}, "'name' twice"),
        (("a", 1), {"default": 1}, "'default' twice"),
        (("a",), {"fallback": 1}, "no argument 'fallback'"),
        ((5,), {}, "is a str, not int"),
        ((b"a",), {}, "is a str, not bytes"),
    ],
)
def test_get_refuses_what_it_does_not_know(args: tuple[Any, ...], kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        Headers([("a", "1")]).get(*args, **kwargs)


@pytest.mark.parametrize("pairs", [5, [5], [("a", 1)], [(1, "a")], {"a": 5}.items()])
def test_what_is_no_header_is_refused(pairs: Any) -> None:
    with pytest.raises(TypeError, match=r"pair|iterable"):
        Headers(pairs)


@pytest.mark.parametrize("pair", [(), ("a",), ("a", "b", "c"), "abc"])
def test_what_is_no_pair_is_refused(pair: Any) -> None:
    with pytest.raises(ValueError, match="a header is a pair"):
        Headers([("a", "b"), pair])


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda headers: pickle.loads(pickle.dumps(headers))])
def test_headers_can_be_copied(again: Any) -> None:
    headers = Headers(RAW)
    copied = again(headers)
    assert copied == headers
    assert copied.raw == RAW
    assert copied["accept"] == "text/html"


def test_headers_cannot_be_written_or_hashed() -> None:
    headers = Headers(RAW)
    with pytest.raises(TypeError):
        headers["a"] = "b"  # type: ignore[index]
    with pytest.raises(AttributeError):
        headers.raw = []  # type: ignore[misc]
    with pytest.raises(TypeError, match="unhashable"):
        hash(headers)


@pytest.mark.parametrize(
    ("query", "args"),
    [
        ("", {}),
        ("a=1&b=2&a=3", {"a": ["1", "3"], "b": ["2"]}),
        ("a=&b", {"a": [""], "b": [""]}),
        ("q=a+b%20c%3D", {"q": ["a b c="]}),
        ("%E2%82%AC=%FF", {"\u20ac": ["\ufffd"]}),
        ("a=1;b=2", {"a": ["1;b=2"]}),
    ],
)
def test_query_arguments(query: str, args: Mapping[str, Sequence[str]]) -> None:
    parsed = parse_args(query)
    assert parsed == args
    assert list(parsed) == list(args)


def test_the_first_value_of_an_argument() -> None:
    args = parse_args("a=1&a=2&b=")
    assert (args.first("a"), args.first("b"), args.first("c"), args.first("c", "-")) == ("1", "", None, "-")


@pytest.mark.parametrize("hidden", [(), ("orjson",)])
def test_json_comes_out_the_same_with_and_without_orjson(json_without: Any, hidden: tuple[str, ...]) -> None:
    assert json_without(*hidden).decode(b'{"a": [1, 2.5, null, "\xe2\x82\xac"]}') == {"a": [1, 2.5, None, "\u20ac"]}


@pytest.mark.parametrize("hidden", [(), ("orjson",)])
@pytest.mark.parametrize("body", [b"", b"{", b"NaN", b"[Infinity]", b'"\xff"', b"\xef\xbb\xbf1", b"[" * 200_000])
def test_what_is_no_json_is_invalid(json_without: Any, hidden: tuple[str, ...], body: bytes) -> None:
    codec = json_without(*hidden)
    with pytest.raises(HandlerError, match="the body is no JSON: ") as caught:
        codec.decode(body)
    assert caught.value.status is Status.INVALID


def test_the_standard_library_is_used_where_orjson_is_missing(
    json_without: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = json_without("orjson")
    monkeypatch.setattr(json, "loads", lambda text, **_: f"stdlib {text}")
    assert codec.decode(b"1") == "stdlib 1"


def test_a_request_finds_its_codecs_at_the_first_use_and_keeps_them() -> None:
    for _ in range(2):
        assert request.decode_json(b"[1]") == [1]
        assert request.decode_msgpack(b"\x91\x01") == [1]
        assert Request(body=b"[1]").json() == [1]
    assert request.decode_json is _json.decode


class _UnpackException(Exception):
    pass


class _Msgpack:
    """Stands for the library: what decides here is which of its exceptions mean a bad body."""

    UnpackException = _UnpackException

    def __init__(self, result: object) -> None:
        self.result = result

    def unpackb(self, body: bytes) -> object:
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result, body


def test_msgpack_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgpack", _Msgpack({"a": 1}))
    assert decode_msgpack(b"\x81") == ({"a": 1}, b"\x81")


@pytest.mark.parametrize("error", [ValueError("incomplete"), _UnpackException("incomplete")])
def test_what_is_no_msgpack_is_invalid(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setitem(sys.modules, "msgpack", _Msgpack(error))
    with pytest.raises(HandlerError, match="the body is no MessagePack: incomplete") as caught:
        decode_msgpack(b"\x81")
    assert caught.value.status is Status.INVALID


def test_a_missing_msgpack_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(MissingDependencyError, match="pip install msgpack"):
        decode_msgpack(b"\x80")


def test_a_library_that_is_there_but_broken_is_not_called_missing(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "msgpack.py").write_text("import nylon_no_such_module\n")
    monkeypatch.delitem(sys.modules, "msgpack", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="nylon_no_such_module"):
        decode_msgpack(b"\x80")


class _Store:
    def __init__(self) -> None:
        self.values: dict[tuple[int, str], bytes] = {}

    def state_set(self, sid: int, key: str, value: bytes) -> None:
        assert type(value) is bytes
        self.values[sid, key] = value

    def state_get(self, sid: int, key: str) -> bytes | None:
        return self.values.get((sid, key))


@pytest.mark.parametrize("value", [b"v", bytearray(b"v"), memoryview(b"v"), "v"])
def test_state_is_kept_as_bytes_per_sid(value: bytes | bytearray | memoryview | str) -> None:
    store = _Store()
    State(store, 1).set("k", value)
    assert State(store, 1).get("k") == b"v"
    assert State(store, 2).get("k") is None
    assert State(store, 2).get("k", b"-") == b"-"


def test_an_empty_value_counts_as_none() -> None:
    state = State(_Store(), 1)
    state.set("k", b"")
    assert state.get("k") is None


def test_state_refuses_what_is_no_bytes() -> None:
    with pytest.raises(TypeError):
        State(_Store(), 1).set("k", 5)  # type: ignore[arg-type]


def test_a_request_made_by_hand_keeps_state_of_its_own() -> None:
    state = State(None, 1)
    state.set("k", "v")
    assert state.get("k") == b"v"
    assert State(None, 1).get("k") is None


def test_a_request_made_by_hand_takes_headers() -> None:
    made = Request(method="PUT", headers=[("X-Tag", "one"), (b"x-tag", b"Ren\xe9")])
    assert made.method == "PUT"
    assert made.headers.raw == [(b"X-Tag", b"one"), (b"x-tag", b"Ren\xe9")]
    assert made.headers.get_all("X-TAG") == ["one", "Ren\udce9"]
    assert Request().headers.raw == []
