"""The table of operators that drives the rule tests: one line a case.

A case is a small module, the shape of one image and what kind of operator it is. Weights and images are
multiples of 1/4 (see `quantised`), so that float32 sums are exact and ties are many.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from effpath import Graph, Options
from known_graphs import captured

THETAS = (0.1, 0.5, 0.9, 1.0)
PRESETS = ("paper", "authors", "default")


def combinations(number: int, thetas: tuple[float, float] = (0.25, 1.0)) -> list[Options]:
    """A quarter of the 64 combinations of options: a fractional factorial design of resolution IV.

    Any three options take all eight combinations of their values in it. The quarters of four numbers in a row are
    disjoint, so that every combination is met by a quarter of the cases.
    """
    found = []
    for a, b, c, d in itertools.product((0, 1), repeat=4):
        e, f = a ^ b ^ c ^ number & 1, b ^ c ^ d ^ number >> 1 & 1
        found.append(
            Options(
                theta=thetas[a],
                target=("output", "sum")[b],
                bias=("value", "candidate")[c],
                fallback=("positive", "argmax")[d],
                ties=("first", "all")[e],
                lone=bool(f),
            )
        )
    return found


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Tensor], **kwargs: Any) -> None:
        super().__init__()
        self.function, self.kwargs = function, kwargs

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **self.kwargs)


class Padded(nn.Module):
    """An explicit padding before a convolution or pooling."""

    def __init__(self, pad: tuple[int, ...], op: nn.Module, value: float = 0.0) -> None:
        super().__init__()
        self.pad, self.op, self.value = pad, op, value

    def forward(self, x: Tensor) -> Tensor:
        return self.op(F.pad(x, self.pad, value=self.value))


class Flat(nn.Module):
    """The operator alone; its outputs are the logits, so that a walk may start from any of them."""

    def __init__(self, op: nn.Module) -> None:
        super().__init__()
        self.op = op

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x).flatten(1)


@dataclass(frozen=True)
class Case:
    """One operator.

    ``sources`` says for each element of the tensor that the operator reads which pixel it is, where that is
    not the image itself (a reflected border, swapped operands, the values that an attention weighs).
    ``turned`` says for each output of the operator which logit it is, where they are moved on their way.
    """

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    kind: str = "weighted"  # weighted, transposed, pooled, sum, max, product
    sources: Callable[[np.ndarray], np.ndarray] | None = field(default=None)
    turned: Callable[[np.ndarray], np.ndarray] | None = field(default=None)

    def pixels_of_sources(self) -> np.ndarray:
        ids = np.arange(int(np.prod(self.shape))).reshape(self.shape)
        return (ids if self.sources is None else self.sources(ids)).flatten()

    def logits_of_outputs(self, outputs: int) -> np.ndarray:
        ids = np.arange(outputs)
        return (ids if self.turned is None else self.turned(ids)).flatten()


def quantised(generator: torch.Generator, shape: tuple[int, ...], steps: int = 4, scale: float = 0.25) -> Tensor:
    """Random multiples of ``scale`` in ±``steps``·``scale``."""
    return torch.randint(-steps, steps + 1, shape, generator=generator).float() * scale


def set_quantised(module: nn.Module, seed: int) -> nn.Module:
    """Give every parameter quantised values; a few biases are too large to be reached, either way."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(quantised(generator, tuple(parameter.shape)))
        for name, parameter in module.named_parameters():
            if name.endswith("bias") and len(parameter) > 1:
                parameter[0] = 50.0
                if len(parameter) > 2:
                    parameter[1] = -50.0
    return module.eval()


def operator_of(case: Case) -> tuple[nn.Module, Graph]:
    """The operator of a case, whose weights may be changed, and the graph of it alone."""
    op = set_quantised(case.make(), seed=len(case.name))
    return op, captured(f"case {case.name}", Flat(op), torch.zeros(1, *case.shape))


def images_for(case: Case) -> Tensor:
    """Ties and signs, all zero, sparse and positive, negative, one flat value."""
    generator = torch.Generator().manual_seed(len(case.name))
    mixed = quantised(generator, (2, *case.shape))
    sparse = quantised(generator, case.shape).clamp(min=0)
    negative = -quantised(generator, case.shape).abs()
    flat = torch.full(case.shape, 0.5)
    return torch.stack([*mixed, torch.zeros(case.shape), sparse, negative, flat])


def conv(dims: int, *args: Any, **kwargs: Any) -> Callable[[], nn.Module]:
    return partial((nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1], *args, **kwargs)


def deconv(dims: int, *args: Any, **kwargs: Any) -> Callable[[], nn.Module]:
    return partial((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 1], *args, **kwargs)


def padded(pad: tuple[int, ...], make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: Padded(pad, make())


def call(function: Callable[..., Tensor], **kwargs: Any) -> Callable[[], nn.Module]:
    return lambda: Call(function, **kwargs)


def halves(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], nn.Module]:
    """An operator of the two halves of the image's channels."""
    return call(lambda x: function(*x.chunk(2, 1)))


def resized(mode: str, **kwargs: Any) -> Callable[[], nn.Module]:
    return call(F.interpolate, mode=mode, **kwargs)


def broadcast(x: Tensor) -> Tensor:
    return x[:, :8].reshape(-1, 2, 2, 2) + x[:, 8:].reshape(-1, 2, 1, 1)


def outer(x: Tensor) -> Tensor:
    return x[:, :3].reshape(-1, 3, 1) - x[:, 3:].reshape(-1, 1, 4)


def swapped(ids: np.ndarray) -> np.ndarray:
    return np.concatenate(np.split(ids, 2)[::-1])


def product(function: Callable[[Tensor, Tensor], Tensor], first: tuple[int, ...], second: tuple[int, ...]) -> Any:
    """An operator of two tensors that lie one behind the other in a flat image."""
    cut = int(np.prod(first))
    return call(lambda x: function(x[:, :cut].reshape(-1, *first), x[:, cut:].reshape(-1, *second)))


def swap(*shape: int) -> Callable[[np.ndarray], np.ndarray]:
    """Where the elements of a tensor are whose last two dimensions were swapped."""
    return lambda ids: ids.reshape(shape).swapaxes(-1, -2)


def scaled(attention: Tensor, values: Tensor) -> Tensor:
    return torch.baddbmm(torch.zeros(1, 1, 1, dtype=values.dtype), attention * 0.5, values)


def behind(*first: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda ids: ids[int(np.prod(first)) :]


class Weigh(nn.Module):
    """A matrix of the model times the image, or the image times it."""

    def __init__(self, *shape: int, left: bool = False, parameter: bool = True) -> None:
        super().__init__()
        if parameter:
            self.weight = nn.Parameter(torch.zeros(shape))
        else:
            self.register_buffer("weight", torch.arange(1.0, 1 + np.prod(shape)).reshape(shape) / 4 - 1.125)
        self.left = left

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype)
        return weight @ x if self.left else x @ weight


IMAGE = (2, 4, 5)
CASES = (
    # linear
    Case("linear", partial(nn.Linear, 7, 5), (7,)),
    Case("linear without bias", partial(nn.Linear, 7, 5, bias=False), (7,)),
    Case("linear on tokens", partial(nn.Linear, 4, 3), (3, 4)),
    Case("linear on a grid of tokens", partial(nn.Linear, 3, 4, bias=False), (2, 2, 3)),
    # convolution
    Case("conv1d", conv(1, 2, 3, 3), (2, 6)),
    Case("conv1d, stride, padding, dilation", conv(1, 2, 3, 3, stride=2, padding=2, dilation=2), (2, 7)),
    Case("conv1d, same, even kernel", conv(1, 1, 3, 4, padding="same"), (1, 6)),
    Case("conv2d", conv(2, 2, 3, 3), IMAGE),
    Case("conv2d without bias", conv(2, 2, 3, 2, bias=False), IMAGE),
    Case("conv2d, padding", conv(2, 2, 3, 3, padding=1), IMAGE),
    Case("conv2d, padding wider than the kernel", conv(2, 1, 3, 2, padding=2), (1, 2, 3)),
    Case("conv2d, uneven everything", conv(2, 2, 3, (2, 3), (2, 1), (1, 2), (1, 2)), IMAGE),
    Case("conv2d, same", conv(2, 2, 3, (2, 3), padding="same"), IMAGE),
    Case("conv2d, same, dilated", conv(2, 1, 3, (2, 4), padding="same", dilation=(2, 1)), (1, 4, 5)),
    Case("conv2d, valid", conv(2, 2, 3, 3, padding="valid"), IMAGE),
    Case("conv2d, grouped", conv(2, 4, 6, 2, groups=2), (4, 3, 4)),
    Case("conv2d, grouped, no bias", conv(2, 6, 3, 2, groups=3, bias=False, padding=1), (6, 2, 3)),
    Case("conv2d, depthwise", conv(2, 3, 3, 3, groups=3, padding=1), (3, 3, 4)),
    Case("conv2d, depthwise, multiplier", conv(2, 2, 4, 2, groups=2, stride=2), (2, 4, 4)),
    Case("conv2d, 1x1", conv(2, 4, 3, 1), (4, 2, 3)),
    Case("conv2d after an asymmetric padding", padded((1, 0, 0, 2), conv(2, 2, 3, 3, stride=2)), IMAGE),
    Case("conv2d after a padding, with its own", padded((0, 1, 2, 0), conv(2, 1, 3, 2, padding=1)), (1, 3, 3)),
    Case("conv2d after a cropping", padded((-1, 1, 1, -1), conv(2, 2, 3, 2)), IMAGE),
    Case("conv2d after a padding of one axis", padded((2, 1), conv(2, 2, 3, 2)), (2, 3, 3)),
    Case("conv1d after a padding", padded((2, 1), conv(1, 2, 3, 3, dilation=2)), (2, 5)),
    Case("conv3d", conv(3, 2, 3, 2), (2, 3, 2, 3)),
    Case(
        "conv3d, stride, padding, groups",
        conv(3, 2, 4, (1, 2, 3), stride=(1, 2, 1), padding=(0, 1, 1), groups=2, bias=False),
        (2, 2, 3, 3),
    ),
    Case(
        "conv2d, reflect",
        conv(2, 2, 3, 3, padding=(1, 2), padding_mode="reflect"),
        (2, 3, 4),
    ),
    Case(
        "conv2d, replicate",
        conv(2, 2, 3, 3, padding=1, padding_mode="replicate"),
        (2, 3, 3),
    ),
    Case(
        "conv2d, circular",
        conv(2, 1, 3, 3, padding=1, padding_mode="circular", stride=2),
        (1, 4, 4),
    ),
    Case(
        "conv1d, circular",
        conv(1, 2, 3, 3, padding=2, padding_mode="circular"),
        (2, 4),
    ),
    Case(
        "conv2d after a reflection apart", lambda: nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(2, 2, 3)), IMAGE
    ),
    Case(
        "conv2d, padded, after a replication and a zero padding apart",
        lambda: nn.Sequential(nn.ReplicationPad2d((1, 0, 0, 1)), nn.ZeroPad2d(1), nn.Conv2d(1, 2, 2, padding=1)),
        (1, 2, 3),
    ),
    # transposed convolution
    Case("conv_transpose1d", deconv(1, 2, 3, 3), (2, 4), "transposed"),
    Case("conv_transpose1d, gaps", deconv(1, 2, 3, 2, stride=3, output_padding=1), (2, 3), "transposed"),
    Case("conv_transpose2d", deconv(2, 2, 3, 3, stride=2, padding=1, output_padding=1), (2, 2, 3), "transposed"),
    Case(
        "conv_transpose2d, groups, dilation",
        deconv(2, 4, 6, 2, stride=(1, 2), dilation=(2, 1), groups=2, padding=(1, 0)),
        (4, 3, 2),
        "transposed",
    ),
    Case("conv_transpose2d without bias", deconv(2, 2, 3, (2, 3), bias=False), (2, 2, 2), "transposed"),
    Case("conv_transpose3d", deconv(3, 1, 2, (1, 2, 2), stride=(2, 1, 1)), (1, 2, 2, 1), "transposed"),
    # pooling by the mean, and sums
    Case("avg_pool1d", call(F.avg_pool1d, kernel_size=3, stride=2, padding=1), (2, 6), "pooled"),
    Case("avg_pool2d", call(F.avg_pool2d, kernel_size=2), IMAGE, "pooled"),
    Case(
        "avg_pool2d, ceil_mode, padding counted",
        call(F.avg_pool2d, kernel_size=3, stride=2, padding=1, ceil_mode=True),
        IMAGE,
        "pooled",
    ),
    Case(
        "avg_pool2d, ceil_mode, padding not counted",
        call(F.avg_pool2d, kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
        IMAGE,
        "pooled",
    ),
    Case(
        "avg_pool2d, uneven, divisor",
        call(F.avg_pool2d, kernel_size=(2, 3), stride=(1, 2), padding=(1, 0), divisor_override=5),
        IMAGE,
        "pooled",
    ),
    Case("avg_pool3d", call(F.avg_pool3d, kernel_size=2, stride=1), (1, 3, 2, 3), "pooled"),
    Case("adaptive_avg_pool1d, not dividing", call(F.adaptive_avg_pool1d, output_size=3), (2, 7), "pooled"),
    Case("adaptive_avg_pool2d, not dividing", call(F.adaptive_avg_pool2d, output_size=(3, 2)), IMAGE, "pooled"),
    Case("adaptive_avg_pool2d, growing", call(F.adaptive_avg_pool2d, output_size=(5, 3)), (1, 3, 2), "pooled"),
    Case("adaptive_avg_pool2d, global", call(F.adaptive_avg_pool2d, output_size=1), IMAGE, "pooled"),
    Case("adaptive_avg_pool2d, one axis", call(F.adaptive_avg_pool2d, output_size=(None, 2)), IMAGE, "pooled"),
    Case("adaptive_avg_pool3d", call(F.adaptive_avg_pool3d, output_size=(1, 2, 2)), (1, 2, 3, 2), "pooled"),
    Case("mean over space", call(torch.mean, dim=(2, 3)), IMAGE, "pooled"),
    Case("mean over channels, kept", call(torch.mean, dim=1, keepdim=True), IMAGE, "pooled"),
    Case("mean over tokens", call(torch.mean, dim=1), (4, 3), "pooled"),
    Case("mean over the last dimension", call(torch.mean, dim=-1), IMAGE, "pooled"),
    Case("sum over space", call(torch.sum, dim=(-2, -1)), IMAGE, "pooled"),
    Case("sum over two dimensions that are apart", call(torch.sum, dim=(1, 3)), IMAGE, "pooled"),
    # sums of tensors
    Case("add", halves(lambda a, b: a + b), (4, 2, 3), "sum"),
    Case("add with alpha", halves(lambda a, b: torch.add(a, b, alpha=-2)), (4, 2, 3), "sum"),
    Case("add with alpha 0.5", halves(lambda a, b: torch.add(a, b, alpha=0.5)), (4, 2, 3), "sum"),
    Case("sub", halves(lambda a, b: a - b), (4, 2, 3), "sum"),
    Case("sub with alpha", halves(lambda a, b: torch.sub(a, b, alpha=2)), (4, 2, 3), "sum"),
    Case("rsub with alpha", halves(lambda a, b: torch.rsub(a, b, alpha=0.5)), (4, 2, 3), "sum", swapped),
    Case("in-place add", halves(lambda a, b: a.clone().add_(b)), (4, 2, 3), "sum"),
    Case("broadcasting add", call(broadcast), (10,), "sum"),
    Case("sub, broadcasting both ways", call(outer), (7,), "sum"),
    Case("fold, overlapping", call(F.fold, output_size=(4, 5), kernel_size=3, padding=1), (18, 20), "pooled"),
    Case(
        "fold, stride, dilation",
        call(F.fold, output_size=(5, 4), kernel_size=(2, 1), stride=(1, 2), dilation=2),
        (4, 6),
        "pooled",
    ),
    # resizing
    Case("interpolate, linear", resized("linear", size=5), (2, 3), "sum"),
    Case("interpolate, bilinear, to a size", resized("bilinear", size=(3, 7)), IMAGE, "sum"),
    Case("interpolate, bilinear, by a factor", resized("bilinear", scale_factor=1.7), IMAGE, "sum"),
    Case(
        "interpolate, bilinear, by a factor computed again",
        resized("bilinear", scale_factor=1.7, recompute_scale_factor=True),
        IMAGE,
        "sum",
    ),
    Case("interpolate, bilinear, corners", resized("bilinear", size=(8, 4), align_corners=True), IMAGE, "sum"),
    Case("interpolate, bilinear, smoothed", resized("bilinear", size=(2, 3), antialias=True), IMAGE, "sum"),
    Case("interpolate, trilinear", resized("trilinear", scale_factor=2), (1, 2, 1, 3), "sum"),
    Case("interpolate, bicubic", resized("bicubic", size=(6, 3)), IMAGE, "sum"),
    Case("interpolate, bicubic, smoothed", resized("bicubic", size=(3, 2), antialias=True), IMAGE, "sum"),
    # products of matrices
    Case("matmul by a matrix", partial(Weigh, 4, 3), (2, 3, 4), "transposed"),
    Case("matmul by a vector", partial(Weigh, 4), (3, 4), "transposed"),
    Case(
        "matmul of a matrix and tokens",
        partial(Weigh, 5, 3, left=True),
        (2, 3, 4),
        sources=lambda ids: ids.swapaxes(1, 2),
        turned=swap(2, 5, 4),
    ),
    Case(
        "matmul of matrices for each head",
        partial(Weigh, 2, 5, 3, left=True, parameter=False),
        (2, 3, 4),
        "sum",
    ),
    Case(
        "matmul by matrices for each head",
        partial(Weigh, 2, 3, 2, parameter=False),
        (2, 4, 3),
        "sum",
        lambda ids: ids.swapaxes(1, 2),
        swap(2, 4, 2),
    ),
    Case(
        "attention and values",
        product(lambda a, v: a @ v, (2, 3, 4), (2, 4, 3)),
        (48,),
        "product",
        behind(2, 3, 4),
    ),
    Case(
        "attention and values shared by heads",
        product(lambda a, v: a @ v[:, None], (3, 2, 4), (4, 2)),
        (32,),
        "product",
        behind(3, 2, 4),
    ),
    Case(
        "values and attention",
        product(lambda v, a: v @ a.relu().transpose(1, 2), (3, 4), (2, 4)),
        (20,),
        "product",
        lambda ids: ids[:12].reshape(3, 4).T,
        turned=swap(3, 2),
    ),
    Case(
        "attention and values, einsum",
        product(lambda a, v: torch.einsum("bhij,bjhd->bihd", a, v), (2, 3, 4), (4, 2, 3)),
        (48,),
        "product",
        lambda ids: ids[24:].reshape(4, 2, 3).swapaxes(0, 1),
        lambda ids: ids.reshape(3, 2, 3).swapaxes(0, 1),
    ),
    Case("attention and values, bmm", product(torch.bmm, (2, 3), (3, 2)), (12,), "product", behind(2, 3)),
    Case("attention and values, scaled", product(scaled, (2, 3), (3, 2)), (12,), "product", behind(2, 3)),
    # the largest input
    Case("max_pool1d", call(F.max_pool1d, kernel_size=2, stride=1), (2, 6), "max"),
    Case("max_pool2d", call(F.max_pool2d, kernel_size=2), IMAGE, "max"),
    Case("max_pool2d, overlapping, padded", call(F.max_pool2d, kernel_size=3, stride=2, padding=1), IMAGE, "max"),
    Case("max_pool2d, ceil_mode", call(F.max_pool2d, kernel_size=2, stride=2, ceil_mode=True), (2, 5, 3), "max"),
    Case(
        "max_pool2d, dilated, uneven",
        call(F.max_pool2d, kernel_size=(2, 3), stride=(1, 2), padding=(1, 1), dilation=(2, 1)),
        IMAGE,
        "max",
    ),
    Case(
        "max_pool2d, padded, ceil_mode",
        call(F.max_pool2d, kernel_size=3, stride=2, padding=1, ceil_mode=True),
        (1, 4, 4),
        "max",
    ),
    Case(
        "max_pool2d after a padding by minus infinity",
        lambda: Padded((1, 0, 0, 2), Call(F.max_pool2d, kernel_size=3, stride=2), value=-torch.inf),
        IMAGE,
        "max",
    ),
    Case("max_pool3d", call(F.max_pool3d, kernel_size=2, stride=1), (1, 2, 3, 3), "max"),
    Case("adaptive_max_pool1d", call(F.adaptive_max_pool1d, output_size=3), (2, 5), "max"),
    Case("adaptive_max_pool2d", call(F.adaptive_max_pool2d, output_size=(3, 2)), IMAGE, "max"),
    Case("adaptive_max_pool3d", call(F.adaptive_max_pool3d, output_size=(1, 2, 2)), (1, 2, 3, 3), "max"),
    Case("amax over two dimensions", call(torch.amax, dim=(1, 3)), IMAGE, "max"),
    Case("max over a dimension, kept", call(lambda x: x.max(2, keepdim=True).values), IMAGE, "max"),
    Case("maximum of tensors", halves(torch.maximum), (4, 2, 3), "max"),
    Case("AdaptiveMaxPool2d, a module", partial(nn.AdaptiveMaxPool2d, 2), (1, 3, 5), "max"),
)


def options_of(preset: str, theta: float) -> Options:
    from effpath.kernels.options import make_options

    return make_options(preset, theta=theta)
