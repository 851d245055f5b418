"""IdSet is Python's set of integers, whichever form it is kept in."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from effpath import IdSet
from effpath.errors import OptionError

SIZE = 203  # not a multiple of 8; up to 3 ids are kept as ids, more as bits
MEMBERS = st.sets(st.integers(0, SIZE - 1), max_size=5) | st.sets(st.integers(0, SIZE - 1), min_size=20)


class IdSetMachine(RuleBasedStateMachine):
    """Every operation on a pair (IdSet, set) gives such a pair again."""

    pairs = Bundle("pairs")

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[IdSet, set[int]]] = []

    def keep(self, ours: IdSet, theirs: set[int]) -> tuple[IdSet, set[int]]:
        self.made.append((ours, theirs))
        return ours, theirs

    @rule(target=pairs, members=MEMBERS, twice=st.booleans())
    def make(self, members: set[int], twice: bool):
        ids = [*members, *members] if twice else list(members)
        return self.keep(IdSet(ids, size=SIZE), members)

    @rule(target=pairs, members=MEMBERS)
    def make_of_a_mask(self, members: set[int]):
        mask = np.isin(np.arange(SIZE), list(members))
        return self.keep(IdSet.from_mask(mask), members)

    @rule(target=pairs, members=MEMBERS)
    def make_of_sorted_ids(self, members: set[int]):
        return self.keep(IdSet.from_sorted(np.array(sorted(members), dtype=np.int64), size=SIZE), members)

    @rule(target=pairs, pair=pairs)
    def make_of_bits(self, pair):
        bits = np.packbits(pair[0].mask(), bitorder="little")
        return self.keep(IdSet.from_bits(bits, size=SIZE), pair[1])

    @rule(target=pairs, one=pairs, other=pairs)
    def combine(self, one, other):
        return multiple(
            self.keep(one[0] | other[0], one[1] | other[1]),
            self.keep(one[0] & other[0], one[1] & other[1]),
            self.keep(one[0] - other[0], one[1] - other[1]),
        )

    @rule(one=pairs, other=pairs)
    def compare(self, one, other) -> None:
        both, either = one[1] & other[1], one[1] | other[1]
        assert one[0].intersection_size(other[0]) == len(both)
        similarity = one[0].jaccard(other[0])
        assert similarity == len(both) / len(either) if either else math.isnan(similarity)
        assert (one[0] <= other[0]) == (one[1] <= other[1])
        assert (one[0] == other[0]) == (one[1] == other[1])
        if one[1] == other[1]:
            assert hash(one[0]) == hash(other[0])

    @rule(pair=pairs, asked=st.lists(st.integers(0, SIZE - 1), max_size=6))
    def ask(self, pair, asked: list[int]) -> None:
        ours, theirs = pair
        assert ours.contains(np.array(asked, dtype=np.int64)).tolist() == [i in theirs for i in asked]
        assert [i in ours for i in asked] == [i in theirs for i in asked]

    @invariant()
    def every_pair_still_agrees(self) -> None:
        for ours, theirs in self.made[-4:]:
            assert len(ours) == len(theirs)
            assert list(ours) == sorted(theirs) == ours.ids.tolist()
            assert ours.ids.dtype == np.int64
            assert set(np.flatnonzero(ours.mask()).tolist()) == theirs
            assert ours.nbytes <= (SIZE + 7) // 8


TestIdSetAgainstPythonsSet = IdSetMachine.TestCase
TestIdSetAgainstPythonsSet.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


def test_few_ids_are_kept_as_ids_and_many_as_bits_in_whatever_takes_less_room() -> None:
    few, many = IdSet([1, 5, 9], size=SIZE), IdSet(range(100), size=SIZE)
    assert few.bits is None
    assert many.bits is not None
    assert few.nbytes == 24
    assert many.nbytes == 26


def test_a_set_holds_only_integers_of_its_universe() -> None:
    ids = IdSet([0, 202], size=SIZE)
    assert 0 in ids
    assert np.int64(202) in ids
    for other in (-1, 203, 10**12, 0.0, "0", None):
        assert other not in ids


@pytest.mark.parametrize("bad", [[-1], [SIZE], [0, 10**9]])
def test_an_id_outside_the_universe_is_refused(bad: list[int]) -> None:
    with pytest.raises(OptionError, match=r"\[0, 203\)"):
        IdSet(bad, size=SIZE)


@pytest.mark.parametrize("name", ["__or__", "__and__", "__sub__", "__le__", "jaccard", "intersection_size"])
def test_sets_of_different_universes_do_not_mix(name: str) -> None:
    with pytest.raises(OptionError, match="203 and 204"):
        getattr(IdSet([1], size=SIZE), name)(IdSet([1], size=SIZE + 1))


def test_bits_of_a_wrong_length_or_beyond_the_universe_are_refused() -> None:
    with pytest.raises(OptionError):
        IdSet.from_bits(np.zeros(1, dtype=np.uint8), size=9)
    with pytest.raises(OptionError):
        IdSet.from_bits(np.array([0, 2], dtype=np.uint8), size=9)


def test_a_set_never_equals_something_else_nor_a_set_of_another_universe() -> None:
    assert IdSet([1], size=2) != {1}
    assert IdSet([1], size=2) != IdSet([1], size=3)


def test_an_empty_universe_works() -> None:
    empty = IdSet([], size=0)
    assert list(empty | empty) == list(empty & empty) == []
    assert math.isnan(empty.jaccard(empty))
