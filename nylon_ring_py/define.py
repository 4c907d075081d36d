"""A plugin from plain functions, for authors who would rather not decorate them."""

from __future__ import annotations

from nylon_ring_py.errors import RegistrationError
from nylon_ring_py.plugin import Plugin
from nylon_ring_py.settings import (
    DEFAULT_CLOSE_TIMEOUT_S,
    DEFAULT_MAX_BUFFERED,
    DEFAULT_MAX_SYNC_STREAMS,
    DEFAULT_SHUTDOWN_TIMEOUT_S,
    DEFAULT_SLOW_CALLBACK_S,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal

    from nylon_ring_py._handlers import (
        Answering,
        AnyDuplexHandler,
        AnyHandler,
        AnyLifespan,
        AnyRawHandler,
        Awaiting,
    )


def define_plugin(
    name: str,
    version: str = "0.0.0",
    *,
    init: Callable[[], object] | None = None,
    shutdown: Callable[[], object] | None = None,
    lifespan: AnyLifespan | None = None,
    entries: Mapping[str, AnyHandler] | None = None,
    sync_entries: Mapping[str, Answering] | None = None,
    raw_entries: Mapping[str, AnyRawHandler] | None = None,
    stream_entries: Mapping[str, Answering | Awaiting] | None = None,
    duplex_entries: Mapping[str, AnyDuplexHandler] | None = None,
    stream_handlers: Mapping[str, Callable[..., object]] | None = None,
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
) -> Plugin:
    """Build a `Plugin` from plain functions.

    Args:
        name: as for `Plugin`.
        version: as for `Plugin`.
        init: run when a host has loaded the plugin, as for `Plugin.on_init`.
        shutdown: run when a host unloads it, as for `Plugin.on_shutdown`.
        lifespan: around both, as for `Plugin.lifespan`.
        entries: functions by entry name, as for `Plugin.handle`.
        sync_entries: as for `Plugin.handle_sync`.
        raw_entries: as for `Plugin.handle_raw`.
        stream_entries: as for `Plugin.handle` with ``stream=True``.
        duplex_entries: as for `Plugin.stream`.
        stream_handlers: ``{"data": f, "close": g}``, as for `Plugin.stream_data` and `Plugin.stream_close`.
        workers: as for `Plugin`.
        max_pending: as for `Plugin`.
        executor: as for `Plugin`.
        config: as for `Plugin`.
        shutdown_timeout_s: seconds, as for `Plugin`.
        timeout_s: seconds, as for `Plugin`.
        idle_timeout_s: seconds, as for `Plugin`.
        close_timeout_s: seconds, as for `Plugin`.
        max_buffered: as for `Plugin`.
        max_sync_streams: as for `Plugin`.
        loops: as for `Plugin`.
        event_loop: as for `Plugin`.
        slow_callback_s: seconds, as for `Plugin`.

    Returns:
        The same object that decorators would have made.

    Raises:
        TypeError: as by `Plugin`.
        ValueError: as by `Plugin`.
        RegistrationError: a function cannot be registered, stream_handlers has another key, or executor is nothing
            that a host can have.
    """
    plugin = Plugin(
        name,
        version,
        workers=workers,
        max_pending=max_pending,
        executor=executor,
        config=config,
        shutdown_timeout_s=shutdown_timeout_s,
        timeout_s=timeout_s,
        idle_timeout_s=idle_timeout_s,
        close_timeout_s=close_timeout_s,
        max_buffered=max_buffered,
        max_sync_streams=max_sync_streams,
        loops=loops,
        event_loop=event_loop,
        slow_callback_s=slow_callback_s,
    )
    for entry, handler in (entries or {}).items():
        plugin.handle(entry)(handler)
    for entry, sync_handler in (sync_entries or {}).items():
        plugin.handle_sync(entry)(sync_handler)
    for entry, raw_handler in (raw_entries or {}).items():
        plugin.handle_raw(entry)(raw_handler)
    for entry, opener in (stream_entries or {}).items():
        plugin.handle(entry, stream=True)(opener)
    for entry, duplex_handler in (duplex_entries or {}).items():
        plugin.stream(entry)(duplex_handler)
    for key, function in (stream_handlers or {}).items():
        if key == "data":
            plugin.stream_data(function)
        elif key == "close":
            plugin.stream_close(function)
        else:
            raise RegistrationError(f"stream_handlers has the key {key!r}; it knows 'data' and 'close'")
    if lifespan is not None:
        plugin.lifespan(lifespan)
    if init is not None:
        plugin.on_init(init)
    if shutdown is not None:
        plugin.on_shutdown(shutdown)
    return plugin
