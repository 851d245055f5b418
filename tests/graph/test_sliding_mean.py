"""The mean over neighbouring channels, of local response normalization, is torch's to the last bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import effpath
from effpath import Graph

FORMATS = (torch.contiguous_format, torch.channels_last)
MEANS = [{"kernel_size": (size, 1, 1), "stride": 1} for size in (1, 3, 7)]
OTHERS = [
    {"kernel_size": 2}, {"kernel_size": (2, 1, 1)}, {"kernel_size": (2, 1, 2), "stride": 1},
    {"kernel_size": (3, 1, 1), "stride": 1, "padding": (1, 0, 0)},
    {"kernel_size": (2, 1, 1), "stride": 1, "ceil_mode": True},
    {"kernel_size": (2, 1, 1), "stride": 1, "divisor_override": 3},
]  # fmt: skip


class Normalized(nn.Module):
    """A convolution, local response normalization over so many channels, and logits."""

    def __init__(self, size: int) -> None:
        super().__init__()
        torch.manual_seed(size)
        self.conv, self.norm = nn.Conv2d(3, 9, 3), nn.LocalResponseNorm(size, alpha=0.5)
        self.head = nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(functional.relu(self.conv(x))).mean((2, 3)))


class Pools(nn.Module):
    """Average pools over the rows of an image, its columns and places as depth, height and width."""

    def __init__(self) -> None:
        super().__init__()
        self.means = nn.ModuleList(nn.AvgPool3d(**how) for how in MEANS)
        self.others = nn.ModuleList(nn.AvgPool3d(**how) for how in OTHERS)

    def forward(self, x: Tensor) -> Tensor:
        deep = torch.stack([x, x + 1, x * 2, x - 1], dim=3)  # [N, C, H, 4, W]
        return torch.stack([pool(deep).flatten(1).mean(1) for pool in (*self.means, *self.others)], dim=1)


def captured(model: nn.Module, dtype: torch.dtype) -> Graph:
    return effpath.capture(model.eval().to(dtype), torch.zeros(1, 3, 8, 8, dtype=dtype))


def as_torch_has_it(graph: Graph, images: Tensor, names: list[str]) -> dict[str, Tensor]:
    """Run node by node: whoever changes values sees each operator's own."""
    with torch.no_grad():
        return graph.run(images, names, change=lambda _, value: value)


@pytest.mark.parametrize(("size", "dtype"), [(2, torch.float32), (5, torch.float32), (5, torch.float64)])
def test_every_value_of_a_normalized_network_is_that_of_torch(size, dtype) -> None:
    model = Normalized(size)
    graph = captured(model, dtype)
    assert len(graph.sliding) == 1
    names = [node.name for node in graph.nodes if node.shape]
    for memory in FORMATS:
        images = torch.rand(4, 3, 8, 8, dtype=dtype).to(memory_format=memory)
        found, torchs = graph.run(images, names), as_torch_has_it(graph, images, names)
        assert all(torch.equal(found[name], torchs[name]) for name in names)
        assert torch.equal(graph.run(images)[graph.logits], torchs[graph.logits])
        torch.testing.assert_close(found[graph.logits], model(images).detach())


def test_means_over_the_depth_are_told_from_other_pools_and_special_values_go_where_torch_has_them() -> None:
    graph = captured(Pools(), torch.float32)
    pools = [node.name for node in graph.nodes if node.op == "avg_pool3d"]
    assert len(pools) == len(MEANS) + len(OTHERS)
    assert graph.sliding == {name for name in pools if "means" in name}
    assert len(graph.sliding) == len(MEANS)
    for special in (float("nan"), float("inf"), -float("inf"), -0.0, 3e38):
        images = torch.rand(2, 3, 8, 8)
        images[0, 1, 2:5, 3] = special
        found, torchs = graph.run(images, pools), as_torch_has_it(graph, images, pools)
        for name in pools:
            torch.testing.assert_close(found[name], torchs[name], rtol=0, atol=0, equal_nan=True)
