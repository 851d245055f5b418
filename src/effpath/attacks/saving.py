"""Images as a file stores them: 8 bits per value."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from effpath.attacks.spec import Settings
from effpath.errors import OptionError

STEPS = 255
"""Steps of a value between 0 and 1."""


def rounded(images: Tensor) -> Tensor:
    """Return images in [0, 1] with every value at a whole step of 1/255, as a file of 8 bits per value stores it.

    Example:
        >>> import torch
        >>> (rounded(torch.tensor([0.0, 0.1, 1.0])) * 255).tolist()
        [0.0, 26.0, 255.0]
    """
    return (images * STEPS).round() / STEPS


class EightBit(nn.Module):
    """A model that sees its images rounded; gradients pass as if they were not.

    What is searched on it, such as the smallest change that fools it, is found for images that can be saved.
    """

    def __init__(self, network: nn.Module) -> None:
        """Keep the network in its mode."""
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, x: Tensor) -> Any:
        """Return what the network says of the rounded images x [N, C, H, W]."""
        return self.network(rounded(x).detach() + (x - x.detach()))  # the difference is 0, its gradient is not


def in_whole_steps(attack: str, settings: Settings) -> dict[str, Any]:
    """Return settings whose ``epsilon``, if they have one, is rounded down to whole steps of 1/255.

    Rounded images then stay within it.

    Raises:
        OptionError: an epsilon below one step.
    """
    if "epsilon" not in settings:
        return dict(settings)
    steps = math.floor(settings["epsilon"] * STEPS + 1e-6)
    if not steps:
        raise OptionError(
            f"{attack}: expected an epsilon of at least 1/255 for images that can be saved; got "
            f"{settings['epsilon']:g}, which 8 bits per value cannot hold"
        )
    return {**settings, "epsilon": steps / STEPS}
