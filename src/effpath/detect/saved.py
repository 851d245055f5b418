"""A detector as its file holds it: ready to score and to explain, without what fitted it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.likelihood import PathLikelihood
from effpath.class_paths.store import class_paths_in
from effpath.detect.header import WHAT, array_of, calibration_of, detector_about, known_kind
from effpath.detect.mixin import DetectorMixin
from effpath.detect.reading import READINGS, Reading
from effpath.detect.scoring import (
    CleanScore,
    FloatArray,
    JointScore,
    Score,
    Scoring,
    SurpriseScore,
    suspicion_directions,
)  # fmt: skip
from effpath.errors import StoreError
from effpath.files.sealed import UNREADABLE, SealedFile
from effpath.graph.graph import Graph


@dataclass(frozen=True, eq=False)
class SavedDetector(DetectorMixin):
    """A saved detector that scores as `Detector` does, to the last bit, without importing scikit-learn.

    Attributes:
        graph, class_paths, path_likelihood, threshold, fpr, calibration: as of any detector.
        name: the kind as one word.
        about: what `Detector.about` held when it was saved.
        scoring: what it computes.
        reading: what it reads of features.
    """

    graph: Graph
    class_paths: ClassPaths
    name: str
    threshold: float | None
    fpr: float | None
    calibration: FloatArray | None
    about: dict[str, Any]
    scoring: Scoring
    reading: Reading
    path_likelihood: PathLikelihood | None


def open_detector(file: str | FilePath, graph: Graph) -> SavedDetector:
    """Open a saved detector to score with it alone; `load_detector` gives one that can be fitted on.

    Raises:
        FingerprintError: it was fitted to another network; names both fingerprints.
        StoreError: missing, truncated, damaged, no detector, or of a kind that this version does not know.
    """
    with SealedFile(file, WHAT) as opened:
        about = detector_about(opened)
        kind = known_kind(about, SCORES, opened)
        class_paths = class_paths_in(opened, graph)
        reading = READINGS[SCORES[kind].reads]
        likelihood = PathLikelihood(class_paths) if reading.wants_likelihood else None
        try:
            usual = array_of(opened, "detector/usual", 1)
            scoring = Scoring(usual, SCORES[kind].read(about, opened, "detector", len(usual)))
            calibration = calibration_of(opened)
            threshold, fpr, kept = about["threshold"], about["fpr"], about["about"]
        except UNREADABLE as error:
            raise StoreError(f"cannot read {file}: {error}; it is damaged: fit the detector again") from error
    return SavedDetector(graph, class_paths, kind, threshold, fpr, calibration, kept, scoring, reading, likelihood)


def _joint(about: Mapping[str, Any], opened: SealedFile, at: str, columns: int) -> JointScore:
    if not about["numbers"]["n_features_in_"] == columns > 0:
        raise ValueError(f"{about['numbers']['n_features_in_']} features in one place, {columns} in another")
    return JointScore(array_of(opened, f"{at}/coef_", 1), float(about["numbers"]["intercept_"]))


def _clean(about: Mapping[str, Any], opened: SealedFile, at: str, columns: int) -> CleanScore:
    reference = array_of(opened, f"{at}/reference_", 2)
    if not reference.shape[1] == columns > 0:
        raise ValueError(f"{reference.shape[1]} features in one place, {columns} in another")
    return CleanScore(reference, suspicion_directions(columns, about["parameters"]["rank_1"]))


def _surprise(about: Mapping[str, Any], opened: SealedFile, at: str, columns: int) -> SurpriseScore:
    parameters, parts = about["parameters"], about["parts"]
    sets = (columns - parameters["further"]) // 2
    similarity, margin = (_joint(parts[n], opened, f"{at}/{n}", sets) for n in ("similarity_", "margin_"))
    edge, excess, weights = (array_of(opened, f"{at}/{n}", 1) for n in ("edge_", "excess_", "weights_"))
    clean = array_of(opened, f"{at}/clean_", 2)
    return SurpriseScore(similarity, margin, clean, edge, excess, weights, float(parameters["tail"]))


class SavedScore(NamedTuple):
    """How the score of a kind comes back from a file.

    Attributes:
        read: gives the score, from the header, the file, the place in it and the number of columns.
        reads: what the score is of: a name of `READINGS`.
    """

    read: Callable[[Mapping[str, Any], SealedFile, str, int], Score]
    reads: str


SCORES = {
    "linear": SavedScore(_joint, "similarities"),
    "clean": SavedScore(_clean, "similarities"),
    "surprise": SavedScore(_surprise, "margins"),
}
"""By kind."""
