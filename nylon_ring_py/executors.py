"""What may stand under `executor=`: checked when the plugin's module is imported, made when a host loads the plugin."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from typing import Any

_ALLOWED = (
    "a concurrent.futures.Executor, an object with get_executor() such as a dask Client, or a function without "
    "arguments that makes one of them when the plugin is loaded"
)


class OpenExecutor:
    """An executor in use.

    `executor` takes the calls; `client` is what a factory made and gave it, or None: closed after it.
    """

    __slots__ = ("client", "executor")

    def __init__(self, executor: Executor, client: Any = None) -> None:
        self.executor = executor
        self.client = client

    @property
    def is_broken(self) -> bool:
        """Whether it has lost a worker and takes no more calls; an executor that does not tell is taken to be well."""
        return bool(getattr(self.executor, "_broken", False))


def check_executor(value: object) -> None:
    """Check what an author has written, without making or calling anything.

    Args:
        value: the argument.

    Raises:
        TypeError: it is nothing that runs calls.
        ValueError: it is a pool whose processes cannot be started from a host.
    """
    from concurrent.futures import Executor

    if isinstance(value, Executor):
        check_start_method(value)
    elif not _is_client(value):
        _check_factory(value)


def is_factory(value: object) -> bool:
    """Whether a checked value makes its executor, and can make another."""
    from concurrent.futures import Executor

    return not isinstance(value, Executor) and not _is_client(value)


def open_executor(value: Any) -> OpenExecutor:
    """Make or find the executor that a checked value stands for.

    Args:
        value: what the author has written.

    Returns:
        The executor, and the client to be closed with it.

    Raises:
        TypeError: the function made something else.
        ValueError: the function made a pool whose processes cannot be started from a host.
        BaseException: what the function raises.
    """
    from concurrent.futures import Executor

    made = value() if is_factory(value) else value
    if isinstance(made, Executor):
        check_start_method(made)
        return OpenExecutor(made)
    if not _is_client(made):
        raise TypeError(f"executor= has a function that made {_described(made)}; it must make an Executor or a Client")
    found = made.get_executor()
    if not isinstance(found, Executor):
        raise TypeError(f"get_executor() of {_described(made)} gave {_described(found)}, which is no Executor")
    return OpenExecutor(found, None if made is value else made)


def check_start_method(executor: Executor) -> None:
    """Check how a process pool starts its processes.

    Raises:
        ValueError: by fork, or by a fork server.
    """
    if not is_process_pool(executor):
        return
    method = executor._mp_context.get_start_method()  # type: ignore[attr-defined]  # there is no public way to ask
    if method == "spawn":
        return
    reason = (
        "a forked process has one of the host's threads and the locks of all of them, so it may stand still for ever"
        if method == "fork"
        else "its server outlives the plugin, and what it starts inherits the blocked signals of a plugin's threads"
    )
    raise ValueError(
        f"executor= is a ProcessPoolExecutor with the start method {method!r}: {reason}. "
        'Write ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))'
    )


def is_process_pool(executor: object) -> bool:
    """Whether it is the standard library's process pool; does not import it to find out."""
    process = sys.modules.get("concurrent.futures.process")
    return process is not None and isinstance(executor, process.ProcessPoolExecutor)


def _is_client(value: object) -> bool:
    return not isinstance(value, type) and callable(getattr(value, "get_executor", None))


def _check_factory(value: object) -> None:
    import inspect

    if not callable(value):
        raise TypeError(f"executor is {_described(value)}, but must be {_ALLOWED}")
    if inspect.iscoroutinefunction(value) or inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value):
        raise TypeError("executor is a function that is a coroutine or a generator; write a plain def that returns")
    if not _takes_nothing(value):
        raise TypeError("executor is a function with arguments, but it is called without any: put it into a lambda")


def _takes_nothing(function: Callable[..., object]) -> bool:
    import inspect

    try:
        signature = inspect.signature(function)
    except ValueError:  # compiled, and it does not tell: the call will
        return True
    try:
        signature.bind()
    except TypeError:
        return False
    return True


def _described(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"
