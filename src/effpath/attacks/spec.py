"""What an attack is: a name, a norm, settings and a function."""

from __future__ import annotations

import importlib
import math
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from effpath.attacks.targets import Targeting
from effpath.errors import MissingExtraError, OptionError, StoreError

Settings = Mapping[str, Any]
Run = Callable[[nn.Module, torch.Tensor, torch.Tensor, Settings], torch.Tensor]
"""(model in eval mode, images [N, C, H, W], classes [N], every setting) → candidates [N, C, H, W].

The classes are the images' labels, to be left, or, for a targeted attack, the classes to be reached. A candidate
that does not fool the model is no harm: it is found out and counted as failed.
"""


@dataclass(frozen=True)
class AttackSpec:
    """One line of `ATTACKS`."""

    name: str
    norm: str | None  # "L0", "L2" or "Linf", the norm kept small; None where none is
    settings: Settings  # defaults; their types are the types wanted
    run: Run
    library: str | None = None  # the optional package it needs
    from_clean: bool = True  # whether it starts from correctly classified images
    targeting: Targeting | None = None  # whose class has to be reached; None where any but the label will do
    files: tuple[str, ...] = ()  # the settings that name files, whose content is part of the result

    def merged(self, settings: Settings | None) -> dict[str, Any]:
        """The defaults overridden by ``settings``; `OptionError` for an unknown name or a wrong value."""
        merged = dict(self.settings)
        for key, value in (settings or {}).items():
            if key not in merged:
                raise OptionError(f"{self.name} has no setting {key!r}; it has: {', '.join(merged) or 'none'}")
            merged[key] = self._checked(key, value)
        return merged

    def contents(self, settings: Settings) -> list[bytes]:
        """What is in the files that the settings name; `OptionError` or `StoreError` where one is not there."""
        found = []
        for key in self.files:
            if not settings[key]:
                raise OptionError(f"{self.name} wants the path of a file in its setting {key!r}; got none")
            try:
                found.append(Path(settings[key]).read_bytes())
            except OSError as error:
                raise StoreError(f"{self.name}: cannot read {settings[key]} (setting {key}): {error}") from error
        return found

    def _checked(self, key: str, value: Any) -> Any:
        """The value in the type of its default; whole numbers from 1, others from 0; strings are paths."""
        kind = type(self.settings[key])
        if kind is str and isinstance(value, (str, os.PathLike)):
            return os.fspath(value)
        if kind is bool and isinstance(value, bool):
            return value
        if kind is int and type(value) is int and value >= 1:
            return value
        if kind is float and type(value) in (int, float) and value >= 0 and math.isfinite(value):
            return float(value)
        wanted = {
            bool: "True or False",
            int: "a whole number of at least 1",
            float: "a finite number of at least 0",
            str: "a path",
        }
        raise OptionError(f"{self.name}: setting {key}: expected {wanted[kind]}; got {value!r}")


def require(library: str, attack: str) -> ModuleType:
    """The optional library that the attack needs; `MissingExtraError` where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # foolbox 3.3.4 imports from an old part of SciPy
            return importlib.import_module(library)
    except ImportError as error:
        raise MissingExtraError(
            f"the attack {attack} needs {library}, which cannot be imported ({error}); "
            f"pip install 'effpath[attacks]'"
        ) from error
