"""The same calls twice: in this process, and through the built plugin."""

import pytest

from nylon_ring_py import Status
from nylon_ring_py.host import Host
from nylon_ring_py.testing import FakeHost

pytestmark = pytest.mark.nylon_ring_plugin("hello.py")

FEED = [*((Status.OK, b"frame %d" % i) for i in range(5)), (Status.STREAM_END, b"")]


def test_in_this_process(fake_host: FakeHost) -> None:
    assert fake_host.call("unary", path="/orders").text == "OK: /orders"
    assert fake_host.call("ping").data == b"pong"
    assert fake_host.call_raw("echo", b"hi").data == b"hi"
    assert [(frame.status, frame.data) for frame in fake_host.call_stream("feed")] == FEED


def test_built(host: Host) -> None:
    assert host.call("unary", path="/orders").text == "OK: /orders"
    assert host.call("ping").data == b"pong"
    assert host.call_raw("echo", b"hi").data == b"hi"
    assert [(frame.status, frame.data) for frame in host.call_stream("feed")] == FEED
