"""Universal perturbations that never saw the images they are added to."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection.cases import Planned
from detection.patches import Trained, learned_from, targets_of, trained_once
from effpath.attacks.runner import repeatable
from effpath.attacks.saving import in_whole_steps, rounded
from effpath.attacks.spec import Settings
from effpath.data import Part
from effpath.files.cache import fingerprint, state_fingerprint
from effpath.models.predict import LogitsModel, device_of

STEP = 0.1  # of the bound, at first; it falls to a tenth of that


def train_perturbations(
    model: nn.Module, known: Part, labels: Tensor, planned: Planned, classes: int, seed: int, folder: Path
) -> Iterator[Trained]:
    """Train the perturbations of a row on training images, or read them; each is added to a part of the images.

    Each draws images to a target of its own, and is added to none of that class. Arguments are as of
    `detection.patches.train_patches`.
    """
    learned = learned_from(known, seed)
    training = in_whole_steps(planned.attack, planned.training)
    for number, target in enumerate(targets_of(planned.patches, classes, seed)):
        key = fingerprint(state_fingerprint(model), learned, training, target, seed + number)
        train = partial(trained, model, learned, target, training, seed + number)
        file = trained_once(folder / f"{key[:32]}.npy", train)
        own = torch.arange(number, len(labels), planned.patches)
        yield Trained({"file": str(file)}, {"target": target}, own[labels[own] != target])


def trained(model: nn.Module, images: Tensor, target: int, training: Settings, seed: int) -> Tensor:
    """Return a perturbation, float32 [C, H, W] on the CPU, that draws images to a target class.

    Sign steps on the cross-entropy of images drawn anew for each step, kept within a bound, as by Shafahi et al.
    (2020). It is rounded to whole steps of 1/255.

    Args:
        model: in eval mode, from pixels in [0, 1] to logits.
        images: float32 [N, C, H, W] to train on.
        target: the class.
        training: ``epsilon``, the bound (L∞); ``steps``; ``draws``, the images of a step.
        seed: of the images of each step.
    """
    bound, steps, network, device = training["epsilon"], training["steps"], LogitsModel(model), device_of(model)
    targets = torch.full((min(training["draws"], len(images)),), target, device=device)
    found = torch.zeros(images.shape[1:], device=device).requires_grad_()
    with repeatable(model, fingerprint(seed, "universal", target)):
        for step in range(steps):
            rows = torch.randperm(len(images))[: len(targets)]
            loss = functional.cross_entropy(network((images[rows].to(device) + found).clamp(0, 1)), targets)
            (gradient,) = torch.autograd.grad(loss, found)
            size = bound * STEP * (1 - 0.9 * step / steps)
            found.data = (found.data - size * gradient.sign()).clamp(-bound, bound)
    return rounded(found.detach().cpu())
