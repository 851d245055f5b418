"""Is the pixel path faithful? Pixels are removed and shown in the order of an attribution, beside other methods.

    python studies/attributions.py --case lenet_digits --output docs/results/attributions/lenet_digits.json
    python studies/attributions.py --plot docs/results/attributions/*.json --output docs/pictures/faithfulness.svg

*Deletion*: the pixels of an image take the neutral colour, those of the highest attribution first. *Insertion*: a
blurred image gets its pixels back in that order. After each of 25 equal steps the softmax probability of the class
that the network predicts for the image is taken; the area under this curve (AUC) is small for a faithful map in
the first case and large in the second (Petsiuk et al. 2018). Signs count: what speaks against the class goes last.
Ties, such as all that lies off the path, are in random order. Means are over images, with 95 % intervals of a
bootstrap over images; differences are paired.

Single pixels that are removed from a photograph make noise that no photograph has, so that photographs lose
squares of 8 × 8 pixels at a time, those of the highest mean attribution first. Of five images the maps are kept,
in these squares; the pictures only of digits that come with scikit-learn.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from attribution.faithful import (
    KINDS,
    area,
    blurred,
    changed,
    judged,
    means_in_cells,
    probabilities,
    removal_order,
)
from attribution.methods import EPSILON, GAMMA, METHODS, STEPS, TOGETHER, Method, Subject
from attribution.views import as_text, draw
from detection.cases import CASES, Case
from detection.judge import interval, row_draws, share
from detection.making import open_case
from effpath.errors import OptionError
from effpath.files.progress import track
from effpath.models.predict import output_names
from sources import Row, run_study

PARTS = 25  # steps of a curve
SHOWN = 5  # images whose maps are kept
_IMAGENET = (0.485, 0.456, 0.406)
_RESNET18 = Case("imagefolder:$EFFPATH_DATA/imagenette", "$EFFPATH_DATA/load.py:resnet18_imagenette", {})


@dataclass(frozen=True)
class Network:
    """A network whose attributions are judged.

    Attributes:
        case: its model and data.
        layer: of Grad-CAM.
        neutral: the colour of an image without content: what the network's preprocessing makes 0.
        images: test images, as many of each class.
        cells: sides of the squares of pixels that go together, in pixels.
        maps: whether five maps are kept, in the largest squares.
        pictures: whether the images are kept too.
    """

    case: Case
    layer: str
    neutral: Sequence[float]
    images: int
    cells: Sequence[int] = (1,)
    maps: bool = True
    pictures: bool = False


NETWORKS: Mapping[str, Network] = {
    "lenet_digits": Network(CASES["lenet_digits"], "relu2", (0.0,), 100, pictures=True),
    "lenet_mnist": Network(CASES["lenet_mnist"], "relu2", (0.0,), 100, maps=False),
    "resnet18_imagenette": Network(_RESNET18, "net.layer4", _IMAGENET, 50, (8,)),
    "alexnet_imagenette": Network(CASES["alexnet_imagenette"], "net.relu5", _IMAGENET, 50, (8,)),
}


@dataclass(frozen=True, eq=False)
class Opened:
    """A network with the images that are explained.

    Attributes:
        subject: the network.
        pixels: float32 [N, C, H, W].
        labels, classes: int64 [N], true and predicted.
        names: of the classes.
        data: what the images are.
    """

    subject: Subject
    pixels: Tensor
    labels: Tensor
    classes: Tensor
    names: Sequence[str]
    data: str

    def take(self, rows: Sequence[int]) -> Opened:
        """Return some of the images."""
        at = torch.tensor(rows)
        return replace(self, pixels=self.pixels[at], labels=self.labels[at], classes=self.classes[at])

    @property
    def titles(self) -> list[str]:
        """The class of each image, and what it is taken for where that is another."""
        found = []
        for label, predicted in zip(self.labels.tolist(), self.classes.tolist(), strict=True):
            own, other = (self.names[each] or str(each) for each in (label, predicted))
            found.append(own if label == predicted else f"{own},\ntaken for {other}")
        return found

    def maps(self, method: Method) -> Tensor:
        """Return a method's map of each image, float64 [N, H, W], the channels together."""
        found = []
        for start in range(0, len(self.pixels), TOGETHER):
            rows = slice(start, start + TOGETHER)
            found.append(method(self.subject, self.pixels[rows], self.classes[rows]).detach().double().sum(1))
        return torch.cat(found)


def opened(network: Network, images: int | None = None) -> Opened:
    """Open a network and the first test images of each class."""
    model, data = open_case(network.case, 0)
    each = max(1, (images or network.images) // len(data.classes))
    chosen = data.part("test", "val").first_of_each_class(each)
    pixels = chosen.images[:]
    neutral = torch.tensor(network.neutral).view(1, -1, 1, 1)
    subject = Subject.of(model, pixels, network.layer, neutral)
    names = output_names(model, subject.graph.classes, data.classes)
    return Opened(subject, pixels, chosen.labels, subject.graph.predict(pixels), names, data.name)


def shown_rows(labels: Tensor, count: int = SHOWN) -> list[int]:
    """Return the first image of each of some classes, evenly spread."""
    classes = sorted(set(labels.tolist()))
    places = np.linspace(0, len(classes) - 1, min(count, len(classes))).round().astype(int)
    return [labels.tolist().index(classes[place]) for place in places]


def measure(
    case: str, images: int | None = None, parts: int = PARTS, methods: Mapping[str, Method] = METHODS
) -> Row:
    """Measure a network of `NETWORKS`, on so many images, in so many steps."""
    if case not in NETWORKS:
        raise OptionError(f"unknown case {case!r}; expected one of: {', '.join(NETWORKS)}")
    network = NETWORKS[case]
    asked = opened(network, images)
    pixels, classes, count = asked.pixels, asked.classes, len(asked.pixels)
    maps, seconds = {}, {}
    for name, method in methods.items():
        with track(f"{name}, {count} images"):
            method(asked.subject, pixels[:1], classes[:1])  # what is made once is not timed
            start = time.process_time()
            maps[name] = asked.maps(method)
            seconds[name] = round((time.process_time() - start) / count, 4)
    neutral = asked.subject.neutral.expand_as(pixels)
    soft, sigma = blurred(pixels)
    draws, model = row_draws(np.arange(count), count), asked.subject.model
    starts = {"image": pixels, "neutral": neutral, "blurred": soft}
    table = {
        "data": asked.data,
        "images": count,
        "accuracy": round(float((classes == asked.labels).double().mean()), 4),
        "settings": {
            "parts": parts, "neutral": list(network.neutral), "blur": round(sigma, 3), "integral_steps": STEPS,
            "gamma": GAMMA, "epsilon": EPSILON,
        },
        "probability": {
            name: interval(share(probabilities(model, shown, classes), draws)) for name, shown in starts.items()
        },
        "seconds_per_image": seconds,
        "cells": {str(side): removed(asked, maps, side, soft, parts) for side in network.cells},
    }  # fmt: skip
    return {**table, "shown": kept_maps(asked, maps, network)} if network.maps else table


def removed(asked: Opened, maps: Mapping[str, Tensor], side: int, soft: Tensor, parts: int) -> Row:
    """Return the curves of every method and their areas, with squares of ``side`` pixels that go together.

    Args:
        asked: the network and the images.
        maps: by method, [N, H, W].
        side: of the squares.
        soft: the blurred images.
        parts: steps of a curve.
    """
    orders = {name: removal_order(found, side) for name, found in maps.items()}
    neutral = asked.subject.neutral.expand_as(asked.pixels)
    ends = {"deletion": (asked.pixels, neutral), "insertion": (soft, asked.pixels)}
    found: Row = {}
    for kind in KINDS:
        drawn = {}
        with track(f"{kind}, squares of {side}") as progress:
            for name, order in orders.items():
                drawn[name] = changed(asked.subject.model, asked.classes, order, *ends[kind], parts)
                progress(len(drawn), len(orders))
        found[kind] = {
            **judged({name: area(curve) for name, curve in drawn.items()}, kind),
            "curves": {name: curve.mean(0).round(4).tolist() for name, curve in drawn.items()},
        }
    return found


def kept_maps(asked: Opened, maps: Mapping[str, Tensor], network: Network) -> Row:
    """Return five maps of each method as text: whole numbers, row by row, 99 the largest of the map."""
    rows, side = shown_rows(asked.labels), network.cells[-1]
    shape = [math.ceil(length / side) for length in asked.pixels.shape[2:]]
    found: Row = {"titles": asked.take(rows).titles, "shape": shape, "side": side}
    if network.pictures:
        found["pictures"] = [as_text(asked.pixels[row].mean(0).flatten()) for row in rows]
    found["maps"] = {}
    for name, made in maps.items():
        found["maps"][name] = [as_text(cells) for cells in means_in_cells(made[rows], side)]
    return found


OPTIONS: dict[str, Row] = {
    "case": {"default": "lenet_digits", "help": f"one of {', '.join(NETWORKS)}"},
    "images": {"type": int, "help": "test images; the network's own number if not given"},
    "parts": {"type": int, "help": f"steps of a curve; {PARTS}"},
}


if __name__ == "__main__":
    run_study(__doc__, OPTIONS, measure, draw)
