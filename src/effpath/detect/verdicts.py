"""What a detector says of images, one by one and counted: how many are flagged, how many fool the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from effpath.detect.explain import USUAL, layers_by_sign, sign_said, signs_of_images
from effpath.detect.features import Features, Reading
from effpath.detect.metrics import Interval, auc_interval, tpr_interval
from effpath.detect.scoring import Scoring
from effpath.errors import InputError

Labels = NDArray[np.int64]
Grouped = tuple[tuple[str, tuple[str, ...]], ...]
"""Reasons in sentences, each with those of the layers behind it."""


@dataclass(frozen=True)
class Verdict:
    """What a detector says of one image.

    Attributes:
        flagged: whether the score is above the threshold, or infinite.
        label: the name of the predicted class; its number where the class paths have no name for it.
        predicted, runner_up: the classes with the highest and the second highest logit.
        score: suspicion; infinite where the predicted class has no class path.
        threshold: that it was compared with: of the predicted class, where it has one of its own, or of all.
        p_value: conformal, see `Verdicts`; None where the calibration scores were not kept.
    """

    flagged: bool
    label: str
    predicted: int
    runner_up: int
    score: float
    threshold: float
    p_value: float | None
    _explained: Callable[[], Grouped] = field(repr=False, compare=False)

    @property
    def grouped_reasons(self) -> Grouped:
        """The reasons, each with the layers behind it: signs have some, layers of kinds without signs none."""
        return self._explained()

    @property
    def reasons(self) -> tuple[str, ...]:
        """What speaks for an attack, in sentences, strongest first; at least one where the image is flagged."""
        return _in_a_row(self.grouped_reasons)


@dataclass(frozen=True, eq=False)
class Verdicts(Sequence[Verdict]):
    """What a detector says of N images; as a sequence, one `Verdict` per image.

    Attributes:
        scores: float64 [N], growing with suspicion; infinite where the predicted class has no class path, with
            which no clean image could be compared.
        flagged: bool [N], score above its threshold, or infinite.
        predicted: int64 [N], the class that the network predicts.
        runner_up: int64 [N], the class with the second highest logit.
        features: the similarities that the scores were computed from.
        p_values: float64 [N], conformal: (1 + calibration scores ≥ score) ÷ (calibration scores + 1), of the
            predicted class where it has a threshold of its own. A clean image's is at most p with a probability of
            at most p; at most `Detector.fpr` is flagged. None where a file of an earlier version holds no
            calibration scores.
        names: of the classes; empty where the class paths have none.
        thresholds: float64 [N], that the scores were compared with: of the predicted class, or of all.
        scoring, reading: the detector's, when it gave these verdicts.
    """

    scores: NDArray[np.float64]
    flagged: NDArray[np.bool_]
    predicted: NDArray[np.int64]
    runner_up: NDArray[np.int64]
    features: Features
    p_values: NDArray[np.float64] | None
    names: tuple[str, ...]
    thresholds: NDArray[np.float64]
    scoring: Scoring | None = field(repr=False)
    reading: Reading = field(repr=False)

    def __len__(self) -> int:
        return len(self.scores)

    @overload
    def __getitem__(self, row: int) -> Verdict: ...

    @overload
    def __getitem__(self, row: slice) -> list[Verdict]: ...

    def __getitem__(self, row: int | slice) -> Verdict | list[Verdict]:
        """Return the verdict on an image, or a list of them."""
        rows = range(len(self))[row]
        return self._verdict(rows) if isinstance(rows, int) else [self._verdict(each) for each in rows]

    def _verdict(self, row: int) -> Verdict:
        label = int(self.predicted[row])
        return Verdict(
            bool(self.flagged[row]),
            (self.names[label] if label < len(self.names) else "") or str(label),
            label,
            int(self.runner_up[row]),
            float(self.scores[row]),
            float(self.thresholds[row]),
            None if self.p_values is None else float(self.p_values[row]),
            lambda: self._grouped[row],
        )

    @property
    def reasons(self) -> list[tuple[str, ...]]:
        """What speaks for an attack, per image in sentences, strongest first; found when first asked for.

        Of joint surprise and combined signs: signs that less than half of the clean images show as strongly, each
        with the layers in which it shows, where it has any; of other kinds that sum over layers the layers. Any
        other kind tells its score alone.
        """
        return [_in_a_row(grouped) for grouped in self._grouped]

    @cached_property
    def _grouped(self) -> list[Grouped]:
        found: list[list[tuple[str, tuple[str, ...]]]] = [[] for _ in self.scores]
        if self.scoring is not None:
            signs_found = signs_of_images(self.scoring, self.reading, self.features)
            layers = layers_by_sign(self.scoring, self.reading, self.features)
            if signs_found is None:
                found = [[(layer, ()) for layer in below[""]] for below in layers]
            else:
                for told, below, signs in zip(found, layers, signs_found, strict=True):
                    told += [
                        (sign_said(sign, share), tuple(below.get(sign, ())))
                        for sign, share in signs
                        if share < USUAL
                    ]
        for verdict, told in zip(self, found, strict=True):
            if np.isposinf(verdict.score):
                told[:] = [
                    (f"class {verdict.label} has no class path: every image predicted as it is flagged", ())
                ]
            elif verdict.flagged and not told:
                said = f"its score of {verdict.score:.4g} is above the threshold of {verdict.threshold:.4g}"
                told.append((said, ()))
        return [tuple(told) for told in found]


def _in_a_row(grouped: Grouped) -> tuple[str, ...]:
    """Return reasons, the layers behind each after it."""
    return tuple(text for reason, layers in grouped for text in (reason, *layers))


@dataclass(frozen=True)
class Summary:
    """Counts and rates; what needs labels or clean images is None without them.

    Attributes:
        images, flagged: all of them.
        labelled, correct: those with a label, and of these the ones that the network puts in their class.
        fooling, fooling_flagged: those with a label that the network puts in another class.
        found: the share of the fooling ones (without labels: of all) that is flagged, with its interval.
        clean, clean_flagged: clean images; of those with labels only the ones that the network gets right.
        clean_all, clean_all_flagged: clean images, those included that the network gets wrong; the rate that a
            threshold was fixed for is of these.
        auc: the fooling ones (without labels: all) against the clean ones, by score: ours and two baselines that
            look at the logits alone.
    """

    images: int
    flagged: int
    labelled: int
    correct: int | None = None
    fooling: int | None = None
    fooling_flagged: int | None = None
    found: Interval | None = None
    clean: int | None = None
    clean_flagged: int | None = None
    clean_all: int | None = None
    clean_all_flagged: int | None = None
    auc: dict[str, Interval] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the values that are known, for JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def summarise(
    verdicts: Verdicts,
    labels: Labels,
    clean: Verdicts | None = None,
    clean_labels: Labels | None = None,
    *,
    seed: int = 0,
) -> Summary:
    """Count what was found.

    Args:
        verdicts: of the images in question.
        labels: int64 [N], the true class of each; −1 where it is not known.
        clean: of clean images, to compare with.
        clean_labels: as ``labels``, of the clean images.
        seed: of the bootstrap; each image counts as a source of its own.

    Raises:
        InputError: labels of another number of images.
    """
    known = _labelled(verdicts, labels)
    fooling = known & (verdicts.predicted != labels)
    judged = np.flatnonzero(fooling if known.any() else np.ones(len(verdicts), bool))
    caught = verdicts.flagged[judged].astype(np.float64)
    found: dict[str, Any] = {"flagged": int(verdicts.flagged.sum()), "labelled": int(known.sum())}
    if len(caught) > 1:
        found["found"] = tpr_interval(caught, np.full(len(caught), -1), 0.5, seed=seed)
    if known.any():
        counted = {"correct": known & ~fooling, "fooling": fooling, "fooling_flagged": fooling & verdicts.flagged}
        found |= {name: int(rows.sum()) for name, rows in counted.items()}
    if clean is not None:
        right = np.ones(len(clean), bool)
        if clean_labels is not None:  # an attack is told from those that the network gets right
            right = ~_labelled(clean, clean_labels) | (clean.predicted == clean_labels)
        rows = np.flatnonzero(right)
        found |= {"clean": len(rows), "clean_flagged": int(clean.flagged[rows].sum())}
        found |= {"clean_all": len(clean), "clean_all_flagged": int(clean.flagged.sum())}
        if len(rows) and len(judged):
            from effpath.detect.evaluate import BASELINES  # imports all that fits detectors: needed here alone

            y = np.repeat([1, 0], [len(judged), len(rows)])
            pairs = {name: (score(verdicts.features), score(clean.features)) for name, score in BASELINES.items()}
            found["auc"] = {
                name: auc_interval(y, np.concatenate([bad[judged], good[rows]]), np.full(len(y), -1), seed=seed)
                for name, (bad, good) in {"ours": (verdicts.scores, clean.scores), **pairs}.items()
            }
    return Summary(len(verdicts), **found)


def _labelled(verdicts: Verdicts, labels: Labels) -> NDArray[np.bool_]:
    if labels.shape != (len(verdicts),):
        raise InputError(f"expected a label, or −1, for each of {len(verdicts)} images, got {labels.shape}")
    return labels >= 0
