"""Paths as sets: unions, similarity, density."""

from __future__ import annotations

import math
from functools import cache, reduce

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import effpath
from effpath.errors import FingerprintError, OptionError
from effpath.rules import LEVELS
from nets import NETS, images_of, prepare

SHARED = next(net for net in NETS if net.name == "shared modules")


@cache
def graph() -> effpath.Graph:
    return effpath.capture(prepare(SHARED.make(), SHARED.seed), torch.zeros(1, *SHARED.shape))


@cache
def paths() -> effpath.Paths:
    return effpath.extract(graph(), images_of(SHARED.shape, count=6))


def union_of(rows: list[int]) -> effpath.Path:
    return reduce(lambda a, b: a | b, (paths()[row] for row in rows))


ROWS = st.lists(st.integers(0, 5), min_size=1, max_size=4)


@given(ROWS, ROWS, ROWS)
def test_union_is_idempotent_commutative_and_associative(one: list[int], two: list[int], three: list[int]) -> None:
    a, b, c = union_of(one), union_of(two), union_of(three)
    assert a | a == a
    assert a | b == b | a
    assert (a | b) | c == a | (b | c)
    assert a <= a | b


@given(ROWS)
def test_the_union_of_rows_is_the_union_of_the_paths_of_the_rows(rows: list[int]) -> None:
    once = sorted(set(rows))
    together = paths().union(once)
    assert together == union_of(rows)
    assert together.images == len(once)
    for level in LEVELS:
        for key, ids in together.sets(level).items():
            assert set(ids) == set().union(*(set(paths()[row].sets(level)[key]) for row in rows))


@given(ROWS, ROWS)
def test_similarity_is_between_0_and_1_symmetric_and_1_with_itself(one: list[int], two: list[int]) -> None:
    a, b = union_of(one), union_of(two)
    for level in LEVELS:
        both = sum(len(set(s) & set(b.sets(level)[key])) for key, s in a.sets(level).items())
        either = sum(len(set(s) | set(b.sets(level)[key])) for key, s in a.sets(level).items())
        assert a.jaccard(b, level) == b.jaccard(a, level) == both / either
        assert a.jaccard(a, level) == 1
        assert 0 <= a.jaccard(b, level) <= 1
        for key, similarity in a.layer_jaccard(b, level).items():
            assert similarity == a.sets(level)[key].jaccard(b.sets(level)[key]) or math.isnan(similarity)


@pytest.mark.parametrize("level", LEVELS)
def test_density_is_the_share_of_all_elements_and_grows_with_the_union(level: str) -> None:
    whole = paths().union()
    densities = [path.density(level) for path in paths()]
    assert all(0 < density <= 1 for density in densities)
    assert max(densities) <= whole.density(level) <= 1
    header = whole.header
    used = sum(len(s) for s in whole.sets(level).values())
    assert whole.density(level) == used / sum(header.total(level, key) for key in whole.sets(level))
    for key, density in whole.layer_density(level).items():
        assert density == len(whole.sets(level)[key]) / header.total(level, key)


def test_all_synapses_are_the_taps_inside_the_image_by_hand() -> None:
    header = paths().header
    # conv, 3 x 3 with padding 1 on 2 x 3 x 3: 4 corners of 4 taps, 4 edges of 6, 1 middle of 9; 2 in, 2 out
    assert header.total("synapses", "conv") == (4 * 4 + 4 * 6 + 9) * 2 * 2
    assert header.total("neurons", "conv") == 18
    assert header.total("weights", "conv.weight") == 36
    assert header.total("synapses", "fc") == 18 * 18


def test_a_module_used_twice_has_synapses_of_two_nodes_and_weights_of_one_parameter() -> None:
    path = paths()[0]
    assert list(path.synapses) == ["conv", "conv#2", "fc", "fc#2", "head"]
    assert list(path.weights) == ["conv.weight", "fc.weight", "head.weight"]
    for parameter, nodes in {"conv.weight": ("conv", "conv#2"), "fc.weight": ("fc", "fc#2")}.items():
        wanted = set()
        for node in nodes:
            slots = torch.from_numpy(path.synapses[node].ids)
            wanted |= set(path.header.layer(node).window.weights_of(slots).tolist())
        assert set(path.weights[parameter]) == wanted


def test_the_weights_of_a_batch_are_the_weights_of_its_paths() -> None:
    for i, path in enumerate(paths()):
        for key, ragged in paths().weights.items():
            assert ragged[i].tolist() == path.weights[key].ids.tolist()


def test_every_synapse_starts_in_an_active_neuron_of_its_layer() -> None:
    for path in paths():
        for layer in path.header.layers:
            outputs, inputs = path.pairs(layer.name)
            assert set(outputs.tolist()) <= set(path.neurons[layer.name])
            assert (inputs >= 0).all()


def test_indexing_and_slicing_a_batch_of_paths_is_that_of_a_list() -> None:
    assert len(paths()) == 6
    assert paths()[-1] == paths()[5]
    assert list(paths()[1:3]) == [paths()[1], paths()[2]]
    assert list(paths()) == [paths()[i] for i in range(6)]
    with pytest.raises(IndexError):
        paths()[6]


def test_paths_of_other_networks_options_or_layers_do_not_mix() -> None:
    images = images_of(SHARED.shape, count=1)
    mine = effpath.extract(graph(), images)[0]
    other = effpath.capture(prepare(SHARED.make(), 99), torch.zeros(1, *SHARED.shape))
    with pytest.raises(FingerprintError):
        mine | effpath.extract(other, images)[0]
    with pytest.raises(OptionError, match="options"):
        mine | effpath.extract(graph(), images, theta=0.6)[0]
    with pytest.raises(OptionError, match="layers"):
        mine.jaccard(effpath.extract(graph(), images, layers=1)[0])


def test_an_unknown_level_or_layer_is_refused_by_name() -> None:
    with pytest.raises(OptionError, match="'edges'"):
        paths()[0].sets("edges")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"'conv9'.*conv, conv#2, fc"):
        paths()[0].pairs("conv9")


def test_the_similarity_of_two_empty_sets_is_nan() -> None:
    header = paths().header
    sets = {la.name: effpath.IdSet([], size=la.universe("synapses")) for la in header.layers}
    empty = effpath.Path(header, {"synapses": sets})
    assert math.isnan(empty.jaccard(empty))
    assert all(np.isnan(value) for value in empty.layer_jaccard(empty).values())
