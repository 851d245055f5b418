"""What a report says of a detector: what it was calibrated on, and what it finds among images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from effpath.data import Part
from effpath.detect.saved import DetectorMixin
from effpath.detect.scoring import FloatArray
from effpath.detect.verdicts import Summary, Verdicts, summarise
from effpath.files.progress import Track
from effpath.views.explain import explain
from effpath.views.explanation import Explanation
from effpath.views.page.words import title_of

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a detector was fitted to and calibrated on.

    Attributes:
        kind: of the detector.
        threshold, fpr: of the detector; None before it is calibrated.
        scores: float64 [n], ascending, of the clean images that the threshold was fixed on; None where a file of
            an earlier version does not hold them.
        about: what the detector says of its data and of the attacks that it was fitted on.
        thresholds: float64 [n], that each of these scores is compared with; None where it is not known.
        class_thresholds: by class, of those with a threshold of their own.
    """

    kind: str
    threshold: float | None
    fpr: float | None
    scores: FloatArray | None
    about: Mapping[str, Any]
    thresholds: FloatArray | None = None
    class_thresholds: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, detector: DetectorMixin) -> Calibration:
        """Take what there is to say of a detector."""
        about = {
            name: value for name, value in detector.about.items() if name not in ("rows", "held_out", "digest")
        }
        if "rows" in detector.about:
            about["images"] = {name: len(rows) for name, rows in detector.about["rows"].items()}
        classes = detector.calibration_classes
        limits = None if classes is None or detector.threshold is None else detector.thresholds_of(classes)
        fixed = detector.threshold, detector.fpr, detector.calibration
        return cls(detector.name, *fixed, about, limits, detector.class_thresholds)

    @property
    def quantiles(self) -> dict[float, float]:
        """Scores of these clean images, by the share that lies at or below; empty where they are not known."""
        if self.scores is None or not len(self.scores):
            return {}
        found = np.quantile(self.scores, QUANTILES, method="inverted_cdf")  # of infinite scores there is no mean
        return dict(zip(QUANTILES, found.tolist(), strict=True))

    @property
    def above(self) -> float:
        """The share of these clean images that are flagged; NaN where it is not known."""
        if self.threshold is None or self.scores is None or not len(self.scores):
            return float("nan")
        return float((self.scores > (self.threshold if self.thresholds is None else self.thresholds)).mean())

    def to_dict(self) -> dict[str, Any]:
        """Return the values for JSON."""
        return {
            "kind": self.kind,
            "threshold": self.threshold,
            "class_thresholds": dict(self.class_thresholds),
            "fpr": self.fpr,
            "clean_images": None if self.scores is None else len(self.scores),
            "above": self.above,
            "quantiles": {f"{share:g}": score for share, score in self.quantiles.items()},
            "about": dict(self.about),
        }


@dataclass(frozen=True, eq=False)
class Findings:
    """What a detector says of images.

    Attributes:
        names: of the images.
        verdicts: on each of them.
        summary: counts.
        examples: the most suspicious flagged images, explained.
        classes: names of the outputs.
    """

    names: Sequence[str]
    verdicts: Verdicts
    summary: Summary
    examples: tuple[Explanation, ...]
    classes: Sequence[str]

    @cached_property
    def order(self) -> list[int]:
        """The images, the most suspicious first."""
        found: list[int] = np.argsort(-self.verdicts.scores, kind="stable").tolist()
        return found

    def title(self, label: int) -> str:
        """Return the number of a class, with its name where it has one."""
        return title_of(label, self.classes)

    def to_dict(self) -> dict[str, Any]:
        """Return the values for JSON, the most suspicious image first."""
        rows = [(row, self.verdicts[row]) for row in self.order]
        return {
            **self.summary.to_dict(),
            "rows": [
                {
                    "image": self.names[row],
                    "class": verdict.predicted,
                    "runner_up": verdict.runner_up,
                    "score": verdict.score,
                    "p_value": verdict.p_value,
                    "flagged": verdict.flagged,
                }
                for row, verdict in rows
            ],
            "examples": [one.to_dict() for one in self.examples],
        }


def findings_of(
    detector: DetectorMixin,
    part: Part,
    *,
    classes: Sequence[str] = (),
    examples: int = 6,
    batch_size: int | None = None,
    track: Track,
) -> Findings:
    """Return what a detector says of images, with explanations of those that it finds most suspicious.

    Args:
        detector: fitted and calibrated, or from a file.
        part: the images, with their labels, −1 where one is not known, and their names.
        classes: names of the outputs; those of the class paths if not given.
        examples: at most so many flagged images are explained.
        batch_size: images recorded together; None for as many as fit in memory.
        track: gives a progress callback for a named step.

    Raises:
        OptionError: the detector was not fitted, or has no threshold yet.
        InputError, NumericalError: bad images.
    """
    with track(f"paths of {len(part)} images") as progress:
        features = detector.features(part.images, batch_size=batch_size, progress=progress)
    verdicts = detector.detect(features)
    names = list(part.names) or [f"image {row}" for row in range(len(part))]
    known = classes or detector.class_paths.names
    found = Findings(names, verdicts, summarise(verdicts, part.labels.cpu().numpy()), (), known)
    chosen = [row for row in found.order if verdicts.flagged[row]][:examples]
    if not chosen:
        return found
    explained: list[Explanation] = []
    with track(f"{len(chosen)} flagged images explained") as progress:
        for row in chosen:
            explained += explain(detector, part.images[row : row + 1], names=[names[row]], classes=known)
            progress(len(explained), len(chosen))
    return replace(found, examples=tuple(explained))
