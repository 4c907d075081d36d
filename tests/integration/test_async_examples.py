"""The examples whose handlers are coroutines, built and in a host process."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler

import orjson
import pytest
from conftest import ROOT, BuildPlugin, StartHost, until
from nrhost import Abi, NrHost, Status
from shop_server import Answer, shop


def test_async_fetch(build: BuildPlugin, start_host: StartHost) -> None:
    both_are_asked = threading.Barrier(2)
    hung_up = threading.Semaphore(0)

    def with_price(price: str) -> Answer:
        def answer(request: BaseHTTPRequestHandler) -> str | None:
            if request.path == "/nothing":
                request.rfile.read(1)  # until the plugin hangs up
                hung_up.release()
                return None
            both_are_asked.wait(60)
            return price

        return answer

    with ExitStack() as servers:
        addresses = [servers.enter_context(shop(with_price(price))) for price in ("4.50", "4.20")]
        host = start_host(env={"ASYNC_FETCH_SHOPS": ",".join(addresses), "ASYNC_FETCH_PATIENCE_S": "60"})
        assert host.load(build(ROOT / "examples/async_fetch/async_fetch.py", "async_fetch")) == Status.OK
        for _ in range(3):  # over the same connections
            reply = host.call("prices", query="thing=tea").reply
            assert orjson.loads(reply.text) == dict(zip(addresses, [4.5, 4.2], strict=True))
        reply = host.call("first", query="thing=nothing").reply
        assert (reply.status, reply.text) == (Status.ERR, "TimeoutError: no answer within timeout_s=2")
        assert all(hung_up.acquire(timeout=60) for _ in addresses)
        host.unload()


def opened(host: NrHost, who: bytes) -> int:
    call = host.submit("chat", kind="stream", body=who)
    assert call.handle == Status.OK
    return call.sid


@pytest.mark.parametrize("abi", ["v1", "v2"])
def test_chat(build: BuildPlugin, start_host: StartHost, abi: Abi) -> None:
    host = start_host()
    assert host.load(build(ROOT / "examples/chat/chat.py", "chat"), abi=abi) == Status.OK
    ada, bob = opened(host, b"tea Ada"), opened(host, b"tea Bob")
    assert host.wait(ada, frames=2).data == [b"* Ada joins", b"* Bob joins"]
    assert host.stream_data(ada, b"hello") == Status.OK
    assert host.wait(bob, frames=2).data == [b"* Bob joins", b"Ada: hello"]
    assert orjson.loads(host.call("rooms").reply.text) == {"tea": ["Ada", "Bob"]}
    assert host.stream_close(ada) == Status.OK
    left = host.wait(ada)
    assert (left.data, left.frames[-1].status) == ([b"Ada: hello", b""], Status.STREAM_END)
    assert host.wait(bob, frames=1).data == [b"* Ada leaves"]
    host.drop(bob)  # v1: the host closes the stream; v2: the plugin is told at the next line
    eve = opened(host, b"tea Eve")
    assert host.wait(eve, frames=1).data == [b"* Eve joins"]
    until(lambda: orjson.loads(host.call("rooms").reply.text) == {"tea": ["Eve"]})
    assert host.stream_close(eve) == Status.OK
    assert host.wait(eve).frames[-1].status == Status.STREAM_END


def test_a_slow_member_of_a_chat_holds_up_nobody(build: BuildPlugin, start_host: StartHost) -> None:
    lines = 2000
    host = start_host()
    assert host.load(build(ROOT / "examples/chat/chat.py", "chat"), abi="v2", stream_capacity=4) == Status.OK
    slow = opened(host, b"tea Slow")
    ada = opened(host, b"tea Ada")
    assert host.wait(ada, frames=1).data == [b"* Ada joins"]
    for number in range(lines):
        assert host.stream_data(ada, b"%d" % number) == Status.OK
        assert host.wait(ada, frames=1).data == [b"Ada: %d" % number]
    assert host.stream_close(ada) == Status.OK
    assert host.wait(ada).frames[-1].status == Status.STREAM_END
    heard = [frame.text for frame in host.wait(slow, frames=2).frames]
    while "left out" not in heard[-1]:
        heard += [frame.text for frame in host.wait(slow, frames=1).frames]
    said = [line for line in heard if line.startswith("Ada: ")]
    assert said == [f"Ada: {number}" for number in range(len(said))]
    assert len(said) + int(heard[-1].split()[1]) == lines + 1  # "* Ada leaves" is one of them
    assert host.stream_close(slow) == Status.OK
    assert host.wait(slow).frames[-1].status == Status.STREAM_END
