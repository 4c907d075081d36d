"""The C extension: requests, callbacks and loaded plugins. It dispatches calls to handlers and carries replies out."""

from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final, Self, SupportsIndex, TypeVar, final, overload

from nylon_ring_py.request import Args
from nylon_ring_py.response import Payload, Response
from nylon_ring_py.state import State

_T = TypeVar("_T")

SYNC: Final = 1
"""The entry runs on the host's own thread."""
RAW: Final = 2
"""The handler gets the payload as bytes, and no request."""
GENERATOR: Final = 4
"""The handler is a generator function: a stream of what it yields, ended when it returns."""
STREAM: Final = 8
"""The entry opens a stream that stays open when the handler returns."""
CALLBACK: Final = 16
"""The handler takes a callback as its second argument."""
ASYNC: Final = 32
"""Calling the handler gives a coroutine, which runs on an event loop."""
DUPLEX: Final = 64
"""The handler takes a `Stream`; without `ASYNC` it has a thread of its own."""
BORROW: Final = 128
"""The payload is a `Body` over the host's memory."""

def call_on_main_thread(function: Callable[[], _T], /) -> _T | None:
    """Call a function on Python's main thread, where that is the runtime's, and wait for it.

    It runs on the caller's thread where Python is the host's own, and in a child of fork.

    Args:
        function: what to call.

    Returns:
        What it returned; None where the main thread does not come within a second: then it runs later.

    Raises:
        BaseException: what it raised.
    """

def clock() -> float:
    """The time in seconds that deadlines are kept by: that of `time.monotonic`, unless a test moves it by hand."""

def fork_exec(*args: object) -> int:
    """`_posixsubprocess.fork_exec`; on a thread of the core's the child has the mask of the program's main thread.

    Raises:
        BaseException: what that one raises.
    """

def handler_left() -> None:
    """End this process if it is a child of fork that was made in the handler which has just been left."""

def runs_python() -> bool:
    """Whether the core has started this Python; False in a host that is itself Python."""

def take_response_type(type: type[Response], /) -> None:
    """Take what of it is returned or sent for data with a status. The first one stays."""

@final
class Body:
    """The payload of an entry with ``borrow=True``, where it lies in the host's memory.

    Returned as it is from the handler, it is never copied. A buffer of it (``memoryview``, a library that takes
    bytes-like objects), a comparison and every method of bytes copies it, once; its length, an item and a slice do not.
    What of it is kept when the call ends is copied then. Type checkers may take it for bytes, which it is not at run
    time: ``bytes(body)`` is.
    """

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, key: SupportsIndex, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> bytes: ...
    def __iter__(self) -> Iterator[int]: ...
    def __bytes__(self) -> bytes: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getattr__(self, name: str, /) -> Any:
        """What bytes have under that name."""

@final
class Headers:
    """The headers of a request: a read-only multi-mapping that keeps order and repeats, and takes names in any case.

    Text is decoded as UTF-8 with surrogateescape when it is read, so that a latin-1 value does no harm; `raw` has
    the bytes. ``len()`` counts pairs, iterating gives each name once. Equal are equal pairs in equal order; the case of
    a name does not count.

    Args:
        pairs: names and values in order; str is encoded as it would be decoded.

    Raises:
        TypeError: a name or a value is neither str nor bytes.
        ValueError: an item is no pair.
    """

    def __new__(cls, pairs: Iterable[tuple[str | bytes, str | bytes]] = ()) -> Self: ...
    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """The pairs as the host passed them."""
    def __getitem__(self, name: str, /) -> str:
        """The first value of a header; KeyError where there is none."""
    @overload
    def get(self, name: str) -> str | None:
        """The first value of a header, or `default` where there is none."""
    @overload
    def get(self, name: str, default: _T) -> str | _T: ...
    def get_all(self, name: str, /) -> list[str]:
        """Every value of a header in order; an empty list where there is none."""
    def keys(self) -> list[str]:
        """Each name once, in the order and the spelling of its first appearance."""
    def values(self) -> list[str]:
        """The value of every pair, in order."""
    def items(self) -> list[tuple[str, str]]:
        """Every pair in order, repeats included."""
    def __contains__(self, name: object, /) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class Request:
    """One call as a handler sees it. Fields become Python objects when they are first read.

    The host makes requests; the constructor is for an author's tests.

    Args:
        method: for example ``GET``.
        path: for example ``/orders/7``.
        query: raw, without the question mark.
        headers: pairs of names and values in order; str is encoded as UTF-8 with surrogateescape.
        body: the payload.
        entry: the name the call came in under.
        sid: the host's number of the call, an unsigned 64-bit integer.
        has_metadata: whether the call came with a request, and not as a bare payload.

    It can be pickled, all but its state: reading that of a copy raises `NotBoundError`.
    """

    def __init__(
        self,
        *,
        method: str = "",
        path: str = "",
        query: str = "",
        headers: Iterable[tuple[str | bytes, str | bytes]] = (),
        body: bytes = b"",
        entry: str = "",
        sid: int = 0,
        has_metadata: bool = True,
    ) -> None: ...
    @property
    def method(self) -> str:
        """The method; '' in a call without metadata."""
    @property
    def path(self) -> str:
        """The path; '' in a call without metadata."""
    @property
    def query(self) -> str:
        """The query as it came, without the question mark; '' in a call without metadata."""
    @property
    def entry(self) -> str:
        """The name of the entry that was called."""
    @property
    def body(self) -> bytes:
        """The payload."""
    @property
    def sid(self) -> int:
        """The host's number of this call or stream."""
    @property
    def has_metadata(self) -> bool:
        """Whether the host passed a method, path, query and headers at all: a raw call has none."""
    @property
    def headers_raw(self) -> list[tuple[bytes, bytes]]:
        """The header pairs as the host passed them."""
    @property
    def headers(self) -> Headers:
        """The headers, with names in any case."""
    @property
    def args(self) -> Args:
        """The query, parsed."""
    @property
    def state(self) -> State:
        """Values kept for this sid until its terminal reply. Of its own in a request made by hand."""
    def json(self) -> Any:
        """Decode the body from JSON.

        Raises:
            HandlerError: `Status.INVALID`, the body is no JSON.
        """
    def msgpack(self) -> Any:
        """Decode the body from MessagePack.

        Raises:
            HandlerError: `Status.INVALID`, the body is no MessagePack.
            MissingDependencyError: msgpack is not installed.
        """

@final
class Callback:
    """Answers one call, now or later, from any thread. Dropped unanswered, it answers `Status.ERR` by itself."""

    @property
    def sid(self) -> int:
        """The host's number of the call."""
    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the answer any more, as `Call.cancelled` tells."""
    def _enter(self) -> None:
        """Have `current_call` name this call in the current context, whatever the thread."""
    def __call__(self, data: Payload | Response = None, status: int | None = None) -> bool:
        """Answer the call.

        Args:
            data: bytes-like as it is, str in UTF-8, None for an empty payload, or a `Response`.
            status: any status that can be sent; None for that of a `Response`, and `Status.OK` with other data.

        Returns:
            True when the answer was taken, False when the call was already answered.

        Raises:
            TypeError: data is none of these.
            ValueError: the status cannot be sent.
        """

@final
class Call:
    """One call, for the code that works for it; see `current_call`."""

    @property
    def sid(self) -> int:
        """The host's number of this call or stream."""
    @property
    def entry(self) -> str:
        """The name of the entry that was called."""
    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the answer any more: the call has ended, by its deadline or another's answer, its
        stream is to end, or the plugin is shutting down. Long work looks at it now and then, and stops.
        """

def current_call() -> Call:
    """The call this thread or task works for; tasks and threads that a coroutine handler starts with its context too.

    Raises:
        LookupError: there is none.
    """

@final
class Stream:
    """Both directions of one duplex stream, given to a ``@plugin.stream`` handler.

    Iterating gives the frames the host sends, as bytes, and ends when the host has closed its end; the handler may go
    on sending. The stream ends with `Status.STREAM_END` when the handler returns. In a plain function ``for`` and
    ``send`` wait; in a coroutine ``async for`` and ``await send`` do.
    """

    @property
    def sid(self) -> int:
        """The host's number of this stream."""
    @property
    def entry(self) -> str:
        """The name of the entry that was called."""
    @property
    def request(self) -> Request:
        """The request that opened the stream."""
    @property
    def state(self) -> State:
        """Values kept for this stream until its end."""
    @property
    def closed(self) -> bool:
        """Whether the stream has ended: nothing can be sent any more."""
    @property
    def cancelled(self) -> bool:
        """Whether it is to end, as `Call.cancelled` tells."""
    def __iter__(self) -> Self: ...
    def __next__(self) -> bytes: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Awaitable[bytes]: ...
    def send(self, data: Payload | Response) -> Awaitable[None]:
        """Send a frame. Waits where the host has left `max_buffered` frames waiting; a coroutine awaits the result.

        Raises:
            TypeError: data is neither bytes-like nor str, None or a `Response`.
            CallEndedError: the stream has ended.
        """
    def close(self, status: int = 4, data: Payload = None) -> bool:
        """End the stream before the handler returns.

        Args:
            status: how: `Status.STREAM_END`, or a failure with its message as `data`.
            data: the last frame's payload.

        Returns:
            False where it had ended before.

        Raises:
            ValueError: the status is `Status.OK`, which ends nothing, or one that cannot be sent.
        """
    def _look(self) -> None:
        """Wake the tasks that can go on."""
    def _acknowledge(self) -> None: ...

@final
class LoopFeed:
    """What hands calls to one event loop."""

    @property
    def number(self) -> int:
        """Which of the plugin's loops it is, from 0."""
    @property
    def stopping(self) -> bool:
        """Whether the event loop is to end."""
    def fileno(self) -> int:
        """The descriptor that is readable when `drain` is to be called."""
    def bind(self, event_loop: object) -> None:
        """Say that the event loop is there, and about to run."""
    def drain(self) -> None:
        """Begin the calls that are queued. On the event loop's thread."""
    def dismiss(self) -> None:
        """End the tasks that wait for a call, once no more will come. On the event loop's thread."""

@final
class Instance:
    """One loaded plugin: what it can ask of its host. Made by the core."""

    def send_result(self, sid: int, status: int | None, data: Payload | Response = None) -> bool:
        """Send a reply or a frame.

        Args:
            sid: an open call or stream.
            status: one that can be sent, which stands over that of a `Response`; None for that one, and OK with other
                data.
            data: bytes-like, str in UTF-8, None for an empty payload, or a `Response`.

        Returns:
            True when it was taken, False when the call or stream has ended.

        Raises:
            LookupError: this plugin has never had such a sid.
            TypeError: the status is no integer.
            ValueError: the status cannot be sent.
        """
    def stats(self) -> dict[str, Any]:
        """What is counted; `nylon_ring_py.stats` names the fields."""
    @property
    def late_replies(self) -> int:
        """How many replies came after their call had ended, and were dropped."""
    def state_set(self, sid: int, key: str, value: bytes) -> None:
        """Keep a value until the terminal reply.

        Raises:
            CallEndedError: that reply is out already.
        """
    def state_get(self, sid: int, key: str) -> bytes | None:
        """Give the value kept under a key, or None."""

@final
class FakeHost:
    """A host in this process over a live plugin; `nylon_ring_py.testing` is its face. Any thread may call it.

    Args:
        plugin: a `Plugin`, not loaded.
        name: what messages call it.
        v2: which ABI it looks like.
        capacity: frames of a v2 stream that may wait to be read; 0 for any number.
        manual: whether time stands until `advance`.

    Raises:
        RuntimeError: the plugin is loaded already, or a host with another clock is open.
        BaseException: what an on_init hook raised.
    """

    def __new__(cls, plugin: object, name: str, v2: bool, capacity: int, manual: bool) -> Self: ...
    def handle(
        self,
        entry: bytes,
        sid: int,
        request: tuple[bytes, bytes, bytes, tuple[tuple[bytes, bytes], ...]] | None,
        body: bytes | bytearray | memoryview,
        is_stream: bool,
    ) -> int:
        """Make a call; `sid` counts up from 1. Returns the number of the status that the plugin answered."""
    def stream_data(self, sid: int, data: bytes | bytearray | memoryview) -> int:
        """Send a frame into a stream. Returns what the plugin answered."""
    def stream_close(self, sid: int) -> int:
        """Close the input of a stream. Returns what the plugin answered."""
    def take(self) -> list[tuple[int, int, bytes]]:
        """Wait for what the plugin sends: sid, status and payload, in order. Empty: it was closed, nothing follows."""
    def read(self, sid: int) -> None:
        """Tell that a frame has been read: there is room for the next, which is fetched if it was refused."""
    def drop(self, sid: int) -> None:
        """Tell that nobody reads for this sid any more."""
    def advance(self, seconds: float) -> None:
        """Move a clock that stands.

        Raises:
            ValueError: backwards.
            RuntimeError: it does not stand.
        """
    def event_loops(self) -> list[AbstractEventLoop]:
        """The plugin's event loops that run."""
    def close(self) -> None:
        """Shut the plugin down. A second call does nothing."""
    @property
    def refused_frames(self) -> int:
        """How often a frame was answered Backpressure."""
