"""NaN, infinity and overflow are errors that name the node, on both backends; what is only small is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import effpath
from cases import PRESETS, options_of
from effpath.errors import NumericalError
from effpath.walk.recording import Recorded, record
from effpath.walk.visit import paths_of
from two_backends import BACKENDS, equal_for, for_backend


class Mixed(nn.Module):
    """One operator of every kind of kernel, by module path."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, channels, 1)
        self.deep = nn.Conv2d(channels, channels, 3, padding=1)
        self.depth = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.largest, self.mean = nn.MaxPool2d(2), nn.AvgPool2d(2)
        self.head = nn.Linear(2 * channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = x + F.relu(self.deep(x))
        x = F.relu(self.depth(x))
        return self.head(torch.cat([self.largest(x), self.mean(x)], 1).flatten(1))


def recorded_for(channels: int, preset: str = "paper") -> Recorded:
    torch.manual_seed(0)
    model = Mixed(channels).eval()
    for parameter in model.parameters():
        parameter.data.abs_()  # so that every operator is on the path
    graph = effpath.capture(model, torch.rand(1, 2, 2, 2))
    return record(graph, torch.rand(2, 2, 2, 2), options=options_of(preset, 1.0), include_auxiliary=True)


def spoilt(recorded: Recorded, tensor: str, value: float) -> Recorded:
    """The same recording with one value in all elements of a tensor of the second image."""
    changed = recorded.values[tensor].clone()
    changed[1] = value
    return replace(recorded, values=recorded.values | {tensor: changed})


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("channels", [16, 5])
def test_a_bad_value_or_input_is_an_error_that_names_the_node(channels: int, bad: float, backend: str) -> None:
    recorded = recorded_for(channels)
    kinds = recorded.plan.kinds
    for layer in recorded.header.layers:
        for tensor in {*layer.sources, layer.name}:
            if tensor not in recorded.values or tensor == "cat":
                continue
            broken = spoilt(recorded, tensor, bad)
            readers = [n for n in kinds if n == tensor or tensor in getattr(kinds[n], "sources", ())]
            with pytest.raises(NumericalError) as caught:
                paths_of(for_backend(broken, backend))
            assert "NaN or infinity" in str(caught.value)
            assert any(recorded.plan.graph.by_name[name].place in str(caught.value) for name in readers)
            paths_of(for_backend(broken, backend).select(slice(0, 1)))  # the other image is fine


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("channels", [16, 5])
def test_a_product_that_overflows_is_an_error_that_names_the_node(channels: int, backend: str) -> None:
    op = nn.Conv2d(channels, 2, 1, bias=False)
    with torch.no_grad():
        op.weight.fill_(1.0)
        op.weight[:, 3] = 1e30
    graph = effpath.capture(nn.Sequential(op, nn.Flatten()).eval(), torch.ones(1, channels, 1, 1))
    image = torch.ones(1, channels, 1, 1)
    image[0, 3] = 1e30
    recorded = record(graph, image, options=options_of("paper", 0.5))
    finite = {name: value.clamp(-1e38, 1e38) for name, value in recorded.values.items()}
    (layer,) = recorded.header.layers
    with pytest.raises(NumericalError, match="NaN or infinity") as caught:
        paths_of(for_backend(replace(recorded, values=finite), backend))
    assert graph.by_name[layer.name].place in str(caught.value)


@pytest.mark.parametrize("channels", [16, 5])
def test_squares_may_overflow_where_no_product_does(channels: int) -> None:
    model = nn.Sequential(nn.Conv2d(channels, 9, 2, bias=False), nn.Flatten()).eval()
    images = torch.randn(3, channels, 3, 3, generator=torch.Generator().manual_seed(0)) * 1e30
    graph = effpath.capture(model, images[:1])
    assert min(equal_for(graph, images, *(options_of(preset, 0.7) for preset in PRESETS))) > 0


@pytest.mark.parametrize("scale", [1e-30, 1e-38, 1e-40, 1e-44])
@pytest.mark.parametrize("channels", [16, 5])
def test_denormal_values_have_the_path_that_the_plain_backend_finds(channels: int, scale: float) -> None:
    torch.manual_seed(1)
    model = Mixed(channels).eval()
    for parameter in model.parameters():
        parameter.data *= scale if parameter.dim() == 1 else 1
    images = torch.randn(3, 2, 2, 2) * scale
    graph = effpath.capture(model, images[:1])
    equal_for(graph, images, *(options_of(preset, 0.7) for preset in PRESETS))
