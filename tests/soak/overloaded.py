"""The plugin of the overload test: two entries are offered ten times what they can serve, the others are not."""

from __future__ import annotations

from collections.abc import Iterator

from nylon_ring_py import Plugin, Request

plugin = Plugin("overloaded", shutdown_timeout_s=20)


def work(body: bytes) -> bytes:
    """Computes for some hundred microseconds with the GIL held, as handlers do."""
    number = 0
    for i in range(4000):
        number = (number + i) & 0xFFFF
    return body if number < 1 << 16 else b""


@plugin.handle("pooled", max_pending=64)
def pooled(req: Request) -> bytes:
    """On a worker."""
    return work(req.body)


@plugin.handle("coroutine", max_pending=64)
async def coroutine(req: Request) -> bytes:
    """On the event loop."""
    return work(req.body)


@plugin.handle("other")
def other(req: Request) -> bytes:
    """An entry that is asked for little."""
    return req.body


@plugin.handle("other_coroutine")
async def other_coroutine(req: Request) -> bytes:
    """The same on the event loop."""
    return req.body


@plugin.handle_sync("other_sync")
def other_sync(req: Request) -> bytes:
    """The same on the host's thread."""
    return req.body


@plugin.handle("other_stream")
def other_stream(req: Request) -> Iterator[bytes]:
    """The same, in frames."""
    for i in range(0, len(req.body), 16):
        yield req.body[i : i + 16]
