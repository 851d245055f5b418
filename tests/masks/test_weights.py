"""Weights at zero in graphs and in state dicts, and what pruning by magnitude keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import digits_net
import effpath
from cases import set_quantised
from effpath import IdSet
from effpath.errors import OptionError
from effpath.masks import Masked
from effpath.masks.weights import largest_weights, pruned_to, state_with_weights
from effpath.models.weights import load_weights, save_weights
from effpath.rules import plan_for


class Normed(nn.Module):
    """Batch norm, grouped convolution, a part of a parameter that no layer uses, and a weight that is shared."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, groups=2, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.table = nn.Parameter(torch.zeros(6, 16))
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)).relu().flatten(1)
        return self.second(self.first(nn.functional.linear(x, self.table[:5])).relu())


def normed() -> tuple[nn.Module, effpath.Graph, Tensor]:
    model = set_quantised(Normed(), 1)
    model.norm.running_var.fill_(4.0)
    images = torch.randint(-4, 5, (3, 2, 4, 4), generator=torch.Generator().manual_seed(0)).float() / 4
    return model, effpath.capture(model, images), images


def half(graph: effpath.Graph) -> dict[str, IdSet]:
    """Every other weight of each parameter."""
    sizes = {layer.parameter: layer.window.weights for layer in plan_for(graph).layers}
    return {name: IdSet(range(0, size, 2), size=size) for name, size in sizes.items()}


def test_a_model_with_the_reduced_state_gives_the_logits_of_the_masked_network() -> None:
    model, graph, images = normed()
    sets = half(graph)
    assert set(sets) == {"conv.weight", "table", "first.weight"}
    wanted = Masked(graph, sets, "weights", keep=True)(images)
    assert not torch.allclose(wanted, graph(images))
    state = state_with_weights(model.state_dict(), graph, sets)
    assert list(state) == list(model.state_dict())
    other = Normed().eval()
    other.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(other(images), wanted)
        torch.testing.assert_close(model(images), graph(images))  # which was left as it is


def test_only_the_weights_of_layers_are_zeroed_and_tied_ones_together() -> None:
    model, graph, _ = normed()
    before = model.state_dict()
    state = state_with_weights(before, graph, half(graph))
    off = torch.arange(36) % 2 == 1
    assert not bool(state["conv.weight"].reshape(-1)[off].any())
    assert torch.equal(state["conv.weight"].reshape(-1)[~off], before["conv.weight"].reshape(-1)[~off])
    assert torch.equal(state["table"][5], before["table"][5])  # no layer uses it
    assert not bool(state["table"][:5].reshape(-1)[1::2].any())
    assert torch.equal(state["second.weight"], state["first.weight"])
    for name in ("norm.weight", "norm.bias", "norm.running_var", "first.bias"):
        assert torch.equal(state[name], before[name])
    part = state_with_weights(before, graph, {"conv.weight": IdSet(size=36)})
    assert not bool(part["conv.weight"].any())
    assert torch.equal(part["first.weight"], before["first.weight"])


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_state_is_written_as_one_that_any_program_reads(suffix: str, tmp_path) -> None:
    model, graph, images = normed()
    state = state_with_weights(model.state_dict(), graph, half(graph))
    file = tmp_path / f"sliced{suffix}"
    save_weights(state, file)
    if suffix == ".pth":
        read = torch.load(file, weights_only=True)
        assert all(torch.equal(read[name], value) for name, value in state.items())
    other = Normed().eval()
    load_weights(other, file)
    with torch.no_grad():
        torch.testing.assert_close(other(images), Masked(graph, half(graph), "weights", keep=True)(images))


def test_the_largest_weights_are_those_of_a_sorted_list_and_of_equal_ones_the_first() -> None:
    weights = {"a": torch.tensor([[1.0, -3.0], [2.0, -2.0]]), "b": torch.tensor([2.0, 0.0, -2.0])}
    expected = {
        0: ([], []), 1: ([1], []), 2: ([1, 2], []), 3: ([1, 2, 3], []), 4: ([1, 2, 3], [0]),
        7: ([0, 1, 2, 3], [0, 1, 2]),
    }  # fmt: skip
    for count, (a, b) in expected.items():
        found = largest_weights(weights, count)
        assert (list(found["a"]), list(found["b"])) == (a, b)
    with pytest.raises(OptionError, match=r"expected a count of 0 … 7 weights, got 8"):
        largest_weights(weights, 8)


def test_pruning_keeps_as_many_weights_all_together_or_of_each_layer() -> None:
    state, sets = digits_net.model().state_dict(), digits_net.class_paths()[3].weights
    together, each = (pruned_to(state, sets, by_layer=by_layer) for by_layer in (False, True))
    assert sum(map(len, together.values())) == sum(map(len, sets.values()))
    assert {name: len(own) for name, own in each.items()} == {name: len(own) for name, own in sets.items()}
    for name, own in each.items():
        magnitude = state[name].abs().reshape(-1).numpy()
        assert magnitude[own.mask()].min() >= magnitude[~own.mask()].max(initial=0)
    kept, lost = (
        np.concatenate([state[name].abs().reshape(-1).numpy()[own.mask() == on] for name, own in together.items()])
        for on in (True, False)
    )
    assert kept.min() >= lost.max()


def test_a_weight_that_is_computed_from_others_is_refused_with_what_to_do() -> None:
    model = nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))).eval()
    graph = effpath.capture(model, torch.zeros(1, 1, 2, 2))
    (layer,) = plan_for(graph).layers
    with pytest.raises(OptionError, match="remove the parametrization first"):
        state_with_weights(model.state_dict(), graph, {layer.parameter: IdSet(size=12)})
