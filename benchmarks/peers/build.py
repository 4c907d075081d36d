"""The plugins that `make bench` measures beside ours: what each can do, and the one place that knows how it is made."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.measure import HERE, ROOT, BenchError, run

Abi = Literal["v1", "v2"]
Python = Path | str  # an executable; it has this package

PEERS_DIR = HERE / "peers"
BUILD_LIMIT_S = 900


def _nothing(python: Python) -> str:
    return ""


def _no_environment(python: Python) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Peer:
    """A plugin to measure beside ours.

    Args:
        name: what `build_peers` calls it.
        title: what a table calls it.
        entries: the names it answers through each ABI; an ABI that is not there is one it does not export. `sync` is
            given a request, `raw` bytes, both answer inside `handle`; `pool` answers from another thread; `gen` is a
            stream of 1,000 frames of 128 bytes, and `gen_worker` one that another thread sends, where `gen` is sent
            inside `handle`; `echo` is a stream that sends its frames back; `busy` is one that computes in Python, once
            it has sent a frame, until a call of `busy_end`; `owned` is `raw` through send_result_owned. All echo.
        build: writes the file, for a Python.
        missing: what the machine lacks to build it; empty where nothing.
        environment: what `host_environment` says.
    """

    name: str
    title: str
    entries: Mapping[Abi, tuple[str, ...]]
    build: Callable[[Path, Python], None]
    missing: Callable[[Python], str] = _nothing
    environment: Callable[[Python], dict[str, str]] = _no_environment


def build_peers(folder: Path, python: Python, only: Collection[str] | None = None) -> dict[str, Path]:
    """Build the peers.

    Args:
        folder: where the files go; it exists.
        python: the Python that those which embed one are built for.
        only: the names of some of them; None for all.

    Returns:
        The plugin file of each by its name. One whose toolchain is missing is left out, with a line on stderr.

    Raises:
        BenchError: one does not build; the text is the compiler's.
    """
    made = {}
    for peer in PEERS.values():
        if only is not None and peer.name not in only:
            continue
        missing = peer.missing(python)
        if missing:
            print(f"the peer {peer.name} is left out: {missing}", file=sys.stderr)
            continue
        out = folder.resolve() / f"peer_{peer.name}.so"  # a tool may run in its sources' folder
        peer.build(out, python)
        made[peer.name] = out
    return made


def host_environment(peer: Peer, python: Python) -> dict[str, str]:
    """What the environment of a host must have beside its own before it loads that peer, built for that Python."""
    return peer.environment(python)


def libpython(python: Python) -> str:
    """The shared library of a Python.

    Raises:
        BenchError: it has none.
    """
    said = run([str(python), "-I", "-m", "nylon_ring_py._probe"])
    facts = dict(line.partition("=")[::2] for line in said.splitlines())
    if not facts.get("libpython"):
        raise BenchError(f"{python} has no shared libpython: {facts.get('libpython_tried', said)}")
    return facts["libpython"]


# ---- what more than one needs ----


def _ask(python: Python, expression: str) -> str:
    """The value of an expression there, a text or None; `sys` and a few others are imported."""
    code = f"import importlib.util, json, sys, sysconfig; print(json.dumps({expression}))"
    return json.loads(run([str(python), "-I", "-c", code])) or ""


def _compile(sources: list[Path], out: Path, *options: str) -> None:
    """C into a plugin, with the header of the ABI."""
    flags = ["-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-pthread"]
    includes = [f"-I{ROOT / 'shim/abi'}", f"-I{PEERS_DIR}"]
    run([os.environ.get("CC", "cc"), *flags, *includes, *map(str, sources), *options, "-o", str(out)], BUILD_LIMIT_S)


def _embedding(python: Python) -> list[str]:
    """What embeds that Python: its headers, its library, and where the library is found again."""
    headers, executable = _ask(python, "sysconfig.get_path('include')"), _ask(python, "sys._base_executable")
    library = libpython(python)
    return [
        f"-isystem{headers}",
        f'-DPEER_PYTHON="{executable}"',
        library,
        f"-Wl,-rpath,{Path(library).parent}",
        "-Wl,-z,nodelete",  # a Python that is never finalized cannot be unmapped
    ]


def _no_cargo(python: Python) -> str:
    return "" if shutil.which("cargo") else "no cargo on PATH; https://rustup.rs installs it"


def _home(python: Python) -> dict[str, str]:
    """For those that start Python without a word about where it is: they would ask PATH for another one."""
    return {"PYTHONHOME": _ask(python, "sys.base_prefix")}


# ---- one builder each ----


def _build_floor(out: Path, python: Python) -> None:
    _compile(sorted((HERE / "floor").glob("*.c")), out, *_embedding(python))


def _build_c(out: Path, python: Python) -> None:
    _compile([PEERS_DIR / "peer.c"], out)


def _build_rust(out: Path, python: Python) -> None:
    target = run([sys.executable, str(ROOT / "scripts/rust.py"), "--release"], BUILD_LIMIT_S).strip()
    shutil.copy(Path(target) / "libbench_peer.so", out)


def go_command() -> str | None:
    """The go command: on PATH, or where its own installer puts it."""
    return shutil.which("go") or shutil.which("/usr/local/go/bin/go")


def _no_go(python: Python) -> str:
    return "" if go_command() else "no go on PATH nor in /usr/local/go/bin; https://go.dev/dl has it"


def _build_go(out: Path, python: Python) -> None:
    command = [
        str(go_command()),
        "build",
        "-C",
        str(PEERS_DIR / "go"),
        "-buildmode=c-shared",
        "-trimpath",
        "-o",
        str(out),
    ]
    run(["env", "GOTOOLCHAIN=local", "GOPROXY=off", "GOFLAGS=-mod=readonly", *command], BUILD_LIMIT_S)
    out.with_suffix(".h").unlink()  # for programs that link with it


def _build_pyo3(out: Path, python: Python) -> None:
    target = out.with_suffix(".target")
    source = PEERS_DIR / "pyo3/Cargo.toml"
    options = ["--release", "--locked", "--quiet", "--manifest-path", str(source), "--target-dir", str(target)]
    run(["env", f"PYO3_PYTHON={python}", "cargo", "build", *options], BUILD_LIMIT_S)
    shutil.copy(target / "release/libpeer_pyo3.so", out)


def _no_cffi(python: Python) -> str:
    is_there = _ask(python, "importlib.util.find_spec('cffi') and 'yes'")
    return "" if is_there else f"{python} has no cffi; pip install cffi"


def _build_cffi(out: Path, python: Python) -> None:
    source = out.with_suffix(".c")
    run([str(python), "-P", str(PEERS_DIR / "cffi/emit.py"), str(source)], BUILD_LIMIT_S)
    _compile([source], out, *_embedding(python))


def _cffi_environment(python: Python) -> dict[str, str]:
    """Its extension module needs symbols of libpython, which hosts that load plugins with RTLD_LOCAL hide from it."""
    module = _ask(python, "importlib.util.find_spec('_cffi_backend').origin")
    return {**_home(python), "LD_PRELOAD": libpython(python), "PYTHONPATH": str(Path(module).parent)}


_ALL = ("sync", "raw", "pool", "gen")
_NATIVE = (*_ALL, "gen_worker", "echo")
_BUSY = ("busy", "busy_end")
_FLOOR = ("sync", "raw", "pool", "echo", *_BUSY)

PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "floor",
            "bare C embedding",
            {"v1": _FLOOR, "v2": (*_FLOOR, "owned")},
            _build_floor,
        ),
        Peer("c", "C plugin", {"v1": _NATIVE, "v2": (*_NATIVE, "owned")}, _build_c),
        Peer("rust", "Rust plugin", {"v1": _NATIVE}, _build_rust, _no_cargo),
        Peer("go", "Go plugin", {"v1": (*_ALL, "echo"), "v2": _ALL}, _build_go, _no_go),
        Peer("pyo3", "PyO3 plugin", {"v1": ("sync", "raw", *_BUSY)}, _build_pyo3, _no_cargo, _home),
        Peer("cffi", "cffi embedding", {"v1": (*_ALL, "echo", *_BUSY)}, _build_cffi, _no_cffi, _cffi_environment),
    )
}
