"""A plugin from plain functions, for authors who would rather not decorate them."""

from __future__ import annotations

from nylon_ring_py.errors import RegistrationError
from nylon_ring_py.plugin import Plugin
from nylon_ring_py.settings import DEFAULT_SHUTDOWN_TIMEOUT_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nylon_ring_py._handlers import Answering, AnyHandler, AnyRawHandler


def define_plugin(
    name: str,
    version: str = "0.0.0",
    *,
    init: Callable[[], object] | None = None,
    shutdown: Callable[[], object] | None = None,
    entries: Mapping[str, AnyHandler] | None = None,
    sync_entries: Mapping[str, Answering] | None = None,
    raw_entries: Mapping[str, AnyRawHandler] | None = None,
    stream_entries: Mapping[str, Answering] | None = None,
    stream_handlers: Mapping[str, Callable[..., object]] | None = None,
    workers: int | None = None,
    max_pending: int | None = None,
    config: object = None,
    shutdown_timeout_s: float = DEFAULT_SHUTDOWN_TIMEOUT_S,
) -> Plugin:
    """Build a `Plugin` from plain functions.

    Args:
        name: as for `Plugin`.
        version: as for `Plugin`.
        init: run when a host has loaded the plugin.
        shutdown: run when a host unloads it.
        entries: functions by entry name, as for `Plugin.handle`.
        sync_entries: as for `Plugin.handle_sync`.
        raw_entries: as for `Plugin.handle_raw`.
        stream_entries: as for `Plugin.handle` with ``stream=True``.
        stream_handlers: ``{"data": f, "close": g}``, as for `Plugin.stream_data` and `Plugin.stream_close`.
        workers: as for `Plugin`.
        max_pending: as for `Plugin`.
        config: as for `Plugin`.
        shutdown_timeout_s: seconds, as for `Plugin`.

    Returns:
        The same object that decorators would have made.

    Raises:
        RegistrationError: a function cannot be registered, or stream_handlers has another key.
    """
    plugin = Plugin(
        name,
        version,
        workers=workers,
        max_pending=max_pending,
        config=config,
        shutdown_timeout_s=shutdown_timeout_s,
    )
    for entry, handler in (entries or {}).items():
        plugin.handle(entry)(handler)
    for entry, sync_handler in (sync_entries or {}).items():
        plugin.handle_sync(entry)(sync_handler)
    for entry, raw_handler in (raw_entries or {}).items():
        plugin.handle_raw(entry)(raw_handler)
    for entry, opener in (stream_entries or {}).items():
        plugin.handle(entry, stream=True)(opener)
    for key, function in (stream_handlers or {}).items():
        if key == "data":
            plugin.stream_data(function)
        elif key == "close":
            plugin.stream_close(function)
        else:
            raise RegistrationError(f"stream_handlers has the key {key!r}; it knows 'data' and 'close'")
    if init is not None:
        plugin.on_init(init)
    if shutdown is not None:
        plugin.on_shutdown(shutdown)
    return plugin
