"""How far images lie inside class paths, without making their paths (compiled backend)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from effpath.backends.compiled import CompiledWalk, Sets
from effpath.class_paths.class_paths import ClassPaths
from effpath.kernels.arguments import BITS, IDS, ROWS
from effpath.paths.idset import IdSet
from effpath.rules.kinds import Selection
from effpath.rules.plan import Level
from effpath.walk.recording import Recorded
from effpath.walk.visit import Masks, by_images, paths_of, visit


def similarity(
    recorded: Recorded,
    class_paths: ClassPaths,
    *,
    rank: int = 1,
    classes: Tensor | Sequence[int] | None = None,
    level: Level = "synapses",
    minimum: int = 1,
) -> NDArray[np.float64]:
    """Return the image-class path similarity of each layer, as `ClassPaths.similarity` of the paths does.

    Synapses and neurons are compared as they are chosen; weights, and networks that the compiled backend does not
    take, go by way of the paths.

    Args:
        recorded: the images' activations, with the options and layers of the class paths.
        class_paths: of the same network.
        rank, classes: where the paths start, see `paths_of`.
        level, minimum: see `ClassPaths.similarity`.

    Returns:
        float64 [images, sets]; NaN where the image's own set is empty.
    """
    class_paths.header.check_same(recorded.header)
    start = recorded.ranked(rank) if classes is None else classes
    if not recorded.compiled or level == "weights":
        return class_paths.similarity(paths_of(recorded, classes=start), level, minimum=minimum)
    active = recorded.start(start)
    keys = class_paths.header.keys(level)

    def score(recorded: Recorded, active: Tensor, threads: int) -> NDArray[np.int64]:
        labels = active.int().argmax(1).tolist()
        hits = np.zeros((len(recorded), len(keys), 2), np.int64)

        def compare(masks: Masks, name: str, kind: Selection) -> None:
            assert isinstance(masks, CompiledWalk)
            members = {label: class_paths.members(label, level, name, minimum) for label in set(labels)}
            sets = sets_of([members[label] for label in labels])
            if level == "synapses":
                hits[:, keys.index(name)] = masks.decide(name, kind, sets=sets).hits
            else:
                masks.decide(name, kind, keep=False)
                hits[:, keys.index(name)] = masks.count_members(name, sets)

        visit(recorded, active, compare, threads)
        return hits

    hits = np.concatenate(by_images(recorded, active, score))
    some = hits[:, :, 1] > 0
    values = np.full(some.shape, np.nan)
    values[some] = hits[:, :, 0][some] / hits[:, :, 1][some]
    return values


def sets_of(sets: Sequence[IdSet]) -> Sets:
    """Return the sets of a batch as the kernels read them."""
    table = np.zeros((len(sets), 3), np.int64)
    held: list[NDArray[np.generic]] = []
    for row, members in enumerate(sets):
        arrays = members.arrays
        if "bits" in arrays:
            table[row] = BITS, arrays["bits"].ctypes.data, 0
        elif "lows" in arrays:
            table[row] = ROWS, arrays["starts"].ctypes.data, arrays["lows"].ctypes.data
        else:
            table[row] = IDS, arrays["ids"].ctypes.data, len(arrays["ids"])
        held += arrays.values()
    return Sets(table, False, tuple(held))
