"""Uniting and comparing paths as the walk chooses, without making them (compiled backend)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effpath.backends.compiled import CompiledWalk, Sets
from effpath.class_paths.class_paths import ClassPaths
from effpath.kernels.arguments import BITS, IDS, ROWS
from effpath.paths.header import Header
from effpath.paths.idset import IdSet
from effpath.paths.path import Path
from effpath.rules.kinds import Selection
from effpath.rules.plan import Level
from effpath.walk.recording import Recorded
from effpath.walk.visit import Masks, by_images, paths_of, visit

Bytes = NDArray[np.uint8]
OPEN_BYTES = 2 << 30  # classes are kept as bits while all of them take less than this


class Unions:
    """Unions of rank-1 paths by class.

    A class that images come for is open: one bit per synapse slot, which the walk sets as it chooses. Where the
    bits of all open classes would take too much room, those without an image in the batch are closed, to sets: of
    images that come class by class one class is open at a time.
    """

    def __init__(self, header: Header, room: int | None = None) -> None:
        """Start with no class; bits of open classes take at most so many bytes, or what one batch needs."""
        self.header, self._room = header, OPEN_BYTES if room is None else min(room, OPEN_BYTES)
        self._slots = {layer.name: layer.window.slots for layer in header.layers}
        self._outputs = {layer.name: layer.window.outputs for layer in header.layers}
        self._cost = sum(self._slots.values()) // 8 + sum(self._outputs.values())
        self._open: dict[int, tuple[dict[str, Bytes], dict[str, Bytes]]] = {}
        self._closed: dict[int, Path] = {}

    def add(self, recorded: Recorded, labels: Sequence[int]) -> None:
        """Add the path of each recorded image to the union of its class."""
        if not recorded.compiled:
            paths = paths_of(recorded)
            for label in sorted(set(labels)):
                self.put(label, paths.union([row for row, found in enumerate(labels) if found == label]))
            return
        for label in sorted(set(labels)):
            if label not in self._open:
                self._make_room(set(labels))
                bits = {name: np.zeros((size + 7) // 8, np.uint8) for name, size in self._slots.items()}
                self._open[label] = bits, {name: np.zeros(size, np.uint8) for name, size in self._outputs.items()}

        def unite(masks: Masks, name: str, kind: Selection) -> None:
            assert isinstance(masks, CompiledWalk)
            bits = tuple(self._open[label][0][name] for label in labels)
            table = np.array([[BITS, slots.ctypes.data, 0] for slots in bits], np.int64)
            masks.decide(name, kind, sets=Sets(table, True, bits))
            for label, mask in zip(labels, masks.mask(name), strict=True):
                self._open[label][1][name] |= mask.view(np.uint8)

        visit(recorded, recorded.start(recorded.ranked(1)), unite, torch.get_num_threads())

    def put(self, label: int, path: Path) -> None:
        """Add a path to the union of a class."""
        self._closed[label] = self._closed[label] | path if label in self._closed else path

    def paths(self, levels: Sequence[Level], images: Mapping[int, int]) -> dict[int, Path]:
        """Return the unions so far, with the number of images behind each."""
        for label in list(self._open):
            self._close(label)
        found = {}
        for label, path in sorted(self._closed.items()):
            found[label] = Path(self.header, {level: path.sets(level) for level in levels}, images[label])
        return found

    def _make_room(self, needed: set[int]) -> None:
        for label in [label for label in self._open if label not in needed]:
            if (len(self._open) + 1) * self._cost <= self._room:
                return
            self._close(label)

    def _close(self, label: int) -> None:
        bits, neurons = self._open.pop(label)
        synapses = {name: IdSet.from_bits(slots, size=self._slots[name]) for name, slots in bits.items()}
        active = {name: IdSet.from_mask(mask.view(np.bool_)) for name, mask in neurons.items()}
        self.put(label, Path(self.header, {"synapses": synapses, "neurons": active}))


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
