"""The fuzzer's corpus, replayed; under the sanitizers it finds accesses out of bounds, too."""

import pytest
from fuzz import recipes


def test_corpus():
    ends = []
    for seed in recipes.seeds():
        try:
            ends.append(recipes.run(seed))
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}")
    assert ends.count("views") > 0.4 * len(ends) and set(ends) >= {"views", "ValueError"}


def test_a_case_is_a_function_of_its_seed(monkeypatch):
    made = []
    monkeypatch.setattr(recipes, "CASES", [lambda rng: made.append(repr(recipes.a_list(rng)))])
    for seed in (1, 2, 1):
        recipes.run(seed)
    assert made[0] == made[2] != made[1]
