"""A state dict as a training script left it: found in its wrapping, its names without the wrappers' prefixes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

WRAPPINGS = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which training scripts keep a network in a checkpoint."""
_PREFIX = re.compile(
    r"(?:(?:module|model|network|net)\.)+"
)  # of DataParallel, Lightning, `PixelModel` and the like
_COMPILED = "_orig_mod."  # torch.compile's, at the front or, where a part was compiled, in the middle


def unwrapped(held: Any) -> Any:
    """Return what a checkpoint holds under the usual keys, or the checkpoint itself; a module gives its state."""
    for key in WRAPPINGS:
        if isinstance(held, Mapping) and isinstance(held.get(key), (Mapping, nn.Module)):
            return unwrapped(held[key])
    return held.state_dict() if isinstance(held, nn.Module) else held


def renamed(state: Mapping[str, Tensor], names: set[str]) -> dict[str, Tensor]:
    """Return a state dict by the network's own ``names``.

    The prefix that all of the network's names have in the file is taken off: ``module.`` of DataParallel,
    ``model.`` of Lightning, ``_orig_mod.`` of torch.compile, and any number of them. What the file holds beside
    the network, such as the weights of a loss, is left out then. Where the names do not fit with any prefix they
    keep their own, less a prefix that all of them share.

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
            own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            return own if prefix else dict(state)
    shared = [prefix for prefix in prefixes if all(name.startswith(prefix) for name in state)]
    longest = max(shared, key=len, default="")
    return {name.removeprefix(longest): value for name, value in state.items()}


def _ends(prefix: str) -> list[int]:
    return [place + 1 for place, letter in enumerate(prefix) if letter == "."]


def _optional(name: str) -> bool:
    """Whether a file may lack a name: counters of batch norm, and heads that are used in training only."""
    return name.endswith("num_batches_tracked") or name.lower().startswith("aux")
