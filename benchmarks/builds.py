"""Builds what is measured: our plugins with each Python, the peers, the Rust hosts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import HERE, ROOT, BenchError, build_command, run
from benchmarks.model import BORROW, OURS
from benchmarks.peers.build import PEERS, build_peers, host_environment
from benchmarks.tools import Tools

sys.path.append(str(ROOT / "scripts"))

import rust
from environment import VERSIONS, find

BUILD_LIMIT_S = 900
PEER_SOURCES = (HERE / "peers", HERE / "floor", ROOT / "shim/abi", ROOT / "host-harness/rust/bench-peer")


@dataclass
class Built:
    """What there is to measure.

    Args:
        tools: the files.
        missing: what was left out, and why.
        faults: what does not build, and what the compiler said.
    """

    tools: Tools
    missing: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """What a run wants to measure.

    Args:
        peers: the names of those beside ours.
        rust_hosts: whether in Rust hosts too.
        every_python: whether ours with the other Pythons too.
    """

    peers: tuple[str, ...] = tuple(PEERS)
    rust_hosts: bool = True
    every_python: bool = True


def prepare(folder: Path, wanted: Wanted) -> Built:
    """Build all that is measured, in `folder`, which is kept from run to run.

    NRHOST in the environment is another nrhost, NRRUST a folder of Rust hosts that are built already.

    Raises:
        BenchError: the host is missing, or ours does not build.
    """
    host = Path(os.environ.get("NRHOST", str(ROOT / "build/c/nrhost")))
    if not host.exists():
        raise BenchError(f"there is no host at {host}: make host")
    folder.mkdir(parents=True, exist_ok=True)
    tools = Tools(host, None, {OURS: folder / "plugin.so"}, folder / "loop.so", folder)
    built = Built(tools)
    run(build_command(sys.executable, HERE / "plugin.py", tools.plugins[OURS]))
    run(build_command(sys.executable, HERE / "plugin_loop.py", tools.loops))
    if wanted.rust_hosts:
        tools.plugins[BORROW] = folder / "borrow.so"
        run(build_command(sys.executable, HERE / "plugin_borrow.py", tools.plugins[BORROW]))
        tools.rust = _build_rust(built)
    _add_peers(built, folder, sys.executable, wanted.peers)
    if wanted.every_python:
        _add_pythons(built, folder, "floor" in wanted.peers)
    return built


def _build_rust(built: Built) -> Path | None:
    if os.environ.get("NRRUST"):
        return Path(os.environ["NRRUST"])
    if shutil.which("cargo") is None:
        built.missing["Rust hosts"] = rust.NO_CARGO
        return None
    try:
        return Path(run([sys.executable, str(ROOT / "scripts/rust.py"), "--release"], BUILD_LIMIT_S).strip())
    except BenchError as error:
        built.faults["Rust hosts"] = str(error)
        return None


# ---- peers ----


def _fingerprint(python: str) -> str:
    """Of all that the peers are made of."""
    digest = hashlib.sha256(f"{python}\0{Path(python).resolve()}".encode())
    for folder in PEER_SOURCES:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _peer(name: str, folder: Path, python: str) -> Path | None:
    """One peer's file, built anew when its sources have changed; None where its toolchain is missing."""
    stamp = folder / f"{name}.stamp.json"
    wanted = _fingerprint(python)
    if stamp.exists():
        seen = json.loads(stamp.read_text())
        if seen["fingerprint"] == wanted and Path(seen["file"]).exists():
            return Path(seen["file"])
    print(f"building the peer {name} in {folder}", file=sys.stderr, flush=True)
    made = build_peers(folder, python, (name,)).get(name)
    if made is not None:
        stamp.write_text(json.dumps({"fingerprint": wanted, "file": str(made)}))
    return made


def _add_peers(built: Built, folder: Path, python: str, names: tuple[str, ...], suffix: str = "") -> None:
    for name in names:
        contestant = name + suffix
        try:
            made = _peer(name, folder, python)
        except BenchError as error:
            built.faults[contestant] = str(error)
            continue
        if made is None:
            built.missing[contestant] = "its toolchain is missing"
            continue
        built.tools.plugins[contestant] = made
        built.tools.environments[contestant] = host_environment(PEERS[name], python)


# ---- the other Pythons ----


def _add_pythons(built: Built, folder: Path, with_floor: bool) -> None:
    """Ours with each other Python there is, and its floor."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    for version in VERSIONS:
        if version == own:
            continue
        contestant, base = f"{OURS} {version}", find(version)
        if base is None:
            built.missing[contestant] = f"no Python {version} with a shared libpython"
            continue
        print(f"building ours with Python {version}", file=sys.stderr, flush=True)
        place = folder / version
        place.mkdir(exist_ok=True)
        environment = ROOT / f".venvs/{version}"
        python = str(environment / "bin/python")
        try:
            make = [sys.executable, str(ROOT / "scripts/environment.py"), str(environment), "--python", base]
            run(make, BUILD_LIMIT_S)
            run(build_command(python, HERE / "plugin.py", place / "plugin.so"))
            run(build_command(python, HERE / "plugin_borrow.py", place / "borrow.so"))
        except BenchError as error:
            built.faults[contestant] = str(error)
            continue
        built.tools.plugins[contestant] = place / "plugin.so"
        built.tools.plugins[f"{BORROW} {version}"] = place / "borrow.so"
        built.tools.pythons[version] = python
        _add_peers(built, place, python, ("floor",) if with_floor else (), f" {version}")
