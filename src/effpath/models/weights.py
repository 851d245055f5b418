"""Weights from a file, as training scripts save them: safetensors, pickles of tensors; others only on request."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from effpath.errors import InputError, StoreError
from effpath.files.cache import atomic_write

WRAPPINGS = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which training scripts store a network in a checkpoint."""
_PREFIX = re.compile(r"(?:(?:module|model|network|net)\.)+")  # of DataParallel, Lightning, `PixelModel` …
_COMPILED = "_orig_mod."  # torch.compile's, at the front or, where a part was compiled, in the middle


def load_weights(network: nn.Module, file: Path, *, allow_pickle: bool = False) -> None:
    """Load the state dict in a file into the network.

    Auxiliary classifiers (``aux…``), which are used only in training, may be missing from the file, and so may all
    but one of the names of a tied tensor, which safetensors' `save_model` leaves out. Wrappings and prefixes of
    training scripts are removed, see `renamed`.

    Raises:
        InputError: a pickle of more than tensors, and ``allow_pickle`` is not set.
        StoreError: the file cannot be read or does not fit.
    """
    state = _read(file, allow_pickle)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise StoreError(f"expected a state dict in {file}, names with tensors, got {type(state).__name__}")
    state = renamed(state, set(network.state_dict()))
    for name, _ in list(network.named_children()):
        if name.lower().startswith("aux") and not any(key.startswith(f"{name}.") for key in state):
            setattr(network, name, None)
    expected = network.state_dict()
    other = {name: state[name] for name in expected if name in state and state[name].shape != expected[name].shape}
    if other:
        raise StoreError(f"the weights in {file} do not fit the model: {_other_shapes(expected, other)}")
    try:
        found = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise StoreError(f"the weights in {file} do not fit the model: {error}") from error
    missing = [name for name in found.missing_keys if not _is_tied(name, network, state)]
    if missing or found.unexpected_keys:
        raise StoreError(
            f"the weights in {file} do not fit the model: of its {len(expected)} tensors the file lacks "
            f"{_some(missing)}; of the file's {len(state)} the model has no place for "
            f"{_some(found.unexpected_keys)}; give another architecture its own name, and a changed head a "
            "factory, path/to/file.py:make, that makes the network as it was trained"
        )


def _is_tied(name: str, network: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Tell whether a tensor of the network is also known by a name that the state dict has."""
    tensors = network.state_dict(keep_vars=True)
    return any(tensors[other] is tensors[name] for other in state if other != name and other in tensors)


def save_weights(state: Mapping[str, Tensor], file: Path) -> None:
    """Write a state dict as safetensors or, under any other suffix, as torch does; `load_weights` reads both.

    Raises:
        StoreError: the file cannot be written; the previous one is untouched.
    """
    plain = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    write = save_file if file.suffix == ".safetensors" else torch.save
    atomic_write(file, lambda temporary: write(plain, temporary))


def _read(file: Path, allow_pickle: bool) -> Any:
    """Return the content of the file; code in a pickle is run only if that is allowed and needed."""
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # about an unusual pickle protocol
                return unwrapped(torch.load(file, map_location="cpu", weights_only=True))
        except pickle.UnpicklingError as error:  # it holds more than tensors, or is damaged
            if not allow_pickle:
                raise InputError(
                    f"expected weights as a .safetensors file, or a pickle of only tensors, got {file}, which "
                    "holds more or is damaged; pickles can run code. Write it once, from a source you trust, with "
                    "safetensors.torch.save_model(model, 'weights.safetensors'), or give "
                    "--allow-pickle (allow_pickle=True)"
                ) from error
        return unwrapped(torch.load(file, map_location="cpu", weights_only=False))
    except InputError:
        raise
    except Exception as error:  # code in a pickle raises anything
        raise StoreError(f"cannot read weights from {file}: {error}; copy or export them again") from error


def _other_shapes(expected: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str:
    """Return which tensors have other shapes; if only the last layer's, also which option is needed."""
    name, value = list(other.items())[-1]
    said = (
        f"expected {name} of shape {list(expected[name].shape)}, got {list(value.shape)}"
        + f" ({len(other)} of {len(expected)} tensors have other shapes)" * (len(other) > 1)
    )
    outputs = {(expected[name].shape[:1], other[name].shape[:1]) for name in other}
    if len(outputs) == 1 and all(expected[name].shape[1:] == other[name].shape[1:] for name in other):
        return (
            f"{said}; for weights of {value.shape[0]} outputs give --classes {value.shape[0]}, or, where a "
            "factory makes the network, make it with as many"
        )
    return f"{said}; give another architecture its own name"


def _some(names: Sequence[str]) -> str:
    """Return the first few of many names."""
    if not names:
        return "none"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def unwrapped(held: Any) -> Any:
    """Return what a checkpoint holds under the usual keys, or the checkpoint itself; of a module, its state."""
    for key in WRAPPINGS:
        if isinstance(held, Mapping) and isinstance(held.get(key), (Mapping, nn.Module)):
            return unwrapped(held[key])
    return held.state_dict() if isinstance(held, nn.Module) else held


def renamed(state: Mapping[str, Tensor], names: set[str]) -> dict[str, Tensor]:
    """Return a state dict under the ``names`` of the network.

    The prefix that all of the network's names have in the file is removed: ``module.`` of DataParallel, ``model.``
    of Lightning, ``_orig_mod.`` of torch.compile, and any number of them. Other content of the file, such as the
    weights of a loss, is then left out. If the names fit with no prefix, only a prefix that all of them share is
    removed.

    Example:
        >>> import torch
        >>> held = {"model._orig_mod.fc.weight": torch.ones(1), "loss.weight": torch.ones(1)}
        >>> list(renamed(held, {"fc.weight"}))
        ['fc.weight']
    """
    if not any(_COMPILED in name for name in names):
        state = {name.replace(_COMPILED, ""): value for name, value in state.items()}
    optional = [name for name in names if name.endswith("num_batches_tracked") or name.lower().startswith("aux")]
    needed = names.difference(optional)  # counters of batch norm and heads used only in training may be missing
    matches = [matched[0] for name in state if (matched := _PREFIX.match(name))]
    prefixes = {match[: dot.end()] for match in matches for dot in re.finditer(r"\.", match)}
    for prefix in sorted({"", *prefixes}, key=len):
        if all(prefix + name in state for name in needed):
            held = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            return held if prefix else dict(state)
    shared = [prefix for prefix in prefixes if all(name.startswith(prefix) for name in state)]
    longest = max(shared, key=len, default="")
    return {name.removeprefix(longest): value for name, value in state.items()}
