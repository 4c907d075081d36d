"""An entry: one handler, looked at once, when it is registered, and made callable the way the core calls."""

from __future__ import annotations

from nylon_ring_py._core import CALLBACK, GENERATOR, RAW, STREAM, SYNC
from nylon_ring_py._signature import ASYNC_GENERATOR, COROUTINE, Shape, Subject, positional, shape_of
from nylon_ring_py._signature import GENERATOR as GENERATOR_FUNCTION
from nylon_ring_py.errors import NotSupportedYetError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

_MAX_NAME_BYTES = 2**32 - 1


class Stream:
    """The two ends of one duplex stream, given to a ``@plugin.stream`` handler. Comes in a later version; until then
    ``handle(entry, stream=True)`` with ``stream_data`` and ``stream_close`` serves streams in both directions.
    """

    def __init__(self) -> None:
        raise NotSupportedYetError("Stream objects come in a later version, and are made by the host then")


class Options:
    """What a decorator says about an entry, beside its name; see the decorators of `Plugin`."""

    __slots__ = ("borrow", "codec", "executor", "raw", "stream", "sync", "timeout_s")

    def __init__(
        self,
        *,
        sync: bool = False,
        raw: bool = False,
        stream: bool = False,
        timeout_s: float | None = None,
        executor: object = None,
        codec: str | None = None,
        borrow: bool = False,
    ) -> None:
        self.sync = sync
        self.raw = raw
        self.stream = stream
        self.timeout_s = timeout_s
        self.executor = executor
        self.codec = codec
        self.borrow = borrow


class Entry:
    """One registered handler.

    `name` is what hosts call; `flags` are those of the core; `call` takes the request (raw: the payload), and with
    the flag CALLBACK a callback after it; `function` is what the author wrote.
    """

    __slots__ = ("call", "flags", "function", "name")

    def __init__(self, name: str, flags: int, call: Callable[..., Any], function: Callable[..., Any]) -> None:
        self.name = name
        self.flags = flags
        self.call = call
        self.function = function

    @property
    def kind(self) -> Literal["unary", "stream"]:
        """Whether a call has one reply or many."""
        return "stream" if self.flags & (GENERATOR | STREAM) else "unary"

    @property
    def thread(self) -> Literal["host", "worker"]:
        """Where the handler runs."""
        return "host" if self.flags & SYNC else "worker"

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
        NotSupportedYetError: it will be served by a later version.
    """
    subject = Subject(f"entry {name!r}", function)
    check_name(name, subject)
    shape = shape_of(function, subject)
    is_generator = _check_kind(shape, options, subject)
    _check_options(options, subject)
    call, takes_callback = positional(function, shape, "payload" if options.raw else "request", subject)
    if is_generator and takes_callback:
        subject.refuse("a generator answers by what it yields, so it takes no callback")
    flags = (
        (SYNC if options.sync else 0)
        | (RAW if options.raw else 0)
        | (GENERATOR if is_generator else 0)
        | (STREAM if options.stream else 0)
        | (CALLBACK if takes_callback else 0)
    )
    return Entry(name, flags, call, function)


def check_hook(what: str, function: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    """Check that a function which is no entry can be called with these positional arguments.

    Args:
        what: the decorator's name, for the message.
        function: the hook.
        arguments: what it will be called with.

    Raises:
        RegistrationError: it takes something else, or is a generator.
        NotSupportedYetError: it is a coroutine function.
    """
    subject = Subject(what, function)
    shape = shape_of(function, subject)
    if shape.code_flags & (COROUTINE | ASYNC_GENERATOR):
        subject.postpone("async def", "write a plain def")
    if shape.code_flags & GENERATOR_FUNCTION:
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


def _check_kind(shape: Shape, options: Options, subject: Subject) -> bool:
    """Whether the handler is a generator function; refuses what cannot run where it was put."""
    is_async = bool(shape.code_flags & (COROUTINE | ASYNC_GENERATOR))
    is_generator = bool(shape.code_flags & GENERATOR_FUNCTION)
    if options.sync and is_async:
        subject.refuse("async def cannot run on the host's thread, where nothing may wait; use @plugin.handle")
    if options.sync and (is_generator or options.stream):
        subject.refuse("a stream cannot run on the host's thread: its receiver exists only after the call returns")
    if is_async:
        subject.postpone("async def", "write a plain def: it runs on a worker thread, where blocking code is fine")
    if is_generator and options.stream:
        subject.refuse("a generator is a stream by itself and ends it when it returns; leave stream=True out")
    return is_generator


def _check_options(options: Options, subject: Subject) -> None:
    if options.sync and options.timeout_s is not None:
        subject.refuse("timeout_s cannot be kept on the host's thread, where nobody else could answer the call")
    if options.sync and options.executor is not None:
        subject.refuse("executor= does not fit a synchronous entry, which runs on the host's thread")
    if options.borrow and not options.sync:
        subject.refuse("borrow=True needs a synchronous entry: the host's memory is gone once its call has returned")
    if options.timeout_s is not None:
        subject.postpone("timeout_s=", "let the host's own time limit stand")
    if options.executor is not None:
        subject.postpone("executor=", "leave it out: the handler runs on the plugin's worker threads")
    if options.codec is not None:
        subject.postpone("codec=", "decode with request.json() and return bytes")
    if options.borrow:
        subject.postpone("borrow=True", "leave it out: request.body is a copy of its own")
