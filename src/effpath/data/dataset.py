"""What every reader gives: named parts of labelled images, in a fixed order, in memory or read when indexed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from effpath.errors import InputError
from effpath.images import Images, choose, labelled

KEPT_BYTES = 256 << 20  # images that stay in memory once they have been read


@dataclass(frozen=True, eq=False)
class Part:
    """Images with their labels, in a fixed order.

    Attributes:
        images: [N, C, H, W] in [0, 1]; ``images[rows]`` reads them where they are not in memory.
        labels: int64 [N].
        names: of the images, such as their files; may be empty.
    """

    images: Images
    labels: Tensor
    names: Sequence[str] = ()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def take(self, rows: Tensor) -> Part:
        """Return some of the images, by index or mask; files are not read."""
        at = torch.arange(len(self))[rows]
        names = [self.names[row] for row in at.tolist()] if self.names else ()
        return Part(choose(self.images, at), self.labels[at], names)

    def first_of_each_class(self, count: int) -> Part:
        """Return the first ``count`` images of each class, in the order that they have here."""
        keep = torch.zeros(len(self), dtype=torch.bool)
        for label in set(self.labels.tolist()):
            keep[(self.labels == label).nonzero()[:count, 0]] = True
        return self.take(keep)

    def readable(self) -> tuple[Part, dict[str, str]]:
        """Return the part without damaged images, and why, by the names of those; reads every image once.

        Images of `KEPT_BYTES` at most stay in memory, so that they are not read again; more are read when indexed.
        """
        if isinstance(self.images, Tensor):
            return self, {}
        whole = torch.ones(len(self), dtype=torch.bool)
        damaged = {}
        kept: list[Tensor] = []
        room = KEPT_BYTES
        for i in range(len(self)):
            try:
                image = self.images[i : i + 1]
            except InputError as error:
                whole[i] = False
                damaged[self.names[i] if self.names else str(i)] = str(error)
                continue
            room -= image.nbytes
            if room >= 0:
                kept.append(image)
            else:
                kept.clear()
        part = self.take(whole) if damaged else self
        return (Part(torch.cat(kept), part.labels, part.names) if kept else part), damaged


def from_torch(dataset: Any, labels: Any = None) -> Part:
    """Return a torch data set or DataLoader of (image, label) as a part, as `effpath.images.labelled` reads it.

    Example:
        >>> len(from_torch([(torch.zeros(1, 8, 8), 3), (torch.ones(1, 8, 8), 5)]))
        2
    """
    return Part(*labelled(dataset, labels))


@dataclass(frozen=True, eq=False)
class Dataset:
    """The parts of a data set.

    Attributes:
        name: what it is, without the folder it lies in.
        parts: by name, ``train``, ``val``, ``test`` as far as they exist; ``all`` where there is no division.
        classes: the name of label 0, of label 1, …
        left_out: files of its folder that are in no part: no pictures, or pictures without a class.
    """

    name: str
    parts: Mapping[str, Part]
    classes: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def part(self, *names: str) -> Part:
        """Return the first of these parts that exists; InputError names those there are."""
        for name in names:
            if name in self.parts:
                return self.parts[name]
        raise InputError(
            f"expected the part {' or '.join(map(repr, names))} of {self.name}; it has {', '.join(self.parts)}: "
            f"give it images of its own as {names[0]} (a folder {names[0]} with one of each class in it, or "
            f"arrays {names[0]}_images and {names[0]}_labels)"
        )

    def relabelled(self, outputs: Tensor, classes: tuple[str, ...]) -> Dataset:
        """Return the same images labelled by a network: ``outputs`` [classes] says which output each class is."""
        parts = {name: Part(part.images, outputs[part.labels], part.names) for name, part in self.parts.items()}
        return Dataset(self.name, parts, classes, self.left_out)

    @property
    def train_images(self) -> Tensor:
        """All images of the training part, in memory; ``part("train").images`` reads only what is asked."""
        return self.part("train").images[:]

    @property
    def train_labels(self) -> Tensor:
        """Labels of the training part."""
        return self.part("train").labels

    @property
    def test_images(self) -> Tensor:
        """All images of the test part, or else of the validation part, in memory."""
        return self.part("test", "val").images[:]

    @property
    def test_labels(self) -> Tensor:
        """Labels of the test part, or else of the validation part."""
        return self.part("test", "val").labels
