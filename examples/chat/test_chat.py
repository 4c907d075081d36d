"""Members of rooms: who hears what, who comes and goes, and a reader who does not read."""

from __future__ import annotations

import chat
import orjson

from nylon_ring_py import Status
from nylon_ring_py.host import Stream
from nylon_ring_py.testing import FakeHost

END = (Status.STREAM_END, "")


def frame(stream: Stream) -> tuple[int, str]:
    received = stream.recv(timeout_s=60)
    assert received is not None, "the stream is over"
    return received.status, received.text


def read(stream: Stream, count: int) -> list[str]:
    frames = [frame(stream) for _ in range(count)]
    assert {status for status, _ in frames} <= {Status.OK}
    return [text for _, text in frames]


def joined(host: FakeHost, room: str, name: str) -> Stream:
    stream = host.call_stream("chat", f"{room} {name}")
    assert read(stream, 1) == [f"* {name} joins"]
    return stream


def rooms(host: FakeHost) -> object:
    return orjson.loads(host.call_raw("rooms").data)


def test_a_room_hears_its_members_and_no_others() -> None:
    with FakeHost(chat.plugin) as host:
        ada, bob, eve = joined(host, "tea", "Ada"), joined(host, "tea", "Bob"), joined(host, "bar", "Eve")
        assert read(ada, 1) == ["* Bob joins"]
        assert rooms(host) == {"tea": ["Ada", "Bob"], "bar": ["Eve"]}
        ada.send("hello")
        eve.send("anybody?")
        assert read(ada, 1) == read(bob, 1) == ["Ada: hello"]
        assert read(eve, 1) == ["Eve: anybody?"]
        for member in (ada, bob, eve):
            member.close()
        host.settle()
        assert rooms(host) == {}


def test_who_leaves_still_gets_what_was_said() -> None:
    with FakeHost(chat.plugin) as host:
        ada, bob = joined(host, "tea", "Ada"), joined(host, "tea", "Bob")
        for number in range(50):
            ada.send(str(number))
        ada.close_input()
        assert read(ada, 51) == ["* Bob joins", *(f"Ada: {number}" for number in range(50))]
        assert frame(ada) == END
        assert read(bob, 51) == [*(f"Ada: {number}" for number in range(50)), "* Ada leaves"]
        bob.close_input()
        assert frame(bob) == END


def test_a_slow_reader_holds_up_nobody() -> None:
    lines = 1000
    with FakeHost(chat.plugin, abi="v2", capacity=4) as host:
        slow, ada = joined(host, "tea", "Slow"), joined(host, "tea", "Ada")
        for number in range(lines):
            ada.send(str(number))
            assert read(ada, 1) == [f"Ada: {number}"]
        ada.close_input()
        assert frame(ada) == END
        heard = read(slow, 2)
        while "left out" not in heard[-1]:
            heard += read(slow, 1)
        said = [line for line in heard if line.startswith("Ada: ")]
        assert said == [f"Ada: {number}" for number in range(len(said))]  # from the beginning, in order, up to a point
        left_out = int(heard[-1].split()[1])
        assert len(said) + left_out == lines + 1  # "* Ada leaves" is one of them
        slow.close_input()
        assert frame(slow) == END


def test_who_is_not_let_in() -> None:
    with FakeHost(chat.plugin) as host:
        ada = joined(host, "tea", "Ada")
        assert frame(host.call_stream("chat", "tea")) == (Status.INVALID, "open the stream with ROOM NAME")
        assert frame(host.call_stream("chat", "tea Ada")) == (Status.INVALID, "Ada is in tea already")
        ada.close_input()
        assert frame(ada) == END
