"""Codecs and typed payloads that cannot be registered, with the reason; and environments without the libraries."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union

import msgspec
import pydantic.v1
import pytest
from coded import Model, Struct, StructItem, called

from nylon_ring_py import HandlerError, Plugin, RegistrationError, Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coded import Dataclass as OnlyForCheckers


def _future(order: Later) -> None: ...


class Later(msgspec.Struct):
    """Defined below its handler."""


def _for_checkers(order: OnlyForCheckers) -> None: ...


def _nested(order: list[OnlyForCheckers]) -> None: ...


def _as_extra(req: Request, order: OnlyForCheckers) -> None: ...


def _two(one: Struct, other: Model) -> None: ...


def _number(req: Request, number: int) -> None: ...


def _numbers(req: Request, numbers: list[int]) -> None: ...


def _third(req: Request, order: Struct, other: Any) -> None: ...


def _request_by_keyword(order: Struct, *, req: Request) -> None: ...


def _plain(req: Request) -> None: ...


def _raw_extra(payload: bytes, order: Struct) -> None: ...


def _bytes(payload: bytes) -> None: ...


class OldModel(pydantic.v1.BaseModel):
    price: int


def _old(order: OldModel) -> None: ...


def _unfit(order: list[Struct] | set[int]) -> None: ...


def _function(req: Request, order: Callable[[Struct], None]) -> None: ...


def _mixed(order: Struct | Model) -> None: ...


class _Incomplete(msgspec.Struct):
    item: _NoSuchType  # type: ignore[name-defined]  # noqa: F821


def _incomplete(order: _Incomplete) -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "reason"),
    [
        (_for_checkers, {}, "the annotation of order, 'OnlyForCheckers' cannot be evaluated now (NameError: "),
        (_nested, {}, "the annotation of order, 'list[OnlyForCheckers]' cannot be evaluated now (NameError: "),
        (_as_extra, {}, "nothing fills order, since its annotation 'OnlyForCheckers' cannot be evaluated now"),
        (_two, {}, "one, other would all be the body: one parameter can take it"),
        (_number, {}, "nothing fills number: a handler takes the request"),
        (_number, {"codec": "json"}, "nothing fills number: a handler takes the request"),
        (_numbers, {"codec": "json"}, "nothing fills numbers: a handler takes the request"),
        (_third, {}, "nothing fills other: a handler takes the request"),
        (_request_by_keyword, {}, "nothing fills req: "),
        (_raw_extra, {"raw": True}, "nothing fills payload: a raw handler takes the payload, which order is"),
        (_bytes, {"codec": "json", "raw": True}, "payload is annotated bytes, and codec=\"json\" gives what"),
        (_plain, {"codec": "xml"}, "codec= is \"json\" or \"msgpack\", not 'xml'"),
        (_plain, {"codec": []}, "codec= is \"json\" or \"msgpack\", not []"),
        (_old, {}, "order cannot be decoded into OldModel: it is a model of pydantic 1"),
        (_unfit, {}, "order cannot be decoded into list[Struct] | set[int]: Type unions may not"),
        (_function, {}, "nothing fills order: a handler takes the request"),
        (_mixed, {}, "order cannot be decoded into Struct | Model: "),
        (_incomplete, {}, "order cannot be decoded into _Incomplete: name '_NoSuchType' is not defined"),
    ],
)  # fmt: skip
def test_what_cannot_be_registered(function: Callable[..., Any], options: dict[str, Any], reason: str) -> None:
    with pytest.raises(RegistrationError) as caught:
        called(function, **options)
    place, _, text = str(caught.value).partition("): ")
    assert text.startswith(reason)
    assert place.startswith(f"{__file__}:{function.__code__.co_firstlineno}: entry 'x' (")


def test_a_type_defined_below_its_handler_is_refused_at_the_decorator_and_taken_after_it(tmp_path: Path) -> None:
    source = """
        from __future__ import annotations
        import msgspec
        from nylon_ring_py import Plugin
        plugin = Plugin("late")

        def handler(order: Order) -> Order:
            return order

        if EARLY:
            plugin.handle("x")(handler)

        class Order(msgspec.Struct):
            price: int

        plugin.handle("x")(handler)
    """
    code = compile(textwrap.dedent(source), "late.py", "exec")
    with pytest.raises(RegistrationError, match=r"late.py:7: entry 'x' \(handler\): the annotation of order, 'Order'"):
        exec(code, {"EARLY": True, "__name__": "late"})
    module: dict[str, Any] = {"EARLY": False, "__name__": "late"}
    exec(code, module)
    assert module["plugin"].entries["x"].call(Request(body=b'{"price":1}')) == b'{"price":1}'


def _text(order: Struct) -> None: ...


def _text_list(order: list[StructItem]) -> None: ...


def _frames(order: Struct) -> Iterator[Struct]:
    yield order


def test_text_of_every_form_is_understood() -> None:
    """The annotations of this file are text; and text may stand within an annotation."""
    assert isinstance(_text.__annotations__["order"], str)
    for function, body in ((_text, b'{"items":[]}'), (_text_list, b"[]")):
        assert called(function)(Request(body=body)) == b"null"
        with pytest.raises(HandlerError, match="the body is no "):
            called(function)(Request(body=b"1"))

    def handler(order: Any) -> None: ...

    for annotation in (
        list["StructItem"],
        Optional["Struct"],
        Union["Struct", None],
        Struct | None,
        "'Struct'",
    ):
        handler.__annotations__ = {"order": annotation}
        with pytest.raises(HandlerError, match=r"the body is no [\w \[\]|]+: Expected"):
            called(handler)(Request(body=b"1"))


def test_what_a_handler_gives_may_be_named_for_checkers_only() -> None:
    assert list(called(_frames)(Request(body=b'{"items":[]}'))) == [b'{"items":[]}']


def test_the_decorators_take_codecs() -> None:
    plugin = Plugin("shop")
    body = b'{"items":[]}'
    plugin.handle("a", codec="json")(_text)
    plugin.handle_sync("b", codec="json")(_text)
    plugin.handle_raw("c", codec="json", sync=True)(_text)
    plugin.handle_raw("d")(_text)
    assert plugin.entries["a"].call(Request(body=body)) == plugin.entries["b"].call(Request(body=body)) == b"null"
    assert plugin.entries["c"].call(body) == plugin.entries["d"].call(body) == b"null"
    with pytest.raises(RegistrationError, match="codec="):
        plugin.handle("e", codec="xml")(_text)  # type: ignore[call-overload]


# ---- environments


WITHOUT = """
import sys
for name in {hidden!r}:
    sys.modules[name] = None  # as if it were not installed: importing it raises ModuleNotFoundError
from dataclasses import dataclass
from nylon_ring_py import Plugin, RegistrationError, Request
from nylon_ring_py.errors import MissingDependencyError

@dataclass
class Order:
    price: int

plugin = Plugin("bare")
try:
    @plugin.handle("x"{options})
    def handler({parameter}):
        return {result}
    print(plugin.entries["x"].call(Request(body=b'[1]')).decode())
except RegistrationError as refused:
    print(refused)
"""


@pytest.mark.parametrize(
    ("hidden", "options", "parameter", "result", "said"),
    [
        (["msgspec"], "", "order: Order", "order", "a body of type Order needs the library msgspec"),
        (["msgspec"], ", codec='json'", "x: list[int]", "x", "a body of type list[int] needs the library msgspec"),
        (["msgpack"], ", codec='msgpack'", "req", "1", "codec=\"msgpack\" needs the library msgpack"),
        (["orjson", "msgspec", "pydantic"], ", codec='json'", "req", "[req.json(), Order(1)]", '[[1],{"price":1}]'),
        (["orjson"], ", codec='json'", "order: list[int]", "order", "[1]"),
        (["msgspec", "msgpack", "pydantic"], ", codec='json'", "req", "[req.json(), Order(1)]", '[[1],{"price":1}]'),
    ],
)  # fmt: skip
def test_an_environment_without_a_library(
    hidden: list[str], options: str, parameter: str, result: str, said: str
) -> None:
    script = WITHOUT.format(hidden=hidden, options=options, parameter=parameter, result=result)
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    if "needs the library" in said:
        assert "(handler): " in done.stdout
        assert f"python -m pip install {hidden[0]}" in done.stdout


def test_a_plugin_without_codecs_loads_none_of_it() -> None:
    script = """
import sys
from nylon_ring_py import Callback, Plugin, Request
plugin = Plugin("bare")
@plugin.handle("a")
def a(req: Request, callback: Callback) -> bytes: ...
@plugin.handle_raw("b")
def b(payload: "bytes") -> bytes: ...
heavy = {"typing", "msgspec", "orjson", "msgpack", "pydantic", "json", "nylon_ring_py.codecs", "nylon_ring_py._json"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
