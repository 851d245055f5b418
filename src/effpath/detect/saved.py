"""What every detector does, and the one that a file holds: ready to score and to explain, without what fits it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path as FilePath
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.likelihood import PathLikelihood
from effpath.class_paths.store import class_paths_in, provenance_of
from effpath.detect.band import CleanRows, UsualByLayer
from effpath.detect.features import READINGS, Features, Reading, path_features
from effpath.detect.learned import SAVED, learned_in
from effpath.detect.metrics import Interval, conformal_p_values, sharing, thresholds_of
from effpath.detect.scoring import FloatArray, Scoring
from effpath.detect.signs.auxiliary import check_auxiliary
from effpath.detect.signs.reader import SignReader, sign_features
from effpath.detect.signs.reference import Reference
from effpath.detect.stored import (
    check_signs,
    stored_array,
    stored_calibration,
    stored_clean_rows,
    stored_reference,
    stored_usual_by_layer,
)
from effpath.detect.verdicts import Verdicts
from effpath.errors import FingerprintError, OptionError, StoreError
from effpath.files.progress import Progress
from effpath.files.sealed import UNREADABLE, SealedFile
from effpath.graph.graph import Graph
from effpath.images import Images

WHAT = "a detector"
FORMAT = "effpath-detector-3"
READABLE = ("effpath-detector-2", FORMAT)  # the earlier one has no checksums


class DetectorMixin:
    """A detector that knows what it reads and how suspicious that is.

    Attributes:
        graph, class_paths, auxiliary, path_likelihood, reader, reference, threshold, class_thresholds, fpr: as of
            `Detector`.
        calibration, calibration_classes, clean_rows, usual_by_layer: likewise; None too where a file of an earlier
            version does not hold them.
        about: JSON values by name, of what it was made from.
        name: the kind as one word.
        reading: what it reads of features.
        scoring: its formula, where that is one of this package, else None; OptionError where it was not fitted.
    """

    graph: Graph
    class_paths: ClassPaths
    auxiliary: Graph | None
    path_likelihood: PathLikelihood | None
    reader: SignReader | None
    reference: Reference | None
    threshold: float | None
    class_thresholds: dict[int, float]
    fpr: float | None
    calibration: FloatArray | None
    calibration_classes: NDArray[np.int64] | None
    clean_rows: CleanRows | None
    usual_by_layer: UsualByLayer | None
    about: dict[str, Any]
    name: str
    reading: Reading
    scoring: Scoring | None

    @property
    def true_rate(self) -> Interval | None:
        """How often new clean images lie above ``threshold``: on average, in nine calibrations of ten.

        Those of classes that share it; None if not known. Of a class it is as of so many images as `fixed_on` has.
        """
        from effpath.detect.conformal import true_rate  # needs SciPy, which scoring does not

        shared = self.fixed_on()
        if shared is None or self.fpr is None:
            return None
        return true_rate(len(shared), self.fpr)

    def fixed_on(self, label: int | None = None) -> FloatArray | None:
        """Return the scores [n], ascending, that fixed the threshold of a predicted class; None if not known.

        Args:
            label: the class; those without a threshold of their own, and None, give what fixed ``threshold``.
        """
        if self.calibration is None or self.calibration_classes is None or not self.class_thresholds:
            return self.calibration
        own, classes = label in self.class_thresholds, self.calibration_classes
        found: FloatArray = self.calibration[classes == label if own else sharing(classes, self.class_thresholds)]
        return found

    def read(self, features: Features) -> FloatArray:
        """Return what it reads of features, float64 [N, columns]."""
        return self.reading.columns(features)

    def features(
        self,
        images: Images,
        *,
        paths: bool = False,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> Features:
        """Return what images [N, C, H, W] show, see `path_features` and `sign_features`; NaN without a class path.

        Args:
            images: which may be read when indexed.
            paths: have the similarities of every layer, to explain, where a profile of signs does without.
            batch_size: images together, see `recordings`.
            progress: called with images done and in total.

        Raises:
            OptionError: a sign compares images with what was collected from clean ones, and nothing was.
        """
        if self.reader is not None:
            return sign_features(
                self.graph,
                self.reader,
                images,
                reference=self.reference,
                paths=paths,
                batch_size=batch_size,
                progress=progress,
            )
        return path_features(
            self.graph,
            self.class_paths,
            images,
            ranks=self.reading.ranks,
            likelihood=self.path_likelihood,
            allow_missing=True,
            batch_size=batch_size,
            progress=progress,
        )

    def score(self, images: Images | Features) -> FloatArray:
        """Return the suspicion of each image, float64 [N]; infinite where its class has no class path.

        Raises:
            OptionError: it was not fitted yet.
        """
        _ = self.scoring  # is an error, before any work, where it was not fitted
        features = self._as_features(images)
        known = np.isin(features.classes[:, 0], list(self.class_paths))
        return np.where(known, self._suspicion(self.read(features)), np.inf)

    def detect(self, images: Images | Features) -> Verdicts:
        """Score images and flag those above the threshold, that of their predicted class where it has one.

        Raises:
            OptionError: it was not fitted, or the threshold was not fixed yet.
        """
        scoring = self.scoring
        self.thresholds_of(np.zeros(0, np.int64))  # is an error, before any work, where there is none
        features = self._as_features(images)
        scores, ranked = self.score(features), features.classes.T
        limits = self.thresholds_of(ranked[0])
        flagged, p_values = (scores > limits) | np.isposinf(scores), self._p_values(scores, ranked[0])
        said = scores, flagged, ranked[0], ranked[1], features, p_values, self.class_paths.names
        return Verdicts(*said, limits, scoring, self.reading)

    def thresholds_of(self, classes: NDArray[np.int64]) -> FloatArray:
        """Return the threshold for each predicted class [N], float64 [N]: its own, or else the shared one.

        Raises:
            OptionError: the threshold was not fixed yet.
        """
        if self.threshold is None:
            raise OptionError(
                "expected a detector with a threshold, got one that has no threshold yet: call "
                "calibrate(clean_images) with images held out from fit"
            )
        return thresholds_of(classes, self.threshold, self.class_thresholds)

    def _p_values(self, scores: FloatArray, classes: NDArray[np.int64]) -> FloatArray | None:
        """Return conformal p-values [N] among the images that fixed the threshold of the predicted class."""
        shared = self.fixed_on()
        if shared is None:
            return None
        found = conformal_p_values(scores, shared)
        for label in self.class_thresholds:
            rows, own = classes == label, self.fixed_on(label)
            assert own is not None
            found[rows] = conformal_p_values(scores[rows], own)
        return found

    def _as_features(self, images: Images | Features) -> Features:
        return images if isinstance(images, Features) else self.features(images)

    def _suspicion(self, columns: FloatArray) -> FloatArray:
        """Return the suspicion [N] of what it reads, [N, columns]."""
        assert self.scoring is not None
        return self.scoring(columns)


@dataclass(frozen=True, eq=False)
class SavedDetector(DetectorMixin):
    """A saved detector that scores as `Detector` does, to the last bit, without importing scikit-learn.

    Attributes:
        about: what `Detector.about` held when it was saved.
        learned: what its estimator learned, and the parameters of that, by attribute.
        scoring: its formula.
    """

    graph: Graph
    class_paths: ClassPaths
    name: str
    threshold: float | None
    class_thresholds: dict[int, float]
    fpr: float | None
    calibration: FloatArray | None
    calibration_classes: NDArray[np.int64] | None
    clean_rows: CleanRows | None
    about: dict[str, Any]
    learned: SimpleNamespace
    scoring: Scoring
    reference: Reference | None = None
    auxiliary: Graph | None = None

    @property
    def usual_by_layer(self) -> UsualByLayer | None:  # type: ignore[override]
        """What clean images usually show in each layer."""
        return self.scoring.by_layer

    @property
    def reading(self) -> Reading:  # type: ignore[override]
        """What it reads of features."""
        return READINGS[SAVED[self.name].reads]

    @cached_property
    def reader(self) -> SignReader | None:  # type: ignore[override]
        """What reads its signs, if it reads a profile of them."""
        profile = self.reading.profile
        return None if profile is None else SignReader.of(profile, self.class_paths, self.auxiliary)

    @cached_property
    def path_likelihood(self) -> PathLikelihood | None:  # type: ignore[override]
        """The likelihood under the class paths, or those that its walk covers, if it reads that."""
        if self.reader is not None:
            return self.reader.path_likelihood
        return PathLikelihood(self.class_paths) if self.reading.wants_likelihood else None


def detector_about(opened: SealedFile) -> dict[str, Any]:
    """Return what an open detector's file says of itself: kind, threshold, FPR, about, versions.

    Raises:
        StoreError: damaged, or no detector's file.
    """
    provenance_of(opened)
    try:
        about = dict(json.loads(opened.about.get("detector", "{}")))
    except UNREADABLE as error:
        raise opened.damaged(str(error)) from error
    if about.get("format") not in READABLE or "kind" not in about:
        raise StoreError(
            f"expected a detector ({' or '.join(READABLE)}), got class paths with {about.get('format', 'none')} "
            f"in {opened.file}; make one with effpath fit or save_detector"
        )
    return about


def open_detector(opened: SealedFile, graph: Graph, auxiliary: Graph | None = None) -> SavedDetector:
    """Return the detector of an open file, to score with alone; `load_detector` gives one that can be fitted on.

    Args:
        opened: the file.
        graph: of the network that it was fitted to.
        auxiliary: of the other network that it asks, if it asks one.

    Raises:
        FingerprintError: it was fitted to another network, or with another auxiliary one; names both fingerprints.
        OptionError: an auxiliary network that it does not ask, or none where it asks one.
        StoreError: damaged, no detector, or of a kind that this version does not know.
    """
    about = detector_about(opened)
    kind = about["kind"]
    if kind not in SAVED:
        raise StoreError(
            f"expected a detector of a kind of {', '.join(SAVED)}, got {kind!r} in {opened.file}, written by "
            f"another version ({about.get('versions')}): use that one, or fit the detector again"
        )
    reading = READINGS[SAVED[kind].reads]
    check_signs(kind, reading.profile, about, opened)
    check_auxiliary(kind, reading.asks, graph, auxiliary)
    if auxiliary is not None and auxiliary.fingerprint != about.get("auxiliary"):
        raise FingerprintError(
            f"{opened.file} asks another auxiliary network than this: it was fitted with fingerprint "
            f"{about.get('auxiliary')}, this one has {auxiliary.fingerprint}"
        )
    class_paths = class_paths_in(opened, graph)
    try:
        usual, learned = stored_array(opened, "detector/usual", 1), learned_in(kind, about, opened, "detector")
        if not learned.n_features_in_ == len(usual) > 0:
            raise ValueError(f"{learned.n_features_in_} features in one place, {len(usual)} in another")
        score = SAVED[kind].score(learned)
        clean_rows = stored_clean_rows(opened)
        scoring = Scoring(usual, score, stored_usual_by_layer(opened, reading.profile, class_paths))
        scoring(usual[None])  # is a ValueError where the parts do not fit together
        threshold, fpr, said = about["threshold"], about["fpr"], about["about"]
        limits = {int(label): float(limit) for label, limit in about.get("class_thresholds", {}).items()}
        calibration, classes = stored_calibration(opened)
        if calibration is not None and not set(limits) <= set(() if classes is None else classes.tolist()):
            raise ValueError(f"thresholds for classes {sorted(limits)} without calibration scores of them")
        reference = stored_reference(opened, about, class_paths)
    except (*UNREADABLE, OptionError, IndexError) as error:
        raise broken(opened.file, error) from error
    fixed = threshold, limits, fpr, calibration, classes, clean_rows
    return SavedDetector(graph, class_paths, kind, *fixed, said, learned, scoring, reference, auxiliary)


def broken(file: str | FilePath, error: Exception) -> StoreError:
    """Return the error for a detector's file whose parts do not fit together."""
    return StoreError(f"cannot read {file}: {error}; it is damaged: fit the detector again")
