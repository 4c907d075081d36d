"""The life of plugins as a state machine: load, init, calls of every kind, streams, shutdown, reload and unload, in any
order and from several threads of a host, against a model of the promise.

`make fuzz` runs it with many more examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from conftest import BuildPlugin, StartHost
from fuzz.life_model import ECHOES, FAILS, FEEDS, HELD, INPUT, Held, Instance, Stream
from fuzz.profiles import options
from fuzz.targets import FUZZ
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from nrhost import Abi, NrHost, Status

ABIS: tuple[Abi, ...] = ("v1", "v1-raw", "v2")
Door = Literal["handle", "raw", "id"]
DOORS: tuple[Door, ...] = ("handle", "raw", "id")
MAX_INSTANCES = 3

#: The host's threads: its main one, one that ends at once, and two that stay.
PLACES = st.sampled_from(["main", "thread", "pool:0", "pool:1"])
BODIES = st.binary(max_size=20)
INDEXES = st.integers(0, 7)


class Life(RuleBasedStateMachine):
    """Rules do something with one of the instances there are; each checks what the model says of it."""

    host: NrHost
    files: dict[Abi, Path]
    loads = 0

    def __init__(self) -> None:
        super().__init__()
        self.instances: list[Instance] = []

    def one(self, index: int) -> Instance:
        return self.instances[index % len(self.instances)]

    # ---- instances ----

    @precondition(lambda self: len(self.instances) < MAX_INSTANCES)
    @rule(abi=st.sampled_from(ABIS), started=st.sampled_from([True, True, False]), on=PLACES)
    def load(self, abi: Abi, started: bool, on: str) -> None:
        Life.loads += 1
        fresh = Instance(f"life{Life.loads}", abi)
        status = self.host.load(self.files[abi], abi=abi, plugin=fresh.name, get_only=not started, on=on)
        assert status == (Status.OK if started else None)
        fresh.phase = "open" if started else "got"
        self.instances.append(fresh)

    @precondition(lambda self: self.instances)
    @rule(index=INDEXES, on=PLACES)
    def init(self, index: int, on: str) -> None:
        of = self.one(index)
        if of.phase == "ending":
            return
        status = self.host.init(plugin=of.name, on=on)
        assert status == (Status.OK if of.phase == "got" else Status.INVALID)
        of.phase = "open" if of.phase == "got" else of.phase

    @precondition(lambda self: self.instances)
    @rule(index=INDEXES, on=PLACES, waits=st.booleans())
    def shutdown(self, index: int, on: str, waits: bool) -> None:
        """Once, twice, before init; with `waits` False other rules go on meanwhile."""
        of = self.one(index)
        if of.phase == "ending":
            return
        if waits:
            self.host.shutdown(plugin=of.name, on=on)
            self.has_ended(of)
        else:
            of.jobs.append(self.host.start_shutdown(plugin=of.name))
            of.phase = "ending"

    @precondition(lambda self: any(of.jobs for of in self.instances))
    @rule(index=INDEXES)
    def join(self, index: int) -> None:
        busy = [of for of in self.instances if of.jobs]
        self.join_all(busy[index % len(busy)])

    def join_all(self, of: Instance) -> None:
        while of.jobs:
            answer = self.host.join(of.jobs.pop())
            assert not answer.get("wrong"), answer
            assert not answer.get("lost"), answer
        if of.phase == "ending":
            self.has_ended(of)

    def has_ended(self, of: Instance) -> None:
        """Shutdown has returned: whatever was accepted has its end."""
        of.phase = "ended"
        for call in of.held:
            self.check_end(of, call.sid, [])
        for stream in of.streams:
            self.check_end(of, stream.sid, stream.coming)
        of.held, of.streams = [], []

    def check_end(self, of: Instance, sid: int, coming: list[bytes]) -> None:
        call = self.host.wait(sid, plugin=of.name)
        assert call.ended
        assert not call.timed_out
        assert call.data[:-1] == coming[: len(call.data) - 1]

    @precondition(lambda self: self.instances)
    @rule(index=INDEXES)
    def unload(self, index: int) -> None:
        of = self.one(index)
        self.join_all(of)
        self.host.unload(plugin=of.name)  # raises where the ledger has a broken promise
        self.instances.remove(of)

    @precondition(lambda self: any(of.phase == "open" and not of.jobs for of in self.instances))
    @rule(index=INDEXES)
    def reload(self, index: int) -> None:
        """A new instance takes the place of one with calls in progress, while callers go on."""
        ready = [of for of in self.instances if of.phase == "open" and not of.jobs]
        of = ready[index % len(ready)]
        counts, broken = self.host.reload(1, drain=False, plugin=of.name, entry="raw", threads=2)
        assert broken == []
        assert (counts.wrong, counts.lost) == (0, 0)
        of.held, of.streams, of.limited = [], [], 0

    # ---- calls ----

    def place(self, of: Instance, on: str, door: Door = "handle") -> dict[str, Any]:
        return {"plugin": of.name, "on": on, "door": "handle" if door == "id" and of.abi != "v2" else door}

    @precondition(lambda self: self.instances)
    @rule(index=INDEXES, entry=st.sampled_from(ECHOES), door=st.sampled_from(DOORS), body=BODIES, on=PLACES)
    def call(self, index: int, entry: str, door: Door, body: bytes, on: str) -> None:
        of = self.one(index)
        made = self.host.call(entry, body=body, **self.place(of, on, door))
        assert made.handle in of.allowed(entry)
        if made.handle == Status.OK:
            assert made.reply.status == Status.OK or of.phase == "ending"
            assert made.reply.status != Status.OK or (made.reply.data or b"").endswith(body)

    @precondition(lambda self: self.instances)
    @rule(index=INDEXES, entry=st.sampled_from(sorted(FAILS)), body=BODIES, on=PLACES)
    def fail(self, index: int, entry: str, body: bytes, on: str) -> None:
        of = self.one(index)
        made = self.host.call(entry, body=body, **self.place(of, on))
        assert made.handle in of.allowed(entry)
        assert made.handle != Status.OK or made.reply.status == FAILS[entry] or of.phase == "ending"

    @precondition(lambda self: self.instances)
    @rule(index=INDEXES, entry=st.sampled_from(ECHOES), body=BODIES, on=PLACES)
    def fire(self, index: int, entry: str, body: bytes, on: str) -> None:
        of = self.one(index)
        assert self.host.fire(entry, body=body, **self.place(of, on)).handle in of.allowed(entry)

    @precondition(lambda self: any(of.phase == "open" for of in self.instances))
    @rule(index=INDEXES, entry=st.sampled_from(["raw", "raw_sync"]), calls=st.integers(1, 200))
    def callers(self, index: int, entry: str, calls: int) -> None:
        """Threads of the host that call on and on, in the background."""
        ready = [of for of in self.instances if of.phase == "open"]
        of = ready[index % len(ready)]
        of.jobs.append(self.host.start_callers(entry, plugin=of.name, calls=calls, threads=3))

    @precondition(lambda self: self.instances)
    @rule(index=INDEXES, entry=st.sampled_from(HELD), body=BODIES, on=PLACES)
    def hold(self, index: int, entry: str, body: bytes, on: str) -> None:
        of = self.one(index)
        made = self.host.submit(entry, body=body, **self.place(of, on))
        assert made.handle in of.allowed(entry)
        if made.handle == Status.OK:
            of.held.append(Held(made.sid, entry, body))
            of.limited += entry == "limited"

    @precondition(lambda self: any(of.held and of.phase == "open" for of in self.instances))
    @rule(index=INDEXES, on=PLACES)
    def let_go(self, index: int, on: str) -> None:
        ready = [of for of in self.instances if of.held and of.phase == "open"]
        of = ready[index % len(ready)]
        for call in of.held:
            made = None
            while made is None or not made.ended:  # its handler may not have kept it yet; NrHost has a limit
                self.host.call("let_go", **self.place(of, on))
                made = self.host.wait(call.sid, plugin=of.name, timeout=0.2)
            assert (made.reply.status, made.reply.data) == (Status.OK, call.body)
        of.held = []

    # ---- streams ----

    @precondition(lambda self: self.instances)
    @rule(index=INDEXES, entry=st.sampled_from(INPUT + FEEDS), body=BODIES, on=PLACES)
    def open_stream(self, index: int, entry: str, body: bytes, on: str) -> None:
        of = self.one(index)
        allowed = of.allowed(entry)
        if Status.OK in allowed and len(allowed) > 1 and of.phase == "open":
            return  # it would wait for a thread: what comes of it is not for this model
        made = self.host.submit(entry, body=body, kind="stream", **self.place(of, on))
        assert made.handle in allowed
        if made.handle == Status.OK:
            coming = [bytes([byte]) for byte in body] if entry in FEEDS else [body] if entry == "open" else []
            of.streams.append(Stream(made.sid, entry, coming))

    def some_stream(self, index: int) -> tuple[Instance, Stream]:
        pairs = [(of, stream) for of in self.instances for stream in of.streams]
        return pairs[index % len(pairs)]

    @precondition(lambda self: any(of.streams for of in self.instances))
    @rule(index=INDEXES, body=BODIES.filter(lambda body: body[:1] not in (b"!", b".")), on=PLACES)
    def send(self, index: int, body: bytes, on: str) -> None:
        of, stream = self.some_stream(index)
        status = self.host.stream_data(stream.sid, body, plugin=of.name, on=on)
        assert status in of.input_status(stream)
        if status == Status.OK:
            stream.coming.append(body)

    @precondition(lambda self: any(of.streams for of in self.instances))
    @rule(index=INDEXES, on=PLACES)
    def close(self, index: int, on: str) -> None:
        of, stream = self.some_stream(index)
        assert self.host.stream_close(stream.sid, plugin=of.name, on=on) in of.close_status(stream)
        stream.closed = True

    @precondition(lambda self: any(of.streams for of in self.instances))
    @rule(index=INDEXES)
    def take(self, index: int) -> None:
        """The next frames; to the end where that has to come."""
        of, stream = self.some_stream(index)
        if of.phase != "open":
            return
        if stream.closed or stream.entry in FEEDS:
            call = self.host.wait(stream.sid, plugin=of.name)
            assert call.ended
            assert call.frames[-1].status == Status.STREAM_END
            frames = call.data[:-1]
            cut = stream.closed and stream.entry in FEEDS  # a generator is closed between two frames
            assert frames == stream.coming[: len(frames)] if cut else frames == stream.coming
            of.streams.remove(stream)
        elif stream.coming:
            call = self.host.wait(stream.sid, plugin=of.name, frames=len(stream.coming))
            assert call.data == stream.coming
            stream.coming = []

    @precondition(lambda self: any(of.streams for of in self.instances))
    @rule(index=INDEXES)
    def drop(self, index: int) -> None:
        """In v1 that closes it; in v2 the plugin learns it when it sends."""
        of, stream = self.some_stream(index)
        self.host.drop(stream.sid, plugin=of.name)
        of.streams.remove(stream)

    def teardown(self) -> None:
        for of in self.instances:
            self.join_all(of)
            self.host.unload(plugin=of.name)


@pytest.fixture
def life(build: BuildPlugin, start_host: StartHost) -> Iterator[type[Life]]:
    Life.files = {abi: build(FUZZ / "plugin.py", abi, "--abi", abi) for abi in ("v1", "v1-raw")}
    Life.files["v2"] = Life.files["v1"]
    Life.host = start_host()
    yield Life
    del Life.host


def test_any_order_of_everything(life: type[Life]) -> None:
    run_state_machine_as_test(life, settings=settings(**options(12), stateful_step_count=40))
