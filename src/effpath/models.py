"""Models by name: ``path/to/file.py:factory`` and ``package.module:factory``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from effpath.errors import InputError, StoreError


def load_model(spec: str, weights: str | Path | None = None) -> nn.Module:
    """Return the model that a factory makes, in eval mode.

    Args:
        spec: ``path/to/file.py:factory`` or ``package.module:factory``; the factory takes no arguments and
            returns a module.
        weights: a safetensors file of its state dict; pickles are not read.

    Raises:
        InputError: no such file, module or factory, or the factory returns no module.
        StoreError: the weights cannot be read or do not fit.
    """
    source, _, factory = spec.rpartition(":")
    if not source or not factory:
        raise InputError(f"wanted a model as path/to/file.py:factory or package.module:factory, got {spec!r}")
    module = _from_file(Path(source)) if source.endswith(".py") else _from_module(source)
    make = getattr(module, factory, None)
    if not callable(make):
        names = [name for name in vars(module) if callable(getattr(module, name)) and name[0] != "_"]
        raise InputError(f"no factory {factory!r} in {source}; it has {', '.join(names) or 'none'}")
    model = make()
    if not isinstance(model, nn.Module):
        raise InputError(f"wanted {spec} to return a torch.nn.Module, got {type(model).__name__}")
    if weights is not None:
        _load_weights(model, Path(weights))
    return model.eval()


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


def _load_weights(model: nn.Module, file: Path) -> None:
    if file.suffix != ".safetensors":
        raise InputError(f"wanted weights as a .safetensors file, got {file}; pickles can run code")
    try:
        state = load_file(file)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"cannot read weights from {file}: {error}; copy or export them again") from error
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise StoreError(f"the weights in {file} do not fit the model: {error}") from error
