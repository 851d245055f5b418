"""IdSet is Python's set of integers, whichever form it is kept in."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from effpath import IdSet
from effpath.errors import OptionError
from effpath.kernels import sets as kernels

SIZE = 203  # not a multiple of 8; up to 3 ids are kept as ids, more as bits
SIZES = [1, 64, SIZE, 65536, 65537, 3 * 65536 + 5, 1 << 20, (1 << 33) + 9]
# where forms, words and chunks begin and end, in every universe that has the place
PLACES = [0, 7, 63, 64, 200, 4095, 65535, 65536, 131071, 131072, 1 << 19, (1 << 32) - 1, 1 << 32, 1 << 33]
# members as blocks (place, offset, length), cut to the universe
BLOCKS = st.lists(
    st.tuples(st.sampled_from(PLACES), st.integers(-2, 70), st.sampled_from([1, 1, 2, 5, 66, 9000])), max_size=6
)


def members_of(blocks: list[tuple[int, int, int]], size: int) -> set[int]:
    return {i for place, offset, n in blocks for i in range(place + offset, place + offset + n) if 0 <= i < size}


class IdSetMachine(RuleBasedStateMachine):
    """Every operation on a pair (IdSet, set) gives such a pair again."""

    pairs = Bundle("pairs")

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[IdSet, set[int]]] = []

    @initialize(size=st.sampled_from(SIZES))
    def choose_a_universe(self, size: int) -> None:
        self.size = size

    def keep(self, ours: IdSet, theirs: set[int]) -> tuple[IdSet, set[int]]:
        self.made.append((ours, theirs))
        return ours, theirs

    @rule(target=pairs, blocks=BLOCKS, twice=st.booleans(), random=st.randoms(use_true_random=False))
    def make(self, blocks, twice: bool, random):
        members = members_of(blocks, self.size)
        ids = [*members, *members] if twice else list(members)
        random.shuffle(ids)
        return self.keep(IdSet(ids, size=self.size), members)

    @rule(target=pairs, blocks=BLOCKS)
    def make_of_a_mask(self, blocks):
        size = min(self.size, 1 << 20)
        members = members_of(blocks, size)
        mask = np.zeros(size, dtype=bool)
        mask[list(members)] = True
        made = IdSet.from_mask(mask)
        assert set(made) == members
        assert (made.mask() == mask).all()
        return self.keep(made if size == self.size else IdSet(made.ids, size=self.size), members)

    @rule(target=pairs, blocks=BLOCKS)
    def make_of_sorted_ids(self, blocks):
        members = members_of(blocks, self.size)
        return self.keep(IdSet.from_sorted(np.array(sorted(members), dtype=np.int64), size=self.size), members)

    @rule(target=pairs, pair=pairs)
    def make_of_its_own_arrays(self, pair):
        ours, theirs = pair
        if "bits" in ours.arrays:
            return self.keep(IdSet.from_bits(ours.arrays["bits"], size=self.size), theirs)
        return self.keep(IdSet.from_rows(*ours.rows, size=self.size), theirs)

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

    @rule(pair=pairs, asked=BLOCKS, outside=st.lists(st.sampled_from([-1, -(1 << 40), 1 << 40]), max_size=3))
    def ask(self, pair, asked, outside: list[int]) -> None:
        ours, theirs = pair
        ids = [*outside, self.size, *members_of(asked, self.size), self.size - 1]
        assert ours.contains(np.array(ids, dtype=np.int64)).tolist() == [i in theirs for i in ids]
        assert [i in ours for i in ids[:9]] == [i in theirs for i in ids[:9]]

    @invariant()
    def every_pair_still_agrees(self) -> None:
        for ours, theirs in self.made[-4:]:
            assert len(ours) == len(theirs)
            assert list(ours) == sorted(theirs) == ours.ids.tolist()
            assert ours.ids.dtype == np.int64
            assert set(ours.arrays) in ({"ids"}, {"starts", "lows"}, {"bits"})
            rows = 8 * (math.ceil(self.size / 65536) + 1) + 2 * len(theirs)
            assert ours.nbytes == min(8 * len(theirs), rows, math.ceil(self.size / 8))


TestIdSetAgainstPythonsSet = IdSetMachine.TestCase
TestIdSetAgainstPythonsSet.settings = settings(max_examples=120, stateful_step_count=15, deadline=None)


def random_pairs(size: int, lengths: list[int], seed: int) -> list[tuple[IdSet, set[int]]]:
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(0, size, length) for length in lengths]
    return [(IdSet(ids, size=size), set(ids.tolist())) for ids in drawn]


@pytest.mark.parametrize(
    "lengths", [[5, 9], [5, 4000], [5, 60_000], [3000, 4000], [3000, 60_000], [60_000, 90_000], [0, 3000]]
)
def test_random_sets_of_any_two_forms_combine_like_pythons(lengths: list[int]) -> None:
    (one, ones), (other, others) = random_pairs(5 * 65536 + 77, lengths, seed=sum(lengths))
    for (a, theirs), (b, its) in [((one, ones), (other, others)), ((other, others), (one, ones))]:
        assert set(a | b) == theirs | its
        assert set(a & b) == theirs & its
        assert set(a - b) == theirs - its
        assert a.intersection_size(b) == len(theirs & its)
        assert (a & b) <= a <= (a | b)


def test_what_one_chunk_holds_never_shows_in_a_later_one() -> None:
    size = 600 << 16
    every, first = np.arange(600) * 65536 + 7, np.arange(300) * 65536 + 7
    one, other = IdSet(every, size=size), IdSet(first, size=size)
    assert (one & other).ids.tolist() == first.tolist()
    assert (one - other).ids.tolist() == every[300:].tolist()
    assert one.intersection_size(other) == 300


@pytest.mark.parametrize(
    ("length", "form", "nbytes"),
    [
        (0, {"ids"}, 0),
        (13, {"ids"}, 8 * 13),
        (14, {"starts", "lows"}, 8 * 10 + 2 * 14),
        (36_000, {"starts", "lows"}, 8 * 10 + 2 * 36_000),
        (37_000, {"bits"}, 9 * 65536 // 8),
    ],
)
def test_a_set_is_kept_in_the_form_that_takes_the_least_room(length, form, nbytes) -> None:
    ids = np.random.default_rng(0).permutation(9 << 16)[:length]
    for made in (IdSet(ids, size=9 << 16), IdSet.from_sorted(np.sort(ids), size=9 << 16)):
        assert set(made.arrays) == form
        assert made.nbytes == nbytes == sum(array.nbytes for array in made.arrays.values())
        assert IdSet.from_rows(*made.rows, size=9 << 16) == made


def test_a_set_does_not_change_with_the_array_it_was_made_of() -> None:
    for length in (3, 30, 40_000):
        ids = np.arange(length) * 3
        made = IdSet.from_sorted(ids, size=4 << 16)
        ids[:] = 7
        assert made.ids.tolist() == list(range(0, 3 * length, 3))


def test_rows_say_what_they_say_they_are() -> None:
    starts, lows = IdSet([7, 65535, 65536, 131072 + 5], size=1 << 18).rows
    assert starts.tolist() == [0, 2, 3, 4, 4]
    assert lows.tolist() == [7, 65535, 0, 5]
    assert (starts.dtype, lows.dtype) == (np.int64, np.uint16)


def test_a_set_in_a_universe_beyond_32_bits_takes_memory_by_its_members() -> None:
    size = 16_000_000_000
    some, more = IdSet([0, 1 << 33, size - 1], size=size), IdSet([1 << 33, 5], size=size)
    assert sorted(some | more) == [0, 5, 1 << 33, size - 1]
    assert some.jaccard(more) == 1 / 4
    assert some.nbytes == 24


def test_ids_of_any_shape_and_order_are_asked_for_in_one_call() -> None:
    for many in (4, 30, 60_000):
        (ours, theirs), (asked, _) = random_pairs(1 << 18, [many, 1000], seed=many)
        ids = np.random.default_rng(0).permutation(np.concatenate([asked.ids, ours.ids[:200], [-1, 1 << 18]]))
        ids = ids[: len(ids) // 10 * 10].reshape(5, 2, -1)
        found = ours.contains(ids[:, ::-1])
        assert found.shape == ids.shape
        assert found.ravel().tolist() == [i in theirs for i in ids[:, ::-1].ravel().tolist()]
        assert ours.contains(np.int64(next(iter(theirs)))).shape == ()
        assert ours.contains(ids[:0]).shape == (0, *ids.shape[1:])


def test_a_set_holds_only_integers_of_its_universe() -> None:
    ids = IdSet([0, 202], size=SIZE)
    assert 0 in ids
    assert np.int64(202) in ids
    for other in (-1, 203, 10**12, 10**30, 0.0, "0", None):
        assert other not in ids


@pytest.mark.parametrize("bad", [[-1], [SIZE], [0, 10**9]])
def test_an_id_outside_the_universe_is_refused(bad: list[int]) -> None:
    with pytest.raises(OptionError, match=r"\[0, 203\)"):
        IdSet(bad, size=SIZE)
    with pytest.raises(OptionError, match=r"\[0, 203\)"):
        IdSet.from_sorted(np.array(bad), size=SIZE)


@pytest.mark.parametrize("bad", [[2, 1], [1, 1], [5, 10**12, 6]])
def test_ids_that_are_not_sorted_and_unique_are_not_taken_for_sorted(bad: list[int]) -> None:
    with pytest.raises(OptionError, match="sorted and unique"):
        IdSet.from_sorted(np.array(bad), size=SIZE)


@pytest.mark.parametrize("name", ["__or__", "__and__", "__sub__", "__le__", "jaccard", "intersection_size"])
def test_sets_of_different_universes_do_not_mix(name: str) -> None:
    with pytest.raises(OptionError, match="203 and 204"):
        getattr(IdSet([1], size=SIZE), name)(IdSet([1], size=SIZE + 1))


def test_bits_of_a_wrong_length_or_beyond_the_universe_are_refused() -> None:
    with pytest.raises(OptionError):
        IdSet.from_bits(np.zeros(1, dtype=np.uint8), size=9)
    with pytest.raises(OptionError):
        IdSet.from_bits(np.array([0, 2], dtype=np.uint8), size=9)


@pytest.mark.parametrize(
    ("starts", "lows", "said"),
    [
        ([0, 1], [1], "3 ascending starts"),
        ([0, 1, 3], [1, 2], "3 ascending starts"),
        ([1, 1, 2], [1, 2], "3 ascending starts"),
        ([0, 2, 1], [1], "3 ascending starts"),
        ([0, 2, 2], [2, 1], "ascend within each chunk"),
        ([0, 2, 2], [1, 1], "ascend within each chunk"),
        ([0, 0, 1], [10], "stay below 65546"),
    ],
)
def test_rows_that_are_none_of_the_universe_are_refused(starts: list[int], lows: list[int], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        IdSet.from_rows(np.array(starts), np.array(lows, dtype=np.uint16), size=65546)


def test_a_set_never_equals_something_else_nor_a_set_of_another_universe() -> None:
    assert IdSet([1], size=2) != {1}
    assert IdSet([1], size=2) != IdSet([1], size=3)


def test_an_empty_universe_works() -> None:
    empty = IdSet([], size=0)
    assert list(empty | empty) == list(empty & empty) == list(empty - empty) == []
    assert empty == IdSet.from_mask(np.zeros(0, dtype=bool))
    assert not empty.contains(np.array([0, -1])).any()
    assert math.isnan(empty.jaccard(empty))


def test_each_loop_is_compiled_once_whatever_was_asked_of_it() -> None:
    compiled = [loop for loop in vars(kernels).values() if hasattr(loop, "signatures")]
    assert len(compiled) > 10
    (one, _), (other, _), (many, _) = random_pairs(1 << 18, [4, 3000, 60_000], seed=0)
    for a in (one, other, many):
        a.contains(a.ids)
        for b in (one, other, many):
            assert len(a | b) + len(a & b) == len(a) + len(b)
            assert len(a - b) + a.intersection_size(b) == len(a)
    assert {loop.__name__: len(loop.signatures) for loop in compiled if len(loop.signatures) > 1} == {}


def test_importing_effpath_neither_imports_nor_compiles_the_loops() -> None:
    ask = "import sys, effpath; print(sorted({'numba', 'effpath.kernels.sets'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
