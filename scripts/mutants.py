"""Make each mutant of tests/mutation/mutants.py in a copy of the tree, and see that a test of its list fails.

    mutants.py [--only TEXT] [--list]

Ends with 1 where a mutant lives, or one's old text is not in its file. Needs what `make test` needs; takes some fifteen
seconds for each.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from environment import ROOT

sys.path.insert(0, str(ROOT / "tests"))
from mutation.mutants import MUTANTS, Mutant

WORK = ROOT / "build/mutants"
TREE = WORK / "tree"
LIMIT_S = 240  # a killer that hangs has noticed


def copy_tree() -> None:
    """A copy of what is under version control; what was built in it stays."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        source, target = ROOT / name, TREE / name
        if source.is_file() and (not target.exists() or target.read_bytes() != source.read_bytes()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def build() -> str:
    """Build the package in the copy; what went wrong, or nothing."""
    command = [sys.executable, "scripts/environment.py", str(TREE / ".venv"), "--python", sys.executable]
    done = subprocess.run(command, cwd=TREE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return "" if done.returncode == 0 else done.stdout


def run(killers: Sequence[str], limit_s: float = LIMIT_S) -> tuple[str, str]:
    """Run tests to the first failure, for `limit_s` seconds at most.

    Returns:
        "passed", "failed", "hung", or "broken" where pytest itself failed; and what was printed.
    """
    names = [f"tests/{killer}" for killer in killers]
    command = [str(TREE / ".venv/bin/python"), "-P", "-m", "pytest", "-x", "-q", "--no-header", *names]
    environment = {name: value for name, value in os.environ.items() if name != "NRHOST"}
    with (WORK / "output").open("w+") as output:
        running = subprocess.Popen(
            command, cwd=TREE, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            how = {0: "passed", 1: "failed"}.get(running.wait(limit_s), "broken")
        except subprocess.TimeoutExpired:
            how = "hung"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)  # hosts too, which a hung test leaves behind
            running.wait()
        output.seek(0)
        return how, output.read()


def last_line(output: str) -> str:
    """The first failure that pytest names."""
    named = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return named[0][:110] if named else (output.strip().splitlines() or [""])[-1][:110]


def kill(mutant: Mutant) -> tuple[str, str]:
    """Make one mutant and run its killers; how it ended, and a line about it."""
    source = TREE / mutant.file
    text = source.read_text()
    if text.count(mutant.old) != 1:
        return "outdated", f"its old text stands {text.count(mutant.old)} times in {mutant.file}"
    source.write_text(text.replace(mutant.old, mutant.new))
    try:
        failure = build()
        if failure:
            return "unbuilt", failure.strip().splitlines()[-1]
        how, output = run(mutant.killers)
        if how in {"passed", "broken"}:
            return "LIVES" if how == "passed" else how, last_line(output)
        return "killed", "a test hung" if how == "hung" else last_line(output)
    finally:
        source.write_text(text)


def main() -> int:
    """Make the mutants that the command line names, all without; 0 when each is killed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="those whose name or file has this in it")
    parser.add_argument("--list", action="store_true", help="print their names and killers, and make none")
    arguments = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if arguments.only in mutant.name or arguments.only in mutant.file]
    if arguments.list:
        for mutant in chosen:
            print(f"{mutant.name}  ({mutant.file}): {', '.join(mutant.killers)}")
        return 0
    TREE.mkdir(parents=True, exist_ok=True)
    copy_tree()
    subprocess.run(["make", "-s", "-C", TREE / "host-harness/c"], check=True)
    failure = build()
    if failure:
        sys.exit(f"the tree does not build as it is:\n{failure}")
    killers = sorted({killer for mutant in chosen for killer in mutant.killers})
    print(f"{len(chosen)} mutants; their killers first, without one", file=sys.stderr, flush=True)
    how, output = run(killers, limit_s=20 * LIMIT_S)
    if how != "passed":
        sys.exit(f"a killer fails without a mutant:\n{output}")
    bad = 0
    for number, mutant in enumerate(chosen, 1):
        began = time.monotonic()
        how, why = kill(mutant)
        bad += how != "killed"
        print(f"{number:3}/{len(chosen)} {how:8} {mutant.name:55} {time.monotonic() - began:4.0f} s  {why}", flush=True)
    print(f"{len(chosen) - bad} of {len(chosen)} mutants killed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
