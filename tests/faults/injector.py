"""The handle of inject.c: which calls fail in a host process that was started with it."""

from __future__ import annotations

import mmap
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntFlag
from pathlib import Path

from hosts.environments import compile_c

FOREVER = 2**64 - 1


class Kind(IntFlag):
    """What may fail; as in inject.c."""

    MEMORY = 1
    THREAD = 2
    DESCRIPTOR = 4
    PYTHON_MEMORY = 8
    PYTHON_THREAD = 16


def build_injector(folder: Path) -> Path:
    """Compiles inject.c. A tail call would lose whose call it was."""
    strict = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror"]
    options = ["-shared", "-O1", "-fno-optimize-sibling-calls", *strict, "-ldl"]
    return compile_c(folder / "inject.so", ["tests/faults/inject.c"], options)


class Injector:
    """Faults for one host process.

    Args:
        library: inject.c, compiled.
        folder: for the file that is shared with the process.
    """

    # kinds, skip, count, seen, failed, caller, clock_jump_ns, file
    _LAYOUT = struct.Struct("6Qq232s")

    def __init__(self, library: Path, folder: Path) -> None:
        self.library = library
        control = folder / "faults"
        control.write_bytes(bytes(self._LAYOUT.size))
        #: Variables for the host process.
        self.env = {"LD_PRELOAD": str(library), "FAULTS_CONTROL": str(control)}
        with control.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), self._LAYOUT.size)

    def arm(self, kinds: Kind, skip: int = 0, count: int = 1) -> None:
        """After `skip` calls of these kinds the next `count` fail."""
        struct.pack_into("6Q", self._shared, 0, 0, skip, count, 0, 0, 0)
        struct.pack_into("Q", self._shared, 0, kinds)

    def disarm(self) -> None:
        """Everything goes through again; the counts stay to be read."""
        struct.pack_into("Q", self._shared, 0, 0)

    @contextmanager
    def armed(self, kinds: Kind, skip: int = 0, count: int = 1) -> Iterator[None]:
        """`arm` for a block."""
        self.arm(kinds, skip, count)
        try:
            yield
        finally:
            self.disarm()

    def jump_clock(self, seconds: float) -> None:
        """What CLOCK_REALTIME shows to libraries and the host is off by so much; the kernel's own waits are not."""
        struct.pack_into("q", self._shared, 48, int(seconds * 1e9))

    @property
    def seen(self) -> int:
        """Watched calls since `arm`."""
        return int(self._LAYOUT.unpack(self._shared[:])[3])

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return int(self._LAYOUT.unpack(self._shared[:])[4])

    def where(self, *files: Path) -> str:
        """The first call that failed, by function and line where its file is among `files`."""
        *_, caller, _, name = self._LAYOUT.unpack(self._shared[:])
        text = name.rstrip(b"\0").decode()
        for file in files:
            if file.name == text:
                command = ["addr2line", "-ifpse", str(file), hex(caller - 1)]
                return subprocess.run(command, capture_output=True, text=True).stdout.strip()
        return f"{text}+{caller:#x}"
