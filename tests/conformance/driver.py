"""The suite's end of the wire to a driver: verbs out, JSON in, and never a hang.

A driver that dies, says nothing, or says what is no JSON ends the conversation with a `DriverError` that has the end
of its stderr. A driver that answers `error` has refused one verb: `DriverRefused`; it can be asked on.
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

#: Seconds beyond a verb's own limit that a driver has to answer.
GRACE_S = 30.0

#: What sanitizers and glibc print when something is wrong.
TROUBLE = re.compile(
    rb"AddressSanitizer|LeakSanitizer|ThreadSanitizer|UndefinedBehaviorSanitizer|runtime error:|"
    rb"double free|corrupted|stack smashing"
)

Value = str | bytes | int | float | Path


class DriverError(Exception):
    """The driver is of no further use: it died, fell silent, broke the protocol, or ended badly."""


class DriverRefused(Exception):
    """The driver answered `error`. `answer` has what else it said."""

    def __init__(self, verb: str, answer: Mapping[str, Any], stderr: str) -> None:
        super().__init__(f"{verb}: {answer['error']}{_quoted(stderr)}")
        self.answer = answer


@dataclass(frozen=True)
class Hello:
    """What a driver says about itself: its host's name, the ABIs, and what it cannot do and why."""

    host: str
    abis: tuple[str, ...]
    cannot: Mapping[str, str]


class Driver:
    """A driver process. Use it in a `with` block, which kills it unless `quit` has ended it.

    Args:
        command: the command and its arguments; a str is split as a shell would.
        grace_s: seconds beyond a verb's own limit before a silent driver is given up.
    """

    def __init__(self, command: Sequence[str] | str, *, grace_s: float = GRACE_S) -> None:
        self._command = shlex.split(command) if isinstance(command, str) else list(command)
        self._grace_s = grace_s
        self._received = bytearray()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by kill
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr
            )
        except OSError as error:
            self._stderr.close()
            raise DriverError(f"the driver does not start: {shlex.join(self._command)}: {error}") from error

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def ask(self, verb: str, pairs: Sequence[tuple[str, Value]] = (), *, limit_s: float = 30.0) -> dict[str, Any]:
        """Say one line and take the answer.

        Args:
            verb: the verb.
            pairs: its keys and values, in order; a key may come again.
            limit_s: seconds the verb may take by itself.

        Raises:
            DriverRefused: the answer is an error.
            DriverError: there is no answer, or none that can be read.
        """
        line = " ".join([verb, *(f"{key}={_encoded(value)}" for key, value in pairs)])
        self._write(line)
        text = self._read_line(line, limit_s + self._grace_s)
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise DriverError(f"no JSON object came at {_shown(line)!r}: {_shown(text)!r}{_quoted(self.stderr_tail())}")
        if "error" in answer:
            raise DriverRefused(verb, answer, self.stderr_tail())
        return answer

    def hello(self, *, limit_s: float = 30.0) -> Hello:
        """Ask the driver what it is."""
        answer = self.ask("hello", limit_s=limit_s)
        try:
            return Hello(str(answer["host"]), tuple(answer["abi"]), dict(answer.get("cannot", {})))
        except (KeyError, TypeError, ValueError) as error:
            raise DriverError(f"hello was answered by {answer!r}, without host, abi or cannot: {error!r}") from error

    def quit(self) -> None:
        """End the driver; DriverError unless its exit code is 0 and its stderr speaks of no trouble."""
        self._write("quit")
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            code = self._process.wait(self._grace_s)
        except subprocess.TimeoutExpired:
            raise DriverError(f"the driver did not end after quit{_quoted(self.stderr_tail())}") from None
        if code != 0:
            raise DriverError(f"the driver ended with {_end(code)} after quit{_quoted(self.stderr_tail())}")
        if TROUBLE.search(self._stderr_bytes()):
            raise DriverError(f"the driver's stderr speaks of trouble:{_quoted(self.stderr_tail(12000))}")

    def kill(self) -> None:
        """Leave nothing behind."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._stderr.close()

    def stderr_tail(self, size: int = 3000) -> str:
        """The end of what the driver and its plugins have written to stderr."""
        return self._stderr_bytes()[-size:].decode(errors="replace")

    def _stderr_bytes(self) -> bytes:
        return os.pread(self._stderr.fileno(), os.fstat(self._stderr.fileno()).st_size, 0)

    def _write(self, line: str) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise self._died(line) from None

    def _read_line(self, line: str, limit_s: float) -> str:
        assert self._process.stdout
        pipe = self._process.stdout.fileno()
        deadline = time.monotonic() + limit_s
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self._process.kill()
                raise DriverError(
                    f"the driver said nothing for {limit_s:g} s at {_shown(line)!r}{_quoted(self.stderr_tail())}"
                )
            piece = os.read(pipe, 1 << 20)
            if not piece:
                raise self._died(line)
            self._received += piece
        text = self._received[:end].decode(errors="replace")
        del self._received[: end + 1]
        return text

    def _died(self, line: str) -> DriverError:
        try:
            how = _end(self._process.wait(self._grace_s))
        except subprocess.TimeoutExpired:
            how = "its stdout closed"
        return DriverError(f"the driver died ({how}) at {_shown(line)!r}{_quoted(self.stderr_tail())}")


def _encoded(value: Value) -> str:
    data = value if isinstance(value, bytes) else os.fsencode(value) if isinstance(value, Path) else str(value).encode()
    return quote_from_bytes(data, safe="/:.,-_")


def _end(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _shown(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


def _quoted(stderr: str) -> str:
    return f"\n  stderr: {stderr.strip()}".replace("\n", "\n  | ") if stderr.strip() else ""
