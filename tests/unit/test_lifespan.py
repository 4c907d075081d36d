"""Lifespans, asynchronous hooks and plugin.ctx: what is entered when, what is left when, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
from conftest import until

from nylon_ring_py import Plugin, RegistrationError
from nylon_ring_py._session import Session


class _Loops:
    """Stands for the plugin's `Loops`, whose threads are the core's: an event loop on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def limit(self, until: float, stands_still: bool) -> None:
        """These hooks end."""

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def plugin() -> Plugin:
    return Plugin("shop")


@pytest.fixture
def loops() -> Iterator[_Loops]:
    made = _Loops()
    yield made
    made.close()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, logger="nylon_ring.shop")
    return caplog


def _session(plugin: Plugin, loops: _Loops | None = None) -> Session:
    session = Session(plugin, None)
    standing: Any = loops
    session._loops = standing
    return session


# ---- order


def test_lifespans_are_around_the_hooks(plugin: Plugin, loops: _Loops) -> None:
    seen: list[str] = []

    @plugin.lifespan
    def first() -> Iterator[None]:
        seen.append("first in")
        yield
        seen.append("first out")

    @plugin.lifespan
    async def second() -> AsyncIterator[None]:
        seen.append("second in")
        yield
        seen.append("second out")

    plugin.on_init(lambda: seen.append("init"))

    @plugin.on_init
    async def init() -> None:
        await asyncio.sleep(0)
        seen.append("async init")

    @plugin.on_shutdown
    async def bye() -> None:
        await asyncio.sleep(0)
        seen.append("async bye")

    plugin.on_shutdown(lambda: seen.append("bye"))
    session = _session(plugin, loops)
    session.run_init()
    assert seen == ["first in", "second in", "init", "async init"]
    seen.clear()
    session.run_shutdown()
    assert seen == ["bye", "async bye", "second out", "first out"]
    seen.clear()
    session.run_shutdown()
    assert seen == ["bye", "async bye"]


class _Pool:
    def __init__(self, seen: list[str]) -> None:
        self._seen = seen

    def __enter__(self) -> _Pool:
        self._seen.append("in")
        return self

    def __exit__(self, *exc: object) -> None:
        self._seen.append("out")


class _AsyncPool:
    def __init__(self, seen: list[str]) -> None:
        self._seen = seen

    async def __aenter__(self) -> _AsyncPool:
        self._seen.append("in")
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._seen.append("out")


def _generator(seen: list[str]) -> Callable[..., Any]:
    def life() -> Iterator[None]:
        seen.append("in")
        yield
        seen.append("out")

    return life


def _async_generator(seen: list[str]) -> Callable[..., Any]:
    async def life() -> AsyncIterator[None]:
        seen.append("in")
        yield
        seen.append("out")

    return life


FORMS: dict[str, Callable[[list[str]], Callable[..., Any]]] = {
    "generator": _generator,
    "async generator": _async_generator,
    "contextmanager": lambda seen: contextlib.contextmanager(_generator(seen)),
    "asynccontextmanager": lambda seen: contextlib.asynccontextmanager(_async_generator(seen)),
    "returned": lambda seen: lambda: _Pool(seen),
    "returned async": lambda seen: lambda: _AsyncPool(seen),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_entered_and_left(plugin: Plugin, loops: _Loops, form: str) -> None:
    seen: list[str] = []
    life = FORMS[form](seen)
    assert plugin.lifespan(life) is life
    session = _session(plugin, loops)
    session.run_init()
    assert seen == ["in"]
    session.run_shutdown()
    assert seen == ["in", "out"]


def test_it_may_take_the_plugin(plugin: Plugin) -> None:
    taken: list[Plugin] = []

    @plugin.lifespan
    def life(given: Plugin) -> Iterator[None]:
        taken.append(given)
        yield

    session = _session(plugin)
    session.run_init()
    session.run_shutdown()
    assert taken == [plugin]


def test_one_task_and_one_context_enter_and_leave(
    plugin: Plugin, loops: _Loops, logged: pytest.LogCaptureFixture
) -> None:
    variable = contextvars.ContextVar[str]("variable")
    tasks: list[object] = []

    @plugin.lifespan
    async def asynchronous() -> AsyncIterator[None]:
        tasks.append(asyncio.current_task())
        token = variable.set("async")
        async with asyncio.timeout(None):  # raises where another task leaves it
            yield
        tasks.append(asyncio.current_task())
        variable.reset(token)

    @plugin.lifespan
    def synchronous() -> Iterator[None]:
        token = variable.set("sync")
        yield
        variable.reset(token)  # raises in another context

    session = _session(plugin, loops)
    session.run_init()
    assert variable.get("none") == "none"
    leaving = threading.Thread(target=session.run_shutdown)
    leaving.start()
    leaving.join()
    assert logged.messages == []
    assert len(tasks) == 2
    assert tasks[0] is tasks[1] is not None


# ---- what fails


@pytest.mark.parametrize(
    "error", [OSError("no database"), SystemExit(3), StopIteration("odd"), asyncio.CancelledError()]
)
@pytest.mark.parametrize("where", ["sync", "async", "on_init", "async on_init"])
def test_a_failing_start_leaves_what_was_entered(
    plugin: Plugin, loops: _Loops, where: str, error: BaseException
) -> None:
    seen: list[str] = []
    error.__cause__ = cause = KeyError("why")

    class Fails:
        def __enter__(self) -> None:
            raise error

        def __exit__(self, *exc: object) -> None:
            seen.append("out")

    class FailsAsync:
        async def __aenter__(self) -> None:
            raise error

        async def __aexit__(self, *exc: object) -> None:
            seen.append("out")

    def fail() -> None:
        raise error

    async def fail_async() -> None:
        raise error

    plugin.lifespan(lambda: _Pool(seen))
    if where == "sync":
        plugin.lifespan(lambda: Fails())
    elif where == "async":
        plugin.lifespan(lambda: FailsAsync())
    else:
        plugin.on_init(fail if where == "on_init" else fail_async)
    if where.endswith("on_init"):
        plugin.lifespan(lambda: _AsyncPool(seen))
    plugin.on_init(lambda: seen.append("init"))
    session = _session(plugin, loops)
    if isinstance(error, StopIteration) and where.startswith("async"):
        with pytest.raises(RuntimeError, match="StopIteration"):  # what Python makes of it in a coroutine
            session.run_init()
    else:
        with pytest.raises(type(error)) as raised:
            session.run_init()
        assert raised.value is error
        assert raised.value.__cause__ is cause
    assert seen == (["in", "in", "out", "out"] if where.endswith("on_init") else ["in", "out"])
    assert loops.run(asyncio.sleep(0, "alive")) == "alive"


def test_a_failing_end_is_logged_and_the_rest_still_runs(
    plugin: Plugin, loops: _Loops, logged: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []
    plugin.lifespan(lambda: _Pool(seen))

    @plugin.lifespan
    async def asynchronous() -> AsyncIterator[None]:
        yield
        raise SystemExit(3)

    @plugin.lifespan
    def synchronous() -> Iterator[None]:
        yield
        raise OSError("gone")

    @plugin.on_shutdown
    async def bye() -> None:
        raise ValueError("bye")

    session = _session(plugin, loops)
    session.run_init()
    session.run_shutdown()
    assert seen == ["in", "out"]
    name = "test_a_failing_end_is_logged_and_the_rest_still_runs.<locals>."
    assert logged.messages == [
        f"on_shutdown {name}bye raised ValueError",
        f"lifespan {name}synchronous raised OSError",
        f"lifespan {name}asynchronous raised SystemExit",
    ]


def test_a_lifespan_that_ends_early_is_logged_at_once(
    plugin: Plugin, loops: _Loops, logged: pytest.LogCaptureFixture
) -> None:
    crashed = threading.Event()

    @plugin.lifespan
    async def life() -> AsyncIterator[None]:
        async def crash() -> None:
            raise OSError("watcher")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(crash())
                yield
        finally:
            crashed.set()

    session = _session(plugin, loops)
    session.run_init()
    assert crashed.wait(30)
    until(lambda: len(logged.messages) > 0)
    (message,) = logged.messages
    assert "life, which ended while the plugin runs, raised ExceptionGroup" in message
    session.run_shutdown()
    assert len(logged.messages) == 1


def test_a_generator_that_does_not_yield_once_is_told(plugin: Plugin, logged: pytest.LogCaptureFixture) -> None:
    @plugin.lifespan
    def life() -> Iterator[None]:
        yield
        yield

    session = _session(plugin)
    session.run_init()
    session.run_shutdown()
    assert "generator didn't stop" in logged.text


def test_what_is_no_context_manager_is_told(plugin: Plugin) -> None:
    wrong: Any = lambda: 7  # noqa: E731
    plugin.lifespan(wrong)
    with pytest.raises(TypeError, match="returned an object of type int, which is no context manager: yield once"):
        _session(plugin).run_init()


def test_a_coroutine_of_a_plain_hook_is_told(plugin: Plugin) -> None:
    async def start() -> None: ...

    plugin.on_init(lambda: start())
    assert not plugin._needs_loop()
    with pytest.raises(TypeError, match=r"on_init .*<lambda> is a plain function that returned a coroutine"):
        _session(plugin).run_init()


# ---- registration


async def _coroutine() -> None: ...


def _two(plugin: Plugin, other: int) -> Iterator[None]:
    yield


def _keyword(*, plugin: Plugin) -> Iterator[None]:
    yield


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (_coroutine, "a coroutine has no moment at which it is ready: yield once"),
        (_two, r"it is called with the plugin, or with nothing, but it takes \(plugin, other\)"),
        (_keyword, r"it takes \(plugin\)"),
        (7, "not an object of type int"),
    ],
)
def test_wrong_lifespans_are_refused_at_import(plugin: Plugin, wrong: Any, reason: str) -> None:
    with pytest.raises(RegistrationError, match=reason) as raised:
        plugin.lifespan(wrong)
    if callable(wrong):
        assert f"{__file__}:{wrong.__code__.co_firstlineno}: lifespan" in str(raised.value)


def test_none_is_registered_after_the_load(plugin: Plugin) -> None:
    instance: Any = object()
    plugin._bind(instance)
    with pytest.raises(RegistrationError, match="loaded already"):
        plugin.lifespan(_generator([]))


@pytest.mark.parametrize(
    ("form", "needed"),
    [
        ("generator", False),
        ("contextmanager", False),
        ("async generator", True),
        ("asynccontextmanager", True),
        ("returned async", True),
    ],
)
def test_a_lifespan_says_whether_it_needs_a_loop(plugin: Plugin, form: str, needed: bool) -> None:
    plugin.lifespan(FORMS[form]([]))
    assert plugin._needs_loop() is needed


def test_hooks_say_whether_they_need_a_loop(plugin: Plugin) -> None:
    plugin.on_init(lambda: None)
    assert not plugin._needs_loop()
    plugin.on_shutdown(_coroutine)
    assert plugin._needs_loop()


def test_an_asynchronous_one_without_a_loop_is_told(plugin: Plugin) -> None:
    plugin.lifespan(lambda: _AsyncPool([]))
    with pytest.raises(RuntimeError, match="is asynchronous, and the plugin was started without an event loop"):
        _session(plugin).run_init()


# ---- ctx


def test_what_is_yielded_is_shared_until_it_is_left(plugin: Plugin, loops: _Loops) -> None:
    at_end: list[object] = []

    @plugin.lifespan
    def store() -> Iterator[dict[str, object]]:
        yield {"store": "the store"}
        at_end.append(plugin.ctx.store)

    @plugin.lifespan
    async def client() -> AsyncIterator[dict[str, object]]:
        yield {"client": f"a client of {plugin.ctx.store}"}

    plugin.ctx.mine = 1
    session = _session(plugin, loops)
    session.run_init()
    assert plugin.ctx.client == "a client of the store"
    session.run_shutdown()
    assert at_end == ["the store"]
    assert vars(plugin.ctx) == {"mine": 1}


def test_what_is_no_mapping_is_left_alone(plugin: Plugin) -> None:
    plugin.lifespan(lambda: _Pool([]))
    session = _session(plugin)
    session.run_init()
    assert vars(plugin.ctx) == {}
    session.run_shutdown()


def test_two_lifespans_cannot_give_one_name(plugin: Plugin) -> None:
    left: list[str] = []

    @plugin.lifespan
    def one() -> Iterator[dict[str, int]]:
        yield {"db": 1}
        left.append("one")

    @plugin.lifespan
    def two() -> Iterator[dict[str, int]]:
        yield {"db": 2}
        left.append("two")

    with pytest.raises(ValueError, match=r"two gives 'db' for plugin.ctx, which .*one gives too"):
        _session(plugin).run_init()
    assert left == ["two", "one"]


def test_ctx_is_made_once_and_tells_what_it_has(plugin: Plugin) -> None:
    assert plugin.ctx is plugin.ctx
    assert plugin.ctx is not Plugin("other").ctx
    with pytest.raises(AttributeError, match=r"plugin.ctx has no 'db', it has: nothing"):
        _ = plugin.ctx.db
    plugin.ctx.db = "db"
    plugin.ctx.cache = {}
    assert plugin.ctx.db == "db"
    assert repr(plugin.ctx) == "Context(db, cache)"
    with pytest.raises(AttributeError, match=r"plugin.ctx has no 'dd', it has: db, cache. Set it in on_init"):
        _ = plugin.ctx.dd
    assert not hasattr(plugin.ctx, "other")
