"""Fuzz for a while: libFuzzer on the targets of tests/fuzz, then its Hypothesis tests with many examples.

    fuzzing.py [--minutes N] [--only vtable|payload|hypothesis]… [--keep]

The time is shared out by WEIGHTS. Needs clang with its runtime, and installs them where it may. What is found lies in
build/fuzz/NAME, and the exit code is 1. With --keep what reached new code goes into the corpus of the repository, the
least of it that reaches as much.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from environment import ROOT, VERSIONS, find, make
from test import build_host

sys.path.insert(0, str(ROOT / "tests"))
from fuzz.targets import CORPUS, FUZZ, HARNESS, SANITIZERS, TARGETS, Target, compile_target, inputs_of

OUT = ROOT / "build/fuzz"
INSTRUMENTED = f"fuzzer-no-link,{SANITIZERS}"
WEIGHTS = {"payload": 1, "vtable": 5, "hypothesis": 4}
INPUT_LIMIT_S = 120
ROUND = 10  # times as many examples as in make test


def need_clang() -> str:
    """The path of clang's AddressSanitizer as a library; what to install, where there is none.

    Returns:
        What programs that are not the fuzzer have to load before an instrumented library.
    """
    install = ["apt-get", "install", "-y", "--no-install-recommends", "clang", "llvm"]
    if shutil.which("clang") is None and shutil.which("apt-get") and os.geteuid() == 0:
        print("installing clang", file=sys.stderr, flush=True)
        subprocess.run(["apt-get", "update", "-qq"], check=False, stdout=subprocess.DEVNULL)
        subprocess.run(install, check=False, stdout=subprocess.DEVNULL)
    if shutil.which("clang") is None:
        sys.exit(f"no clang; Debian: {' '.join(install)} (and libclang-rt-14-dev, or that of your clang)")
    asan = f"libclang_rt.asan-{os.uname().machine}.so"
    said = subprocess.run(["clang", f"-print-file-name={asan}"], capture_output=True, text=True).stdout.strip()
    if not Path(said).exists():
        sys.exit(f"clang has no {asan}; Debian: apt-get install libclang-rt-14-dev (the number is that of your clang)")
    return said


def build_plugins(asan: str) -> Path:
    """The plugins that the targets load, their core and stub built by clang."""
    os.environ["CC"] = "clang"
    make(ROOT / ".venvs/fuzz", find(VERSIONS[0]) or sys.executable, INSTRUMENTED, strict=True)
    del os.environ["CC"]
    folder = OUT / "plugins"
    folder.mkdir(parents=True, exist_ok=True)
    for abi in ("v1", "v1-raw"):
        build: list[str | Path] = [
            ROOT / ".venvs/fuzz/bin/nylon-ring",
            "build-plugin",
            FUZZ / "plugin.py",
            "-o",
            folder / f"{abi}.so",
        ]
        environment = {**os.environ, "LD_PRELOAD": asan, "ASAN_OPTIONS": "detect_leaks=0"}
        subprocess.run([*build, "--abi", abi], check=True, env=environment, stdout=subprocess.DEVNULL)
    return folder


def build_targets() -> dict[str, Path]:
    """The targets' programs by name."""
    library = OUT / "c/libnrhost.a"
    how = [f"OUT={library.parent}", "CC=clang", f"SANITIZE={INSTRUMENTED}", "CFLAGS=-O1 -g", str(library)]
    subprocess.run(["make", "-s", "-C", HARNESS, *how], check=True)
    flags = [f"-fsanitize=fuzzer,{SANITIZERS}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    return {t.name: compile_target(t, OUT / f"{t.name}_fuzz", "clang", library, *flags) for t in TARGETS}


def environment_of(plugins: Path) -> dict[str, str]:
    """What the targets want."""
    return {
        **os.environ,
        "NRPY_FUZZ_PLUGINS": str(plugins),
        "PYTHONMALLOC": "malloc",
        # The interpreter stays, and leaks as it likes; make asan looks for leaks.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:handle_abort=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    }


def found_in(folder: Path) -> list[Path]:
    """What libFuzzer keeps of a target's failures."""
    return [path for kind in ("crash", "timeout", "oom", "leak") for path in sorted(folder.glob(f"{kind}-*"))]


def run_target(target: Target, program: Path, plugins: Path, seconds: int) -> bool:
    """Fuzzes one target; whether nothing was found."""
    folder = OUT / target.name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    known = [path for path in [CORPUS / target.name, CORPUS / target.name / "named"] if path.is_dir()]
    options = {
        "max_total_time": seconds,
        "max_len": target.max_length,
        "len_control": 0,
        "timeout": INPUT_LIMIT_S,
        "rss_limit_mb": 4096,
        "print_final_stats": 1,
        "artifact_prefix": f"{folder}/",
    }
    log = folder / "log.txt"
    with log.open("wb") as out:
        command: list[str | Path] = [
            program,
            *(f"-{key}={value}" for key, value in options.items()),
            folder / "corpus",
            *known,
        ]
        done = subprocess.run(command, stdout=out, stderr=out, env=environment_of(plugins))
    text = log.read_text(errors="replace")
    stats = dict(re.findall(r"^stat::(\w+): +(\d+)", text, re.MULTILINE))
    coverage = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", text)[-1:]
    edges, features, inputs = coverage[0] if coverage else ("?", "?", "?")
    runs, rate = stats.get("number_of_executed_units", "?"), stats.get("average_exec_per_sec", "?")
    print(
        f"{target.name}: {runs} executions, {rate}/s; {edges} edges, {features} features, {inputs} inputs", flush=True
    )
    if done.returncode != 0:
        for path in found_in(folder) or [log]:
            print(f"  found: {path.relative_to(ROOT)}; again: {again(target, program, path)}")
        print("".join(f"  {line}\n" for line in text.splitlines() if "not so:" in line or "ERROR: " in line), end="")
    return done.returncode == 0


def again(target: Target, program: Path, path: Path) -> str:
    """The command that runs a finding once more, and says what it does."""
    plugins = f"NRPY_FUZZ_PLUGINS={OUT.relative_to(ROOT)}/plugins " if target.plugins else ""
    return (
        f"NRPY_FUZZ_TRACE=1 ASAN_OPTIONS=detect_leaks=0 {plugins}{program.relative_to(ROOT)} {path.relative_to(ROOT)}"
    )


def keep(target: Target, program: Path, plugins: Path) -> None:
    """Folds what was found into the corpus of the repository. Those with a name stay as they are."""
    fresh = OUT / target.name / "merged"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    sources: list[str | Path] = [OUT / target.name / "corpus", CORPUS / target.name]
    # Edges and not how often they are passed: the corpus is to be small.
    options: list[str | Path] = ["-merge=1", "-set_cover_merge=1", "-use_counters=0", f"-max_len={target.max_length}"]
    command: list[str | Path] = [program, *options, fresh, *sources]
    with (OUT / target.name / "merge.txt").open("wb") as out:
        subprocess.run(command, check=True, stdout=out, stderr=out, env=environment_of(plugins))
    for path in inputs_of(target):
        if path.parent.name != "named":
            path.unlink()
    for path in fresh.iterdir():
        shutil.copy(path, CORPUS / target.name / path.name)
    print(f"{target.name}: the corpus has {len(inputs_of(target))} inputs", flush=True)


def run_hypothesis(seconds: int) -> bool:
    """Runs the Hypothesis tests with other examples each time, for so long; whether all passed."""
    folder = OUT / "hypothesis"
    folder.mkdir(parents=True, exist_ok=True)
    build_host("build/c", "")
    inner = ROOT / ".venvs/3.11/bin/python"
    make(ROOT / ".venvs/3.11", find(VERSIONS[0]) or sys.executable, strict=True)
    command: list[str | Path] = [inner, "-P", "-m", "pytest", "-q", "tests/fuzz"]
    end, rounds = time.monotonic() + seconds, 0
    while rounds == 0 or time.monotonic() < end:
        environment = {**os.environ, "NRPY_FUZZ_EXAMPLES": str(ROUND)}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if done.returncode != 0:
            (folder / "failure.txt").write_text(done.stdout)
            print(f"hypothesis: failed, see {(folder / 'failure.txt').relative_to(ROOT)}\n{done.stdout[-3000:]}")
            return False
        rounds += 1
    print(f"hypothesis: {rounds} rounds of {ROUND} times the examples of make test", flush=True)
    return True


def main() -> int:
    """Fuzz as the command line says; 0 where nothing was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--only", action="append", choices=WEIGHTS)
    parser.add_argument("--keep", action="store_true", help="fold what was found into tests/fuzz/corpus")
    arguments = parser.parse_args()
    names = arguments.only or list(WEIGHTS)
    unit = arguments.minutes * 60 / sum(WEIGHTS[name] for name in names)
    asan = need_clang()
    plugins, programs = build_plugins(asan), build_targets()
    results = []
    for target in TARGETS:
        if target.name in names:
            program = programs[target.name]
            results.append(run_target(target, program, plugins, max(1, round(unit * WEIGHTS[target.name]))))
            if arguments.keep and results[-1]:
                keep(target, program, plugins)
    if "hypothesis" in names:
        results.append(run_hypothesis(round(unit * WEIGHTS["hypothesis"])))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
