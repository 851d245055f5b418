"""What defines an attack: a name, a norm, settings, a function, and which classes it aims at."""

from __future__ import annotations

import importlib
import math
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from effpath.errors import InputError, MissingExtraError, OptionError, StoreError
from effpath.files.cache import fingerprint

Settings = Mapping[str, Any]
Run = Callable[[nn.Module, Tensor, Tensor, Settings], Tensor]
"""(model in eval mode, images [N, C, H, W], classes [N], every setting) → candidates [N, C, H, W].

The classes are the images' labels or, for a targeted attack, the classes to reach. A candidate that does not fool
the model does no harm: it is verified, and counted as failed.
"""
Targeting = Literal["each", "one"]  # one class per image, or one class for all images
CHOICES = {"norm": ("Linf", "L2"), "distance": ("L2", "cosine"), "shape": ("square", "round")}
"""Settings that take one of a few words."""
ANY = -1
"""The setting ``target`` where no class is named."""
LEAST = {"layers": 0, "cells": 0, "target": ANY}
"""The least of settings of whole numbers that may be below 1."""


@dataclass(frozen=True)
class AttackSpec:
    """One line of `ATTACKS`.

    Attributes:
        name: of the attack.
        norm: ``L0``, ``L2`` or ``Linf``, which it keeps small; None if it keeps none small.
        settings: defaults; their types are the expected types.
        run: makes candidates.
        library: the optional package it needs.
        from_clean: whether it starts from correctly classified images.
        targeting: how its targets are drawn where no setting ``target`` names one; None if any class but the
            label counts.
        files: settings that name files, whose content is part of the result.
    """

    name: str
    norm: str | None
    settings: Settings
    run: Run
    library: str | None = None
    from_clean: bool = True
    targeting: Targeting | None = None
    files: tuple[str, ...] = ()

    def merged(self, settings: Settings | None) -> dict[str, Any]:
        """Return all settings, as `merged_settings` does."""
        return merged_settings(self.name, self.settings, settings)

    def contents(self, settings: Settings) -> list[bytes]:
        """Return the content of the files that the settings name; OptionError or StoreError if one is missing."""
        found = []
        for key in self.files:
            if not settings[key]:
                raise OptionError(f"{self.name} expects the path of a file in its setting {key!r}; got none")
            try:
                found.append(Path(settings[key]).read_bytes())
            except OSError as error:
                raise StoreError(f"{self.name}: cannot read {settings[key]} (setting {key}): {error}") from error
        return found


def merged_settings(attack: str, defaults: Settings, settings: Settings | None) -> dict[str, Any]:
    """Return an attack's defaults overridden by settings; OptionError for an unknown name or a wrong value."""
    merged = dict(defaults)
    for key, value in (settings or {}).items():
        if key not in merged:
            raise OptionError(f"{attack} has no setting {key!r}; it has: {', '.join(merged) or 'none'}")
        merged[key] = _checked(f"{attack}: setting {key}", key, defaults[key], value)
    return merged


def _checked(where: str, key: str, default: Any, value: Any) -> Any:
    """Return a value in the type of its default: whole numbers from 1 or `LEAST`, others from 0, paths, words."""
    least = LEAST.get(key, 1)
    if isinstance(default, tuple):
        expected, fits = "numbers, at least one", isinstance(value, (tuple, list)) and len(value) > 0
    elif key in CHOICES:
        expected, fits = f"one of {CHOICES[key]}", value in CHOICES[key]
    elif isinstance(default, str):
        expected, fits = "a path", isinstance(value, (str, os.PathLike))
    elif isinstance(default, bool):
        expected, fits = "True or False", isinstance(value, bool)
    elif isinstance(default, int):
        expected, fits = f"an integer of at least {least}", type(value) is int and value >= least
    else:
        expected, fits = "a finite number of at least 0", type(value) in (int, float) and 0 <= value < math.inf
    if not fits:
        raise OptionError(f"{where}: expected {expected}; got {value!r}")
    if isinstance(default, tuple):
        return tuple(_checked(where, key, default[0], one) for one in value)
    return os.fspath(value) if isinstance(default, str) else type(default)(value)


def require(library: str, attack: str) -> ModuleType:
    """Return the optional library that an attack needs; MissingExtraError if it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # foolbox 3.3.4 imports from an old part of SciPy
            return importlib.import_module(library)
    except ImportError as error:
        raise MissingExtraError(
            f"the attack {attack} needs {library}, which cannot be imported ({error}); "
            f"pip install 'effpath[attacks]'"
        ) from error


def installed(library: str) -> bool:
    """Tell whether an optional library can be imported."""
    try:
        require(library, "")
    except MissingExtraError:
        return False
    return True


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
