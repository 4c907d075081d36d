"""The plugin whose handler is lent the host's memory, and gives it back unchanged."""

from nylon_ring_py import Plugin

plugin = Plugin("bench-borrow", version="1.0.0")


@plugin.handle_raw("owned", sync=True, borrow=True)
def owned(payload: bytes) -> bytes:
    """Never copied on our side."""
    return payload
