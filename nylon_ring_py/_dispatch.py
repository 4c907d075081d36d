"""Calls that run in an executor: from a worker thread of the core to the executor, and from its future to the host."""

from __future__ import annotations

import threading
import time
from concurrent.futures import BrokenExecutor

from nylon_ring_py._core import handler_left
from nylon_ring_py._pools import Remains, begin, stop_resource_tracker, submit
from nylon_ring_py._remote import Outcome, RemoteJob
from nylon_ring_py.errors import HandlerError, describe_exception
from nylon_ring_py.executors import is_factory
from nylon_ring_py.status import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any

    from nylon_ring_py._core import Callback
    from nylon_ring_py._remote import Address, PluginFiles
    from nylon_ring_py.entry import Entry
    from nylon_ring_py.executors import OpenExecutor
    from nylon_ring_py.logs import ExceptionLog


class Executors:
    """The executors of one loaded plugin, each made once for every entry that names it.

    Args:
        files: the plugin, for worker processes.
        log: of the plugin.
    """

    def __init__(self, files: PluginFiles, log: ExceptionLog) -> None:
        self._files = files
        self._log = log
        self._pools: list[_Pool] = []

    def dispatcher(self, entry: Entry, value: object) -> Callable[[Any, Callback], None]:
        """What the core calls instead of an entry's handler.

        Args:
            entry: a plain function with one reply.
            value: what the author has written as executor.
        """
        for pool in self._pools:
            if pool.value is value:
                break
        else:
            pool = _Pool(value, self._files)
            self._pools.append(pool)

        def dispatch(argument: object, callback: Callback) -> None:
            _Answer(pool, Job(entry, argument, callback, self._files), callback, self._log).submit()

        return dispatch

    def open(self) -> None:
        """Make them.

        Raises:
            BaseException: what making one raises; the others are still to be closed.
        """
        for pool in self._pools:
            pool.open()

    def close(self, until: float) -> None:
        """End them. Nothing is waited for longer than until that time of `time.monotonic`, and a second.

        Calls that still run have had their time: their processes are ended at once.
        """
        ending = [(pool, pool.close()) for pool in self._pools]
        for pool, remains in ending:
            for each in remains:
                if not each.wait(time.monotonic() if pool.pending else until):
                    each.end()
                if not each.are_gone():
                    self._log.note(f"threads of an executor run on after the plugin's end: {each}")
        self._pools.clear()

    def leave(self) -> None:
        """After the plugin's modules are gone, and collected."""
        stop_resource_tracker()


class Job:
    """A call. Run in this process, it is the handler; pickled, it becomes a `RemoteJob`."""

    __slots__ = ("__name__", "__weakref__", "_argument", "_callback", "_context", "_files", "_handler", "brings_files")

    def __init__(self, entry: Entry, argument: object, callback: Callback, files: PluginFiles) -> None:
        import contextvars

        self.__name__ = entry.name
        self._handler = entry.call
        self._argument = argument
        self._callback = callback
        self._context = contextvars.copy_context()  # the core has opened a fresh one for this call
        self._files = files
        self.brings_files = False  # set by who was told that they are missing

    def __call__(self) -> object:
        """Run the handler, with the context of its call; unless nobody wants the answer any more."""
        if self._callback.cancelled:
            raise HandlerError(Status.ERR, "the call was cancelled before it began")
        self._context.run(self._callback._enter)
        try:
            return self._context.run(self._handler, self._argument)
        finally:
            handler_left()

    def __reduce__(self) -> tuple[type[RemoteJob], tuple[str, object, Address, bytes | None]]:
        files = self._files
        return RemoteJob, (self.__name__, self._argument, files.address, files.archive if self.brings_files else None)


class _Pool:
    """One executor, made anew when it has broken and the author's function can make another."""

    def __init__(self, value: object, files: PluginFiles) -> None:
        self.value = value
        self.pending: set[object] = set()  # calls under way
        self._files = files
        self._lock = threading.Lock()
        self._opened: OpenExecutor | None = None  # this and the rest guarded by _lock
        self._remains: list[Remains] = []
        self._closed = False

    def open(self) -> None:
        with self._lock:
            self._opened = begin(self.value, self._files)

    def submit(self, job: Job) -> Future[object]:
        opened = self._current()
        try:
            future = submit(opened, job)
            if not _is_forgotten(future, opened):
                return future
            raise BrokenExecutor("the executor broke while it took the call")
        except BrokenExecutor:
            if not is_factory(self.value):
                raise
        return submit(self._current(), job)  # the call had not begun

    def close(self) -> list[Remains]:
        with self._lock:
            self._closed = True
            # In an author's tests a plugin has one host after another, and its module is made once.
            is_mine = self._files.archive is not None or is_factory(self.value)
            if self._opened is not None and is_mine:
                self._remains.append(Remains(self._opened))
            self._opened = None
            return self._remains

    def _current(self) -> OpenExecutor:
        with self._lock:
            if self._closed:
                raise HandlerError(Status.ERR, "the plugin is shutting down")
            if self._opened is not None and self._opened.is_broken and is_factory(self.value):
                self._remains = [each for each in self._remains if not each.are_gone()]
                self._remains.append(Remains(self._opened))
                self._opened = None
            if self._opened is None:
                self._opened = begin(self.value, self._files)
            return self._opened


def _is_forgotten(future: Future[object], opened: OpenExecutor) -> bool:
    """Whether an executor took a call that it may never look at.

    Python 3.11's process pools break without the lock under which they take calls: one that comes in between is neither
    begun nor failed. Where the pool has broken and the call has not begun, it never will; should it still be failed,
    nobody listens.
    """
    return opened.is_broken and not future.running() and not future.done()


class _Answer:
    """A call under way: submits it, and answers the host when its future is done, on whatever thread that is."""

    __slots__ = ("_callback", "_job", "_log", "_pool")

    def __init__(self, pool: _Pool, job: Job, callback: Callback, log: ExceptionLog) -> None:
        self._pool = pool
        self._job = job
        self._callback = callback
        self._log = log

    def submit(self) -> None:
        future = self._pool.submit(self._job)
        self._pool.pending.add(self)
        future.add_done_callback(self._done)

    def _done(self, future: Future[object]) -> None:
        self._pool.pending.discard(self)
        try:
            if future.cancelled():
                self._callback("CancelledError: the executor has cancelled the call", Status.ERR)
            elif (failure := future.exception()) is not None:
                self._failed(failure)
            else:
                self._finished(future.result())
        except BaseException as exc:  # a result that cannot be sent, or an executor that takes no second submit
            self._failed(exc)

    def _finished(self, result: Any) -> None:
        if type(result) is not Outcome:
            self._callback(result)
        elif result.missing:
            self._job.brings_files = True
            self.submit()
        else:
            if result.failure is not None:
                self._log.remote(self._where, self._callback.sid, *result.failure)
            self._callback(result.data, result.status)

    def _failed(self, failure: BaseException) -> None:
        if not isinstance(failure, HandlerError):
            self._log.exception(self._where, self._callback.sid, failure)
        status, text = describe_exception(failure)
        self._callback(text, status)

    @property
    def _where(self) -> str:
        return f"entry {self._job.__name__!r}"
