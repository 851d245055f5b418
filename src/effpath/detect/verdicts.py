"""What a detector says of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import overload

import numpy as np
from numpy.typing import NDArray

from effpath.detect.features import Features


@dataclass(frozen=True, eq=False, repr=False)
class Verdict:
    """What a detector says of one image: a row of `Verdicts`."""

    verdicts: Verdicts
    row: int

    @property
    def flagged(self) -> bool:
        """Whether the score is above the threshold, or infinite."""
        return bool(self.verdicts.flagged[self.row])

    @property
    def predicted(self) -> int:
        """The class that the network predicts."""
        return int(self.verdicts.predicted[self.row])

    @property
    def label(self) -> str:
        """The name of that class; its number where the class paths have no names."""
        names = self.verdicts.names
        return (names[self.predicted] if self.predicted < len(names) else "") or str(self.predicted)

    @property
    def score(self) -> float:
        """Suspicion; infinite where the predicted class has no class path."""
        return float(self.verdicts.scores[self.row])

    @property
    def p_value(self) -> float | None:
        """The conformal p-value, see `Verdicts`; None where the calibration scores were not kept."""
        return None if self.verdicts.p_values is None else float(self.verdicts.p_values[self.row])

    @property
    def reasons(self) -> tuple[str, ...]:
        """What speaks for an attack, in sentences, strongest first; at least one where the image is flagged."""
        return self.verdicts.reasons[self.row]

    def __repr__(self) -> str:
        """Class, score and p-value in a line."""
        p_value = "" if self.p_value is None else f", p_value={self.p_value:.3g}"
        return f"Verdict({self.label!r}, flagged={self.flagged}, score={self.score:.4g}{p_value})"


@dataclass(frozen=True, eq=False)
class Verdicts(Sequence[Verdict]):
    """What a detector says of N images; as a sequence, one `Verdict` per image.

    Attributes:
        scores: float64 [N], growing with suspicion; infinite where the predicted class has no class path, with
            which no clean image could be compared.
        flagged: bool [N], score above the threshold, or infinite.
        predicted: int64 [N], the class that the network predicts.
        runner_up: int64 [N], the class with the second highest logit.
        features: the similarities that the scores were computed from.
        p_values: float64 [N], the conformal p-values (1 + calibration scores ≥ score) ÷ (calibration scores + 1):
            a clean image's is at most p with a probability of at most p. An image is flagged where it is at most
            the false positive rate that the threshold was fixed for. None for a detector whose calibration scores
            were not kept, as in files of earlier versions.
        names: of the classes; empty where the class paths have none.
        explained: gives the reasons of all rows.
    """

    scores: NDArray[np.float64]
    flagged: NDArray[np.bool_]
    predicted: NDArray[np.int64]
    runner_up: NDArray[np.int64]
    features: Features
    p_values: NDArray[np.float64] | None
    names: tuple[str, ...]
    explained: Callable[[Verdicts], list[tuple[str, ...]]] = field(repr=False)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.scores)

    @overload
    def __getitem__(self, row: int) -> Verdict: ...

    @overload
    def __getitem__(self, row: slice) -> list[Verdict]: ...

    def __getitem__(self, row: int | slice) -> Verdict | list[Verdict]:
        """Return the verdict on an image, or a list of them."""
        rows = range(len(self))[row]
        return Verdict(self, rows) if isinstance(rows, int) else [Verdict(self, each) for each in rows]

    @cached_property
    def reasons(self) -> list[tuple[str, ...]]:
        """What speaks for an attack, per image in sentences, strongest first; found when first asked for."""
        return self.explained(self)
