"""The L0 attack: one value at a time, the one that most favours another class over the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from effpath.attacks.methods import fgsm
from effpath.attacks.spec import Settings, draw_others
from effpath.models.predict import logits_of


def jsma(model: nn.Module, images: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Run the Jacobian saliency map attack (Papernot 2016) on images [N, C, H, W] with labels [N].

    Each of at most ``iterations`` rounds changes one value (pixel × channel) of each image by ``theta``, towards a
    guiding class: the value and direction whose effect on the guide's logit times its effect on the sum of the
    other logits is most negative. A value that has reached 0 or 1, or has been changed ``changes`` times, stays.
    An image is finished when its prediction is not its label.

    ``weighted`` weights the other logits by their probabilities (Combey 2020) instead of summing them: fewer
    changes, and fewer failures.

    The guide is the class that the fast gradient sign reaches, or a random one if it reaches none.
    """
    logits = logits_of(model, fgsm(model, images, labels, {"epsilons": 1000, "max_epsilon": 1.0}))
    reached = logits.argmax(1)
    guides = torch.where(reached != labels, reached, draw_others(labels, logits.shape[1]))
    found = images.clone()
    moved = torch.zeros_like(images, dtype=torch.int64)
    free = torch.ones_like(images, dtype=torch.bool)
    rows = torch.arange(len(images), device=images.device)  # those not yet finished
    for _ in range(settings["iterations"]):
        place, direction, alive = _best_move(
            model, found[rows], labels[rows], guides[rows], free[rows], weighted=settings["weighted"]
        )
        rows, place, direction = rows[alive], place[alive], direction[alive]
        if not len(rows):
            break
        at = rows, *torch.unravel_index(place, images.shape[1:])
        found[at] = (found[at] + settings["theta"] * direction).clamp(0, 1)
        moved[at] += 1
        free[at] = (found[at] > 0) & (found[at] < 1) & (moved[at] < settings["changes"])
    return found


def _best_move(
    model: nn.Module, images: Tensor, labels: Tensor, guides: Tensor, free: Tensor, *, weighted: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the value in C·H·W to change, its direction (±1), and whether the image is still to change; [N]."""
    pixels = images.clone().requires_grad_()
    logits = model(pixels)
    guiding = logits.gather(1, guides[:, None]).sum()
    (towards,) = torch.autograd.grad(guiding, pixels, retain_graph=True)
    rest = logits.sum() - guiding
    if weighted:  # the slope of a log-sum-exp is the mean of the slopes, weighted by probability
        rest = logits.scatter(1, guides[:, None], -torch.inf).logsumexp(1).sum()
    (others,) = torch.autograd.grad(rest, pixels)
    room = torch.where(towards > 0, images < 1, images > 0) & (towards != 0)
    score = (-towards * others).masked_fill(~(free & room), -torch.inf).flatten(1)
    best = score.argmax(1)
    direction = towards.flatten(1).gather(1, best[:, None]).squeeze(1).sign()
    alive = (logits.argmax(1) == labels) & (score.amax(1) > -torch.inf)
    return best, direction, alive
