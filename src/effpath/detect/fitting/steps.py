"""Steps from a network and data to a detector, each with its progress; the demo takes them too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from effpath.attacks import AdversarialSet, attack
from effpath.attacks.spec import Settings
from effpath.class_paths.build import build_class_paths
from effpath.class_paths.class_paths import ClassPaths
from effpath.data import Part
from effpath.files.progress import Track
from effpath.graph.graph import Graph


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
