"""Statistics of plugins for monitoring systems: `prometheus` and `opentelemetry`, each with its optional library."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from nylon_ring_py.errors import NotBoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nylon_ring_py.plugin import Plugin
    from nylon_ring_py.stats import EntryStats, Stats


class Watched:
    """Plugins whose statistics are read together. It keeps none of them: a plugin that is unloaded is gone from here."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._plugins: WeakSet[Plugin] = WeakSet()

    def add(self, plugin: Plugin) -> None:
        """Watch one more; again does nothing."""
        with self._lock:
            self._plugins.add(plugin)

    def read(self) -> Iterator[tuple[Plugin, Stats]]:
        """Give the statistics of those that are loaded, by name.

        A reload has two of one plugin for a moment; then the sums of both are given, as one.
        """
        with self._lock:
            plugins = sorted(self._plugins, key=lambda plugin: plugin.name)
        for plugin in plugins:
            try:
                yield plugin, plugin.stats()
            except NotBoundError:  # not loaded yet, or on its way out
                continue

    def read_entries(self) -> Iterator[tuple[Plugin, EntryStats]]:
        """Give the statistics of every entry."""
        for plugin, stats in self.read():
            for entry in stats.entries.values():
                yield plugin, entry


_registries: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
_registries_lock = Lock()


def shared(registry: Any, make: Any) -> Any:
    """What belongs to a registry or meter, made at the first use: all plugins of a process share it, since neither
    takes a second metric of the same name.

    Args:
        registry: whose it is.
        make: makes it.
    """
    with _registries_lock:
        if registry not in _registries:
            _registries[registry] = make()
        return _registries[registry]
