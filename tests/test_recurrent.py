"""Recurrent layers are written out step by step: gates are constants, the states are weighted sums of inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import effpath
import plain_check
from effpath.kernels.options import make_options
from effpath.walk.recording import record
from effpath.walk.visit import paths_of
from known_graphs import captured


class Reader(nn.Module):
    """Reads the rows of an image one after the other, in both directions."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.cells = getattr(nn, kind)(4, 6, num_layers=2, bidirectional=True, batch_first=True, bias=False)
        self.head = nn.Linear(12, 3, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.cells(images[:, 0])[0].mean(1))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_paths_through_recurrent_layers_are_those_of_the_plain_check(kind: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, images = Reader(kind).eval().requires_grad_(False), 3 * torch.randn(4, 1, 5, 4)
    graph = captured(f"recurrent {kind}", model, images)
    assert torch.allclose(graph.run(images[:1])[graph.logits], model(images[:1]), atol=1e-5)
    used = 0
    for image in images.split(1):
        recorded = record(graph, image, options=make_options("default"), include_auxiliary=True)
        checked, on_path, wrong = plain_check.verify(recorded, paths_of(recorded)[0], 8, 0)
        assert (checked > 100, wrong) == (True, [])
        used += on_path
    assert used > 20


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_recurrent_layer_has_one_set_of_weights_for_all_its_steps(kind: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model, images = Reader(kind).eval(), torch.randn(1, 1, 5, 4)
    paths = effpath.extract(captured(f"recurrent {kind}", model, images), images, preset="paper")
    names = {name for name in paths.weights if name.startswith("cells")}
    assert names == {name for name, _ in model.named_parameters() if name.startswith("cells.weight")}
    assert sum(len(paths.weights[name].values) for name in names) > 0
    reached = np.diff(paths.pixels.offsets)
    assert 0 < reached[0] <= 20
