"""What the demo's detectors look at: paths of the images of each group, and the signs of the default kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.likelihood import PathLikelihood
from effpath.data import Part
from effpath.detect.classifiers import DEFAULT_KIND
from effpath.detect.features import Features, path_features
from effpath.detect.signs.collect import collect
from effpath.detect.signs.profiles import PROFILES
from effpath.detect.signs.reader import SignReader, sign_features
from effpath.files.progress import Progress, Track
from effpath.graph import Graph
from effpath.images import Images

Groups = Mapping[str, Images]
"""Images [N, C, H, W], by group: ``clean``, or an attack."""


def path_step(
    graph: Graph, class_paths: ClassPaths, groups: Groups, batch_size: int, track: Track
) -> dict[str, Features]:
    """Return by group the similarities of ranks 1 and 2, and how likely paths are under every class."""
    likelihood = PathLikelihood(class_paths)

    def look(images: Images, progress: Progress) -> Features:
        return path_features(
            graph, class_paths, images, likelihood=likelihood, batch_size=batch_size, progress=progress
        )

    return _each("paths of clean and adversarial images", groups, look, track)


def sign_step(
    graph: Graph,
    class_paths: ClassPaths,
    train: Part,
    groups: Groups,
    features: Mapping[str, Features],
    batch_size: int,
    track: Track,
) -> dict[str, Features]:
    """Return the features with the signs of the default kind, which compare images with those of training."""
    reader = SignReader.of(PROFILES[DEFAULT_KIND], class_paths)
    with track(f"{len(train)} images, to compare others with") as progress:
        reference = collect(graph, reader, train.images, train.labels, batch_size=batch_size, progress=progress)

    def look(images: Images, progress: Progress) -> Features:
        return sign_features(graph, reader, images, reference=reference, batch_size=batch_size, progress=progress)

    seen = _each("signs of clean and adversarial images", groups, look, track)
    return {
        name: replace(own, signs=seen[name].signs, sign_names=seen[name].sign_names)
        for name, own in features.items()
    }


def _each(
    step: str, groups: Groups, look: Callable[[Images, Progress], Features], track: Track
) -> dict[str, Features]:
    """Return what is seen of each group, with one progress for all."""
    total, done = sum(map(len, groups.values())), 0
    found = {}
    with track(step) as progress:
        for name, images in groups.items():
            found[name] = look(images, lambda count, _, done=done: progress(done + count, total))  # type: ignore[misc]
            done += len(images)
    return found
