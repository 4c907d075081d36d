"""An entry: one handler, looked at once, when it is registered, and made callable the way the core calls."""

from __future__ import annotations

from nylon_ring_py._binding import bind
from nylon_ring_py._core import ASYNC, BORROW, CALLBACK, DUPLEX, GENERATOR, RAW, STREAM, SYNC
from nylon_ring_py._signature import ASYNC_GENERATOR, COROUTINE, Shape, Subject, shape_of
from nylon_ring_py._signature import GENERATOR as GENERATOR_FUNCTION
from nylon_ring_py.settings import MAX_MAX_BUFFERED, MAX_MAX_PENDING, count, time_limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

    from nylon_ring_py.settings import Settings

_MAX_NAME_BYTES = 2**32 - 1


class Options:
    """What a decorator says about an entry; see the decorators of `Plugin`. None: as the plugin has it."""

    __slots__ = (
        "borrow",
        "close_timeout_s",
        "codec",
        "duplex",
        "executor",
        "idle_timeout_s",
        "max_buffered",
        "max_pending",
        "raw",
        "stream",
        "sync",
        "timeout_s",
    )

    def __init__(
        self,
        *,
        sync: bool = False,
        raw: bool = False,
        stream: bool = False,
        duplex: bool = False,
        timeout_s: float | None = None,
        executor: object = None,
        codec: str | None = None,
        borrow: bool = False,
        max_pending: int | None = None,
        max_buffered: int | None = None,
        idle_timeout_s: float | None = None,
        close_timeout_s: float | None = None,
    ) -> None:
        self.sync = sync
        self.raw = raw
        self.stream = stream
        self.duplex = duplex
        self.timeout_s = timeout_s
        self.executor = executor
        self.codec = codec
        self.borrow = borrow
        self.max_pending = max_pending
        self.max_buffered = max_buffered
        self.idle_timeout_s = idle_timeout_s
        self.close_timeout_s = close_timeout_s


class Entry:
    """One registered handler.

    `name` is what hosts call; `flags` are those of the core; `call` takes the request (raw: the payload; duplex: the
    stream), and with the flag CALLBACK a callback after it; `function` is what the author wrote; `options` are the
    decorator's.
    """

    __slots__ = ("call", "flags", "function", "name", "options")

    def __init__(
        self, name: str, flags: int, call: Callable[..., Any], function: Callable[..., Any], options: Options
    ) -> None:
        self.name = name
        self.flags = flags
        self.call = call
        self.function = function
        self.options = options

    @property
    def kind(self) -> Literal["unary", "stream"]:
        """Whether a call has one reply or many."""
        return "stream" if self.flags & (GENERATOR | STREAM | DUPLEX) else "unary"

    @property
    def thread(self) -> Literal["host", "worker", "loop", "own"]:
        """Where the handler runs: on the host's thread, on a worker, on the event loop's, or on a thread of its own."""
        if self.flags & SYNC:
            return "host"
        if self.flags & ASYNC:
            return "loop"
        return "own" if self.flags & DUPLEX else "worker"

    @property
    def raw(self) -> bool:
        """Whether the handler gets the payload alone."""
        return bool(self.flags & RAW)

    def __repr__(self) -> str:
        return f"Entry({self.name!r}, {self.kind}, {self.thread}{', raw' if self.raw else ''})"


def make_entry(name: str, function: Callable[..., Any], options: Options) -> Entry:
    """Check a handler and its options, and make its entry.

    Args:
        name: what hosts call.
        function: the handler.
        options: what the decorator said.

    Returns:
        The entry.

    Raises:
        RegistrationError: it can never be served; the message has the function's place and the reason.
    """
    subject = Subject(f"entry {name!r}", function)
    check_name(name, subject)
    shape = shape_of(function, subject)
    kind = _check_kind(shape, options, subject)
    _check_options(options, kind, subject)
    call, takes_callback = bind(function, shape, options, subject)
    if takes_callback:
        _check_callback(options, kind, subject)
    if kind == ASYNC | GENERATOR:
        from nylon_ring_py._async_generator import drive

        call = drive(call)
    flags = (
        kind
        | (SYNC if options.sync else 0)
        | (RAW if options.raw else 0)
        | (STREAM if options.stream else 0)
        | (DUPLEX if options.duplex else 0)
        | (CALLBACK if takes_callback else 0)
        | (BORROW if options.borrow else 0)
    )
    return Entry(name, flags, call, function, options)


def executor_of(entry: Entry, settings: Settings) -> object:
    """What the author has written as executor for this entry, or None: only plain functions that return their reply
    have one.
    """
    if entry.flags & ~RAW:
        return None
    return settings.executor if entry.options.executor is None else entry.options.executor


def check_hook(what: str, function: Callable[..., Any], arguments: tuple[str, ...], *, may_wait: bool = False) -> None:
    """Check that a function which is no entry can be called with these positional arguments.

    Args:
        what: the decorator's name, for the message.
        function: the hook.
        arguments: what it will be called with.
        may_wait: whether it may be a coroutine function.

    Raises:
        RegistrationError: it takes something else, is a generator, or a coroutine function that nobody would await.
    """
    subject = Subject(what, function)
    shape = shape_of(function, subject)
    if shape.code_flags & COROUTINE and not may_wait:
        subject.refuse("nobody would await it: write a plain def, or use @plugin.stream for streams on the event loop")
    if shape.code_flags & (GENERATOR_FUNCTION | ASYNC_GENERATOR):
        subject.refuse("it is a generator function, and nobody would iterate over it; write a plain def")
    taken = len(shape.parameters)
    fits = taken == len(arguments) or (shape.variadic and taken < len(arguments))
    if not fits or any(parameter.keyword_only for parameter in shape.parameters):
        takes = ", ".join(parameter.name for parameter in shape.parameters) or "nothing"
        subject.refuse(f"it is called with ({', '.join(arguments)}), but it takes ({takes})")


def check_name(name: object, subject: Subject) -> None:
    """Check the name of an entry.

    Raises:
        RegistrationError: it is no str, empty, no UTF-8, or longer than the ABI's 32-bit length.
    """
    if not isinstance(name, str):
        subject.refuse(f'the name of an entry is a str, not {type(name).__name__}: write @plugin.handle("name")')
    if not name:
        subject.refuse("the name of an entry cannot be empty")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        subject.refuse("the name of an entry has a lone surrogate, so no host can pass it: names are UTF-8")
    if size > _MAX_NAME_BYTES:
        subject.refuse(f"the name of an entry has {size} bytes; the ABI's limit is {_MAX_NAME_BYTES}")


def _check_kind(shape: Shape, options: Options, subject: Subject) -> int:
    """What the function is: GENERATOR, ASYNC, both or neither; refuses what cannot run where it was put."""
    is_async = bool(shape.code_flags & (COROUTINE | ASYNC_GENERATOR))
    is_generator = bool(shape.code_flags & (GENERATOR_FUNCTION | ASYNC_GENERATOR))
    if options.sync and is_async:
        subject.refuse("async def cannot run on the host's thread, where nothing may wait; use @plugin.handle")
    if options.sync and (is_generator or options.stream):
        subject.refuse("a stream cannot run on the host's thread: its receiver exists only after the call returns")
    if is_generator and options.stream:
        subject.refuse("a generator is a stream by itself and ends it when it returns; leave stream=True out")
    if is_generator and options.duplex:
        subject.refuse(
            "a duplex handler sends with stream.send() and does not yield: use @plugin.handle for a generator"
        )
    return (ASYNC if is_async else 0) | (GENERATOR if is_generator else 0)


def _check_options(options: Options, kind: int, subject: Subject) -> None:
    is_stream = options.stream or options.duplex or bool(kind & GENERATOR)
    try:
        _check_values(options)
    except (TypeError, ValueError) as wrong:
        subject.refuse(str(wrong))
    if options.sync and options.timeout_s is not None:
        subject.refuse("timeout_s cannot be kept on the host's thread, where nobody else could answer the call")
    if options.sync and options.executor is not None:
        subject.refuse("executor= does not fit a synchronous entry, which runs on the host's thread")
    if options.sync and options.max_pending is not None:
        subject.refuse("max_pending does not fit a synchronous entry: its calls never wait")
    if options.borrow and not options.sync:
        subject.refuse("borrow=True needs a synchronous entry: the host's memory is gone once its call has returned")
    if options.executor is not None and (is_stream or kind & ASYNC):
        subject.refuse("executor= takes plain functions with one result: no stream, no async def")
    if options.executor is not None:
        _check_executor(options.executor, subject)
    for name in ("max_buffered", "idle_timeout_s", "close_timeout_s"):
        if not is_stream and getattr(options, name) is not None:
            subject.refuse(f"{name} is for streams, and this entry has one reply")
    if options.borrow and options.codec is not None:
        subject.refuse("borrow=True does not fit a codec, which makes objects of its own of the body")


def _check_values(options: Options) -> None:
    for name in ("timeout_s", "idle_timeout_s", "close_timeout_s"):
        time_limit(name, getattr(options, name))
    if options.max_pending is not None:
        count("max_pending", options.max_pending, MAX_MAX_PENDING)
    if options.max_buffered is not None:
        count("max_buffered", options.max_buffered, MAX_MAX_BUFFERED)


def _check_executor(executor: object, subject: Subject) -> None:
    from nylon_ring_py.executors import check_executor

    try:
        check_executor(executor)
    except (TypeError, ValueError) as wrong:
        subject.refuse(str(wrong))


def _check_callback(options: Options, kind: int, subject: Subject) -> None:
    if kind & GENERATOR:
        subject.refuse("a generator answers by what it yields, so it takes no callback")
    if options.duplex:
        subject.refuse("a duplex handler answers with stream.send(), so it takes no callback")
    if options.executor is not None:
        subject.refuse("a callback cannot be taken to an executor, which may be another process: return the answer")
