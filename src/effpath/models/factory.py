"""Models that a factory in a file or package makes."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from torch import nn

from effpath.errors import InputError


def from_factory(spec: str) -> nn.Module:
    """Return the model that a factory returns, called without arguments.

    Raises:
        InputError: no such file, module or factory, or it fails or returns no torch.nn.Module.
    """
    source, _, factory = spec.rpartition(":")
    if not source or not factory:
        raise InputError(
            "expected a model as path/to/file.py:factory, package.module:factory, torchvision:NAME or timm:NAME, "
            f"got {spec!r}"
        )
    module = _from_file(Path(source)) if source.endswith(".py") else _from_module(source)
    make = getattr(module, factory, None)
    if not callable(make):
        names = [name for name in vars(module) if callable(getattr(module, name)) and name[0] != "_"]
        raise InputError(f"no factory {factory!r} in {source}; it has {', '.join(names) or 'none'}")
    try:
        model = make()
    except Exception as error:
        raise InputError(
            f"{factory}() in {source} failed: {type(error).__name__}: {error}; it is called without arguments"
        ) from error
    if not isinstance(model, nn.Module):
        raise InputError(f"expected {spec} to return a torch.nn.Module, got {type(model).__name__}")
    return model


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"no file {path} to load a model from")
    name = f"effpath_model_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        found.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    return module


def _from_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"no module {name!r} to load a model from: {error}") from error
