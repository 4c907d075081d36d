"""A plugin that breaks its word, for the test of the suite: all entries but `echo_sync` are wrong."""

from __future__ import annotations

from collections.abc import Iterator

from nylon_ring_py import Plugin, Request, Response, Status

plugin = Plugin("conformance", version="1.0.0", shutdown_timeout_s=0.2)


@plugin.handle_sync("echo_sync")
def echo_sync(req: Request) -> bytes:
    """Right."""
    return req.body


@plugin.handle("echo")
def echo(req: Request) -> bytes:
    """Another body."""
    return req.body[::-1]


@plugin.handle_sync("status")
def status(req: Request) -> Response:
    """Another status."""
    return Response("as asked", status=Status.ERR)


@plugin.handle("count")
def count(req: Request) -> Iterator[str]:
    """A frame is left out."""
    yield from (str(number) for number in range(int(req.body)) if number != 3)


@plugin.handle("count_fail")
def count_fail(req: Request) -> Iterator[str]:
    """The failure is hidden."""
    yield from map(str, range(int(req.body)))


@plugin.handle("endless")
def endless(req: Request) -> Iterator[str]:
    """Ends by itself."""
    yield from map(str, range(3))


@plugin.handle("state")
def state(req: Request) -> bytes:
    """What the call before has set."""
    return req.state.get("k", b"other") or b""


@plugin.handle("spread")
def spread(req: Request) -> Iterator[bytes]:
    """Two frames have changed places."""
    middle = len(req.body) // 2
    yield req.body[middle:]
    yield req.body[:middle]


@plugin.handle("relay", stream=True)
def relay(req: Request) -> None:
    """Right so far."""


@plugin.stream_data
def on_data(sid: int, data: bytes) -> bytes:
    """A byte is lost."""
    return data[1:]


@plugin.handle("chat", stream=True)
def chat(req: Request) -> str:
    """Another opening."""
    return "bye"
