"""The plugins of the soak and overload tests, built with the package of the Python that runs this."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Files:
    """The built plugins, by what the host speaks, and the one with processes."""

    by_abi: dict[str, Path]
    pools: Path


def plugin(source: Path, out: Path, abi: str = "v1") -> None:
    """Build one file; its output is shown where that fails."""
    command = [sys.executable, "-P", "-m", "nylon_ring_py.cli", "build-plugin", str(source), "-o", str(out)]
    subprocess.run([*command, "--abi", abi], check=True, stdout=subprocess.DEVNULL)


def soak_plugins(folder: Path) -> Files:
    """Those of the soak test, for every ABI the host speaks."""
    by_abi = {abi: folder / f"mixed-{abi}.so" for abi in ("v1", "v1-raw", "v2")}
    for abi, out in by_abi.items():
        plugin(HERE / "mixed.py", out, "v1-raw" if abi == "v1-raw" else "v1")
    plugin(HERE / "pools.py", folder / "pools.so")
    return Files(by_abi, folder / "pools.so")
