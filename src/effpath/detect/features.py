"""Features of an image: how far its rank-1 and rank-2 paths lie inside their classes' paths (Sec. 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from effpath.errors import FingerprintError
from effpath.extract import record
from effpath.graph.graph import Graph
from effpath.images import Images
from effpath.paths.class_paths import ClassPaths
from effpath.rules.plan import Level
from effpath.score import similarity


@dataclass(frozen=True, eq=False)
class Features:
    """Image-class path similarities of a batch.

    Attributes:
        values: float64 [N, ranks · sets], rank 1's columns first; NaN where an image's set is empty.
        names: of the columns, ``rank:level:layer``.
        classes: int64 [N, ranks], the class that each rank's path started from.
        logits: float32 [N, classes].
    """

    values: NDArray[np.float64]
    names: tuple[str, ...]
    classes: NDArray[np.int64]
    logits: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.values)

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> Features:
        """Return some of the rows."""
        return Features(self.values[rows], self.names, self.classes[rows], self.logits[rows])


def path_features(
    graph: Graph,
    class_paths: ClassPaths,
    images: Images,
    *,
    ranks: Sequence[int] = (1, 2),
    level: Level = "synapses",
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Return [J^1 … J^L of rank 1, J'^1 … J'^L of rank 2] of each image, one forward pass for all ranks.

    Raises:
        FingerprintError: the class paths were built with another network.
        ClassPathError: an image's class has no class path.
        InputError, NumericalError: bad images.
    """
    header = class_paths.header
    if header.fingerprint != graph.fingerprint:
        raise FingerprintError(
            f"class paths of another network: they have fingerprint {header.fingerprint}, this network has "
            f"{graph.fingerprint}; load the model they were built with, or build them again"
        )
    names = tuple(name for rank in ranks for name in class_paths.feature_names(level, rank))
    layers = [layer.name for layer in header.layers]
    values, classes, logits = [], [], []
    for start in range(0, len(images), batch_size):
        recorded = record(graph, images[start : start + batch_size], options=header.options, layers=layers)
        values.append(
            np.concatenate([similarity(recorded, class_paths, rank=rank, level=level) for rank in ranks], axis=1)
        )
        classes.append(np.stack([recorded.ranked(rank).cpu().numpy() for rank in ranks], axis=1))
        logits.append(recorded.logits.float().cpu().numpy())
        if progress is not None:
            progress(min(start + batch_size, len(images)), len(images))
    if not values:
        graph.check_images(images[:])  # says that there are none
    return Features(np.concatenate(values), names, np.concatenate(classes), np.concatenate(logits))
