"""The first example, in a host process: each kind of entry answers."""

from __future__ import annotations

from conftest import ROOT, BuildPlugin, StartHost
from nrhost import Status


def test_every_entry_of_hello_answers(build: BuildPlugin, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(build(ROOT / "examples/hello.py", "hello")) == Status.OK
    assert host.call("unary", path="/x").reply.data == b"OK: /x"
    assert host.call("ping").reply.data == b"pong"
    assert host.call("echo", door="raw", body=b"hi").reply.data == b"hi"
    frames = host.stream("feed").frames
    assert [frame.data for frame in frames] == [b"frame 0", b"frame 1", b"frame 2", b"frame 3", b"frame 4", b""]
    assert frames[-1].status == Status.STREAM_END
    host.unload()
