"""Build and test the Rust hosts and the Rust conformance plugin.

    rust.py [--release]       build; prints the folder the files are in
    rust.py --check           layout and lint of the sources

Without cargo it says so and ends with 2: what to make of that is the caller's affair.
"""

from __future__ import annotations

import argparse
import os
import re
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


def test(plugins: Path | None, *packages: str) -> tuple[int, int, str]:
    """Run the tests of the workspace. There is a cargo.

    Args:
        plugins: a folder with hello.so, plugin.so, plain.so and refuses.so made from Python; None: the tests' own in C.
        packages: the crates to test, all without.

    Returns:
        How many passed, how many failed, and what was printed.
    """
    names = {
        "NYLON_RING_TEST_PLUGIN": "hello",
        "NYLON_RING_CONFORMANCE_PLUGIN": "plugin",
        "NYLON_RING_PLAIN_PLUGIN": "plain",
        "NYLON_RING_REFUSES_PLUGIN": "refuses",
    }
    given = {variable: str(plugins / f"{name}.so") for variable, name in names.items()} if plugins else {}
    which = [word for package in packages for word in ("--package", package)] or ["--workspace"]
    done = subprocess.run(
        ["cargo", "test", "--locked", "--quiet", "--no-fail-fast", *which],
        cwd=WORKSPACE,
        env={**os.environ, **given},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    counts = re.findall(r"^test result: \w+\. (\d+) passed; (\d+) failed", done.stdout, re.MULTILINE)
    passed, failed = sum(int(good) for good, _ in counts), sum(int(bad) for _, bad in counts)
    if done.returncode != 0:
        failed = max(failed, 1)
    return passed, failed, done.stdout


def check() -> int:
    """Run rustfmt and clippy over the workspace; their exit code. There is a cargo."""
    clippy = ["cargo", "clippy", "--locked", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"]
    for command in (["cargo", "fmt", "--all", "--check"], clippy):
        code = subprocess.run(command, cwd=WORKSPACE).returncode
        if code != 0:
            return code
    return 0


def main() -> int:
    """Read the command line, and build or check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--release", action="store_true", help="optimised, for figures")
    parser.add_argument("--check", action="store_true", help="build nothing: rustfmt and clippy")
    arguments = parser.parse_args()
    if shutil.which("cargo") is None:
        print(NO_CARGO, file=sys.stderr)
        return 2
    if arguments.check:
        return min(check(), 1)
    print(build(arguments.release))
    return 0


if __name__ == "__main__":
    sys.exit(main())
