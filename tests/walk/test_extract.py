"""The walk against a second implementation of the whole method, and its laws."""

from __future__ import annotations

import copy
import itertools
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import effpath
import known_graphs
import nets
import plain_walk
from cases import PRESETS, options_of
from effpath import Options
from effpath.backends.compiled import CompiledWalk
from effpath.backends.plain import PlainWalk
from effpath.errors import UnknownOperatorError
from effpath.kernels.options import make_options
from effpath.rules import LEVELS, plan_for
from effpath.walk.recording import Recorded, record
from effpath.walk.visit import paths_of
from nets import NETS, images_of, prepare
from two_backends import BACKENDS, equal_for, for_backend

BY_NAME = {net.name: net for net in NETS}


@cache
def captured(name: str) -> tuple[torch.nn.Module, effpath.Graph, torch.Tensor]:
    net = BY_NAME[name]
    return *nets.captured(net), images_of(net.shape)


@cache
def plain_values(name: str) -> list[dict[str, np.ndarray]]:
    model, _, images = captured(name)
    steps = BY_NAME[name].steps(model)
    return [plain_walk.forward(steps, image.numpy()) for image in images]


def variants(name: str) -> list[Options]:
    found = [options_of(preset, theta) for preset in PRESETS for theta in (0.3, 0.5, 0.9, 1.0)]
    if name in ("squeeze-excite", "local response norm"):
        found += [make_options(o, gates=True) for o in found]
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
    for options, backend in itertools.product(variants(name), BACKENDS):
        paths = paths_of(for_backend(record(graph, images, options=options), backend), rank=rank)
        for i, path in enumerate(paths):
            want = plain_walk.walk(steps, plain_values(name)[i], options, rank)
            for layer in path.header.layers:
                outputs, inputs = path.pairs(layer.name)
                pairs = set(zip(outputs.tolist(), inputs.tolist(), strict=True))
                assert pairs == want.synapses.get(layer.name, set()), (backend, options, i, layer.name)
                assert set(path.neurons[layer.name]) == want.neurons.get(layer.name, set())
            assert {key: set(ids) for key, ids in path.weights.items()} == {
                key: want.weights.get(key, set()) for key in path.weights
            }
            assert set(want.weights) <= set(path.weights)
            assert set(paths.pixels[i].tolist()) == want.active.get("input", set())


@pytest.mark.parametrize("gates", [False, True])
@pytest.mark.parametrize("name", BY_NAME)
def test_both_backends_find_the_same_paths_from_any_outputs_on(name: str, gates: bool) -> None:
    _, graph, images = captured(name)
    assert min(equal_for(graph, images, *(make_options(one, gates=gates) for one in variants(name)))) > 0


@pytest.mark.parametrize("name", BY_NAME)
def test_both_backends_find_the_same_parts_of_a_path(name: str) -> None:
    _, graph, images = captured(name)
    layers = plan_for(graph).every
    for wanted in [*range(1, 1 + len(plan_for(graph).layers)), *(layer.name for layer in layers)]:
        equal_for(graph, images, options_of("default", 0.5), layers=wanted)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_small_networks_have_paths_worth_comparing(name: str) -> None:
    _, graph, images = captured(name)
    whole = effpath.extract(graph, images, preset="paper").union()
    gate = ("squeeze", "excite")  # visited only with gates=True
    assert all(density > 0 for layer, density in whole.layer_density("synapses").items() if layer not in gate)
    assert 0 < whole.density("synapses") < 1


# ---------------------------------------------------------------- laws


def sets_of(paths: effpath.Paths, row: int) -> dict[tuple[str, str], set[int]]:
    path = paths[row]
    found = {(level, key): set(s) for level in LEVELS for key, s in path.sets(level).items()}
    if paths.pixels is not None:
        found["pixels", ""] = set(paths.pixels[row].tolist())
    return found


def recorded_with(name: str, options: Options, **wanted) -> Recorded:
    _, graph, images = captured(name)
    return record(graph, images, options=options, **wanted)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", BY_NAME)
def test_the_paths_of_a_network_are_nested_in_theta_for_every_preset(name: str, preset: str) -> None:
    _, graph, images = captured(name)
    thetas = (0.01, 0.2, 0.25, 1 / 3, 0.5, 0.51, 0.75, 0.9, 1.0)
    chain = [effpath.extract(graph, images, preset=preset, theta=theta) for theta in thetas]
    for smaller, larger in itertools.pairwise(chain):
        for row in range(len(images)):
            low, high = sets_of(smaller, row), sets_of(larger, row)
            assert all(low[key] <= high[key] for key in low)
    assert any(sets_of(chain[0], row) != sets_of(chain[-1], row) for row in range(len(images)))


@pytest.mark.parametrize("name", BY_NAME)
def test_a_batch_walks_exactly_as_its_parts_do(name: str) -> None:
    for preset in PRESETS:
        recorded = recorded_with(name, options_of(preset, 0.5), include_auxiliary=True)
        whole = paths_of(recorded)
        for row in range(len(recorded)):
            assert sets_of(paths_of(recorded.select(slice(row, row + 1))), 0) == sets_of(whole, row)
        some = paths_of(recorded.select(torch.tensor([2, 0])))
        assert [sets_of(some, 0), sets_of(some, 1)] == [sets_of(whole, 2), sets_of(whole, 0)]


@pytest.mark.parametrize("name", BY_NAME)
def test_an_image_alone_has_the_path_that_it_has_in_a_batch(name: str) -> None:
    _, graph, images = captured(name)
    whole = effpath.extract(graph, images)
    for row, image in enumerate(images):
        assert sets_of(effpath.extract(graph, image[None]), 0) == sets_of(whole, row)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_path_from_the_class_of_a_rank_is_the_path_of_that_rank(name: str) -> None:
    _, graph, images = captured(name)
    for rank in (1, 2, 3):
        ranked = effpath.extract(graph, images, rank=rank)
        given = effpath.extract(graph, images, classes=ranked.classes.tolist())
        order = np.argsort(-ranked.logits, axis=1, kind="stable")
        assert ranked.classes.tolist() == order[:, rank - 1].tolist()
        assert [sets_of(ranked, row) for row in range(3)] == [sets_of(given, row) for row in range(3)]
        assert (ranked.rank, given.rank) == (rank, 0)


class Plain(nn.Module):
    """Convolution, pooling, convolution, linear: positively homogeneous."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 3, 2)
        self.fc = nn.Linear(3, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        return self.fc(F.relu(self.conv2(x)).flatten(1))


def captured_plain(model: Plain, images: torch.Tensor) -> effpath.Graph:
    return known_graphs.captured(f"plain, {images.dtype}", model, images)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_power_of_two_times_a_layer_and_the_next_one_divided_changes_nothing(preset: str) -> None:
    model = prepare(Plain(), 2)
    images = images_of((2, 4, 4), count=8)
    before = effpath.extract(captured_plain(model, images), images, preset=preset)
    with torch.no_grad():
        for factor, one, other in ((8.0, model.conv1, model.conv2), (0.25, model.conv2, model.fc)):
            one.weight *= factor
            one.bias *= factor
            other.weight /= factor
    after = effpath.extract(captured_plain(model, images), images, preset=preset)
    for row in range(len(images)):
        assert sets_of(before, row) == sets_of(after, row)
    assert sum(len(s) for s in before.union().synapses.values()) > 20


@pytest.mark.parametrize("preset", PRESETS)
def test_a_permutation_of_channels_permutes_the_path_where_no_contributions_tie(preset: str) -> None:
    torch.manual_seed(2)
    model = Plain().double().eval()  # random numbers in double precision: no ties, no rounding at a threshold
    for layer in (model.conv1, model.conv2, model.fc):
        layer.bias.data /= 8  # else the bias of the logit alone explains it, in an untrained network
    images = torch.rand(8, 2, 4, 4, dtype=torch.float64)
    order = torch.tensor([2, 0, 3, 1])  # new channel k is old channel order[k]
    permuted = copy.deepcopy(model)
    with torch.no_grad():
        permuted.conv1.weight.copy_(model.conv1.weight[order])
        permuted.conv1.bias.copy_(model.conv1.bias[order])
        permuted.conv2.weight.copy_(model.conv2.weight[:, order])
    before = effpath.extract(captured_plain(model, images), images, preset=preset)
    after = effpath.extract(captured_plain(permuted, images), images, preset=preset)
    old = order.tolist()
    assert len(before.union().synapses["conv1"]) > 10
    for row in range(len(images)):
        mine, theirs = sets_of(before, row), sets_of(after, row)
        moved = {old[i // 16] * 16 + i % 16 for i in theirs["neurons", "conv1"]}
        assert moved == mine["neurons", "conv1"]
        assert {old[i // 18] * 18 + i % 18 for i in theirs["weights", "conv1.weight"]} == mine[
            "weights", "conv1.weight"
        ]
        inner = {i // 16 * 16 + old[i // 4 % 4] * 4 + i % 4 for i in theirs["weights", "conv2.weight"]}
        assert inner == mine["weights", "conv2.weight"]
        for key in (("pixels", ""), ("neurons", "conv2"), ("synapses", "fc"), ("weights", "fc.weight")):
            assert mine[key] == theirs[key]


def test_with_a_tie_the_lower_channel_wins_so_that_a_permutation_moves_the_choice() -> None:
    model = nn.Linear(2, 1, bias=False).eval()
    torch.nn.init.ones_(model.weight)
    graph = effpath.capture(model, torch.zeros(1, 2))
    paths = effpath.extract(graph, torch.ones(1, 2), preset="paper")
    assert paths.pixels[0].tolist() == [0]  # of the permuted network, that is the other element


# ---------------------------------------------------------------- layers


@pytest.mark.parametrize("name", BY_NAME)
def test_the_last_layers_alone_have_the_sets_of_the_whole_extraction(name: str) -> None:
    _, graph, images = captured(name)
    layers = plan_for(graph).layers
    whole = effpath.extract(graph, images)
    for last in range(1, len(layers) + 1):
        part = effpath.extract(graph, images, layers=last)
        assert [la.name for la in part.header.layers] == [la.name for la in layers[-last:]]
        for row in range(len(images)):
            assert all(s == whole[row].synapses[key] for key, s in part[row].synapses.items())
            assert all(s == whole[row].neurons[key] for key, s in part[row].neurons.items())
        assert (part.pixels is None) == (last < len(layers))


@pytest.mark.parametrize("name", BY_NAME)
def test_a_named_layer_alone_has_the_set_of_the_whole_extraction(name: str) -> None:
    _, graph, images = captured(name)
    whole = effpath.extract(graph, images, include_auxiliary=True)
    for layer in plan_for(graph).every:
        part = effpath.extract(graph, images, layers=layer.name)
        assert [la.name for la in part.header.layers] == [layer.name]
        for row in range(len(images)):
            assert part[row].synapses[layer.name] == whole[row].synapses[layer.name]
            assert part[row].neurons[layer.name] == whole[row].neurons[layer.name]


@pytest.mark.parametrize("walk", [CompiledWalk, PlainWalk])
def test_a_partial_extraction_decides_nothing_in_other_layers(walk: type, monkeypatch: pytest.MonkeyPatch) -> None:
    _, graph, images = captured("residual")
    backend = "compiled" if walk is CompiledWalk else "reference"
    calls, decide = [], walk.decide
    monkeypatch.setattr(
        walk, "decide", lambda self, name, *a, **k: calls.append(name) or decide(self, name, *a, **k)
    )
    worked = {}
    for layers in (1, 2, ["conv2"], ["shortcut.0"], ["conv1"], None):
        calls.clear()
        effpath.extract(graph, images, layers=layers, backend=backend)
        worked[str(layers)] = len(calls)
    # fc | fc, mean, add, shortcut | … conv2 | … shortcut | all but the shortcut | all
    assert worked == {"1": 1, "2": 4, "['conv2']": 4, "['shortcut.0']": 4, "['conv1']": 5, "None": 6}


def test_a_partial_extraction_stores_no_activations_of_other_layers() -> None:
    _, graph, images = captured("residual")
    recorded = record(graph, images, options=options_of("paper", 0.5), layers=1)
    assert set(recorded.values) == {"fc", "mean"}


def test_pixels_are_found_behind_a_normalisation_or_a_pooling_before_the_first_layer() -> None:
    class Behind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(F.max_pool2d((x - 0.25) / 0.5, 2).flatten(1))

    model = prepare(Behind(), 1)
    images = images_of((1, 4, 4))
    paths = effpath.extract(effpath.capture(model, images), images, preset="paper")
    for row, path in enumerate(paths):
        largest = F.max_pool2d(images[row][None], 2, return_indices=True)[1].flatten().tolist()
        wanted = {largest[i] for i in path.pairs("fc")[1].tolist()}
        assert set(paths.pixels[row].tolist()) == wanted
        assert wanted


def test_the_auxiliary_layers_are_kept_only_on_request() -> None:
    _, graph, images = captured("residual")
    kept = effpath.extract(graph, images, include_auxiliary=True)
    names = [layer.name for layer in kept.header.layers]
    assert names == ["conv1", "conv2", "shortcut.0", "add", "mean", "fc"]
    assert list(kept[0].weights) == ["conv1.weight", "conv2.weight", "shortcut.0.weight", "fc.weight"]
    plain = effpath.extract(graph, images)
    assert [layer.name for layer in plain.header.layers] == ["conv1", "conv2", "shortcut.0", "fc"]
    for row in range(len(images)):
        assert all(kept[row].synapses[key] == s for key, s in plain[row].synapses.items())


def test_operators_that_only_feed_a_gate_need_no_rule_unless_gates_are_followed() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(x * torch.sigmoid(torch.cumsum(x, 1)))

    graph = effpath.capture(prepare(Gated()), torch.zeros(1, 3))
    assert len(effpath.extract(graph, torch.ones(1, 3))) == 1
    with pytest.raises(UnknownOperatorError, match="cumsum"):
        effpath.extract(graph, torch.ones(1, 3), preset=Options(gates=True))


def test_classes_with_equal_logits_rank_in_the_order_of_the_classes() -> None:
    model = nn.Linear(2, 100).eval()
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    graph = effpath.capture(model, torch.zeros(1, 2))
    for rank in (1, 2, 57, 100):
        assert effpath.extract(graph, torch.ones(1, 2), rank=rank).classes.tolist() == [rank - 1]
