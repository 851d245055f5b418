"""One protocol for judging detectors: disjoint by source image, one threshold fixed on held-out clean images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from effpath.detect.classifiers import PATH_CLASSIFIERS, make_classifier, suspicion
from effpath.detect.features import Features
from effpath.detect.metrics import Interval, auc_interval, threshold_at_fpr, tpr_interval
from effpath.detect.splits import split_sources
from effpath.errors import InputError

Scores = NDArray[np.float64]

# Scores that need no training and grow with suspicion; no detector may lose to them unnoticed.
BASELINES: dict[str, Callable[[Features], Scores]] = {
    "max softmax": lambda f: -np.exp(f.logits.max(1) - logsumexp(f.logits.astype(np.float64), axis=1)),
    "energy": lambda f: -logsumexp(f.logits.astype(np.float64), axis=1),
}


@dataclass(frozen=True, eq=False)
class Group:
    """Images of one kind: clean ones, or those that one attack made.

    Attributes:
        name: ``clean`` or the attack's.
        features: of the images.
        source: int64 [N], the clean image behind each row; -1 where there is none.
    """

    name: str
    features: Features
    source: NDArray[np.int64]


@dataclass(frozen=True)
class Score:
    """How well one detector finds one attack: AUC, and TPR at the fixed threshold, with 95 % intervals."""

    auc: Interval
    tpr: Interval


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one split of the images says of all detectors and attacks.

    Attributes:
        scores: by detector, then attack.
        test: by attack, the rows of its group that were tested; likewise ``clean``.
        suspicion: by detector, then group: score of each test row.
        threshold: by detector, fixed on the held-out clean images.
        fpr: by detector, share of the clean test images above the threshold.
        classifiers: the fitted ones, by detector.
        sizes: clean images by part: train, calibrate, test.
    """

    scores: Mapping[str, Mapping[str, Score]]
    test: Mapping[str, NDArray[np.intp]]
    suspicion: Mapping[str, Mapping[str, Scores]]
    threshold: Mapping[str, float]
    fpr: Mapping[str, float]
    classifiers: Mapping[str, Any]
    sizes: Mapping[str, int]


def evaluate(
    clean: Group,
    attacks: Sequence[Group],
    *,
    kinds: Sequence[str] = PATH_CLASSIFIERS,
    unseen: Sequence[str] = (),
    fractions: Sequence[float] = (0.1, 0.2, 0.7),
    fpr: float = 0.05,
    seed: int = 0,
) -> Evaluation:
    """Train every detector on one part of the sources, fix its threshold on another, test it on the third.

    Args:
        clean: correctly classified clean images; the negatives.
        attacks: successful adversarial images, each with its source among the clean ones.
        kinds: detectors of `make_classifier`; the baselines are always added.
        unseen: attacks that the detectors are not trained on.
        fractions: shares of the sources for training, calibration and test.
        fpr: false positive rate at which the threshold is fixed.
        seed: of the split, the classifiers and the bootstrap.
    """
    groups = [clean, *attacks]
    offsets = np.cumsum([0, *(len(group.source) for group in groups)])
    parts = split_sources(np.concatenate([g.source for g in groups]), fractions=fractions, seed=seed)

    def rows(part: str) -> dict[str, NDArray[np.intp]]:
        found = {}
        for group, start, end in zip(groups, offsets, offsets[1:], strict=False):
            inside = parts[part][(parts[part] >= start) & (parts[part] < end)]
            found[group.name] = (inside - start).astype(np.intp)
        return found

    train, calibrate, test = rows("train"), rows("calibrate"), rows("test")
    empty = [group.name for group in groups if not len(test[group.name])]
    if empty:
        raise InputError(f"no image of {', '.join(empty)} is in the test part; attack more images")
    seen = [group for group in attacks if group.name not in unseen]
    detectors: dict[str, Callable[[Features], Scores]] = dict(BASELINES)
    classifiers = {}
    for kind in kinds:
        classifier = make_classifier(kind, seed=seed)
        used = [clean] if kind == "clean" else [clean, *seen]
        values = np.concatenate([group.features.values[train[group.name]] for group in used])
        labels = np.concatenate([np.full(len(train[g.name]), int(g is not clean)) for g in used])
        classifiers[kind] = classifier.fit(values, labels)
        detectors[kind] = lambda f, fitted=classifier: suspicion(fitted, f.values)  # type: ignore[misc]

    scores: dict[str, dict[str, Score]] = {}
    suspicions: dict[str, dict[str, Scores]] = {}
    thresholds, rates = {}, {}
    for name, score in detectors.items():
        thresholds[name] = threshold_at_fpr(score(clean.features[calibrate["clean"]]), fpr)
        own = {group.name: score(group.features[test[group.name]]) for group in groups}
        rates[name] = float((own["clean"] > thresholds[name]).mean())
        scores[name] = {
            group.name: Score(
                auc_interval(
                    np.repeat([0, 1], [len(own["clean"]), len(own[group.name])]),
                    np.concatenate([own["clean"], own[group.name]]),
                    np.concatenate([clean.source[test["clean"]], group.source[test[group.name]]]),
                    seed=seed,
                ),
                tpr_interval(own[group.name], group.source[test[group.name]], thresholds[name], seed=seed),
            )
            for group in attacks
        }
        suspicions[name] = own
    sizes = {"train": len(train["clean"]), "calibrate": len(calibrate["clean"]), "test": len(test["clean"])}
    return Evaluation(scores, test, suspicions, thresholds, rates, classifiers, sizes)
