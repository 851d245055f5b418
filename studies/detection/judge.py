"""How well detectors find attacks: means over splits, with intervals from the same resamples of source images."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np

from detection.seen import Seen
from effpath.detect.classifiers import OURS
from effpath.detect.evaluate import BASELINES, Entrant, Evaluation, Group, evaluate
from effpath.detect.metrics import allowed_above, threshold_at_fpr, weighted_auc
from effpath.detect.splits import Fractions
from sources import Row

RATES = (0.01, 0.05, 0.1)
FRACTIONS = (0.1, 0.2, 0.7)
SEEDS = (0, 1, 2, 3, 4)
RESAMPLES = 1000


def row_draws(source: np.ndarray, count: int) -> np.ndarray:
    """Return how often each row is in the sample itself (once) and in each resample, [rows, 1 + resamples].

    Args:
        source: int64 [rows], the image behind each; rows of one image are drawn together, a row without (−1) on
            its own.
        count: of the images.
    """
    drawn = _sources_drawn(count)[np.maximum(source, 0)]
    alone = np.flatnonzero(source < 0)
    if len(alone):
        drawn[alone] = _sources_drawn(len(alone))
    return drawn


@cache
def _sources_drawn(count: int) -> np.ndarray:
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.concatenate([np.ones((count, 1)), drawn.T], axis=1)


def share(hits: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the share of the drawn rows that are hits, [1 + resamples]; NaN where none is drawn."""
    with np.errstate(invalid="ignore"):
        return (hits @ draws) / draws.sum(0)


def resampled_auc(
    clean: np.ndarray, attacked: np.ndarray, clean_draws: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """Return the AUC of attacked images beside clean ones in each resample, [1 + resamples]; ties count half."""
    y = np.repeat([0, 1], [len(clean), len(attacked)])
    return weighted_auc(y, np.concatenate([clean, attacked]), np.concatenate([clean_draws, draws]).T)


def interval(values: np.ndarray) -> list[float]:
    """Return the value of the sample and the 95 % interval of the resamples behind it."""
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return [round(float(v), 4) for v in (values[0], low, high)]


def intervals(found: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    return {name: interval(values) for name, values in found.items()}


@dataclass(frozen=True)
class Protocol:
    """How a case is judged.

    Attributes:
        kinds: our detectors.
        others: rivals by name.
        unseen: attacks that nothing learns from.
        fractions: of the sources: train, calibrate, test; by name where another part is drawn first.
        seeds: of the splits.
        baselines: whether they are judged.
        rate: false positives at which the evaluations fix their thresholds.
    """

    kinds: Sequence[str] = OURS
    others: Mapping[str, Entrant] = field(default_factory=dict)
    unseen: Sequence[str] = ()
    fractions: Fractions = FRACTIONS
    seeds: Sequence[int] = SEEDS
    baselines: bool = True
    rate: float = 0.05


@dataclass(frozen=True, eq=False)
class Resampled:
    """AUC and TPR of detectors on attacks: the sample's own and those of resamples, means over splits.

    Attributes:
        auc: by detector and attack, [1 + resamples].
        tpr: by detector, false positive rate and attack, [1 + resamples].
        fpr: by detector and false positive rate, the share of clean test images flagged, mean over splits.
        evaluations: of the splits.
    """

    auc: Mapping[str, Mapping[str, np.ndarray]]
    tpr: Mapping[str, Mapping[float, Mapping[str, np.ndarray]]]
    fpr: Mapping[str, Mapping[float, float]]
    evaluations: Sequence[Evaluation]

    @cached_property
    def mean(self) -> dict[str, np.ndarray]:
        """Mean AUC over the attacks, by detector."""
        return {detector: np.mean(list(found.values()), axis=0) for detector, found in self.auc.items()}

    def with_mean(self, detector: str) -> dict[str, np.ndarray]:
        """Return the AUC of a detector by attack, and the mean over attacks."""
        return {**self.auc[detector], "mean": self.mean[detector]}

    def aucs(self) -> dict[str, Row]:
        """Return AUC with intervals, by detector and attack, and the mean over attacks."""
        return {detector: intervals(self.with_mean(detector)) for detector in self.auc}

    def beside_best(self, detector: str, attack: str, *, apart: Collection[str]) -> Row:
        """Compare a detector with the best of those not set apart, and with the maximum softmax, by AUC.

        ``within``: the best one is not better, or by no more than chance: the interval of the difference, on the
        same resamples, holds 0.
        """
        rest = {name: found[attack] for name, found in self.auc.items() if name not in apart}
        best = max(rest, key=lambda name: rest[name][0])
        aucs = self.auc[detector][attack]
        beyond, softmax = interval(aucs - rest[best]), interval(aucs - rest["max softmax"])
        return {
            "best": best, "its_auc": round(float(rest[best][0]), 4), "beyond_best": beyond,
            "within": beyond[2] >= 0, "beyond_softmax": softmax, "below_softmax": softmax[2] < 0,
        }  # fmt: skip

    def table(self) -> dict[str, Row]:
        """Return values with intervals, by detector."""
        return {
            detector: {
                "whose": whose(detector),
                "fpr": {str(rate): round(value, 4) for rate, value in self.fpr[detector].items()},
                "auc": intervals(found),
                "mean": interval(self.mean[detector]),
                "tpr": {str(rate): intervals(rows) for rate, rows in self.tpr[detector].items()},
            }
            for detector, found in self.auc.items()
        }


def settings(seen: Seen) -> Row:
    """Return what tables say of the protocol."""
    return {"fractions": list(FRACTIONS), "seeds": list(SEEDS), "unseen": list(seen.unseen)}


def whose(detector: str) -> str:
    """Tell whether a detector is ours, a baseline or a rival's."""
    return "ours" if detector in OURS else "baseline" if detector in BASELINES else "rival"


def judge(seen: Seen, protocol: Protocol) -> Resampled:
    """Judge detectors on a case; all see the same images, splits and resamples."""
    return judge_groups(seen.groups["clean"], seen.attacks, protocol)


def judge_groups(clean: Group, attacks: Sequence[Group], protocol: Protocol) -> Resampled:
    """Judge detectors on groups of images."""
    auc: dict[str, dict[str, np.ndarray]] = {}
    tpr: dict[str, dict[float, dict[str, np.ndarray]]] = {}
    fpr: dict[str, dict[float, float]] = {}
    evaluations = []
    part = 1 / len(protocol.seeds)  # that each split has in the means
    for seed in protocol.seeds:
        evaluation = evaluate(
            clean, attacks, kinds=protocol.kinds, others=protocol.others, unseen=protocol.unseen,
            fractions=protocol.fractions, fpr=protocol.rate, seed=seed, resamples=0,
        )  # fmt: skip
        evaluations.append(evaluation)
        draws = {
            group.name: row_draws(group.source[evaluation.test[group.name]], len(clean.source))
            for group in (clean, *attacks)
        }
        for detector, scores in evaluation.suspicion.items():
            if detector in BASELINES and not protocol.baselines:
                continue
            held = evaluation.calibration[detector]
            limits = {  # too few images for a rate flag nothing
                rate: threshold_at_fpr(held, rate) if allowed_above(len(held), rate) else np.inf for rate in RATES
            }
            flagged = fpr.setdefault(detector, dict.fromkeys(RATES, 0.0))
            for rate, limit in limits.items():
                flagged[rate] += float((scores["clean"] > limit).mean()) * part
            aucs, rates = auc.setdefault(detector, {}), tpr.setdefault(detector, {rate: {} for rate in RATES})
            for name in (group.name for group in attacks):
                found = resampled_auc(scores["clean"], scores[name], draws["clean"], draws[name])
                aucs[name] = aucs.get(name, 0) + found * part
                for rate, limit in limits.items():
                    rates[rate][name] = rates[rate].get(name, 0) + share(scores[name] > limit, draws[name]) * part
    return Resampled(auc, tpr, fpr, evaluations)
