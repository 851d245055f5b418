"""A detector as its file holds it: ready to score and to explain, without what fitted it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.likelihood import PathLikelihood
from effpath.class_paths.store import class_paths_in
from effpath.detect.features import Features, path_features
from effpath.detect.header import WHAT, array_of, detector_about, known_kind
from effpath.detect.reading import READINGS
from effpath.detect.scoring import (
    CleanScore,
    FloatArray,
    JointScore,
    Score,
    Scoring,
    SurpriseScore,
    suspicion_signs,
)  # fmt: skip
from effpath.detect.verdicts import Verdicts, of_known_classes, verdicts
from effpath.errors import OptionError, StoreError
from effpath.files.sealed import UNREADABLE, SealedFile
from effpath.graph.graph import Graph
from effpath.images import Images


@dataclass(frozen=True, eq=False)
class Guard:
    """A saved detector that scores as `Detector` does, to the last bit, and imports no library of learning.

    Attributes:
        graph, class_paths: of one network.
        name: the kind in a word.
        threshold: scores above it are flagged; None where none was fixed.
        fpr: the false positive rate that it was fixed for.
        about: what the detector's makers kept with it.
        scoring: what it computes.
        reads: a name of `READINGS`.
        path_likelihood: for those that read margins.
    """

    graph: Graph
    class_paths: ClassPaths
    name: str
    threshold: float | None
    fpr: float | None
    about: dict[str, Any]
    scoring: Scoring
    reads: str
    path_likelihood: PathLikelihood | None

    def features(
        self, images: Images, *, batch_size: int | None = None, progress: Callable[[int, int], None] | None = None
    ) -> Features:
        """Return the path similarities of images [N, C, H, W], see `path_features`; NaN without a class path."""
        return path_features(
            self.graph,
            self.class_paths,
            images,
            ranks=READINGS[self.reads].ranks,
            likelihood=self.path_likelihood,
            allow_missing=True,
            batch_size=batch_size,
            progress=progress,
        )

    def read(self, features: Features) -> FloatArray:
        """Return what it looks at of features, float64 [N, columns]."""
        return READINGS[self.reads].columns(features)

    def detect(self, features: Features) -> Verdicts:
        """Flag the images whose score is above the threshold; OptionError where none was fixed."""
        if self.threshold is None:
            raise OptionError("no threshold in this detector: call Detector.calibrate before it is saved")
        scores = of_known_classes(self.scoring(self.read(features)), features, self.class_paths)
        return verdicts(scores, self.threshold, features)


def load_guard(file: str | FilePath, graph: Graph) -> Guard:
    """Open a saved detector to score with it alone; `load_detector` gives one that can be fitted on.

    Raises:
        FingerprintError: it was fitted to another network; names both fingerprints.
        StoreError: missing, truncated, damaged, no detector, or of a kind that this version does not know.
    """
    with SealedFile(file, WHAT) as opened:
        about = detector_about(opened)
        kind = known_kind(about, SCORES, opened)
        class_paths = class_paths_in(opened, graph)
        reads = "margins" if kind == "surprise" else "similarities"
        likelihood = PathLikelihood(class_paths) if READINGS[reads].wants_likelihood else None
        try:
            usual = array_of(opened, "detector/usual", 1)
            scoring = Scoring(usual, SCORES[kind](about, opened, "detector", len(usual)))
            threshold, fpr, kept = about["threshold"], about["fpr"], about["about"]
        except UNREADABLE as error:
            raise StoreError(f"cannot read {file}: {error}; it is damaged: fit the detector again") from error
    return Guard(graph, class_paths, kind, threshold, fpr, kept, scoring, reads, likelihood)


def _joint(about: Mapping[str, Any], opened: SealedFile, at: str, columns: int) -> JointScore:
    if not about["numbers"]["n_features_in_"] == columns > 0:
        raise ValueError(f"{about['numbers']['n_features_in_']} features in one place, {columns} in another")
    return JointScore(array_of(opened, f"{at}/coef_", 1), float(about["numbers"]["intercept_"]))


def _clean(about: Mapping[str, Any], opened: SealedFile, at: str, columns: int) -> CleanScore:
    reference = array_of(opened, f"{at}/reference_", 2)
    if not reference.shape[1] == columns > 0:
        raise ValueError(f"{reference.shape[1]} features in one place, {columns} in another")
    return CleanScore(reference, suspicion_signs(columns, about["parameters"]["rank_1"]))


def _surprise(about: Mapping[str, Any], opened: SealedFile, at: str, columns: int) -> SurpriseScore:
    parameters, parts = about["parameters"], about["parts"]
    sets = (columns - parameters["further"]) // 2
    similarity, margin = (_joint(parts[n], opened, f"{at}/{n}", sets) for n in ("similarity_", "margin_"))
    edge, excess, weights = (array_of(opened, f"{at}/{n}", 1) for n in ("edge_", "excess_", "weights_"))
    clean = array_of(opened, f"{at}/clean_", 2)
    return SurpriseScore(similarity, margin, clean, edge, excess, weights, float(parameters["tail"]))


SCORES: dict[str, Callable[[Mapping[str, Any], SealedFile, str, int], Score]] = {
    "linear": _joint,
    "clean": _clean,
    "surprise": _surprise,
}
"""By kind, how a file's score is read."""
