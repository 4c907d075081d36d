"""How the targets here are compiled: by the C compiler with replay.c, which runs files; by clang for libFuzzer."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FUZZ = ROOT / "tests/fuzz"
HARNESS = ROOT / "host-harness/c"
CORPUS = FUZZ / "corpus"

#: For clang: libFuzzer, and both parts of every plugin instrumented alike (NRPY_SANITIZE of setup.py).
SANITIZERS = "address,undefined"
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror"]
COMMON = ["-std=c11", "-D_GNU_SOURCE=", "-O1", "-g", *WARNINGS, "-pthread", "-rdynamic"]


@dataclass(frozen=True)
class Target:
    """What libFuzzer drives.

    Attributes:
        name: of its corpus.
        sources: beside guard.c.
        plugins: whether it loads plugins built from plugin.py, and is linked with the C host's library.
        max_length: bytes of an input.
    """

    name: str
    sources: tuple[Path, ...]
    plugins: bool
    max_length: int


VTABLE = Target(
    "vtable",
    tuple(FUZZ / f"vtable{part}.c" for part in ("", "_model", "_ops", "_request")),
    plugins=True,
    max_length=1024,
)
PAYLOAD = Target(
    "payload", (FUZZ / "payload.c", ROOT / "shim/payload.c", ROOT / "shim/sha256.c"), plugins=False, max_length=4096
)
TARGETS = (PAYLOAD, VTABLE)


def compile_target(target: Target, out: Path, compiler: str, library: Path, *flags: str | Path) -> Path:
    """Compiles a target.

    Args:
        target: which.
        out: the program to write.
        compiler: cc or clang.
        library: libnrhost.a, built alike.
        flags: more of them, and replay.c where libFuzzer brings no main().

    Returns:
        `out`.

    Raises:
        CalledProcessError: it does not compile; the compiler has said why.
    """
    includes = [f"-I{HARNESS}", f"-I{ROOT / 'shim/abi'}"]
    sources = [*target.sources, FUZZ / "guard.c", *([library] if target.plugins else [])]
    subprocess.run([compiler, *COMMON, *includes, *flags, *sources, "-o", out, "-ldl"], check=True)
    return out


def compile_replay(target: Target, folder: Path) -> Path:
    """Compiles a target as a program that runs the files of its command line, with the tests' host's library."""
    library = Path(os.environ.get("NRHOST", ROOT / "build/c/nrhost")).parent / "libnrhost.a"
    return compile_target(target, folder / f"{target.name}_replay", "cc", library, FUZZ / "replay.c")


def inputs_of(target: Target) -> list[Path]:
    """The corpus: what make fuzz found worth keeping; in named/ what showed a fault, or was written by hand."""
    return sorted(path for path in (CORPUS / target.name).rglob("*") if path.is_file())
