"""Patches that never saw the images they are pasted into, and harmless squares of the same size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detection.cases import Planned, patch_files
from effpath.attacks import ATTACKS, train_patch
from effpath.attacks.patches import draw_places, paste, spread
from effpath.data import Part
from effpath.files.cache import atomic_write, fingerprint, state_fingerprint

SHAPES = ("square", "round")  # in turn
TRAINED_ON = 500  # training images at most
SQUARES = ("noise", "smooth colour", "another image")
PASTED = tuple(ATTACKS["PatchFile"].settings)  # settings of a patch that is there


@dataclass(frozen=True, eq=False)
class Trained:
    """A patch of a row, and the images that it is pasted into; or a universal perturbation.

    Attributes:
        settings: of the attack that reads it from its file, the path of the file among them.
        about: target, and shape of a patch.
        rows: int64 [M], of the images to be attacked, without those of its target.
    """

    settings: Mapping[str, Any]
    about: Mapping[str, Any]
    rows: Tensor


def train_patches(
    model: nn.Module, known: Part, labels: Tensor, planned: Planned, classes: int, seed: int, folder: Path
) -> Iterator[Trained]:
    """Train the patches of a row on training images, or read them; each is pasted into a part of the images.

    Args:
        model: that is attacked.
        known: training images.
        labels: int64 [N], of the images to be attacked, which are dealt out to the patches.
        planned: the row.
        classes: number of classes; so many patches at most have targets that differ.
        seed: of the targets and of the training.
        folder: where the patches are kept.
    """
    if planned.attack == "PatchFile":
        yield from read_patches(labels, planned)
        return
    learned = learned_from(known, seed)
    for number, target in enumerate(targets_of(planned.patches, classes, seed)):
        shape = SHAPES[number % len(SHAPES)]
        settings = ATTACKS[planned.attack].merged({**planned.settings, "shape": shape})
        key = fingerprint(state_fingerprint(model), learned, settings, target, seed + number)
        train = partial(train_patch, model, learned, target, settings=settings, seed=seed + number)
        file = trained_once(folder / f"{key[:32]}.npy", train)
        own = torch.arange(number, len(labels), planned.patches)
        pasted = {name: settings[name] for name in PASTED if name in settings}
        yield Trained(
            {**pasted, "file": str(file), "target": target},
            {"target": target, "shape": shape},
            own[labels[own] != target],
        )


def read_patches(labels: Tensor, planned: Planned) -> Iterator[Trained]:
    """Yield the patches of others; the images [N] to be attacked are dealt out to them."""
    files = patch_files()
    for number, file in enumerate(files):
        settings = ATTACKS[planned.attack].merged({**planned.settings, "file": file})
        yield Trained(settings, {"file": file.name}, torch.arange(number, len(labels), len(files)))


def learned_from(known: Part, seed: int) -> Tensor:
    """Return the training images, float32 [n, C, H, W], that a patch or perturbation is trained on."""
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))
    return known.take(order[:TRAINED_ON].sort().values).images[:]


def targets_of(count: int, classes: int, seed: int) -> list[int]:
    """Return so many targets; those of the first ``classes`` differ."""
    drawn = np.random.default_rng(seed).permutation(classes).tolist()
    return [drawn[number % classes] for number in range(count)]


def trained_once(file: Path, train: Callable[[], Tensor]) -> Path:
    """Return the .npy file of an array, which is trained and written if it is not there."""
    if not file.exists():
        pixels = train().numpy()
        atomic_write(file, lambda temporary: _write(temporary, pixels))
    return file


def _write(file: Path, pixels: np.ndarray) -> None:
    with file.open("wb") as opened:  # numpy would add a suffix to the name
        np.save(opened, pixels)


def with_squares(images: Tensor, kind: str, scale: float, rotation: float, seed: int) -> Tensor:
    """Return images [N, C, H, W] with a harmless square or disc of this kind at a random place in each.

    Args:
        images: N > 1.
        kind: of `SQUARES`: every pixel's colour random; four random corners with straight lines between; a part of
            the next image.
        scale: share of the shorter side of the image.
        rotation: radians at most.
        seed: of colours and places.
    """
    side = scale * min(images.shape[2:])
    resolution = max(1, round(side))
    found = images.clone()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pixels = _pixels(images, kind, resolution)
        for number, shape in enumerate(SHAPES):
            rows = torch.arange(number, len(images), len(SHAPES))
            places = draw_places(images[rows], side, rotation, shape)
            found[rows] = paste(pixels[rows], images[rows], *places, side, shape)
    return found


def _pixels(images: Tensor, kind: str, resolution: int) -> Tensor:
    """Return what is pasted into each image, [N, C, resolution, resolution]."""
    count, channels, height, width = images.shape
    if kind == "noise":
        return torch.rand(count, channels, resolution, resolution)
    if kind == "smooth colour":
        return torch.stack([spread(each, resolution) for each in torch.rand(count, channels, 2, 2)])
    tops = torch.randint(height - resolution + 1, (count,)).tolist()
    lefts = torch.randint(width - resolution + 1, (count,)).tolist()
    others = images.roll(-1, 0)
    return torch.stack([
        other[:, top : top + resolution, left : left + resolution]
        for other, top, left in zip(others, tops, lefts, strict=True)
    ])  # fmt: skip
