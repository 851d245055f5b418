"""Steps from a network and data to a detector, each with its progress; the demo takes some of them too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from effpath.attacks import AdversarialSet, attack
from effpath.attacks.spec import Settings
from effpath.class_paths.build import build_class_paths
from effpath.class_paths.class_paths import ClassPaths
from effpath.data import Part
from effpath.detect.fitting.options import FitOptions
from effpath.errors import InputError
from effpath.files.progress import Track
from effpath.graph.graph import Graph
from effpath.models.predict import device_of, find_logits, predict


def class_paths_step(graph: Graph, part: Part, track: Track, **options: Any) -> ClassPaths:
    """Return the class paths of a part, with the options and errors of `build_class_paths`."""
    with track(f"class paths of {len(part)} images") as progress:
        return build_class_paths(graph, part.images, part.labels, progress=progress, **options)


def attack_steps(
    model: nn.Module, part: Part, attacks: Mapping[str, Settings], track: Track, **options: Any
) -> Iterator[AdversarialSet]:
    """Yield what each attack, by name with its settings, makes of a part; options and errors of `attack`."""
    images = part.images[:]
    for name, settings in attacks.items():
        with track(f"{name} on {len(part)} images") as progress:
            made = attack(model, images, part.labels, name, settings=settings, progress=progress, **options)
        yield made


def attacked_images(
    model: nn.Module,
    outputs: int,
    class_paths: ClassPaths,
    part: Part,
    options: FitOptions,
    cache: Path | None,
    track: Track,
) -> tuple[Tensor, dict[str, Any]]:
    """Return the adversarial images that all attacks made of a part, and how each went.

    Where some of the outputs have no class path, the attacks aim at those that have one: what ends elsewhere is
    flagged without a detector, and there is nothing to learn from it.

    Raises:
        InputError: no attack succeeds.
    """
    known = torch.tensor(class_paths.classes)
    whole = len(known) == outputs
    attacked = model if whole else _Chosen(model, known.to(device_of(model)))
    labels = part.labels if whole else torch.searchsorted(known, part.labels)
    pixels, about = [], {}
    how = {"seed": options.seed, "batch_size": options.batch_size, "cache": cache}
    for made in attack_steps(attacked, Part(part.images, labels), options.attacks, track, **how):
        fooling = made.fooling
        if not whole:
            fooling = fooling[torch.isin(predict(model, fooling, options.batch_size), known)]
        pixels.append(fooling)
        about[made.name] = {"settings": dict(made.settings), "tried": made.tried, "succeeded": len(fooling)}
    if not sum(map(len, pixels)):
        raise InputError(
            f"none of {', '.join(options.attacks)} fools the network on any of {len(part)} images"
            + (" into an output with a class path" * (not whole))
            + ": there is nothing to learn from; choose other attacks or settings, or kind clean, which needs none"
        )
    return torch.cat(pixels), about


class _Chosen(nn.Module):
    """Some of a network's logits."""

    outputs: Tensor

    def __init__(self, model: nn.Module, outputs: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("outputs", outputs, persistent=False)
        self.train(model.training)

    def forward(self, x: Tensor) -> Tensor:
        return find_logits(self.model(x))[0][:, self.outputs]
