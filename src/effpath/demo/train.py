"""A short, repeatable training loop for small classifiers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from effpath.errors import InputError, OptionError
from effpath.models.predict import device_of, find_logits, predict


def train_classifier(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    epochs: int,
    seed: int,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Train ``model`` in place with AdamW and a one-cycle learning rate, and leave it in eval mode.

    Equal starting weights, seed, machine and thread count give equal weights; torch's global generator is left as
    it was. LeNet-5 on two CPU cores: 99.2 % on MNIST after 5 epochs, about half a minute; 97.8 % on ``digits``
    after 40 epochs of ``batch_size=64, learning_rate=1e-2``, two seconds.

    Args:
        model: from images to logits.
        images: float32 [N, C, H, W] in [0, 1].
        labels: int64 [N].
        epochs: passes over the images.
        seed: of the batches.
        batch_size: images of a step.
        learning_rate: the cycle's peak.
        progress: called with batches done and in total after every batch.

    Raises:
        InputError: images and labels that do not fit.
        OptionError: an option out of range.
    """
    _check(images, labels)
    if epochs < 1 or batch_size < 1:
        raise OptionError(f"expected epochs and batch_size of at least 1; got {epochs} and {batch_size}")
    device = device_of(model)
    batches = -(-len(images) // batch_size)
    total = epochs * batches
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=learning_rate, total_steps=total, pct_start=0.2
    )
    model.train()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            for done in range(total):
                if done % batches == 0:
                    order = torch.randperm(len(images))
                rows = order[done % batches * batch_size :][:batch_size]
                logits = find_logits(model(images[rows].to(device)))[0]
                loss = functional.cross_entropy(logits, labels[rows].to(device))
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                if progress is not None:
                    progress(done + 1, total)
    finally:
        model.zero_grad()
        model.eval()


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, *, batch_size: int = 1000) -> float:
    """Return the share of the images [N, C, H, W] whose largest logit is that of their label [N].

    The model is measured, and left, in eval mode.
    """
    _check(images, labels)
    model.eval()
    return float((predict(model, images, batch_size) == labels.cpu()).double().mean())


def _check(images: torch.Tensor, labels: torch.Tensor) -> None:
    """Raise InputError for images and labels that do not belong together."""
    if images.ndim != 4 or labels.shape != (len(images),) or len(images) == 0 or labels.dtype != torch.int64:
        raise InputError(
            f"expected images [N, C, H, W] and as many int64 labels [N], N > 0; got images "
            f"{list(images.shape)} and labels {list(labels.shape)} of {labels.dtype}"
        )
