"""A stateful echo on one stream that carries frames both ways."""

from nylon_ring_py import Plugin, Request, Status

plugin = Plugin("duplex_echo", version="1.0.0")


@plugin.handle("chat", stream=True)
def chat(req: Request) -> str:
    """Open the stream: what is returned is its first frame, and it stays open."""
    return f"welcome, stream {req.sid}"


@plugin.stream_data
def echo(sid: int, data: bytes) -> None:
    """One frame from the host. The frames of one stream come one at a time, in order."""
    if data == b"bye":
        plugin.send_result(sid, Status.STREAM_END, f"bye after {_count(sid)} frames")
        return
    number = _count(sid) + 1
    plugin.state(sid).set("count", str(number))
    plugin.send_result(sid, Status.OK, b"%d: %s" % (number, data.upper()))


@plugin.stream_close
def close(sid: int) -> None:
    """The host has closed its side; the stream ends when this returns."""
    plugin.send_result(sid, Status.OK, f"{_count(sid)} frames")


def _count(sid: int) -> int:
    return int(plugin.state(sid).get("count", b"0") or 0)
