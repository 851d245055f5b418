"""The network and the images that a command names, opened, with notes of what a person should know of them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.folder.store import Store
from effpath.class_paths.store import WHAT, class_paths_in, provenance_of
from effpath.cli.options import Source, parse_size
from effpath.cli.output import say
from effpath.data import Dataset, Part, load_data
from effpath.data.labels import outputs_of
from effpath.data.load import is_data
from effpath.errors import InputError
from effpath.files.sealed import SealedFile
from effpath.graph import Graph, capture
from effpath.images import (
    Images,
    PictureFormat,
    format_of,
    load_images,
    pixel_range_of,
    refuse_known,
    resized,
    unknown_size,
)
from effpath.models import from_library, load_model
from effpath.models.predict import output_names

_SAVE = {
    "torchvision": "torchvision.models.get_model({name!r}, weights='DEFAULT')",
    "timm": "timm.create_model({name!r}, pretrained=True)",
}


@dataclass(frozen=True, eq=False)
class Opened:
    """Images that a command names.

    Attributes:
        images: with labels as they stand in the data, −1 where there is none, and a name each.
        data: the data set that they are all images of, where they come from one.
        part: the name of its part.
    """

    images: Part
    data: Dataset | None = None
    part: str = ""

    def take(self, rows: Tensor) -> Opened:
        """Return some of the images, by index."""
        return replace(self, images=self.images.take(rows))


@dataclass(frozen=True, eq=False)
class Network:
    """A command's network, which reads images as it needs them.

    Attributes:
        source: what the command line says of it.
        model: in eval mode.
        picture_format: of its images, where it is known.
    """

    source: Source
    model: nn.Module
    picture_format: PictureFormat | None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image; InputError where it is not known."""
        if self.picture_format is None:
            raise InputError(unknown_size(self.source.model))
        return self.picture_format.shape

    def capture(self, images: Images | None = None, structure: str | None = None) -> Graph:
        """Return the network's graph; an image is read for it only where the shape is not known otherwise.

        Args:
            images: one of which can be read.
            structure: that a file made with this network holds, so that it need not be exported again.
        """
        return capture(self.model, self._example(images), structure=structure)

    def beside(self, model: str, weights: Path | None, classes: int) -> Network:
        """Return another network, for the same images and as many classes.

        Raises:
            InputError: its outputs are in another order, or it takes pixels in another range.
        """
        count = classes if from_library(model) else None
        other = open_network(replace(self.source, model=model, weights=weights, classes=count, input_size=None))
        own, theirs = (output_names(each, classes) for each in (self.model, other.model))
        if own != theirs and sorted(own) == sorted(theirs):
            at = next(at for at, name in enumerate(own) if name != theirs[at])
            raise InputError(
                f"expected the outputs of {model} in the order of those of {self.source.model}, got "
                f"{theirs[at]!r} instead of {own[at]!r} as output {at}: have its factory order them"
            )
        if pixel_range_of(self.model) != pixel_range_of(other.model):
            raise InputError(
                f"expected {model} to take pixels in the range of {self.source.model}, got another pixel_range: "
                "have its factory convert them"
            )
        return replace(other, picture_format=self.picture_format)

    def class_paths(self, file: Path, images: Images | None = None) -> tuple[Graph, ClassPaths]:
        """Return the network's graph and class paths that were built with it, in a file or the folder of a store.

        Raises:
            FingerprintError: they were built with another network.
            StoreError: missing, truncated, damaged, or not class paths.
        """
        if file.is_dir():
            store = Store.open(file)
            graph = self.capture(images, store.structure)
            return graph, store.class_paths(graph)
        with SealedFile(file, WHAT) as opened:
            graph = self.capture(images, provenance_of(opened).get("structure"))
            return graph, class_paths_in(opened, graph)

    def _example(self, images: Images | None) -> Tensor:
        if images is None or self.picture_format is not None:
            return torch.rand(1, *self.shape, generator=torch.Generator().manual_seed(0))
        for row in range(len(images) - 1):
            with contextlib.suppress(InputError):
                return images[row : row + 1]
        return images[len(images) - 1 :]

    def dataset(self, spec: str) -> Dataset:
        """Return a data set whose images are as the network takes them; note the files that it leaves out."""
        pixels = pixel_range_of(self.model)
        data = load_data(spec, seed=self.source.seed, picture_format=self.picture_format, pixel_range=pixels)
        _note_left_out(data.left_out, "not pictures of a class")
        return data

    def part(self, data: Dataset, *names: str, checked: bool = True) -> Part:
        """Return the part of the data that ``--part`` names, or the first of ``names`` that exists.

        Raises:
            InputError: there is none, or (``checked``) it is known before the work that one of its images will be
                refused.
        """
        part = data.part(*([self.source.part] if self.source.part else names))
        if not checked and len(part):
            return part
        part = self._readable(part, data)
        refuse_known(part.images)
        return part

    def opened(self, sources: Sequence[str]) -> Opened:
        """Return the images of files and folders, or of one data set; read when indexed."""
        if not any(is_data(source) for source in sources):
            labels: list[int] = []
            others: list[Path] = []
            pixels = pixel_range_of(self.model)
            images, names = load_images(
                sources, self.picture_format, pixel_range=pixels, labels=labels, left_out=others
            )
            _note_left_out(list(map(str, others)), "not pictures")
            return Opened(self._readable(Part(images, torch.tensor(labels, dtype=torch.int64), names)))
        if len(sources) > 1:
            raise InputError(f"expected files and folders, or one data set, got {', '.join(sources)}")
        data = self.dataset(sources[0])
        name = self.source.part or next((name for name in ("test", "val", "all") if name in data.parts), "test")
        part = self._readable(data.part(name), data)
        names = list(part.names) or [f"{data.name}[{row}]" for row in range(len(part))]
        return Opened(replace(part, names=names), data, name)

    def images(self, sources: Sequence[str], first: int | None = None) -> tuple[Images, Sequence[str]]:
        """Return the (first) images of files, folders or one data set, and their names; each has been read once.

        Raises:
            InputError: one cannot be read, and none is to be left out.
        """
        part = self.opened(sources).images
        if first is not None:
            part = part.take(torch.arange(len(part))[:first])
        if not self.source.skip_damaged:
            count = len(part)
            part, damaged = part.readable()
            if damaged:
                counted = f"({len(damaged)} of {count} images; --skip-damaged leaves them out)"
                raise InputError(f"{next(iter(damaged.values()))} {counted}")
        return part.images, part.names

    def outputs(self, data: Dataset, count: int) -> Tensor:
        """Return which of the network's outputs each class of the data is, int64 [classes]."""
        return outputs_of(data, self.model, count, self.source.class_map)

    def labels(self, opened: Opened, count: int) -> NDArray[np.int64]:
        """Return which of the network's outputs each label means, int64 [N]; −1 where it is not known."""
        labels = opened.images.labels
        if opened.data is not None:
            try:
                return self.outputs(opened.data, count)[labels].numpy()
            except InputError as error:
                say(f"scored without labels: {error}")
                return np.full(len(labels), -1)
        if not bool(((labels >= -1) & (labels < count)).all()):
            low, high = int(labels.min()), int(labels.max())
            raise InputError(f"expected labels in 0 … {count - 1} (the network's outputs), got {low} … {high}")
        return labels.numpy()

    def _readable(self, part: Part, data: Dataset | None = None) -> Part:
        """Return the images that can be read, where others are to be left out; these are noted."""
        if data is not None and not len(part):
            raise InputError(f"no images in this part of {data.name}")
        if not self.source.skip_damaged:
            return part
        whole, damaged = part.readable()
        for name, why in damaged.items():
            say(f"left out, cannot be read: {name}: {why}")
        if not len(whole):
            raise InputError(f"none of {len(part)} images can be read")
        return whole


def open_network(source: Source) -> Network:
    """Return a network, loaded; note where its weights are random."""
    size = parse_size(source.input_size)
    how = {"allow_pickle": source.allow_pickle, "seed": source.seed, "classes": source.classes}
    model = load_model(source.model, source.weights, **how)  # type: ignore[arg-type]
    note_random_weights(source.model, source.weights, source.seed)
    return Network(source, model, resized(format_of(model), size))


def note_random_weights(spec: str, weights: Path | None, seed: int) -> None:
    """Note on standard error that a library's model has no trained weights, and how to get a file of them."""
    if weights is not None or not from_library(spec):
        return
    library, _, name = spec.partition(":")
    make = _SAVE[library].format(name=name.partition(".")[0] if library == "torchvision" else name)
    say(
        f"{spec} has RANDOM weights (seed {seed}): no --weights are given, and nothing is downloaded. "
        f'Where the trained weights are available, save them once with\n  python -c "import {library}; from '
        f"safetensors.torch import save_model; save_model({make}, 'weights.safetensors')\""
    )


def _note_left_out(files: Sequence[str], why: str) -> None:
    """Note the files of a folder that are not read, if any."""
    if files:
        shown = ", ".join(files[:5]) + ", …" * (len(files) > 5)
        say(f"left out, {why}: {shown} ({len(files)})")
