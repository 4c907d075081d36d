"""One loaded plugin as the core sees it: from its archive to its entries, and back to nothing. Needs the GIL."""

from __future__ import annotations

import sys
import time

from nylon_ring_py._core import ASYNC, CALLBACK, DUPLEX, runs_python
from nylon_ring_py._limits import core_limits
from nylon_ring_py.entry import executor_of
from nylon_ring_py.errors import PluginLookupError, describe_exception
from nylon_ring_py.logs import ExceptionLog
from nylon_ring_py.plugin import Plugin

TYPE_CHECKING = False
if TYPE_CHECKING:
    import traceback
    from collections.abc import Callable, Mapping
    from types import ModuleType
    from typing import Any, TypeAlias

    from nylon_ring_py._core import Instance, LoopFeed
    from nylon_ring_py._dispatch import Executors
    from nylon_ring_py._importer import PluginImporter
    from nylon_ring_py._loop import Loops
    from nylon_ring_py._remote import PluginFiles
    from nylon_ring_py.entry import Entry
    from nylon_ring_py.lifespan import Lifespans

    CoreEntry: TypeAlias = tuple[str, int, Callable[..., Any], int, int, int, int, int]


COLLECTION_PATIENCE_S = 1.0
"""How long an unload waits for another thread's garbage collection to end, in seconds: finalizers are short."""


def prepare_runtime() -> None:
    """Make a fresh interpreter that is ours fit for plugins. Called once, on the thread that started it."""
    import gc

    from nylon_ring_py._importer import install_finder

    install_finder()
    if sys.version_info[:3] == (3, 13, 0):
        import collections.abc  # noqa: F401  # it may come out empty if two threads import it at once (gh-125245)
    for stream in (sys.stdout, sys.stderr):  # None where the host has closed the descriptor
        reconfigure = getattr(stream, "reconfigure", None)  # a sitecustomize may have put anything there
        if reconfigure is not None:
            reconfigure(line_buffering=True)
    gc.freeze()  # collections are shorter without the modules that no plugin's unloading ends


def start(instance: Instance, archive: bytes, boot: Mapping[str, str], origin: str) -> Session:
    """Import a plugin from its archive and bind it to its instance.

    Args:
        instance: the loaded plugin's way to its host.
        archive: the plugin's files.
        boot: the boot record: `module` and `object` say where the Plugin is, `name` what the plugin is called.
        origin: the path of the plugin file, for tracebacks and messages.

    Returns:
        The session.

    Raises:
        PluginLookupError: the boot record is incomplete, or names something that is no Plugin.
        BaseException: whatever the plugin's module raises. In every case all is undone.
    """
    from nylon_ring_py._importer import PluginImporter

    if not runs_python():
        import threading  # noqa: F401  # whoever imports it first is the program's main thread to it: no worker
    module_name, object_name = _boot_value(boot, "module", origin), _boot_value(boot, "object", origin)
    name = boot.get("name") or module_name
    importer = PluginImporter(archive=archive, name=name, module=module_name, origin=origin)
    try:
        plugin = _find_plugin(importer.load(), object_name, origin)
        session = Session(plugin, importer, origin)
        if _names_executors(plugin):
            from nylon_ring_py._remote import PluginFiles

            session._take_executors(PluginFiles.of_archive(archive, name, module_name, object_name, origin))
        plugin._bind(instance)
        return session
    except BaseException:
        log = ExceptionLog(name)
        _run_exit_callbacks(importer, log)
        _attempt(log, "unloading the plugin's modules", importer.unload)
        raise


def start_local(instance: Instance, plugin: Plugin) -> Session:
    """Bind a plugin of this interpreter, which no archive holds: for `nylon_ring_py.testing`.

    Args:
        instance: the plugin's way to its host.
        plugin: has no host yet.

    Returns:
        The session. Its end leaves the plugin's modules as they are, and `plugin` fit for another one.

    Raises:
        RuntimeError: the plugin is loaded already.
    """
    session = Session(plugin, None)
    if _names_executors(plugin):
        from nylon_ring_py._remote import PluginFiles

        session._take_executors(PluginFiles.of_plugin(plugin))
    plugin._bind(instance)
    return session


def failure_text(exc: BaseException) -> str:
    """Explain why a plugin could not start, for stderr. Never raises.

    Args:
        exc: what `start` or `Session.run_init` raised.

    Returns:
        The traceback from the plugin's own frames on, then the prefix and sys.path it was run with.
    """
    try:
        import traceback

        explained = traceback.TracebackException.from_exception(exc)
        _drop_own_frames(explained, set())
        lines = "".join(explained.format())
    except BaseException as broken:
        message = describe_exception(exc)[1].decode()
        lines = f"{message}\n(its traceback cannot be shown: {type(broken).__name__})\n"
    path = "".join(f"  {entry}\n" for entry in sys.path)
    return f"{lines}Python {sys.version.split()[0]}, prefix {sys.prefix}, sys.path:\n{path}"


class Session:
    """A bound plugin and the importer that holds its modules.

    Args:
        plugin: what the importer's module holds.
        importer: has loaded it; None for a plugin whose modules are this interpreter's own.
        origin: the path of the plugin file, beside which its configuration may be; empty where there is none.
    """

    def __init__(self, plugin: Plugin, importer: PluginImporter | None, origin: str = "") -> None:
        self._plugin: Plugin | None = plugin
        self._importer: PluginImporter | None = importer
        self._origin = origin
        self._lifespans: Lifespans | None = None
        self._log = ExceptionLog(plugin.name)
        self._executors: Executors | None = None
        self.stream_data = plugin._stream_data
        self.stream_close = plugin._stream_close
        self.workers = plugin.workers
        self.max_pending = plugin.max_pending
        self.shutdown_timeout_s = plugin.shutdown_timeout_s
        settings = plugin._settings
        self.slow_callback_s = 0.0 if settings.slow_callback_s == float("inf") else settings.slow_callback_s
        kinds = [entry.flags & (ASYNC | DUPLEX) for entry in plugin.entries.values()]
        self.max_sync_streams = settings.max_sync_streams if DUPLEX in kinds else 0
        self.loops = 0
        self._loops: Loops | None = None
        if plugin._needs_loop():
            from nylon_ring_py._loop import Loops

            self._loops = Loops(settings.event_loop, self._log)
            self.loops = settings.loops if any(kind & ASYNC for kind in kinds) else 1

    describe_exception = staticmethod(describe_exception)

    def entries(self) -> list[CoreEntry]:
        """The entries as the core wants them: name, flags, what to call by position, and the limits."""
        return [] if self._plugin is None else [self._entry(self._plugin, e) for e in self._plugin.entries.values()]

    def run_loop(self, feed: LoopFeed) -> None:
        """Be one of the plugin's event loops, on this thread, until the core stops it."""
        if self._loops is not None:
            self._loops.serve(feed)

    def log_slow(self, entry: str | None, sid: int, seconds: float, ident: int) -> None:
        """Say that something keeps an event loop from its other work. Never raises.

        Args:
            entry: whose handler it is; None where it is none's own step.
            sid: its call.
            seconds: for how long so far.
            ident: the loop's thread; 0 where it has gone on meanwhile.
        """
        from nylon_ring_py._loop import describe_thread

        what = "a callback or a task of its own" if entry is None else f"entry {entry!r} (sid {sid})"
        stack = describe_thread(ident) if ident else ""
        where = f"; it stands at:\n{stack}" if stack else "; it has gone on before its stack could be read"
        self._log.warning(f"{what} has kept the event loop for {seconds:.3g} s, and all its other calls wait{where}")

    def log_exception(self, where: str, sid: int | None, exc: BaseException) -> None:
        """Write an exception to the plugin's log. Never raises.

        Args:
            where: what raised, for example ``entry 'feed'``.
            sid: the call, or None where there was none.
            exc: what was raised.
        """
        self._log.exception(where, sid, exc)

    def run_init(self) -> None:
        """Read the configuration, make the executors, enter the lifespans and run the on_init hooks, all in order.

        Raises:
            BaseException: what a step raised. The later ones are left out, the lifespans that were entered have been
                left, and the plugin's atexit callbacks have run; `unload` comes next.
        """
        if self._plugin is None:
            return
        try:
            self._plugin._read_config(self._origin)
            if self._executors is not None:
                self._executors.open()
            if self._plugin._lifespans:
                from nylon_ring_py.lifespan import Lifespans

                self._lifespans = Lifespans(self._plugin, self._loops, self._log)
                self._lifespans.enter()
            for hook in self._plugin._init_hooks:
                self._run_hook("on_init", hook)
        except BaseException:
            self._leave_lifespans()
            self._leave()
            raise

    def run_shutdown(self, loop_stands_still: bool = False) -> None:
        """Run the on_shutdown hooks, the last one first, leave the lifespans, the last one first, and end the
        executors; then run the plugin's atexit callbacks, and flush logging and the standard streams. What fails is
        logged, and the rest still runs. Never raises.

        Args:
            loop_stands_still: the first event loop's thread waits for the end of the shutdown.
        """
        if self._plugin is None:
            return
        until = time.monotonic() + self.shutdown_timeout_s
        if self._loops is not None:
            self._loops.limit(until, loop_stands_still)
        for hook in reversed(self._plugin._shutdown_hooks):
            try:
                self._run_hook("on_shutdown", hook)
            except BaseException as exc:
                self._log.exception(f"on_shutdown {getattr(hook, '__qualname__', hook)}", None, exc)
        self._leave_lifespans()
        self._close_executors(until)
        self._leave()

    def unload(self) -> None:
        """Let the plugin go: its binding, its modules, every reference from here. A second call does nothing."""
        plugin, importer, executors = self._plugin, self._importer, self._executors
        self._close_executors(0.0)  # a failed init has left them open
        self._plugin = self._importer = self._executors = self.stream_data = self.stream_close = None
        if plugin is not None:
            plugin._unbind()
        if importer is not None:
            _attempt(self._log, "unloading the plugin's modules", importer.unload)
        del plugin, importer
        _collect_garbage(COLLECTION_PATIENCE_S)
        if executors is not None:
            _attempt(self._log, "ending what executors have left", executors.leave)

    def _take_executors(self, files: PluginFiles) -> None:
        """Have entries run in the executors that the plugin names, which may need its files elsewhere."""
        from nylon_ring_py._dispatch import Executors

        self._executors = Executors(files, self._log)

    def _entry(self, plugin: Plugin, entry: Entry) -> CoreEntry:
        executor = executor_of(entry, plugin._settings)
        flags, call = entry.flags, entry.call
        if executor is not None and self._executors is not None:
            flags, call = flags | CALLBACK, self._executors.dispatcher(entry, executor)
        return entry.name, flags, call, *core_limits(entry, plugin._settings)

    def _close_executors(self, until: float) -> None:
        executors = self._executors
        if executors is not None:
            _attempt(self._log, "ending the executors", lambda: executors.close(until))

    def _run_hook(self, what: str, hook: Callable[[], object]) -> None:
        made = hook()
        if hasattr(made, "__await__"):
            from nylon_ring_py.lifespan import await_hook

            await_hook(what, hook, made, self._loops)

    def _leave_lifespans(self) -> None:
        if self._lifespans is not None:
            self._lifespans.leave()
            self._lifespans = None

    def _leave(self) -> None:
        if self._importer is not None:
            _run_exit_callbacks(self._importer, self._log)
        self._log.flush()
        _attempt(self._log, "flushing logging", lambda: _flush_logging(self._log))
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not getattr(stream, "closed", False):
                _attempt(self._log, "flushing the standard streams", stream.flush)


def _names_executors(plugin: Plugin) -> bool:
    return any(executor_of(entry, plugin._settings) is not None for entry in plugin.entries.values())


def _boot_value(boot: Mapping[str, str], key: str, origin: str) -> str:
    value = boot.get(key)
    if not value:
        raise PluginLookupError(f"the boot record of {origin} has no {key!r}: build the plugin again")
    return value


def _find_plugin(module: ModuleType, object_name: str, origin: str) -> Plugin:
    found: object = module
    for attribute in object_name.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            held = [name for name, value in vars(module).items() if isinstance(value, Plugin)]
            raise PluginLookupError(
                f"{origin} was built for the object {object_name!r}, but its module has none when it runs under this "
                f"host (it has the Plugin objects: {', '.join(held) or 'none'}); make it at the module's top level"
            ) from None
    if not isinstance(found, Plugin):
        raise PluginLookupError(
            f"{object_name!r} in {origin} is of type {type(found).__name__}, not a nylon_ring_py.Plugin; "
            "build it again with FILE:OBJECT naming the Plugin"
        )
    return found


def _run_exit_callbacks(importer: PluginImporter, log: ExceptionLog) -> None:
    for exc in importer.run_exit_callbacks():
        log.exception("an atexit callback", None, exc)


def _collect_garbage(patience_s: float) -> None:
    """Collect all that is unreachable now.

    `gc.collect` does nothing while another thread's collection stands in a finalizer, and does not say so.

    Args:
        patience_s: how long to try, in seconds; what is left then is the next collection's.
    """
    import gc
    from _thread import get_ident

    me, begun, until = get_ident(), False, time.monotonic() + patience_s

    def watch(phase: str, info: Mapping[str, int]) -> None:
        nonlocal begun
        begun = begun or (info["generation"] == 2 and get_ident() == me)

    gc.callbacks.append(watch)
    try:
        gc.collect()
        while not begun and time.monotonic() < until:
            time.sleep(0.001)
            gc.collect()
    finally:
        gc.callbacks.remove(watch)


def _attempt(log: ExceptionLog, what: str, step: Callable[[], object]) -> None:
    try:
        step()
    except BaseException as exc:
        log.exception(what, None, exc)


def _flush_logging(log: ExceptionLog) -> None:
    """Flush every handler that a logger has; they stay open, since a host that is itself Python may own them."""
    if "logging" not in sys.modules:
        return
    import logging  # by import, which waits where another thread is in the middle of its own

    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    handlers = {id(each): each for logger in loggers for each in getattr(logger, "handlers", ())}
    for handler in handlers.values():
        _attempt(log, "flushing a logging handler", handler.flush)


_OWN_FILES = tuple(__file__.replace("_session.py", name) for name in ("_session.py", "_importer.py"))


def _drop_own_frames(explained: traceback.TracebackException, seen: set[int]) -> None:
    """Remove the frames of this file, the importer and importlib, in causes, contexts and groups too."""
    if id(explained) in seen:
        return
    seen.add(id(explained))
    explained.stack[:] = [
        frame
        for frame in explained.stack
        if frame.filename not in _OWN_FILES and not frame.filename.startswith("<frozen importlib")
    ]
    related = (explained.__cause__, explained.__context__, *(getattr(explained, "exceptions", None) or ()))
    for other in related:
        if other is not None:
            _drop_own_frames(other, seen)
