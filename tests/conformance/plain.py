"""A plugin without a stream entry."""

from __future__ import annotations

from nylon_ring_py import Plugin, Request

plugin = Plugin("plain", version="1.0.0")


@plugin.handle_sync("echo_sync")
def echo_sync(req: Request) -> bytes:
    """The body."""
    return req.body
