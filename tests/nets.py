"""Small networks, and what each of them computes step by step, by hand, for `plain_walk`.

`prepare` sets every parameter to multiples of 1/4 and every batch norm to an exact scale, so that all sums
are exact in float32 and float64 alike and ties are many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import effpath
import known_graphs
import plain_walk as pw
from cases import quantised


@dataclass(frozen=True)
class Net:
    """A network, the shape of its images, and its steps; ``exact`` where float32 gives the exact logits."""

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    steps: Callable[[nn.Module], list[pw.Step]]
    exact: bool = True
    seed: int = 0


def prepare(model: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(quantised(generator, tuple(parameter.shape)))
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eps = 0.25
                module.running_var.copy_(
                    torch.tensor([0.75, 3.75]).repeat(len(module.running_var))[: len(module.running_var)]
                )
                module.running_mean.copy_(quantised(generator, module.running_mean.shape))
                if module.affine:
                    signs = torch.where(torch.rand(module.weight.shape, generator=generator) < 0.7, 1.0, -0.5)
                    module.weight.copy_(signs)
    return model.eval()


def images_of(shape: tuple[int, ...], count: int = 3, seed: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    images = quantised(generator, (count, *shape), steps=3, scale=0.5)
    images[-1].clamp_(min=0)
    return images


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def scale_and_shift(norm: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    scale = array(norm.weight) / np.sqrt(array(norm.running_var) + norm.eps)
    return scale, array(norm.bias) - array(norm.running_mean) * scale


def parameters(layer: nn.Module, norm: nn.Module | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Weight and bias of a layer, with the batch norm behind it folded in."""
    weight, bias = array(layer.weight), None if layer.bias is None else array(layer.bias)
    if norm is None:
        return weight, bias
    scale, shift = scale_and_shift(norm)
    axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    spread = scale.reshape([-1 if d == axis else 1 for d in range(weight.ndim)])
    return weight * spread, shift + (0 if bias is None else bias * scale)


def conv(
    model: nn.Module, name: str, source: str, out: str, norm: nn.Module | None = None, path: str = ""
) -> pw.Step:
    layer = model.get_submodule(name)
    shared = path or name
    if isinstance(layer, nn.ConvTranspose2d):
        weight, bias = parameters(layer, norm)
        return pw.Transposed(out, source, weight, bias, name, f"{name}.weight", layer.stride[0], layer.padding[0])
    return pw.Conv(
        out,
        source,
        *parameters(layer, norm),
        shared,
        f"{name}.weight",
        layer.stride[0],
        layer.padding[0],
        layer.dilation[0],
        layer.groups,
    )


def linear(
    model: nn.Module, name: str, source: str, out: str, norm: nn.Module | None = None, path: str = ""
) -> pw.Step:
    layer = model.get_submodule(name)
    return pw.Linear(out, source, *parameters(layer, norm), path or name, f"{name}.weight")


def over_space(height: int, width: int) -> Callable[[tuple[int, ...]], list[tuple[int, ...]]]:
    return lambda index: [(index[0], r, c) for r in range(height) for c in range(width)]


def flatten(source: str, out: str) -> pw.Step:
    return pw.Each(out, source, lambda x: x.flatten())


# ---------------------------------------------------------------- residual block, batch norms, in place


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 3, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(3)
        self.conv2 = nn.Conv2d(3, 3, 3, padding=1, stride=2)
        self.bn2 = nn.BatchNorm2d(3)
        self.shortcut = nn.Sequential(nn.Conv2d(2, 3, 1, stride=2, bias=False), nn.BatchNorm2d(3))
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += self.shortcut(x)
        return self.fc(self.drop(self.relu(y).mean((2, 3))))


def residual_steps(m: nn.Module) -> list[pw.Step]:
    return [
        conv(m, "conv1", "input", "a", m.bn1),
        pw.Each("b", "a", relu),
        conv(m, "conv2", "b", "c", m.bn2),
        conv(m, "shortcut.0", "input", "s", m.shortcut[1]),
        pw.Sum("d", "c", "s"),
        pw.Each("e", "d", relu),
        pw.Mean("f", "e", (3,), over_space(2, 2)),
        linear(m, "fc", "f", "g"),
    ]


# ---------------------------------------------------------------- concatenation, average pooling


class Concat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 2, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 2, 1)
        self.fc = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, self.conv1(x)], dim=1).relu_()
        y = torch.cat([x, self.conv2(x)], dim=1)
        return self.fc(F.avg_pool2d(y, 2).flatten(1))


def concat_steps(m: nn.Module) -> list[pw.Step]:
    def pooled(index):
        return [(index[0], 2 * index[1] + r, 2 * index[2] + c) for r in range(2) for c in range(2)]

    return [
        conv(m, "conv1", "input", "a"),
        pw.Move("b", "a", (4, 4, 4), lambda c, i, j: ("input", (c, i, j)) if c < 2 else ("a", (c - 2, i, j))),
        pw.Each("c", "b", relu),
        conv(m, "conv2", "c", "d"),
        pw.Move("e", "d", (6, 4, 4), lambda c, i, j: ("c", (c, i, j)) if c < 4 else ("d", (c - 4, i, j))),
        pw.Mean("f", "e", (6, 2, 2), pooled),
        flatten("f", "g"),
        linear(m, "fc", "g", "h"),
    ]


# ---------------------------------------------------------------- depthwise, grouped, max pooling with ties


class Separable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.depth = nn.Conv2d(2, 4, 3, padding=1, groups=2, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.point = nn.Conv2d(4, 4, 1, groups=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.wide = nn.Conv2d(4, 2, 2, dilation=2)
        self.fc = nn.Linear(2, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.bn(self.depth(x)))
        return self.fc(F.leaky_relu(self.wide(self.pool(self.point(x).clamp(-1, 1))), 0.25).flatten(1))


def separable_steps(m: nn.Module) -> list[pw.Step]:
    return [
        conv(m, "depth", "input", "a", m.bn),
        pw.Each("b", "a", lambda x: np.clip(x, 0, 6)),
        conv(m, "point", "b", "c"),
        pw.Each("d", "c", lambda x: np.clip(x, -1, 1)),
        pw.Largest("e", "d", 3, 2, 1),
        conv(m, "wide", "e", "f"),
        pw.Each("g", "f", lambda x: np.where(x < 0, x / 4, x).flatten()),
        linear(m, "fc", "g", "h"),
    ]


# ---------------------------------------------------------------- squeeze and excite


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 2)
        self.squeeze = nn.Linear(3, 2)
        self.excite = nn.Linear(2, 3)
        self.fc = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        gate = self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1).flatten(1)))).clamp(0, 1)
        return self.fc((gate[:, :, None, None] * x).flatten(1))


def squeeze_excite_steps(m: nn.Module) -> list[pw.Step]:
    return [
        conv(m, "conv", "input", "a"),
        pw.Each("b", "a", relu),
        pw.Mean("m", "b", (3,), over_space(2, 2)),
        linear(m, "squeeze", "m", "s"),
        pw.Each("t", "s", relu),
        linear(m, "excite", "t", "u"),
        pw.Each("gate", "u", lambda x: np.clip(x, 0, 1)),
        pw.Scale("c", "b", "gate", lambda index: index[:1]),
        flatten("c", "d"),
        linear(m, "fc", "d", "e"),
    ]


# ---------------------------------------------------------------- local response norm


class Lrn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 2)
        self.norm = nn.LocalResponseNorm(3, alpha=0.5, beta=0.75, k=2.0)
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(F.relu(self.conv(x))).flatten(1))


def lrn_steps(m: nn.Module) -> list[pw.Step]:
    def near(index):
        return [(c, *index[1:]) for c in range(index[0] - 1, index[0] + 2) if 0 <= c < 4]

    return [
        conv(m, "conv", "input", "a"),
        pw.Each("b", "a", relu),
        pw.Each("q", "b", np.square),
        pw.Mean("p", "q", (4, 2, 2), near),  # its value is not the norm's (a border counts), its path is
        LrnScale("c", "b", "p"),
        flatten("c", "d"),
        linear(m, "fc", "d", "e"),
    ]


class LrnScale(pw.Scale):
    def forward(self, values: pw.Values) -> np.ndarray:
        x = torch.from_numpy(values[self.source]).float()[None]
        return F.local_response_norm(x, 3, alpha=0.5, beta=0.75, k=2.0)[0].double().numpy()


# ---------------------------------------------------------------- one module used twice


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.bn = nn.BatchNorm2d(2)
        self.fc = nn.Linear(18, 18)
        self.head = nn.Linear(18, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        x = F.relu(self.bn(self.conv(x)))
        x = x.flatten(1)
        return self.head(F.relu(self.fc(F.relu(self.fc(x)))))


def shared_steps(m: nn.Module) -> list[pw.Step]:
    return [
        conv(m, "conv", "input", "a"),
        pw.Each("b", "a", relu),
        conv(m, "conv", "b", "c", m.bn, path="conv#2"),
        pw.Each("d", "c", lambda x: relu(x).flatten()),
        linear(m, "fc", "d", "e"),
        pw.Each("f", "e", relu),
        linear(m, "fc", "f", "g", path="fc#2"),
        pw.Each("h", "g", relu),
        linear(m, "head", "h", "i"),
    ]


# ---------------------------------------------------------------- movement


class Moving(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 2)
        self.conv2 = nn.Conv2d(1, 2, 3, stride=2)
        self.fc = nn.Linear(14, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x.flip(3)))  # [4, 3, 3]
        x = F.pixel_shuffle(x, 2).permute(0, 1, 3, 2)  # [1, 6, 6], transposed
        tail = x[:, :, 1:6:2, 4:].roll(1, 2).flatten(1)  # [3 · 2]
        x = F.relu(self.conv2(F.pad(x[:, :, :5], (-1, 0))))  # [2, 2, 2]
        return self.fc(torch.cat([x.flatten(1), tail], dim=1))


def moving_steps(m: nn.Module) -> list[pw.Step]:
    return [
        pw.Move("a", "input", (2, 4, 4), lambda c, i, j: ("input", (c, i, 3 - j))),
        conv(m, "conv1", "a", "b"),
        pw.Each("c", "b", relu),
        pw.Move("d", "c", (1, 6, 6), lambda c, i, j: ("c", ((j % 2) * 2 + i % 2, j // 2, i // 2))),
        pw.Move("tail", "d", (1, 3, 2), lambda c, i, j: ("d", (c, 1 + 2 * ((i - 1) % 3), 4 + j))),
        pw.Move("e", "d", (1, 5, 5), lambda c, i, j: ("d", (c, i, j + 1))),
        CroppedConv2("f", "e", *parameters(m.conv2), "conv2", "conv2.weight", stride=2),
        pw.Each("g", "f", relu),
        pw.Move("h", "g", (14,), lambda k: ("g", divmod3(k)) if k < 8 else ("tail", (0, *divmod(k - 8, 2)))),
        linear(m, "fc", "h", "i"),
    ]


def divmod3(k: int) -> tuple[int, int, int]:
    return k // 4, k // 2 % 2, k % 2


class CroppedConv2(pw.Conv):
    """The library looks through the cropping, so that its inputs are those of the wider tensor [1, 5, 6]."""

    def back(self, values, found, options) -> None:
        super().back(values, found, options)
        pairs = found.synapses.get(self.name, set())
        found.synapses[self.name] = {(o, i // 5 * 6 + i % 5 + 1) for o, i in pairs}


# ---------------------------------------------------------------- batch norm first, and one that stays


class NormFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(2)
        self.conv1 = nn.Conv2d(2, 4, 2, groups=2)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 2, 3, padding=1)
        self.bn2 = nn.BatchNorm1d(18)
        self.fc = nn.Linear(18, 5, bias=False)
        self.bn3 = nn.BatchNorm1d(5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.bn0(x))  # bn0 goes into conv1, which has no padding
        x = self.conv2(self.bn1(F.relu(x)))  # bn1 stays: conv2 pads with zeros
        return self.bn3(self.fc(self.bn2(F.relu(x).flatten(1))))  # bn2 into fc, bn3 into fc


def norm_first_steps(m: nn.Module) -> list[pw.Step]:
    scale0, shift0 = scale_and_shift(m.bn0)
    weight1, bias1 = parameters(m.conv1)
    of_group = np.array([0, 0, 1, 1])
    bias1 = bias1 + (weight1 * shift0[of_group].reshape(4, 1, 1, 1)).sum((1, 2, 3))
    weight1 = weight1 * scale0[of_group].reshape(4, 1, 1, 1)
    scale1, shift1 = scale_and_shift(m.bn1)
    scale2, shift2 = scale_and_shift(m.bn2)
    scale3, shift3 = scale_and_shift(m.bn3)
    weight_fc = array(m.fc.weight) * scale2
    bias_fc = (array(m.fc.weight) * shift2).sum(1) * scale3 + shift3
    return [
        pw.Conv("a", "input", weight1, bias1, "conv1", "conv1.weight", groups=2),
        pw.Each("b", "a", relu),
        pw.Each("c", "b", lambda x: x * scale1.reshape(4, 1, 1) + shift1.reshape(4, 1, 1)),
        conv(m, "conv2", "c", "d"),
        pw.Each("e", "d", lambda x: relu(x).flatten()),
        pw.Linear("f", "e", weight_fc * scale3[:, None], bias_fc, "fc", "fc.weight"),
    ]


# ---------------------------------------------------------------- transposed convolution, differences, products


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(2, 2, 3, stride=2, padding=1)
        self.bn = nn.BatchNorm2d(2)
        self.left = nn.Conv2d(2, 2, 2)
        self.right = nn.Conv2d(2, 2, 2)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.up(x)))
        left, right = self.left(x), self.right(x)
        difference = 1 - (left - right)
        return self.fc((difference * left).flatten(1))


def mixed_steps(m: nn.Module) -> list[pw.Step]:
    return [
        conv(m, "up", "input", "a", m.bn),
        pw.Each("b", "a", relu),
        conv(m, "left", "b", "l"),
        conv(m, "right", "b", "r"),
        pw.Sum("c", "l", "r", -1.0),
        pw.Each("d", "c", lambda x: 1 - x),
        pw.Scale("e", "d", "l", equal=True),
        flatten("e", "f"),
        linear(m, "fc", "f", "g"),
    ]


# ---------------------------------------------------------------- tokens


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(2, 3, 2, stride=2)
        self.token = nn.Parameter(torch.zeros(1, 1, 3))
        self.place = nn.Parameter(torch.zeros(1, 5, 3))
        self.mix = nn.Linear(3, 3)
        self.head = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.place
        x = x + F.relu(self.mix(x))
        return self.head(x[:, 0] + x[:, 1:].mean(1))


def tokens_steps(m: nn.Module) -> list[pw.Step]:
    token, place = array(m.token)[0], array(m.place)[0]

    class Token(pw.Move):
        def forward(self, values):
            y = super().forward(values)
            y[0] = token[0]
            return y

    return [
        conv(m, "embed", "input", "a"),
        Token("b", "a", (5, 3), lambda t, c: None if t == 0 else ("a", (c, (t - 1) // 2, (t - 1) % 2))),
        pw.Each("c", "b", lambda x: x + place),
        linear(m, "mix", "c", "d"),
        pw.Each("e", "d", relu),
        pw.Sum("f", "c", "e"),
        pw.Move("first", "f", (3,), lambda c: ("f", (0, c))),
        pw.Mean("rest", "f", (3,), lambda index: [(t, index[0]) for t in range(1, 5)]),
        pw.Sum("g", "first", "rest"),
        linear(m, "head", "g", "h"),
    ]


# ---------------------------------------------------------------- an add of a tensor to itself, in-place input


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 2)
        self.fc = nn.Linear(18, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv((x - 0.5) / 2)  # normalisation inside the model
        kept = y * 1
        y.relu_()
        kept.add_(y)
        return F.softmax(self.fc((kept + kept).flatten(1)), dim=1)


def twice_steps(m: nn.Module) -> list[pw.Step]:
    return [
        pw.Each("n", "input", lambda x: (x - 0.5) / 2),
        conv(m, "conv", "n", "a"),
        pw.Each("b", "a", relu),
        pw.Sum("c", "a", "b"),
        pw.Sum("d", "c", "c"),
        flatten("d", "e"),
        linear(m, "fc", "e", "f"),
    ]


NETS = (
    Net("residual", Residual, (2, 4, 4), residual_steps, seed=3),
    Net("concatenation", Concat, (2, 4, 4), concat_steps, seed=3),
    Net("separable", Separable, (2, 5, 5), separable_steps, seed=5),
    Net("squeeze-excite", SqueezeExcite, (2, 3, 3), squeeze_excite_steps, seed=4),
    Net("local response norm", Lrn, (2, 3, 3), lrn_steps, exact=False, seed=1),
    Net("shared modules", Shared, (2, 3, 3), shared_steps, seed=1),
    Net("movement", Moving, (2, 4, 4), moving_steps, seed=5),
    Net("norm first", NormFirst, (2, 4, 4), norm_first_steps, seed=5),
    Net("transposed, difference, product", Mixed, (2, 2, 2), mixed_steps, seed=8),
    Net("tokens", Tokens, (2, 4, 4), tokens_steps, seed=9),
    Net("in place, twice, softmax", Twice, (1, 4, 4), twice_steps, seed=1),
)


@cache
def captured(net: Net) -> tuple[nn.Module, effpath.Graph]:
    """A network and its graph, both made once per test process; neither may be changed."""
    model = prepare(net.make(), net.seed)
    return model, known_graphs.captured(f"net {net.name}", model, torch.zeros(1, *net.shape))
