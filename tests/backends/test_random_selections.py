"""Thousands of neurons with hard numbers: the compiled backend chooses as the plain one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import effpath
from cases import Flat, combinations
from effpath import Options
from effpath.walk.recording import Recorded, record
from two_backends import equal_walks, with_options

SIZES = (
    *range(1, 10), *range(15, 18), *range(31, 36), *range(47, 50), *range(63, 66), 100, 128, 129, 200,
    *range(255, 258), 300,
)  # fmt: skip
IMAGES, OUTPUTS = 18, 20


def options_for(number: int) -> list[Options]:
    """A quarter of all options, at two of four thresholds; eight numbers in a row have them all."""
    return combinations(number, ((0.1, 0.9), (0.5, 1.0))[number // 4 % 2])


def hard(shape: tuple[int, ...], seed: int) -> Tensor:
    """Rows in turn: ties, ties and zeros, dense, skewed, huge, tiny, denormal, opposite, positive, mixed."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(shape, generator=generator)
    ties = torch.randint(-4, 5, shape, generator=generator) / 4
    few = ties * (torch.rand(shape, generator=generator) < 0.2)
    opposite = normal.flatten(1)
    opposite = torch.where(torch.arange(opposite.shape[1]) % 2 == 1, -opposite.roll(1, 1), opposite).reshape(shape)
    recipes = [
        ties, few, normal, normal**5, normal * 1e30, normal * 1e-30, ties * 1e-40, opposite * 1e6, normal.abs(),
        normal * 10 ** torch.randint(-20, 20, shape, generator=generator),
    ]  # fmt: skip
    return torch.stack([recipes[row % len(recipes)][row] for row in range(shape[0])])


def set_hard(op: nn.Module, seed: int) -> nn.Module:
    """Weights row by row as `hard`, but none huge; biases that tie, are tiny or out of reach."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        weight = hard(tuple(op.weight.shape), seed)
        op.weight.copy_(torch.where(weight.abs() > 1e6, weight.sign(), weight))
        biases = torch.randint(-4, 5, op.bias.shape, generator=generator) / 4
        scales = torch.tensor([1.0, 1.0, 0.0, 50.0, 1e-30, 1e30])
        op.bias.copy_(biases * scales[torch.randint(0, len(scales), op.bias.shape, generator=generator)])
    return op.eval()


def other_values(recorded: Recorded, name: str, seed: int) -> Recorded:
    """The same inputs, but outputs that the contributions do not add up to: other signs, zero, larger, smaller."""
    generator = torch.Generator().manual_seed(seed)
    times = torch.tensor([-1.0, 0.0, 0.5, 1.0 + 1e-6, 3.0])
    value = recorded.values[name]
    value = value * times[torch.randint(0, len(times), value.shape, generator=generator)]
    return replace(recorded, values=recorded.values | {name: value})


def recorded_for(op: nn.Module, images: Tensor) -> Recorded:
    graph = effpath.capture(Flat(op), images[:1])
    return record(graph, images, options=Options(), include_auxiliary=True)


@pytest.mark.parametrize("size", SIZES)
def test_a_linear_layer_of_hard_numbers_has_the_same_synapses(size: int) -> None:
    op = set_hard(nn.Linear(size, OUTPUTS), size)
    recorded = recorded_for(op, hard((IMAGES, size), size + 1))
    (layer,) = recorded.header.layers
    everything = torch.ones(IMAGES, OUTPUTS, dtype=torch.bool)
    for one in (recorded, other_values(recorded, layer.name, size)):
        for options in options_for(SIZES.index(size)):
            equal_walks(with_options(one, options), everything)


def test_the_selections_are_ten_thousand_and_more_and_eight_sizes_in_a_row_have_all_options() -> None:
    assert len(SIZES) * IMAGES * OUTPUTS >= 10_000
    assert len({options for number in range(8) for options in options_for(number)}) == 128


def test_the_hard_numbers_hold_ties_zeros_denormals_all_scales_and_targets_out_of_reach() -> None:
    op, x = set_hard(nn.Linear(300, OUTPUTS), 300), hard((IMAGES, 300), 301)
    c = (x[:, None] * op.weight.detach()).flatten(0, 1)  # [images · outputs, 300]
    value = op(x).detach().flatten()
    positive = torch.where(value[:, None] < 0, -c, c).double().clamp(min=0).sum(1)
    tiny = torch.finfo(torch.float32).tiny
    assert torch.isfinite(c).all()
    assert int((c.sort(1).values.diff(dim=1) == 0).any(1).sum()) > 50
    assert int((c == 0).any(1).sum()) > 50
    assert int(((c != 0) & (c.abs() < tiny)).any(1).sum()) > 50
    assert int((positive < value.double().abs()).sum()) > 20
    assert int(((c > 0).any(1) & (c < 0).any(1)).sum()) > 200
    assert float(c.abs().max()) > 1e30
    recorded = with_options(recorded_for(op, x), Options(theta=0.9))
    walked, _ = equal_walks(recorded, torch.ones(IMAGES, OUTPUTS, dtype=torch.bool))
    chosen = torch.from_numpy(walked.synapses[recorded.header.layers[0].name].values) // 300
    assert int((chosen.bincount() > 32 * IMAGES).sum()) > 2  # more candidates than are ranked at once


CONVOLUTIONS = {
    "16 channels": (16, lambda: nn.Conv2d(16, 20, 3, padding=1)),
    "16 channels, strided": (16, lambda: nn.Conv2d(16, 20, 1, stride=2)),
    "48 channels, dilated": (48, lambda: nn.Conv2d(48, 20, 2, padding=1, dilation=2)),
    "32 channels in groups": (32, lambda: nn.Conv2d(32, 20, 3, padding=1, groups=2)),
    "5 channels": (5, lambda: nn.Conv2d(5, 20, 3, padding=1)),
    "6 channels in groups": (6, lambda: nn.Conv2d(6, 20, 3, padding=1, groups=2)),
    "depthwise": (20, lambda: nn.Conv2d(20, 20, 3, padding=1, groups=20)),
    "depthwise, large": (20, lambda: nn.Conv2d(20, 20, 7, padding=3, groups=20)),
    "one channel": (1, lambda: nn.Conv2d(1, 20, 3, padding=2)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_of_hard_numbers_has_the_same_synapses(name: str) -> None:
    channels, make = CONVOLUTIONS[name]
    op = set_hard(make(), len(name))
    recorded = recorded_for(op, hard((12, channels, 4, 5), len(name) + 1))
    (layer,) = recorded.header.layers
    active = torch.rand(recorded.logits.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    for one in (recorded, other_values(recorded, layer.name, len(name))):
        for options in options_for(list(CONVOLUTIONS).index(name)):
            equal_walks(with_options(one, options), active)


POOLINGS = {
    "average": nn.AvgPool2d(3, stride=2, padding=1),
    "average of 36": nn.AdaptiveAvgPool2d(1),
    "largest": nn.MaxPool2d(3, stride=2, padding=1),
}


@pytest.mark.parametrize("name", POOLINGS)
def test_a_pooling_of_hard_numbers_has_the_same_synapses(name: str) -> None:
    recorded = recorded_for(POOLINGS[name].eval(), hard((12, 7, 6, 6), 3))
    for options in [one for number in range(8) for one in options_for(number)]:
        equal_walks(with_options(recorded, options), torch.ones_like(recorded.logits, dtype=torch.bool))


def test_a_sum_of_tensors_of_hard_numbers_has_the_same_synapses() -> None:
    class Add(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            one, other = x.chunk(2, 1)
            return one + other

    recorded = recorded_for(Add().eval(), hard((12, 10, 6, 6), 4))
    (layer,) = recorded.header.layers
    for one in (recorded, other_values(recorded, layer.name, 5)):
        for options in [each for number in range(4) for each in options_for(number)]:
            same = with_options(one, options)
            equal_walks(same, torch.ones_like(recorded.logits, dtype=torch.bool))
            nothing_kept = replace(same.header, layers=())  # only on to the pixels
            hidden = replace(same, header=nothing_kept)
            walked, _ = equal_walks(hidden, torch.ones_like(recorded.logits, dtype=torch.bool))
            assert len(walked.pixels.values) > 0
