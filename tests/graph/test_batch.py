"""A batch gives what its images give alone, whatever a network does with the batch dimension."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import effpath
from cases import Call
from effpath.errors import UnknownOperatorError

IMAGES = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(7))
Mix = Callable[[nn.Module, Tensor], Tensor]


class Network(nn.Module):
    """A convolution, what ``mix`` makes of its result, of the same shape, and a head."""

    def __init__(self, mix: Mix) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.inner, self.head = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 1), nn.Linear(48, 4)
        self.mix = mix

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.mix(self, self.conv(x))).flatten(1))


def halves(x: Tensor) -> Tensor:
    one, other = x.chunk(2)
    return one + other


MIXING: dict[str, Mix] = {
    "flipped copies behind the batch": lambda net, x: halves(net.inner(torch.cat([x, x.flip(1)]))),
    "copies behind the batch": lambda net, x: net.inner(torch.cat([x, 2 * x, x])).view(3, *x.shape).amax(0),
    "stacked before the batch": lambda net, x: net.inner(torch.stack([x, x.flip(1)]).flatten(0, 1))[: x.shape[0]],
    "roll of the batch": lambda net, x: net.inner(x) + x.roll(1, 0),
    "flip of the batch": lambda net, x: x + net.inner(x).flip(0),
    "neighbours in the batch": lambda net, x: torch.cat([x[:1], x[:-1]]) + net.inner(x),
    "first image": lambda net, x: net.inner(x) + x[:1],
    "batch inside": lambda net, x: net.inner(x).transpose(0, 1).flatten(1).view(3, -1, 4, 4).transpose(0, 1),
    "windows before the batch": lambda net, x: net.inner(
        x.view(x.shape[0], 3, 2, 2, 4).permute(2, 0, 1, 3, 4).flatten(0, 1)
    ).view(2, x.shape[0], 3, 2, 4).permute(1, 2, 0, 3, 4).flatten(2, 3),
}  # fmt: skip
APART: dict[str, Mix] = {
    "nothing": lambda net, x: net.inner(x),
    "windows behind the batch": lambda net, x: net.inner(
        x.view(x.shape[0], 3, 2, 2, 4).transpose(1, 2).flatten(0, 1)
    ).view(x.shape[0], 2, 3, 2, 4).transpose(1, 2).flatten(2, 3),
    "channels as images": lambda net, x: F.max_pool2d(x.flatten(0, 1)[:, None], 3, 1, 1).view(x.shape[0], 3, 4, 4),
    "attention between pixels": lambda net, x: F.scaled_dot_product_attention(
        *(3 * (x.flatten(2).transpose(1, 2),))
    ).transpose(1, 2).reshape(x.shape[0], 3, 4, 4),
    "norm of the image": lambda net, x: x / x.flatten(1).norm(dim=1).view(-1, 1, 1, 1),
    "constants for each image": lambda net, x: x + torch.arange(16.0).view(1, 1, 4, 4).expand(x.shape[0], 3, 4, 4),
    "logarithm of what may be negative": lambda net, x: torch.where(x > 0, x.clamp(min=1e-3).log(), x),
}  # fmt: skip


@pytest.mark.parametrize(("name", "batched"), [*((n, False) for n in MIXING), *((n, True) for n in APART)])
def test_a_batch_gives_the_paths_of_its_images_alone(name: str, batched: bool) -> None:
    model = Network({**MIXING, **APART}[name]).eval()
    graph = effpath.capture(model, IMAGES[:1])
    assert graph.batched is batched
    together = effpath.extract(graph, IMAGES, classes=[0, 1, 2], preset="paper")
    for i, image in enumerate(IMAGES):
        (alone,) = effpath.extract(graph, image[None], classes=[i], preset="paper")
        assert together[i] == alone
        torch.testing.assert_close(torch.from_numpy(together.logits[i]), model(image[None])[0].detach())


@pytest.mark.parametrize(
    "mix",
    [
        lambda net, x: x - x.mean(0),
        lambda net, x: (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), keepdim=True) + 1),
        lambda net, x: x.sort(0)[0],
        lambda net, x: x.cumsum(0),
        lambda net, x: x * F.softmax(x.flatten(1) @ x.flatten(1).T, 1).sum(1).view(-1, 1, 1, 1),
        lambda net, x: x / x.max(),
        lambda net, x: x + x.sum(),
    ],
    ids=["mean", "statistics", "sort", "running sum", "attention between images", "largest of all", "sum of all"],
)
def test_a_network_whose_outputs_depend_on_the_other_images_is_captured_as_it_is_for_one(mix: Mix) -> None:
    model = Network(mix).eval()
    graph = effpath.capture(model, IMAGES[:1])
    assert not graph.batched
    alone = model(IMAGES[:1]).detach()
    torch.testing.assert_close(graph(IMAGES[:1]), alone)
    try:
        paths = effpath.extract(graph, IMAGES, preset="paper")
    except UnknownOperatorError:  # a sum over the batch dimension is no rule's
        return
    torch.testing.assert_close(torch.from_numpy(paths.logits[0]), alone[0])


def test_copies_behind_the_batch_do_not_lend_an_image_the_pixels_of_another() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return halves(self.fc(torch.cat([x, x.flip(1)])))

    model = Both().eval()
    nn.init.ones_(model.fc.weight)
    images = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    paths = effpath.extract(effpath.capture(model, images), images, classes=[0, 0], preset="paper", theta=1.0)
    assert [path.tolist() for path in (paths.pixels[0], paths.pixels[1])] == [[0], [1]]
    assert paths.logits.tolist() == [[2.0, 2.0], [2.0, 2.0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rounding_is_not_taken_for_mixing(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(64, 64), nn.ReLU()) for _ in range(6)]
    model = nn.Sequential(nn.Flatten(), *layers, nn.Linear(64, 5)).to(dtype).eval()
    assert effpath.capture(model, torch.zeros(1, 64, dtype=dtype)).batched


def test_a_step_of_values_does_not_make_a_network_mix() -> None:
    model = nn.Sequential(nn.Linear(64, 64), Call(lambda x: torch.sign(x) + torch.round(8 * x)), nn.Linear(64, 3))
    assert effpath.capture(model.eval(), torch.zeros(1, 64)).batched
