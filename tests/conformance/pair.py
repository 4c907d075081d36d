"""One host with one plugin in one ABI: what the cases speak to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypedDict, Unpack

from conformance.answers import Answer, Failed, Tally, expect_status
from conformance.driver import Driver, DriverRefused, Hello, Value

#: Seconds that something asynchronous may take before a case gives up on it.
PATIENCE_S = 60.0


class Where(TypedDict, total=False):
    """Which plugin is meant ("main" without), through which door, as what kind of call; of a storm with kind `duplex`
    also how many pieces a body is sent in."""

    plugin: str
    door: str
    kind: str
    pieces: int


@dataclass(frozen=True)
class PluginFiles:
    """The files of one plugin for one ABI."""

    main: Path
    refuses: Path | None = None
    plain: Path | None = None

    @property
    def names(self) -> list[str]:
        """The files that are there."""
        return [each.name for each in fields(self) if self.named(each.name) is not None]

    def named(self, name: str) -> Path | None:
        """`main`, `refuses` or `plain`."""
        path = getattr(self, name)
        assert path is None or isinstance(path, Path)
        return path


@dataclass(frozen=True)
class Process:
    """The driver's process at this moment."""

    rss_kib: int
    threads: int
    fds: int


@dataclass
class Pair:
    """A driver that loads a plugin's files in one ABI."""

    driver: Driver
    hello: Hello
    abi: str
    files: PluginFiles
    reloads: int = 20
    _loaded: list[str] = field(default_factory=list)

    # ---- plugins ----

    def load(self, file: str = "main", *, plugin: str = "main") -> None:
        """Load one of the plugin's files under a name."""
        path = self.files.named(file)
        assert path is not None, f"the case does not say that it needs the file {file}"
        self.driver.ask("load", [("path", path), ("abi", self.abi), ("plugin", plugin)])
        self._loaded.append(plugin)

    def unload(self, plugin: str = "main") -> None:
        """Unload; Failed when the host saw a promise broken."""
        self._loaded.remove(plugin)
        broken = self.driver.ask("unload", [("plugin", plugin)]).get("broken")
        if broken:
            raise Failed(f"the host saw {plugin} break a promise: {broken}")

    def unload_all(self) -> None:
        """What a case has left loaded."""
        for plugin in list(self._loaded):
            self.unload(plugin)

    # ---- calls ----

    def call(self, entry: str, body: bytes | int = b"", *, timeout_s: float = 30.0, **where: Unpack[Where]) -> Answer:
        """Call and take the frames to the end. `body` is the bytes, or the size of a made-up body."""
        pairs = [*_call_pairs(entry, body, where), ("timeout", timeout_s)]
        return Answer.read(self.driver.ask("call", pairs, limit_s=timeout_s))

    def request(self, entry: str, pairs: Sequence[tuple[str, Value]], body: bytes = b"") -> Answer:
        """Call with the keys of a request, headers among them, in order."""
        return Answer.read(self.driver.ask("call", [*_call_pairs(entry, body, {}), *pairs]))

    def submit(self, entry: str, body: bytes | int = b"", **where: Unpack[Where]) -> int:
        """Call without taking a frame; the sid. Failed when the plugin refuses."""
        answer = Answer.read(self.driver.ask("submit", _call_pairs(entry, body, where)))
        expect_status(answer.handle, 0, f"{entry}: handle")
        return answer.sid

    def open(self, entry: str, body: bytes | int = b"") -> int:
        """Submit a call of a stream entry."""
        return self.submit(entry, body, kind="stream")

    def wait(self, sid: int, frames: int | None = None, *, timeout_s: float = 30.0, **where: Unpack[Where]) -> Answer:
        """Take the frames of a submitted call: to the end, or `frames` of them."""
        pairs: list[tuple[str, Value]] = [("sid", sid), ("timeout", timeout_s), *_pairs(where)]
        if frames is not None:
            pairs.append(("frames", frames))
        return Answer.read(self.driver.ask("wait", pairs, limit_s=timeout_s), sid)

    def drop(self, sid: int) -> None:
        """Give a submitted call up."""
        self.driver.ask("drop", [("sid", sid)])

    def stream_data(self, sid: int, body: bytes = b"", **where: Unpack[Where]) -> int:
        """Send a frame to the plugin; its status."""
        return int(self.driver.ask("stream_data", [("sid", sid), ("body", body), *_pairs(where)])["status"])

    def stream_close(self, sid: int, **where: Unpack[Where]) -> int:
        """Close a stream; the plugin's status."""
        return int(self.driver.ask("stream_close", [("sid", sid), *_pairs(where)])["status"])

    # ---- many calls ----

    def storm(self, entry: str, calls: int, threads: int = 4, body_size: int = 128, **where: Unpack[Where]) -> Tally:
        """Many calls from many threads, each waiting for its reply."""
        pairs = _storm_pairs(entry, threads, body_size, where)
        return Tally.read(self.driver.ask("storm", [*pairs, ("calls", calls)], limit_s=120.0))

    def start_storm(
        self, entry: str, threads: int = 4, body_size: int = 128, calls: int | None = None, **where: Unpack[Where]
    ) -> int:
        """A storm of so many calls, or without `calls` until the plugin is unloaded; `join_storm` gives its tally."""
        end: tuple[str, Value] = ("until", "unload") if calls is None else ("calls", calls)
        pairs = [*_storm_pairs(entry, threads, body_size, where), end, ("async", 1)]
        return int(self.driver.ask("storm", pairs)["job"])

    def join_storm(self, job: int) -> Tally:
        """Wait for a storm."""
        return Tally.read(self.driver.ask("join", [("job", job)], limit_s=120.0))

    def reload(self, entry: str, n: int, threads: int) -> tuple[int, Tally, list[int]]:
        """Load the plugin anew `n` times under traffic: reloads done, tally, resident memory after each tenth."""
        pairs: list[tuple[str, Value]] = [("entry", entry), ("n", n), ("threads", threads)]
        answer = self.driver.ask("reload", pairs, limit_s=120.0 + n)
        return int(answer["reloads"]), Tally.read(answer), [int(rss) for rss in answer["rss_kib"]]

    # ---- the host ----

    def number(self, entry: str, **where: Unpack[Where]) -> int:
        """Call an entry that answers a decimal number."""
        answer = self.call(entry, **where)
        data = answer.frames[0].data if answer.handle == 0 and answer.frames else None
        if data is None or answer.frames[0].status != 0:
            raise Failed(f"{entry}: {answer}, expected a number")
        return int(data)

    def state_count(self, **where: Unpack[Where]) -> int:
        """How many values of state the host holds for the plugin."""
        return int(self.driver.ask("state_count", _pairs(where))["count"])

    def process(self) -> Process:
        """Resident memory, threads and descriptors of the driver."""
        answer = self.driver.ask("rss")
        return Process(int(answer["rss_kib"]), int(answer["threads"]), int(answer["fds"]))

    def refused(self, verb: str, pairs: Sequence[tuple[str, Value]]) -> Mapping[str, Any]:
        """Ask for what must be refused; the answer. Failed when the driver does it."""
        try:
            answer = self.driver.ask(verb, pairs)
        except DriverRefused as refused:
            return refused.answer
        raise Failed(f"{verb} was answered {answer!r}, expected an error")


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Look again until something holds that nothing announces; Failed after `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {PATIENCE_S:g} s")
        time.sleep(0.005)


def _call_pairs(entry: str, body: bytes | int, where: Where) -> list[tuple[str, Value]]:
    size = ("body_size", body) if isinstance(body, int) else ("body", body)
    return [("entry", entry), *([size] if body else []), *_pairs(where)]


def _storm_pairs(entry: str, threads: int, body_size: int, where: Where) -> list[tuple[str, Value]]:
    return [("entry", entry), ("threads", threads), ("body_size", body_size), *_pairs(where)]


def _pairs(where: Where) -> list[tuple[str, Value]]:
    return [(key, str(value)) for key, value in where.items()]
