"""AutoAttack: the worst of several attacks for each image (Croce & Hein 2020)."""

from __future__ import annotations

from torch import Tensor, nn

from effpath.attacks.apgd import ascent, one_after_another, targeted_ascents
from effpath.attacks.methods import doubt
from effpath.attacks.spec import Settings
from effpath.attacks.square import square_search


def autoattack(model: nn.Module, images: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Run three of the four attacks of AutoAttack's standard version, each on what resists those before it alone.

    Auto-PGD on the cross-entropy (APGD-CE), Auto-PGD towards each of the ``targets`` likeliest other classes on
    the targeted ratio of logits (APGD-T, of four classes or more), and Square, with ``queries`` squares. FAB-T,
    which looks for the smallest change, is left out: an image that resists these three may not resist all four.
    """
    return one_after_another(
        images,
        [
            ascent(model, images, labels, doubt, settings),
            *targeted_ascents(model, images, labels, settings),
            lambda rows: square_search(model, images[rows], labels[rows], settings),
        ],
    )
