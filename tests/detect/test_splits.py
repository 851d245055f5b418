from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effpath.detect import paper_split, split_sources
from effpath.detect.splits import source_groups
from effpath.errors import InputError, OptionError

sources = st.lists(st.integers(-1, 30), min_size=1, max_size=120)


@settings(max_examples=150, deadline=None)
@given(source=sources, seed=st.integers(0, 1000), train=st.floats(0.05, 0.45), total=st.sampled_from([0.7, 1.0]))
def test_no_source_is_on_two_sides_and_no_row_is_lost(source, seed, train, total):
    fractions = {"train": train, "calibrate": 0.2, "test": total - train - 0.2}
    try:
        parts = split_sources(source, fractions=fractions, seed=seed)
    except InputError:
        return  # too few sources: the message is tested below
    source = np.array(source)
    rows = np.concatenate(list(parts.values()))
    assert len(set(rows)) == len(rows)
    assert list(parts) == ["train", "calibrate", "test"]
    seen = [set(source[part]) - {-1} for part in parts.values()]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    if total == 1.0:
        assert sorted(rows) == list(range(len(source)))
    for image in set.union(*seen):
        assert np.isin(np.flatnonzero(source == image), rows).all()


def test_the_shares_are_shares_of_the_sources_not_of_the_rows():
    source = np.repeat(np.arange(100), np.arange(100) % 7 + 1)
    parts = split_sources(source, fractions=(0.1, 0.2, 0.7), seed=0)
    assert [len(set(source[part])) for part in parts.values()] == [10, 20, 70]


def test_rows_without_a_source_are_spread_one_by_one():
    parts = split_sources(np.r_[np.arange(10), np.full(1000, -1)], fractions=(0.1, 0.2, 0.7), seed=0)
    assert [(part >= 10).sum() for part in parts.values()] == [100, 200, 700]
    assert [(part < 10).sum() for part in parts.values()] == [1, 2, 7]


def test_only_random_images_can_be_split_too():
    parts = split_sources([-1] * 10, fractions={"train": 0.5, "test": 0.5}, seed=0)
    assert [len(part) for part in parts.values()] == [5, 5]


@settings(max_examples=50, deadline=None)
@given(source=st.lists(st.integers(0, 30), min_size=1, max_size=60), seed=st.integers(0, 100))
def test_the_division_of_the_images_hangs_on_nothing_but_their_ids_and_the_seed(source, seed):
    images = np.unique(source)
    more = np.r_[np.random.default_rng(seed).permutation(source), [-1] * 7]
    fractions = {"train": 0.5, "test": 0.5}
    if len(images) < 4:
        return
    before = split_sources(source, fractions=fractions, seed=seed)
    after = split_sources(more, fractions=fractions, seed=seed)
    for part in fractions:
        assert set(np.array(source)[before[part]]) == set(more[after[part]]) - {-1}


def test_another_seed_gives_another_split():
    one, two = (split_sources(range(100), fractions=(0.3, 0.3, 0.4), seed=seed)["train"] for seed in (0, 1))
    assert set(one) != set(two)


def test_a_part_of_share_zero_is_empty():
    assert not len(split_sources(range(10), fractions=(0.5, 0, 0.5), seed=0)["calibrate"])


@pytest.mark.parametrize("seed", range(3))
def test_the_papers_split_keeps_the_labels_even_but_mixes_the_sources(seed):
    labels = np.repeat(["clean", "fgsm", "bim"], [200, 100, 50])
    source = np.r_[np.arange(200), np.arange(100), np.arange(50)]
    parts = paper_split(labels, fractions={"train": 0.1, "test": 0.9}, seed=seed)
    train = labels[parts["train"]]
    assert [(train == label).sum() for label in ("clean", "fgsm", "bim")] == [20, 10, 5]
    assert sorted(np.concatenate(list(parts.values()))) == list(range(350))
    assert set(source[parts["train"]]) & set(source[parts["test"]])


def test_each_sourceless_row_is_a_group_of_its_own():
    groups = source_groups([7, -1, 7, -1, 3])
    assert groups[0] == groups[2]
    assert sorted(set(groups)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "fractions", [(0.5, 0.3, 0.3), (-0.1, 0.1, 0.5), (0.5, 0.5), {}, {"train": 0.0}, (0.1, float("nan"), 0.1)]
)
def test_wrong_fractions_are_named(fractions):
    with pytest.raises(OptionError, match="fractions"):
        split_sources(range(100), fractions=fractions, seed=0)


def test_too_few_sources_name_the_empty_part():
    with pytest.raises(InputError, match="too few sources for the parts train "):
        split_sources([0, 0, 1, 1, 2, 2, -1, -1], fractions=(0.1, 0.4, 0.5), seed=0)
    with pytest.raises(InputError, match="too few rows"):
        paper_split([0, 1], fractions=(0.1, 0.4, 0.5), seed=0)


@pytest.mark.parametrize("source", [[], [[0, 1]], [0.5, 1.0], [-2, 0]])
def test_sources_must_be_a_vector_of_ids(source):
    with pytest.raises(InputError, match="source"):
        split_sources(source, fractions=(0.3, 0.3, 0.4), seed=0)
