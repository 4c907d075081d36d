"""The smallest useful plugin: one entry of each kind."""

from collections.abc import Iterator

from nylon_ring_py import Plugin, Request

plugin = Plugin("hello", version="1.0.0")


@plugin.handle("unary")
def unary(req: Request) -> str:
    """Runs on a worker thread: blocking code is fine."""
    return f"OK: {req.path}"


@plugin.handle_sync("ping")
def ping(req: Request) -> bytes:
    """Runs on the host's own thread: tiny work only."""
    return b"pong"


@plugin.handle_raw("echo")
def echo(payload: bytes) -> bytes:
    """Takes bytes, and no request."""
    return payload


@plugin.handle("feed")
def feed(req: Request) -> Iterator[str]:
    """A stream of five frames; StreamEnd follows by itself."""
    for i in range(5):
        yield f"frame {i}"
