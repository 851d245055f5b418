"""The clean image whose path is nearest to that of an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.fused import similarity
from effpath.graph.graph import Graph
from effpath.images import Images
from effpath.paths.batch import Paths
from effpath.paths.header import Header
from effpath.paths.path import Path
from effpath.views.explanation import Neighbour
from effpath.walk.recording import record, recordings
from effpath.walk.visit import paths_of

COMPARED = 8  # images whose whole path is compared


def nearest(
    graph: Graph,
    header: Header,
    paths: Sequence[Path],
    images: Images,
    names: Sequence[str] = (),
    *,
    batch_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Neighbour]:
    """Return for each path the image, among clean ones, whose path is nearest to it.

    Of all images it is measured how much of their rank-1 paths lies in the path, as a mean over the layers. Of the
    `COMPARED` with most, the one of the highest Jaccard similarity is the nearest.

    Args:
        graph: of the network.
        header: options and layers of the paths.
        paths: of the images that want a neighbour.
        images: clean ones, [N, C, H, W].
        names: of the clean images.
        batch_size: images recorded together; None for as many as fit in memory.
        progress: called with images done and in total.
    """
    layers = [layer.name for layer in header.layers]
    everyone = range(graph.classes)
    alike = [ClassPaths(header, ("synapses",), dict.fromkeys(everyone, path)) for path in paths]
    shares = np.zeros((len(images), len(paths)))
    for batch in recordings(
        graph, images, options=header.options, layers=layers, batch_size=batch_size, progress=progress
    ):
        for column, known_path in enumerate(alike):
            found = similarity(batch.recorded, known_path)
            known = ~np.isnan(found)
            shares[batch.rows, column] = np.where(known, found, 0).sum(1) / np.maximum(known.sum(1), 1)
    best = []
    for column, path in enumerate(paths):
        rows = np.argsort(-shares[:, column], kind="stable")[:COMPARED]
        recorded = [
            record(graph, images[row : row + 1], options=header.options, layers=layers) for row in rows.tolist()
        ]
        others = [paths_of(each) for each in recorded]
        values = [other[0].jaccard(path) for other in others]
        at = int(np.nanargmax(values)) if not np.isnan(values).all() else 0
        row = int(rows[at])
        best.append(_neighbour(images, names, row, others[at], values[at]))
    return best


def _neighbour(images: Images, names: Sequence[str], row: int, path: Paths, value: float) -> Neighbour:
    image = torch.as_tensor(images[row : row + 1][0]).float().cpu().numpy()
    return Neighbour(names[row] if names else f"image {row}", int(path.classes[0]), float(value), image)
