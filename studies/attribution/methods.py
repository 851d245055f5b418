"""Attributions to pixels: the pixel path, and the methods that `attributions` sets it beside.

Each method is called with a `Subject`, images [N, C, H, W] and a class for each, and returns [N, C or 1, H, W]:
what speaks for the class, and, where the method has signs, what speaks against it. Integrated Gradients and
Grad-CAM are Captum's. Relevance is written here, on the captured graph: Captum's LRP hands the whole relevance of
an addition that is written `+` to each operand, and refuses modules that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

import effpath
from effpath import Graph
from effpath.captum import EffectivePath
from effpath.graph.node import Node

STEPS = 50  # of the integral of Integrated Gradients
TOGETHER = 10  # images explained together
GAMMA, EPSILON = 0.25, 1e-6  # of relevance: γ of convolutions, and what keeps it from dividing by 0
CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")


@dataclass(frozen=True, eq=False)
class Subject:
    """A network whose outputs are explained.

    Attributes:
        model: in eval mode.
        graph: what it computes, batch norms folded.
        layer: the module whose channels Grad-CAM weighs: the last that has places.
        neutral: float32 [1, C, 1, 1], the colour of an image without content, which the network's own
            preprocessing makes 0.
        drawn: where random maps come from.
    """

    model: nn.Module
    graph: Graph
    layer: nn.Module
    neutral: Tensor
    drawn: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    @classmethod
    def of(cls, model: nn.Module, images: Tensor, layer: str, neutral: Tensor) -> Subject:
        """Capture a network; ``layer`` is the name of a module of it."""
        return cls(model, effpath.capture(model, images[:1]), model.get_submodule(layer), neutral)

    @cached_property
    def path(self) -> EffectivePath:
        return EffectivePath(self.model)


Method = Callable[[Subject, Tensor, Tensor], Tensor]


def effective_path(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """Return how many synapses of the path read each element."""
    return subject.path.attribute(images, classes)


def integrated_gradients(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """Return Integrated Gradients (Sundararajan et al. 2017) from the neutral image."""
    from captum.attr import IntegratedGradients

    return IntegratedGradients(subject.model).attribute(
        images, subject.neutral.expand_as(images), classes, n_steps=STEPS, internal_batch_size=len(images)
    )


def grad_cam(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """Return Grad-CAM (Selvaraju et al. 2017), scaled up to the images."""
    from captum.attr import LayerAttribution, LayerGradCam

    found = LayerGradCam(subject.model, subject.layer).attribute(images, classes, relu_attributions=True)
    return LayerAttribution.interpolate(found, tuple(images.shape[2:]), "bilinear")


def gradient_times_input(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """Return the gradient of the class's logit times what the image differs by from the neutral one."""
    pixels = images.detach().clone().requires_grad_()
    (slopes,) = torch.autograd.grad(_chosen(subject.model(pixels), classes), pixels)
    return slopes * (images - subject.neutral)


def layerwise_relevance(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """Return relevance of the γ rule in convolutions, and of the ε rule in linear layers and the first layer."""
    return relevance(subject.graph, images, classes, neutral=subject.neutral)


def random_map(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """Return random numbers: what every method has to beat."""
    return torch.rand(len(images), 1, *images.shape[2:], generator=subject.drawn)


METHODS: Mapping[str, Method] = {
    "effective path": effective_path,
    "integrated gradients": integrated_gradients,
    "LRP": layerwise_relevance,
    "Grad-CAM": grad_cam,
    "gradient × input": gradient_times_input,
    "random": random_map,
}


def relevance(
    graph: Graph,
    images: Tensor,
    classes: Tensor,
    *,
    neutral: Tensor | float = 0.0,
    gamma: float = GAMMA,
    epsilon: float = EPSILON,
) -> Tensor:
    """Return layer-wise relevance propagation (Bach et al. 2015; γ: Montavon et al. 2019), [N, C, H, W].

    The network is run with other gradients, so that gradient × input is the relevance: additions and average
    poolings divide it in proportion, a max pooling gives it to the largest, and a factor of a normalization
    (all that a power gives) is a constant.

    Args:
        graph: of the network.
        images: [N, C, H, W].
        classes: int64 [N], whose logits are divided among the pixels.
        neutral: the colour that has no relevance.
        gamma: how much contributions of the output's own sign count beyond the others, in convolutions behind
            the first layer.
        epsilon: what is added to a denominator, with its sign.
    """
    pixels = images.detach().clone().requires_grad_()
    values: dict[str, Any] = {graph.input: pixels}
    first = {graph.input}  # what no layer lies before

    def change(name: str, value: Any) -> Any:
        node = graph.by_name[name]
        if node.op in (*CONVOLUTIONS, "linear"):
            favour = gamma if node.op in CONVOLUTIONS and node["input"].name not in first else 0.0
            value = _divided(graph, node, values, value, favour, epsilon)
        elif node.op == "pow":
            value = value.detach()
        elif any(source in first for source in node.refs):
            first.add(name)
        values[name] = value
        return value

    with torch.enable_grad():
        logits = graph.run(pixels, change=change)[graph.logits]
        (slopes,) = torch.autograd.grad(_chosen(logits, classes), pixels)
    return slopes * (images - neutral)


def _divided(
    graph: Graph, node: Node, values: Mapping[str, Any], value: Tensor, gamma: float, epsilon: float
) -> Tensor:
    """Return a layer's value, unchanged, with gradients that divide it by the γ rule, the ε rule for γ = 0."""

    def grown(sign: float) -> Tensor:
        """Return the layer's value with the weights of one sign larger by γ."""

        def lookup(name: str) -> Any:
            if name not in graph.constants:
                return values[name]
            constant = graph.constants[name]
            return constant + gamma * sign * (sign * constant).clamp(min=0)

        return node.call(lookup)

    total = torch.where(value >= 0, grown(1.0), grown(-1.0)) if gamma else value
    bounded = total + epsilon * torch.where(total >= 0, 1.0, -1.0)
    return total * (value / bounded).detach()


def _chosen(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the sum of the logits of the classes."""
    return logits.gather(1, classes[:, None]).sum()
