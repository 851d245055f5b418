"""The neurons that signs of activity look at: all of a small network, some of a large one, the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import effpath
from digits_net import class_paths
from effpath.detect.signs.sample import LAYERS, NEURONS, Sample, drawn, early_layers
from effpath.kernels.options import make_options
from effpath.paths.header import Header
from effpath.rules.plan import plan_for


def header_of(net: nn.Module, example: torch.Tensor) -> Header:
    graph = effpath.capture(net.eval(), example)
    return Header.of(graph, make_options("default"), plan_for(graph).choose_layers(None))


def test_a_small_network_is_looked_at_whole() -> None:
    header = class_paths().header
    found = Sample.of(header)
    assert [*found.ids] == ["conv1", "conv2", "fc1"] == [*early_layers(header)]
    for name, ids in found.ids.items():
        assert ids.tolist() == list(range(header.universe("neurons", name)))
        assert found.size(name) == len(ids)


def test_of_a_deep_network_so_many_layers_are_looked_at_evenly_spread() -> None:
    net = nn.Sequential(nn.Flatten(), *[nn.Linear(4, 4) for _ in range(60)])
    header = header_of(net, torch.zeros(1, 1, 2, 2))
    found, early = [*Sample.of(header).ids], early_layers(header)
    assert len(found) == LAYERS
    assert (found[0], found[-1]) == (early[0], early[-1])
    gaps = np.diff([early.index(name) for name in found])
    assert set(gaps.tolist()) <= {2, 3}


def test_of_a_large_layer_so_many_neurons_are_looked_at_from_all_over_it() -> None:
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 64 * 64, 3))
    header = header_of(net, torch.zeros(1, 1, 64, 64))
    ((name, ids),) = Sample.of(header).ids.items()
    assert len(ids) == NEURONS == len(np.unique(ids))
    assert (np.diff(ids) > 0).all()
    assert header.universe("neurons", name) == 8 * 64 * 64 > ids[-1]
    for parts in (ids // 4096, ids % 64 // 8, ids % 4096 // 512):  # channels, columns, rows
        np.testing.assert_allclose(np.bincount(parts, minlength=8), NEURONS / 8, rtol=0.1)


def test_the_draw_is_the_same_in_every_version() -> None:
    assert drawn(20, 5).tolist() == [2, 4, 6, 8, 18]
    assert drawn(5, 5).tolist() == [0, 1, 2, 3, 4]
    assert len(drawn(1_000_000, 100)) == 100


@pytest.mark.parametrize("shape", [(3, 5), (3, 4, 6), (3, 4, 2, 6), (3, 1, 5, 5)])
@pytest.mark.parametrize("last", [False, True])
def test_what_is_taken_is_in_the_order_of_the_ids_whatever_the_memory_format(
    shape: tuple[int, ...], last: bool
) -> None:
    values = torch.rand(shape)
    if last and len(shape) == 4:
        values = values.contiguous(memory_format=torch.channels_last)
    ids = np.arange(0, int(np.prod(shape[1:])), 2)
    assert torch.equal(Sample({"layer": ids}).take("layer", values), values.reshape(3, -1)[:, ids])
