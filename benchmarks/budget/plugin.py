"""The plugin whose calls are counted: an echo by each way in, and a stream."""

from collections.abc import Iterator

from nylon_ring_py import Plugin, Request

# One worker: two would now and then spin for the queue, and one thread runs at a time under valgrind.
plugin = Plugin("budget", version="1.0.0", workers=1)

FRAMES = 1000
FRAME = bytes(128)


@plugin.handle_sync("sync")
def sync(req: Request) -> bytes:
    """On the host's own thread."""
    return req.body


@plugin.handle_raw("raw", sync=True)
def raw(payload: bytes) -> bytes:
    """On the host's own thread, without a request."""
    return payload


@plugin.handle("pool")
def pool(req: Request) -> bytes:
    """On the worker."""
    return req.body


@plugin.handle("gen", max_buffered=1)
def gen(req: Request) -> Iterator[bytes]:
    """A stream of a thousand frames, each sent by itself: whether they leave in bursts hangs on the time they take."""
    for _ in range(FRAMES):
        yield FRAME
