"""The mutation table fits the package: every text that it replaces occurs exactly once."""

import pytest
from mutation_table import MUTATIONS
from mutations import ROOT, find_place


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_text_occurs_once(mutation):
    assert find_place(ROOT, mutation) is not None


@pytest.mark.parametrize("test", sorted({test for m in MUTATIONS for test in m.tests}))
def test_every_named_test_exists(test):
    path, _, name = test.partition("::")
    assert (ROOT / path).exists()
    assert not name or f"def {name.partition('[')[0]}(" in (ROOT / path).read_text()


def test_every_mutation_changes_something():
    assert len({(m.old, m.new) for m in MUTATIONS}) == len(MUTATIONS)
    assert all(m.old != m.new and m.tests for m in MUTATIONS)
