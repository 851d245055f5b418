"""Square: random search by squares, which asks the model for its logits alone (Andriushchenko et al. 2020)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from effpath.attacks.spec import Settings

SHARE = 0.8
"""Share of the pixels that the first squares cover."""
HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After how many squares that share is halved."""


def square(model: nn.Module, images: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Run the Square attack within ``epsilon``: up to ``queries`` squares are tried on each image.

    It needs no gradients, so that it tells where a network only hides them. An image that is fooled is the first
    one that fools.
    """
    return square_search(model, images, labels, settings)[0]


@torch.no_grad()
def square_search(model: nn.Module, images: Tensor, labels: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    """Return the last image [N, C, H, W] of the search, and whether it fools the model, bool [N].

    The search starts at stripes: each column of each channel is moved by ε up or down. Then a square at a random
    place is moved by ε, up or down in each channel as a whole, and kept where the largest logit beside the label's
    gains on it. Squares of the authors' program have one place and sign for all images of a batch, which never
    touches the last row or column; here each image has its own, anywhere, as in the paper.
    """
    epsilon = settings["epsilon"]
    count, channels, height, width = images.shape
    device = images.device
    rows, columns = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)
    best = (images + epsilon * _signs((count, channels, 1, width), device)).clamp(0, 1)
    reached = _lead(model(best), labels)
    for query in range(settings["queries"]):
        left = (reached <= 0).nonzero()[:, 0]
        if not len(left):
            break
        side = side_of(query, height, width)
        top = torch.randint(height - side + 1, (len(left), 1, 1, 1)).to(device)
        start = torch.randint(width - side + 1, (len(left), 1, 1, 1)).to(device)
        inside = (rows >= top) & (rows < top + side) & (columns >= start) & (columns < start + side)
        moved = (images[left] + epsilon * _signs((len(left), channels, 1, 1), device)).clamp(0, 1)
        made = torch.where(inside, moved, best[left])
        lead = _lead(model(made), labels[left])
        better = lead > reached[left]
        best[left[better]], reached[left[better]] = made[better], lead[better]
    return best, reached > 0


def side_of(query: int, height: int, width: int) -> int:
    """Return the side in pixels of the square after so many others."""
    share = SHARE / 2 ** sum(query > limit for limit in HALVED)
    return min(max(round(math.sqrt(share * height * width)), 1), height, width)


def _signs(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Draw −1 or 1; on the CPU, so that they are the same for every device."""
    return (torch.randint(2, shape) * 2 - 1).to(device)


def _lead(logits: Tensor, labels: Tensor) -> Tensor:
    """Return by how much another logit exceeds the label's, [N]."""
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.amax(1) - logits.gather(1, labels[:, None]).squeeze(1)
