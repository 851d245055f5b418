"""The logits in the result of a model: found the same way wherever a model is called."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten_with_path

from effpath.errors import CaptureError, InputError


def find_logits(result: Any) -> tuple[Tensor, int]:
    """Return the logits [N, classes] in the result of a model, and their index among its tensors.

    In a dict, tuple or the like they are what is called ``logits``, otherwise the only tensor of two dimensions.

    Raises:
        CaptureError: there are none, or several.
    """
    leaves = tree_flatten_with_path(result)[0]
    found = [(i, path) for i, (path, leaf) in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.dim() == 2]
    named = [(i, path) for i, path in found if "logits" in keystr(path)]
    if len(named or found) != 1:
        described = ", ".join(f"{keystr(path)} {_describe(leaf)}".strip() for path, leaf in leaves)
        raise CaptureError(
            f"expected a model that returns logits [N, classes], got {type(result).__name__} of {described}; "
            "wrap it in a module that returns the logits"
        )
    index = (named or found)[0][0]
    return leaves[index][1], index


class LogitsModel(nn.Module):
    """A model that returns only its logits, whatever they are wrapped in."""

    def __init__(self, network: nn.Module) -> None:
        """Keep the network in its mode."""
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, classes] of images x [N, C, H, W]."""
        return find_logits(self.network(x))[0]


def require_two_classes(classes: int, what: str) -> None:
    """Raise InputError for a network with one logit where a second class is needed."""
    if classes < 2:
        raise InputError(
            f"expected a network with a logit for each of at least 2 classes, got {classes}: {what} needs a "
            "second class; for a network with one logit z (before its sigmoid), wrap it in a module that returns "
            "torch.cat([-z, z], 1), and label its images 0 and 1"
        )


def _describe(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
