"""The plugin that is measured: an echo by each way in, a stream, and something that keeps Python busy."""

from __future__ import annotations

from nylon_ring_py import Plugin, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

plugin = Plugin("bench", version="1.0.0")

FRAMES = 1000
FRAME = bytes(128)
is_busy = False


@plugin.handle_sync("sync")
def sync(req: Request) -> bytes:
    """On the host's own thread."""
    return req.body


@plugin.handle_raw("raw", sync=True)
def raw(payload: bytes) -> bytes:
    """On the host's own thread, without a request."""
    return payload


@plugin.handle_raw("owned", sync=True)
def owned(payload: bytes) -> bytes:
    """As `raw`: a host that takes bytes over is given them without being asked for it."""
    return payload


@plugin.handle_sync("headers")
def headers(req: Request) -> bytes:
    """On the host's own thread, each header read."""
    for _name, _value in req.headers.items():
        pass
    return req.body


@plugin.handle_sync("header")
def header(req: Request) -> bytes:
    """On the host's own thread, one header read by its name."""
    return b"" if req.headers.get("user-agent") == "" else req.body


@plugin.handle("pool")
def pool(req: Request) -> bytes:
    """On a worker."""
    return req.body


@plugin.handle("gen")
def gen(req: Request) -> Iterator[bytes]:
    """A stream of a thousand frames."""
    for _ in range(FRAMES):
        yield FRAME


@plugin.handle("busy")
def busy(req: Request) -> Iterator[bytes]:
    """Says that it runs, then computes and lets go of the GIL only when the interpreter takes it."""
    global is_busy
    is_busy = True
    yield b"computing"
    number = 1
    while is_busy:
        number = number * 48271 % 2147483647


@plugin.handle_sync("busy_end")
def busy_end(req: Request) -> None:
    """Ends what `busy` computes."""
    global is_busy
    is_busy = False
