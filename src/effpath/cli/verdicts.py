"""What `effpath detect` says of images: as text, and as values for JSON."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effpath.detect.explain import Reason
from effpath.detect.saved import SavedDetector
from effpath.detect.verdicts import Summary, Verdicts

INDENT = 19 * " "


@dataclass(frozen=True, eq=False)
class Shown:
    """Images and what was found of them.

    Attributes:
        names: of all N images.
        damaged: why, by the rows of those that could not be read.
        verdicts, labels, reasons, signs: of the others, in their order; a label is −1 where it is not known, signs
            are None for kinds without them.
        classes: names of the outputs, "" where there is none.
        known: the outputs that have a class path.
    """

    names: Sequence[str]
    verdicts: Verdicts
    labels: NDArray[np.int64]
    damaged: Mapping[int, str]
    reasons: Sequence[Sequence[Reason]]
    signs: Sequence[str] | None
    classes: Sequence[str]
    known: frozenset[int]

    def titled(self, label: int) -> str:
        """Return a class with its name, where it has one of its own."""
        name = self.classes[label]
        return str(label) if name in ("", str(label)) else f"{label} ({name})"

    def unknown(self, row: int) -> str | None:
        """Say that the class of an image that was read has no class path, if so."""
        label = int(self.verdicts.predicted[row])
        if label in self.known:
            return None
        return (
            f"no class path for class {self.titled(label)}: the detector was made without images of it that the "
            "network gets right, so nothing that is taken for it can pass"
        )

    @property
    def places(self) -> list[int | None]:
        """Of each image its row in the verdicts; None where it could not be read."""
        read = iter(range(len(self.names)))
        return [None if row in self.damaged else next(read) for row in range(len(self.names))]


def rows_of(shown: Shown) -> list[dict[str, Any]]:
    """Return what is said of each image, for JSON."""
    return [
        {
            "image": name,
            **({"score": None, "flagged": None, "error": shown.damaged[row]} if at is None else _row(shown, at)),
        }
        for row, (name, at) in enumerate(zip(shown.names, shown.places, strict=True))
    ]


def _row(shown: Shown, at: int) -> dict[str, Any]:
    verdicts, unknown = shown.verdicts, shown.unknown(at)
    first, second = int(verdicts.predicted[at]), int(verdicts.runner_up[at])
    return {
        "label": None if shown.labels[at] < 0 else int(shown.labels[at]),
        "class": first,
        **({"class_name": shown.classes[first]} if shown.classes[first] else {}),
        "runner_up": second,
        **({"runner_up_name": shown.classes[second]} if shown.classes[second] else {}),
        "score": float(verdicts.scores[at]),
        "p_value": verdicts[at].p_value,
        "flagged": bool(verdicts.flagged[at]),
        **({"note": unknown} if unknown else {}),
        **({"sign": shown.signs[at]} if shown.signs and not unknown else {}),
        "reasons": [asdict(reason) for reason in shown.reasons[at]] if not unknown else [],
    }


def show(shown: Shown, summary: Summary, detector: SavedDetector) -> None:
    """Print a line an image, below it what speaks most for an attack, and what came out over all."""
    for row, (name, at) in enumerate(zip(shown.names, shown.places, strict=True)):
        if at is None:
            out(f"{'not read':17}  {name}", INDENT)
            out(f"{INDENT}{shown.damaged[row]}", INDENT)
            continue
        verdicts, unknown = shown.verdicts, shown.unknown(at)
        mark = "FLAGGED" if verdicts.flagged[at] else "ok     "
        score = "-" if unknown else f"{verdicts.scores[at]:.3f}"
        first, second = shown.titled(int(verdicts.predicted[at])), shown.titled(int(verdicts.runner_up[at]))
        p_value = "" if unknown or verdicts[at].p_value is None else f"p {verdicts[at].p_value:<7.2g}  "
        out(f"{mark}  {score:>8}  {p_value}{name}  class {first}, then {second}", INDENT)
        if unknown:
            out(f"{INDENT}{unknown}", INDENT)
            continue
        if shown.signs:
            out(f"{INDENT}most surprising: {shown.signs[at]}", INDENT)
        for reason in map(str, shown.reasons[at]):
            out(f"{INDENT}{reason}", INDENT)
    if shown.damaged:
        out(f"{len(shown.damaged)} of {len(shown.names)} images could not be read and are not counted below")
    if summary.correct is not None:
        out(
            f"{summary.labelled} images with labels: accuracy {summary.correct / summary.labelled:.1%}; "
            f"{summary.fooling} are put in another class (fool the network), "
            f"{summary.fooling_flagged} of these are flagged"
        )
    if summary.clean is not None:
        out(f"clean images: {summary.clean_flagged} of {summary.clean} flagged")
    for score, (value, low, high) in (summary.auc or {}).items():
        out(f"AUC against the clean images, {score}: {value:.3f} ({low:.3f} to {high:.3f})")
    out(
        f"{summary.flagged} of {summary.images} images flagged: score above {detector.threshold:.4g}, fixed for "
        f"{detector.fpr:.1%} of clean images"
    )


def out(line: str, indent: str = "") -> None:
    """Print a line, folded between words to a terminal's width; whole into a pipe."""
    if not sys.stdout.isatty():
        print(line)
        return
    width = shutil.get_terminal_size().columns
    print(textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False))
