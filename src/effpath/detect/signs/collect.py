"""Collect from clean images what signs compare an image with: forward sets by class, and paths by channel."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effpath.detect.signs.evidence import Evidence
from effpath.detect.signs.neighbours import channel_shares
from effpath.detect.signs.pixels import Collected
from effpath.detect.signs.reader import SignReader
from effpath.detect.signs.reference import Reference
from effpath.errors import InputError
from effpath.files.progress import Progress
from effpath.graph.graph import Graph
from effpath.graph.inputs import as_classes
from effpath.images import Images

NEIGHBOURS = 200  # images of a class whose paths are kept, the first ones
PIXELS = 500  # images of a class whose pixels are looked at, the first ones
MOST = np.iinfo(np.uint16).max  # images of a class that are counted


def collect(
    graph: Graph,
    reader: SignReader,
    images: Images,
    labels: Tensor | Sequence[int] | None = None,
    *,
    own: bool = False,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Reference:
    """Return what the signs of a profile compare images with: one forward pass, and a walk where one asks for it.

    Args:
        graph: of the network.
        reader: of the profile and the class paths.
        images: clean ones, [N, C, H, W], which may be read when indexed.
        labels: int [N]: images that the network gets wrong are passed over; None to take its word for all.
        own: whether the detector is fitted on these very images.
        batch_size: images together, see `recordings`.
        progress: called with images done and in total.

    Raises:
        InputError, NumericalError: bad images or labels; no image that the network gets right.
    """
    target = None if labels is None else as_classes(labels, len(images), graph.classes)
    profile = reader.profile
    counted, banks, collected = _Counts(), _Banks(), Collected(PIXELS)
    for rows, pixels, passes in reader.batches(
        graph, images, changed=False, batch_size=batch_size, progress=progress
    ):
        right = torch.ones(len(passes), dtype=torch.bool)
        if target is not None:
            right = passes.ranked(1).cpu() == target[rows]
        if not bool(right.any()):
            continue
        seen = reader.look(pixels[right], passes.select(right))
        counted.note(seen, wanted=profile.wants("forward sets"))
        if profile.wants("pixels"):
            collected.add(seen.pixels, seen.predicted)
        if profile.wants("neighbours"):
            chosen = banks.wanted(seen)
            if chosen.any():
                some = torch.from_numpy(chosen)
                banks.add(reader.look(seen.pixels[some], seen.passes.select(some)))
    classes = np.array(sorted(counted.images), np.int64)
    if not len(classes):
        raise InputError(
            f"expected clean images that the network gets right, to compare with, got none of {len(images)}; "
            "check that labels and preprocessing fit the model"
        )
    return Reference(classes, *counted.arrays(), *banks.arrays(), collected.pixels(), own)


class _Counts:
    """By class that was met: its images, and of how many each neuron is in the forward set."""

    def __init__(self) -> None:
        self.images: Counter[int] = Counter()
        self.counts: dict[int, dict[str, NDArray[np.uint16]]] = {}

    def note(self, seen: Evidence, *, wanted: bool) -> None:
        """Note the classes of a batch, and count its forward sets where they are wanted."""
        sets = seen.forward if wanted else {}
        for row, label in enumerate(seen.predicted.tolist()):
            if self.images[label] == MOST:
                continue
            self.images[label] += 1
            own = self.counts.setdefault(label, {})
            for name, bits in sets.items():
                marks = np.unpackbits(bits[row], bitorder="little", count=seen.sample.size(name))
                if name not in own:
                    own[name] = np.zeros(len(marks), np.uint16)
                own[name] += marks

    def arrays(self) -> tuple[NDArray[np.int64], dict[str, NDArray[np.uint16]]]:
        """Return images by class, ascending, [classes], and counts by layer, [classes, neurons]."""
        labels = sorted(self.images)
        names = list(self.counts[labels[0]]) if labels else []
        images = np.array([self.images[label] for label in labels], np.int64)
        return images, {name: np.stack([self.counts[label][name] for label in labels]) for name in names}


class _Banks:
    """The paths of the first images of each class, by their channels."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.found: defaultdict[str, list[NDArray[Any]]] = defaultdict(list)

    def wanted(self, seen: Evidence) -> NDArray[np.bool_]:
        """Tell of which images of a batch the path is to be kept, bool [B]."""
        chosen = np.zeros(len(seen), np.bool_)
        for row, label in enumerate(seen.predicted.tolist()):
            chosen[row] = self.counts[label] < NEIGHBOURS
            self.counts[label] += 1
        return chosen

    def add(self, seen: Evidence) -> None:
        """Keep the paths of a batch."""
        self.found["shares"].append(channel_shares(seen).astype(np.float32))
        self.found["labels"].append(seen.predicted)

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return shares and labels."""
        if not self.found:
            return np.zeros((0, 0), np.float32), np.zeros(0, np.int64)
        return np.concatenate(self.found["shares"]), np.concatenate(self.found["labels"])
