"""Training of small networks on small images: flips and crops, a one-cycle rate; resumed after each epoch."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from effpath.data import Part
from effpath.files.cache import atomic_write, default_cache_dir, fingerprint, note_step
from effpath.models.predict import device_of
from effpath.models.weights import load_weights, save_weights
from sources import Row, write_result

BORDER = 4  # pixels by which a crop is moved at most
After = Callable[[int, int], None]
"""Takes how many steps of the training are done, and how many it has."""
Opponent = Callable[[nn.Module, Tensor, Tensor, float], Tensor]
"""Takes model, images [N, C, H, W], labels [N], the share of the steps done; returns the images to train on."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: stochastic gradient descent with Nesterov's momentum.

    Attributes:
        epochs: passes over the images.
        batch_size: images of a step; the rest of an epoch is left out.
        peak: of the rate, which rises to it and falls to 0 as a cosine.
        warm: the share of the steps in which it rises.
        momentum, decay: of the descent.
        seed: of batches, flips and crops.
        vary: whether images are flipped and cropped.
    """

    epochs: int = 15
    batch_size: int = 64
    peak: float = 0.1
    warm: float = 0.2
    momentum: float = 0.9
    decay: float = 5e-4
    seed: int = 0
    vary: bool = True

    def rate(self, share: float) -> float:
        """Return the rate where so large a share of the steps, 0 … 1, is done."""
        if share < self.warm:
            return self.peak * (1.02 - 0.98 * math.cos(math.pi * share / self.warm)) / 2
        return self.peak * (1 + math.cos(math.pi * (share - self.warm) / (1 - self.warm))) / 2


def folder_of(what: str, settings: Mapping[str, Any], part: Part) -> Path:
    """Return the folder of the cache for the training of one network, so, on these very images."""
    key = fingerprint(what, dict(settings), part.images[:], part.labels)
    return default_cache_dir() / "training" / f"{what}-{key[:16]}"


def train(
    model: nn.Module,
    part: Part,
    recipe: Recipe,
    *,
    checkpoint: Path | None = None,
    after: After | None = None,
    opponent: Opponent | None = None,
) -> None:
    """Train a model in place, on the device where it is, and leave it in eval mode.

    Equal starting weights, images, recipe, machine and thread count give equal weights on a processor, whether or
    not the training was killed and resumed.

    Args:
        model: from images to logits.
        part: the images, which stay in memory, with their labels.
        recipe: how.
        checkpoint: a file that is written after each epoch, and that the training resumes from.
        after: called before the first step and after each.
        opponent: makes the images of each step harder.
    """
    model.to(memory_format=torch.channels_last)  # a fifth less time than channels first
    device = device_of(model)
    images, labels = part.images[:].to(device), part.labels.to(device)
    batches = max(1, len(images) // recipe.batch_size)
    total = recipe.epochs * batches
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.peak, momentum=recipe.momentum, nesterov=True, weight_decay=recipe.decay
    )
    begun = _resumed(model, optimizer, checkpoint)
    after = after or (lambda done, total: None)
    after(begun * batches, total)
    for epoch in range(begun, recipe.epochs):
        model.train()
        generator = torch.Generator().manual_seed(1_000_003 * recipe.seed + epoch)
        order = torch.randperm(len(images), generator=generator)
        for batch in range(batches):
            done = epoch * batches + batch
            rows = order[batch * recipe.batch_size :][: recipe.batch_size].to(device)
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(done / total)
            shown, named = images[rows], labels[rows]
            if recipe.vary:
                shown = varied(shown, generator)
            if opponent is not None:
                shown = opponent(model, shown, named, done / total)
            loss = functional.cross_entropy(model(shown), named)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            after(done + 1, total)
        if checkpoint is not None:
            held = {"epochs": epoch + 1, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            atomic_write(checkpoint, lambda temporary, held=held: torch.save(held, temporary))
            note_step(checkpoint)
    model.zero_grad()
    model.to(memory_format=torch.contiguous_format).eval()


def varied(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return images [N, C, H, W], each moved by up to 4 pixels, black behind it, and flipped or not.

    The generator is the processor's, on whatever device the images are.
    """
    count, _, height, width = images.shape
    padded = functional.pad(images, (BORDER,) * 4)
    top, left = torch.randint(2 * BORDER + 1, (2, count, 1), generator=generator)
    columns = torch.arange(width).expand(count, width)
    columns = torch.where(torch.rand(count, 1, generator=generator) < 0.5, columns.flip(1), columns) + left
    rows = torch.arange(height) + top
    places = (torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :])
    image, row, column = (each.to(images.device) for each in places)
    moved = padded[image, :, row, column]  # [N, H, W, C]
    return moved.permute(0, 3, 1, 2)


def seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Return a network with the random weights of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def run_training(
    made: argparse.ArgumentParser, words: Sequence[str] | None, measure: Callable[[argparse.Namespace], Row]
) -> None:
    """Train and measure a network as a command line says, unless the result is there.

    Args:
        made: the options of the network; those that every training has are added.
        words: of the command line; None for the process's own.
        measure: trains, and returns the result.
    """
    made.add_argument("--output", type=Path, required=True, help="a .json file")
    made.add_argument("--device", default="cpu", help="of the training: cpu, cuda")
    made.add_argument("--threads", type=int, default=2, help="of torch")
    options = made.parse_args(words)
    if options.output.exists():
        print(f"{options.output} is there; delete it to have it made again")
        return
    torch.set_num_threads(options.threads)
    write_result(measure(options), options.output)


def device_name(device: str) -> str:
    """Return what a table calls a device: the name of a graphics processor, else cpu."""
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else device


def write_half(model: nn.Module, file: Path) -> None:
    """Write the weights of a model in half precision, and give the model these."""
    state = {
        name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()
    }
    save_weights(state, file)
    load_weights(model, file)


def _resumed(model: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Path | None) -> int:
    """Give model and optimizer what a checkpoint holds, if it is there; return how many epochs are done."""
    if checkpoint is None or not checkpoint.exists():
        return 0
    held = torch.load(checkpoint, weights_only=True, map_location=device_of(model))
    model.load_state_dict(held["model"])
    optimizer.load_state_dict(held["optimizer"])
    return int(held["epochs"])
