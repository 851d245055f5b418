"""What signs look at: one batch, with what several of them need made once, when it is first asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.likelihood import PathLikelihood, columns_of, margins
from effpath.detect.signs.passes import Passes
from effpath.detect.signs.pixels import Pixels
from effpath.detect.signs.reference import Bits, Reference
from effpath.detect.signs.sample import Sample, early_layers, late_layers
from effpath.detect.signs.sign import FloatArray, LayerSign
from effpath.errors import OptionError
from effpath.paths.batch import Paths
from effpath.paths.path import Path
from effpath.walk.forward import forward_sets
from effpath.walk.recording import Recorded
from effpath.walk.visit import paths_of


@dataclass(frozen=True, eq=False)
class Evidence:
    """A batch of B images, recorded, and what it is compared with.

    Attributes:
        pixels: [B, C, H, W], checked.
        passes: what the network made of them.
        sample: the neurons whose outputs were taken.
        class_paths: of the network.
        walked: the same, of the layers that the walk covers.
        path_likelihood: of the layers that the walk covers; None where no sign asks for it.
        reference: what was collected from clean images; None where nothing was.
        left_out: whether the images are those of the reference, so that each is to be left out of it.
        whole: the rank-1 paths over all layers of the class paths, where they were walked already.
    """

    pixels: Tensor
    passes: Passes
    sample: Sample
    class_paths: ClassPaths
    walked: ClassPaths
    path_likelihood: PathLikelihood | None = None
    reference: Reference | None = None
    left_out: bool = False
    whole: Paths | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.passes)

    @property
    def recorded(self) -> Recorded:
        """The activations, of all layers of the class paths, for signs that walk."""
        assert self.passes.recorded is not None
        return self.passes.recorded

    @cached_property
    def logits(self) -> FloatArray:
        """Logits, float64 [B, classes]."""
        found: FloatArray = self.passes.logits.double().cpu().numpy()
        return found

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """The predicted class, int64 [B]."""
        found: NDArray[np.int64] = self.passes.ranked(1).cpu().numpy()
        return found

    @cached_property
    def paths(self) -> Paths:
        """The rank-1 paths, over the layers that the walk covers: the one walk."""
        header = self.walked.header
        if self.whole is not None:
            return self.whole.only(header)
        if self.walked is self.class_paths:
            return paths_of(self.recorded)
        visited = frozenset(self.recorded.plan.leading_to(header.layers))
        return paths_of(replace(self.recorded, header=header, visited=visited))

    @cached_property
    def similarity(self) -> FloatArray:
        """Image-class path similarities, [B, layers of the walk]; NaN where the class has no path."""
        return self.walked.similarity(self.paths, allow_missing=True)

    @cached_property
    def likelihood(self) -> FloatArray:
        """The likelihood of the paths under every class, [B, layers of the walk, classes with a path]."""
        assert self.path_likelihood is not None
        return self.path_likelihood(self.paths)

    @cached_property
    def own_column(self) -> NDArray[np.int64]:
        """Where the predicted class stands in the last dimension of `likelihood`, int64 [B]; −1 without a path."""
        assert self.path_likelihood is not None
        return columns_of(self.path_likelihood.classes, self.predicted)

    @cached_property
    def margins(self) -> FloatArray:
        """How much better the predicted class fits than any other, [B, layers of the walk]; NaN without a path."""
        return margins(self.likelihood, self.own_column)

    @cached_property
    def early(self) -> tuple[str, ...]:
        """The first half of the layers of the class paths, rounded up."""
        return early_layers(self.class_paths.header)

    @cached_property
    def early_columns(self) -> list[int]:
        """Which layers of the walk are early."""
        return [place for place, key in enumerate(self.walked.header.keys("synapses")) if key in self.early]

    @cached_property
    def forward(self) -> dict[str, Bits]:
        """Forward sets of the sample, by layer, packed bits, lowest first, uint8 [B, ⌈neurons ÷ 8⌉]."""
        found = forward_sets(self.passes.graph, self.passes.outputs)
        return {name: np.packbits(marks, axis=1, bitorder="little") for name, marks in found.items()}

    @cached_property
    def reference_places(self) -> NDArray[np.int64]:
        """Where the predicted class stands among those of the reference, int64 [B]; −1 where it was not met."""
        return self.known().places(self.predicted)

    @cached_property
    def frequencies(self) -> FloatArray:
        """The mean log frequency of the forward set in every class of the reference, [B, layers, classes].

        NaN where the set is empty. An image of the reference is left out of its own class.
        """
        reference = self.known()
        found = np.full((len(self), len(self.forward), len(reference.classes)), np.nan)
        for column, name in enumerate(self.forward):
            found[:, column] = self._means(name, reference.logs[name])
            for row, place in enumerate(self.reference_places.tolist() if self.left_out else ()):
                ids = self._ids(name, row)
                if len(ids) and place >= 0:
                    found[row, column, place] = reference.logs_without_one(name, place, ids).mean()
        return found

    @cached_property
    def rarities(self) -> dict[str, FloatArray]:
        """How rare the forward set is in its class, position by position, by layer in places, [B, positions].

        Each neuron of the set adds −log of its frequency. All 0 where the class was not met.
        """
        from effpath.kernels.carriers import add_to_places  # importing Numba takes a third of a second

        reference, places = self.known(), self.reference_places
        found = {}
        for name, positions in self.sample.positions.items():
            sums = np.zeros((len(self), self.class_paths.header.layer(name).window.positions))
            if not self.left_out:
                add_to_places(self.forward[name], reference.logs[name], places, positions, sums)
            for row, place in enumerate(places.tolist() if self.left_out else ()):
                ids = self._ids(name, row)
                if place >= 0:
                    np.add.at(sums[row], positions[ids], reference.logs_without_one(name, place, ids))
            found[name] = -sums
        return found

    def by_layer(self, sign: LayerSign) -> FloatArray:
        """Return what a sign measures in each of its layers, [B, layers]."""
        if sign not in self._by_layer:
            self._by_layer[sign] = sign.by_layer(self)
        return self._by_layer[sign]

    @cached_property
    def _by_layer(self) -> dict[LayerSign, FloatArray]:
        return {}

    def _means(self, name: str, table: NDArray[np.float32]) -> FloatArray:
        """Return the mean of the rows [neurons, columns] that a forward set names, [B, columns]; NaN if none."""
        from effpath.kernels.carriers import add_rows  # importing Numba takes a third of a second

        sums, counts = np.zeros((len(self), table.shape[1])), np.zeros(len(self), np.int64)
        add_rows(self.forward[name], table, sums, counts)
        means: FloatArray = np.full(sums.shape, np.nan)
        np.divide(sums, counts[:, None], out=means, where=counts[:, None] > 0)
        return means

    def _ids(self, name: str, row: int) -> NDArray[np.int64]:
        """Return the ids of the forward set of one image."""
        marks = np.unpackbits(self.forward[name][row], count=self.sample.size(name), bitorder="little")
        return np.flatnonzero(marks)

    def known(self) -> Reference:
        """Return the reference.

        Raises:
            OptionError: nothing was collected.
        """
        if self.reference is None:
            raise OptionError(
                "expected what was collected from clean images, to compare images with, got nothing: fit "
                "the detector on images, or call its collect(images) before it makes features"
            )
        return self.reference

    def known_pixels(self) -> Pixels:
        """Return what is known of the reference's pixels; OptionError where none were collected."""
        found = self.known().pixels
        if found is None:
            raise OptionError("expected what was collected with the pixels of clean images, got none of these")
        return found


def late_part(class_paths: ClassPaths, share: float) -> ClassPaths:
    """Return the synapses of the last layers of class paths: a share of these, one at least."""
    layers, names = class_paths.header.layers, late_layers(class_paths.header, share)
    if len(names) == len(layers):
        return class_paths
    header = replace(class_paths.header, layers=layers[-len(names) :])
    return replace(
        class_paths,
        header=header,
        levels=("synapses",),
        paths={
            label: Path(header, {"synapses": {name: path.synapses[name] for name in names}}, path.images)
            for label, path in class_paths.paths.items()
        },
        counts={
            label: {"synapses": {name: counted["synapses"][name] for name in names}}
            for label, counted in class_paths.counts.items()
        },
    )
