"""Fitted detectors on disk: class paths and what the classifier learned, in one safetensors file. No pickles."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from effpath.class_paths.store import class_paths_in, write_class_paths
from effpath.detect.classifiers import make_classifier, reading_of
from effpath.detect.detector import Detector
from effpath.detect.header import FORMAT, WHAT, array_of, calibration_of, detector_about, known_kind
from effpath.detect.joint import JointSimilarity
from effpath.errors import OptionError, StoreError
from effpath.files.sealed import UNREADABLE, SealedFile
from effpath.graph.graph import Graph


@dataclass(frozen=True)
class Learned:
    """What an estimator learned, by attribute.

    Attributes:
        arrays: with their number of dimensions.
        numbers: plain ones.
        parts: estimators inside it, with their class and what they learned.
    """

    arrays: dict[str, int]
    numbers: tuple[str, ...]
    parts: dict[str, tuple[type, Learned]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All attributes."""
        return (*self.arrays, *self.numbers, *self.parts)


JOINT = Learned({"classes_": 1, "coef_": 1, "omega_": 1, "omega_rank2_": 1}, ("intercept_", "n_features_in_"))
SAVED: dict[str, Learned] = {
    "linear": JOINT,
    "clean": Learned({"reference_": 2}, ("offset_", "n_features_in_")),
    "surprise": Learned(
        {"classes_": 1, "clean_": 2, "edge_": 1, "excess_": 1, "weights_": 1},
        ("usual_", "n_features_in_"),
        {"similarity_": (JointSimilarity, JOINT), "margin_": (JointSimilarity, JOINT)},
    ),
}
"""The kinds that can be saved; one more is a line here."""


def save_detector(detector: Detector, file: str | FilePath) -> None:
    """Write a fitted detector with its class paths to a file, atomically; a threshold is not needed.

    The file is a file of class paths too: `load_class_paths` and ``effpath score`` read it.

    Raises:
        OptionError: not fitted, or of a kind that cannot be saved; the message says which can.
        StoreError: the file cannot be written; what was there before is untouched.
    """
    kind = next((kind for kind in SAVED if _is_like(detector.classifier, make_classifier(kind))), None)
    if kind is None:
        raise OptionError(
            f"a detector of kind {detector.name!r} cannot be saved, as loading it would run code; expected a "
            f"kind of {', '.join(SAVED)} with its own classifier"
        )
    imputer, estimator = detector.classifier[0], detector.classifier[-1]
    arrays: dict[str, NDArray[Any]] = {}
    about = {
        "format": FORMAT,
        "kind": kind,
        **_describe(estimator, SAVED[kind], "detector", arrays),
        "threshold": detector.threshold,
        "fpr": detector.fpr,
        "about": detector.about,
        "versions": _versions(),
    }
    arrays["detector/usual"] = np.asarray(imputer.statistics_)
    if detector.calibration is not None:
        arrays["detector/calibration"] = detector.calibration
    write_class_paths(detector.class_paths, file, arrays, {"detector": about})


def load_detector(file: str | FilePath, graph: Graph) -> Detector:
    """Open a detector that was fitted to this network; its scores equal those of the detector that was saved.

    Raises:
        FingerprintError: it was fitted to another network; names both fingerprints.
        StoreError: missing, truncated, damaged, no detector, or of a kind that this version does not know.
    """
    with SealedFile(file, WHAT) as opened:
        about = detector_about(opened)
        detector = Detector(graph, class_paths_in(opened, graph), kind=known_kind(about, SAVED, opened))
        try:
            _give(detector, about, opened)
        except (*UNREADABLE, OptionError) as error:
            raise StoreError(f"cannot read {file}: {error}; it is damaged: fit the detector again") from error
    return detector


def _give(detector: Detector, about: Mapping[str, Any], opened: SealedFile) -> None:
    """Give a fresh detector what it learned, or raise one of `UNREADABLE` or OptionError."""
    imputer, estimator = detector.classifier[0], detector.classifier[-1]
    _restore(estimator, SAVED[detector.kind], "detector", about, opened)
    usual = array_of(opened, "detector/usual", 1)
    detector.threshold, detector.fpr, detector.about = about["threshold"], about["fpr"], about["about"]
    detector.calibration = calibration_of(opened)
    if not estimator.n_features_in_ == len(usual) > 0:
        raise ValueError(f"{estimator.n_features_in_} features in one place, {len(usual)} in another")
    if repr(estimator) != repr(make_classifier(detector.kind)[-1]):
        detector.kind = clone(estimator)  # of parameters of its own
    imputer.fit(usual[None])  # the median of one row is that row
    check_is_fitted(detector.classifier)


def _is_like(classifier: Any, fresh: Pipeline) -> bool:
    return (
        isinstance(classifier, Pipeline)
        and [type(step) for _, step in classifier.steps] == [type(step) for _, step in fresh.steps]
        and repr(classifier[0]) == repr(fresh[0])  # an imputer with other parameters is not kept
        and reading_of(classifier) is reading_of(fresh)
    )


def _describe(estimator: Any, learned: Learned, at: str, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Return parameters and numbers of an estimator and its parts; its arrays go to ``arrays``, below ``at``."""
    if not all(hasattr(estimator, name) for name in learned.names):
        raise OptionError("expected a fitted detector, got one that is not fitted: call fit first")
    parameters = estimator.get_params(deep=False)
    if not all(value is None or isinstance(value, (bool, int, float, str)) for value in parameters.values()):
        raise OptionError(f"expected parameters that are plain numbers and words, got {parameters}")
    arrays |= {f"{at}/{name}": np.asarray(getattr(estimator, name)) for name in learned.arrays}
    return {
        "parameters": parameters,
        "numbers": {name: getattr(estimator, name) for name in learned.numbers},
        "parts": {
            name: _describe(getattr(estimator, name), inner, f"{at}/{name}", arrays)
            for name, (_, inner) in learned.parts.items()
        },
    }


def _restore(estimator: Any, learned: Learned, at: str, about: Mapping[str, Any], opened: SealedFile) -> None:
    """Give a fresh estimator what `_describe` wrote."""
    estimator.set_params(**about["parameters"])
    for name, dimensions in learned.arrays.items():
        setattr(estimator, name, array_of(opened, f"{at}/{name}", dimensions))
    for name in learned.numbers:
        setattr(estimator, name, about["numbers"][name])
    for name, (make, inner) in learned.parts.items():
        part = make()
        _restore(part, inner, f"{at}/{name}", about["parts"][name], opened)
        setattr(estimator, name, part)


def _versions() -> dict[str, str]:
    from effpath import __version__

    return {
        "effpath": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
    }
