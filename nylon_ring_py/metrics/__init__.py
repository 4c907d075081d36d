"""Statistics of plugins for monitoring systems: `prometheus` and `opentelemetry`, each with its optional library."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from nylon_ring_py.errors import NotBoundError
from nylon_ring_py.stats import merge

if TYPE_CHECKING:
    from nylon_ring_py.plugin import Plugin
    from nylon_ring_py.stats import EntryStats, Stats


class Watched:
    """Plugins whose statistics are read together. It keeps none of them: what is unloaded is gone from here."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._plugins: WeakSet[Plugin] = WeakSet()

    def add(self, plugin: Plugin) -> None:
        """Watch one more; again does nothing."""
        with self._lock:
            self._plugins.add(plugin)

    def read(self) -> dict[str, Stats]:
        """Give the statistics of the plugins that are loaded now, by plugin name.

        A name that is loaded several times, as in a reload or by two hosts, has the sums: one metric has one value.
        """
        with self._lock:
            plugins = sorted(self._plugins, key=lambda plugin: plugin.name)
        found: dict[str, list[Stats]] = {}
        for plugin in plugins:
            try:
                found.setdefault(plugin.name, []).append(plugin.stats())
            except NotBoundError:  # not loaded yet, or on its way out
                continue
        return {name: merge(parts) for name, parts in found.items() if parts}

    def read_entries(self) -> list[tuple[str, EntryStats]]:
        """Give the statistics of every entry, with its plugin's name."""
        return [(name, entry) for name, stats in self.read().items() for entry in stats.entries.values()]


_watched: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
_watched_lock = Lock()


def shared(registry: Any, make: Any) -> Any:
    """What watches plugins for a registry or meter, made at the first use. All plugins of a process share it, since
    neither takes a second metric of the same name.

    Args:
        registry: whose it is.
        make: makes it.
    """
    with _watched_lock:
        made = _watched.get(registry)
        if made is None:
            made = _watched[registry] = make()
        return made
