"""The deliberate bugs of `make mutants` can still be made."""

from collections import Counter

import pytest

from mutants.catalogue import MUTANTS
from mutants.mutant import Mutant
from mutants.tree import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_patch_applies_and_is_a_program(mutant: Mutant) -> None:
    text = mutant.patched(ROOT)
    assert mutant.old != mutant.new
    compile(text, mutant.file, "exec")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_tests_are_there(mutant: Mutant) -> None:
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text("utf-8"), test


def test_no_two_have_one_name() -> None:
    assert [name for name, count in Counter(m.name for m in MUTANTS).items() if count > 1] == []


def test_the_page_on_reliability_lists_each() -> None:
    page = (ROOT / "docs" / "RELIABILITY.md").read_text("utf-8")
    assert [m.name for m in MUTANTS if f"| {m.name} |" not in page] == []
