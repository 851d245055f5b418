"""The classes whose paths are closest to that of an image: what it probably was, where an attack changed it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from effpath.class_paths.class_paths import ClassPaths
from effpath.detect.features import Features
from effpath.paths.batch import Paths
from effpath.views.explanation import ClosestClasses

ASKED = 20  # classes that are compared where there are no use counts, those with the highest logits
KEPT = 5  # classes in a ranking


def closest_classes(features: Features, row: int, class_paths: ClassPaths, path: Paths) -> ClosestClasses | None:
    """Return the classes whose paths are closest to the rank-1 path of an image.

    By the likelihood, where the features hold it. Otherwise by the mean share of the path, over the layers, that
    lies in the class path; without the last layer, which tells what the network predicts and nothing else. None
    where there is no other.

    Args:
        features: of several images.
        row: the image.
        class_paths: of the same network.
        path: of this image alone, over the layers of the class paths.
    """
    if features.likelihood is not None:
        return _ranked("likelihood", features.likelihood_classes, _means(features.likelihood[row]))
    layers = path.header.layers[:-1]
    order = np.argsort(-features.logits[row], kind="stable").tolist()
    labels = [label for label in order if label in class_paths][:ASKED]
    sets = path[0].synapses
    shares = np.full((len(layers), len(labels)), np.nan)
    for at, layer in enumerate(layers):
        own = sets[layer.name]
        for column, label in enumerate(labels):
            if len(own):
                members = class_paths[label].synapses[layer.name]
                shares[at, column] = own.intersection_size(members) / len(own)
    if not shares.size or np.isnan(shares).all():
        return None
    return _ranked("similarity", labels, _means(shares))


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each class over the layers, [classes], of values [layers, classes], without NaN."""
    known = ~np.isnan(values).any(1)
    return values[known].mean(0) if known.any() else np.zeros(values.shape[1])


def _ranked(measure: str, labels: list[int] | tuple[int, ...], values: NDArray[np.float64]) -> ClosestClasses:
    order = np.argsort(-values, kind="stable")[:KEPT]
    ranking = tuple((int(labels[place]), float(values[place])) for place in order)
    return ClosestClasses(measure, ranking, len(labels))
