"""Convolutions over parts of an image that are laid out as images of their own, as heads of attentions are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import effpath
import plain_check
from effpath.kernels.options import make_options
from effpath.rules import plan_for
from effpath.walk.recording import record
from effpath.walk.visit import paths_of

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: nn.Conv2d(4, 6, 3, padding=1),
    "grouped": lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2),
    "depthwise": lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, 3, padding=1),
    "transposed, grouped": lambda: nn.ConvTranspose2d(4, 6, 3, padding=1, groups=2),
    "pooling": lambda: nn.Sequential(nn.Conv2d(4, 6, 1), nn.AvgPool2d(3, 1, 1)),
}


class Parts(nn.Module):
    """Three parts of four channels, read by one layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.stem, self.layer = nn.Conv2d(2, 12, 3, padding=1, bias=False), layer
        self.head = nn.Linear(3 * layer(torch.zeros(1, 4, 4, 5)).numel(), 4, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        parts = self.stem(images).relu().reshape(-1, 4, 4, 5)
        return self.head(self.layer(parts).relu().reshape(len(images), -1))


@pytest.mark.parametrize("name", LAYERS)
def test_each_part_is_read_by_the_same_weights_and_no_other(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, images = Parts(LAYERS[name]()).eval().requires_grad_(False), torch.randn(3, 2, 4, 5)
    graph = effpath.capture(model, images)
    used = 0
    for image in images.split(1):
        recorded = record(graph, image, options=make_options("default"), include_auxiliary=True)
        for backend in (recorded, recorded.plainly()):
            checked, on_path, wrong = plain_check.verify(backend, paths_of(backend)[0], 30, 0)
            assert (checked > 50, wrong) == (True, [])
            used += on_path
    assert used > 20
    layer = next(layer for layer in plan_for(graph).layers if layer.name.startswith("layer"))
    weight = dict(model.named_parameters())[layer.parameter or ""]
    assert layer.total("weights") == weight.numel()
    paths = effpath.extract(graph, images, preset="paper")
    assert all(ids.min() >= 0 and ids.max() < weight.numel() for ids in [paths.weights[layer.parameter].values])
