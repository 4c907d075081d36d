"""Count instructions with callgrind: what each thread spends inside chosen functions, by object file and function."""

from __future__ import annotations

import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

LIMIT_S = 300
BELOW_MAIN = "(below main)"  # valgrind's name of a program's first function
OPTIONS = ("--dump-line=no", "--compress-strings=no", "--compress-pos=no", "--separate-threads=yes")


class CountError(Exception):
    """Nothing was counted; the text says of what, and why."""


@dataclass
class Thread:
    """What one thread spent.

    `own` is instructions by (object file, function), without what that calls. `calls` is how often each function was
    entered from another. `across` is what was spent below calls from one object file into another, but for main's.
    """

    own: Counter[tuple[str, str]] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    across: Counter[tuple[str, str]] = field(default_factory=Counter)  # by (caller's, callee's)

    def ran(self, pattern: str) -> bool:
        """Whether it was in a function of such a name."""
        return any(fnmatch(name, pattern) for _, name in self.own)


def parse(text: str) -> Thread:
    """Read what callgrind wrote of one thread, with OPTIONS."""
    thread = Thread()
    file = function = callee = callee_file = ""
    is_call = False
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "ob":
            file = callee_file = value
        elif key == "fn":
            function = value
        elif key == "cob":
            callee_file = value
        elif key == "cfn":
            callee = value
        elif key == "calls":
            thread.calls[callee] += int(value.split()[0])
            is_call = True
        elif line[:1].isdigit() and is_call:
            if function != BELOW_MAIN:
                thread.across[file, callee_file] += int(line.split()[1])
            callee_file = file
            is_call = False
        elif line[:1].isdigit():
            thread.own[file, function] += int(line.split()[1])
    return thread


def said_by(*command: str | Path) -> str:
    """What a command prints.

    Raises:
        CountError: it does not run, or fails.
    """
    words = " ".join(map(str, command))
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise CountError(f"{words}: {error}") from error
    if done.returncode != 0:
        raise CountError(f"{words}\nended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def count(command: list[str], functions: list[str], zero_before: str, limit_s: float = LIMIT_S) -> list[Thread]:
    """Run a command under callgrind.

    Args:
        command: a program and its arguments.
        functions: patterns of names. Only what happens inside them counts; they must not call each other.
        zero_before: the function at whose first instruction counting begins; what was spent before is forgotten.
        limit_s: how long it may take.

    Returns:
        The threads that were in one of the functions.

    Raises:
        CountError: the command failed or took too long, or a pattern fits no function that was run.
    """
    with tempfile.TemporaryDirectory() as folder:
        toggles = [f"--toggle-collect={name}" for name in functions]
        out = f"--callgrind-out-file={folder}/out"
        tool = ["valgrind", "-q", "--tool=callgrind", *OPTIONS, f"--zero-before={zero_before}", *toggles, out]
        try:
            done = subprocess.run([*tool, *command], capture_output=True, text=True, timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            said = (error.stderr or b"").decode(errors="replace").strip()
            raise CountError(
                f"{' '.join(command)}\nwas not through after {limit_s:g} s under valgrind: {said}"
            ) from error
        if done.returncode != 0:
            raise CountError(f"{' '.join(command)}\nended with {done.returncode} under valgrind: {done.stderr.strip()}")
        threads = [parse(path.read_text()) for path in sorted(Path(folder).iterdir())]
    for pattern in functions:
        if not any(thread.ran(pattern) for thread in threads):
            raise CountError(
                f"no function {pattern} was run by {' '.join(command)}: has it another name now, or is it inlined? "
                "What is counted stands in scripts/budget.py"
            )
    return [thread for thread in threads if thread.own]
