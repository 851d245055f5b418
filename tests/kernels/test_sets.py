"""Loops over rows and bits: against NumPy and Python's set, in fresh memory that is full of rubbish."""

from __future__ import annotations

import numpy as np
import pytest

from effpath.kernels import sets
from effpath.kernels.compiling import compiled_with
from rubbish import rubbish as rubbish

compiled = compiled_with()
SIZE = 3 * sets.CHUNK + 100
CHUNKS = 4
NONE = np.zeros(0, np.uint32)


@compiled
def bits_of(word):
    return sets.bit_count(word), sets.lowest(word)


@pytest.mark.parametrize("word", [0, 1, 2, 1 << 63, (1 << 64) - 1, 0xF0F0 << 13, 1 << 32])
def test_the_bits_of_a_word_are_counted_and_the_lowest_is_found(word: int) -> None:
    assert bits_of(np.uint64(word)) == (word.bit_count(), (word & -word).bit_length() - 1 if word else 64)


@pytest.mark.parametrize(("one", "other"), [(0, 0), (0, 9), (1, 1), (40, 3000), (5000, 100_000)])
def test_sets_are_made_compared_and_united_whatever_memory_held_before(one: int, other: int, rubbish: int) -> None:
    rng = np.random.default_rng(one + other)
    a, b = (np.sort(rng.permutation(SIZE)[:count]) for count in (one, other))
    rows, more = sets.rows_of_sorted(a, CHUNKS), sets.rows_of_sorted(b, CHUNKS)
    assert sets.ids_of_rows(*rows).tolist() == a.tolist()
    assert sets.ids_of_rows(*sets.unite_rows(*rows, *more)).tolist() == np.union1d(a, b).tolist()
    inside = np.isin(a, b)
    assert sets.rows_in_rows(*rows, *more).tolist() == inside.tolist()
    assert sets.ids_in_rows(*more, a, SIZE).tolist() == inside.tolist()
    assert sets.ids_of_rows(*sets.choose_rows(*rows, inside)).tolist() == a[inside].tolist()
    words = np.zeros((SIZE + 63) // 64, np.uint64)
    sets.set_bits(words, b)
    assert sets.ids_of_bits(words, len(b)).tolist() == b.tolist()
    assert sets.ids_in_bits(words, a, SIZE).tolist() == inside.tolist()
    assert sets.rows_in_bits(*rows, words).tolist() == inside.tolist()
    assert [part.tolist() for part in sets.rows_of_bits(words, len(b), CHUNKS)] == [part.tolist() for part in more]
    sets.write_rows(words, *rows, False)
    assert sets.ids_of_bits(words, len(b) - inside.sum()).tolist() == np.setdiff1d(b, a).tolist()


@pytest.mark.parametrize("count", [0, 1, 300, 20_000])
def test_ids_in_any_order_are_sorted_and_counted_whatever_memory_held_before(count: int, rubbish: int) -> None:
    ids = np.random.default_rng(count).integers(0, SIZE, count)
    starts, lows, _ = sets.group(ids, NONE, CHUNKS)
    unique, counts = np.unique(ids, return_counts=True)
    assert sets.ids_of_rows(*sets.sort_rows(starts, lows)).tolist() == unique.tolist()
    nothing = np.zeros(CHUNKS + 1, np.int64), np.zeros(0, np.uint16), NONE
    found = sets.count_rows(*nothing, starts, lows, NONE)
    assert sets.ids_of_rows(*found[:2]).tolist() == unique.tolist()
    assert found[2].tolist() == counts.tolist()
