"""Tally counts as Python's Counter does, dense or not."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effpath.class_paths import tally as module
from effpath.class_paths.tally import Tally
from effpath.errors import OptionError

SIZE = 2 * 65536 + 9
IDS = st.lists(st.sampled_from([0, 1, 63, 64, 4096, 65535, 65536, 131071, 131072, SIZE - 1]), max_size=30)


def counted(tally: Tally) -> dict[int, int]:
    ids, counts = tally.result()
    assert (ids.dtype, counts.dtype) == (np.int64, np.uint32)
    assert ids.tolist() == sorted(set(ids.tolist()))
    return dict(zip(ids.tolist(), counts.tolist(), strict=True))


@pytest.mark.parametrize("waiting", [0, 7, 1 << 20])
@pytest.mark.parametrize("dense", [True, False])
@given(rounds=st.lists(st.tuples(IDS, st.none() | st.integers(1, 70_000)), max_size=8), look=st.booleans())
def test_a_tally_counts_as_pythons_counter(dense, waiting, rounds, look) -> None:
    tally, expected = Tally(SIZE, dense=dense), Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WAITING", waiting)
        for ids, weight in rounds:
            array = np.array(ids, dtype=np.int64)
            tally.add(array, None if weight is None else np.full(len(ids), weight, dtype=np.uint32))
            for i in ids:
                expected[i] += weight or 1
            if look:
                assert counted(tally) == expected
    assert counted(tally) == expected


def test_many_random_ids_are_counted_alike_dense_or_not() -> None:
    rng = np.random.default_rng(0)
    dense, rows = Tally(1 << 22, dense=True), Tally(1 << 22, dense=False)
    for _ in range(6):
        ids = (rng.random(400_000) ** 4 * (1 << 22)).astype(np.int64)
        dense.add(ids)
        rows.add(ids)
    assert counted(dense) == counted(rows)
    assert sum(counted(rows).values()) == 6 * 400_000


def test_a_tally_of_a_universe_beyond_32_bits_counts_few_ids() -> None:
    tally = Tally(16_000_000_000, dense=False)
    tally.add(np.array([15_999_999_999, 3, 3]))
    assert counted(tally) == {3: 2, 15_999_999_999: 1}


@pytest.mark.parametrize("dense", [True, False])
def test_an_id_outside_the_universe_or_a_missing_count_is_refused(dense) -> None:
    tally = Tally(10, dense=dense)
    for bad in ([10], [-1]):
        with pytest.raises(OptionError, match=r"\[0, 10\)"):
            tally.add(np.array(bad))
    with pytest.raises(OptionError, match="one count for each of 2 ids, got 1"):
        tally.add(np.array([1, 2]), np.array([1], dtype=np.uint32))
    assert counted(tally) == {}
