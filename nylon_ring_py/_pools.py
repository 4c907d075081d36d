"""Signals, threads and processes of executors: how they begin in a host, and that nothing of them stays."""

from __future__ import annotations

import signal
import sys
import threading
import time

from nylon_ring_py.executors import is_process_pool, open_executor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from multiprocessing.process import BaseProcess
    from types import TracebackType
    from typing import Any

    from nylon_ring_py._remote import PluginFiles
    from nylon_ring_py.executors import OpenExecutor

_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS}

_TERMINATE_S = 0.5
"""A worker that is told to terminate has this long, then it is killed. Both fit into the second that the core leaves
Python after `shutdown_timeout_s`."""
_KILL_S = 0.25


class SignalsHeld:
    """While it is entered, this thread and what it starts take no signal of the host's; then the thread is as it was.

    multiprocessing unblocks SIGINT and SIGTERM when it starts its resource tracker, whatever they were before.
    """

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _FAULTS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)


def begin(value: object, files: PluginFiles) -> OpenExecutor:
    """Make the executor that a checked value stands for, fit for a host.

    Args:
        value: what the author has written.
        files: the plugin, for worker processes.

    Returns:
        The executor.

    Raises:
        BaseException: what making it raises.
    """
    global _beginning
    with _tracker_lock:
        _beginning += 1
    try:
        with SignalsHeld():
            opened = open_executor(value)
        if is_process_pool(opened.executor):
            _prepare_workers(opened.executor, files)
    finally:
        with _tracker_lock:
            _beginning -= 1
    return opened


def submit(opened: OpenExecutor, job: Callable[[], object]) -> Future[object]:
    """Give a call to an executor. Raises what its submit raises."""
    if is_process_pool(opened.executor):
        # Here, and not inside submit(), whose new threads would inherit what it has unblocked.
        from multiprocessing.resource_tracker import ensure_running

        with SignalsHeld():
            ensure_running()
    with SignalsHeld():
        return opened.executor.submit(job)


class Remains:
    """What an executor that was told to end still has: threads, processes, a client to close.

    Args:
        opened: told so now; calls that have not begun are cancelled.
    """

    def __init__(self, opened: OpenExecutor) -> None:
        executor = opened.executor
        # Both kinds of pool forget them in shutdown(), and there is no public way to ask.
        self._threads: list[threading.Thread] = list(getattr(executor, "_threads", None) or ())
        manager = getattr(executor, "_executor_manager_thread", None)
        if manager is not None:
            self._threads.append(manager)
        self._processes: list[BaseProcess] = list((getattr(executor, "_processes", None) or {}).values())
        if opened.client is None and "distributed" not in type(executor).__module__:
            executor.shutdown(wait=False, cancel_futures=True)
        else:
            # It asks the scheduler, which may be gone.
            closing = threading.Thread(target=_close_client, args=(opened,), name="nylon-ring-client", daemon=True)
            closing.start()
            self._threads.append(closing)

    def are_gone(self) -> bool:
        """Whether nothing is left."""
        return not any(thread.is_alive() for thread in self._threads) and not any(
            process.is_alive() for process in self._processes
        )

    def wait(self, until: float) -> bool:
        """Wait for the end of all, until that time of `time.monotonic`, and at least once look.

        Returns:
            Whether nothing is left.
        """
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        for process in self._processes:
            process.join(max(0.0, until - time.monotonic()))
        return self.are_gone()

    def end(self) -> None:
        """End the processes whatever they do. Takes less than a second; threads that run on cannot be ended."""
        for process in self._processes:
            process.terminate()
        if self._processes and not self.wait(time.monotonic() + _TERMINATE_S):
            for process in self._processes:
                process.kill()
            self.wait(time.monotonic() + _KILL_S)

    def __str__(self) -> str:
        names = [thread.name for thread in self._threads if thread.is_alive()]
        names += [process.name for process in self._processes if process.is_alive()]
        return ", ".join(names)


def stop_resource_tracker() -> None:
    """End multiprocessing's resource tracker, a process that a pool has started, if nothing in this process can still
    need it: it starts again when something does.
    """
    tracking: Any = sys.modules.get("multiprocessing.resource_tracker")
    if tracking is None or "multiprocessing.shared_memory" in sys.modules:  # blocks of memory may be in its care
        return
    import multiprocessing
    from multiprocessing import util
    from multiprocessing.synchronize import SemLock

    with _tracker_lock:
        tracker = tracking._resource_tracker
        in_use = _beginning or multiprocessing.active_children()
        cleanups = [getattr(each, "_callback", None) for each in list(util._finalizer_registry.values())]  # type: ignore[attr-defined]  # the only record there is of semaphores
        if not in_use and SemLock._cleanup not in cleanups and tracker._pid is not None:  # type: ignore[attr-defined]
            tracker._stop()


_tracker_lock = threading.Lock()
_beginning = 0  # executors being made; guarded by _tracker_lock


def _prepare_workers(pool: Any, files: PluginFiles) -> None:
    """Processes are started when calls need them, so there is none yet; where the author has started some, a call
    brings them the plugin.
    """
    from nylon_ring_py._remote import start_worker

    if pool._initializer is not start_worker:
        pool._initargs = (files, pool._initializer, pool._initargs)
        pool._initializer = start_worker
    if sys.version_info < (3, 12) and pool._executor_manager_thread is None:
        pool._pending_work_items = pool._call_queue.pending_work_items = _PendingCalls()


class _PendingCalls(dict[int, "Any"]):
    """A process pool's calls that are not done.

    Python 3.11's thread of a pool that breaks goes through them while others still submit, and ends at the first that
    comes in between: neither its calls nor its processes have an end then.
    """

    def items(self) -> Any:
        return list(super().items())


def _close_client(opened: OpenExecutor) -> None:
    opened.executor.shutdown(wait=False)
    if opened.client is not None:
        opened.client.close()
