"""The tables of the report, as HTML; every name and value is escaped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from effpath.demo.result import AttackResult, DemoResult
from effpath.detect.evaluate import BASELINES
from effpath.detect.metrics import Interval
from effpath.report.figures import colour
from effpath.report.words import (
    DASH,
    DETECTORS,
    aucs,
    count,
    main_detector,
    number,
    percent,
    plain,
    span,
    success,
)

# The paper's figures, in sections of the report: name → (what it is, ours).
_CLASS_FIGURES: dict[str, tuple[str, Callable[[DemoResult], str]]] = {
    "class similarity": ("mean similarity of two classes", lambda r: number(r.mean_class_similarity, 2)),
    "most special": ("most special class", lambda r: r.most_special),
}
_DENSITY_FIGURES: dict[str, tuple[str, Callable[[DemoResult], str]]] = {
    "density": ("synapses in the overall path", lambda r: percent(r.density["synapses"])),
}
_DETECTION_FIGURES: dict[str, tuple[str, Callable[[DemoResult], str]]] = {
    "AUC": ("AUC of the linear detector on the attacks it was trained on", lambda r: _own_aucs(r)),
    "random detected": ("random images flagged", lambda r: _random_detected(r)),
}
PAPER_FIGURES = {"classes": _CLASS_FIGURES, "density": _DENSITY_FIGURES, "detection": _DETECTION_FIGURES}
_SHARES = ("density", "random detected")


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """Return a table that scrolls sideways where it is too wide; cells are HTML, the first of a row its name."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    return _scroll(caption, f"<thead><tr>{top}</tr></thead>", rows, kind)


def attack_table(result: DemoResult) -> str:
    """Each attack, the joint similarity's AUC and TPR with intervals, the AUC of all others; best AUC marked."""
    main = main_detector(result)
    others = [name for name in result.detectors if name != main]
    trained = [name for name in others if name not in BASELINES]
    without = [name for name in others if name in BASELINES]
    groups = "".join(
        f'<th scope="colgroup" colspan="{width}" class="group">{escape(name)}</th>'
        for name, width in (
            ("attack", 6),
            (f"{main} detector", 2),
            ("AUC of other detectors on paths", len(trained)),
            ("AUC without paths", len(without)),
        )
        if width
    )
    names = [
        "name",
        "succeeded / tried",
        "median L2",
        "median L∞",
        "tested",
        "in training",
        "AUC",
        f"flagged at {percent(result.fpr[main])} FPR",
        *map(escape, (*trained, *without)),
    ]
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    rows = []
    for attack in result.attacks:
        best = max(score.auc.value for score in attack.scores.values())
        tpr = attack.scores[main].tpr
        rows.append(
            [
                chip(result, attack.name),
                f"{count(attack.succeeded)} / {count(attack.tried)} <small>{percent(success(attack))}</small>",
                number(attack.l2, 2),
                number(attack.linf, 2),
                count(attack.tested),
                "yes" if attack.seen else "<strong>no</strong>",
                _auc(attack, main, best, interval=True),
                f"{percent(tpr.value)} {_ends(tpr, percent)}",
                *(_auc(attack, name, best) for name in (*trained, *without)),
            ]
        )
    caption = "Attacks and how well each detector finds them, on test images that no detector was trained on"
    return _scroll(caption, f"<thead><tr>{groups}</tr><tr>{head}</tr></thead>", rows, "attacks")


def threshold_table(result: DemoResult) -> str:
    """Threshold and measured false positive rate of each detector."""
    aim = result.provenance.get("fpr")
    wanted = f" (expected {percent(float(aim))})" if isinstance(aim, (int, float)) else ""
    return table(
        "Thresholds of the detectors",
        ["detector", "what it looks at", "threshold", f"clean test images flagged{wanted}"],
        [
            [
                escape(name),
                escape(DETECTORS.get(name, DASH)),
                number(result.threshold[name]),
                percent(result.fpr[name]),
            ]
            for name in result.detectors
        ],
        "words",
    )


def class_table(result: DemoResult, ends: int = 6) -> str:
    """Images behind each class path and its mean similarity with the others, the most special first."""
    means = result.class_means
    order = [int(place) for place in means.argsort(kind="stable")]
    left_out = len(order) - 2 * ends
    shown = order if left_out <= 1 else [*order[:ends], *order[-ends:]]
    highest = float(means.max()) or 1.0
    rows = [
        [
            escape(result.classes[place]),
            count(result.class_images[place]),
            bar(float(means[place]), number(float(means[place]), 3), highest),
        ]
        for place in shown
    ]
    if left_out > 1:
        rows.insert(ends, [f"{count(left_out)} more", "…", "…"])
    head = ["class", "training images", "mean similarity with the other classes"]
    return table("Classes, the most special first", head, rows, "bars")


def density_table(result: DemoResult) -> str:
    """Density of the overall path by layer and level."""
    rows = [["<strong>all layers</strong>", *(bar(share, percent(share)) for share in result.density.values())]]
    found: dict[str, dict[str, list[tuple[str, float]]]] = {layer: {} for layer in result.layers}
    for level, shares in result.layer_density.items():
        for name, share in shares.items():
            layer = name if name in found else name.rpartition(".")[0]
            row = layer if layer in found else name  # a parameter such as conv1.weight belongs to conv1
            found.setdefault(row, {}).setdefault(level, []).append((name, share))
    for layer, levels in found.items():
        cells = [
            "".join(bar(share, percent(share)) for _, share in levels.get(level, [])) or DASH
            for level in result.density
        ]
        rows.append([escape(layer), *cells])
    head = ["layer", *(escape(level) for level in result.density)]
    return table("Density of the overall path", head, rows, "bars levels")


def paper_table(result: DemoResult, section: str) -> str:
    """Ours beside the paper's, for the figures of one section; nothing where the paper has none."""
    rows = [
        [escape(label), escape(ours(result)), escape(_paper(name, result.paper[name]))]
        for name, (label, ours) in PAPER_FIGURES[section].items()
        if name in result.paper
    ]
    return table("Beside the paper", ["", "here", "in the paper"], rows) if rows else ""


def settings_table(caption: str, settings: Mapping[str, Any]) -> str:
    """Return settings as two columns; nothing where there are none."""
    rows = [
        [escape(str(name)), f'<span class="value">{escape(plain(value))}</span>']
        for name, value in settings.items()
    ]
    return table(caption, ["name", "value"], rows, "words pairs") if rows else ""


def chip(result: DemoResult, group: str) -> str:
    """Name of a group after a spot of its colour."""
    return f'<span class="spot" style="background:{colour(result, group)}"></span>{escape(group)}'


def bar(share: float, label: str, full: float = 1.0) -> str:
    """Return a number and a bar of its length."""
    width = 0.0 if math.isnan(share) else 100 * min(share / full, 1)
    return f'<span class="bar"><span>{label}</span><i style="width:{width:.1f}%"></i></span>'


def _scroll(caption: str, head: str, rows: Sequence[Sequence[str]], kind: str) -> str:
    body = "".join(
        f'<tr><th scope="row">{cells[0]}</th>{"".join(f"<td>{cell}</td>" for cell in cells[1:])}</tr>'
        for cells in rows
    )
    label = escape(caption)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f'<table class="{kind}"><caption>{label}</caption>{head}<tbody>{body}</tbody></table></div>'
    )


def _auc(attack: AttackResult, detector: str, best: float, interval: bool = False) -> str:
    auc = attack.scores[detector].auc
    value = number(auc.value)
    shown = (
        f'<strong class="best" title="highest AUC of this row">{value}</strong>' if auc.value == best else value
    )
    return f"{shown} {_ends(auc, number)}" if interval else shown


def _ends(interval: Interval, write: Callable[[float], str]) -> str:
    low, high = (write(end).removesuffix("\u202f%") for end in interval[1:])  # the unit once is enough
    return f"<small>{low}–{high}</small>"


def _own_aucs(result: DemoResult) -> str:
    found = aucs(result, main_detector(result))
    seen = [attack.name for attack in result.attacks if attack.seen]
    return span([found[name].value for name in seen or found], lambda value: number(value, 2))


def _random_detected(result: DemoResult) -> str:
    for attack in result.attacks:
        if attack.name == "Random":
            return percent(attack.scores[main_detector(result)].tpr.value)
    return DASH


def _paper(name: str, value: Any) -> str:
    def write(figure: float) -> str:
        return f"{100 * figure:.4g}\u202f%" if name in _SHARES else number(figure, 2)  # as exact as given

    if isinstance(value, (list, tuple)) and all(isinstance(item, (int, float)) for item in value):
        return span(value, write)
    return write(float(value)) if isinstance(value, (int, float)) else plain(value)
