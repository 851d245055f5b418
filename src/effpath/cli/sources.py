"""The model and the images that a command names, opened, with what a person should know of them."""

from __future__ import annotations

import sys
from pathlib import Path

from torch import Tensor, nn

from effpath.cli.options import parse_size
from effpath.data import Dataset, Part, align_labels, load_data
from effpath.data.labels import read_class_map
from effpath.data.load import is_data
from effpath.errors import InputError
from effpath.images import Images, PictureFormat, format_of, load_images, resized

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


def open_part(data: Dataset, part: str | None, *otherwise: str, skip_damaged: bool = False) -> Part:
    """Return a part of the data, or the first of ``otherwise`` that exists; name the pictures left out."""
    chosen = data.part(part) if part else data.part(*otherwise)
    if skip_damaged:
        chosen, damaged = chosen.readable()
        for name in damaged:
            say(f"left out, cannot be read: {name}")
    if not len(chosen):
        raise InputError(f"no images in this part of {data.name}")
    return chosen


def open_images(
    sources: list[str], wanted: PictureFormat | None, *, seed: int, part: str | None, skip_damaged: bool
) -> tuple[Images, list[str]]:
    """Return the images of files and folders, or of one data set, and a name for each."""
    if not any(is_data(source) for source in sources):
        damaged: list[str] = []
        pixels, names = load_images(sources, wanted, damaged=damaged if skip_damaged else None)
        for name in damaged:
            say(f"left out, cannot be read: {name}")
        return pixels, names
    if len(sources) > 1:
        raise InputError(f"wanted files and folders, or one data set, got {', '.join(sources)}")
    data = load_data(sources[0], seed=seed, picture_format=wanted)
    chosen = open_part(data, part, "test", "val", "all", skip_damaged=skip_damaged)
    return chosen.images, list(chosen.names) or [f"{data.name}[{i}]" for i in range(len(chosen))]


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


def say(text: str) -> None:
    """Print a note on standard error."""
    print(f"note: {text}", file=sys.stderr)
