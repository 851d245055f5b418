"""PID, the prediction inconsistency detector: does another network believe the answer? (Han et al., 2025)"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from effpath.attacks.methods import doubt
from effpath.data import Part
from effpath.errors import InputError
from effpath.graph import Graph
from effpath.graph.precision import FullFloat32
from effpath.models import load_model
from rivals.activations import Floats, as_array, logits
from small_resnet import SmallResNet
from training import Recipe, seeded
from training import train as train_network

LARGEST = 64  # pixels per side: an auxiliary network is trained on images up to this size
BELIEVED = 0.5  # share of images that an auxiliary network must get right
AUXILIARIES: Mapping[tuple[tuple[int, ...], int], Sequence[str]] = {
    # by images and classes: networks of another training or another architecture, the first of them that fits
    ((1, 28, 28), 10): ("robust:lenet_mnist",),
    ((3, 32, 32), 10): ("robust:resnet20_cifar10", "$EFFPATH_DATA/load.py:cifar10_resnet56"),
    ((3, 224, 224), 10): ("$EFFPATH_DATA/load.py:resnet18_imagenette",),
    ((3, 227, 227), 10): ("$EFFPATH_DATA/load.py:resnet18_imagenette",),
}


@dataclass(frozen=True, eq=False)
class Inconsistency:
    """Suspicion [N]: the log odds, by an auxiliary network, against the class that the network predicts.

    They rank images as the auxiliary's probability of that class does, low ones first, and do not saturate: the
    paper's idea for a network that gives its class alone. Written after the abstract and public summaries of the
    paper (arXiv 2506.03765), not after its code. Its auxiliary networks differ in training or architecture and
    know the whole data set. Here they are those that are there (`AUXILIARIES`): the LeNet-5 and the ResNet-20 of
    `studies/robust.py`, which withstand PGD, and ResNet-18 for photographs. The robust ResNet-20 gets 65 % of
    CIFAR-10 right, so PID has false alarms there that one of the paper's has not; on 185 images it still had .87
    on PGD of 8/255, where a plain ResNet-56 had .66 (.88 and .90 at 4/255). For other small images a small network
    is trained on nine tenths of the images given. One that gets less than half of the others right is of no use,
    and PID is left out. One forward pass of the other network.
    """

    graph: Graph
    auxiliary: nn.Module

    @classmethod
    def fit(
        cls, graph: Graph, images: Tensor, labels: Tensor, *, seed: int = 0, steps: int = 300
    ) -> Inconsistency:
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(images)))
        held_out, learned = order[: max(2, len(images) // 10)], order[max(2, len(images) // 10) :]
        own = logits(graph, images[held_out])
        found = []
        for network in candidates(graph, Part(images[learned], labels[learned]), seed, steps):
            auxiliary = network.to(graph.device).eval()
            said = answers(auxiliary, images[held_out], graph)
            found.append(float((said.argmax(1) == labels[held_out]).double().mean()))
            if found[-1] >= BELIEVED and not np.allclose(as_array(said), own, 1e-3, 1e-3):
                return cls(graph, auxiliary)
        raise InputError(
            f"PID needs another network for images {graph.input_shape} of {graph.classes} classes that gets at "
            f"least {BELIEVED:.0%} of them right; got {[f'{share:.0%}' for share in found] or 'none'}"
        )

    def measure(self, images: Tensor) -> Floats:
        predicted = torch.from_numpy(logits(self.graph, images).argmax(1))
        return as_array(doubt(answers(self.auxiliary, images, self.graph).double(), predicted))


def candidates(graph: Graph, part: Part, seed: int, steps: int) -> Iterator[nn.Module]:
    """Yield networks for the images of this one: those of `AUXILIARIES`, then one trained on these images."""
    for spec in AUXILIARIES.get((graph.input_shape, graph.classes), ()):
        if "$" not in os.path.expandvars(spec):
            yield load_model(os.path.expandvars(spec))
    if max(graph.input_shape[1:]) <= LARGEST:
        yield trained(part, graph, seed, steps)


def trained(part: Part, graph: Graph, seed: int, steps: int) -> nn.Module:
    """Train a residual network of eight layers, for so many steps or 15 epochs, whichever is more."""
    network = seeded(lambda: SmallResNet(graph.classes, graph.input_shape[0], blocks=1), seed).to(graph.device)
    recipe = Recipe(seed=seed, vary=False)
    epochs = max(recipe.epochs, -(-steps // max(1, len(part) // recipe.batch_size)))
    with torch.enable_grad():
        train_network(network, part, Recipe(epochs=epochs, seed=seed, vary=False))
    return network


@torch.no_grad()
def answers(network: nn.Module, images: Tensor, graph: Graph) -> Tensor:
    """Return a network's logits [N, classes] of images on any device; the network is where the graph is."""
    with FullFloat32():
        return torch.cat([network(batch.to(graph.device)).cpu() for batch in images.split(128)])
