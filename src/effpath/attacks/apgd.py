"""Auto-PGD: projected gradient descent that chooses its own step sizes (Croce & Hein 2020)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from effpath.attacks.methods import doubt
from effpath.attacks.spec import Settings

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits [N, classes], labels [N]) → what is to grow, [N]."""
Attempt = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Rows [M] of a batch → images [M, C, H, W] made of these, and whether each fools the model, bool [M]."""
KEEP = 0.75
"""Share of a step that is new, the rest is momentum; and share of steps that must raise the loss."""


def apgd(model: nn.Module, images: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Run Auto-PGD within ``epsilon``: on the cross-entropy, then, where that fails, on the ratio of logits.

    An image that is fooled is the last of ``steps`` that fools, so that it lies well past the border. Each loss is
    tried from ``restarts`` random points. For the attacks of AutoAttack see `effpath.attacks.autoattack`.
    """
    with torch.no_grad():
        classes = model(images[:1]).shape[1]
    losses: tuple[Loss, ...] = (doubt, logits_ratio) if classes > 2 else (doubt,)
    repeated = [loss for loss in losses for _ in range(settings["restarts"])]
    return one_after_another(images, [ascent(model, images, labels, loss, settings) for loss in repeated])


def one_after_another(images: Tensor, attempts: Iterable[Attempt]) -> Tensor:
    """Return what the attempts make of images [N, C, H, W], each tried on what resists those before it alone."""
    found = images.clone()
    left = torch.arange(len(images), device=images.device)
    for attempt in attempts:
        if len(left):
            made, fooled = attempt(left)
            found[left[fooled]] = made[fooled]
            left = left[~fooled]
    return found


def ascent(model: nn.Module, images: Tensor, labels: Tensor, loss: Loss, settings: Settings) -> Attempt:
    """Return one run of Auto-PGD on a loss, from a random point."""
    return lambda rows: _ascend(model, images[rows], labels[rows], loss, settings)


def targeted_ascents(model: nn.Module, images: Tensor, labels: Tensor, settings: Settings) -> list[Attempt]:
    """Return runs of Auto-PGD towards one class each, of four classes or more (APGD-T); none of fewer.

    The first run goes to the class that the model finds likeliest of each image beside its label, the next to the
    second, and so on to ``targets`` of them.
    """
    with torch.no_grad():
        logits = model(images)
    classes = logits.shape[1]
    if classes < 4:
        return []
    ranked = logits.scatter(1, labels[:, None], -torch.inf).argsort(1, descending=True)

    def towards(place: int) -> Attempt:
        return lambda rows: _ascend(
            model, images[rows], labels[rows], partial(targeted_ratio, targets=ranked[rows, place]), settings
        )

    return [towards(place) for place in range(min(settings["targets"], classes - 1))]


def logits_ratio(logits: Tensor, labels: Tensor) -> Tensor:
    """Return −(z_label − largest other z) ÷ (largest z − third largest z), [N], of three classes or more."""
    ranked = logits.sort(dim=1, descending=True).values
    own = logits.gather(1, labels[:, None]).squeeze(1)
    other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return (other - own) / (ranked[:, 0] - ranked[:, 2] + 1e-12)


def targeted_ratio(logits: Tensor, labels: Tensor, *, targets: Tensor) -> Tensor:
    """Return −(z_label − z_target) ÷ (largest z − mean of third and fourth largest z), [N], of ≥ 4 classes."""
    ranked = logits.sort(dim=1, descending=True).values
    own, aim = (logits.gather(1, classes[:, None]).squeeze(1) for classes in (labels, targets))
    return (aim - own) / (ranked[:, 0] - (ranked[:, 2] + ranked[:, 3]) / 2 + 1e-12)


def checkpoints(steps: int) -> set[int]:
    """Return after how many steps the step size is judged: 22 %, 41 %, 57 % … of them, at least 6 % apart."""
    found: set[int] = set()
    percent = gap = 22
    while percent <= 100:
        found.add(-(-percent * steps // 100))
        gap = max(gap - 3, 6)
        percent += gap
    return found


def _ascend(
    model: nn.Module, images: Tensor, labels: Tensor, loss: Loss, settings: Settings
) -> tuple[Tensor, Tensor]:
    """Return the last image [N, C, H, W] on the way that fools the model, and whether one does, bool [N]."""
    epsilon, steps = settings["epsilon"], settings["steps"]
    low, high = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)

    def inside(pixels: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(pixels, low), high)

    def look(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss [N], its gradient, and which images fool the model."""
        pixels = pixels.detach().requires_grad_()
        logits = model(pixels)
        values = loss(logits, labels)
        (slope,) = torch.autograd.grad(values.sum(), pixels)
        return values.detach(), slope, logits.detach().argmax(1) != labels

    noise = (torch.rand(images.shape) * 2 - 1).to(images.device)  # drawn on the CPU: the same for every device
    now = before = inside(images + epsilon * noise / noise.flatten(1).abs().amax(1)[:, None, None, None])
    value, slope, fooled = look(now)
    found, ever = torch.where(_wide(fooled), now, images), fooled
    best, best_value, best_slope = now, value, slope
    stride = torch.full((len(images), 1, 1, 1), 2 * epsilon, device=images.device)
    risen, since = torch.zeros_like(labels), 0
    known = value  # the best loss at the last checkpoint
    judged = checkpoints(steps)
    halved = torch.ones_like(fooled)  # whether the step was halved there
    for step in range(1, steps + 1):
        share = KEEP if step > 1 else 1.0
        ahead = inside(now + stride * slope.sign())
        now, before = inside(now + share * (ahead - now) + (1 - share) * (now - before)), now
        last = value
        value, slope, fooled = look(now)
        found, ever = torch.where(_wide(fooled), now, found), ever | fooled
        risen, since = risen + (value > last), since + 1
        better = value > best_value
        best, best_slope = torch.where(_wide(better), now, best), torch.where(_wide(better), slope, best_slope)
        best_value = torch.where(better, value, best_value)
        if step in judged:
            halved = (risen <= KEEP * since) | (~halved & (best_value <= known))
            known, risen, since = best_value, torch.zeros_like(risen), 0
            stride = torch.where(_wide(halved), stride / 2, stride)
            now, slope = torch.where(_wide(halved), best, now), torch.where(_wide(halved), best_slope, slope)
    return found, ever


def _wide(rows: Tensor) -> Tensor:
    """Return [N] as [N, 1, 1, 1]."""
    return rows[:, None, None, None]
