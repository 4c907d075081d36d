"""The far end of a call that an executor has taken to another process: there a plugin is loaded without a host.

What travels is a `RemoteJob` with the request by value, and an `Outcome` back. The plugin's archive travels when it is
asked for: a process keeps every plugin it has loaded, by the digest of its archive.
"""

from __future__ import annotations

import threading

from nylon_ring_py.errors import HandlerError, PluginLookupError, describe_exception
from nylon_ring_py.response import Response
from nylon_ring_py.status import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from nylon_ring_py.plugin import Plugin

    Address: TypeAlias = tuple[str, str, str, str, str]
    """Which plugin: the digest of its archive, '' for one whose module can be imported as it is; its name, module and
    object; the path of its file.
    """


class Outcome:
    """What became of a call elsewhere, in a form that any pickle takes.

    `status` and `data` are the reply; `failure` is the exception's type and formatted traceback where the log wants
    it, else None; `missing` says that the process does not have the plugin, and nothing was run.
    """

    __slots__ = ("data", "failure", "missing", "status")

    def __init__(
        self, status: int, data: bytes | None, failure: tuple[str, str] | None = None, missing: bool = False
    ) -> None:
        self.status = status
        self.data = data
        self.failure = failure
        self.missing = missing


class RemoteJob:
    """A call, in the process that runs it.

    Args:
        entry: its name.
        argument: the request, or the payload of a raw entry.
        address: which plugin.
        archive: the plugin's files, or None where the process may have them.
    """

    __slots__ = ("_address", "_archive", "_argument", "_entry")

    def __init__(self, entry: str, argument: object, address: Address, archive: bytes | None) -> None:
        self._entry = entry
        self._argument = argument
        self._address = address
        self._archive = archive

    def __call__(self) -> Outcome:
        """Run the handler. Never raises."""
        try:
            plugin = find_plugin(self._address, self._archive)
            if plugin is None:
                return Outcome(int(Status.ERR), None, missing=True)
            return _run(plugin.entries[self._entry].call, self._argument)
        except BaseException as exc:
            return _failed(exc)

    @property
    def __name__(self) -> str:  # what dask's dashboard shows
        return self._entry


class PluginFiles:
    """A plugin for other processes: its address, and its archive for those that do not have it.

    In the pickle of a worker process that is being started it stands before the author's initializer, and unpickled it
    is loaded: so an initializer from the plugin's own modules is found.
    """

    __slots__ = ("address", "archive")

    def __init__(self, address: Address, archive: bytes | None) -> None:
        self.address = address
        self.archive = archive

    @classmethod
    def of_archive(cls, archive: bytes, name: str, module: str, object_name: str, origin: str) -> PluginFiles:
        """A built plugin's."""
        import hashlib

        return cls((hashlib.sha256(archive).hexdigest(), name, module, object_name, origin), archive)

    @classmethod
    def of_plugin(cls, plugin: Plugin) -> PluginFiles:
        """Those of a plugin that is in no archive, as in its author's tests: other processes import its module."""
        import sys

        modules = {entry.function.__module__ for entry in plugin.entries.values()}
        for module in sorted(modules & sys.modules.keys()):
            for name, value in vars(sys.modules[module]).items():
                if value is plugin:
                    return cls(("", plugin.name, module, name, module), None)
        return cls(("", plugin.name, "", "", "this process"), None)

    def __reduce__(self) -> tuple[Callable[..., PluginFiles], tuple[Address, bytes | None]]:
        return _receive, (self.address, self.archive)

    def load(self) -> None:
        """Load the plugin if that can be done: a call tries again, and reports why not."""
        with _lock:
            try:
                find_plugin(self.address, self.archive)
            except BaseException:
                if self.archive is not None:
                    _archives[_key(self.address)] = self.archive


def start_worker(_files: PluginFiles, initializer: Callable[..., object] | None, arguments: tuple[object, ...]) -> None:
    """The initializer of a process pool's workers: a worker ends with its host, whichever way that ends.

    Args:
        initializer: the author's, or None.
        arguments: the author's.
    """
    threading.Thread(target=_end_with_parent, name="nylon-ring-parent", daemon=True).start()
    if initializer is not None:
        initializer(*arguments)


def find_plugin(address: Address, archive: bytes | None) -> Plugin | None:
    """The plugin of this address, loaded now if its archive is here.

    Returns:
        The plugin; None where its archive is wanted.

    Raises:
        PluginLookupError: the module has no such Plugin.
        BaseException: what the plugin's module raises.
    """
    key = _key(address)
    with _lock:
        plugin = _plugins.get(key)
        if plugin is not None:
            return plugin
        archive = archive if archive is not None else _archives.get(key)
        if archive is None and address[0]:
            return None
        plugin = _plugins[key] = _import(address) if archive is None else _load(address, archive)
        _archives.pop(key, None)
        return plugin


_lock = threading.RLock()  # held while a plugin is imported: its module may well run a call itself
_plugins: dict[tuple[str, str, str], Plugin] = {}
_archives: dict[tuple[str, str, str], bytes] = {}
"""Of plugins that could not be loaded. Both guarded by _lock."""


def _key(address: Address) -> tuple[str, str, str]:
    digest, _, module, object_name, _ = address
    return digest, module, object_name


def _load(address: Address, archive: bytes) -> Plugin:
    from nylon_ring_py._importer import PluginImporter

    _, name, module, _, origin = address
    importer = PluginImporter(archive=archive, name=name, module=module, origin=origin)
    try:
        return _plugin_in(importer.load(), address)
    except PluginLookupError:
        importer.unload()
        raise


def _import(address: Address) -> Plugin:
    import importlib

    if not address[2]:
        raise PluginLookupError(
            f"plugin {address[1]!r} is no name of the module that its handlers are in, so a worker process cannot "
            "import it: make it at the module's top level, or build it"
        )
    return _plugin_in(importlib.import_module(address[2]), address)


def _plugin_in(found: Any, address: Address) -> Plugin:
    from nylon_ring_py.plugin import Plugin

    _, _, _, object_name, origin = address
    for attribute in object_name.split("."):
        found = getattr(found, attribute, None)
    if not isinstance(found, Plugin):
        raise PluginLookupError(
            f"{origin} has no Plugin {object_name!r} when it is loaded in a worker process; make it at the module's "
            "top level, in every process"
        )
    return found


def _run(call: Callable[[Any], object], argument: object) -> Outcome:
    import contextvars

    result = contextvars.Context().run(call, argument)
    status = Status.OK
    if isinstance(result, Response):
        status, result = result.status, result.data
    data: bytes | None
    if isinstance(result, str):
        data = str.encode(result)
    elif result is None or type(result) is bytes:
        data = result
    elif isinstance(result, (bytes, bytearray, memoryview)):
        data = memoryview(result).tobytes()
    else:
        raise TypeError(
            f"cannot send {type(result).__name__:.100}: return bytes, bytearray, memoryview, str, None or a Response"
        )
    return Outcome(int(status), data)


def _failed(exc: BaseException) -> Outcome:
    status, text = describe_exception(exc)
    failure = None if isinstance(exc, HandlerError) else (type(exc).__name__, _traceback_of(exc))
    return Outcome(status, text, failure)


def _traceback_of(exc: BaseException) -> str:
    import traceback

    try:
        return "".join(traceback.format_exception(exc))
    except BaseException as broken:
        return f"(the traceback cannot be shown: {type(broken).__name__})\n"


def _receive(address: Address, archive: bytes | None) -> PluginFiles:
    """A worker process begins: it was started from a thread that blocks signals, and has inherited that."""
    import signal

    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    files = PluginFiles(address, archive)
    files.load()
    return files


def _end_with_parent() -> None:
    import multiprocessing
    import os

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
