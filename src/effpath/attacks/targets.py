"""Which class a targeted attack has to reach: the seed decides, nothing else of the attack does."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from effpath.errors import InputError
from effpath.files.cache import fingerprint

Targeting = Literal["each", "one"]  # one class per image, or one class for all images


def draw_targets(labels: Tensor, classes: int, seed: int, targeting: Targeting) -> Tensor:
    """Return the target classes, int64 [N], of images with these labels [N].

    ``"each"``: uniform among the classes other than the image's label; a target depends on the seed, the row and
    the label alone, so that all attacks on the same images have the same targets. ``"one"``: one class, uniform
    among all; an attack on an image of that class fails.

    Raises:
        InputError: there is no other class.
    """
    if classes < 2:
        raise InputError(f"a targeted attack expects a model with at least 2 classes; got {classes}")
    generator = torch.Generator().manual_seed(int(fingerprint(seed, "targets")[:15], 16))
    if targeting == "one":
        return torch.randint(classes, (1,), generator=generator).expand(len(labels)).clone()
    return draw_others(labels, classes, generator)


def draw_others(labels: Tensor, classes: int, generator: torch.Generator | None = None) -> Tensor:
    """Return classes, int64 [N], uniform among those other than the label; the only class if there is no other."""
    drawn = torch.randint(max(1, classes - 1), labels.shape, generator=generator).to(labels.device)
    return (drawn + (drawn >= labels)) % classes
