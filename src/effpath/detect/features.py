"""Features of images: how far paths lie inside class paths (Sec. 4.2), how likely they are under each class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.fused import similarity
from effpath.class_paths.likelihood import PathLikelihood, columns_of, margins
from effpath.detect.signs.log_odds import log_odds
from effpath.detect.signs.profiles import PROFILES, Profile
from effpath.errors import FingerprintError, OptionError
from effpath.files.progress import Progress
from effpath.graph.graph import Graph
from effpath.images import Images
from effpath.paths.header import differing
from effpath.rules.plan import Level
from effpath.walk.recording import Recorded, recordings
from effpath.walk.visit import paths_of


@dataclass(frozen=True, eq=False)
class Features:
    """What the paths of a batch of images show: of the ranks, and with or without a likelihood, as was asked for.

    Attributes:
        values: float64 [N, ranks · sets], image-class path similarities of the ranks that were asked for, those of
            rank 1 first; NaN where an image's set is empty.
        names: of the columns, ``rank:level:layer``: they say which ranks these are.
        classes: int64 [N, 2 or more], the predicted class, the runner-up …, whatever ranks the paths are of.
        logits: float32 [N, classes].
        likelihood: float64 [N, sets, classes], of the rank-1 path under each class that has a path, see
            `PathLikelihood`; None where it was not asked for.
        likelihood_classes: the classes of its columns.
        signs: float64 [N, signs], what the signs of a profile show, each high where suspicious; None where they
            were not asked for.
        sign_names: of their columns, in words.
        signs_by_layer: float64 [N, columns], what the signs that are means over layers are means of, see
            `Profile.layer_signs`; None where it was not asked for.
    """

    values: NDArray[np.float64]
    names: tuple[str, ...]
    classes: NDArray[np.int64]
    logits: NDArray[np.float32]
    likelihood: NDArray[np.float64] | None = None
    likelihood_classes: tuple[int, ...] = ()
    signs: NDArray[np.float64] | None = None
    sign_names: tuple[str, ...] = ()
    signs_by_layer: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> Features:
        """Return some of the rows."""
        likelihood, signs, by_layer = (
            None if array is None else array[rows] for array in (self.likelihood, self.signs, self.signs_by_layer)
        )
        plain = self.values[rows], self.names, self.classes[rows], self.logits[rows]
        return Features(*plain, likelihood, self.likelihood_classes, signs, self.sign_names, by_layer)

    def similarities(self) -> NDArray[np.float64]:
        """Return the similarities of ranks 1 and 2, float64 [N, 2 · sets].

        Raises:
            OptionError: those of rank 2 were not asked for.
        """
        if all(name.startswith("rank1:") for name in self.names):
            raise OptionError(
                "expected similarities of ranks 1 and 2, got those of rank 1 alone: ask path_features for "
                "ranks=(1, 2), or the detector itself for its features"
            )
        return self.values

    def margins(self) -> NDArray[np.float64]:
        """Return each set's likelihood under the predicted class less the highest of another, float64 [N, sets].

        NaN where the predicted class has no class path.

        Raises:
            OptionError: the likelihood was not asked for.
        """
        return margins(self._asked(), columns_of(self.likelihood_classes, self.classes[:, 0]))

    def most_likely(self) -> NDArray[np.int64]:
        """Return the class under which the rank-1 path is most likely, all sets weighing the same, int64 [N].

        Raises:
            OptionError: the likelihood was not asked for.
        """
        whole = np.nanmean(self._asked(), axis=1)  # [N, classes]
        best: NDArray[np.int64] = np.array(self.likelihood_classes, np.int64)[whole.argmax(1)]
        return best

    def log_odds(self) -> NDArray[np.float64]:
        """Return the log odds of the predicted class, float64 [N], which do not saturate."""
        return log_odds(self.logits)

    def suspicions(self, says: Sequence[str]) -> NDArray[np.float64]:
        """Return what some signs show, float64 [N, signs], by what they say.

        Raises:
            OptionError: one of them was not asked for.
        """
        missing = [title for title in says if self.signs is None or title not in self.sign_names]
        if missing or self.signs is None:
            raise OptionError(
                f"expected features with the signs {', '.join(map(repr, says))}, got some without "
                f"{', '.join(map(repr, missing))}: ask the detector itself for its features"
            )
        return self.signs[:, [self.sign_names.index(title) for title in says]]

    def _asked(self) -> NDArray[np.float64]:
        if self.likelihood is None:
            raise OptionError(
                "expected features with a likelihood, got some without: ask path_features for it with "
                "likelihood=PathLikelihood(class_paths)"
            )
        return self.likelihood


@dataclass(frozen=True)
class Reading:
    """What a detector reads of features.

    Attributes:
        columns: of features, float64 [N, columns].
        ranks: of the paths whose similarities it looks at.
        wants_likelihood: whether the features must hold the likelihood of the paths under all classes.
        profile: of the signs that the columns are; None where they are none.
    """

    columns: Callable[[Features], NDArray[np.float64]]
    ranks: tuple[int, ...] = (1, 2)
    wants_likelihood: bool = False
    profile: Profile | None = None

    @property
    def asks(self) -> bool:
        """Whether it asks another network."""
        return self.profile is not None and self.profile.asks


def _with_margins(features: Features) -> NDArray[np.float64]:
    margins = features.margins()
    rank_1 = features.values[:, : margins.shape[1]]
    return np.concatenate([rank_1, margins, features.log_odds()[:, None]], axis=1)


READINGS = {
    # [N, 2 · sets]: rank 1, then rank 2
    "similarities": Reading(Features.similarities),
    # [N, 2 · sets + 1]: rank 1, the margins of its likelihood, the log odds of the predicted class
    "margins": Reading(_with_margins, ranks=(1,), wants_likelihood=True),
    # [N, signs]: what the signs of a profile show
    **{
        name: Reading(partial(Features.suspicions, says=made.says), (1,), made.wants("likelihood"), made)
        for name, made in PROFILES.items()
    },
}
"""By the attribute ``reads`` of an estimator; those without it read similarities."""


def check_network(graph: Graph, class_paths: ClassPaths) -> None:
    """Raise FingerprintError where class paths were built with another network."""
    found = class_paths.header.fingerprint
    if found != graph.fingerprint:
        raise FingerprintError(
            f"class paths of another network: they have fingerprint {found}, this network has "
            f"{graph.fingerprint}; {differing(class_paths.header.architecture, graph.architecture)}"
        )


def path_features(
    graph: Graph,
    class_paths: ClassPaths,
    images: Images,
    *,
    ranks: Sequence[int] = (1, 2),
    level: Level = "synapses",
    likelihood: PathLikelihood | None = None,
    allow_missing: bool = False,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Features:
    """Return [J^1 … J^L of rank 1, J'^1 … J'^L of rank 2] of each image: one forward pass, one walk per rank.

    Args:
        graph, class_paths: of one network.
        images: [N, C, H, W], which may be read when indexed.
        ranks: of the paths, ascending; with a likelihood rank 1 is walked in any case, for both at once.
        level: synapses, neurons or weights.
        likelihood: of the same class paths: the likelihood of rank-1 paths under every class is kept too.
        allow_missing: give NaN, instead of an error, where the class that a path starts from has no class path.
        batch_size: images together, see `recordings`.
        progress: called with images done and in total.

    Raises:
        FingerprintError: the class paths were built with another network.
        ClassPathError: an image's class has no class path, unless ``allow_missing``.
        InputError, NumericalError: bad images.
        OptionError: a batch of less than one image.
    """
    check_network(graph, class_paths)
    header = class_paths.header
    names = tuple(name for rank in ranks for name in class_paths.feature_names(level, rank))
    layers = [layer.name for layer in header.layers]
    values, classes, logits, likelihoods = [], [], [], []
    for _, _, recorded in recordings(
        graph, images, options=header.options, layers=layers, batch_size=batch_size, progress=progress
    ):
        paths = None
        if likelihood is not None:  # its paths are compared with the class paths too
            paths = paths_of(recorded)
            likelihoods.append(likelihood(paths))
        similarities = [
            similarities_of(recorded, class_paths, rank, level, allow_missing)
            if paths is None or rank > 1
            else class_paths.similarity(paths, level, allow_missing=allow_missing)
            for rank in ranks
        ]
        values.append(np.concatenate(similarities, axis=1))
        ranked = [recorded.ranked(rank).cpu().numpy() for rank in range(1, max(2, *ranks) + 1)]
        classes.append(np.stack(ranked, axis=1))
        logits.append(recorded.logits.float().cpu().numpy())
    if not values:
        graph.check_images(images[:])  # says that there are none
    arrays = np.concatenate(values), names, np.concatenate(classes), np.concatenate(logits)
    if likelihood is None:
        return Features(*arrays)
    return Features(*arrays, np.concatenate(likelihoods), tuple(likelihood.classes))


def similarities_of(
    recorded: Recorded, class_paths: ClassPaths, rank: int, level: Level, allow_missing: bool
) -> NDArray[np.float64]:
    """Return the similarities of one rank; NaN, where that is allowed, for classes without a class path."""
    known = np.isin(recorded.ranked(rank).cpu().numpy(), class_paths.classes)
    if known.all() or not allow_missing:
        return similarity(recorded, class_paths, rank=rank, level=level)
    found = np.full((len(known), len(class_paths.header.keys(level))), np.nan)
    if known.any():
        found[known] = similarity(recorded.select(torch.from_numpy(known)), class_paths, rank=rank, level=level)
    return found
