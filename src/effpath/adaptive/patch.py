"""A patch that knows the detector: one picture for every image, at any place, misclassified and not suspicious."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from effpath.adaptive.search import Victim, judged
from effpath.adaptive.slopes import Slopes
from effpath.attacks.patches import draw_places, paste
from effpath.attacks.runner import require_attackable
from effpath.detect import threshold_at_fpr
from effpath.errors import InputError, OptionError
from effpath.files.cache import fingerprint
from effpath.models.predict import device_of


@dataclass(frozen=True)
class PatchSettings:
    """How a patch is trained that knows the detector.

    Attributes:
        scale: side of the square, as a share of the shorter side of the image, at most 0.7.
        rotation: degrees at most, to either side.
        steps: of Adam, each on ``draws`` images with the patch at new places.
        stepsize: of Adam.
        tradeoff: weight of the suspicion's gradient; that of misclassification has 1, both of length 1.
        judge_every: steps after which the detector judges the patch on training images.
        temperature, confidence: of `Slopes`.
    """

    scale: float = 0.5
    rotation: float = 20.0
    steps: int = 200
    draws: int = 16
    stepsize: float = 0.05
    tradeoff: float = 1.0
    judge_every: int = 20
    temperature: float = 0.1
    confidence: float = 0.5


def train_aware_patch(
    victim: Victim,
    images: Tensor,
    labels: Tensor,
    start: Tensor,
    *,
    settings: PatchSettings | None = None,
    seed: int = 0,
) -> Tensor:
    """Return a patch, float32 [C, P, P] in [0, 1], that lets images be misclassified and pass the detector.

    Each step follows misclassification and, where that is reached, the suspicion alone (`selective_pgd`), over
    random images and places. After every ``judge_every`` steps the detector itself judges the patch, on all of the
    images at places that stay the same; the patch that lets most of them pass is kept, the start among them.

    Args:
        victim: detector and model; ``surrogate`` where the detector has no gradient.
        images: float32 [N, C, H, W] in [0, 1], to train on; not those to be attacked.
        labels: int64 [N].
        start: a square patch [C, P, P], such as that of `train_patch`, which knows no detector.
        settings: the defaults without.
        seed: of the images and places.

    Raises:
        InputError: an unfit model or images; a start that is no square patch of their channels.
        OptionError: a detector without threshold, or without gradient.
    """
    how, detector, device = settings or PatchSettings(), victim.detector, device_of(victim.model)
    require_attackable(victim.model, images, labels)
    if start.dim() != 3 or start.shape[0] != images.shape[1] or start.shape[1] != start.shape[2]:
        raise InputError(f"expected a square patch [{images.shape[1]}, P, P] to start from, got {[*start.shape]}")
    if detector.threshold is None or detector.calibration is None:
        raise OptionError(
            "the detector has no threshold: call calibrate(clean_images) with images held out from fit"
        )
    limits = [None, threshold_at_fpr(detector.calibration, 0.5)]
    images, labels = images.to(device), labels.to(device)
    slopes = Slopes(
        victim.surrogate or detector,
        layers=None, temperature=how.temperature, confidence=how.confidence, refresh=1,
    )  # fmt: skip
    patch = start.clone().to(device).requires_grad_()
    optimizer = torch.optim.Adam([patch], lr=how.stepsize)
    best, passed = start.clone(), passing(victim, images, labels, start.to(device), how, seed, limits)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(fingerprint(seed, "aware patch")[:15], 16))
        for step in range(how.steps):
            rows = torch.randint(len(images), (min(how.draws, len(images)),)).to(device)
            made = _pasted(patch, images[rows], how)
            found = slopes.at(made.detach(), labels[rows])
            fooled = found.fooled[:, None, None, None]
            towards = torch.where(fooled, -how.tradeoff * _unit(found.suspicion), _unit(found.margin))
            (patch.grad,) = torch.autograd.grad(made, patch, -towards / len(rows))
            optimizer.step()
            patch.data.clamp_(0, 1)
            if (step + 1) % how.judge_every == 0 or step + 1 == how.steps:
                rates = passing(victim, images, labels, patch.detach(), how, seed, limits)
                if sum(rates) > sum(passed):
                    best, passed = patch.detach().cpu().clone(), rates
    return best


def passing(
    victim: Victim,
    images: Tensor,
    labels: Tensor,
    patch: Tensor,
    settings: PatchSettings,
    seed: int,
    limits: Sequence[float | None],
) -> list[float]:
    """Return the share of images that are misclassified with the patch and not flagged, at each limit.

    A limit of None stands for the detector's thresholds. One random place in each image; the same for every patch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(fingerprint(seed, "places of a patch")[:15], 16))
        made = _pasted(patch, images, settings)
    fooled, scores, predicted = judged(victim.detector, victim.model, made, labels)
    own = victim.detector.thresholds_of(predicted.cpu().numpy())
    return [
        float(np.mean(fooled.cpu().numpy() & (scores.numpy() <= (own if limit is None else limit))))
        for limit in limits
    ]


def _pasted(patch: Tensor, images: Tensor, settings: PatchSettings) -> Tensor:
    side = settings.scale * min(images.shape[2:])
    return paste(patch, images, *draw_places(images, side, math.radians(settings.rotation)), side)


def _unit(directions: Tensor) -> Tensor:
    length = directions.flatten(1).norm(dim=1)[:, None, None, None]
    unit: Tensor = directions / length.clamp(min=1e-30)
    return unit
