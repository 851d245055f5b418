"""How well detectors find attacks: means over splits, with intervals from the same resamples of source images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

import numpy as np

from detection.seen import Seen
from effpath.detect.classifiers import OURS
from effpath.detect.evaluate import BASELINES, Entrant, Evaluation, Group, evaluate
from effpath.detect.metrics import allowed_above, cluster_draws, threshold_at_fpr
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


def patch_draws(group: Group) -> np.ndarray:
    """Return how often each row's patch is in the sample itself and in each resample, [rows, 1 + resamples].

    A row counts as often as its patch is drawn times its image is drawn, so that an interval is over both.
    """
    if group.clusters is None:
        return np.ones((len(group.source), 1))
    drawn = cluster_draws(group.clusters, RESAMPLES, np.random.default_rng([0, 1]))
    return np.concatenate([np.ones((len(group.source), 1)), drawn.T], axis=1)


def draws_of(group: Group, count: int, rows: np.ndarray | None = None) -> np.ndarray:
    """Return the draws of a group's rows, or of some of them: of images, and of patches where there are any."""
    chosen = np.arange(len(group.source)) if rows is None else rows
    return row_draws(group.source[chosen], count) * patch_draws(group)[chosen]


@cache
def _sources_drawn(count: int) -> np.ndarray:
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.concatenate([np.ones((count, 1)), drawn.T], axis=1)


def share(hits: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the share of the drawn rows that are hits, [1 + resamples]; NaN where none is drawn."""
    with np.errstate(invalid="ignore"):
        return (hits @ draws) / draws.sum(0)


def ranked(clean: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return clean scores in order, [n], and how many of the lowest are drawn, [n + 1, 1 + resamples]."""
    order = np.argsort(clean)
    below = np.zeros((len(clean) + 1, draws.shape[1]))
    np.cumsum(draws[order], axis=0, out=below[1:])
    return clean[order], below


def resampled_auc(clean: tuple[np.ndarray, np.ndarray], attacked: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the AUC of attacked images beside `ranked` clean ones in each resample, [1 + resamples].

    Ties count half; NaN where one of the two is not drawn. It is what `weighted_auc` gives, to the bit where draws
    are whole numbers, with the clean images sorted and summed once for all attacks and resamples.
    """
    scores, below = clean
    found = below[np.searchsorted(scores, attacked, "left")]
    found += below[np.searchsorted(scores, attacked, "right")]
    found *= draws
    with np.errstate(invalid="ignore"):
        return found.sum(0) / (2 * below[-1] * draws.sum(0))


def interval(values: np.ndarray) -> list[float]:
    """Return the value of the sample and the 95 % interval of the resamples behind it, rounded to be written."""
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
        apart: attacks that are judged and count in no mean.
    """

    kinds: Sequence[str] = OURS
    others: Mapping[str, Entrant] = field(default_factory=dict)
    unseen: Sequence[str] = ()
    fractions: Fractions = FRACTIONS
    seeds: Sequence[int] = SEEDS
    baselines: bool = True
    rate: float = 0.05
    apart: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Resampled:
    """AUC and TPR of detectors on attacks: the sample's own and those of resamples, means over splits.

    Attributes:
        auc: by detector and attack, [1 + resamples].
        tpr: by detector, false positive rate and attack, [1 + resamples].
        fpr: by detector and false positive rate, the share of clean test images flagged, mean over splits.
        evaluations: of the splits.
        false_alarms: as fpr, of all clean test images, those that the network gets wrong among them.
        apart: attacks that count in no mean.
    """

    auc: Mapping[str, Mapping[str, np.ndarray]]
    tpr: Mapping[str, Mapping[float, Mapping[str, np.ndarray]]]
    fpr: Mapping[str, Mapping[float, float]]
    evaluations: Sequence[Evaluation]
    false_alarms: Mapping[str, Mapping[float, float]] = field(default_factory=dict)
    apart: Sequence[str] = ()

    @cached_property
    def mean(self) -> dict[str, np.ndarray]:
        """Mean AUC over the attacks, by detector."""
        return {
            detector: np.mean([auc for name, auc in found.items() if name not in self.apart], axis=0)
            for detector, found in self.auc.items()
        }

    def with_mean(self, detector: str) -> dict[str, np.ndarray]:
        """Return the AUC of a detector by attack, and the mean over attacks."""
        return {**self.auc[detector], "mean": self.mean[detector]}

    def aucs(self) -> dict[str, Row]:
        """Return AUC with intervals, by detector and attack, and the mean over attacks."""
        return {detector: intervals(self.with_mean(detector)) for detector in self.auc}

    def table(self) -> dict[str, Row]:
        """Return values with intervals, by detector."""
        return {
            detector: {
                "whose": whose(detector),
                **{
                    key: {str(rate): round(value, 4) for rate, value in rates[detector].items()}
                    for key, rates in (("fpr", self.fpr), ("false_alarms", self.false_alarms))
                },
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
    """Judge detectors on a case; all see the same images, splits and resamples.

    Attacks whose images are not rounded are judged too, and count in no mean; thresholds are fixed on clean images
    that the network gets wrong too.
    """
    protocol = replace(protocol, apart=[group.name for group in seen.floats])
    return judge_groups(seen.groups["clean"], [*seen.attacks, *seen.floats], protocol, seen.mistakes)


def judge_groups(
    clean: Group, attacks: Sequence[Group], protocol: Protocol, mistakes: Group | None = None
) -> Resampled:
    """Judge detectors on groups of images; ``mistakes`` are as of `evaluate`."""
    auc: dict[str, dict[str, np.ndarray]] = {}
    tpr: dict[str, dict[float, dict[str, np.ndarray]]] = {}
    fpr: dict[str, dict[float, float]] = {}
    alarms: dict[str, dict[float, float]] = {}
    evaluations = []
    part = 1 / len(protocol.seeds)  # that each split has in the means
    for seed in protocol.seeds:
        evaluation = evaluate(
            clean, attacks, kinds=protocol.kinds, others=protocol.others, unseen=protocol.unseen,
            fractions=protocol.fractions, fpr=protocol.rate, seed=seed, resamples=0, mistakes=mistakes,
        )  # fmt: skip
        evaluations.append(evaluation)
        draws = {
            group.name: draws_of(group, len(clean.source), evaluation.test[group.name])
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
            every = alarms.setdefault(detector, dict.fromkeys(RATES, 0.0))
            wrong = [] if mistakes is None else [scores.get(mistakes.name, np.zeros(0))]
            whole = np.concatenate([scores["clean"], *wrong])
            for rate, limit in limits.items():
                flagged[rate] += float((scores["clean"] > limit).mean()) * part
                every[rate] += float((whole > limit).mean()) * part
            aucs, rates = auc.setdefault(detector, {}), tpr.setdefault(detector, {rate: {} for rate in RATES})
            in_order = ranked(scores["clean"], draws["clean"])
            for name in (group.name for group in attacks):
                found = resampled_auc(in_order, scores[name], draws[name])
                aucs[name] = aucs.get(name, 0) + found * part
                for rate, limit in limits.items():
                    rates[rate][name] = rates[rate].get(name, 0) + share(scores[name] > limit, draws[name]) * part
    return Resampled(auc, tpr, fpr, evaluations, alarms, protocol.apart)
