"""The attacks themselves: (model, images, labels, settings) → candidates, to be verified by the caller.

All work in pixel space [0, 1] on images [N, C, H, W] with labels [N] that the model classifies correctly.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from effpath.attacks.spec import Settings, require


def fgsm(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Fast gradient sign (Goodfellow 2015): the smallest of ``epsilons`` equal steps up to ``max_epsilon``.

    The sign does not depend on ε, so one gradient serves all of them.
    """
    pixels = images.clone().requires_grad_()
    sign = torch.autograd.grad(_doubt(model(pixels), labels), pixels)[0].sign()

    def attempt(rows: torch.Tensor, epsilons: list[float]) -> torch.Tensor:
        return torch.stack([(images[rows] + epsilon * sign[rows]).clamp(0, 1) for epsilon in epsilons])

    return _climb(model, images, labels, settings, attempt, together=len(images))


def bim(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Basic iterative method (Kurakin 2017): the smallest of ``epsilons`` equal steps up to ``max_epsilon``.

    Each ε starts afresh: ``steps`` steps of ``rel_stepsize``·ε, kept within ε of the image.
    """
    with _foolbox("BIM", model, images.device) as (library, wrapped):
        method = library.attacks.LinfBasicIterativeAttack(
            rel_stepsize=settings["rel_stepsize"],
            steps=settings["steps"],
            random_start=settings["random_start"],
        )
        eagerpy = require("eagerpy", "BIM")

        def loss_function(network: Any, truth: Any) -> Callable[[Any], Any]:
            return lambda pixels: eagerpy.astensor(_doubt(network(pixels).raw, truth.raw))

        method.get_loss_fn = loss_function  # foolbox offers it for overriding; its own can saturate

        def attempt(rows: torch.Tensor, epsilons: list[float]) -> torch.Tensor:
            return torch.stack([method.run(wrapped, images[rows], labels[rows], epsilon=e) for e in epsilons])

        return _climb(model, images, labels, settings, attempt, together=1)


def deepfool(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, settings: Settings) -> torch.Tensor:
    """DeepFool for L2 (Moosavi-Dezfooli 2016): steps to the nearest linearised border of ``candidates``."""
    with _foolbox("DeepFool", model, images.device) as (library, wrapped):
        return library.attacks.L2DeepFoolAttack(**settings).run(wrapped, images, labels)  # type: ignore[no-any-return]


def cwl2(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Carlini & Wagner's L2 attack (2017): Adam on the image, a binary search for its constant.

    The paper's 10 000 ``steps`` are too many for a CPU. For LeNet-5 on MNIST the median L2 is 1.387 at 1000
    steps and 1.396 at 500, the default; at 200 it is 1.9, and 4 % of the images are not fooled. A ``stepsize`` of
    0.05 with 200 ``steps`` does as well as the default in less than half of the time.
    """
    with _foolbox("CWL2", model, images.device) as (library, wrapped):
        found = library.attacks.L2CarliniWagnerAttack(**settings).run(wrapped, images, labels)
    # for a failure foolbox leaves an all-black image, which may well be "misclassified"
    failed = (found == 0).flatten(1).all(1)
    return torch.where(failed[:, None, None, None], images, found)


def uniform(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Unrecognisable images: every value uniform in [0, 1]; only the shape of ``images`` matters."""
    return torch.rand(images.shape).to(images.device)  # drawn on the CPU: the same for every device


def gaussian(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Unrecognisable images: every value normal with ``mean`` and ``std``, cut to [0, 1]."""
    drawn = torch.normal(settings["mean"], settings["std"], images.shape)
    return drawn.clamp(0, 1).to(images.device)


def _doubt(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum over a batch of log(1 − p) − log p, p the true class's chance; logits [N, classes], labels [N].

    Its gradient is, image by image, a positive multiple of the cross-entropy's. That goes wrong in float32
    where p rounds to 1: the true class drops out of it.
    """
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return (others.logsumexp(1) - logits.gather(1, labels[:, None]).squeeze(1)).sum()


def _climb(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    settings: Settings,
    attempt: Callable[[torch.Tensor, list[float]], torch.Tensor],
    *,
    together: int,
) -> torch.Tensor:
    """Each image's candidate at the smallest ε that fools the model; the image itself where none does.

    ``attempt(rows, epsilons)`` gives candidates [len(epsilons), len(rows), C, H, W]. As images are fooled,
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
        fooled = predicted != labels[rows]  # [width, rows]
        done = fooled.any(0)
        first = fooled.int().argmax(0)  # argmax gives the first of equal values
        found[rows[done]] = candidates[first[done], done.nonzero().squeeze(1)]
        rows = rows[~done]
        rung += width
    return found


@contextlib.contextmanager
def _foolbox(attack: str, model: nn.Module, device: torch.device) -> Iterator[tuple[Any, Any]]:
    """Foolbox and the model wrapped for it; the user's logging stays as it is."""
    silent = logging.NullHandler()  # or else DeepFool's logging.info() would configure the root logger
    logging.getLogger().addHandler(silent)
    try:
        library = require("foolbox", attack)
        yield library, library.PyTorchModel(model, bounds=(0, 1), device=device)
    finally:
        logging.getLogger().removeHandler(silent)
