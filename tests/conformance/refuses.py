"""A plugin whose init fails."""

from __future__ import annotations

from nylon_ring_py import Plugin

plugin = Plugin("refuses", version="1.0.0")


@plugin.on_init
def refuse() -> None:
    """What an on_init function raises fails the load, and the log says why."""
    raise RuntimeError("this plugin never starts")
