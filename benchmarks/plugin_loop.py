"""The plugin whose handlers run on an event loop, on threads of streams, and in an executor.

It is one of its own: what loading costs is measured of `plugin.py`, which has no event loop.
"""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from nylon_ring_py import Plugin, Request, Stream

plugin = Plugin("bench-loop", version="1.0.0")

FRAMES = 1000
FRAME = bytes(128)


@plugin.handle("task")
async def task(req: Request) -> bytes:
    """A coroutine that waits for nothing."""
    return req.body


@plugin.handle("async_gen")
async def async_gen(req: Request) -> AsyncIterator[bytes]:
    """A stream of a thousand frames."""
    for _ in range(FRAMES):
        yield FRAME


@plugin.stream("async_echo")
async def async_echo(stream: Stream) -> None:
    """A duplex stream on the event loop."""
    async for frame in stream:
        await stream.send(frame)


@plugin.stream("sync_echo")
def sync_echo(stream: Stream) -> None:
    """A duplex stream on a thread of its own."""
    for frame in stream:
        stream.send(frame)


@plugin.handle("hooks", stream=True)
def hooks(req: Request) -> None:
    """A stream whose frames go to `stream_data`."""


@plugin.stream_data
def stream_data(sid: int, data: bytes) -> None:
    """The same echo by a hook, on a worker."""
    plugin.send_result(sid, data=data)


@plugin.handle("threads", executor=lambda: ThreadPoolExecutor(1))
def threads(req: Request) -> bytes:
    """In an executor of threads."""
    return req.body
