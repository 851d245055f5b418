"""The walk against a second implementation of the whole method, and its laws."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import plain_walk
import pytest
import torch
from cases import PRESETS, options_of
from nets import NETS, images_of, prepare

import effpath
from effpath import Options

BY_NAME = {net.name: net for net in NETS}


@lru_cache(maxsize=None)
def captured(name: str) -> tuple[torch.nn.Module, effpath.Graph, torch.Tensor]:
    net = BY_NAME[name]
    model = prepare(net.make(), net.seed)
    return model, effpath.capture(model, torch.zeros(1, *net.shape)), images_of(net.shape)


@lru_cache(maxsize=None)
def plain_values(name: str) -> list[dict[str, np.ndarray]]:
    model, _, images = captured(name)
    steps = BY_NAME[name].steps(model)
    return [plain_walk.forward(steps, image.numpy()) for image in images]


def variants(name: str) -> list[Options]:
    found = [options_of(preset, theta) for preset in PRESETS for theta in (0.3, 0.5, 0.9, 1.0)]
    if name in ("squeeze-excite", "local response norm"):
        found += [effpath.kernels.options.make_options(o, gates=True) for o in found]
    return found


@pytest.mark.parametrize("name", BY_NAME)
def test_the_hand_written_steps_compute_what_the_network_computes(name: str) -> None:
    model, graph, images = captured(name)
    want = np.stack([values[BY_NAME[name].steps(model)[-1].out] for values in plain_values(name)])
    got = graph.run(images)[graph.logits].double().numpy()
    if BY_NAME[name].exact:
        assert np.array_equal(got, want)
    else:
        assert np.allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("name", BY_NAME)
def test_a_whole_path_is_the_one_that_plain_loops_find(name: str, rank: int) -> None:
    model, graph, images = captured(name)
    steps = BY_NAME[name].steps(model)
    for options in variants(name):
        paths = effpath.extract(graph, images, rank=rank, preset=options)
        for i, path in enumerate(paths):
            want = plain_walk.walk(steps, plain_values(name)[i], options, rank)
            for layer in path.header.layers:
                outputs, inputs = path.pairs(layer.name)
                pairs = set(zip(outputs.tolist(), inputs.tolist(), strict=True))
                assert pairs == want.synapses.get(layer.name, set()), (options, i, layer.name)
                assert set(path.neurons[layer.name]) == want.neurons.get(layer.name, set())
            assert {key: set(ids) for key, ids in path.weights.items()} == {
                key: want.weights.get(key, set()) for key in path.weights
            }
            assert set(want.weights) <= set(path.weights)
            assert set(paths.pixels[i].tolist()) == want.active.get("input", set())


@pytest.mark.parametrize("name", BY_NAME)
def test_the_small_networks_have_paths_worth_comparing(name: str) -> None:
    _, graph, images = captured(name)
    whole = effpath.extract(graph, images, preset="paper").union()
    gate = ("squeeze", "excite")  # visited only with gates=True
    assert all(0 < density for layer, density in whole.layer_density("synapses").items() if layer not in gate)
    assert 0 < whole.density("synapses") < 1
