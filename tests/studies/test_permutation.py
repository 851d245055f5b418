"""Permutation tests beside all permutations of a few classes, and beside SciPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr

import permutation

PAIRS = list("aabbcc")


def symmetric(seed: int, size: int = 6) -> np.ndarray:
    values = np.random.default_rng(seed).random((size, size))
    return (values + values.T) / 2


def paired(inside: float, between: float) -> np.ndarray:
    """A matrix of six classes in three pairs."""
    same = np.array(PAIRS)[:, None] == np.array(PAIRS)
    return np.where(same, inside, between)


def test_classes_in_groups_are_as_rarely_so_alike_as_all_permutations_say() -> None:
    found = permutation.grouped(paired(0.9, 0.1), PAIRS)
    assert (found["inside"], found["between"], found["pairs_inside"]) == (0.9, 0.1, 3)
    assert found["p"] == pytest.approx(1 / 15, abs=0.01)  # of 15 ways to form three pairs
    assert found["permutations"] == 9999
    assert permutation.grouped(paired(0.1, 0.9), PAIRS)["p"] == 1.0
    matrix, above = symmetric(3), np.triu_indices(6, 1)
    differences = []
    for order in itertools.permutations(range(6)):
        groups = np.array(PAIRS)[list(order)]
        same = groups[above[0]] == groups[above[1]]
        differences.append(matrix[above][same].mean() - matrix[above][~same].mean())
    exact = np.mean(np.array(differences) >= differences[0] - 1e-12)
    assert permutation.grouped(matrix, PAIRS)["p"] == pytest.approx(exact, abs=0.02)


def test_equal_classes_are_no_more_alike_than_others() -> None:
    assert permutation.grouped(np.ones((6, 6)), PAIRS)["p"] == 1.0


def test_two_matrices_are_correlated_as_scipy_says_and_as_rarely_as_all_permutations_say() -> None:
    one, other, above = symmetric(0, 5), symmetric(1, 5), np.triu_indices(5, 1)
    found = permutation.correlated(one, other)
    wanted = spearmanr(one[above], other[above])[0]
    assert found["spearman"] == pytest.approx(wanted, abs=1e-4)
    drawn = [
        spearmanr(one[above], other[np.ix_(order, order)][above])[0] for order in itertools.permutations(range(5))
    ]
    assert found["p"] == pytest.approx(np.mean(np.array(drawn) >= wanted - 1e-12), abs=0.02)
    same = permutation.correlated(one, one**3)  # the same order
    assert same["spearman"] == 1.0
    assert same["p"] == pytest.approx(1 / 120, abs=0.005)


def test_a_matrix_of_equal_pairs_is_correlated_with_nothing() -> None:
    assert permutation.correlated(np.ones((5, 5)), symmetric(0, 5)) == {
        "spearman": None, "p": 1.0, "permutations": 9999,
    }  # fmt: skip


def test_the_seed_draws_the_permutations() -> None:
    matrix = symmetric(4, 9)
    groups = list("aaabbbccc")
    assert permutation.grouped(matrix, groups, 1) == permutation.grouped(matrix, groups, 1)
    assert permutation.grouped(matrix, groups, 1) != permutation.grouped(matrix, groups, 2)
