"""The event loops of a plugin: each runs on a thread of the core's, which hands calls to it through a `LoopFeed`."""

from __future__ import annotations

import asyncio
import time

from nylon_ring_py import _core
from nylon_ring_py.errors import MissingDependencyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any, TypeVar

    from nylon_ring_py.logs import ExceptionLog

    Result = TypeVar("Result")

REST_S = 0.001
"""Seconds before an event loop that has failed goes on: what it lacks may be there by then."""

TRIES = 100
"""How often something is tried again that a call depends on."""

LAST_TASKS_S = 1.0
"""Seconds that tasks an author left behind have to end once they are cancelled, when a plugin is unloaded."""


class Loops:
    """The event loops of one loaded plugin.

    Args:
        kind: ``"asyncio"`` or ``"uvloop"``.
        log: where failures go that belong to no call.
    """

    def __init__(self, kind: str, log: ExceptionLog) -> None:
        self._kind = kind
        self._log = log
        self._first: asyncio.AbstractEventLoop | None = None
        self._until: float | None = None
        self._stands_still = False

    def serve(self, feed: _core.LoopFeed) -> None:
        """Be an event loop on this thread until the core stops it, then end what is left on it.

        Raises:
            MissingDependencyError: uvloop was asked for and is not installed.
            OSError: the system has no descriptors left.
        """
        loop = _new_event_loop(self._kind)
        try:
            asyncio.set_event_loop(loop)
            loop.set_exception_handler(self._on_exception)
            loop.add_reader(feed.fileno(), feed.drain)
            if feed.number == 0:
                self._first = loop
            feed.bind(loop)
            while not feed.stopping:  # nobody else can end it: all the plugin's calls depend on it
                self._run_on(loop)
            loop.remove_reader(feed.fileno())
            feed.dismiss()
            self._end(loop)
        finally:
            try:
                loop.close()  # first: its descriptors are more than the thread's memory of it
            finally:
                asyncio.set_event_loop(None)

    def limit(self, until: float, stands_still: bool) -> None:
        """The plugin is being shut down: what `run` is given from here on has to end by then.

        Args:
            until: by time.monotonic(), in seconds.
            stands_still: shutdown was called on the first loop's own thread, which runs nothing before it returns.
        """
        self._until = until
        self._stands_still = stands_still

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the first loop from another thread, and wait for it.

        Args:
            coroutine: what to run.

        Returns:
            What it returns.

        Raises:
            TimeoutError: the time that `limit` has set is over; it was cancelled.
            RuntimeError: the loop cannot run anything now.
            BaseException: what it raises.
        """
        if self._first is None or self._stands_still:
            coroutine.close()
            raise RuntimeError(
                "the plugin has no event loop"
                if self._first is None
                else "it needs the event loop, on whose thread shutdown was called from inside a send: nothing runs "
                "there before shutdown returns. Have the host call shutdown on a thread of its own"
            )
        future = asyncio.run_coroutine_threadsafe(coroutine, self._first)
        try:
            return future.result(None if self._until is None else max(0.0, self._until - time.monotonic()))
        except TimeoutError:
            if not future.cancel():  # it has ended, and that may be how
                return future.result()
            raise TimeoutError("it did not end within the plugin's shutdown_timeout_s, and was cancelled") from None

    def _run_on(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            asyncio._set_running_loop(None)  # a run that failed may have failed to put this back
            if isinstance(loop, asyncio.BaseEventLoop):
                loop._thread_id = None  # type: ignore[attr-defined]  # and this
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as failure:  # asyncio lets them out of an author's own tasks
            self._log.exception("a task or callback on the event loop", None, failure)
        except BaseException as failure:  # of asyncio's own: no memory for the list of what is ready, for example
            self._log.exception("the event loop", None, failure)
            time.sleep(REST_S)

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=LAST_TASKS_S))
        for task in left:
            if not task.done():
                self._log.warning(f"task {task.get_name()!r} did not end when the plugin was unloaded: {task!r}")
            elif not task.cancelled():
                failure = task.exception()
                if failure is not None:
                    self._log.exception(f"task {task.get_name()!r}", None, failure)
        loop.run_until_complete(loop.shutdown_asyncgens())
        executor = getattr(loop, "_default_executor", None)
        if executor is not None:  # its threads are not waited for: what they run may never end
            executor.shutdown(wait=False, cancel_futures=True)

    def _on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What no task can be given: a callback that raised, a task's exception that nobody asked for."""
        failure = context.get("exception")
        if isinstance(failure, MemoryError) and _run_again(loop, context.get("handle")):
            return
        where = f"the event loop: {context.get('message')}"
        if failure is None:
            self._log.warning(where)
        else:
            self._log.exception(where, None, failure)


def _run_again(loop: asyncio.AbstractEventLoop, handle: Any) -> bool:
    """Schedule a step of a task, or a callback of asyncio's own, again that there was no memory to begin: nobody else
    would ever wake who waits for it.

    A step keeps what it raises to itself, so a MemoryError that comes out of one is asyncio's own.

    Args:
        loop: the event loop.
        handle: what asyncio could not run; None where it was something else.

    Returns:
        Whether it was one of these, and will run.
    """
    callback: Any = getattr(handle, "_callback", None)
    is_own = str(getattr(callback, "__module__", "")).startswith("asyncio.")  # the end of run_until_complete
    if not is_own and not isinstance(getattr(callback, "__self__", None), asyncio.Task):
        return False
    for _ in range(TRIES):
        try:
            loop.call_soon(callback, *handle._args, context=handle._context)
        except MemoryError:
            time.sleep(REST_S)
        else:
            return True
    return False


def _new_event_loop(kind: str) -> asyncio.AbstractEventLoop:
    if kind == "uvloop":
        try:
            import uvloop
        except ModuleNotFoundError as missing:
            raise MissingDependencyError(
                'event_loop="uvloop" needs the library uvloop, which is not installed in this plugin\'s environment: '
                "python -m pip install uvloop",
                name="uvloop",
            ) from missing
        return uvloop.new_event_loop()
    loop = asyncio.SelectorEventLoop()
    loop.time = _core.clock  # type: ignore[method-assign]  # a test may move time by hand
    return loop


def describe_thread(ident: int) -> str:
    """Where a thread is now.

    Args:
        ident: its number, as threading.get_ident gives it.

    Returns:
        Its stack in lines, the innermost last; empty where it has ended.
    """
    import sys
    import traceback

    frame = sys._current_frames().get(ident)
    return "".join(traceback.format_stack(frame)) if frame is not None else ""
