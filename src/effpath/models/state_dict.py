"""State dicts as training scripts save them: unwrapped, and without the prefixes of wrappers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

WRAPPINGS = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which training scripts store a network in a checkpoint."""
_PREFIX = re.compile(
    r"(?:(?:module|model|network|net)\.)+"
)  # of DataParallel, Lightning, `PixelModel` and the like
_COMPILED = "_orig_mod."  # torch.compile's, at the front or, where a part was compiled, in the middle


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
    needed = {name for name in names if not _optional(name)}
    prefixes = {
        matched[0][:end] for name in state if (matched := _PREFIX.match(name)) for end in _ends(matched[0])
    }
    for prefix in sorted({"", *prefixes}, key=len):
        if all(prefix + name in state for name in needed):
            held = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            return held if prefix else dict(state)
    shared = [prefix for prefix in prefixes if all(name.startswith(prefix) for name in state)]
    longest = max(shared, key=len, default="")
    return {name.removeprefix(longest): value for name, value in state.items()}


def _ends(prefix: str) -> list[int]:
    return [place + 1 for place, letter in enumerate(prefix) if letter == "."]


def _optional(name: str) -> bool:
    """Return whether a file may lack a name: counters of batch norm, and heads used only in training."""
    return name.endswith("num_batches_tracked") or name.lower().startswith("aux")
