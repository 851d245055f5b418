"""Neighbours in path space: do the paths of clean images of the class run through the same channels?"""

from __future__ import annotations

import numpy as np
import torch

from effpath.detect.signs.evidence import Evidence
from effpath.detect.signs.sign import FloatArray, Sign, layer_mean

SAME = 1e-6  # two images that differ by less are one


class Neighbours(Sign):
    """The distance of an image's path from the nearest paths of clean images of the predicted class.

    A path is described by the share of its neurons in each channel, early layer by early layer; two paths are as
    near as these shares overlap, Σ √(p q), as a mean over the layers. Of the `count` nearest the mean is taken.
    """

    name = "neighbours"
    says = ("far from the paths of clean images",)
    walks = 1
    needs = frozenset({"neighbours"})

    def __init__(self, count: int = 5) -> None:
        """Look at so many neighbours."""
        self.count = count

    def columns(self, seen: Evidence) -> FloatArray:
        """Measure the distance, in 0 … 1, [B, 1]; NaN where no clean image was predicted as the class."""
        reference, shares = seen.known(), channel_shares(seen)
        found = np.full(len(seen), np.nan)
        for label in np.unique(seen.predicted).tolist():
            rows = np.flatnonzero(seen.predicted == label)
            others = reference.shares[reference.labels == label].astype(np.float64)
            if not len(others):
                continue
            overlap = shares[rows] @ others.T  # [rows, others]
            if seen.left_out:
                overlap[overlap > 1 - SAME] = np.nan
            nearest = -np.sort(-overlap, axis=1)[:, : self.count]  # NaN last
            found[rows] = 1 - layer_mean(nearest)
        return found[:, None]


def channel_shares(seen: Evidence) -> FloatArray:
    """Return the root of the share of the path's neurons in each channel of the early layers, [B, channels].

    Rows have length 1, so that products of rows are overlaps; a row without any neuron is 0.
    """
    parts = []
    for layer in seen.walked.header.layers:
        if layer.name not in seen.early:
            continue
        rows, window = seen.paths.neurons[layer.name], layer.window
        channel = window.locate(torch.from_numpy(rows.values))[0].numpy()
        image = np.repeat(np.arange(len(seen)), rows.lengths)
        counts = np.bincount(image * window.channels + channel, minlength=len(seen) * window.channels)
        counts = counts.reshape(len(seen), window.channels)
        parts.append(np.sqrt(counts / np.maximum(counts.sum(1, keepdims=True), 1)))
    whole = np.concatenate(parts, axis=1) if parts else np.zeros((len(seen), 0))
    roots: FloatArray = whole / np.maximum(np.sqrt((whole**2).sum(1, keepdims=True)), 1e-12)
    return roots
