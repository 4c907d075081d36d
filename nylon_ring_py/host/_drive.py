"""`python -m nylon_ring_py.host drive`: this host as a driver of the conformance suite. docs/conformance.md has the
protocol, verb by verb.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote_to_bytes

from nylon_ring_py.host._calls import Deadline
from nylon_ring_py.host._functions import Abi
from nylon_ring_py.host._host import Host
from nylon_ring_py.host._storm import Storm
from nylon_ring_py.host._submit import Door, Pending, Request, is_last, submit
from nylon_ring_py.host.errors import CallTimeoutError, HostError, InitRefusedError, RefusedError
from nylon_ring_py.host.reply import Reply
from nylon_ring_py.status import Status

Answer = dict[str, Any]
SHOWN_BYTES = 64 << 10
TIMEOUT_S = 30.0
CANNOT = {"state": "the plugin keeps it: nylon_ring_host_ext is a C symbol of the process, which Python cannot export"}
_PATTERN = bytes(range(251))


class CommandError(Exception):
    """A command that cannot be carried out; the text is the answer."""


class Command:
    """One line: a verb, and values by key."""

    def __init__(self, line: str) -> None:
        self.verb, *words = line.split()
        self._values: dict[str, list[bytes]] = {}
        for word in words:
            key, _, value = word.partition("=")
            self._values.setdefault(key, []).append(unquote_to_bytes(value))

    def all(self, key: str) -> list[bytes]:
        """Every value of a key."""
        return self._values.get(key, [])

    def text(self, key: str, default: str = "") -> str:
        """The value of a key."""
        values = self._values.get(key)
        return values[0].decode() if values else default

    def number(self, key: str, default: int) -> int:
        """The value of a key as a whole number."""
        return int(self.text(key, str(default)))

    @property
    def timeout_s(self) -> float:
        """How long the command may wait for the plugin."""
        return float(self.text("timeout", str(TIMEOUT_S)))

    @property
    def request(self) -> Request:
        """The call that the keys describe."""
        size = self.number("body_size", 0)
        body = (_PATTERN * (size // len(_PATTERN) + 1))[:size] if size else b"".join(self.all("body")[:1])
        return Request(
            entry=self.text("entry"),
            body=body,
            stream=self.text("kind") in ("stream", "duplex"),
            door=cast("Door", self.text("door", "handle")),
            method=self.text("method"),
            path=self.text("path"),
            query=self.text("query"),
            headers=list(zip(self.all("hkey"), self.all("hval"), strict=True)),
        )


class Loaded:
    """A plugin of the driver's, and its calls that are still to be waited for."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.pending: dict[int, tuple[Request, Pending]] = {}


class Driver:
    """Carries out commands."""

    def __init__(self) -> None:
        self._plugins: dict[str, Loaded] = {}
        self._jobs: dict[int, tuple[threading.Thread, Answer]] = {}

    def run(self, line: str) -> Answer:
        """The answer to a line."""
        command = Command(line)
        if command.text("async") == "1":
            job = len(self._jobs) + 1
            answer: Answer = {}
            thread = threading.Thread(target=lambda: answer.update(self._answer(command)))
            self._jobs[job] = thread, answer
            thread.start()
            return {"ok": True, "job": job}
        return self._answer(command)

    def _answer(self, command: Command) -> Answer:
        verb: Callable[[Command], Answer] | None = getattr(self, f"verb_{command.verb}", None)
        if verb is None:
            return {"error": f"there is no verb {command.verb!r}"}
        try:
            return {"ok": True, **verb(command)}
        except InitRefusedError as error:
            return {"error": str(error), "init": int(error.status)}
        except (HostError, CommandError, ValueError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def close(self) -> None:
        """Unload everything."""
        for thread, _ in self._jobs.values():
            thread.join()
        while self._plugins:
            self._plugins.popitem()[1].host.unload()

    def _loaded(self, command: Command) -> Loaded:
        name = command.text("plugin", "main")
        loaded = self._plugins.get(name)
        if loaded is None:
            raise CommandError(f"no plugin {name!r} is loaded")
        return loaded

    # ---- verbs ----

    def verb_hello(self, command: Command) -> Answer:
        return {"host": "nylon_ring_py.host", "abi": ["v1", "v1-raw", "v2"], "cannot": CANNOT}

    def verb_load(self, command: Command) -> Answer:
        name = command.text("plugin", "main")
        if name in self._plugins:
            raise CommandError(f"a plugin {name!r} is loaded already")
        abi = cast("Abi | None", command.text("abi") or None)
        self._plugins[name] = Loaded(Host.load(os.fsdecode(command.all("path")[0]), abi=abi))
        return {}

    def verb_call(self, command: Command) -> Answer:
        answer = self.verb_submit(command)
        return {**answer, **(self._wait(command, answer["sid"]) if answer["handle"] == Status.OK else NOTHING)}

    def verb_submit(self, command: Command) -> Answer:
        loaded, request = self._loaded(command), command.request
        try:
            pending = submit(loaded.host.instance, request)
        except RefusedError as error:
            return {"handle": int(error.status), "sid": 0}
        loaded.pending[pending.sid] = request, pending
        return {"handle": int(Status.OK), "sid": pending.sid}

    def verb_wait(self, command: Command) -> Answer:
        return self._wait(command, command.number("sid", 0))

    def _wait(self, command: Command, sid: int) -> Answer:
        loaded = self._loaded(command)
        if sid not in loaded.pending:
            raise CommandError(f"no call with sid {sid} is waited for")
        request, pending = loaded.pending[sid]
        deadline = Deadline(0.0 if request.door == "fast" else command.timeout_s)
        wanted = command.number("frames", sys.maxsize)
        frames: list[Answer] = []
        ended = late = False
        while len(frames) < wanted and not ended:
            try:
                frame = pending.recv(deadline.left_s)
            except CallTimeoutError:
                late = True
                break
            if frame is None:
                break
            frames.append(_shown(frame))
            ended = is_last(request, frame)
        if ended or request.door == "fast":
            loaded.pending.pop(sid, None)
        return {"frames": frames, "ended": ended, "timeout": late and request.door != "fast"}

    def verb_drop(self, command: Command) -> Answer:
        found = self._loaded(command).pending.pop(command.number("sid", 0), None)
        if found is None:
            raise CommandError("no call with that sid is waited for")
        found[1].close()
        return {}

    def verb_stream_data(self, command: Command) -> Answer:
        host = self._loaded(command).host
        return _status_of(lambda: host.send_stream_data(command.number("sid", 0), command.request.body))

    def verb_stream_close(self, command: Command) -> Answer:
        host = self._loaded(command).host
        return _status_of(lambda: host.close_stream(command.number("sid", 0)))

    def _storm(self, command: Command, calls: int | None) -> Storm:
        size = command.number("body_size", 64)
        pieces = max(1, command.number("pieces", 8)) if command.text("kind") == "duplex" else 0
        threads = command.number("threads", 4)
        host = self._loaded(command).host
        return Storm(host, command.request, body_size=size, pieces=pieces, threads=threads, calls=calls)

    def verb_storm(self, command: Command) -> Answer:
        until_unload = command.text("until") == "unload"
        return asdict(self._storm(command, None if until_unload else command.number("calls", 1000)).join())

    def verb_reload(self, command: Command) -> Answer:
        host, rounds = self._loaded(command).host, command.number("n", 10)
        storm = self._storm(command, None if command.text("entry") else 0)
        rss_kib = []
        try:
            for i in range(1, rounds + 1):
                host.reload()
                if i % max(1, rounds // 10) == 0:
                    rss_kib.append(_process()["rss_kib"])
        finally:
            storm.stop()
            counts = storm.join()
        return {"reloads": rounds, **asdict(counts), "rss_kib": rss_kib}

    def verb_join(self, command: Command) -> Answer:
        number = command.number("job", 0)
        if number not in self._jobs:
            raise CommandError(f"there is no job {number}")
        thread, answer = self._jobs[number]
        thread.join()
        return answer

    def verb_unload(self, command: Command) -> Answer:
        loaded = self._loaded(command)
        loaded.host.unload()
        del self._plugins[command.text("plugin", "main")]
        return {}

    def verb_state_count(self, command: Command) -> Answer:
        self._loaded(command)
        return {"count": 0}

    def verb_rss(self, command: Command) -> Answer:
        return _process()


NOTHING: Answer = {"frames": [], "ended": False, "timeout": False}


def _shown(frame: Reply) -> Answer:
    shown: Answer = {"status": int(frame.status), "len": len(frame.data), "crc32": zlib.crc32(frame.data)}
    if len(frame.data) <= SHOWN_BYTES:
        shown["hex"] = frame.data.hex()
    return shown


def _status_of(send: Callable[[], None]) -> Answer:
    try:
        send()
    except RefusedError as error:
        return {"status": int(error.status)}
    return {"status": int(Status.OK)}


def _process() -> Answer:
    facts = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    fds = sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1  # less the one that lists
    return {"rss_kib": int(facts["VmRSS"].split()[0]), "threads": int(facts["Threads"]), "fds": fds}


def drive() -> int:
    """Read commands from stdin until `quit` or its end; the process's exit code."""
    # Answers have a descriptor of their own: what plugins print to stdout goes to stderr.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    driver = Driver()
    for line in sys.stdin:
        if not line.strip():
            continue
        if line.split()[0] == "quit":
            driver.close()
            print(json.dumps({"ok": True}), file=answers, flush=True)
            return 0
        print(json.dumps(driver.run(line)), file=answers, flush=True)
    driver.close()
    return 0
