"""Which pixels a path reads, and how often."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

import effpath
from digits_net import data, graph
from effpath.kernels.options import make_options
from effpath.views.pixels import heat, parted_heat, pixel_maps
from effpath.walk.recording import record
from effpath.walk.visit import paths_of


class Flipped(nn.Module):
    """A network that turns the channels round before its first layer, and reads the pixels in a second one too."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(3, 2, 3, stride=2)
        self.out = nn.Linear(4 * 36 + 2 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scaled = (x * 255 - 100).flip(1)
        one, two = torch.relu(self.first(scaled)), torch.relu(self.second(x))
        return self.out(torch.cat([one.flatten(1), two.flatten(1)], 1))


class Pooled(nn.Module):
    """A network whose first operator is a pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(12, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(nn.functional.max_pool2d(x, 3).flatten(1))


def maps_of(net, images, **how):
    torch.manual_seed(0)
    made = effpath.capture(net().eval(), images)
    recorded = record(made, images, options=make_options("default"))
    return made, pixel_maps(recorded, **how), effpath.extract(made, images, **how)


@pytest.mark.parametrize("net", [Flipped, Pooled])
@pytest.mark.parametrize("how", [{}, {"rank": 2}, {"classes": [2, 0]}])
def test_a_map_is_above_0_exactly_where_the_path_is(net, how):
    images = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    _, maps, paths = maps_of(net, images, **how)
    assert maps.shape == (2, 3, 6, 6)
    for row in (0, 1):
        assert np.array_equal(np.flatnonzero(maps[row]), paths.pixels[row])


@pytest.mark.parametrize("net", [Flipped, Pooled])
@pytest.mark.parametrize("include_auxiliary", [False, True])
def test_the_maps_of_paths_that_are_known_are_those_of_a_walk(net, include_auxiliary):
    torch.manual_seed(0)
    images = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    made = effpath.capture(net().eval(), images)
    recorded = record(made, images, options=make_options("default"), include_auxiliary=include_auxiliary)
    known = pixel_maps(recorded, paths_of(recorded, rank=2))
    np.testing.assert_array_equal(known, pixel_maps(recorded, rank=2))


def test_it_counts_the_synapses_that_read_a_pixel_through_a_flip_and_beside_it():
    images = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    _, maps, paths = maps_of(Flipped, images)
    for row, path in enumerate(paths):
        counted: Counter[int] = Counter(path.pairs("second")[1].tolist())
        for element in path.pairs("first")[1].tolist():
            channel, position = divmod(element, 36)
            counted[(2 - channel) * 36 + position] += 1
        assert dict(enumerate(maps[row].flatten().tolist())) == {at: counted[at] for at in range(108)}


def test_what_a_pooling_reads_counts_once():
    images = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    _, maps, _ = maps_of(Pooled, images)
    assert set(np.unique(maps)) == {0, 1}


def test_images_of_the_digits_are_counted_by_their_first_layer():
    images = data().test_images[:5]
    recorded = record(graph(), images, options=make_options("default"))
    maps = pixel_maps(recorded)
    for row, path in enumerate(effpath.extract(graph(), images)):
        assert np.array_equal(maps[row].flatten(), np.bincount(path.pairs("conv1")[1], minlength=64))


def test_a_pixel_that_two_paths_read_is_in_the_part_of_both_however_often_either_reads_it():
    first, second = np.zeros((2, 1, 8, 8), np.float32)
    first[0, 1, 1], first[0, 2, 2], second[0, 2, 2], second[0, 3, 3] = 4, 1, 8, 2
    found = parted_heat(first, second)
    assert found.shape == (3, 8, 8)
    assert [tuple(place) for place in np.argwhere(found > 0)] == [(0, 1, 1), (1, 3, 3), (2, 2, 2)]
    assert (found[0, 1, 1], found[1, 3, 3], found[2, 2, 2]) == (1, 0.25, (0.25 + 1) / 2)
    assert (parted_heat(first, first)[:2] == 0).all()
    assert (parted_heat(0 * first, 0 * first) == 0).all()
    assert parted_heat(np.ones((3, 200, 240), np.float32), np.zeros((3, 200, 240), np.float32)).sum(0).max() == 1


def test_heat_is_in_0_to_1_and_smooth_only_on_large_images():
    small = np.zeros((1, 8, 8), np.float32)
    small[0, 2, 3] = 4
    small[0, 5, 5] = 1
    assert heat(small)[2, 3] == 1
    assert heat(small)[5, 5] == 0.25
    assert heat(small).sum() == 1.25
    large = np.zeros((3, 200, 240), np.float32)
    large[:, 100, 100] = 1
    found = heat(large)
    assert found.shape == (200, 240)
    assert found.max() == 1
    assert found[100, 101] > 0.5
    assert found[100, 120] == 0
    assert not heat(np.zeros((1, 4, 4), np.float32)).any()
