"""Ask the advisory databases about everything that development, the extras and the Rust hosts depend on.

    audit.py

Exits with 1 where a known vulnerability was found, with 3 where none was and somebody could not be asked, with 0 where
all were asked and know of none. docs/security.md says what follows from a finding.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from environment import ROOT, run

LOCKS = ("requirements/dev.txt", "requirements/audit.txt")
RUST_LOCK = "host-harness/rust/Cargo.lock"
FOUND, NOT_ASKED = 1, 3


@dataclass
class Answers:
    """What the databases said.

    Attributes:
        asked: how many packages they know.
        findings: a line for each vulnerability.
        unasked: a line for each part that nobody could be asked about.
    """

    asked: int = 0
    findings: list[str] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)

    def exit_code(self) -> int:
        """The exit code of the command."""
        return FOUND if self.findings else NOT_ASKED if self.unasked else 0


def read_pip_audit(report: dict[str, Any], source: str, answers: Answers) -> None:
    """Take the JSON of pip-audit, which counts a package that it could not look up as one without a fault."""
    skipped = []
    for package in report["dependencies"]:
        if "skip_reason" in package:
            skipped.append(package["name"])
            continue
        answers.asked += 1
        for fault in package["vulns"]:
            fixed = ", ".join(fault["fix_versions"]) or "no version yet"
            answers.findings.append(
                f"{source}: {package['name']} {package['version']}: {fault['id']}, mended in {fixed}"
            )
    if skipped:
        answers.unasked.append(
            f"{source}: {len(skipped)} packages could not be looked up, {skipped[0]} the first of them"
        )


def read_cargo_audit(report: dict[str, Any], source: str, answers: Answers) -> None:
    """Take the JSON of cargo-audit."""
    answers.asked += report["lockfile"]["dependency-count"]
    for found in report["vulnerabilities"]["list"]:
        package, fixed = found["package"], ", ".join(found["versions"]["patched"]) or "no version yet"
        answers.findings.append(
            f"{source}: {package['name']} {package['version']}: {found['advisory']['id']}, mended in {fixed}"
        )


def ask(command: list[str], source: str, what: str, answers: Answers) -> dict[str, Any] | None:
    """The JSON that a tool prints, None where it printed none; its last words are noted then."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        words = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        answers.unasked.append(f"{source}: {what} could not ask: {words[-1].strip()}")
        return None
    return report


def pip_audit() -> str:
    """pip-audit, in an environment of its own with the versions of requirements/audit.txt."""
    folder = ROOT / ".venvs/audit"
    program, lock = folder / "bin/pip-audit", ROOT / "requirements/audit.txt"
    if not program.exists() or program.stat().st_mtime < lock.stat().st_mtime:
        shutil.rmtree(folder, ignore_errors=True)
        run([sys.executable, "-m", "venv", folder])
        run([folder / "bin/pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "-r", lock])
        os.utime(program)
    return str(program)


def main() -> int:
    """Ask all, and print what they said."""
    answers = Answers()
    program = pip_audit()
    for lock in LOCKS:
        command = [program, "-f", "json", "--progress-spinner", "off", "--disable-pip", "--require-hashes", "-r", lock]
        report = ask(command, lock, "pip-audit", answers)
        if report is not None:
            read_pip_audit(report, lock, answers)
    if shutil.which("cargo-audit") is None:
        answers.unasked.append(f"{RUST_LOCK}: there is no cargo-audit on PATH: cargo install --locked cargo-audit")
    else:
        report = ask(["cargo-audit", "audit", "--json", "-f", RUST_LOCK], RUST_LOCK, "cargo-audit", answers)
        if report is not None:
            read_cargo_audit(report, RUST_LOCK, answers)
    for line in answers.findings:
        print(f"VULNERABLE  {line}")
    for line in answers.unasked:
        print(f"NOT ASKED   {line}")
    print(f"{answers.asked} packages looked up, {len(answers.findings)} vulnerabilities known")
    if answers.unasked:
        print("This says nothing about what could not be asked: run it where the databases can be reached.")
    return answers.exit_code()


if __name__ == "__main__":
    sys.exit(main())
