"""make audit: what could not be asked is never taken for what is in order."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))

from audit import Answers, read_cargo_audit, read_pip_audit  # noqa: E402 -- a script, not an installed module

CLEAN = {"name": "orjson", "version": "3.10", "vulns": []}
FAULTY = {"name": "old", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2", "3"]}]}
HOPELESS = {"name": "older", "version": "1", "vulns": [{"id": "GHSA-2", "fix_versions": []}]}
UNKNOWN = {"name": "hidden", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "asked", "code"),
    [([CLEAN], 1, 0), ([CLEAN, FAULTY], 2, 1), ([CLEAN, UNKNOWN], 1, 3), ([UNKNOWN], 0, 3), ([FAULTY, UNKNOWN], 1, 1)],
)
def test_python(packages: list[dict[str, object]], asked: int, code: int) -> None:
    answers = Answers()
    read_pip_audit({"dependencies": packages}, "dev.txt", answers)
    assert (answers.asked, answers.exit_code()) == (asked, code)


def test_findings_are_named_with_the_way_out() -> None:
    answers = Answers()
    read_pip_audit({"dependencies": [FAULTY, HOPELESS, UNKNOWN]}, "dev.txt", answers)
    assert answers.findings == [
        "dev.txt: old 1: PYSEC-1, mended in 2, 3",
        "dev.txt: older 1: GHSA-2, mended in no version yet",
    ]
    assert answers.unasked == ["dev.txt: 1 packages could not be looked up, hidden the first of them"]


def test_rust() -> None:
    found = {
        "advisory": {"id": "RUSTSEC-1"},
        "package": {"name": "crate", "version": "0.1.0"},
        "versions": {"patched": [">=0.1.1"]},
    }
    for faults in ([], [found]):
        answers = Answers()
        read_cargo_audit({"lockfile": {"dependency-count": 9}, "vulnerabilities": {"list": faults}}, "lock", answers)
        assert (answers.asked, answers.exit_code()) == (9, len(faults))
    assert answers.findings == ["lock: crate 0.1.0: RUSTSEC-1, mended in >=0.1.1"]


def test_what_the_extras_bring_is_in_the_lock_that_is_audited() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == []
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements/dev.txt").read_text(), re.MULTILINE))
    for extra, requirements in project["optional-dependencies"].items():
        for requirement in requirements:
            name = re.match(r"[\w.-]+", requirement)
            assert name is not None
            assert name[0] in locked, extra
