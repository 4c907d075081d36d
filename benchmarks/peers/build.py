"""The plugins that `make bench` measures beside ours: what each can do, and the one place that knows how it is made."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.measure import HERE, ROOT, BenchError, run

Abi = Literal["v1", "v2"]
ABIS: tuple[Abi, ...] = ("v1", "v2")

PEERS_DIR = HERE / "peers"
BUILD_LIMIT_S = 600


@dataclass(frozen=True)
class Peer:
    """A plugin to measure beside ours.

    Args:
        name: what `build_peers` calls it.
        title: what a table calls it.
        entries: the names it answers through each ABI; an ABI that is not there is one it does not export. `sync` is
            given a request, `raw` bytes, both answer inside `handle`; `pool` answers from another thread; `gen` is a
            stream of 1,000 frames of 128 bytes; `owned` is `raw` through send_result_owned. All echo.
        preloads_libpython: whether its host must be started with `host_environment`.
    """

    name: str
    title: str
    entries: Mapping[Abi, tuple[str, ...]]
    preloads_libpython: bool = False


PEERS = {
    peer.name: peer
    for peer in (
        Peer("floor", "bare C embedding", {"v1": ("sync", "raw", "pool"), "v2": ("sync", "raw", "pool", "owned")}),
        Peer("c", "C plugin", {"v1": ("sync", "raw", "pool", "gen"), "v2": ("sync", "raw", "pool", "gen", "owned")}),
        Peer("rust", "Rust plugin", {"v1": ("sync", "raw", "gen")}),
        Peer("cffi", "cffi embedding", {"v1": ("sync", "raw", "pool", "gen")}, preloads_libpython=True),
        Peer("go", "Go plugin", dict.fromkeys(ABIS, ("sync", "raw", "pool", "gen"))),
    )
}


def build_peers(folder: Path, python: Path | str, only: Collection[str] = tuple(PEERS)) -> dict[str, Path]:
    """Build the peers.

    Args:
        folder: where the files go; it exists.
        python: the Python that those which embed one are built for; it has this package.
        only: the names of some of them.

    Returns:
        The plugin file of each by its name. One whose toolchain is missing is left out, with a line on stderr.

    Raises:
        BenchError: one does not build; the text is the compiler's.
    """
    made = {}
    folder = Path(folder).resolve()  # a tool may run in its sources' folder
    for name in PEERS:
        if name not in only:
            continue
        missing = _MISSING.get(name, _nothing)(python)
        if missing:
            print(f"the peer {name} is left out: {missing}", file=sys.stderr)
            continue
        made[name] = _BUILDERS[name](folder / f"peer_{name}.so", python)
    return made


def host_environment(peer: Peer, python: Path | str) -> dict[str, str]:
    """What the environment of a host must have beside its own before it loads that peer, built for that Python.

    For cffi: its extension module needs libpython's symbols, which a host that loads plugins with RTLD_LOCAL hides; and
    a Python started by cffi knows nothing of a virtual environment.
    """
    if not peer.preloads_libpython:
        return {}
    code = "import _cffi_backend, os; print(os.path.dirname(_cffi_backend.__file__))"
    return {"LD_PRELOAD": libpython(python), "PYTHONPATH": run([str(python), "-I", "-c", code]).strip()}


def libpython(python: Path | str) -> str:
    """The shared library of a Python that has this package.

    Raises:
        BenchError: it has none.
    """
    said = run([str(python), "-I", "-m", "nylon_ring_py._probe"])
    facts = dict(line.partition("=")[::2] for line in said.splitlines())
    if not facts.get("libpython"):
        raise BenchError(f"{python} has no shared libpython: {facts.get('libpython_tried', said)}")
    return facts["libpython"]


# ---- the toolchains ----


def _nothing(python: Path | str) -> str:
    return ""


def _no_cargo(python: Path | str) -> str:
    return "" if shutil.which("cargo") else "no cargo on PATH; https://rustup.rs installs it"


def _go() -> str | None:
    """The go command: on PATH, or where its own installer puts it."""
    return shutil.which("go") or shutil.which("/usr/local/go/bin/go")


def _no_go(python: Path | str) -> str:
    return "" if _go() else "no go on PATH nor in /usr/local/go/bin; https://go.dev/dl has it"


def _no_cffi(python: Path | str) -> str:
    said = run([str(python), "-I", "-c", "import importlib.util; print(importlib.util.find_spec('cffi') is not None)"])
    return "" if said.strip() == "True" else f"{python} has no cffi: pip install cffi"


_MISSING: dict[str, Callable[[Path | str], str]] = {"rust": _no_cargo, "go": _no_go, "cffi": _no_cffi}


# ---- one builder each: the file to write, and the Python ----


def _compile(sources: list[Path], out: Path, *options: str) -> None:
    """Into a plugin, with the header of the ABI."""
    flags = ["-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-pthread"]
    includes = [f"-I{ROOT / 'shim/abi'}", f"-I{PEERS_DIR}"]
    run([os.environ.get("CC", "cc"), *flags, *includes, *map(str, sources), *options, "-o", str(out)], BUILD_LIMIT_S)


def _embedding(python: Path | str) -> list[str]:
    """What embeds that Python: its headers, its library, and where the library is found again."""
    code = "import sys, sysconfig; print(sysconfig.get_path('include')); print(sys._base_executable)"
    include, executable = run([str(python), "-I", "-c", code]).splitlines()
    library = libpython(python)
    rpath = f"-Wl,-rpath,{Path(library).parent}"
    stays = "-Wl,-z,nodelete"  # a Python that is never finalized cannot be unmapped
    return [f"-isystem{include}", f'-DPEER_PYTHON="{executable}"', library, rpath, stays]


def _build_floor(out: Path, python: Path | str) -> Path:
    _compile(sorted((HERE / "floor").glob("*.c")), out, *_embedding(python))
    return out


def _build_c(out: Path, python: Path | str) -> Path:
    _compile([PEERS_DIR / "peer.c"], out)
    return out


def _build_rust(out: Path, python: Path | str) -> Path:
    target = run([sys.executable, str(ROOT / "scripts/rust.py"), "--release"], BUILD_LIMIT_S).strip()
    shutil.copy(Path(target) / "libbench_peer.so", out)
    return out


def _build_go(out: Path, python: Path | str) -> Path:
    command = [str(_go()), "build", "-C", str(PEERS_DIR / "go"), "-buildmode=c-shared", "-trimpath", "-o", str(out)]
    run(["env", "GOTOOLCHAIN=local", "GOPROXY=off", "GOFLAGS=-mod=readonly", *command], BUILD_LIMIT_S)
    out.with_suffix(".h").unlink()  # for programs that link with it
    return out


def _build_cffi(out: Path, python: Path | str) -> Path:
    source = out.with_suffix(".c")
    run([str(python), "-P", str(PEERS_DIR / "cffi/emit.py"), str(source)], BUILD_LIMIT_S)
    _compile([source], out, *_embedding(python))
    return out


_BUILDERS: dict[str, Callable[[Path, Path | str], Path]] = {
    "floor": _build_floor,
    "c": _build_c,
    "rust": _build_rust,
    "go": _build_go,
    "cffi": _build_cffi,
}
