"""Signs that no profile has, alone and in the sum of the default: where novelty lies, and paths of both branches.

*In one place*: each neuron of an image's forward set weighs −log of its frequency in the predicted class, among
training images that are classified correctly; the sign is the largest share of this weight that a window of half
the side holds, mean over the layers of the first half that have places. *Both branches* is the early similarity of
paths that follow both branches of residual sums, see `figures.branches`; it takes a walk. Harmless squares as
large as the patches are unusual in one place too: the share of them that is flagged stands beside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from detection.cases import Case
from detection.gather import Gathering
from detection.judge import Resampled, intervals, settings
from detection.product import entrant, reader, weighed
from detection.signs import SIGNS
from drawing import Panel, Series
from effpath import BuildOptions, Graph
from effpath.data import Part
from effpath.detect import CombinedSurprise, path_features
from effpath.detect.classifiers import DEFAULT_KIND
from effpath.detect.evaluate import Entrant, Group
from effpath.detect.fitting import class_paths_step
from effpath.detect.scoring import FloatArray
from effpath.detect.signs.profiles import PROFILES
from effpath.detect.signs.sample import early_layers
from effpath.files.progress import track
from effpath.walk.forward import forward_sets
from figures.branches import both_branches, early_similarity
from figures.controls import flags
from figures.profiles import taught
from sources import Row

NEW = PLACE, BOTH = "in one place", "both branches"
TOGETHER = 50  # images


@dataclass(frozen=True, eq=False)
class Usual:
    """How usual it is that neurons are in forward sets.

    Attributes:
        graph: of the network.
        rarity: by layer, −log of the frequency, float32 [classes, C, H, W].
    """

    graph: Graph
    rarity: dict[str, Tensor]

    @classmethod
    def of(cls, graph: Graph, layers: Sequence[str], known: Part) -> Usual:
        """Count in the training images of each class that are classified correctly."""
        shapes = {name: graph.shape(name)[1:] for name in layers}
        counts = {name: torch.zeros(graph.classes, *shape) for name, shape in shapes.items()}
        images = torch.zeros(graph.classes)
        with track(f"forward sets of {len(known)} images") as progress:
            for rows in torch.arange(len(known)).split(TOGETHER):
                labels = known.labels[rows]
                predicted, members = _members(graph, shapes, known.images[rows])
                for label in labels[predicted == labels].unique().tolist():
                    own = (labels == label) & (predicted == label)
                    images[label] += own.sum()
                    for name, marks in members.items():
                        counts[name][label] += marks[own].sum(0)
                progress(int(rows[-1]) + 1, len(known))
        seen = (images + 1)[:, None, None, None]
        return cls(graph, {name: -torch.log((count + 0.5) / seen) for name, count in counts.items()})

    def locality(self, images: Tensor) -> FloatArray:
        """Return the sign of images [N, C, H, W], [N]."""
        shapes = {name: tuple(rarity.shape[1:]) for name, rarity in self.rarity.items()}
        found = []
        for part in images.split(TOGETHER):
            predicted, members = _members(self.graph, shapes, part)
            shares = [_share((marks * self.rarity[name][predicted]).sum(1)) for name, marks in members.items()]
            found.append(torch.stack(shares).mean(0).double().numpy())
        return np.concatenate(found)


def _members(graph: Graph, shapes: dict[str, tuple[int, ...]], images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the predicted classes [N], and which neurons are in the forward sets, bool [N, C, H, W] by layer."""
    values = graph.run(graph.check_images(images), [graph.logits, *shapes])
    sets = forward_sets(graph, {name: values[name].flatten(1).cpu() for name in shapes})
    marks = {name: torch.from_numpy(sets[name]).reshape(-1, *shape) for name, shape in shapes.items()}
    return values[graph.logits].argmax(1).cpu(), marks


def _share(weights: Tensor) -> Tensor:
    """Return the largest share of weights [N, H, W] in a window of half the side, [N]; 0 where there are none."""
    sides = [-(-side // 2) for side in weights.shape[1:]]
    windows = functional.avg_pool2d(weights[:, None], sides, stride=1).flatten(1) * (sides[0] * sides[1])
    whole = weights.flatten(1).sum(1)
    return torch.where(whole > 0, windows.amax(1) / whole, 0.0)


def measure(case: Case, *, gathered: Sequence[str] = (), images: int | None = None, seed: int = 0) -> Row:
    """Judge the signs alone, and the default with them and without.

    Args:
        case: what is attacked, with what.
        gathered: these of the case's attacks; none for all.
        images: attacked images; None for the case's.
        seed: of training, images and attacks.
    """
    attacks = {name: planned for name, planned in case.attacks.items() if not gathered or name in gathered}
    gathering = Gathering("candidates", replace(case, attacks=attacks, sources=images or case.sources), seed)
    squares = [name for name in gathering.groups if name.startswith("square of ")]
    seen = gathering.seen((SIGNS,), [*gathering.heading.about["groups"], *squares])
    look = looks(gathering)
    seen = replace(
        seen,
        groups={name: look(group) for name, group in seen.groups.items()},
        controls={name: look(group) for name, group in seen.controls.items()},
    )
    says = PROFILES[DEFAULT_KIND].says
    entrants = {DEFAULT_KIND: entrant(DEFAULT_KIND, says)}
    entrants |= {name: Entrant(lambda group, name=name: group.arrays[name]) for name in NEW}
    entrants |= {f"{DEFAULT_KIND}, {' and '.join(more)}": _with(says, more) for more in ((PLACE,), (BOTH,), NEW)}
    names = [group.name for group in seen.attacks]
    weighing = weighed(seen.case, names)
    judged = taught(seen, entrants, weighing)
    aucs, alone = judged.aucs(), (DEFAULT_KIND, *NEW)
    return {
        "settings": {**settings(seen), "weighed": weighing},
        "tested": {name: len(judged.evaluations[0].test[name]) for name in names},
        "attacks": {name: seen.about["attacks"][name] for name in names},
        "auc": {name: aucs[name] for name in entrants},
        "added": {name: intervals(_beyond(judged, name, names)) for name in entrants if name not in alone},
        "flagged": {
            name: intervals(flags(seen, judged.evaluations, name, entrants)[0])
            for name in entrants if name not in NEW
        },
    }  # fmt: skip


def _beyond(judged: Resampled, detector: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return how far a detector is ahead of the default on each attack, and on the mean, [1 + resamples]."""
    ours, others = judged.auc[DEFAULT_KIND], judged.auc[detector]
    mean = judged.mean[detector] - judged.mean[DEFAULT_KIND]
    return {**{name: others[name] - ours[name] for name in names}, "mean": mean}


def looks(gathering: Gathering) -> Callable[[Group], Group]:
    """Return what adds the new signs to a group of images."""
    making = gathering.making
    early = early_layers(gathering.class_paths.header)
    with_places = [name for name in early if len(making.graph.shape(name)) == 4]
    usual = Usual.of(making.graph, with_places, making.train)
    graph = both_branches(making.graph)
    class_paths = class_paths_step(graph, making.train, track, options=BuildOptions(batch_size=making.case.batch))

    def look(group: Group) -> Group:
        images = gathering.pixels(group.name).images
        similarity = early_similarity(path_features(graph, class_paths, images))
        found = {PLACE: usual.locality(images), BOTH: -similarity}
        return replace(group, arrays={**group.arrays, **found})

    return look


def _with(says: Sequence[str], more: Sequence[str]) -> Entrant:
    """Return the default's combination of its own signs and some more."""

    def read(group: Group) -> FloatArray:
        return np.column_stack([reader(says)(group), *(group.arrays[name] for name in more)])

    return Entrant(read, lambda seed: CombinedSurprise(DEFAULT_KIND))


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the AUC by attack, of the signs alone and of the default with them and without."""
    attacks = [*table["tested"], "mean"]
    short = dict(zip(table["added"], ("with the first", "with the second", "with both"), strict=True))
    alone = {name: name for name in NEW}
    found = []
    for title, labels in (("alone", alone), ("in the default", {DEFAULT_KIND: DEFAULT_KIND, **short})):
        drawn = [Series(label, [table["auc"][name][each] for each in attacks]) for name, label in labels.items()]
        found.append(Panel(title, drawn, attacks, network, axes={"xlabel": "AUC"}))
    return found
