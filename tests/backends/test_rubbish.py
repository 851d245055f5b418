"""Paths by compiled kernels whose fresh memory is full of rubbish."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

import effpath
from cases import PRESETS, options_of
from effpath.walk.recording import Recorded, record
from effpath.walk.visit import walk
from rubbish import rubbish as rubbish
from two_backends import for_backend


class Mixed(nn.Module):
    """Every kernel: rows read in place and copied, depthwise, pooling of both kinds, a sum, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
        self.depthwise, self.odd = nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.Conv2d(32, 7, 3, stride=2)
        self.head = nn.Linear(7 * 3 * 3, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(self.stem(x).relu(), 2)
        x = x + self.deep(x).relu()
        x = nn.functional.avg_pool2d(self.depthwise(x).relu(), 3, 1, 1)
        return self.head(self.odd(x).relu().flatten(1))


@cache
def recorded_for(preset: str) -> Recorded:
    torch.manual_seed(0)
    images = torch.randn(3, 3, 16, 16)
    graph = effpath.capture(Mixed().eval(), images[:1])
    return record(graph, images, options=options_of(preset, 0.6))


@cache
def expected(preset: str) -> dict[str, list[int]]:
    recorded = recorded_for(preset)
    active = torch.ones_like(recorded.logits, dtype=torch.bool)
    return {
        name: rows.values.tolist()
        for name, rows in walk(for_backend(recorded, "reference"), active).synapses.items()
    }


@pytest.fixture
def known(request: pytest.FixtureRequest) -> None:
    for preset in PRESETS:
        expected(preset)


@pytest.mark.usefixtures("known", "rubbish")
@pytest.mark.parametrize("preset", PRESETS)
def test_paths_are_the_same_whatever_memory_held_before(preset: str) -> None:
    recorded = recorded_for(preset)
    active = torch.ones_like(recorded.logits, dtype=torch.bool)
    for _ in range(2):
        found = walk(recorded, active).synapses
        assert {name: rows.values.tolist() for name, rows in found.items()} == expected(preset)
    assert sum(map(len, expected(preset).values())) > 500
