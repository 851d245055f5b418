"""Data movement, one-to-one operators and gates: which element of the input an output stands for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import cache, partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import effpath
from cases import Call, Padded
from effpath.rules import plan_for
from effpath.rules.kinds import Gate, Route
from nets import prepare

SHAPE = (4, 4, 6)
MOVES = {
    "flip": lambda x: x.flip(1, 3),
    "permute": lambda x: x.permute(0, 3, 1, 2),
    "transpose": lambda x: x.transpose(1, -1),
    "movedim": lambda x: x.movedim(1, 3),
    "swapaxes": lambda x: x.swapaxes(2, 3),
    "reshape": lambda x: x.reshape(x.shape[0], 8, 12),
    "unflatten": lambda x: x.unflatten(1, (2, 2)).transpose(1, 2),
    "squeeze": lambda x: x[:, :1].squeeze(1).unsqueeze(3),
    "slice": lambda x: x[:, 1:, ::2, -3:],
    "select": lambda x: x[:, 2, :, 1],
    "narrow": lambda x: x.narrow(2, 1, 2),
    "roll": lambda x: x.roll((1, -2), (2, 3)),
    "cat": lambda x: torch.cat([x[:, 2:], x, x[:, :1]], 1),
    "stack": lambda x: torch.stack([x, x.flip(3)], 2),
    "split": lambda x: torch.cat(x.split([1, 3], 1)[::-1], 1),
    "chunk": lambda x: x.chunk(3, 3)[1],
    "unbind": lambda x: torch.stack(x.unbind(1)[::-1], 1),
    "index_select": lambda x: x.index_select(1, torch.tensor([3, 0, 0])),
    "index": lambda x: x[:, [2, 1]],
    "expand": lambda x: x[:, :, :, :1].expand(-1, -1, -1, 5),
    "repeat": lambda x: x.repeat(1, 2, 1, 3),
    "tile": lambda x: x.tile(2, 1, 1),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "channel_shuffle": lambda x: F.channel_shuffle(x, 2),
    "diagonal": lambda x: x.diagonal(0, 2, 3),
    "nearest resize": lambda x: F.interpolate(x, size=(6, 9), mode="nearest"),
    "nearest resize by a factor": lambda x: F.interpolate(x, scale_factor=2.0),
    "zero padding": lambda x: F.pad(x, (1, 2, 0, 3)),
    "padding by a value": lambda x: F.pad(x, (1, 2, 0, 3), value=-5.0),
    "cropping": lambda x: F.pad(x, (-1, 2)),
    "reflection": lambda x: F.pad(x, (2, 1, 3, 0), mode="reflect"),
    "replication": lambda x: F.pad(x, (2, 1, 3, 0), mode="replicate"),
    "circular padding": lambda x: F.pad(x, (2, 1, 3, 0), mode="circular"),
    "cast": lambda x: x.to(torch.float64).float(),
    "with constants": lambda x: torch.cat([torch.full((1, 1, 4, 6), -5.0).expand(x.shape[0], -1, -1, -1), x], 1),
}


def together(functions: Iterable[Callable[[Tensor], Tensor]], example: Tensor) -> effpath.Graph:
    """Several functions in one network, which is captured once: the outputs of the first, of the second …"""
    chosen = list(functions)
    return effpath.capture(
        Call(lambda x: torch.cat([function(x).flatten(1) for function in chosen], 1)).eval(), example
    )


@cache
def moved() -> dict[str, tuple[list[float], list[list[int]]]]:
    """Of each move the outputs, and the pixels that a walk from each of them meets."""
    image = torch.arange(1.0, 97.0).reshape(1, *SHAPE)  # every pixel another value, none of them 0 or -5
    graph = together(MOVES.values(), torch.zeros(1, *SHAPE))
    assert not plan_for(graph).every
    values = {name: move(image).flatten().tolist() for name, move in MOVES.items()}
    pixels: list[list[int]] = []
    for classes in torch.arange(graph.classes).split(512):
        paths = effpath.extract(graph, image.repeat(len(classes), 1, 1, 1), classes=classes)
        pixels += [paths.pixels[i].tolist() for i in range(len(classes))]
    ends = list(itertools.accumulate(map(len, values.values()), initial=0))
    rows = [pixels[start:end] for start, end in itertools.pairwise(ends)]
    return {name: (values[name], found) for name, found in zip(values, rows, strict=True)}


@pytest.mark.parametrize("name", MOVES)
def test_a_moved_element_stands_for_the_element_whose_value_it_has(name: str) -> None:
    values, pixels = moved()[name]
    assert values
    for value, found in zip(values, pixels, strict=True):
        assert found == ([] if value in (0.0, -5.0) else [int(value) - 1])


ELEMENTWISE = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "elu": F.elu,
    "hardswish": F.hardswish,
    "softplus": F.softplus,
    "clamp": lambda x: x.clamp(0, 6),
    "square": torch.square,
    "power of a constant": lambda x: torch.pow(torch.full((6,), 2.0), x),
    "negation": lambda x: -x,
    "prelu": lambda x: F.prelu(x, torch.tensor([0.25])),
    "softmax in the middle": lambda x: F.softmax(x, 1) + 1,
    "layer norm": lambda x: F.layer_norm(x, (6,)),
    "group norm": lambda x: F.group_norm(x, 2),
    "scale by a constant": lambda x: x * torch.arange(6.0) / 3,
    "shift by a constant": lambda x: 1 - (torch.arange(6.0) - x) + 2,
    "silu by hand": lambda x: x * torch.sigmoid(x),
    "square by hand": lambda x: x * x,
    "division by its norm": lambda x: x / x.norm(dim=1, keepdim=True),
}


@cache
def pixels_of_elementwise() -> list[list[int]]:
    graph = together(ELEMENTWISE.values(), torch.zeros(1, 6) + 0.5)
    images = torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
    paths = effpath.extract(graph, images.repeat(len(ELEMENTWISE), 1), classes=range(graph.classes))
    return [ids.tolist() for ids in (paths.pixels[i] for i in range(graph.classes))]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_an_elementwise_operator_is_one_to_one_to_its_data(name: str) -> None:
    start = 6 * list(ELEMENTWISE).index(name)
    assert pixels_of_elementwise()[start : start + 6] == [[i] for i in range(6)]


def test_a_constant_that_is_broadcast_over_the_data_and_data_over_a_constant_are_one_to_one() -> None:
    class Spread(nn.Module):
        def forward(self, x):
            return (x[:, :, None] + torch.arange(3.0)).flatten(1)  # [N, 2, 3]

    paths = effpath.extract(
        effpath.capture(Spread().eval(), torch.zeros(1, 2)), torch.ones(6, 2), classes=range(6)
    )
    assert [paths.pixels[i].tolist() for i in range(6)] == [[0]] * 3 + [[1]] * 3


SQUASHES: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "softmax": lambda x: F.softmax(x, 1),
    "tanh": torch.tanh,
    "hardsigmoid": F.hardsigmoid,
    "gelu": F.gelu,
}


@pytest.mark.parametrize("swapped", [False, True])
def test_a_product_with_a_squashed_tensor_leads_to_the_other_one(swapped: bool) -> None:
    def gated(squash: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        data, gate = x.chunk(2, 1)
        return squash(gate) * data if swapped else data * squash(gate)

    graph = together([partial(gated, squash) for squash in SQUASHES.values()], torch.zeros(1, 6))
    for gates, expected in ((False, [[0], [1], [2]]), (True, [[0, 3], [1, 4], [2, 5]])):
        paths = effpath.extract(graph, torch.ones(15, 6), classes=range(15), preset=effpath.Options(gates=gates))
        for place, name in enumerate(SQUASHES):
            assert [paths.pixels[3 * place + i].tolist() for i in range(3)] == expected, name


def test_a_product_of_equals_leads_to_both_whatever_gates_says() -> None:
    graph = effpath.capture(Call(lambda x: x[:, :3] * x[:, 3:]).eval(), torch.zeros(1, 6))
    (kind,) = [k for k in plan_for(graph).kinds.values() if isinstance(k, Gate)]
    assert kind.equal
    paths = effpath.extract(graph, torch.ones(3, 6), classes=range(3))
    assert [paths.pixels[i].tolist() for i in range(3)] == [[0, 3], [1, 4], [2, 5]]


def test_padding_by_another_value_than_zero_is_a_candidate_that_leads_to_no_pixel() -> None:
    class Ones(Padded):
        def forward(self, x):
            return self.op(F.pad(x, self.pad, value=1.0)).flatten(1)

    model = Ones((1, 0), nn.Conv1d(1, 1, 2, bias=False)).eval()
    nn.init.ones_(model.op.weight)
    graph = effpath.capture(model, torch.zeros(1, 1, 2))
    kinds = plan_for(graph).kinds
    assert [type(kind) for name, kind in kinds.items() if name != "op"] == [Route, Route]
    path = effpath.extract(graph, torch.full((1, 1, 2), 0.25), classes=[0], preset="paper")
    assert [ids.tolist() for ids in path[0].pairs("op")] == [[0], [0]]  # the padding, element 0 of [1, 1, 3]
    assert path.pixels[0].tolist() == []
    assert path[0].header.total("synapses", "op") == 4


def test_padding_of_the_channels_is_not_looked_through() -> None:
    class Channels(Padded):
        def forward(self, x):
            return self.op(F.pad(x, self.pad)).flatten(1)

    model = prepare(Channels((0, 0, 1, 0), nn.Conv1d(3, 2, 2)), 1)
    graph = effpath.capture(model, torch.zeros(1, 2, 3))
    images = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0))
    paths = effpath.extract(graph, images, preset="paper")
    assert torch.equal(torch.from_numpy(paths.logits), model(images).detach())
    for i, path in enumerate(paths):
        inputs = path.pairs("op")[1]
        assert (inputs >= 3).all()  # the first three elements are the padded channel, with products of zero
        assert paths.pixels[i].tolist() == sorted(set((inputs - 3).tolist()))
