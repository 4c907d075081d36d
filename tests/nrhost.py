"""The C host of host-harness/c, driven from Python: one `nrhost drive` process per `NrHost`.

    with NrHost() as host:
        host.load("plugin.so")
        assert host.call("echo", body=b"hi").reply.data == b"hi"

Leaving the block unloads what is loaded and then looks: at each plugin's ledger (every accepted call answered
exactly once), at threads, file descriptors and child processes left over, at the exit code, and at stderr for
a sanitizer's words.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shlex
import signal
import subprocess
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, Unpack
from urllib.parse import quote_from_bytes

ROOT = Path(__file__).resolve().parent.parent

#: What sanitizers and glibc print when something is wrong.
TROUBLE = re.compile(
    rb"AddressSanitizer|LeakSanitizer|ThreadSanitizer|UndefinedBehaviorSanitizer|runtime error:|"
    rb"double free|corrupted|stack smashing"
)

#: Seconds after which a host that says nothing is killed. Longer than the host's own limits.
SILENCE_S = 150.0

_INLINE_BYTES = 256 << 10


Abi = Literal["v1", "v1-raw", "v2"]


class Status(IntEnum):
    """The ABI's statuses."""

    OK = 0
    ERR = 1
    INVALID = 2
    UNSUPPORTED = 3
    STREAM_END = 4
    BACKPRESSURE = 6


class HostError(Exception):
    """A verb failed, the host process died, or it left something behind."""


@dataclass(frozen=True)
class Frame:
    """One reply or stream frame. `data` is None where only length and CRC-32 came (above 64 KiB)."""

    status: int
    length: int
    crc32: int
    data: bytes | None

    @property
    def text(self) -> str:
        """The payload as UTF-8."""
        assert self.data is not None, "the payload is long: ask with full=True"
        return self.data.decode()


@dataclass(frozen=True)
class Call:
    """What came of a call so far: `handle` is the status `handle` returned, in `handle_ns` nanoseconds."""

    handle: int
    sid: int
    frames: list[Frame]
    ended: bool
    timed_out: bool
    handle_ns: int

    @property
    def reply(self) -> Frame:
        """The only reply of a unary call; AssertionError when there is none or more."""
        assert self.handle == Status.OK, f"handle refused the call: {self.handle}"
        assert len(self.frames) == 1, f"{len(self.frames)} replies (timed out: {self.timed_out})"
        return self.frames[0]

    @property
    def data(self) -> list[bytes | None]:
        """The payloads of all frames, the terminal one included."""
        return [frame.data for frame in self.frames]


@dataclass(frozen=True)
class Ledger:
    """The host's record of a plugin. `first` tells the first broken promise in words."""

    clean: bool
    accepted: int
    refused: int
    replies: int
    terminals: int
    backpressure: int
    open: int
    after_terminal: int
    after_refusal: int
    unknown: int
    overlaps: int
    strangers: int
    bad_status: int
    after_invalid: int
    reordered: int
    first: str


@dataclass(frozen=True)
class Storm:
    """What became of a storm's calls."""

    accepted: int
    refused: int
    refused_by_status: dict[str, int]
    terminals: int
    frames: int
    wrong: int
    timeouts: int
    no_reply: int


@dataclass(frozen=True)
class Counts:
    """What became of the calls of callers that go on under an unload or a reload."""

    accepted: int
    refused: int
    replies: int
    wrong: int
    lost: int


@dataclass(frozen=True)
class Process:
    """The host process: resident memory in KiB, threads, open file descriptors, children."""

    rss_kib: int
    threads: int
    fds: int
    children: int


@dataclass(frozen=True)
class Forked:
    """How a call went in a forked child; `handle` is None when the child died (see `signal`) or hung."""

    hung: bool
    signal: int
    handle: int | None
    answered: bool
    reply: int | None


class Place(TypedDict, total=False):
    """Where a verb runs: `on` is "main", "thread" or "pool:N"; `stack` bytes; limits in seconds."""

    on: str
    stack: int
    timeout: float
    limit: float
    plugin: str
    ctx: str


class Request(Place, total=False):
    """The fields of a call. `raw` replaces views by hand: {"entry": "null:5", "hkey0": "top:9"}."""

    sid: int
    door: Literal["handle", "raw", "fast", "id"]
    id: int
    kind: Literal["unary", "stream"]
    method: str | bytes
    path: str | bytes
    query: str | bytes
    headers: Sequence[tuple[str | bytes, str | bytes]] | int
    body: bytes
    body_size: int
    body_file: str | Path
    request: Literal["null"]
    full: bool
    frames: int
    keep: bool
    raw: Mapping[str, str]


def pattern_crc32(size: int) -> int:
    """CRC-32 of the body that `body_size=size` makes."""
    block = bytes(range(251)) * 4096
    crc = 0
    for start in range(0, size, len(block)):
        crc = zlib.crc32(block[: size - start], crc)
    return crc


def _encode(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    data = value if isinstance(value, bytes) else os.fsencode(value) if isinstance(value, Path) else str(value).encode()
    return quote_from_bytes(data, safe="/:.,-_")


def _call(answer: Mapping[str, Any], sid: int = 0) -> Call:
    frames = [
        Frame(f["status"], f["len"], f["crc32"], bytes.fromhex(f["hex"]) if "hex" in f else None)
        for f in answer.get("frames", [])
    ]
    return Call(
        answer.get("handle", 0),
        answer.get("sid", sid),
        frames,
        answer.get("ended", False),
        answer.get("timeout", False),
        answer.get("handle_ns", 0),
    )


def _counts(answer: Mapping[str, Any]) -> Counts:
    return Counts(**{name: answer[name] for name in Counts.__dataclass_fields__})


def _job(answer: Mapping[str, Any]) -> int:
    job = answer["job"]
    assert isinstance(job, int)
    return job


class NrHost:
    """A host process.

    Args:
        binary: the `nrhost` command; $NRHOST or build/c/nrhost without. $NRHOST_UNDER may name a tool to run it under.
        arguments: what follows the command's name.
        env: variables beside this process's own.
        clean: whether plugins must have kept every promise when the block is left.
        leaks: whether threads, descriptors and children are counted when the block is left.
        resident_threads, resident_fds: how many of them a runtime that stays loaded may keep.
        patience_s: how long what has ended may take to go, in seconds.
    """

    def __init__(
        self,
        binary: Path | str | None = None,
        arguments: Sequence[str] = ("drive",),
        env: Mapping[str, str] | None = None,
        *,
        clean: bool = True,
        leaks: bool = True,
        resident_threads: int = 0,
        resident_fds: int = 0,
        patience_s: float = 60.0,
    ) -> None:
        self.binary = Path(binary or os.environ.get("NRHOST") or ROOT / "build/c/nrhost")
        self._arguments = list(arguments)
        self._env = {**os.environ, **(env or {})}
        for name in (
            "ASAN_OPTIONS",
            "TSAN_OPTIONS",
            "UBSAN_OPTIONS",
        ):  # the host's own, which the sanitizers' script gives
            if f"NRHOST_{name}" in os.environ:
                self._env[name] = os.environ[f"NRHOST_{name}"]
        self._clean = clean
        self._leaks = leaks
        self._resident = (resident_threads, resident_fds)
        self._patience_s = patience_s
        self._loaded: list[str] = []
        self._pools: set[str] = set()
        self._buffer = b""
        #: Called before a host that says nothing is killed.
        self.on_silence: Callable[[], object] = lambda: None
        #: The promises that the plugin unloaded last had broken, in the host's words.
        self.broken: list[str] = []

    def __enter__(self) -> Self:
        if not self.binary.exists():
            raise HostError(f"{self.binary} is missing: run make -C host-harness/c, or set NRHOST")
        self._stderr = tempfile.TemporaryFile()
        self._scratch = tempfile.TemporaryDirectory(prefix="nrhost-")
        self._process = subprocess.Popen(
            [*shlex.split(os.environ.get("NRHOST_UNDER", "")), str(self.binary), *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=self._env,
        )
        self.pid = self._process.pid
        self._before = self.process()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None:
                self._process.kill()
            elif self._process.poll() is None:
                self._leave()
        finally:
            self._close()
        if kind is not None and error is not None:
            error.add_note(f"the host's stderr:\n{self.stderr_tail()}")
        self._scratch.cleanup()
        trouble = kind is None and TROUBLE.search(self.stderr())
        text = self.stderr_tail(12000)
        self._stderr.close()
        if trouble:
            raise HostError(f"the host's stderr speaks of trouble:\n{text}")

    def abandon(self) -> None:
        """Ends the process at once; leaving the block finds nothing to check then."""
        self._process.kill()
        self._process.wait()

    def _close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        for pipe in (self._process.stdin, self._process.stdout):
            # Broken when the host is gone, and with it the reader of what was still buffered.
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        try:
            self._process.wait(SILENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise HostError(f"the host did not end\n{self.stderr_tail()}") from None

    def _leave(self) -> None:
        for plugin in list(self._loaded):
            self.unload(plugin=plugin)
        if self._leaks:
            self._check_leaks()
        self._send("quit")
        self._close()
        if self._process.returncode != 0:
            raise HostError(f"the host ended with {self._process.returncode}\n{self.stderr_tail()}")

    def _check_leaks(self) -> None:
        threads = self._before.threads + self._resident[0] + len(self._pools)
        fds = self._before.fds + self._resident[1]
        # A joined thread stands in /proc a moment longer, and nothing tells when it has gone.
        deadline = time.monotonic() + self._patience_s
        while True:
            now = self.process()
            if now.threads <= threads and now.fds <= fds and now.children == 0:
                return
            if time.monotonic() > deadline:
                raise HostError(f"left behind: {now}, where at most {threads} threads and {fds} fds were expected")
            time.sleep(0.01)

    # ---- the wire ----

    def _send(self, line: str) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died(line) from None

    def _died(self, line: str) -> HostError:
        code = self._process.wait(SILENCE_S)
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return HostError(f"the host died ({how}) at: {line[:200]}\n{self.stderr_tail()}")

    def _read_line(self, line: str) -> bytes:
        assert self._process.stdout
        pipe = self._process.stdout.fileno()
        pieces = [self._buffer]
        deadline = time.monotonic() + SILENCE_S
        while b"\n" not in pieces[-1]:
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self.on_silence()
                self._process.kill()
                raise HostError(f"the host said nothing for {SILENCE_S} s at: {line[:200]}\n{self.stderr_tail()}")
            piece = os.read(pipe, 1 << 20)
            if not piece:
                raise self._died(line)
            pieces.append(piece)
        answer, _, self._buffer = b"".join(pieces).partition(b"\n")
        return answer

    def command(self, verb: str, pairs: Sequence[tuple[str, object]] = ()) -> dict[str, Any]:
        """Sends one line of the protocol, and gives its answer. HostError when the answer is an error."""
        for key, value in pairs:
            if key == "on" and str(value).startswith("pool:"):
                self._pools.add(str(value))
        line = " ".join([verb, *(f"{key}={_encode(value)}" for key, value in pairs)])
        self._send(line)
        answer: dict[str, Any] = json.loads(self._read_line(line))
        if "error" in answer and not (verb in ("load", "join") and "init" in answer):  # a plugin may refuse
            raise HostError(f"{verb}: {answer['error']}\n{self.stderr_tail()}")
        return answer

    def _pairs(self, request: Request) -> list[tuple[str, object]]:
        pairs: list[tuple[str, object]] = []
        for key, value in request.items():
            if key == "headers" and not isinstance(value, int):
                assert isinstance(value, Sequence)
                for name, text in value:
                    pairs += [("hkey", name), ("hval", text)]
            elif key == "raw":
                assert isinstance(value, Mapping)
                pairs += [(f"raw.{name}", view) for name, view in value.items()]
            elif key == "body" and isinstance(value, bytes) and len(value) > _INLINE_BYTES:
                path = Path(self._scratch.name) / "body"
                path.write_bytes(value)
                pairs.append(("body_file", path))
            else:
                pairs.append((key, value))
        return pairs

    def stderr(self) -> bytes:
        """All that the process has written to stderr (its plugins' stdout too)."""
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), size, 0)

    def stderr_tail(self, size: int = 4000) -> str:
        """The end of stderr, at most `size` bytes."""
        return self.stderr()[-size:].decode(errors="replace")

    # ---- plugins ----

    def load(
        self,
        path: Path | str,
        *,
        abi: Abi = "v1",
        layout: Literal["seed", "raw"] = "seed",
        ledger: bool = True,
        get_only: bool = False,
        stream_capacity: int | None = None,
        keep_owned: bool = False,
        **place: Unpack[Place],
    ) -> int | None:
        """Opens a plugin and starts it. Returns init's status; None with get_only. Unless Ok it stays unloaded.

        Args:
            path: the plugin's file.
            abi: what the host speaks.
            layout: "raw" is another word for the ABI v1-raw.
            ledger: whether the host keeps its record of promises.
            get_only: init is not called.
            stream_capacity: v2: frames a stream may have waiting, 0 for no bound; 64 without.
            keep_owned: v2: replies sent with send_result_owned stay in the plugin's memory until they are freed.
            place: where the verb runs, and the plugin's name.
        """
        pairs: list[tuple[str, object]] = [
            ("path", path), ("abi", "v1-raw" if layout == "raw" else abi), ("ledger", ledger), ("get_only", get_only),
            ("keep_owned", keep_owned)
        ]  # fmt: skip
        if stream_capacity is not None:
            pairs.append(("stream_capacity", stream_capacity))
        answer = self.command("load", [*pairs, *place.items()])
        status: int | None = answer.get("init")
        if not status:
            self._loaded.append(place.get("plugin", "main"))
        return status

    def init(self, **place: Unpack[Place]) -> int:
        """Calls init (again); `ctx` may be "null", "host", "own+8" or a number."""
        return int(self.command("init", list(place.items()))["init"])

    def info(self, **place: Unpack[Place]) -> dict[str, Any]:
        """name, version, abi_version, struct_size and plugin_ctx of the plugin."""
        return self.command("info", list(place.items()))

    def shutdown(self, **place: Unpack[Place]) -> None:
        """Calls shutdown; the host's context is freed as soon as it returns."""
        self.command("shutdown", list(place.items()))

    def unload(self, *, plugin: str = "main") -> Ledger | None:
        """Shuts down unless that is done, and dlcloses. HostError when a promise was broken (see `clean`)."""
        answer = self.command("unload", [("plugin", plugin)])
        self._loaded.remove(plugin)
        self.broken = list(answer["broken"])
        ledger = Ledger(**answer["ledger"]) if "ledger" in answer else None
        if self._clean and ledger and not ledger.clean:
            raise HostError(f"{plugin} broke its promise: {ledger}\n{self.stderr_tail()}")
        if self._clean and answer["late_sends"]:
            raise HostError(f"{answer['late_sends']} sends came after shutdown had returned\n{self.stderr_tail()}")
        return ledger

    def ledger(self, *, plugin: str = "main") -> Ledger:
        """The record so far."""
        return Ledger(**self.command("ledger", [("plugin", plugin)])["ledger"])

    def ledger_reset(self, *, plugin: str = "main") -> None:
        """Forgets calls that are over, and frees their records."""
        self.command("ledger_reset", [("plugin", plugin)])

    def late_sends(self) -> int:
        """Sends after shutdown had returned, of all plugins. 0 under AddressSanitizer, which ends the process."""
        return int(self.command("ping")["late_sends"])

    # ---- calls ----

    def call(self, entry: str | bytes, **request: Unpack[Request]) -> Call:
        """Makes a call and takes its frames until the end (or `frames` of them, or `timeout` seconds)."""
        return _call(self.command("call", [("entry", entry), *self._pairs(request)]))

    def fire(self, entry: str | bytes, **request: Unpack[Request]) -> Call:
        """Makes a call whose reply nobody will ask for: in v2 the plugin is told so when it sends."""
        return _call(self.command("fire", [("entry", entry), *self._pairs(request)]))

    def free_frames(self) -> list[Frame]:
        """The frames that calls with keep=True have taken, newest first; then they are freed."""
        return _call(self.command("free_frames")).frames

    def resolve(self, entry: str, **place: Unpack[Place]) -> int:
        """The entry's number in ABI v2; 0xFFFFFFFF for none."""
        return int(self.command("resolve", [("entry", entry), *place.items()])["id"])

    def stream(self, entry: str | bytes, **request: Unpack[Request]) -> Call:
        """`call` for a stream entry."""
        request["kind"] = "stream"
        return self.call(entry, **request)

    def submit(self, entry: str | bytes, **request: Unpack[Request]) -> Call:
        """Makes a call and takes no reply: `wait` or `drop` does, by the sid."""
        return _call(self.command("submit", [("entry", entry), *self._pairs(request)]))

    def wait(self, sid: int, *, frames: int | None = None, full: bool = False, **place: Unpack[Place]) -> Call:
        """Takes frames of a submitted call: to the end, or `frames` of them."""
        pairs: list[tuple[str, object]] = [("sid", sid), ("full", full), *place.items()]
        if frames is not None:
            pairs.append(("frames", frames))
        return _call(self.command("wait", pairs), sid)

    def drop(self, sid: int, **place: Unpack[Place]) -> None:
        """Gives a submitted call up; an open stream is closed at the plugin."""
        self.command("drop", [("sid", sid), *place.items()])

    def stream_data(self, sid: int, body: bytes = b"", /, **request: Unpack[Request]) -> int:
        """Sends a frame to the plugin; returns its status. `raw={"data": "null:4"}` breaks the view."""
        if body:
            request["body"] = body
        return int(self.command("stream_data", [("sid", sid), *self._pairs(request)])["status"])

    def stream_close(self, sid: int, **place: Unpack[Place]) -> int:
        """Closes the stream's input; returns the plugin's status."""
        return int(self.command("stream_close", [("sid", sid), *place.items()])["status"])

    # ---- in the background ----

    def start(self, verb: str, **request: Unpack[Request]) -> int:
        """Starts any verb on a thread of its own; `join` gives its answer."""
        return _job(self.command(verb, [("async", 1), *self._pairs(request)]))

    def start_call(self, entry: str | bytes, **request: Unpack[Request]) -> int:
        """`call` in the background; `join_call` gives what came of it."""
        return _job(self.command("call", [("async", 1), ("entry", entry), *self._pairs(request)]))

    def start_shutdown(self, **place: Unpack[Place]) -> int:
        """`shutdown` in the background; `join` waits for it."""
        return _job(self.command("shutdown", [("async", 1), *place.items()]))

    def join(self, job: int, *, limit: float = 120.0) -> dict[str, Any]:
        """Waits for a job; the process ends with an error when it takes longer than `limit` seconds."""
        return self.command("join", [("job", job), ("limit", limit)])

    def join_call(self, job: int) -> Call:
        """Waits for a `start_call`."""
        return _call(self.join(job))

    def storm(
        self,
        *,
        calls: int,
        threads: int = 8,
        waves: int = 1,
        window: int = 64,
        body_size: int = 64,
        check_echo: bool = False,
        unary: str | None = None,
        raw: str | None = None,
        fast: str | None = None,
        stream: str | None = None,
        **place: Unpack[Place],
    ) -> Storm:
        """Threads that come and go in waves make `calls` calls, in turn of the kinds that have an entry."""
        pairs: list[tuple[str, object]] = [
            ("calls", calls), ("threads", threads), ("waves", waves), ("window", window), ("body_size", body_size)
        ]  # fmt: skip
        pairs += [("check", "echo")] if check_echo else []
        kinds = {"unary": unary, "raw": raw, "fast": fast, "stream": stream}
        pairs += [(kind, entry) for kind, entry in kinds.items() if entry]
        answer = self.command("storm", [*pairs, *place.items()])
        return Storm(**{name: answer[name] for name in Storm.__dataclass_fields__})

    def start_callers(self, entry: str, **arguments: object) -> int:
        """Callers of one entry in the background: `kind` ("duplex" too, with `pieces`), `door`, `threads`, `calls`,
        `body_size`, json=True for bodies that are JSON, until="unload"."""
        return _job(self.command("storm", [("async", 1), ("entry", entry), *arguments.items()]))

    def join_callers(self, job: int) -> Counts:
        """What became of `start_callers`' calls, once they are over."""
        return _counts(self.join(job))

    def reload(self, n: int = 1, *, drain: bool = True, **callers: object) -> tuple[Counts, list[str]]:
        """Loads the plugin anew `n` times while callers (`entry`, `threads`, …) go on, if an entry is given.

        Returns:
            The callers' counts, and the promises that the instances which ended have broken.
        """
        answer = self.command("reload", [("n", n), ("drain", drain), ("limit", 600), *callers.items()])
        assert answer["reloads"] == n
        return _counts(answer), list(answer["broken"])

    def leases(self, **place: Unpack[Place]) -> int:
        """v2: buffers lent to the plugin that it has not given back."""
        return int(self.command("leases", list(place.items()))["count"])

    def start_storm(self, **arguments: object) -> int:
        """`storm` in the background; `join` gives its counts as a dict."""
        return _job(self.command("storm", [("async", 1), *arguments.items()]))

    # ---- what the host does inside send_result ----

    def callback(
        self,
        mode: Literal["none", "reenter", "join", "block", "shutdown"],
        *,
        entry: str = "echo",
        budget: int | None = None,
        sid: int = 0,
        depth: int = 1,
    ) -> None:
        """From now on, inside send_result (for `budget` replies, or one sid): call `entry` raw ("reenter", from a
        joined thread with "join"), park until `release`, or shut the plugin down."""
        pairs: list[tuple[str, object]] = [("mode", mode), ("entry", entry), ("sid", sid), ("depth", depth)]
        if budget is not None:
            pairs.append(("budget", budget))
        self.command("callback", pairs)

    def parked(self, count: int = 1) -> int:
        """Waits until `count` threads are parked in send_result."""
        return int(self.command("parked", [("count", count)])["count"])

    def release(self) -> None:
        """Lets parked threads go, and parks no more."""
        self.command("release")

    def callback_report(self, *, inner_calls: int = 0, shutdowns: int = 0) -> dict[str, int]:
        """inner_calls, inner_replies (those there at once), inner_refused, shutdowns, parked; waits for so many."""
        answer = self.command("callback_report", [("inner_calls", inner_calls), ("shutdowns", shutdowns)])
        return {name: value for name, value in answer.items() if name != "ok"}

    # ---- the process ----

    def cycle(self, plugin_file: Path | str, *, n: int = 200, entry: str = "", **request: Unpack[Request]) -> list[int]:
        """Load, call, shutdown, dlclose, n times. Resident memory in KiB after each tenth."""
        pairs: list[tuple[str, object]] = [("file", plugin_file), ("n", n), ("limit", 600), *self._pairs(request)]
        if entry:
            pairs.append(("entry", entry))
        return list(self.command("cycle", pairs)["rss_kib"])

    def state_get(self, sid: int, key: str) -> bytes | None:
        """What the host holds for a sid under a key; None where nothing."""
        answer = self.command("state_get", [("sid", sid), ("key", key)])
        return bytes.fromhex(answer["value"]) if answer["found"] else None

    def state_count(self, sid: int = 0) -> int:
        """How many values the host holds for a sid, or for all of them."""
        return int(self.command("state_count", [("sid", sid)])["count"])

    def process(self) -> Process:
        """Memory, threads, descriptors and children at this moment."""
        answer = self.command("rss")
        return Process(answer["rss_kib"], answer["threads"], answer["fds"], answer["children"])

    def malloc_trim(self) -> None:
        """Gives the heap's free memory back to the system."""
        self.command("malloc_trim")

    def setenv(self, name: str, value: str) -> None:
        """Sets a variable in the host's process."""
        self.command("env", [("name", name), ("value", value)])

    def fork(self, entry: str | bytes, **request: Unpack[Request]) -> Forked:
        """Forks; the child makes a call."""
        answer = self.command("fork", [("entry", entry), *self._pairs(request)])
        return Forked(
            answer["hung"], answer["signal"], answer.get("handle"), answer.get("answered", False), answer.get("reply")
        )

    def exit(
        self,
        how: Literal["return", "exit_without_shutdown", "_exit", "pthread_exit", "abort"] = "return",
        *,
        code: int = 0,
        shutdown: bool = False,
    ) -> int:
        """Ends the process that way; returns its exit code (negative: the signal that ended it)."""
        self._send(f"exit how={how} code={code} shutdown={int(shutdown)}")
        try:
            return self._process.wait(SILENCE_S)
        except subprocess.TimeoutExpired:
            raise HostError(f"the host did not end after exit how={how}\n{self.stderr_tail()}") from None
