"""What class paths show of a network: densities, how alike its classes are, which layers tell them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from effpath.class_paths.class_paths import ClassPaths
from effpath.detect.features import check_network
from effpath.errors import ClassPathError
from effpath.files.progress import Progress
from effpath.graph.graph import Graph
from effpath.kernels.options import Options
from effpath.rules.plan import Level
from effpath.views.page.words import title_of
from effpath.views.report.tree import Floats, Tree, tree_of
from effpath.walk.cost import LayerSize, layer_size


class Pair(NamedTuple):
    """Two classes, by their places, and the similarity of their paths."""

    first: int
    second: int
    similarity: float


@dataclass(frozen=True, eq=False)
class Overview:
    """A network, as its class paths show it.

    A class is known by its place among those that have a path; a set by its key, the layer or (of weights) the
    parameter.

    Attributes:
        name: of the network.
        input_shape: (C, H, W) of one image.
        outputs: number of logits.
        fingerprint: of the network.
        options: of the extraction.
        layers: that the class paths cover, in forward order.
        data: what the images behind the class paths were, in words.
        seen: images looked at, correctly predicted or not.
        counted: whether use counts are kept.
        level: of the similarities.
        labels: the outputs that have a class path, ascending.
        classes: their names.
        class_images: correctly predicted images behind each class path.
        density: of the overall path, by level.
        layer_density: the same by level and key.
        class_density: of each class path, by level.
        similarity: float64 [classes, classes], Jaccard similarity of each two class paths (Eq. 5).
        layer_similarity: mean Jaccard similarity of two class paths, by key; NaN where no class uses the layer.
        tree: of the classes, by similarity.
    """

    name: str
    input_shape: tuple[int, ...]
    outputs: int
    fingerprint: str
    options: Options
    layers: tuple[LayerSize, ...]
    data: str
    seen: int
    counted: bool
    level: Level
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    class_images: tuple[int, ...]
    density: Mapping[Level, float]
    layer_density: Mapping[Level, Mapping[str, float]]
    class_density: Mapping[Level, Sequence[float]]
    similarity: Floats
    layer_similarity: Mapping[str, float]
    tree: Tree

    @property
    def mean_class_similarity(self) -> float:
        """Mean similarity over all pairs of different classes."""
        count = len(self.similarity)
        return float((self.similarity.sum() - np.trace(self.similarity)) / (count * (count - 1)))

    @cached_property
    def class_means(self) -> Floats:
        """Mean similarity of each class with the others, [classes]; the lowest is the most special."""
        diagonal = np.diag(self.similarity)
        return np.asarray((self.similarity.sum(1) - diagonal) / (len(diagonal) - 1))

    @property
    def most_special(self) -> str:
        """The class least similar to the others."""
        return self.classes[int(self.class_means.argmin())]

    @property
    def least_special(self) -> str:
        """The class most similar to the others."""
        return self.classes[int(self.class_means.argmax())]

    @cached_property
    def closest_pair(self) -> Pair:
        """The two classes with the most similar paths."""
        return self._pair(1)

    @cached_property
    def farthest_pair(self) -> Pair:
        """The two classes with the least similar paths."""
        return self._pair(-1)

    @property
    def layers_apart(self) -> list[tuple[str, float]]:
        """Keys and mean similarities: those that tell classes apart best first, those that no class uses last."""
        found = [(key, float(value)) for key, value in self.layer_similarity.items()]
        return sorted(found, key=lambda pair: (np.isnan(pair[1]), pair[1]))

    def nearest(self, place: int) -> Pair:
        """Return the class whose path is most similar to that of a class."""
        others = np.nan_to_num(self.similarity[place], nan=-1.0)
        others[place] = -2.0
        other = int(others.argmax())
        return Pair(place, other, float(self.similarity[place, other]))

    def _pair(self, sign: int) -> Pair:
        rows, columns = np.triu_indices(len(self.classes), 1)
        values = self.similarity[rows, columns]
        at = int(np.nan_to_num(sign * values, nan=-2.0).argmax())
        return Pair(int(rows[at]), int(columns[at]), float(values[at]))

    def to_dict(self) -> dict[str, Any]:
        """Return the values for JSON; classes are the outputs of the network."""
        means, labels = self.class_means, self.labels
        nearest = [self.nearest(place) for place in range(len(labels))]
        return {
            "network": self.name,
            "input": list(self.input_shape),
            "outputs": self.outputs,
            "fingerprint": self.fingerprint,
            "options": self.options.to_dict(),
            "layers": [asdict(layer) for layer in self.layers],
            "data": self.data,
            "images": sum(self.class_images),
            "seen": self.seen,
            "use_counts": self.counted,
            "density": dict(self.density),
            "layer_density": {level: dict(found) for level, found in self.layer_density.items()},
            "classes": [
                {
                    "class": label,
                    "name": self.classes[place],
                    "images": self.class_images[place],
                    "density": {level: found[place] for level, found in self.class_density.items()},
                    "mean_similarity": float(means[place]),
                    "nearest": labels[nearest[place].second],
                    "nearest_similarity": nearest[place].similarity,
                }
                for place, label in enumerate(labels)
            ],
            "level": self.level,
            "mean_class_similarity": self.mean_class_similarity,
            "most_special": labels[int(means.argmin())],
            "least_special": labels[int(means.argmax())],
            **{
                name: {"classes": [labels[pair.first], labels[pair.second]], "similarity": pair.similarity}
                for name, pair in (("closest_pair", self.closest_pair), ("farthest_pair", self.farthest_pair))
            },
            "layer_similarity": dict(self.layer_similarity),
            "order": [labels[place] for place in self.tree.order.tolist()],
            "class_similarity": self.similarity.round(6).tolist(),
        }


def overview_of(
    graph: Graph,
    class_paths: ClassPaths,
    *,
    name: str = "network",
    classes: Sequence[str] = (),
    level: Level | None = None,
    progress: Progress | None = None,
) -> Overview:
    """Return what class paths show of their network.

    Args:
        graph: of the network.
        class_paths: of at least two classes.
        name: of the network.
        classes: names of its outputs; those of the class paths if not given.
        level: of the similarities; the first that the class paths keep if not given.
        progress: called with pairs of classes compared and in total.

    Raises:
        ClassPathError: fewer than two classes.
        FingerprintError: class paths of another network.
        OptionError: a level that is not kept.
    """
    check_network(graph, class_paths)
    labels, header = class_paths.classes, class_paths.header
    if len(labels) < 2:
        known = f"of class {labels[0]} alone" if labels else "of no class"
        raise ClassPathError(
            f"expected class paths of at least two classes, to compare them, got those {known}; build them over "
            "images of several classes"
        )
    kept = class_paths.levels[0] if level is None else level
    similarity, by_key = _compared(class_paths, kept, progress)
    names, overall = classes or class_paths.names, class_paths.overall
    found = Overview(
        name=name,
        input_shape=tuple(graph.input_shape),
        outputs=graph.classes,
        fingerprint=graph.fingerprint,
        options=header.options,
        layers=tuple(layer_size(graph, layer) for layer in header.layers),
        data=class_paths.data,
        seen=class_paths.seen,
        counted=bool(class_paths.counts),
        level=kept,
        labels=tuple(labels),
        classes=tuple(title_of(label, names) for label in labels),
        class_images=tuple(class_paths[label].images for label in labels),
        density={one: overall.density(one) for one in class_paths.levels},
        layer_density={one: overall.layer_density(one) for one in class_paths.levels},
        class_density={one: [class_paths[label].density(one) for label in labels] for one in class_paths.levels},
        similarity=similarity,
        layer_similarity=by_key,
        tree=tree_of(similarity),
    )
    if progress is not None:
        pairs = len(labels) * (len(labels) - 1) // 2
        progress(pairs, pairs)
    return found


def _compared(class_paths: ClassPaths, level: Level, progress: Progress | None) -> tuple[Floats, dict[str, float]]:
    """Return the similarity of each two class paths, [classes, classes], and its mean by key."""
    keys = class_paths.header.keys(level)
    sets = [[path.sets(level)[key] for key in keys] for path in class_paths.values()]
    sizes = np.array([[len(members) for members in own] for own in sets], np.int64)  # [classes, keys]
    similarity, sums, known = np.eye(len(sets)), np.zeros(len(keys)), np.zeros(len(keys), np.int64)
    pairs, done = len(sets) * (len(sets) - 1) // 2, 0
    for first, own in enumerate(sets):
        for second in range(first + 1, len(sets)):
            shared = [one.intersection_size(two) for one, two in zip(own, sets[second], strict=True)]
            both = np.array(shared, np.int64)
            either = sizes[first] + sizes[second] - both
            whole = int(either.sum())
            value = int(both.sum()) / whole if whole else np.nan
            similarity[first, second] = similarity[second, first] = value
            used = either > 0
            sums[used] += both[used] / either[used]
            known += used
        done += len(sets) - 1 - first
        if progress is not None and done < pairs:
            progress(done, pairs)
    means = np.divide(sums, known, out=np.full(len(keys), np.nan), where=known > 0)
    return similarity, dict(zip(keys, means.tolist(), strict=True))
