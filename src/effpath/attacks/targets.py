"""Which class a targeted attack has to reach: the seed decides, and nothing else about the attack."""

from __future__ import annotations

from typing import Literal

import torch

from effpath.errors import InputError
from effpath.files.cache import fingerprint

Targeting = Literal["each", "one"]  # a class for each image, or one class for all of them


def draw_targets(labels: torch.Tensor, classes: int, seed: int, targeting: Targeting) -> torch.Tensor:
    """Target classes int64 [N] of images with these labels [N].

    ``"each"``: uniform among the classes that are not the image's label; a row's target depends on the seed, its
    place and its label alone, so that every attack on the same images has the same targets. ``"one"``: one class,
    uniform among all; an image of that very class cannot be brought there, and is a failure.

    Errors: `InputError` where there is no other class.
    """
    if classes < 2:
        raise InputError(f"a targeted attack wants a model of at least 2 classes; got {classes}")
    generator = torch.Generator().manual_seed(int(fingerprint(seed, "targets")[:15], 16))
    if targeting == "one":
        return torch.randint(classes, (1,), generator=generator).expand(len(labels)).clone()
    return draw_others(labels, classes, generator)


def draw_others(labels: torch.Tensor, classes: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """Classes int64 [N], uniform among those that are not the label; the only class where there is no other."""
    drawn = torch.randint(max(1, classes - 1), labels.shape, generator=generator).to(labels.device)
    return (drawn + (drawn >= labels)) % classes
