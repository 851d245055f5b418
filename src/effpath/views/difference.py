"""Where the paths of two images part, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from effpath.errors import InputError
from effpath.graph.graph import Graph
from effpath.kernels.options import Options, make_options
from effpath.paths.path import Path
from effpath.rules.plan import Layer, plan_for
from effpath.views.channels import by_channel
from effpath.views.page.words import title_of
from effpath.views.pixels import Pixels, pixel_maps
from effpath.walk.recording import record
from effpath.walk.visit import paths_of


@dataclass(frozen=True)
class Shares:
    """Elements of two sets.

    Attributes:
        both: in both.
        first, second: in one of them only.
    """

    both: int
    first: int
    second: int

    @property
    def jaccard(self) -> float:
        """The share of the elements that are in both; NaN where there are none."""
        either = self.both + self.first + self.second
        return self.both / either if either else float("nan")


@dataclass(frozen=True)
class LayerDifference:
    """What two paths share of a layer.

    Attributes:
        layer: its name.
        synapses, neurons: how many are in both paths, and in one only.
        first_channels, second_channels: output channels that only one of the paths uses, those with most of its
            synapses first.
    """

    layer: str
    synapses: Shares
    neurons: Shares
    first_channels: tuple[int, ...]
    second_channels: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Difference:
    """Two images and their paths.

    Attributes:
        names: of the images.
        images: float32 [C, H, W] each.
        labels: the classes that the paths start from.
        predicted: the classes that the network predicts.
        layers: in forward order.
        pixels: float32 [C, H, W] each, how many synapses of the path read each element.
        classes: names of the classes.
    """

    names: tuple[str, str]
    images: tuple[Pixels, Pixels]
    labels: tuple[int, int]
    predicted: tuple[int, int]
    layers: tuple[LayerDifference, ...]
    pixels: tuple[Pixels, Pixels]
    classes: Sequence[str]

    def title(self, label: int) -> str:
        """Return the number of a class, with its name where it has one."""
        return title_of(label, self.classes)

    @property
    def most_shared(self) -> LayerDifference:
        """The layer of which the paths share the greatest part of the synapses."""
        return max(self.layers, key=lambda layer: _known(layer.synapses.jaccard, 0.0))

    @property
    def least_shared(self) -> LayerDifference:
        """The layer of which the paths share the smallest part of the synapses."""
        return min(self.layers, key=lambda layer: _known(layer.synapses.jaccard, 1.0))

    @property
    def total(self) -> Shares:
        """The synapses of all layers together."""
        every = [layer.synapses for layer in self.layers]
        return Shares(*(sum(getattr(one, name) for one in every) for name in ("both", "first", "second")))

    @property
    def pixel_shares(self) -> Shares:
        """The elements of the images that are on the paths."""
        one, two = (pixels > 0 for pixels in self.pixels)
        return Shares(int((one & two).sum()), int((one & ~two).sum()), int((two & ~one).sum()))

    def to_dict(self) -> dict[str, Any]:
        """Return the values, without pixels, for JSON."""
        return {
            "images": list(self.names),
            "classes": list(self.labels),
            "predicted": list(self.predicted),
            "jaccard": self.total.jaccard,
            "pixels": {"jaccard": self.pixel_shares.jaccard, **asdict(self.pixel_shares)},
            "layers": [
                {
                    "layer": layer.layer,
                    "synapses": {"jaccard": layer.synapses.jaccard, **asdict(layer.synapses)},
                    "neurons": {"jaccard": layer.neurons.jaccard, **asdict(layer.neurons)},
                    "first_channels": list(layer.first_channels),
                    "second_channels": list(layer.second_channels),
                }
                for layer in self.layers
            ],
        }


def difference(
    graph: Graph,
    images: Tensor,
    *,
    start: int | None = None,
    layers: int | str | Sequence[str] | None = None,
    preset: str | Options = "default",
    theta: float | None = None,
    names: tuple[str, str] = ("first image", "second image"),
    classes: Sequence[str] = (),
) -> Difference:
    """Return where the paths of two images part.

    Args:
        graph: of the network, from `capture`.
        images: [2, C, H, W].
        start: the class that both paths start from; each image's predicted class if not given.
        layers: that are compared, as in `extract`.
        preset, theta: of the extraction.
        names: of the images.
        classes: names of the classes.

    Raises:
        InputError: another number of images, or bad ones.
        OptionError: an option outside its range.
    """
    if len(images) != 2:
        raise InputError(f"expected two images to compare, got {len(images)}")
    options = make_options(preset, theta=theta)
    kept = [layer for layer in plan_for(graph, gates=options.gates).choose_layers(layers) if layer.parameter]
    pixels = graph.check_images(images)
    found, maps, labels, predicted = [], [], [], []
    for row in (0, 1):
        recorded = record(graph, pixels[row : row + 1], options=options)
        predicted.append(int(recorded.ranked(1)[0]))
        labels.append(predicted[-1] if start is None else start)
        paths = paths_of(recorded, classes=[labels[-1]])
        found.append(paths[0])
        maps.append(pixel_maps(recorded, paths)[0])
    return Difference(
        names,
        (_array(pixels[0]), _array(pixels[1])),
        (labels[0], labels[1]),
        (predicted[0], predicted[1]),
        tuple(_compared(layer, found[0], found[1]) for layer in kept),
        (maps[0], maps[1]),
        classes,
    )


def _array(image: Tensor) -> Pixels:
    array: Pixels = image.float().cpu().numpy()
    return array


def _known(value: float, otherwise: float) -> float:
    return otherwise if np.isnan(value) else value


def _compared(layer: Layer, one: Path, two: Path) -> LayerDifference:
    shares = []
    for level in ("synapses", "neurons"):
        first, second = one.sets(level)[layer.name], two.sets(level)[layer.name]
        both = first.intersection_size(second)
        shares.append(Shares(both, len(first) - both, len(second) - both))
    counts = [by_channel(layer, path.synapses[layer.name].ids) for path in (one, two)]
    return LayerDifference(
        layer.name, shares[0], shares[1], _alone(counts[0], counts[1]), _alone(counts[1], counts[0])
    )


def _alone(own: NDArray[np.int64], other: NDArray[np.int64]) -> tuple[int, ...]:
    """Return the channels that one path uses and the other does not, those with most synapses first."""
    alone = np.flatnonzero((own > 0) & (other == 0))
    return tuple(alone[np.argsort(-own[alone], kind="stable")].tolist())
