"""The model and the images that a command names, opened, with what a person should know of them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from effpath.cli.options import parse_size
from effpath.data import Dataset, Part, align_labels, load_data
from effpath.data.labels import read_class_map
from effpath.data.load import is_data
from effpath.errors import InputError
from effpath.images import (
    Images,
    PictureFormat,
    format_of,
    load_images,
    pixel_range_of,
    refuse_known,
    resized,
)
from effpath.models.logits import require_two_classes

_SAVE = {
    "torchvision": "torchvision.models.get_model({name!r}, weights='DEFAULT')",
    "timm": "timm.create_model({name!r}, pretrained=True)",
}


def open_model(
    spec: str,
    weights: Path | None = None,
    *,
    allow_pickle: bool = False,
    seed: int = 0,
    classes: int | None = None,
    input_size: str | None = None,
) -> tuple[nn.Module, PictureFormat | None]:
    """Return the model and the format of its pictures; say on standard error where its weights are random."""
    from effpath import models

    size = parse_size(input_size)
    model = models.load_model(spec, weights, allow_pickle=allow_pickle, seed=seed, classes=classes)
    warn_of_random_weights(spec, weights, seed)
    return model, resized(format_of(model), size)


def warn_of_random_weights(spec: str, weights: Path | None, seed: int) -> None:
    """Say on standard error that a library's model has no trained weights, and how to get a file of them."""
    from effpath.models import from_library

    if weights is not None or not from_library(spec):
        return
    library, _, name = spec.partition(":")
    make = _SAVE[library].format(name=name.partition(".")[0] if library == "torchvision" else name)
    say(
        f"{spec} has RANDOM weights (seed {seed}): no --weights are given, and nothing is downloaded. "
        f'Where the trained ones can be had, write them once with\n  python -c "import {library}; from '
        f"safetensors.torch import save_file; save_file({make}.state_dict(), 'weights.safetensors')\""
    )


def open_dataset(spec: str, model: nn.Module, wanted: PictureFormat | None, *, seed: int) -> Dataset:
    """Return a data set whose images are in the range that the model takes; name the files that it leaves out."""
    data = load_data(spec, seed=seed, picture_format=wanted, pixel_range=pixel_range_of(model))
    say_left_out(data.left_out, "not pictures of a class")
    return data


def open_part(data: Dataset, part: str | None, *otherwise: str, skip_damaged: bool = False) -> Part:
    """Return a part of the data, or the first of ``otherwise`` that exists; name the images left out.

    Raises:
        InputError: there is none, or it is known before the work that one of its images will be refused.
    """
    chosen = data.part(part) if part else data.part(*otherwise)
    if skip_damaged:
        chosen = without_damaged(chosen)
    if not len(chosen):
        raise InputError(f"no images in this part of {data.name}")
    refuse_known(chosen.images)
    return chosen


def without_damaged(part: Part) -> Part:
    """Return the images that can be read, and name the others; reads every image once."""
    whole, damaged = part.readable()
    for name, why in damaged.items():
        say(f"left out, cannot be read: {name}: {why}")
    if not len(whole):
        raise InputError(f"none of {len(part)} images can be read")
    return whole


def open_images(
    sources: list[str],
    wanted: PictureFormat | None,
    *,
    model: nn.Module,
    seed: int,
    part: str | None,
    skip_damaged: bool,
    first: int | None = None,
) -> tuple[Images, list[str]]:
    """Return the (first) images of files, folders or one data set, and their names; each has been read once.

    Raises:
        InputError: one cannot be read, and none is to be left out.
    """
    opened = open_labelled(sources, wanted, model=model, seed=seed, part=part, skip_damaged=skip_damaged)
    if first is not None:
        opened = opened.take(torch.arange(len(opened.names))[:first])
    if not skip_damaged:
        whole, damaged = Part(opened.images, opened.labels, opened.names).readable()
        if damaged:
            others = f" ({len(damaged)} of {len(opened.names)} images; --skip-damaged leaves them out)"
            raise InputError(f"{next(iter(damaged.values()))}{others}")
        return whole.images, opened.names
    return opened.images, opened.names


@dataclass(frozen=True, eq=False)
class Opened:
    """Images that a command names.

    Attributes:
        images: [N, C, H, W].
        names: of each.
        labels: int64 [N], as they stand in the data; −1 where there is none.
        data: the data set that they are all images of, where they come from one.
        part: its part.
    """

    images: Images
    names: list[str]
    labels: Tensor
    data: Dataset | None = None
    part: str = ""

    def take(self, rows: Tensor) -> Opened:
        """Return some of the images, by index."""
        chosen = Part(self.images, self.labels, self.names).take(rows)
        return Opened(chosen.images, list(chosen.names), chosen.labels, self.data, self.part)


def open_labelled(
    sources: list[str],
    wanted: PictureFormat | None,
    *,
    model: nn.Module,
    seed: int,
    part: str | None,
    skip_damaged: bool,
) -> Opened:
    """Return the images of files and folders, or of one data set, with names and labels; read when indexed."""
    if not any(is_data(source) for source in sources):
        labels: list[int] = []
        others: list[Path] = []
        images, names = load_images(
            sources, wanted, pixel_range=pixel_range_of(model), labels=labels, left_out=others
        )
        say_left_out(list(map(str, others)), "not pictures")
        found = Part(images, torch.tensor(labels, dtype=torch.int64), names)
        data = None
    elif len(sources) > 1:
        raise InputError(f"expected files and folders, or one data set, got {', '.join(sources)}")
    else:
        data = open_dataset(sources[0], model, wanted, seed=seed)
        if part is None:
            part = next((name for name in ("test", "val", "all") if name in data.parts), "test")
        found = data.part(part)
        if not len(found):
            raise InputError(f"no images in this part of {data.name}")
    if skip_damaged:
        found = without_damaged(found)
    names = list(found.names) or [f"{data.name if data else ''}[{i}]" for i in range(len(found))]
    return Opened(found.images, names, found.labels, data, (part or "") if data else "")


def example_of(images: Images, wanted: PictureFormat | None) -> Tensor:
    """Return an example to capture the network with, [1, C, H, W]; no picture is read for it.

    Raises:
        InputError: the shape is not known, and no image can be read.
    """
    if wanted is not None:
        return torch.rand(1, *wanted.shape, generator=torch.Generator().manual_seed(0))
    for row in range(len(images) - 1):
        with contextlib.suppress(InputError):
            return images[row : row + 1]
    return images[len(images) - 1 :]


def by_outputs(data: Dataset, model: nn.Module, outputs: int, class_map: Path | None) -> Dataset:
    """Return a data set labelled by the outputs of the network, with their names as far as they are known."""
    from effpath.models.naming import output_names

    require_two_classes(outputs, "a class path of right predictions")
    at = outputs_of(data, model, outputs, class_map)
    names = dict(zip(at.tolist(), data.classes, strict=True))
    return data.relabelled(at, output_names(model, outputs, [names.get(output, "") for output in range(outputs)]))


def outputs_of(data: Dataset, model: nn.Module, outputs: int, class_map: Path | None = None) -> Tensor:
    """Return the network's output of each class of the data, int64 [classes]."""
    from effpath.models.library import imagenet_ids

    return align_labels(
        data.classes,
        outputs,
        tuple(getattr(model, "classes", ())),
        imagenet_ids() if outputs == 1000 else (),
        class_map=None if class_map is None else read_class_map(class_map),
    )


def labels_of(found: Opened, network: nn.Module, outputs: int, class_map: Path | None) -> NDArray[np.int64]:
    """Return the output that each label means, int64 [N]; −1 where it is not known."""
    if found.data is not None:
        try:
            return outputs_of(found.data, network, outputs, class_map)[found.labels].numpy()
        except InputError as error:
            say(f"scored without labels: {error}")
            return np.full(len(found.names), -1)
    if not bool(((found.labels >= -1) & (found.labels < outputs)).all()):
        low, high = int(found.labels.min()), int(found.labels.max())
        raise InputError(f"labels must be 0 … {outputs - 1} (the network's logits), got {low} … {high}")
    return found.labels.numpy()


def say_left_out(files: Sequence[str], why: str) -> None:
    """Say on standard error which files of a folder are not read, if any."""
    if files:
        shown = ", ".join(files[:5]) + ", …" * (len(files) > 5)
        say(f"left out, {why}: {shown} ({len(files)})")


def say(text: str) -> None:
    """Print a note on standard error."""
    print(f"note: {text}", file=sys.stderr)
