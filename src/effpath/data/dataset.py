"""The result of every reader: named parts of labelled images, in a fixed order, in memory or read when indexed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
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
        images: [N, C, H, W] in [0, 1]; ``images[rows]`` reads them if they are not in memory.
        labels: int64 [N].
        names: of the images, such as file names; may be empty.
    """

    images: Images
    labels: Tensor
    names: Sequence[str] = ()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def take(self, rows: Tensor) -> Part:
        """Return some of the images, by index or mask; no file is read."""
        at = torch.arange(len(self))[rows]
        names = [self.names[row] for row in at.tolist()] if self.names else ()
        return Part(choose(self.images, at), self.labels[at], names)

    def first_of_each_class(self, count: int) -> Part:
        """Return the first ``count`` images of each class, in their order."""
        keep = torch.zeros(len(self), dtype=torch.bool)
        for label in set(self.labels.tolist()):
            keep[(self.labels == label).nonzero()[:count, 0]] = True
        return self.take(keep)

    def readable(self) -> tuple[Part, dict[str, str]]:
        """Return the part without its damaged images, and the reasons by their names; reads every image once.

        The images stay in memory if they take at most `KEPT_BYTES`; otherwise they are read again when indexed.
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
        parts: by name: those of ``train``, ``val`` and ``test`` that exist; ``all`` if the data are not divided.
        classes: the name of label 0, of label 1, …
        left_out: files of its folder that are in no part: not pictures, or pictures without a class.
    """

    name: str
    parts: Mapping[str, Part]
    classes: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def part(self, *names: str) -> Part:
        """Return the first of these parts that exists; InputError lists those that exist."""
        for name in names:
            if name in self.parts:
                return self.parts[name]
        raise InputError(
            f"expected the part {' or '.join(map(repr, names))} of {self.name}; it has {', '.join(self.parts)}: "
            f"give it images for {names[0]} (a folder {names[0]} with one of each class in it, or arrays "
            f"{names[0]}_images and {names[0]}_labels)"
        )

    def relabelled(self, outputs: Tensor, classes: tuple[str, ...]) -> Dataset:
        """Return the same images with a network's labels: ``outputs`` [classes] is the output of each class."""
        parts = {name: Part(part.images, outputs[part.labels], part.names) for name, part in self.parts.items()}
        return Dataset(self.name, parts, classes, self.left_out)

    @property
    def train_images(self) -> Tensor:
        """All images of the training part, in memory; ``part("train").images`` reads only what is indexed."""
        return self.part("train").images[:]

    @property
    def train_labels(self) -> Tensor:
        """Labels of the training part."""
        return self.part("train").labels

    @property
    def test_images(self) -> Tensor:
        """All images of the test part, otherwise of the validation part, in memory."""
        return self.part("test", "val").images[:]

    @property
    def test_labels(self) -> Tensor:
        """Labels of the test part, otherwise of the validation part."""
        return self.part("test", "val").labels


def folder_of(scheme: str, argument: str, what: str) -> Path:
    """Return the folder that a reader's argument names; InputError where there is none."""
    folder = Path(argument).expanduser()
    if not argument or not folder.is_dir():
        raise InputError(f"expected '{scheme}:DIR', {what}; got no folder {argument!r}")
    return folder
