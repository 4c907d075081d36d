"""State per sid: in the host where it offers that, in the plugin otherwise, with the same life."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost
from hosts.environments import compile_host
from nrhost import NrHost, Status

SOURCE = """
from nylon_ring_py import CallEndedError, Plugin, Status

plugin = Plugin("stateful", workers=2)
kept = {}

def put(req):
    req.state.set("a", b"1")
    req.state.set("a", "ü")
    req.state.set("b", bytearray(b"\\0\\xff"))
    req.state.set("ü", memoryview(b"3"))
    req.state.set("empty", b"")
    kept[req.sid] = req
    return repr([req.state.get("a"), req.state.get("b"), req.state.get("ü"), req.state.get("empty"),
                 req.state.get("none"), req.state.get("none", b"7"), plugin.state(req.sid).get("a"),
                 plugin.state(req.sid + 1).get("a")])

plugin.handle("pooled")(put)
plugin.handle_sync("sync")(put)

@plugin.handle("callback")
def callback(req, callback):
    callback(put(req))

@plugin.handle("open", stream=True)
def open_stream(req):
    return put(req)

@plugin.handle("feed")
def feed(req):
    yield put(req)
    yield req.state.get("a")

@plugin.stream_data
def data(sid, data):
    state = plugin.state(sid)
    state.set("count", str(int(state.get("count", b"0")) + 1))
    return state.get("count")

@plugin.handle_sync("late")
def late(req):
    old = kept[int(req.body)]
    try:
        old.state.set("a", b"late")
    except CallEndedError as error:
        return repr([old.state.get("a"), old.state.get("b"), type(error).__name__, error.status.name])
    return "kept"

@plugin.handle_sync("types")
def types(req):
    said = []
    for value in (None, 7, [b"x"]):
        try:
            req.state.set("a", value)
        except TypeError:
            said.append("TypeError")
    try:
        req.state.set(7, b"x")
    except (TypeError, AttributeError):
        said.append("TypeError")
    return repr((said, req.state.get("a")))

@plugin.handle_sync("big")
def big(req):
    req.state.set("big", bytes(1 << 20))
    for i in range(1000):
        req.state.set(f"k{i}", str(i))
    return repr((len(req.state.get("big")), all(req.state.get(f"k{i}") == str(i).encode() for i in range(1000))))

@plugin.handle_sync("where")
def where(req):
    return str(plugin._instance.keeps_state_in_host)
"""

PUT = repr(["ü".encode(), b"\0\xff", b"3", None, None, b"7", "ü".encode(), None]).encode()


@pytest.fixture(scope="module")
def stateful(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "stateful")


@pytest.fixture(scope="module")
def plain_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C host, linked so that plugins cannot see its symbols."""
    out = tmp_path_factory.mktemp("plain") / "plain_host"
    return compile_host(out, "tests/hosts/plain_host.c", exports=False)


@pytest.fixture(params=["host", "plugin"])
def host(request: pytest.FixtureRequest, stateful: Path, plain_host: Path, start_host: StartHost) -> NrHost:
    """A host that keeps state, and one that does not."""
    host = start_host() if request.param == "host" else start_host(binary=plain_host)
    assert host.load(stateful) == Status.OK
    assert host.call("where").reply.data == (b"True" if request.param == "host" else b"False")
    return host


def in_host(host: NrHost) -> bool:
    return host.call("where").reply.data == b"True"


@pytest.mark.parametrize("entry", ["pooled", "sync", "callback"])
def test_state_lives_as_long_as_its_call(host: NrHost, entry: str) -> None:
    for _ in range(3):  # a sid may come again, and begins with nothing
        assert host.call(entry, sid=77).reply.data == PUT
        assert host.state_count() == 0
        gone = repr([None, None, "CallEndedError", "ERR"]).encode()
        assert host.call("late", body=b"77").reply.data == gone


def test_state_of_a_stream(host: NrHost) -> None:
    sid = host.submit("open", kind="stream").sid
    assert host.wait(sid, frames=1).data == [PUT]
    other = host.submit("open", kind="stream").sid
    assert host.wait(other, frames=1).data == [PUT]
    for n in (b"1", b"2", b"3"):
        assert host.stream_data(sid, b"x") == Status.OK
        assert host.wait(sid, frames=1).data == [n]
    if in_host(host):
        assert host.state_get(sid, "a") == "ü".encode()
        assert host.state_get(sid, "count") == b"3"
        assert host.state_get(other, "count") is None
        assert (host.state_count(sid), host.state_count(other)) == (5, 4)  # an empty value too
    for ended in (sid, other):
        assert host.stream_close(ended) == Status.OK
        assert host.wait(ended).ended
        late = repr([None, None, "CallEndedError", "ERR"]).encode()
        assert host.call("late", body=b"%d" % ended).reply.data == late
    assert host.state_count() == 0


def test_state_of_a_generator(host: NrHost) -> None:
    assert host.stream("feed").data == [PUT, "ü".encode(), b""]
    assert host.state_count() == 0


def test_state_that_cannot_be(host: NrHost) -> None:
    assert host.call("types").reply.data == repr((["TypeError"] * 4, None)).encode()


def test_much_state(host: NrHost) -> None:
    for _ in range(3):
        assert host.call("big", sid=5).reply.data == repr((1 << 20, True)).encode()
    assert host.state_count() == 0


def test_state_under_load(host: NrHost) -> None:
    storm = host.storm(calls=4000, threads=8, unary="pooled", stream="feed")
    assert (storm.terminals, storm.wrong, storm.timeouts) == (4000, 0, 0)
    assert host.state_count() == 0
