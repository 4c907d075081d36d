"""A plugin with an entry of every kind, and a life in which a host uses each of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conftest import until
from nrhost import Abi, Call, NrHost, Status

SOURCE = """
    import threading
    from nylon_ring_py import Plugin

    plugin = Plugin("faults", workers=2, shutdown_timeout_s=5)

    @plugin.on_init
    def begin(): pass

    @plugin.on_shutdown
    def leave(): pass

    @plugin.handle("watch_python")
    def watch_python(req):
        import ctypes
        return str(ctypes.PyDLL(req.body.decode()).faults_watch_python())

    @plugin.handle_sync("deep")
    def deep(req):
        import json
        json.loads("[" * 100_000)

    plugin.handle_sync("sync")(lambda req: req.body)
    plugin.handle_raw("raw_sync", sync=True)(lambda payload: payload)
    plugin.handle_raw("raw")(lambda payload: payload)
    plugin.handle("long")(lambda req: bytes(20_000))
    plugin.handle_sync("long_sync")(lambda req: bytes(20_000))

    @plugin.handle("queued")
    def queued(req): return f"{req.method} {req.path} {len(req.headers)} {req.body.decode()}"

    @plugin.handle("state")
    def state(req):
        req.state.set("key", req.body)
        return req.state.get("key")

    @plugin.handle("limited", timeout_s=60)
    def limited(req): return req.body

    @plugin.handle("callback")
    def callback(req, callback): callback(req.body)

    @plugin.handle_sync("callback_sync")
    def callback_sync(req, callback): callback(req.body)

    @plugin.handle("later")
    def later(req, callback):
        threading.Thread(target=lambda: callback(req.body)).start()

    @plugin.handle("fails")
    def fails(req): raise ValueError("as it should")

    @plugin.handle("coroutine")
    async def coroutine(req): return req.body

    @plugin.handle("feed")
    def feed(req):
        yield req.body
        yield req.body

    @plugin.handle("async_feed")
    async def async_feed(req):
        yield req.body
        yield req.body

    @plugin.handle("open", stream=True)
    def opened(req): return req.body

    @plugin.stream_data
    def data(sid, data): return data

    @plugin.stream_close
    def close(sid): pass

    @plugin.stream("talk")
    def talk(stream):
        for frame in stream:
            stream.send(frame)

    @plugin.stream("async_talk")
    async def async_talk(stream):
        async for frame in stream:
            await stream.send(frame)
"""

UNARY = (
    "sync", "raw_sync", "queued", "raw", "long", "long_sync", "state", "limited", "callback", "callback_sync", "later",
    "fails", "coroutine"
)  # fmt: skip
STREAMS = ("feed", "async_feed")
DUPLEX = ("open", "talk", "async_talk")
ENTRIES = (*UNARY, *STREAMS, *DUPLEX)

# Nothing is left out under a fault, so nothing takes long: whoever waits for this long waits for ever.
TIMEOUT_S = 30.0


def check(entry: str, call: Call) -> None:
    """The call was refused, or has its one terminal reply; the host's ledger sees a second one."""
    assert not call.timed_out, f"{entry}: no reply came"
    if call.handle != Status.OK:
        assert call.frames == [], f"{entry}: refused, and answered"
    else:
        assert call.ended, f"{entry}: no terminal reply"


def use(host: NrHost, entry: str, place: dict[str, Any]) -> Call:
    """A call of any kind of entry; of a duplex one two frames, and the host's close until that is taken."""
    if entry in UNARY:
        call = host.call(entry, body=b"body", method="GET", path="/p", headers=[("k", "v")], **place)
    elif entry in STREAMS:
        call = host.stream(entry, body=b"body", **place)
    else:
        call = host.submit(entry, kind="stream", body=b"body", **place)
        if call.handle != Status.OK:
            return call
        for _ in range(2):
            assert host.stream_data(call.sid, b"frame", **place) in (Status.OK, Status.ERR, Status.INVALID)
        while host.stream_close(call.sid, **place) == Status.ERR:
            pass  # not taken: to be tried again
        call = host.wait(call.sid, **place)
    check(entry, call)
    return call


def use_all(host: NrHost, entries: Sequence[str] = ENTRIES, **place: Any) -> list[Call]:
    """Each entry once, on a thread that is new to the plugin unless `place` says another."""
    place = {"on": "thread", "timeout": TIMEOUT_S, **place}
    return [use(host, entry, place) for entry in entries]


def check_all_work(host: NrHost, **place: Any) -> None:
    """Without a fault every entry answers, and only the one that fails with an error."""
    for entry, call in zip(ENTRIES, use_all(host, **place), strict=True):
        assert call.handle == Status.OK, entry
        if entry != "fails":
            assert call.frames[-1].status in (Status.OK, Status.STREAM_END), (entry, call.frames)


def live(host: NrHost, plugin: Path, abi: Abi = "v1", **place: Any) -> bool:
    """Load, use, unload. Returns False where the plugin did not start."""
    place = {"on": "thread", **place}
    if host.load(plugin, abi=abi, **place) != Status.OK:
        return False
    use_all(host, **place)
    host.unload()
    return True


def settle(host: NrHost, threads: int, fds: int) -> None:
    """Waits until no more threads than these are there, and looks at the descriptors."""
    until(lambda: host.process().threads <= threads)
    assert host.process().fds <= fds
