"""Run the test suite once with every Python there is: 3.11, 3.12, 3.13, and Debian's static one; and the Rust hosts'.

    test.py [pytest arguments]

A Python that is missing is left out with a line that says so, and so are the Rust hosts where cargo is missing: both
are failures where CI=true.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import rust
from environment import ROOT, VERSIONS, check, find, make

DEBIAN = Path("/usr/bin/python3")
# What takes long and tells one Python from another least runs with the first, beside its other tests; Debian's is
# another build of that one. `test.py -m long` runs those with every Python.
SHORT = ["-m", "not long"]
LONG = ["-m", "long"]
PARTS = {"debian": [*SHORT, "tests/integration", "tests/faults", "tests/conformance", "examples"]}
AT_ONCE = 5  # on two cores: most of a suite is waiting


@dataclass
class Result:
    """How one run went."""

    name: str
    passed: int
    failed: int
    output: str


def pythons() -> dict[str, str | None]:
    """The Pythons to test with, by the name of their environment; None where one is missing."""
    found: dict[str, str | None] = {version: find(version) for version in VERSIONS}
    found["debian"] = str(DEBIAN) if DEBIAN.exists() and Path("/etc/debian_version").exists() else None
    return found


def run_suite(name: str, python: Path, arguments: list[str], environment: dict[str, str]) -> Result:
    """Run pytest with one Python and count."""
    report = ROOT / f"build/test-{name}.xml"
    report.unlink(missing_ok=True)
    command = [str(python), "-P", "-m", "pytest", "-q", f"--junitxml={report}", *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
    )
    passed = failed = 0
    if report.exists():
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            total, bad = int(suite.get("tests", 0)), int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped = int(suite.get("skipped", 0))
            passed += total - bad - skipped
            failed += bad + (skipped if os.environ.get("CI") == "true" else 0)
    if done.returncode != 0:
        failed = max(failed, 1)
    print(f"Python {name}: {passed} passed, {failed} failed", file=sys.stderr, flush=True)
    return Result(f"Python {name}", passed, failed, done.stdout)


def build_host(out: str, sanitize: str) -> None:
    """Build the C host and the C test plugins, instrumented as `sanitize` says."""
    subprocess.run(
        ["make", "-s", "-C", ROOT / "host-harness/c", f"OUT={ROOT / out}", f"SANITIZE={sanitize}"], check=True
    )


def show(results: list[Result]) -> int:
    """Print what the runs said; 0 when all passed."""
    for result in results:
        print(f"\n==== {result.name}\n{result.output.strip()}")
    passed, failed = sum(result.passed for result in results), sum(result.failed for result in results)
    print(f"\n{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def main() -> int:
    """Run what the command line asks for; 0 when all passed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    _, rest = parser.parse_known_args()
    (ROOT / "build").mkdir(exist_ok=True)
    build_host("build/c", "")
    return show(test_all(rest))


def leave_out(name: str, what: str) -> list[Result]:
    """Say that something is missing; a failure in CI."""
    if os.environ.get("CI") == "true":
        return [Result(name, 0, 1, f"{what}, and CI tests with it")]
    print(f"{what}: left out", file=sys.stderr)
    return []


def build_python_plugins(python: Path, out: str = "build/rust-plugins", **environment: str) -> Path:
    """Build the plugins that the Rust hosts' tests load. In one folder for every Python: cargo knows their paths."""
    folder = ROOT / out
    folder.mkdir(parents=True, exist_ok=True)
    sources = [
        ROOT / "examples/hello.py",
        *(ROOT / f"tests/conformance/{n}.py" for n in ("plugin", "plain", "refuses")),
    ]
    for source in sources:
        command: list[str | Path] = [
            python,
            "-P",
            "-m",
            "nylon_ring_py.cli",
            "build-plugin",
            source,
            "-o",
            folder / f"{source.stem}.so",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    return folder


def run_rust(name: str, plugins: Path | None, *packages: str) -> Result:
    """Run the tests of the Rust hosts and count."""
    result = Result(name, *rust.test(plugins, *packages))
    print(f"{name}: {result.passed} passed, {result.failed} failed", file=sys.stderr, flush=True)
    return result


def test_all(arguments: list[str]) -> list[Result]:
    """Run the suite with every Python that is there, some at a time."""
    missing = []
    present = {}
    for name, python in pythons().items():
        if python is not None:
            check(python)
            present[name] = python
        else:
            missing += leave_out(name, f"Python {name} is not on this machine")
    if shutil.which("cargo") is None:
        missing += leave_out("rust", rust.NO_CARGO)
    with ThreadPoolExecutor(1) as builder, ThreadPoolExecutor(AT_ONCE) as pool:
        built = builder.submit(rust.build)
        environments = {name: ROOT / ".venvs" / name for name in present}
        made = [
            pool.submit(make, environments[name], python, strict=True)  # queued before the suites: all are made first
            for name, python in present.items()
        ]

        def suite(name: str, first: bool, part: list[str]) -> list[Result]:
            inner = environments[name] / "bin/python"
            label = f"{name}-long" if part == LONG else name
            # Native plugins in native hosts are the same whichever Python runs the suite: the first one's have them.
            return [run_suite(label, inner, part, {"NRPY_CONFORMANCE_NATIVE": "1" if first else "0"})]

        def rust_hosts() -> list[Result]:
            name, folder = next(iter(environments.items()))
            plugins = build_python_plugins(folder / "bin/python")
            return [
                run_rust(f"Rust hosts, {name}", plugins, "nylon-ring-host-v1", "nylon-ring-crates"),
                run_rust("Rust hosts, native plugins", None),
            ]

        has_cargo = built.result() is not None
        for each in made:
            each.result()
        jobs = []
        for number, name in enumerate(present):
            parts = [arguments] if arguments else [PARTS.get(name, SHORT), *([LONG] if number == 0 else [])]
            jobs += [pool.submit(suite, name, number == 0, part) for part in parts]
        if has_cargo and not arguments:
            jobs.append(pool.submit(rust_hosts))
        return missing + [result for job in jobs for result in job.result()]


if __name__ == "__main__":
    sys.exit(main())
