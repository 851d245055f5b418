"""One protocol for judging detectors: disjoint by source image, one threshold fixed on held-out clean images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from effpath.detect.classifiers import (
    PATH_CLASSIFIERS,
    learn,
    make_classifier,
    reading_of,
    suspicion,
    takes_attacks,
)
from effpath.detect.features import Features
from effpath.detect.metrics import Interval, allowed_above, auc_interval, threshold_at_fpr, tpr_interval
from effpath.detect.scoring import FloatArray
from effpath.detect.splits import Fractions, split_rows, split_sources
from effpath.errors import InputError, OptionError

# Scores that need no training and grow with suspicion; no detector may lose to them unnoticed.
BASELINES: dict[str, Callable[[Features], FloatArray]] = {
    "max softmax": lambda f: -np.exp(f.logits.max(1) - logsumexp(f.logits.astype(np.float64), axis=1)),
    "energy": lambda f: -logsumexp(f.logits.astype(np.float64), axis=1),
}


@dataclass(frozen=True, eq=False)
class Group:
    """Clean images, or those that one attack made.

    Attributes:
        name: ``clean`` or the attack's.
        features: of the images.
        source: int64 [N], the clean image behind each row; -1 where there is none.
        arrays: what other detectors measured of the images, by name; N rows each.
        clusters: int64 [N], what images share beside their source, such as the patch pasted into them, or None.
            Intervals are over clusters too.
    """

    name: str
    features: Features
    source: NDArray[np.int64]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    clusters: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        """Refuse an array that does not have a row per image."""
        arrays = {**self.arrays, **({} if self.clusters is None else {"clusters": self.clusters})}
        lengths = {"features": len(self.features), **{name: len(array) for name, array in arrays.items()}}
        for name, length in lengths.items():
            if length != len(self.source):
                rows = f"a row of {name} for each of the {len(self.source)} images of {self.name}"
                raise InputError(f"expected {rows}, got {length}")


@dataclass(frozen=True)
class Entrant:
    """A detector to be judged: what it reads, and what learns from that.

    Attributes:
        read: gives what the detector reads of a group, [N, …]; where nothing learns, the suspicion itself, [N].
        make: from a seed, a fresh scikit-learn classifier, fitted on the training part's rows, those of the
            seen attacks too, or outlier detector, fitted on its clean rows alone; those of the seen attacks weigh
            what it sees, where it can `reweigh`. `suspicion` is taken.

    Example::

        Entrant(lambda group: group.arrays["LID"], lambda seed: LogisticRegression(random_state=seed))
    """

    read: Callable[[Group], NDArray[Any]]
    make: Callable[[int], Any] | None = None

    @classmethod
    def of_kind(cls, kind: str, look: Callable[[Group], NDArray[Any]]) -> Entrant:
        """Return a kind of `effpath.detect.make_classifier` that reads what is looked at."""
        return cls(look, lambda seed: make_classifier(kind, seed=seed))


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
        test: by attack, the rows of its group that were tested; likewise ``clean``, and mistakes by their name.
        suspicion: by detector, then group: score of each test row.
        calibration: by detector, scores of the held-out clean images that thresholds are fixed on.
        threshold: by detector, fixed on the held-out clean images; infinite, so that none is flagged, where they
            are too few to keep the rate (fewer than 19 for 5 %).
        fpr: by detector, share of the clean test images above the threshold.
        classifiers: the fitted ones, by detector.
        sizes: clean images by part: train, calibrate, test.
    """

    scores: Mapping[str, Mapping[str, Score]]
    test: Mapping[str, NDArray[np.intp]]
    suspicion: Mapping[str, Mapping[str, FloatArray]]
    calibration: Mapping[str, FloatArray]
    threshold: Mapping[str, float]
    fpr: Mapping[str, float]
    classifiers: Mapping[str, Any]
    sizes: Mapping[str, int]


def evaluate(
    clean: Group,
    attacks: Sequence[Group],
    *,
    kinds: Sequence[str] = PATH_CLASSIFIERS,
    others: Mapping[str, Entrant] | None = None,
    unseen: Sequence[str] = (),
    fractions: Fractions = (0.1, 0.2, 0.7),
    fpr: float = 0.05,
    seed: int = 0,
    resamples: int = 1000,
    mistakes: Group | None = None,
) -> Evaluation:
    """Train every detector on one part of the sources, fix its threshold on another, test it on the third.

    Args:
        clean: correctly classified clean images; the negatives.
        attacks: successful adversarial images, each with its source among the clean ones.
        kinds: detectors of `make_classifier`; the baselines are always added. Those of a profile of signs read
            these from the features, are fitted on clean rows alone, and weigh them by the seen attacks.
        others: further detectors by name, judged on the same rows.
        unseen: attacks that the detectors are not trained on, nor weighed by.
        fractions: shares of the sources for training, calibration and test, or by the names of these parts.
        fpr: false positive rate in (0, 1) at which the threshold is fixed, see `threshold_at_fpr`.
        seed: of the split, the classifiers and the bootstrap.
        resamples: of the bootstrap; 0 where no intervals are needed.
        mistakes: clean images that the network gets wrong, as many as come with the correct ones; thresholds are
            fixed on some of them too, so that the rate holds for all clean images. No AUC has them as negatives.

    Raises:
        InputError: too few images for a part.
        OptionError: an unknown kind; features without what a kind reads; a name in ``others`` that is taken; an
            fpr outside (0, 1).
    """
    groups = [clean, *attacks]
    entrants = _entrants(kinds, others or {})
    offsets = np.cumsum([0, *(len(group.source) for group in groups)])
    parts = split_sources(np.concatenate([g.source for g in groups]), fractions=fractions, seed=seed)

    def rows(part: str) -> dict[str, NDArray[np.intp]]:
        cuts = np.split(parts[part], np.searchsorted(parts[part], offsets[1:-1]))
        return {group.name: inside - start for group, inside, start in zip(groups, cuts, offsets, strict=False)}

    train, calibrate, test = rows("train"), rows("calibrate"), rows("test")
    empty = [group.name for group in groups if not len(test[group.name])]
    if empty:
        raise InputError(f"no image of {', '.join(empty)} is in the test part; attack more images")
    sources = {group.name: group.source[test[group.name]] for group in groups}
    unshared = np.full(len(sources["clean"]), -1)
    clusters = {
        group.name: None if group.clusters is None else group.clusters[test[group.name]] for group in groups
    }
    seen = [group for group in attacks if group.name not in unseen]
    drawn: dict[str, Any] = {"seed": seed, "resamples": resamples}
    wrong = split_rows(0 if mistakes is None else len(mistakes.source), fractions=fractions, seed=seed)
    classifiers = {}
    scores: dict[str, dict[str, Score]] = {}
    suspicions: dict[str, dict[str, FloatArray]] = {}
    held_out, thresholds, rates = {}, {}, {}
    for name, entrant in entrants.items():
        looks = {group.name: entrant.read(group) for group in groups}
        score: Callable[[NDArray[Any]], FloatArray] = np.asarray
        if entrant.make is not None:
            made = entrant.make(seed)
            used = [clean, *seen] if takes_attacks(made) else [clean]
            values = np.concatenate([looks[group.name][train[group.name]] for group in used])
            labels = np.concatenate([np.full(len(train[g.name]), int(g is not clean)) for g in used])
            classifiers[name] = learn(made, values, labels)
            score = partial(suspicion, classifiers[name])
        held_out[name] = score(looks["clean"][calibrate["clean"]])
        if mistakes is not None and len(wrong["calibrate"]):
            more = score(entrant.read(mistakes)[wrong["calibrate"]])
            held_out[name] = np.concatenate([held_out[name], more])
        enough = allowed_above(len(held_out[name]), fpr) > 0
        thresholds[name] = threshold_at_fpr(held_out[name], fpr) if enough else np.inf
        tested = {group.name: score(looks[group.name][test[group.name]]) for group in groups}
        if mistakes is not None and len(wrong["test"]):
            tested[mistakes.name] = score(entrant.read(mistakes)[wrong["test"]])
        rates[name] = float((tested["clean"] > thresholds[name]).mean())
        scores[name] = {
            group.name: Score(
                auc_interval(
                    np.repeat([0, 1], [len(tested["clean"]), len(tested[group.name])]),
                    np.concatenate([tested["clean"], tested[group.name]]),
                    np.concatenate([sources["clean"], sources[group.name]]),
                    clusters=None if own is None else np.concatenate([unshared, own]),
                    **drawn,
                ),
                tpr_interval(tested[group.name], sources[group.name], thresholds[name], clusters=own, **drawn),
            )
            for group in attacks
            for own in (clusters[group.name],)
        }
        suspicions[name] = tested
    sizes = {"train": len(train["clean"]), "calibrate": len(calibrate["clean"]), "test": len(test["clean"])}
    tests = test if mistakes is None else {**test, mistakes.name: wrong["test"]}
    return Evaluation(scores, tests, suspicions, held_out, thresholds, rates, classifiers, sizes)


def _entrants(kinds: Sequence[str], others: Mapping[str, Entrant]) -> dict[str, Entrant]:
    """Return baselines, detectors on paths and the others, by name."""
    ours = {name: Entrant(_of_features(score)) for name, score in BASELINES.items()}
    ours |= {kind: Entrant.of_kind(kind, _of_features(reading_of(kind).columns)) for kind in kinds}
    taken = [name for name in others if name in ours]
    if taken:
        raise OptionError(f"a detector is called {', '.join(taken)} already; give the other one another name")
    return {**ours, **others}


def _of_features(look: Callable[[Features], FloatArray]) -> Callable[[Group], FloatArray]:
    return lambda group: look(group.features)
