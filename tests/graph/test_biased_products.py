"""Every way to write a product with a bias or a norm behind it gives the layer that torch's own module gives.

All spellings of one shape are branches of one network, which is captured once, beside torch's own module; a walk
from a class of a branch meets that branch alone.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import effpath
from cases import PRESETS
from effpath.errors import CaptureError
from effpath.rules import plan_for
from effpath.walk.cost import check
from nets import images_of, prepare
from two_backends import BACKENDS

Function = Callable[[nn.Module, Tensor], Tensor]
CLASSES = 3  # of each branch


class Branch(nn.Module):
    """A layer, whatever its product is written as, and a head; with a norm behind the layer or without."""

    def __init__(self, layer: nn.Module, outputs: int, norm: nn.Module | None, spelled: Function | None) -> None:
        super().__init__()
        self.layer, self.norm, self.head, self.spelled = layer, norm, nn.Linear(outputs, CLASSES), spelled

    def forward(self, x: Tensor) -> Tensor:
        if self.spelled is None:
            x = self.layer(x) if self.norm is None else self.norm(self.layer(x))
        else:
            x = self.spelled(self, x)
        return self.head(F.relu(x).flatten(1))


@dataclass(frozen=True)
class Shape:
    """A layer, the image, the outputs of the layer, and its product without the bias."""

    make: Callable[[], nn.Module]
    image: tuple[int, ...]
    outputs: int
    bare: Callable[[nn.Module, Tensor], Tensor]
    norm: Callable[[], nn.Module] | None = None
    ways: dict[str, Function] = field(default_factory=dict)


def weight(net: nn.Module) -> Tensor:
    return net.layer.weight


def bias(net: nn.Module) -> Tensor:
    return net.layer.bias


def along(net: nn.Module, value: Tensor, x: Tensor) -> Tensor:
    """A number a channel, as a tensor that is broadcast over x."""
    return value.reshape(-1, *[1] * (x.dim() - 2)) if not isinstance(net.layer, nn.Linear) else value


def conv(net: nn.Module, x: Tensor) -> Tensor:
    layer = net.layer
    function = getattr(F, f"conv{x.dim() - 2}d")
    return function(x, layer.weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)


def turned(net: nn.Module, x: Tensor) -> Tensor:
    return F.conv_transpose2d(x, weight(net), None, net.layer.stride, groups=net.layer.groups)


LINEAR: dict[str, Function] = {
    "addmm": lambda n, x: torch.addmm(bias(n), x, weight(n).t()),
    "addmm, beta and alpha": lambda n, x: torch.addmm(bias(n) / 2, x, weight(n).T * 4, beta=2, alpha=0.25),
    "@, +": lambda n, x: x @ weight(n).t() + bias(n),
    "mm, add": lambda n, x: torch.add(torch.mm(x, weight(n).t()), bias(n)),
    "matmul of the matrix and columns": lambda n, x: (weight(n) @ x.unsqueeze(-1)).squeeze(-1) + bias(n),
    "inner": lambda n, x: torch.inner(x, weight(n)) + bias(n),
    "tensordot": lambda n, x: torch.tensordot(x, weight(n), dims=([1], [1])) + bias(n),
    "einsum": lambda n, x: torch.einsum("bi,oi->bo", x, weight(n)) + bias(n),
    "einsum, the matrix first": lambda n, x: torch.einsum("oi,...i->...o", weight(n), x) + bias(n),
    "bmm, expanded": lambda n, x: torch.bmm(x[:, None], weight(n).t().expand(x.shape[0], -1, -1))[:, 0] + bias(n),
    "bmm, repeated": lambda n, x: torch.bmm(x[:, None], weight(n).t().repeat(x.shape[0], 1, 1))[:, 0] + bias(n),
    "baddbmm": lambda n, x: torch.baddbmm(bias(n), x[:, None], weight(n).mT.expand(x.shape[0], -1, -1)).squeeze(1),
    "products of elements, sum": lambda n, x: (x[:, None] * weight(n)).sum(-1) + bias(n),
    "products of elements, sum over the middle": lambda n, x: (x.unsqueeze(2) * weight(n).t()).sum(1) + bias(n),
    "products of elements, mean": lambda n, x: (x[:, None] * weight(n)).mean(-1) * 4 + bias(n),
    "vecdot": lambda n, x: torch.linalg.vecdot(x[:, None], weight(n)) + bias(n),
    "a weight that is moved": lambda n, x: F.linear(x, weight(n).flatten().view(5, 4), bias(n)),
    "conv1d of one tap": lambda n, x: F.conv1d(x[..., None], weight(n)[..., None])[..., 0] + bias(n),
}
BIASES: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "product + bias": lambda n, y, b: y + b,
    "bias + product": lambda n, y, b: b + y,
    "product - negative bias": lambda n, y, b: y - (-b),
    "bias - negative product": lambda n, y, b: b - y * -1,
    "add, alpha": lambda n, y, b: torch.add(y, b * 2, alpha=0.5),
    "in place": lambda n, y, b: y.add_(b),
    "after a move": lambda n, y, b: (y.flatten(2) + b.flatten(1)).view_as(y) if y.dim() > 2 else y + b,
}
SHAPES = {
    "linear": Shape(
        lambda: nn.Linear(4, 5),
        (4,),
        5,
        lambda n, x: F.linear(x, weight(n)),
        lambda: nn.BatchNorm1d(5),
        LINEAR,
    ),
    "linear on tokens": Shape(
        lambda: nn.Linear(4, 5),
        (3, 4),
        15,
        lambda n, x: F.linear(x, weight(n)),
        ways={
            "@, +": lambda n, x: x @ weight(n).t() + bias(n),
            "einsum": lambda n, x: torch.einsum("btd,od->bto", x, weight(n)) + bias(n),
            "sum": lambda n, x: (x[:, :, None] * weight(n)).sum(-1) + bias(n),
        },
    ),
    "conv1d": Shape(lambda: nn.Conv1d(2, 3, 2), (2, 4), 9, conv),
    "conv2d": Shape(lambda: nn.Conv2d(2, 4, 2, padding=1), (2, 3, 3), 64, conv, lambda: nn.BatchNorm2d(4)),
    "conv2d, grouped": Shape(lambda: nn.Conv2d(4, 4, 2, groups=2), (4, 3, 2), 8, conv, lambda: nn.BatchNorm2d(4)),
    "conv2d, 1x1": Shape(
        lambda: nn.Conv2d(3, 4, 1),
        (3, 2, 2),
        16,
        conv,
        ways={
            "einsum": lambda n, x: (
                torch.einsum("bchw,oc->bohw", x, weight(n)[:, :, 0, 0]) + bias(n)[:, None, None]
            ),
            "matmul": lambda n, x: (
                (weight(n).flatten(1) @ x.flatten(2)).unflatten(2, (2, 2)) + bias(n)[:, None, None]
            ),
        },
    ),
    "conv3d": Shape(lambda: nn.Conv3d(1, 3, (1, 2, 2)), (1, 2, 2, 3), 12, conv),
    "conv_transpose2d, grouped": Shape(
        lambda: nn.ConvTranspose2d(4, 4, 2, groups=2), (4, 2, 2), 36, turned, lambda: nn.BatchNorm2d(4)
    ),
}


def frozen(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    norm = net.norm
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return along(net, scale, x), along(net, norm.bias - norm.running_mean * scale, x)


def normed(net: nn.Module, y: Tensor, form: str) -> Tensor:
    """A frozen norm behind the product, biased or not, in one of its forms."""
    scale, shift = frozen(net, y)
    if form == "x · scale + shift":
        return y * scale + shift
    if form == "shift + scale · x":
        return shift + scale * y
    if form == "addcmul":
        return torch.addcmul(shift, y, scale)
    if form == "division":
        return y / (1 / scale) + shift
    norm = net.norm
    mean, bias = along(net, norm.running_mean, y), along(net, norm.bias, y)
    return (y - mean) * scale + bias


FORMS = ("x · scale + shift", "shift + scale · x", "addcmul", "division", "less the mean, · scale + bias")


def spellings() -> dict[str, tuple[str, bool, Function]]:
    found: dict[str, tuple[str, bool, Function]] = {}
    for name, shape in SHAPES.items():
        for way, function in shape.ways.items():
            found[f"{name}: {way}"] = (name, False, function)
        for way, add in BIASES.items():
            if name in ("linear", "conv2d", "conv_transpose2d, grouped") or way == "product + bias":
                found[f"{name}: {way}"] = (
                    name,
                    False,
                    lambda n, x, add=add, shape=shape: add(n, y := shape.bare(n, x), along(n, bias(n), y)),
                )
        if shape.norm is not None:
            for form in FORMS if name in ("linear", "conv2d") else FORMS[:1]:
                found[f"{name}, norm: {form}"] = (name, True, lambda n, x, form=form: normed(n, n.layer(x), form))
    return found


SPELLINGS = spellings()


class Branches(nn.Module):
    """Torch's own module without a norm and, where there is one, with it; then every spelling of a shape."""

    def __init__(self, name: str) -> None:
        super().__init__()
        shape = SHAPES[name]
        norms = [None, shape.norm] if shape.norm else [None]
        modules = [
            prepare(Branch(shape.make(), shape.outputs, norm() if norm else None, None), 1) for norm in norms
        ]
        for _, norm, function in (found for found in SPELLINGS.values() if found[0] == name):
            modules.append(deepcopy(modules[norm]))
            modules[-1].spelled = function
        self.branches = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


@cache
def graph_of(name: str) -> effpath.Graph:
    return effpath.capture(Branches(name).eval(), torch.zeros(1, *SHAPES[name].image))


def place_of(spelling: str) -> int:
    """Which branch of its shape's network a spelling is."""
    name = SPELLINGS[spelling][0]
    before = [other for other in SPELLINGS if SPELLINGS[other][0] == name].index(spelling)
    return before + (2 if SHAPES[name].norm else 1)


Found = list[dict[str, Any]]


@cache
def sets_of(name: str) -> dict[tuple[str, str], list[Found]]:
    """Names and sets of every image in every branch, walked from its strongest class, by preset and backend."""
    graph, images = graph_of(name), images_of(SHAPES[name].image)
    strongest = graph(images).unflatten(1, (-1, CLASSES)).argmax(2)  # [images, branches]
    branches = strongest.shape[1]
    classes = strongest.T.reshape(-1) + CLASSES * torch.arange(branches).repeat_interleave(len(images))
    found: dict[tuple[str, str], list[Found]] = {}
    for preset in PRESETS:
        for backend in BACKENDS:
            paths = effpath.extract(
                graph,
                images.repeat(branches, *[1] * (images.dim() - 1)),
                classes=classes,
                preset=preset,
                backend=backend,
            )
            rows = [_sets_of_branch(path, row // len(images)) for row, path in enumerate(paths)]
            found[preset, backend] = [rows[i : i + len(images)] for i in range(0, len(rows), len(images))]
    return found


def _sets_of_branch(path: Any, place: int) -> dict[str, Any]:
    """The sets of a path, which lies in one branch, by names without the branch."""
    prefix = f"branches.{place}."
    assert not any(ids for key, ids in path.synapses.items() if not key.startswith(prefix))
    inside = [key for key in path.synapses if key.startswith(prefix)]
    of_weights = [key for key in path.weights if key.startswith(prefix)]
    return {
        "synapses": {
            key.removeprefix(prefix): sorted(zip(*(ids.tolist() for ids in path.pairs(key)), strict=True))
            for key in inside
        },
        "neurons": {key.removeprefix(prefix): list(path.neurons[key]) for key in inside},
        "weights": {key.removeprefix(prefix): list(path.weights[key]) for key in of_weights},
        "sizes": {key.removeprefix(prefix): path.header.total("weights", key) for key in of_weights},
    }


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_product_however_it_is_written_is_the_layer_of_torchs_module(spelling: str) -> None:
    name, norm, _ = SPELLINGS[spelling]
    graph, place, found = graph_of(name), place_of(spelling), sets_of(name)
    prefix = f"branches.{place}."
    layers = [layer for layer in plan_for(graph).layers if layer.name.startswith(prefix)]
    assert [(layer.name, layer.parameter) for layer in layers] == [
        (f"{prefix}layer", f"{prefix}layer.weight"),
        (f"{prefix}head", f"{prefix}head.weight"),
    ]
    assert graph.batched
    for key, branches in found.items():
        assert branches[place] == branches[norm], key
    assert any(image["synapses"]["layer"] for image in found["paper", "reference"][norm])


def parts(net: nn.Module, x: Tensor) -> Tensor:
    """Each of two groups of channels by a matrix of its own."""
    return torch.einsum("bgi,gio->bgo", x.unflatten(1, (2, 2)), net.kernel).flatten(1)


class Kernels(nn.Module):
    def __init__(self, spelled: Function) -> None:
        super().__init__()
        self.kernel, self.spelled = nn.Parameter(torch.zeros(2, 2, 3)), spelled

    def forward(self, x: Tensor) -> Tensor:
        return self.spelled(self, x)


@pytest.mark.parametrize(
    "spelled",
    [
        parts,
        lambda n, x: (x.unflatten(1, (2, 1, 2)) @ n.kernel).flatten(1),
        lambda n, x: (x.unflatten(1, (2, 2, 1)) * n.kernel).sum(2).flatten(1),
    ],
    ids=["einsum", "matmul", "products of elements"],
)
def test_matrices_of_several_groups_are_a_grouped_layer_whose_weights_are_the_parameters(
    spelled: Function,
) -> None:
    graph = effpath.capture(prepare(Kernels(spelled), 2), torch.zeros(1, 4))
    (layer,) = plan_for(graph).layers
    assert layer.parameter == "kernel"
    assert (layer.total("synapses"), layer.total("neurons"), layer.total("weights")) == (12, 6, 12)
    images = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    kernel = prepare(Kernels(spelled), 2).kernel
    for backend in BACKENDS:
        for output in range(6):
            group, column = divmod(output, 3)
            (path,) = effpath.extract(graph, images, classes=[output], preset="paper", theta=1.0, backend=backend)
            products = [float(images[0, 2 * group + i] * kernel[group, i, column]) for i in range(2)]
            sign = 1 if sum(products) >= 0 else -1
            chosen = [i for i in range(2) if sign * products[i] > 0]
            assert list(path.weights["kernel"]) == [(2 * group + i) * 3 + column for i in chosen], output
            assert path.pairs(layer.name)[0].tolist() == [output] * len(chosen)


def test_a_network_that_scales_by_a_parameter_alone_has_no_layer_and_is_refused() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.gain

    with pytest.raises(CaptureError, match=r"expected a network with layers.*'gain'"):
        effpath.capture(Scaled().eval(), torch.zeros(1, 4))
    with pytest.raises(CaptureError, match="expected a network with layers"):
        check(nn.Sequential(nn.Flatten(), nn.ReLU()).eval(), (4,))


def test_a_parameter_may_be_called_input() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.input = nn.Parameter(torch.ones(3, 4))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.input)

    graph = effpath.capture(Named().eval(), torch.zeros(1, 4))
    (layer,) = plan_for(graph).layers
    assert (layer.name, layer.parameter) == ("input.linear", "input")
    (path,) = effpath.extract(graph, torch.tensor([[1.0, 2.0, 3.0, 4.0]]), theta=1.0)
    assert len(path.weights["input"]) == 4


def test_layers_that_share_a_weight_have_names_of_their_own_and_one_parameter() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            back = F.linear(self.b(self.a(x)), self.a.weight.t())  # the weight of an autoencoder, used turned
            return self.head(back)

    graph = effpath.capture(prepare(Tied()), torch.zeros(1, 4))
    assert [(layer.name, layer.parameter) for layer in plan_for(graph).layers] == [
        ("a", "a.weight"),
        ("b", "a.weight"),
        ("a#2", "a.weight"),
        ("head", "head.weight"),
    ]
