"""What a plugin sets up when it is loaded and takes down when it goes: its lifespans, and the objects they share."""

from __future__ import annotations

from nylon_ring_py._signature import ASYNC_GENERATOR, COROUTINE, GENERATOR, Subject, chain, shape_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from contextvars import Context as Variables
    from typing import Any

    from nylon_ring_py._loop import Loops
    from nylon_ring_py.logs import ExceptionLog
    from nylon_ring_py.plugin import Plugin


class Context:
    """`Plugin.ctx`: objects that a plugin makes once and its handlers share, as attributes."""

    def __getattr__(self, name: str) -> Any:  # of what is not there
        there = ", ".join(vars(self)) or "nothing"
        raise AttributeError(
            f"plugin.ctx has no {name!r}, it has: {there}. Set it in on_init, or yield it from a @plugin.lifespan",
            name=name,
            obj=self,
        )

    if TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None: ...

    def __repr__(self) -> str:
        return f"Context({', '.join(vars(self))})"


def check_lifespan(function: Callable[..., Any]) -> None:
    """Check what is registered as a lifespan.

    Raises:
        RegistrationError: it is a coroutine function, or takes more than the plugin.
    """
    subject = Subject("lifespan", function)
    shape = shape_of(function, subject)
    if shape.code_flags & COROUTINE:
        subject.refuse("a coroutine has no moment at which it is ready: yield once, between setting up and taking down")
    if len(shape.parameters) > 1 or any(parameter.keyword_only for parameter in shape.parameters):
        takes = ", ".join(parameter.name for parameter in shape.parameters)
        subject.refuse(f"it is called with the plugin, or with nothing, but it takes ({takes})")


def may_be_asynchronous(function: Callable[..., Any]) -> bool:
    """Whether a lifespan may need an event loop: it does, or only its call will show what it returns."""
    if isinstance(function, type):
        return hasattr(function, "__aenter__")
    flags = 0
    for step in chain(function):
        code = getattr(step, "__code__", None)
        flags |= code.co_flags if code is not None else 0
    return not flags & GENERATOR or bool(flags & (ASYNC_GENERATOR | COROUTINE))


def await_hook(what: str, hook: Callable[[], object], made: object, loops: Loops | None) -> None:
    """Run what an on_init or on_shutdown hook returned to its end on the event loop.

    Args:
        what: the decorator's name, for the message.
        hook: the hook.
        made: what it returned; only a coroutine is run, and everything else left alone.
        loops: the plugin's event loops, None where it has none.

    Raises:
        TypeError: there is no loop for the coroutine, since the hook is a plain function.
        BaseException: what the coroutine raised.
    """
    from types import CoroutineType

    if not isinstance(made, CoroutineType):
        return
    if loops is None:
        made.close()
        raise TypeError(
            f"{what} {_name(hook)} is a plain function that returned a coroutine, which nobody awaits: write async def"
        )
    _run(loops, made)


class Lifespans:
    """The lifespans of a loaded plugin, from the first that is entered to the last that is left.

    Args:
        plugin: the plugin.
        loops: its event loops, None where it has none.
        log: for what fails when one is left.
    """

    def __init__(self, plugin: Plugin, loops: Loops | None, log: ExceptionLog) -> None:
        self._plugin = plugin
        self._loops = loops
        self._log = log
        self._entered: list[tuple[str, _SyncSpan | _AsyncSpan]] = []
        self._given: dict[str, str] = {}  # what is on ctx, and by whom

    def enter(self) -> None:
        """Enter them in the order of registration, and put the mappings they give on `Plugin.ctx`.

        Raises:
            BaseException: what one of them raised; those before it are left by `leave`.
        """
        from collections.abc import Mapping

        for function in self._plugin._lifespans:
            name = _name(function)
            span = self._make(function, name)
            value = span.enter()
            self._entered.append((name, span))
            if isinstance(value, Mapping):
                for key, shared in value.items():
                    if key in self._given:
                        other = self._given[key]
                        raise ValueError(f"lifespan {name} gives {key!r} for plugin.ctx, which {other} gives too")
                    setattr(self._plugin.ctx, key, shared)
                    self._given[key] = name

    def leave(self) -> None:
        """Leave those that were entered, the last one first, and clear `Plugin.ctx` of what they gave. What fails is
        logged. Never raises; again does nothing.
        """
        while self._entered:
            name, span = self._entered.pop()
            try:
                span.leave()
            except BaseException as exc:
                self._log.exception(f"lifespan {name}", None, exc)
        for key in self._given:
            vars(self._plugin.ctx).pop(key, None)
        self._given.clear()

    def _make(self, function: Callable[..., Any], name: str) -> _SyncSpan | _AsyncSpan:
        from types import AsyncGeneratorType, GeneratorType

        takes_plugin = bool(shape_of(function, Subject("lifespan", function)).parameters)
        made = function(self._plugin) if takes_plugin else function()
        kind = type(made)
        if isinstance(made, AsyncGeneratorType):
            from contextlib import asynccontextmanager

            made = asynccontextmanager(lambda: made)()
        elif isinstance(made, GeneratorType):
            from contextlib import contextmanager

            made = contextmanager(lambda: made)()
        if hasattr(made, "__aenter__"):
            if self._loops is None:
                raise RuntimeError(f"lifespan {name} is asynchronous, and the plugin was started without an event loop")
            return _AsyncSpan(made, name, self._loops, self._log)
        if hasattr(made, "__enter__"):
            return _SyncSpan(made)
        raise TypeError(
            f"lifespan {name} returned an object of type {kind.__name__}, which is no context manager: yield once, "
            "between setting up and taking down, or return an object that `with` or `async with` takes"
        )


class _SyncSpan:
    """Entered on the thread that loads the plugin and left on the one that shuts it down, in one context."""

    def __init__(self, manager: AbstractContextManager[object]) -> None:
        from contextvars import Context as Variables

        self._manager = manager
        self._variables: Variables = Variables()

    def enter(self) -> object:
        return self._variables.run(lambda: self._manager.__enter__())

    def leave(self) -> None:
        self._variables.run(lambda: self._manager.__exit__(None, None, None))


class _AsyncSpan:
    """One task on the event loop enters it, waits, and leaves it: what has to happen in one task does."""

    def __init__(
        self, manager: AbstractAsyncContextManager[object], name: str, loops: Loops, log: ExceptionLog
    ) -> None:
        self._manager = manager
        self._name = name
        self._loops = loops
        self._log = log
        # What follows belongs to the loop's thread once `enter` runs there.
        self._value: object = None
        self._error: BaseException | None = None

    def enter(self) -> object:
        _run(self._loops, self._start())
        return self._value

    def leave(self) -> None:
        _run(self._loops, self._finish())

    async def _start(self) -> None:
        import asyncio

        self._ready, self._stop = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._live(), name=f"lifespan {self._name}")
        await self._ready.wait()
        self._raise_error()

    async def _finish(self) -> None:
        self._stop.set()
        await self._task
        self._raise_error()

    async def _live(self) -> None:
        try:
            async with self._manager as self._value:
                self._ready.set()
                await self._stop.wait()
        except BaseException as exc:
            # A SystemExit that left the task would end the loop's thread.
            if self._ready.is_set() and not self._stop.is_set():
                self._log.exception(f"lifespan {self._name}, which ended while the plugin runs,", None, exc)
            else:
                self._error = exc
        finally:
            self._ready.set()

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise _Carried(error)


class _Carried(Exception):
    """Takes any exception off a loop's thread unharmed: asyncio ends the loop for some, and refuses others."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


def _run(loops: Loops, coroutine: Coroutine[Any, Any, object]) -> None:
    try:
        loops.run(_carrying(coroutine))
        return
    except _Carried as carried:
        error = carried.error
    raise error  # out here it keeps the cause and context its author gave it


async def _carrying(coroutine: Coroutine[Any, Any, object]) -> None:
    try:
        await coroutine
    except _Carried:
        raise
    except BaseException as exc:
        raise _Carried(exc) from None


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or type(function).__name__
