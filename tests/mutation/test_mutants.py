"""The list of mutants fits the sources; `make mutants` shows that each is noticed."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT
from mutation.mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_can_be_made(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.new != mutant.old


def test_killers_are_there() -> None:
    for killer in {killer for mutant in MUTANTS for killer in mutant.killers}:
        name, _, test = killer.partition("::")
        text = (ROOT / "tests" / name).read_text()
        assert not test or re.search(rf"^(async )?def {test}\(", text, re.MULTILINE), killer


def test_names_are_one_mutant_s() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
