"""What `effpath detect` says of images: as values for JSON, and as text."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effpath.cli.output import print_text
from effpath.detect.explain import Reason, SignReason
from effpath.detect.saved import SavedDetector
from effpath.detect.splits import without_mistakes
from effpath.detect.verdicts import Summary, Verdicts
from effpath.files.plain import percent

INDENT = 19 * " "


def rows_of(
    names: Sequence[str],
    damaged: Mapping[int, str],
    verdicts: Verdicts,
    labels: NDArray[np.int64],
    reasons: Sequence[Sequence[Reason | SignReason]],
    signs: Sequence[str] | None,
    classes: Sequence[str],
    known: Collection[int],
) -> list[dict[str, Any]]:
    """Return what is said of each image, for JSON.

    Args:
        names: of all N images.
        damaged: why, by the rows of those that could not be read.
        verdicts, labels, reasons, signs: of the others, in their order; a label is −1 where it is not known, signs
            are None for kinds without them.
        classes: names of the outputs, "" where there is none.
        known: the outputs that have a class path.
    """
    rows: list[dict[str, Any]] = []
    read = iter(range(len(verdicts)))
    for place, image in enumerate(names):
        if place in damaged:
            rows.append({"image": image, "score": None, "flagged": None, "error": damaged[place]})
            continue
        at = next(read)
        first, second = int(verdicts.predicted[at]), int(verdicts.runner_up[at])
        unknown = first not in known
        note = (
            f"no class path for class {_titled(first, classes[first])}: the detector was made without images of "
            "it that the network gets right, so nothing that is taken for it can pass"
        )
        row = {
            "image": image,
            "label": None if labels[at] < 0 else int(labels[at]),
            "class": first,
            "class_name": classes[first] or None,
            "runner_up": second,
            "runner_up_name": classes[second] or None,
            "score": float(verdicts.scores[at]),
            "p_value": verdicts[at].p_value,
            "flagged": bool(verdicts.flagged[at]),
            "note": note if unknown else None,
            "sign": signs[at] if signs and not unknown else None,
            "reasons": [] if unknown else [asdict(reason) | {"said": str(reason)} for reason in reasons[at]],
        }
        absent = ("class_name", "runner_up_name", "note", "sign")  # where there is none
        rows.append({name: value for name, value in row.items() if value is not None or name not in absent})
    return rows


def show(
    rows: Sequence[Mapping[str, Any]], summary: Summary, detector: SavedDetector, drift: float | None
) -> None:
    """Print a line per image, below it what speaks most for an attack, and what came out over all.

    Args:
        rows: of `rows_of`.
        summary: counts.
        detector: that judged the images.
        drift: evidence that they look otherwise than those of its calibration; None where that cannot be told.
    """
    for row in rows:
        if "error" in row:
            line, below = f"{'not read':17}  {row['image']}", [row["error"]]
        else:
            note, sign = row.get("note"), row.get("sign")
            mark = "FLAGGED" if row["flagged"] else "ok     "
            score = "-" if note else f"{row['score']:.3f}"
            p_value = "" if note or row["p_value"] is None else f"p {row['p_value']:<7.2g}  "
            first, second = (_titled(row[name], row.get(f"{name}_name", "")) for name in ("class", "runner_up"))
            line = f"{mark}  {score:>8}  {p_value}{row['image']}  class {first}, then {second}"
            below = [note] if note else [f"most surprising: {sign}"] * bool(sign)
            reasons = row["reasons"]
            behind = reasons[0].get("sign", sign) if reasons else sign
            below += [f"{behind}, most in:"] * (behind != sign)
            below += [reason["said"] for reason in reasons]
        for text in (line, *(INDENT + text for text in below)):
            print_text(text, INDENT)
    unread = len(rows) - summary.images
    if unread:
        print_text(f"{unread} of {len(rows)} images could not be read and are not counted below")
    if summary.correct is not None:
        print_text(
            f"{summary.labelled} images with labels: accuracy {percent(summary.correct / summary.labelled)}; "
            f"{summary.fooling} are put in another class (fool the network), "
            f"{summary.fooling_flagged} of these are flagged"
        )
    if summary.clean is not None:
        said = f"clean images: {summary.clean_flagged} of {summary.clean} flagged"
        if summary.clean_all not in (None, summary.clean):
            said += f"; with those that the network gets wrong, {summary.clean_all_flagged} of {summary.clean_all}"
        print_text(said)
    for score, (value, low, high) in (summary.auc or {}).items():
        print_text(f"AUC against the clean images, {score}: {value:.3f} ({low:.3f} to {high:.3f})")
    if drift is not None:
        print_text(_drifted(drift))
    fixed = "" if detector.fpr is None else f", fixed for {percent(detector.fpr)} of clean images"
    if fixed and without_mistakes(detector.about):
        fixed += " that the network gets right"
    own = detector.class_thresholds.values()
    limits = f"{detector.threshold:.4g}"
    if own:
        limits += f" ({min(own):.4g} to {max(own):.4g} in {len(own)} of the classes)"
    print_text(f"{summary.flagged} of {summary.images} images flagged: score above {limits}{fixed}")


def _drifted(evidence: float) -> str:
    """Say whether the images look as those of the calibration did."""
    from effpath.detect.conformal import CERTAIN

    certain = f"{CERTAIN} is as good as certain"
    known = f"those that the threshold was fixed on (evidence of a drift: {evidence:.3g}; {certain})"
    if evidence < CERTAIN:
        return f"these images may well be like {known}"
    return (
        f"these images are not like {known}: attacks, another mix of classes, or another source, of whose clean "
        "images another share may be flagged"
    )


def _titled(label: int, name: str) -> str:
    """Return a class with its name, where it has one of its own."""
    return str(label) if name in ("", str(label)) else f"{label} ({name})"
