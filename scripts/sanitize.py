"""Run the integration tests with what watches memory and threads: sanitizers, or valgrind.

    sanitize.py asan|tsan|memcheck [pytest arguments]

asan: Address-, UndefinedBehavior- and LeakSanitizer in stub, core, hosts and C plugins; the Rust hosts' tests too,
where cargo is. tsan: ThreadSanitizer in the same, without Rust. memcheck: a short scenario, or the tests that are
named, with the host under valgrind. With Python 3.11 only: what is watched is C.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import rust
from environment import ROOT, VERSIONS, find, make
from test import Result, build_host, build_python_plugins, leave_out, run_rust, run_suite, show

#: What compilers and setup.py are told, and the tests that run where none are named.
TOOLS = {
    "asan": ("address,undefined", "tests/integration"),
    "tsan": ("thread", "tests/integration"),
    "memcheck": ("memcheck", "tests/sanitizers/memcheck.py"),
}
SUPPRESSIONS = ROOT / "tests/sanitizers"
RUST_TARGET = "x86_64-unknown-linux-gnu"


def sanitizer_environment(name: str, reports: Path) -> dict[str, str]:
    """What instrumented code wants: its runtime in plain programs too, and malloc for every allocation.

    A report ends its process. Hosts write theirs to stderr, where the tests look; others to files in `reports`, so that
    none is lost with a process whose end nobody looks at.
    """
    library = "libtsan.so" if name == "tsan" else "libasan.so"
    runtime = subprocess.run(["cc", f"-print-file-name={library}"], capture_output=True, text=True, check=True)
    to_files = f"log_path={reports}/report"
    tsan = f"suppressions={SUPPRESSIONS}/tsan.supp:halt_on_error=1:second_deadlock_stack=1"
    ubsan = "print_stacktrace=1:halt_on_error=1"
    return {
        "LD_PRELOAD": str(Path(runtime.stdout.strip()).resolve()),
        "PYTHONMALLOC": "malloc",
        # Compilers and interpreters leak as they like: leaks are looked for in the host alone (tests/nrhost.py).
        "ASAN_OPTIONS": f"detect_leaks=0:{to_files}",
        "NRHOST_ASAN_OPTIONS": "detect_leaks=1",
        "LSAN_OPTIONS": f"suppressions={SUPPRESSIONS}/lsan.supp:print_suppressions=0",
        "UBSAN_OPTIONS": f"{ubsan}:{to_files}",
        "NRHOST_UBSAN_OPTIONS": ubsan,
        "TSAN_OPTIONS": f"{tsan}:{to_files}",
        "NRHOST_TSAN_OPTIONS": tsan,
    }


def valgrind_environment() -> dict[str, str]:
    """Hosts run under valgrind, which gives them its own exit code when it has found something."""
    if shutil.which("valgrind") is None:
        sys.exit("no valgrind; Debian: apt-get install valgrind")
    command = [
        "valgrind",
        "--quiet",
        "--error-exitcode=99",
        "--leak-check=full",
        "--show-leak-kinds=definite",
        "--errors-for-leak-kinds=definite",
        "--fair-sched=yes",
        "--num-callers=40",
        f"--suppressions={SUPPRESSIONS}/memcheck.supp",
    ]
    return {"NRHOST_UNDER": shlex.join(command)}


def run_rust_under_asan(python: Path, environment: dict[str, str]) -> list[Result]:
    """Run the Rust hosts' tests, instrumented, with instrumented plugins in Python and in C.

    rustc instruments only when it is told that it is a nightly one; its standard library stays as it is. GCC's runtime
    serves both compilers, since a process bears one: it is linked first.
    """
    if shutil.which("cargo") is None:
        return leave_out("rust", rust.NO_CARGO)
    link = ("-Wl,--no-as-needed", "-lasan", "-Wl,--as-needed")
    flags = ["-Zsanitizer=address", "-Zexternal-clangrt", *(f"-Zpre-link-args={word}" for word in link)]
    plugins = build_python_plugins(python, "build/rust-plugins-asan", **environment)
    os.environ.update(
        RUSTC_BOOTSTRAP="1",
        RUSTFLAGS=" ".join(flags),
        CARGO_BUILD_TARGET=RUST_TARGET,
        CARGO_TARGET_DIR=str(ROOT / "build/rust-asan"),
        NYLON_RING_TEST_CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=all",
        ASAN_OPTIONS="detect_leaks=0",  # plugins in Rust leave the table of each load behind, as their macro does
        UBSAN_OPTIONS=environment["NRHOST_UBSAN_OPTIONS"],
    )
    return [
        run_rust("Rust hosts, Python plugins", plugins, "nylon-ring-host-v1", "nylon-ring-crates"),
        run_rust("Rust hosts, native plugins", None),
    ]


def take_reports(reports: Path) -> Result:
    """What processes beside the hosts have reported; each is a failure."""
    found = sorted(reports.iterdir())
    text = "\n".join(f"{file.name}:\n{file.read_text(errors='replace')}" for file in found)
    return Result("reports of other processes", 0, len(found), text or "none")


def main() -> int:
    """Run what the command line asks for; 0 when all passed and nothing was reported."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tool", choices=TOOLS)
    arguments, rest = parser.parse_known_args()
    name = arguments.tool
    sanitize, tests = TOOLS[name]
    reports = ROOT / f"build/reports-{name}"
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir(parents=True)
    make(ROOT / ".venvs" / name, find(VERSIONS[0]) or sys.executable, sanitize, strict=True)
    python = ROOT / ".venvs" / name / "bin/python"
    folder = f"build/c-{name}"
    build_host(folder, "" if name == "memcheck" else sanitize)
    environment = valgrind_environment() if name == "memcheck" else sanitizer_environment(name, reports)
    environment["NRHOST"] = str(ROOT / folder / "nrhost")
    named = any((ROOT / word.partition("::")[0]).exists() for word in rest)
    results = [run_suite(name, python, rest if named else [tests, *rest], environment)]
    if name == "asan" and not rest:
        results += run_rust_under_asan(python, environment)
    return show([*results, take_reports(reports)])


if __name__ == "__main__":
    sys.exit(main())
