"""Registration: what is accepted, what the core is given for it, and what is refused with a reason and a place."""

from __future__ import annotations

import functools
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Optional

import pytest

import nylon_ring_py
from nylon_ring_py import Callback, Plugin, RegistrationError, Request, Response, Status, Stream, define_plugin
from nylon_ring_py._core import ASYNC, CALLBACK, DUPLEX, GENERATOR, RAW, STREAM, SYNC
from nylon_ring_py.errors import NotBoundError

if TYPE_CHECKING:
    from nylon_ring_py import Callback as OnlyForCheckers

Renamed = Callback


@pytest.fixture
def plugin() -> Plugin:
    return Plugin("shop", version="1.2.3")


class _Instance:
    """Stands for the core's Instance."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, int | None, object]] = []
        self.values: dict[tuple[int, str], bytes] = {}

    def send_result(self, sid: int, status: int | None, data: object) -> bool:
        self.sent.append((sid, status, data))
        return True

    def state_set(self, sid: int, key: str, value: bytes) -> None:
        self.values[sid, key] = value

    def state_get(self, sid: int, key: str) -> bytes | None:
        return self.values.get((sid, key))


# ---- what is accepted


def test_decorators_give_the_function_back(plugin: Plugin) -> None:
    def handler(req: Request) -> bytes:
        return b"pong"

    def data(sid: int, frame: bytes) -> None: ...

    def close(sid: int) -> None: ...

    def hook() -> None: ...

    assert plugin.handle("a")(handler) is handler
    assert plugin.handle_sync("b")(handler) is handler
    assert plugin.handle_raw("c")(lambda payload: payload) is not None
    assert plugin.stream_data(data) is data
    assert plugin.stream_close(close) is close
    assert plugin.on_init(hook) is hook
    assert plugin.on_shutdown(hook) is hook


def test_entries_say_kind_thread_and_flags(plugin: Plugin) -> None:
    def unary(req: Request) -> None: ...

    def frames(req: Request) -> Iterator[str]:
        yield "a"

    def raw(payload: bytes) -> bytes:
        return payload

    plugin.handle("unary")(unary)
    plugin.handle("open", stream=True)(unary)
    plugin.handle("frames")(frames)
    plugin.handle_sync("sync")(unary)
    plugin.handle_raw("raw")(raw)
    plugin.handle_raw("raw_sync", sync=True)(raw)
    plugin.handle_raw("raw_open", stream=True)(raw)
    assert {name: (entry.kind, entry.thread, entry.raw, entry.flags) for name, entry in plugin.entries.items()} == {
        "unary": ("unary", "worker", False, 0),
        "open": ("stream", "worker", False, STREAM),
        "frames": ("stream", "worker", False, GENERATOR),
        "sync": ("unary", "host", False, SYNC),
        "raw": ("unary", "worker", True, RAW),
        "raw_sync": ("unary", "host", True, RAW | SYNC),
        "raw_open": ("stream", "worker", True, RAW | STREAM),
    }
    assert list(plugin.entries) == ["unary", "open", "frames", "sync", "raw", "raw_sync", "raw_open"]
    assert repr(plugin.entries["raw_sync"]) == "Entry('raw_sync', unary, host, raw)"


def test_entries_are_read_only(plugin: Plugin) -> None:
    with pytest.raises(TypeError):
        plugin.entries["x"] = None  # type: ignore[index]


def _second(req: Any, callback: Any) -> Any:
    return req, callback


def _first(callback: Any, req: Any) -> Any:
    return req, callback


def _keyword(req: Any, *, callback: Any) -> Any:
    return req, callback


def _annotated(req: Request, answer: Callback) -> Any:
    return req, answer


def _annotated_first(answer: "Callback", req: Any) -> Any:  # noqa: UP037
    return req, answer


def _module_attribute(req: Any, answer: nylon_ring_py.Callback) -> Any:
    return req, answer


def _renamed(req: Any, answer: Renamed) -> Any:
    return req, answer


def _for_checkers(req: Any, answer: OnlyForCheckers) -> Any:
    return req, answer


def _union(req: Any, answer: Callback | None) -> Any:
    return req, answer


def _optional(req: Any, answer: Optional[Callback]) -> Any:  # noqa: UP045
    return req, answer


def _with_default(req: Any, callback: Any = None) -> Any:
    return req, callback


class _Object:
    def __call__(self, req: Any, callback: Any) -> Any:
        return req, callback

    def method(self, callback: Any, req: Any) -> Any:
        return req, callback


class _Inheriting(_Object):
    pass


def _decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


WITH_CALLBACK = [
    _second,
    _first,
    _keyword,
    _annotated,
    _annotated_first,
    _module_attribute,
    _renamed,
    _union,
    _optional,
    _with_default,
    _Object(),
    _Inheriting(),
    _Object().method,
    _decorated(_second),
    _decorated(_decorated(_first)),
    _decorated(_keyword),
    functools.partial(_second),
    functools.partial(lambda extra, req, callback: (req, callback), 1),
]


@pytest.mark.parametrize("function", WITH_CALLBACK)
def test_a_callback_is_found_wherever_it_stands(plugin: Plugin, function: Callable[..., Any]) -> None:
    plugin.handle("x")(function)
    entry = plugin.entries["x"]
    assert entry.flags == CALLBACK
    assert entry.call("the request", "the callback") == ("the request", "the callback")
    assert entry.function is function


def test_a_callback_annotation_for_checkers_only_goes_by_its_name(plugin: Plugin) -> None:
    def handler(req: Any, answer: Any) -> Any:
        return req, answer

    handler.__annotations__ = {"answer": "models.Callback"}
    plugin.handle("x")(handler)
    assert plugin.entries["x"].flags == CALLBACK
    with pytest.raises(RegistrationError, match="nothing fills answer"):
        plugin.handle("y")(_for_checkers)


def test_real_annotations_are_understood_too(plugin: Plugin) -> None:
    for i, annotation in enumerate((Callback, Callback | None, Optional[Callback])):  # noqa: UP045

        def handler(req: Any, answer: Any) -> None: ...

        handler.__annotations__ = {"answer": annotation}
        plugin.handle(str(i))(handler)
        assert plugin.entries[str(i)].flags == CALLBACK


def test_a_function_of_callbacks_is_no_callback(plugin: Plugin) -> None:
    def handler(req: Any, answer: Callable[[Callback], None]) -> None: ...

    with pytest.raises(RegistrationError, match="nothing fills answer"):
        plugin.handle("x")(handler)


def _plain(req: Any) -> Any:
    return req


WITHOUT_CALLBACK = [
    _plain,
    lambda req: req,
    lambda *args: args[0],
    functools.partial(lambda table, req: req, {}),
    functools.partial(lambda req, table: req, table={}),
    _decorated(_plain),
]


@pytest.mark.parametrize("function", WITHOUT_CALLBACK)
def test_any_callable_with_one_argument_is_a_handler(plugin: Plugin, function: Callable[..., Any]) -> None:
    plugin.handle("x")(function)
    entry = plugin.entries["x"]
    assert (entry.flags, entry.call("the request")) == (0, "the request")
    assert entry.call is function


def test_a_decorated_generator_function_is_a_stream(plugin: Plugin) -> None:
    def frames(req: Any) -> Iterator[str]:
        yield "a"

    class Frames:
        def __call__(self, req: Any) -> Iterator[str]:
            yield "a"

    functions: list[Any] = [_decorated(frames), functools.partial(frames), Frames()]
    for i, function in enumerate(functions):
        plugin.handle(str(i))(function)
        assert plugin.entries[str(i)].flags == GENERATOR


def test_a_plain_def_around_a_coroutine_function_is_a_plain_handler(plugin: Plugin) -> None:
    async def inner(req: Any) -> bytes:
        return b"done"

    @plugin.handle("x")
    @functools.wraps(inner)
    def runs_it(req: Any) -> bytes:
        try:
            inner(req).send(None)
        except StopIteration as end:
            return bytes(end.value)
        raise AssertionError("it waits")

    entry = plugin.entries["x"]
    assert (entry.flags, entry.call(None)) == (0, b"done")


# ---- what is refused


def _line(function: Any) -> str:
    return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}: "


def _generator(req: Any) -> Iterator[str]:
    yield "a"


def _generator_with_callback(req: Any, callback: Any) -> Iterator[str]:
    yield "a"


async def _coroutine(req: Any) -> None: ...


def _plain_duplex(stream: Stream) -> None: ...


async def _duplex(stream: Stream) -> None: ...


async def _async_generator(req: Any) -> Any:
    yield "a"


def _nothing() -> None: ...


def _life() -> Iterator[None]:
    yield


def _two(req: Any, other: Any) -> None: ...


def _defaulted(req: Any, other: Any = 1) -> None: ...


def _keyword_only(*, req: Any) -> None: ...


def _two_callbacks(req: Any, callback: Any, other: Callback) -> None: ...


def _only_callback(callback: Any) -> None: ...


REFUSED: list[tuple[str, dict[str, Any], Any, str]] = [
    ("handle_sync", {}, _generator, "cannot run on the host's thread"),
    ("handle_sync", {}, _coroutine, "async def cannot run on the host's thread"),
    ("handle_sync", {}, _async_generator, "async def cannot run on the host's thread"),
    ("handle_sync", {"timeout_s": 1.0}, _plain, "timeout_s cannot be kept"),
    ("handle_sync", {"executor": object()}, _plain, "executor= does not fit"),
    ("handle_raw", {"sync": True}, _generator, "cannot run on the host's thread"),
    ("handle_raw", {"sync": True}, _coroutine, "async def cannot run on the host's thread"),
    ("handle_raw", {"sync": True, "stream": True}, _plain, "cannot run on the host's thread"),
    ("handle_raw", {"sync": True, "timeout_s": 1}, _plain, "timeout_s cannot be kept"),
    ("handle", {"stream": True}, _generator, "leave stream=True out"),
    ("handle", {"borrow": True}, _plain, "needs a synchronous entry"),
    ("handle_sync", {"borrow": True, "codec": "json"}, _plain, "does not fit a codec"),
    ("handle", {}, _generator_with_callback, "takes no callback"),
    ("handle", {}, _nothing, r"no parameter for the request: write def _nothing\(request\)"),
    ("handle_raw", {}, _nothing, r"no parameter for the payload: write def _nothing\(payload\)"),
    ("handle", {}, _only_callback, "no parameter for the request"),
    ("handle", {}, _two, "nothing fills other"),
    ("handle", {}, _defaulted, "nothing fills other"),
    ("handle", {}, _keyword_only, "nothing fills req"),
    ("handle", {}, _two_callbacks, "2 callback parameters: callback, other"),
]


@pytest.mark.parametrize(("decorator", "options", "function", "reason"), REFUSED)
def test_a_wrong_handler_is_refused_with_reason_and_place(
    plugin: Plugin, decorator: str, options: dict[str, Any], function: Any, reason: str
) -> None:
    with pytest.raises(RegistrationError, match=reason) as caught:
        getattr(plugin, decorator)("x", **options)(function)
    assert str(caught.value).startswith(f"{_line(function)}entry 'x' ({function.__qualname__}): ")
    assert not plugin.entries


def test_a_duplicate_names_both_places(plugin: Plugin) -> None:
    plugin.handle("x")(_plain)
    with pytest.raises(RegistrationError, match="one name space") as caught:
        plugin.handle_raw("x")(_first)
    assert str(caught.value).startswith(_line(_first))
    assert _line(_plain)[:-2] in str(caught.value)
    assert plugin.entries["x"].function is _plain


@pytest.mark.parametrize(
    ("name", "reason"),
    [("", "cannot be empty"), (5, "is a str, not int"), (b"x", "is a str, not bytes"), ("\ud800", "lone surrogate")],
)
def test_an_impossible_name_is_refused(plugin: Plugin, name: Any, reason: str) -> None:
    with pytest.raises(RegistrationError, match=reason):
        plugin.handle(name)(_plain)


def test_forgotten_parentheses_are_told_at_once(plugin: Plugin) -> None:
    with pytest.raises(RegistrationError, match=r'write @plugin.handle\("name"\)') as caught:
        plugin.handle(_plain)  # type: ignore[call-overload]
    assert str(caught.value).startswith(_line(_plain))


def test_the_limit_of_a_name_is_the_one_of_the_abi(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nylon_ring_py.entry._MAX_NAME_BYTES", 4)
    plugin.handle("\u00e9\u00e9")(_plain)
    with pytest.raises(RegistrationError, match="has 5 bytes"):
        plugin.handle("\u00e9\u00e9x")(_plain)


def test_what_is_no_function_is_refused(plugin: Plugin) -> None:
    with pytest.raises(RegistrationError, match="not an object of type int"):
        plugin.handle("x")(5)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("hook", "function", "reason"),
    [
        ("stream_data", _plain, r"called with \(sid, data\), but it takes \(req\)"),
        ("stream_close", _two, r"called with \(sid\), but it takes \(req, other\)"),
        ("stream_close", _keyword_only, "called with"),
        ("on_init", _plain, r"called with \(\), but it takes \(req\)"),
        ("on_shutdown", _plain, r"called with \(\), but it takes \(req\)"),
        ("stream_close", _generator, "nobody would iterate"),
    ],
)
def test_a_wrong_hook_is_refused(plugin: Plugin, hook: str, function: Any, reason: str) -> None:
    with pytest.raises(RegistrationError, match=reason) as caught:
        getattr(plugin, hook)(function)
    assert str(caught.value).startswith(_line(function))


@pytest.mark.parametrize(("hook", "function"), [("stream_data", lambda sid, data: None), ("stream_close", lambda s: 0)])
def test_a_plugin_has_one_function_per_stream_event(plugin: Plugin, hook: str, function: Any) -> None:
    getattr(plugin, hook)(function)
    with pytest.raises(RegistrationError, match=f"a plugin has one {hook} function"):
        getattr(plugin, hook)(function)


def test_a_loaded_plugin_takes_nothing_more(plugin: Plugin) -> None:
    plugin._bind(_Instance())  # type: ignore[arg-type]
    with pytest.raises(RegistrationError, match="loaded already"):
        plugin.handle("x")(_plain)
    with pytest.raises(RegistrationError, match="loaded already"):
        plugin.on_init(_nothing)


# ---- settings


def test_defaults(plugin: Plugin) -> None:
    assert (plugin.name, plugin.version) == ("shop", "1.2.3")
    assert plugin.workers == min(32, (os.cpu_count() or 1) + 4)
    assert plugin.max_pending == 65536
    assert plugin.shutdown_timeout_s == 10.0
    assert plugin.config is None
    assert Plugin("x").version == "0.0.0"


def test_settings_are_kept() -> None:
    config = {"a": 1}
    made = Plugin("x", workers=3, max_pending=1, shutdown_timeout_s=0, config=config)
    assert (made.workers, made.max_pending, made.shutdown_timeout_s, made.config) == (3, 1, 0.0, config)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"workers": 0}, ValueError),
        ({"workers": 1025}, ValueError),
        ({"workers": 2.0}, TypeError),
        ({"workers": True}, TypeError),
        ({"max_pending": 0}, ValueError),
        ({"max_pending": 2**31}, ValueError),
        ({"max_pending": "1"}, TypeError),
        ({"shutdown_timeout_s": -1}, ValueError),
        ({"shutdown_timeout_s": float("nan")}, ValueError),
        ({"shutdown_timeout_s": float("inf")}, ValueError),
        ({"shutdown_timeout_s": None}, TypeError),
    ],
)
def test_a_wrong_setting_is_named(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(arguments))):
        Plugin("x", **arguments)


@pytest.mark.parametrize(
    ("text", "error"), [("", ValueError), ("a\0b", ValueError), ("\udc80", ValueError), (b"x", TypeError)]
)
def test_name_and_version_are_text_hosts_can_read(text: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="name of a plugin"):
        Plugin(text)
    with pytest.raises(error, match="version of a plugin"):
        Plugin("x", version=text)


def test_name_and_version_fit_their_places_in_the_plugin_file() -> None:
    assert Plugin("\u00e9" * 32, version="1" * 48).name == "\u00e9" * 32
    with pytest.raises(ValueError, match="name of a plugin has 65 bytes"):
        Plugin("\u00e9" * 32 + "x")
    with pytest.raises(ValueError, match="version of a plugin has 49 bytes"):
        Plugin("x", version="1" * 49)


# ---- speaking to the host


def test_outside_a_host_there_is_nobody_to_send_to(plugin: Plugin) -> None:
    with pytest.raises(NotBoundError, match=r"plugin\.send_result\(\) was called outside a host"):
        plugin.send_result(1, Status.OK, b"")
    with pytest.raises(RuntimeError, match=r"plugin\.state\(\) was called outside a host"):
        plugin.state(1)


def test_send_result_goes_to_the_instance(plugin: Plugin) -> None:
    instance = _Instance()
    plugin._bind(instance)  # type: ignore[arg-type]
    assert plugin.send_result(7) is True
    plugin.send_result(7, Status.STREAM_END, "bye")
    plugin.send_result(7, 1, b"x")
    assert instance.sent == [(7, None, None), (7, 4, "bye"), (7, 1, b"x")]


def test_state_goes_to_the_instance(plugin: Plugin) -> None:
    instance = _Instance()
    plugin._bind(instance)  # type: ignore[arg-type]
    plugin.state(7).set("k", "v")
    assert instance.values == {(7, "k"): b"v"}


def test_one_plugin_serves_one_load(plugin: Plugin) -> None:
    plugin._bind(_Instance())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="one Plugin object serves one load"):
        plugin._bind(_Instance())  # type: ignore[arg-type]
    plugin._unbind()
    plugin._bind(_Instance())  # type: ignore[arg-type]


# ---- define_plugin, and the cost of an import


def test_define_plugin_builds_what_decorators_build() -> None:
    calls = SimpleNamespace(
        data=lambda sid, data: None, close=lambda sid: None, init=lambda: 1, bye=lambda: 2, life=_life
    )
    made = define_plugin(
        "shop",
        "2.0",
        init=calls.init,
        shutdown=calls.bye,
        lifespan=calls.life,
        entries={"a": _plain, "b": _generator, "f": _coroutine},
        sync_entries={"c": _plain},
        raw_entries={"d": _plain},
        stream_entries={"e": _plain, "g": _coroutine},
        duplex_entries={"h": _plain_duplex, "i": _duplex},
        stream_handlers={"data": calls.data, "close": calls.close},
    )
    flags = {name: entry.flags for name, entry in made.entries.items()}
    assert flags == {
        "a": 0,
        "b": GENERATOR,
        "f": ASYNC,
        "c": SYNC,
        "d": RAW,
        "e": STREAM,
        "g": STREAM | ASYNC,
        "h": DUPLEX,
        "i": DUPLEX | ASYNC,
    }
    assert (made._stream_data, made._stream_close) == (calls.data, calls.close)
    assert (made._init_hooks, made._shutdown_hooks, made._lifespans) == ([calls.init], [calls.bye], [calls.life])
    assert made.version == "2.0"


def test_define_plugin_takes_every_setting() -> None:
    settings: dict[str, Any] = {
        "workers": 2,
        "max_pending": 3,
        "executor": ThreadPoolExecutor,
        "config": {"size": 4},
        "shutdown_timeout_s": 5.0,
        "timeout_s": 6.0,
        "idle_timeout_s": 7.0,
        "close_timeout_s": 8.0,
        "max_buffered": 9,
        "max_sync_streams": 10,
        "loops": 11,
        "event_loop": "uvloop",
        "slow_callback_s": 12.0,
    }
    assert set(settings) == set(inspect.signature(Plugin).parameters) - {"name", "version"}
    made, decorated = define_plugin("x", **settings), Plugin("x", **settings)
    for name, value in settings.items():
        assert getattr(made._settings, name) == getattr(decorated._settings, name) == value


def test_define_plugin_has_the_defaults_of_plugin() -> None:
    ours, theirs = inspect.signature(define_plugin).parameters, inspect.signature(Plugin).parameters
    assert {name: ours[name].default for name in theirs} == {name: each.default for name, each in theirs.items()}


def test_define_plugin_knows_two_stream_handlers() -> None:
    with pytest.raises(RegistrationError, match="'open'; it knows 'data' and 'close'"):
        define_plugin("x", stream_handlers={"open": _plain})
    with pytest.raises(RegistrationError, match="one name space"):
        define_plugin("x", entries={"a": _plain}, raw_entries={"a": _plain})


def test_handlers_stay_testable_by_hand(plugin: Plugin) -> None:
    @plugin.handle("greet")
    def greet(req: Request) -> Response:
        return Response(f"hello {req.args.first('name')}", Status.OK)

    assert greet(Request(query="name=Ada")) == Response("hello Ada")


def test_a_simple_plugin_imports_nothing_slow() -> None:
    script = (
        "import sys\n"
        "import nylon_ring_py\n"
        "plugin = nylon_ring_py.Plugin('x')\n"
        "@plugin.handle('a')\n"
        "def a(req, callback: 'nylon_ring_py.Callback'): return b''\n"
        "slow = 'inspect typing logging json re dataclasses urllib contextlib traceback threading enum'.split()\n"
        "slow += ['collections', 'functools']\n"
        "print(*(name for name in slow if name in sys.modules))\n"
    )
    path = str(Path(nylon_ring_py.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {path!r})\n{script}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("\n", "")


def test_what_is_imported_when_it_is_used_is_there_for_all_who_look() -> None:
    namespace: dict[str, object] = {}
    exec("from nylon_ring_py import *", namespace)
    assert set(nylon_ring_py.__all__) <= set(namespace)
    assert set(nylon_ring_py.__all__) <= set(dir(nylon_ring_py))
    assert namespace["Status"] is Status
    with pytest.raises(AttributeError, match="'nylon_ring_py' has no attribute 'Stauts'"):
        nylon_ring_py.Stauts  # type: ignore[attr-defined]  # noqa: B018
