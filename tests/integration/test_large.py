"""Large bodies, many headers, and memory that goes back."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import pytest
from conftest import BuildPlugin, StartHost, memory_counts, until
from nrhost import NrHost, Status, pattern_crc32

SOURCE = """
import zlib
from nylon_ring_py import Plugin, Response, Status

plugin = Plugin("large", workers=2)

plugin.handle("pooled")(lambda req: req.body)
plugin.handle_sync("sync")(lambda req: req.body)
plugin.handle_raw("raw")(lambda payload: payload)
plugin.handle_raw("raw_sync", sync=True)(lambda payload: payload)
plugin.handle_sync("view")(lambda req: memoryview(bytearray(req.body)))

@plugin.handle("callback")
def callback(req, callback): callback(req.body)

@plugin.handle("feed")
def feed(req):
    yield req.body
    yield req.body

@plugin.handle("open", stream=True)
def opened(req): pass

@plugin.stream_data
def data(sid, data): return data

def headers(req):
    h = req.headers
    return f"{len(h)} {h['X-HEADER-0']} {h['x-header-9999']} {len(h.keys())} {zlib.crc32(repr(h.items()).encode())}"

plugin.handle("headers")(headers)
plugin.handle_sync("headers_sync")(headers)

@plugin.handle("fields")
def fields(req): return f"{len(req.method)} {len(req.path)} {len(req.query)} {len(req.headers['k'])}"
"""

MIB = 1 << 20
UNARY = ("pooled", "sync", "raw", "raw_sync", "view", "callback")


@pytest.fixture(scope="module")
def large(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "large")


@pytest.fixture
def host(large: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(large) == Status.OK
    return host


@pytest.mark.long
@pytest.mark.parametrize("size", [0, 1, 64 << 10, 64 * MIB])
def test_bodies_both_ways(host: NrHost, size: int) -> None:
    crc = pattern_crc32(size)
    for entry in UNARY:
        reply = host.call(entry, body_size=size).reply
        assert (reply.status, reply.length, reply.crc32) == (Status.OK, size, crc), entry
    frames = host.stream("feed", body_size=size).frames
    assert [(frame.length, frame.crc32) for frame in frames] == [(size, crc), (size, crc), (0, 0)]
    sid = host.submit("open", kind="stream").sid
    assert host.stream_data(sid, body_size=size) == Status.OK
    frames = host.wait(sid, frames=1).frames
    assert [(frame.length, frame.crc32) for frame in frames] == [(size, crc)]
    assert host.stream_close(sid) == Status.OK
    assert host.wait(sid).ended


@pytest.mark.long
def test_memory_goes_back(host: NrHost) -> None:
    """On the worker, on a host thread that lives on, and in what a stream had in its queues."""

    def load(size: int) -> None:
        for entry in UNARY:
            assert host.call(entry, body_size=size, on="pool:1").reply.length == size
        assert host.stream("feed", body_size=size).ended
        sid = host.submit("open", kind="stream").sid
        assert host.stream_data(sid, body_size=size) == Status.OK
        assert host.wait(sid, frames=1).frames[0].length == size
        assert host.stream_close(sid) == Status.OK
        assert host.wait(sid).ended

    load(1000)
    host.malloc_trim()
    before = host.process().rss_kib
    load(64 * MIB)

    def is_back() -> bool:
        host.malloc_trim()
        return host.process().rss_kib - before < 16 << 10

    if memory_counts():
        until(is_back)  # a worker that has answered still has what it answered with


@pytest.mark.parametrize("entry", ["headers", "headers_sync"])
def test_ten_thousand_headers(host: NrHost, entry: str) -> None:
    pairs = [(f"x-header-{n}", f"value {n}") for n in range(10_000)]
    expected = f"10000 value 0 value 9999 10000 {zlib.crc32(repr(pairs).encode())}"
    assert host.call(entry, headers=10_000).reply.text == expected


def test_long_fields(host: NrHost) -> None:
    text = "ü" * MIB
    more: dict[str, Any] = {"method": text, "path": text + "a", "query": text + "ab", "headers": [("k", text + "abc")]}
    assert host.call("fields", **more).reply.text == f"{MIB} {MIB + 1} {MIB + 2} {MIB + 3}"


def test_many_large_replies_at_once(host: NrHost) -> None:
    storm = host.storm(
        calls=256, threads=8, window=2, body_size=MIB, check_echo=True, unary="pooled", raw="raw_sync", fast="sync"
    )
    assert (storm.terminals, storm.wrong, storm.timeouts) == (256, 0, 0)
