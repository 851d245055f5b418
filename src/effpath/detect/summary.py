"""What a detector made of a set of images: how many are flagged, how many fool the network and are flagged."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effpath.detect.metrics import Interval, auc_interval, tpr_interval
from effpath.detect.verdicts import Verdicts
from effpath.errors import InputError

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Summary:
    """Counts and rates; what needs labels or clean images is None without them.

    Attributes:
        images, flagged: all of them.
        labelled, correct: those with a label, and of these the ones that the network puts in their class.
        fooling, fooling_flagged: those with a label that the network puts in another class.
        found: the share of the fooling ones (without labels: of all) that is flagged, with its interval.
        clean, clean_flagged: clean images; of those with labels only the ones that the network gets right.
        auc: the fooling ones (without labels: all) against the clean ones, by score: ours and two baselines that
            look at the logits alone.
    """

    images: int
    flagged: int
    labelled: int
    correct: int | None
    fooling: int | None
    fooling_flagged: int | None
    found: Interval | None
    clean: int | None
    clean_flagged: int | None
    auc: dict[str, Interval] | None

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
    rows = None if clean is None else _right(clean, clean_labels)
    auc = None
    if clean is not None and rows is not None and len(rows) and len(judged):
        from effpath.detect.evaluate import BASELINES  # imports all that fits detectors, needed nowhere else here

        y = np.repeat([1, 0], [len(judged), len(rows)])
        baselines = {name: (score(verdicts.features), score(clean.features)) for name, score in BASELINES.items()}
        auc = {
            name: auc_interval(y, np.concatenate([bad[judged], good[rows]]), np.full(len(y), -1), seed=seed)
            for name, (bad, good) in {"ours": (verdicts.scores, clean.scores), **baselines}.items()
        }
    caught = verdicts.flagged[judged].astype(np.float64)
    return Summary(
        images=len(verdicts),
        flagged=int(verdicts.flagged.sum()),
        labelled=int(known.sum()),
        correct=int((known & ~fooling).sum()) if known.any() else None,
        fooling=int(fooling.sum()) if known.any() else None,
        fooling_flagged=int((fooling & verdicts.flagged).sum()) if known.any() else None,
        found=tpr_interval(caught, np.full(len(caught), -1), 0.5, seed=seed) if len(caught) > 1 else None,
        clean=None if rows is None else len(rows),
        clean_flagged=None if clean is None or rows is None else int(clean.flagged[rows].sum()),
        auc=auc,
    )


def _labelled(verdicts: Verdicts, labels: Labels) -> NDArray[np.bool_]:
    if labels.shape != (len(verdicts),):
        raise InputError(f"expected a label, or −1, for each of {len(verdicts)} images, got {labels.shape}")
    return labels >= 0


def _right(clean: Verdicts, labels: Labels | None) -> NDArray[np.intp]:
    """Rows of the clean images that count: without the labelled ones that the network gets wrong."""
    if labels is None:
        return np.arange(len(clean))
    return np.flatnonzero(~_labelled(clean, labels) | (clean.predicted == labels))
