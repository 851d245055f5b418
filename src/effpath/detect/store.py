"""Fitted detectors on disk: class paths and what the classifier learned, in one safetensors file. No pickles."""

from __future__ import annotations

import platform
from pathlib import Path as FilePath
from types import SimpleNamespace
from typing import Any

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from effpath.class_paths.store import write_class_paths
from effpath.detect.classifiers import CLASSIFIERS, check_fitted, make_classifier, reading_of
from effpath.detect.detector import Detector
from effpath.detect.learned import SAVED
from effpath.detect.saved import FORMAT, WHAT, broken, open_detector
from effpath.errors import OptionError
from effpath.files.sealed import SealedFile
from effpath.graph.graph import Graph


def save_detector(detector: Detector, file: str | FilePath) -> None:
    """Write a fitted detector with its class paths to a file, atomically; a threshold is not needed.

    The file is a file of class paths too: `load_class_paths` and ``effpath score`` read it.

    Raises:
        OptionError: not fitted, or of a kind that cannot be saved; the message says which can.
        StoreError: the file cannot be written; what was there before is untouched.
    """
    from effpath import __version__

    kind = next((kind for kind in SAVED if _is_like(detector.classifier, make_classifier(kind))), None)
    if kind is None:
        raise OptionError(
            f"a detector of kind {detector.name!r} cannot be saved, as loading it would run code; expected a "
            f"kind of {', '.join(SAVED)} with its own classifier"
        )
    check_fitted(detector.classifier)
    arrays: dict[str, NDArray[Any]] = {"detector/usual": np.asarray(detector.classifier[0].statistics_)}
    if detector.calibration is not None:
        arrays["detector/calibration"] = detector.calibration
    if detector.calibration_classes is not None:
        arrays["detector/calibration_classes"] = detector.calibration_classes
    if (rows := detector.clean_rows) is not None:
        arrays |= {"detector/clean_values": rows.values, "detector/clean_classes": rows.classes}
    if detector.usual_by_layer is not None:
        arrays["detector/usual_by_layer"] = detector.usual_by_layer.medians
    reference = detector.reference
    if reference is not None:
        arrays |= {f"detector/reference/{name}": array for name, array in reference.arrays.items()}
    profile, other = detector.reading.profile, detector.auxiliary
    about = {
        "format": FORMAT,
        "kind": kind,
        **({} if profile is None else {"signs": list(profile.says)}),
        **({} if other is None else {"auxiliary": other.fingerprint, "auxiliary_structure": other.structure}),
        **_describe(detector.classifier[-1], kind, "detector", arrays),
        "threshold": detector.threshold,
        "class_thresholds": detector.class_thresholds,
        "fpr": detector.fpr,
        "about": detector.about,
        **({} if reference is None else {"reference": {"layers": [*reference.counts], "own": reference.own}}),
        "versions": {
            "effpath": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "scikit-learn": sklearn.__version__,
            "numpy": np.__version__,
        },
    }
    write_class_paths(detector.class_paths, file, arrays, {"detector": about})


def load_detector(file: str | FilePath, graph: Graph, *, auxiliary: Graph | None = None) -> Detector:
    """Open a detector that was fitted to this network; its scores equal those of the detector that was saved.

    Args:
        file: of `save_detector` or ``effpath fit``.
        graph: of the network.
        auxiliary: of the other network that it asks, where it is of kind ``paired``.

    Raises:
        FingerprintError: it was fitted to another network, or with another auxiliary one; names both fingerprints.
        OptionError: an auxiliary network that it does not ask, or none where it asks one.
        StoreError: missing, truncated, damaged, no detector, or of a kind that this version does not know.
    """
    with SealedFile(file, WHAT) as opened:
        saved = open_detector(opened, graph, auxiliary)
    detector = Detector(graph, saved.class_paths, kind=saved.name, auxiliary=auxiliary)
    imputer, estimator = detector.classifier[0], detector.classifier[-1]
    try:
        _restore(estimator, saved.name, saved.learned)
        imputer.fit(saved.scoring.usual[None])  # the median of one row is that row
    except ValueError as error:  # a parameter that the estimator does not have, an infinite median
        raise broken(file, error) from error
    if repr(estimator) != repr(make_classifier(saved.name)[-1]):
        detector.kind = clone(estimator)  # of parameters of its own
    detector.threshold, detector.fpr, detector.about = saved.threshold, saved.fpr, saved.about
    detector.class_thresholds, detector.calibration_classes = saved.class_thresholds, saved.calibration_classes
    detector.calibration, detector.clean_rows = saved.calibration, saved.clean_rows
    detector.reference, detector.usual_by_layer = saved.reference, saved.usual_by_layer
    return detector


def _is_like(classifier: Any, fresh: Pipeline) -> bool:
    return (
        isinstance(classifier, Pipeline)
        and [type(step) for _, step in classifier.steps] == [type(step) for _, step in fresh.steps]
        and repr(classifier[0]) == repr(fresh[0])  # an imputer with other parameters is not kept
        and reading_of(classifier) is reading_of(fresh)
    )


def _describe(estimator: Any, kind: str, at: str, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Return parameters and numbers of an estimator and its parts; its arrays go to ``arrays``, below ``at``."""
    learned, parameters = SAVED[kind], estimator.get_params(deep=False)
    if not all(value is None or isinstance(value, (bool, int, float, str)) for value in parameters.values()):
        raise OptionError(f"expected parameters that are plain numbers and words, got {parameters}")
    arrays |= {f"{at}/{name}": np.asarray(getattr(estimator, name)) for name in learned.arrays}
    numbers = {name: getattr(estimator, name) for name in learned.numbers}
    parts = {
        name: _describe(getattr(estimator, name), inner, f"{at}/{name}", arrays)
        for name, inner in learned.parts.items()
    }
    return {"parameters": parameters, "numbers": numbers, "parts": parts}


def _restore(estimator: Any, kind: str, learned: SimpleNamespace) -> Any:
    """Give a fresh estimator what `_describe` wrote, and return it; ValueError for an unknown parameter."""
    kept, values = SAVED[kind], dict(vars(learned))
    for name in (*kept.arrays, *kept.numbers):
        setattr(estimator, name, values.pop(name))
    for name, inner in kept.parts.items():
        setattr(estimator, name, _restore(CLASSIFIERS[inner](0), inner, values.pop(name)))
    return estimator.set_params(**values)
