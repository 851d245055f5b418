"""Rewrites leave the outputs unchanged: batch norm is folded where something can take it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import effpath
from cases import Call
from effpath.errors import CaptureError
from effpath.rules import plan_for
from effpath.rules.kinds import Route
from nets import prepare


def random_state(model: nn.Module) -> nn.Module:
    """Random parameters and statistics, nothing exact."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.2)
        for parameter in model.parameters():
            parameter.sub_(0.7)
    return model.eval()


def flat(*modules: nn.Module) -> nn.Module:
    return nn.Sequential(*modules, nn.Flatten())


# model, image, operators that may be left beside view; None of them a batch norm
FOLDED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], list[str]]] = {
    "conv, bn": (lambda: flat(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)), (2, 4, 4), ["conv2d"]),
    "conv without bias, bn": (
        lambda: flat(nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3)),
        (2, 4, 4),
        ["conv2d"],
    ),
    "conv1d, bn": (lambda: flat(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3)), (2, 5), ["conv1d"]),
    "conv3d, bn": (lambda: flat(nn.Conv3d(1, 3, 2), nn.BatchNorm3d(3)), (1, 3, 2, 2), ["conv3d"]),
    "grouped conv, bn": (lambda: flat(nn.Conv2d(4, 6, 2, groups=2), nn.BatchNorm2d(6)), (4, 3, 3), ["conv2d"]),
    "padded conv, bn": (lambda: flat(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3)), (2, 3, 3), ["conv2d"]),
    "bn without affine": (
        lambda: flat(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, affine=False)),
        (2, 4, 4),
        ["conv2d"],
    ),
    "linear, bn": (lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), (5,), ["linear"]),
    "bn, linear": (lambda: nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 4)), (5,), ["linear"]),
    "bn, conv": (lambda: flat(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3)), (2, 4, 4), ["conv2d"]),
    "bn, grouped conv": (
        lambda: flat(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 2, groups=2, bias=False)),
        (4, 3, 3),
        ["conv2d"],
    ),
    "bn, valid conv": (
        lambda: flat(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3, padding="valid")),
        (2, 4, 4),
        ["conv2d"],
    ),
    "convT, bn": (
        lambda: flat(nn.ConvTranspose2d(2, 3, 3, stride=2), nn.BatchNorm2d(3)),
        (2, 2, 2),
        ["conv_transpose2d"],
    ),
    "grouped convT, bn": (
        lambda: flat(nn.ConvTranspose2d(4, 6, 2, groups=2), nn.BatchNorm2d(6)),
        (4, 2, 2),
        ["conv_transpose2d"],
    ),
    "conv, bn, bn": (
        lambda: flat(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.BatchNorm2d(3)),
        (2, 3, 3),
        ["conv2d"],
    ),
    "bn, bn, conv": (
        lambda: flat(nn.BatchNorm2d(2), nn.BatchNorm2d(2), nn.Conv2d(2, 3, 2)),
        (2, 3, 3),
        ["conv2d"],
    ),
    "linear, bn, bn, linear": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4), nn.Linear(4, 2)),
        (3,),
        ["linear", "linear"],
    ),
    "linear, relu, bn, bn, linear": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.BatchNorm1d(4), nn.Linear(4, 2)),
        (3,),
        ["linear", "relu", "linear"],
    ),
    "conv, dropout, bn": (
        lambda: flat(nn.Conv2d(2, 3, 2), nn.Dropout2d(0.5), nn.BatchNorm2d(3)),
        (2, 3, 3),
        ["conv2d"],
    ),
}


class TwoReaders(nn.Module):
    """The convolution is read by the batch norm and by the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

    def forward(self, x):
        x = self.conv(x)
        return (x + self.bn(x)).flatten(1)


class NormReadTwice(nn.Module):
    """Folding the batch norm into one reader would change the other one."""

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.one, self.two = nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)

    def forward(self, x):
        x = self.bn(x)
        return (self.one(x) + self.two(x)).flatten(1)


class OverTokens(nn.Module):
    """A batch norm of [N, tokens, features] scales tokens, not what the linear layer gives."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.bn, self.out = nn.Linear(3, 3), nn.BatchNorm1d(4), nn.Linear(3, 3)

    def forward(self, x):
        return self.out(self.bn(self.fc(x))).flatten(1)


KEPT: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "relu, bn, padded conv": (
        lambda: flat(nn.ReLU(), nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3, padding=1)),
        (2, 3, 3),
    ),
    "bn, same conv": (lambda: flat(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3, padding="same")), (2, 3, 3)),
    "bn, convT": (lambda: flat(nn.BatchNorm2d(2), nn.ConvTranspose2d(2, 3, 3, stride=2)), (2, 2, 2)),
    "bn, reflecting conv": (
        lambda: flat(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect")),
        (2, 3, 3),
    ),
    "relu, bn": (lambda: flat(nn.Conv2d(2, 3, 2), nn.ReLU(), nn.BatchNorm2d(3)), (2, 3, 3)),
    "two readers of the conv": (TwoReaders, (2, 2, 2)),
    "two readers of the bn": (NormReadTwice, (2, 2, 2)),
    "over tokens": (OverTokens, (4, 3)),
}


@pytest.mark.parametrize("name", FOLDED)
def test_a_folded_batch_norm_is_gone_and_the_outputs_are_the_same(name: str) -> None:
    make, shape, left = FOLDED[name]
    model = random_state(make())
    graph = effpath.capture(model, torch.zeros(1, *shape))
    images = torch.randn(4, *shape, generator=torch.Generator().manual_seed(1))
    assert [node.op for node in graph.nodes if node.op not in ("view", "sym_size")] == left
    torch.testing.assert_close(graph(images), model(images).detach(), rtol=1e-5, atol=1e-5)
    assert {la.parameter for la in plan_for(graph).layers} <= set(dict(model.named_parameters()))


@pytest.mark.parametrize("name", KEPT)
def test_a_batch_norm_that_nothing_can_take_stays_and_is_a_route(name: str) -> None:
    make, shape = KEPT[name]
    model = random_state(make())
    graph = effpath.capture(model, torch.zeros(1, *shape))
    images = torch.randn(4, *shape, generator=torch.Generator().manual_seed(1))
    (norm,) = [node for node in graph.nodes if node.op == "batch_norm"]
    assert isinstance(plan_for(graph).kinds[norm.name], Route)
    torch.testing.assert_close(graph(images), model(images).detach(), rtol=1e-5, atol=1e-5)


def test_folding_with_exact_numbers_gives_the_weights_by_hand() -> None:
    model = prepare(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        model[0].bias.copy_(torch.tensor([1.0, -1.0]))
        model[1].running_mean.copy_(torch.tensor([2.0, 3.0]))
        model[1].weight.copy_(torch.tensor([2.0, -4.0]))
        model[1].bias.copy_(torch.tensor([0.5, 0.0]))
    graph = effpath.capture(model, torch.zeros(1, 2))  # the scales are 2 / 1 and -4 / 2
    node = graph.nodes[-1]
    assert graph.constants[node["weight"].name].tolist() == [[2.0, 4.0], [-6.0, -8.0]]
    assert graph.constants[node["bias"].name].tolist() == [-1.5, 8.0]
    assert graph.parameters[node["weight"].name] == "0.weight"


def test_one_layer_used_before_two_batch_norms_gets_two_folded_weights_and_keeps_one_parameter() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.one, self.two = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(2)

        def forward(self, x):
            return self.two(self.conv(F.relu(self.one(self.conv(x))))).flatten(1)

    model = random_state(Twice())
    graph = effpath.capture(model, torch.zeros(1, 2, 2, 2))
    images = torch.randn(3, 2, 2, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(graph(images), model(images).detach())
    assert [layer.name for layer in plan_for(graph).layers] == ["conv", "conv#2"]
    assert [layer.parameter for layer in plan_for(graph).layers] == ["conv.weight"] * 2


def test_in_place_operators_become_functional_and_dropout_and_copies_go() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.drop = nn.Conv2d(1, 2, 2), nn.Dropout(0.5)

        def forward(self, x):
            y = self.conv(x)
            z = y.clone()
            F.relu_(y)
            z.add_(y).mul_(2)
            return self.drop(F.dropout(z, 0.5, training=False).contiguous()).detach().flatten(1)

    model = prepare(InPlace(), seed=3)
    graph = effpath.capture(model, torch.zeros(1, 1, 3, 3))
    assert [node.op for node in graph.nodes if node.op != "sym_size"] == ["conv2d", "relu", "add", "mul", "view"]
    images = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    kept = graph.run(images, ["conv", graph.logits])
    torch.testing.assert_close(kept["conv"], model.conv(images).detach())
    assert bool((kept["conv"] < 0).any())
    torch.testing.assert_close(kept[graph.logits], model(images).detach())


def test_a_model_that_writes_into_its_input_does_not_touch_the_users_images() -> None:
    class Normalise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            x -= 0.5
            x /= 2
            return self.fc(x)

    model = prepare(Normalise())
    graph = effpath.capture(model, torch.zeros(1, 4))
    images = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    paths = effpath.extract(graph, images)
    assert torch.equal(images, before)
    assert torch.equal(torch.from_numpy(paths.logits), model(images.clone()).detach())


def test_a_weight_made_by_a_parametrization_is_computed_once() -> None:
    model = flat(nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 2))).eval()
    graph = effpath.capture(model, torch.zeros(1, 2, 3, 3))
    (layer,) = plan_for(graph).layers
    conv = graph.by_name[layer.name]
    assert layer.name == "0"
    assert [node.op for node in graph.nodes if node.op not in ("view", "sym_size")] == ["conv2d"]
    torch.testing.assert_close(graph.constants[conv["weight"].name], model[0].weight.detach())


@pytest.mark.parametrize("function", [F.dropout, F.dropout2d, F.alpha_dropout, F.feature_alpha_dropout])
def test_dropout_that_is_called_as_a_function_and_left_on_is_refused(function) -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1), Call(function, p=0.5, training=True), nn.Flatten()).eval()
    for _ in range(4):  # not by a comparison of outputs, which agree by chance
        with pytest.raises(CaptureError, match=r"chance.*module '1'"):
            effpath.capture(model, torch.zeros(1, 1, 2, 2))


def test_noise_is_refused_even_where_it_could_be_computed_once() -> None:
    noise = Call(lambda x: x + torch.rand_like(torch.ones(4)))
    with pytest.raises(CaptureError, match="chance"):
        effpath.capture(nn.Sequential(nn.Linear(4, 4), noise).eval(), torch.zeros(1, 4))


def test_of_a_pooling_with_indices_only_the_values_are_kept() -> None:
    model = flat(nn.AdaptiveMaxPool2d(2)).eval()
    graph = effpath.capture(model, torch.zeros(1, 1, 4, 4))
    assert [node.op for node in graph.nodes if node.op not in ("view", "sym_size")] == ["adaptive_max_pool2d"]
    images = torch.randn(2, 1, 4, 4)
    assert torch.equal(graph(images), model(images))
