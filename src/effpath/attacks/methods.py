"""Gradient attacks and random images: (model, images, classes, settings) → candidates, which are verified later.

All work in pixel space [0, 1] on images [N, C, H, W] that the model classifies correctly; the classes [N] are
their labels or, for a ``targeted`` attack, the classes to reach.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from effpath.attacks.spec import Settings


def fgsm(
    model: nn.Module, images: Tensor, classes: Tensor, settings: Settings, *, targeted: bool = False
) -> Tensor:
    """Run fast gradient sign (Goodfellow 2015): the smallest of ``epsilons`` equal steps up to ``max_epsilon``.

    The sign does not depend on ε, so one gradient serves all of them. A target is often missed at every ε.
    """
    pixels = images.clone().requires_grad_()
    sign = torch.autograd.grad(doubt(model(pixels), classes).sum(), pixels)[0].sign()
    if targeted:
        sign = -sign

    def attempt(rows: Tensor, epsilons: list[float]) -> Tensor:
        return torch.stack([(images[rows] + epsilon * sign[rows]).clamp(0, 1) for epsilon in epsilons])

    return _climb(model, images, classes, settings, attempt, together=len(images), targeted=targeted)


def bim(model: nn.Module, images: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Run the basic iterative method (Kurakin 2017): the smallest of ``epsilons`` steps up to ``max_epsilon``.

    Each ε starts afresh: ``steps`` steps of ``rel_stepsize``·ε, kept within ε of the image.
    """
    with _descent(model, images.device, settings) as run:

        def attempt(rows: Tensor, epsilons: list[float]) -> Tensor:
            return torch.stack([run(images[rows], labels[rows], epsilon) for epsilon in epsilons])

        return _climb(model, images, labels, settings, attempt, together=1)


def pgd(model: nn.Module, images: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Run projected gradient descent (Madry 2018): the image after all steps within ``epsilon``, fooled or not.

    The published ε are 4/255 and 8/255 for photographs, 0.1, 0.2 and 0.3 for digits.
    """
    with _descent(model, images.device, settings) as run:
        return run(images, labels, settings["epsilon"])


def deepfool(model: nn.Module, images: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Run L2 DeepFool (Moosavi-Dezfooli 2016): to the nearest linearised boundary of ``candidates`` classes."""
    with _foolbox(model, images.device) as (library, wrapped):
        return library.attacks.L2DeepFoolAttack(**settings).run(wrapped, images, labels)  # type: ignore[no-any-return]


def cwl2(
    model: nn.Module, images: Tensor, classes: Tensor, settings: Settings, *, targeted: bool = False
) -> Tensor:
    """Run Carlini & Wagner's L2 attack (2017): Adam on the image, a binary search for its constant.

    The paper's 10 000 ``steps`` are too many for a CPU. For LeNet-5 on MNIST the median L2 is 1.387 at 1000
    steps and 1.396 at 500, the default; at 200 it is 1.9, and 4 % of the attacks fail. A ``stepsize`` of 0.05 with
    200 ``steps`` equals the default in less than half the time.

    ``confidence`` is how far the logit of another class must exceed the label's, or the target's all others.
    """
    with _foolbox(model, images.device) as (library, wrapped):
        goal = library.criteria.TargetedMisclassification(classes) if targeted else classes
        found = library.attacks.L2CarliniWagnerAttack(**settings).run(wrapped, images, goal)
    failed = (found == 0).flatten(1).all(1)  # Foolbox's failures are black, and may well fool
    return torch.where(failed[:, None, None, None], images, found)


def uniform(model: nn.Module, images: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Draw unrecognisable images: every value uniform in [0, 1]; only the shape of ``images`` matters."""
    return torch.rand(images.shape).to(images.device)  # drawn on the CPU: the same for every device


def gaussian(model: nn.Module, images: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Draw unrecognisable images: every value normal with ``mean`` and ``std``, clipped to [0, 1]."""
    drawn = torch.normal(settings["mean"], settings["std"], images.shape)
    return drawn.clamp(0, 1).to(images.device)


def doubt(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log(1 − p) − log p, [N], p the label's probability, of logits [N, classes].

    Its gradient is, image by image, a positive multiple of the cross-entropy's, but does not vanish in float32
    where p rounds to 1.
    """
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.logsumexp(1) - logits.gather(1, labels[:, None]).squeeze(1)


def _climb(
    model: nn.Module,
    images: Tensor,
    classes: Tensor,
    settings: Settings,
    attempt: Callable[[Tensor, list[float]], Tensor],
    *,
    together: int,
    targeted: bool = False,
) -> Tensor:
    """Return each image's candidate at the smallest ε that fools the model; the image itself if none does.

    A candidate fools the model if it is not predicted as the class or, ``targeted``, if it is.

    ``attempt(rows, epsilons)`` returns candidates [len(epsilons), len(rows), C, H, W]. As fewer images remain,
    several ε are tried at a time, up to ``together`` candidates.
    """
    count = settings["epsilons"]
    found = images.clone()
    rows = torch.arange(len(images), device=images.device)  # those not yet fooled
    rung = 0
    while rung < count and len(rows):
        width = min(max(1, together // len(rows)), count - rung)
        epsilons = [(rung + k + 1) / count * settings["max_epsilon"] for k in range(width)]
        candidates = attempt(rows, epsilons)
        with torch.no_grad():
            predicted = model(candidates.flatten(0, 1)).argmax(1).unflatten(0, candidates.shape[:2])
        fooled = (predicted == classes[rows]) == targeted  # [width, rows]
        done = fooled.any(0)
        first = fooled.int().argmax(0)  # argmax gives the first of equal values
        found[rows[done]] = candidates[first[done], done.nonzero().squeeze(1)]
        rows = rows[~done]
        rung += width
    return found


@contextlib.contextmanager
def _descent(
    model: nn.Module, device: torch.device, settings: Settings
) -> Iterator[Callable[[Tensor, Tensor, float], Tensor]]:
    """Give Foolbox's iterated sign steps within ε, as a function of images [N, C, H, W], labels [N] and ε."""
    from eagerpy.astensor import astensor  # which Foolbox needs too

    with _foolbox(model, device) as (library, wrapped):
        how = {name: settings[name] for name in ("rel_stepsize", "steps", "random_start")}
        method = library.attacks.LinfBasicIterativeAttack(**how)

        def loss_function(network: Any, truth: Any) -> Callable[[Any], Any]:
            return lambda pixels: astensor(doubt(network(pixels).raw, truth.raw).sum())

        method.get_loss_fn = loss_function  # Foolbox lets it be overridden; its default can saturate
        yield lambda images, labels, epsilon: method.run(wrapped, images, labels, epsilon=epsilon)


@contextlib.contextmanager
def _foolbox(model: nn.Module, device: torch.device) -> Iterator[tuple[Any, Any]]:
    """Give Foolbox, which `require` has found, and the model wrapped for it; the user's logging is left alone."""
    import foolbox

    silent = logging.NullHandler()  # or else DeepFool's logging.info() would configure the root logger
    logging.getLogger().addHandler(silent)
    try:
        yield foolbox, foolbox.PyTorchModel(model, bounds=(0, 1), device=device)
    finally:
        logging.getLogger().removeHandler(silent)
