"""Build the Rust hosts and the Rust conformance plugin, as the tests use them.

    rust.py [--release]

Prints the folder they are in. Without cargo it says so and ends with 2: what to make of that is the caller's affair.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from environment import ROOT

WORKSPACE = ROOT / "host-harness/rust"
NO_CARGO = "no cargo on PATH, so no Rust host and no Rust plugin: https://rustup.rs installs it"


def folder(release: bool = False) -> Path:
    """Where cargo puts what it builds."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or WORKSPACE / "target")
    return target / ("release" if release else "debug")


def build(release: bool = False) -> Path | None:
    """Build the workspace with the versions of its lock file.

    Args:
        release: optimised, as figures want it; tests want the checks of a debug build.

    Returns:
        The folder of the built files, or None where there is no cargo. Exits with cargo's words when a build fails.
    """
    cargo = shutil.which("cargo")
    if cargo is None:
        return None
    command = [cargo, "build", "--locked", "--quiet", "--workspace", *(["--release"] if release else [])]
    done = subprocess.run(command, cwd=WORKSPACE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed in {WORKSPACE.relative_to(ROOT)}:\n{done.stdout}")
    return folder(release)


def main() -> int:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--release", action="store_true")
    built = build(parser.parse_args().release)
    if built is None:
        print(NO_CARGO, file=sys.stderr)
        return 2
    print(built)
    return 0


if __name__ == "__main__":
    sys.exit(main())
