"""The object an author makes once per file: it collects handlers and hooks, and speaks for the loaded plugin."""

from __future__ import annotations

from types import MappingProxyType

from nylon_ring_py._core import ASYNC
from nylon_ring_py._signature import Subject, is_coroutine_function, location
from nylon_ring_py.entry import Entry, Options, check_hook, check_name, make_entry
from nylon_ring_py.errors import NotBoundError, RegistrationError
from nylon_ring_py.settings import (
    DEFAULT_CLOSE_TIMEOUT_S,
    DEFAULT_MAX_BUFFERED,
    DEFAULT_MAX_SYNC_STREAMS,
    DEFAULT_SHUTDOWN_TIMEOUT_S,
    DEFAULT_SLOW_CALLBACK_S,
    MAX_NAME_BYTES,
    MAX_VERSION_BYTES,
    Settings,
)
from nylon_ring_py.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Literal, Unpack, overload

    from nylon_ring_py._core import Instance
    from nylon_ring_py._decorators import (
        CodedDecorator,
        CodedRawDecorator,
        Decorator,
        RawDecorator,
        RawOptions,
        SyncDecorator,
        SyncOptions,
    )
    from nylon_ring_py._decorators import Options as HandleOptions
    from nylon_ring_py._handlers import (
        CloseHook,
        Codec,
        DataHook,
        DuplexHandler,
        Hook,
        Lifespan,
    )
    from nylon_ring_py.lifespan import Context
    from nylon_ring_py.response import Payload, Response
    from nylon_ring_py.stats import Stats


class Plugin:
    """A nylon-ring plugin. Every decorator gives the function back unchanged, so it stays callable by hand.

    Args:
        name: what hosts see as the plugin's name, at most 64 bytes in UTF-8; it names the logger
            ``nylon_ring.<name>`` too.
        version: what hosts see as its version, at most 48 bytes.
        workers: worker threads, 1 to 1024; None for `settings.default_workers`.
        max_pending: calls that may wait for a worker, and calls of one coroutine entry that may be unanswered, before
            new ones are refused; None for `settings.DEFAULT_MAX_PENDING`.
        executor: where plain handlers with one reply run instead of on the plugin's own workers: any
            `concurrent.futures.Executor`, a dask Client, or a function that makes one when the plugin is loaded.
        config: anything; or where its values come from, see docs/authoring.md, Configuration.
        shutdown_timeout_s: seconds to wait at shutdown for handlers that are running, 0 to 1,000,000.
        timeout_s: seconds from the host's call to the answer ``TimeoutError``, for entries with one reply that are not
            synchronous; None for no limit.
        idle_timeout_s: seconds after which a stream that has moved no frame, in or out, is ended; None for no limit.
        close_timeout_s: seconds a stream's handler has to end after the host has closed its end.
        max_buffered: frames of one stream that may wait for the host before their producer waits.
        max_sync_streams: threads for plain-def duplex handlers; more such streams are refused.
        loops: event loops for coroutine handlers, a thread each, 1 to 64; more than one pays without the GIL only.
        event_loop: ``"asyncio"``, or ``"uvloop"`` where it is installed.
        slow_callback_s: seconds that one step of a coroutine may keep its loop before the log names it, with its stack;
            None for no limit.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of range.
        RegistrationError: executor is nothing that runs calls, or a pool that a host cannot have.
    """

    def __init__(
        self,
        name: str,
        version: str = "0.0.0",
        *,
        workers: int | None = None,
        max_pending: int | None = None,
        executor: object = None,
        config: object = None,
        shutdown_timeout_s: float = DEFAULT_SHUTDOWN_TIMEOUT_S,
        timeout_s: float | None = None,
        idle_timeout_s: float | None = None,
        close_timeout_s: float = DEFAULT_CLOSE_TIMEOUT_S,
        max_buffered: int = DEFAULT_MAX_BUFFERED,
        max_sync_streams: int = DEFAULT_MAX_SYNC_STREAMS,
        loops: int = 1,
        event_loop: Literal["asyncio", "uvloop"] = "asyncio",
        slow_callback_s: float | None = DEFAULT_SLOW_CALLBACK_S,
    ) -> None:
        self.name = _checked_text("name", name, MAX_NAME_BYTES)
        self.version = _checked_text("version", version, MAX_VERSION_BYTES)
        self._settings = Settings(
            workers=workers,
            max_pending=max_pending,
            shutdown_timeout_s=shutdown_timeout_s,
            config=config,
            executor=executor,
            timeout_s=timeout_s,
            idle_timeout_s=idle_timeout_s,
            close_timeout_s=close_timeout_s,
            max_buffered=max_buffered,
            max_sync_streams=max_sync_streams,
            loops=loops,
            event_loop=event_loop,
            slow_callback_s=slow_callback_s,
        )
        if executor is not None:
            _check_executor(executor)
        self._entries: dict[str, Entry] = {}
        self._lifespans: list[Callable[..., Any]] = []
        self._init_hooks: list[Callable[[], object]] = []
        self._shutdown_hooks: list[Callable[[], object]] = []
        self._stream_data: Callable[[int, bytes], object] | None = None
        self._stream_close: Callable[[int], object] | None = None
        self._instance: Instance | None = None

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The registered entries by name, in the order of registration; read-only."""
        return MappingProxyType(self._entries)

    @property
    def workers(self) -> int:
        """Worker threads."""
        return self._settings.workers

    @property
    def max_pending(self) -> int:
        """Calls that may wait for a worker."""
        return self._settings.max_pending

    @property
    def shutdown_timeout_s(self) -> float:
        """Seconds to wait at shutdown for handlers that are running."""
        return self._settings.shutdown_timeout_s

    @property
    def config(self) -> Any:
        """What the author passed as config, and from the load on what was made of it; see docs/authoring.md,
        Configuration. A test may assign what its handlers are to find.

        Raises:
            NotBoundError: it is a class, and no host has loaded the plugin, so its values have not been read.
        """
        value = self._settings.config
        if isinstance(value, type):
            from nylon_ring_py.config import check_read

            check_read(value, self.name)
        return value

    @config.setter
    def config(self, value: object) -> None:
        self._settings.config = value

    @property
    def ctx(self) -> Context:
        """Objects made once and shared by the handlers, as attributes: what lifespans yield, and what is set here."""
        made: Context | None = self.__dict__.get("_ctx")
        if made is None:
            from nylon_ring_py.lifespan import Context

            made = self.__dict__.setdefault("_ctx", Context())  # in one step: several threads may come first
        return made

    if TYPE_CHECKING:

        @overload
        def handle(self, entry: str, *, codec: None = None, **options: Unpack[HandleOptions]) -> Decorator: ...
        @overload
        def handle(self, entry: str, *, codec: Codec, **options: Unpack[HandleOptions]) -> CodedDecorator: ...

    def handle(
        self,
        entry: str,
        *,
        stream: bool = False,
        timeout_s: float | None = None,
        executor: object = None,
        codec: Codec | None = None,
        borrow: bool = False,
        max_pending: int | None = None,
        max_buffered: int | None = None,
        idle_timeout_s: float | None = None,
        close_timeout_s: float | None = None,
    ) -> Callable[[Any], Any]:
        """Register a handler. A plain function runs on a worker thread, where blocking code is fine; a coroutine
        function on the plugin's event loop.

        It takes a `Request`, and a `Callback` if it names a parameter ``callback`` or annotates one so. It returns
        bytes-like, str, None or a `Response`; a generator function, async or not, yields such frames, and the stream
        ends with it. A parameter annotated with a type of payload gets the body, decoded and validated.

        Args:
            entry: the name hosts call; one name space for all kinds of entry.
            stream: leave the stream open when the handler returns; None sends nothing then.
            timeout_s: seconds from the host's call to the answer ``TimeoutError``, whether or not the handler stops.
                None is the plugin's for an entry with one reply, and no limit for a stream; `math.inf` is no limit.
            executor: where it runs instead of on a worker, as for `Plugin`; for plain functions with one reply.
            codec: how bodies and results are encoded: then any plain object may be returned, or yielded.
            borrow: for synchronous entries only.
            max_pending: calls of this entry that may be unanswered before new ones are refused; None for no limit of
                its own.
            max_buffered: as for `Plugin`, for a stream.
            idle_timeout_s: as for `Plugin`, for a stream; `math.inf` is no limit.
            close_timeout_s: as for `Plugin`, for a stream; `math.inf` is no limit.

        Returns:
            The decorator.

        Raises:
            RegistrationError: by the decorator, with the function's file and line and the reason.
        """
        return self._registrar(
            entry,
            Options(
                stream=stream,
                timeout_s=timeout_s,
                executor=executor,
                codec=codec,
                borrow=borrow,
                max_pending=max_pending,
                max_buffered=max_buffered,
                idle_timeout_s=idle_timeout_s,
                close_timeout_s=close_timeout_s,
            ),
        )

    if TYPE_CHECKING:

        @overload
        def handle_sync(self, entry: str, *, codec: None = None, **options: Unpack[SyncOptions]) -> SyncDecorator: ...
        @overload
        def handle_sync(self, entry: str, *, codec: Codec, **options: Unpack[SyncOptions]) -> CodedDecorator: ...

    def handle_sync(
        self,
        entry: str,
        *,
        timeout_s: None = None,
        executor: None = None,
        codec: Codec | None = None,
        borrow: bool = False,
    ) -> Callable[[Any], Any]:
        """Register a handler that runs on the host's own thread: for tiny work only, since the host waits.

        Args:
            entry: the name hosts call.
            timeout_s: cannot be kept here; raises.
            executor: does not fit here; raises.
            codec: as for `handle`.
            borrow: the request's body is a `Body` over the host's memory instead of bytes: returned as it is, it is
                never copied.

        Returns:
            The decorator. It raises as that of `handle`, and for generators and async def.
        """
        return self._registrar(
            entry, Options(sync=True, timeout_s=timeout_s, executor=executor, codec=codec, borrow=borrow)
        )

    if TYPE_CHECKING:

        @overload
        def handle_raw(self, entry: str, *, codec: None = None, **options: Unpack[RawOptions]) -> RawDecorator: ...
        @overload
        def handle_raw(self, entry: str, *, codec: Codec, **options: Unpack[RawOptions]) -> CodedRawDecorator: ...

    def handle_raw(
        self,
        entry: str,
        *,
        sync: bool = False,
        stream: bool = False,
        timeout_s: float | None = None,
        executor: object = None,
        codec: Codec | None = None,
        borrow: bool = False,
        max_pending: int | None = None,
        max_buffered: int | None = None,
        idle_timeout_s: float | None = None,
        close_timeout_s: float | None = None,
    ) -> Callable[[Any], Any]:
        """Register a handler that takes the payload as bytes, and no request.

        Args:
            entry: the name hosts call.
            sync: run on the host's own thread, as `handle_sync` does.
            stream: as for `handle`.
            timeout_s: as for `handle`.
            executor: as for `handle`.
            codec: as for `handle`; the handler gets the payload decoded.
            borrow: as for `handle_sync`.
            max_pending: as for `handle`.
            max_buffered: as for `handle`.
            idle_timeout_s: as for `handle`.
            close_timeout_s: as for `handle`.

        Returns:
            The decorator; it raises as that of `handle`.
        """
        return self._registrar(
            entry,
            Options(
                raw=True,
                sync=sync,
                stream=stream,
                timeout_s=timeout_s,
                executor=executor,
                codec=codec,
                borrow=borrow,
                max_pending=max_pending,
                max_buffered=max_buffered,
                idle_timeout_s=idle_timeout_s,
                close_timeout_s=close_timeout_s,
            ),
        )

    def stream(
        self,
        entry: str,
        *,
        timeout_s: float | None = None,
        max_pending: int | None = None,
        max_buffered: int | None = None,
        idle_timeout_s: float | None = None,
        close_timeout_s: float | None = None,
    ) -> Callable[[DuplexHandler], DuplexHandler]:
        """Register a duplex handler: it gets a `Stream`, one per call, and the stream ends when it returns.

        A coroutine function runs on the plugin's event loop. A plain function has a thread of its own, of which there
        are at most `max_sync_streams`, so that it may wait for frames without holding up other calls.

        Args:
            entry: the name hosts call.
            timeout_s: seconds the whole stream may last.
            max_pending: streams of this entry that may be open before new ones are refused.
            max_buffered: as for `Plugin`.
            idle_timeout_s: as for `Plugin`.
            close_timeout_s: as for `Plugin`.

        Returns:
            The decorator; it raises as that of `handle`.
        """
        return self._registrar(
            entry,
            Options(
                duplex=True,
                timeout_s=timeout_s,
                max_pending=max_pending,
                max_buffered=max_buffered,
                idle_timeout_s=idle_timeout_s,
                close_timeout_s=close_timeout_s,
            ),
        )

    def stream_data(self, function: DataHook) -> DataHook:
        """Register the function that gets ``(sid, data)`` for every frame a host sends into an open stream.

        Raises:
            RegistrationError: it takes something else, or there is one already.
        """
        self._check_single("stream_data", function, ("sid", "data"), self._stream_data)
        self._stream_data = function
        return function

    def stream_close(self, function: CloseHook) -> CloseHook:
        """Register the function that gets ``(sid)`` when a host closes its end of an open stream.

        The stream ends when the function returns, unless it has ended before.

        Raises:
            RegistrationError: it takes something else, or there is one already.
        """
        self._check_single("stream_close", function, ("sid",), self._stream_close)
        self._stream_close = function
        return function

    def on_init(self, function: Hook) -> Hook:
        """Register a function, a coroutine function too, to run when a host has loaded the plugin, before the first
        call; in order of registration. If it raises, the load fails.

        Raises:
            RegistrationError: it takes arguments.
        """
        self._check_hook("on_init", function, (), may_wait=True)
        self._init_hooks.append(function)
        return function

    def on_shutdown(self, function: Hook) -> Hook:
        """Register a function, a coroutine function too, to run when a host unloads the plugin, after the last call;
        the one registered last runs first, as with atexit. One that raises is logged, and the others still run.

        Raises:
            RegistrationError: it takes arguments.
        """
        self._check_hook("on_shutdown", function, (), may_wait=True)
        self._shutdown_hooks.append(function)
        return function

    def lifespan(self, function: Lifespan) -> Lifespan:
        """Register what is set up when a host has loaded the plugin, after the configuration is read and before the
        on_init functions, and taken down after the on_shutdown functions; several in order, and back.

        Args:
            function: a generator function that yields once, async or not, or a function that returns a context
                manager, asynchronous or not. It takes nothing, or the plugin. A mapping that it yields is put on
                `ctx`, by name. If it raises before, the load fails.

        Raises:
            RegistrationError: it takes something else, or is a coroutine function.
        """
        from nylon_ring_py.lifespan import check_lifespan

        check_lifespan(function)
        self._check_open(Subject("lifespan", function))
        self._lifespans.append(function)
        return function

    def stats(self) -> Stats:
        """Counts and times of every entry since the load.

        Raises:
            NotBoundError: no host has loaded the plugin.
        """
        from nylon_ring_py.stats import read_stats

        return read_stats(self._bound_instance("stats").stats(), self._entries)

    def send_result(self, sid: int, status: int | None = None, data: Payload | Response = None) -> bool:
        """Answer an open call, or send a frame of an open stream, from any thread.

        Args:
            sid: the call or stream, from `Request.sid`.
            status: any that can be sent; None for that of a `Response`, and OK with other data. A unary call ends with
                the first reply, a stream with the first that is not OK.
            data: bytes-like as it is, str in UTF-8, None for an empty payload, or a `Response`.

        Returns:
            True when it was taken; False, and nothing is sent, when the call or stream has ended.

        Raises:
            NotBoundError: no host has loaded the plugin.
            LookupError: the plugin has never had such a sid.
            ValueError: the status cannot be sent.
        """
        return self._bound_instance("send_result").send_result(sid, status, data)

    def state(self, sid: int) -> State:
        """The state of an open call or stream.

        Args:
            sid: the call or stream, from `Request.sid`.

        Returns:
            The same values as `Request.state` of that call.

        Raises:
            NotBoundError: no host has loaded the plugin.
        """
        return State(self._bound_instance("state"), sid)

    def __repr__(self) -> str:
        return f"Plugin({self.name!r}, {self.version!r}, entries={list(self._entries)!r})"

    def _bind(self, instance: Instance) -> None:
        """Tie the plugin to the one instance that a host has loaded; from now on nothing can be registered."""
        if self._instance is not None:
            raise RuntimeError(
                f"plugin {self.name!r} is loaded already, and one Plugin object serves one load: make it in the "
                "plugin's own module, of which every load has its own, and not in an installed library"
            )
        self._instance = instance

    def _unbind(self) -> None:
        self._instance = None
        if "_config_as_given" in self.__dict__:  # the next load reads it anew
            self._settings.config = self.__dict__.pop("_config_as_given")

    def _read_config(self, origin: str) -> None:
        """Make `config` what the file beside `origin` and the environment say, where it is a class or a mapping."""
        if self._settings.config is not None:
            from nylon_ring_py.config import read_config

            given = self._settings.config
            self._settings.config = read_config(given, self.name, origin)
            self.__dict__["_config_as_given"] = given

    def _needs_loop(self) -> bool:
        """Whether anything here runs on an event loop."""
        hooks = (*self._init_hooks, *self._shutdown_hooks)
        if any(entry.flags & ASYNC for entry in self._entries.values()) or any(map(is_coroutine_function, hooks)):
            return True
        if not self._lifespans:
            return False
        from nylon_ring_py.lifespan import may_be_asynchronous

        return any(map(may_be_asynchronous, self._lifespans))

    def _bound_instance(self, method: str) -> Instance:
        if self._instance is None:
            raise NotBoundError(
                f"plugin.{method}() was called outside a host: plugin {self.name!r} is not loaded, so there is nobody "
                "to send to. Call it from handlers, from on_init on, and not after shutdown"
            )
        return self._instance

    def _registrar(self, entry: str, options: Options) -> Callable[[Any], Any]:
        """The decorator behind every kind of entry."""
        if callable(entry):  # the decorator's parentheses were forgotten: nothing would ever be registered
            check_name(entry, Subject("decorator", entry))

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            made = make_entry(entry, function, options)
            subject = Subject(f"entry {entry!r}", function)
            self._check_open(subject)
            other = self._entries.get(entry)
            if other is not None:
                subject.refuse(
                    f"the name is taken by {location(other.function)}; all kinds of entry share one name space"
                )
            self._entries[entry] = made
            return function

        return register

    def _check_hook(
        self, what: str, function: Callable[..., Any], arguments: tuple[str, ...], *, may_wait: bool = False
    ) -> None:
        check_hook(what, function, arguments, may_wait=may_wait)
        self._check_open(Subject(what, function))

    def _check_single(
        self, what: str, function: Callable[..., Any], arguments: tuple[str, ...], other: Callable[..., Any] | None
    ) -> None:
        self._check_hook(what, function, arguments)
        if other is not None:
            Subject(what, function).refuse(f"a plugin has one {what} function, and it has {location(other)} already")

    def _check_open(self, subject: Subject) -> None:
        if self._instance is not None:
            subject.refuse("the plugin is loaded already: register everything while its module is imported")


def _check_executor(executor: object) -> None:
    from nylon_ring_py.executors import check_executor

    try:
        check_executor(executor)
    except (TypeError, ValueError) as wrong:
        raise RegistrationError(f"Plugin: {wrong}") from None


def _checked_text(what: str, text: str, max_bytes: int) -> str:
    if not isinstance(text, str):
        raise TypeError(f"the {what} of a plugin is a str, not {type(text).__name__}")
    if not text or "\0" in text:
        raise ValueError(f"the {what} of a plugin is {text!r}, but it can neither be empty nor have a NUL")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError(f"the {what} of a plugin is {text!r}, but hosts read UTF-8, which has no surrogates") from None
    if size > max_bytes:
        raise ValueError(f"the {what} of a plugin has {size} bytes in UTF-8; the limit is {max_bytes}")
    return text
