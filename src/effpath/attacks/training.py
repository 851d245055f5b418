"""A patch that is trained on some images, to be pasted into others."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from effpath.attacks.patches import trained
from effpath.attacks.runner import repeatable, require_attackable
from effpath.attacks.spec import Settings
from effpath.attacks.table import ATTACKS
from effpath.errors import OptionError
from effpath.files.cache import fingerprint
from effpath.models.predict import LogitsModel, count_classes, device_of


def train_patch(
    model: nn.Module, images: Tensor, target: int, *, settings: Settings | None = None, seed: int = 0
) -> Tensor:
    """Return an adversarial patch (Brown 2017), float32 [C, P, P] in [0, 1] on the CPU, for one target class.

    The attack ``Patch`` trains on the very images that it attacks. To judge detectors, train on some images, save
    the array, and paste it into others with the attack ``PatchFile``.

    Args:
        model: in eval mode, from pixels in [0, 1] to logits.
        images: float32 [N, C, H, W] in [0, 1], to train on; not those to be attacked.
        target: the class that images with the patch are to be taken for.
        settings: of the attack ``Patch`` that differ from its defaults.
        seed: of the images and places of each step.

    Raises:
        OptionError: an unknown setting, or a target that is no class of the model.
        InputError: an unfit model or images.

    Example::

        patch = train_patch(model, train_images, target=3, settings={"scale": 0.4})
        numpy.save("patch.npy", patch.numpy())
        pasted = {"file": "patch.npy", "scale": 0.4, "target": 3}
        attack(model, images, labels, "PatchFile", settings=pasted)
    """
    merged = ATTACKS["Patch"].merged(settings)
    require_attackable(model, images, torch.zeros(len(images), dtype=torch.int64))
    classes = count_classes(model, images)
    if not 0 <= target < classes:
        raise OptionError(f"train_patch: expected a target among the {classes} classes; got {target}")
    device = device_of(model)
    targets = torch.full((len(images),), target, device=device)
    with repeatable(model, fingerprint(seed, "patch", target)):
        return trained(LogitsModel(model), images.to(device), targets, merged).cpu()
