"""The tables of the report, as HTML; every name and value is escaped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from effpath.demo.report.tones import as_variables, tone
from effpath.demo.report.words import (
    DASH,
    DETECTORS,
    PAPERS,
    aucs,
    count,
    detector_name,
    number,
    percent,
    plain,
    span,
    success,
)
from effpath.demo.result import AttackResult, DemoResult
from effpath.detect.evaluate import BASELINES, Score
from effpath.detect.metrics import Interval

# The paper's figures, in sections of the report: name → (what it is, ours).
_CLASS_FIGURES: dict[str, tuple[str, Callable[[DemoResult], str]]] = {
    "class similarity": ("mean similarity of two classes", lambda r: number(r.mean_class_similarity, 2)),
    "most special": ("most special class", lambda r: r.most_special),
}
_DENSITY_FIGURES: dict[str, tuple[str, Callable[[DemoResult], str]]] = {
    "density": ("synapses in the overall path", lambda r: percent(r.density["synapses"])),
}
_DETECTION_FIGURES: dict[str, tuple[str, Callable[[DemoResult], str]]] = {
    "AUC": ("AUC on the attacks that detectors were trained on", lambda r: _of_both(r, _own_aucs)),
    "random detected": ("random images flagged", lambda r: _of_both(r, _random_detected)),
}
PAPER_FIGURES = {"classes": _CLASS_FIGURES, "density": _DENSITY_FIGURES, "detection": _DETECTION_FIGURES}
_SHARES = ("density", "random detected")


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """Return a table whose rows are cards on phones; cells are HTML, the first of a row its name."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    return _whole(caption, f"<tr>{top}</tr>", head, rows, kind)


def attack_table(result: DemoResult) -> str:
    """Each attack, and AUC and TPR of the headline's detector and of the paper's, with intervals."""
    detectors = [result.headline, *([PAPERS] if PAPERS in result.detectors and result.headline != PAPERS else [])]
    names = ["name", "succeeded / tried", "median L2", "median L∞", "tested", "in training"]
    labels = list(names)
    groups = [f'<th scope="colgroup" colspan="{len(names)}" class="group">attack</th>']
    for detector in detectors:
        title = detector_name(detector) + (", the paper's" if detector == PAPERS else "")
        groups.append(f'<th scope="colgroup" colspan="2" class="group">{escape(title)}</th>')
        own = ["AUC", f"flagged at {percent(result.fpr[detector])} FPR"]
        names += own
        labels += [f"{escape(detector_name(detector))}: {name}" for name in own]
    rows = [
        [
            chip(result, attack.name),
            f"{count(attack.succeeded)} / {count(attack.tried)} <small>{percent(success(attack))}</small>",
            number(attack.l2, 2),
            number(attack.linf, 2),
            count(attack.tested),
            "yes" if attack.seen else "<strong>no</strong>",
            *(cell for detector in detectors for cell in _with_intervals(attack.scores[detector])),
        ]
        for attack in result.attacks
    ]
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    caption = "Attacks and how well they are detected, on test images that no detector was trained on"
    return _whole(caption, f"<tr>{''.join(groups)}</tr><tr>{head}</tr>", labels, rows, "attacks")


def auc_table(result: DemoResult) -> str:
    """AUC of every detector on each attack, ours on paths first; the best of each attack is marked."""
    trained = [name for name in result.detectors if name not in BASELINES and name != result.headline]
    names = [result.headline, *trained, *(name for name in BASELINES if name in result.detectors)]
    rows = []
    for attack in result.attacks:
        best = max(score.auc.value for score in attack.scores.values())
        rows.append([chip(result, attack.name), *(_auc(attack, name, best) for name in names)])
    head = ["attack", *(escape(name) for name in names)]
    return table("AUC of every detector; max softmax and energy need no paths", head, rows, "aucs")


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
    head = ["class", "training images", "mean similarity with others"]
    return table("Classes, the most special first", head, rows, "bars compact")


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
    shade = as_variables(tone(result, group))
    return f'<span class="chip"><span class="spot" style="background:{shade}"></span>{escape(group)}</span>'


def bar(share: float, label: str, full: float = 1.0) -> str:
    """Return a number and a bar of its length."""
    width = 0.0 if math.isnan(share) else 100 * min(share / full, 1)
    return f'<span class="bar"><span>{label}</span><i style="width:{width:.1f}%"></i></span>'


def _whole(caption: str, head: str, labels: Sequence[str], rows: Sequence[Sequence[str]], kind: str) -> str:
    """Return a table with what each cell is called where it stands on a card, away from the head."""
    body = "".join(
        f'<tr role="row"><th scope="row" role="rowheader">{cells[0]}</th>'
        + "".join(
            f'<td role="cell" data-label="{label}"><span>{cell}</span></td>'
            for label, cell in zip(labels[1:], cells[1:], strict=True)
        )
        + "</tr>"
        for cells in rows
    )
    title = escape(caption)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">'
        f'<table role="table" class="{kind}"><caption>{title}</caption>'
        f'<thead role="rowgroup">{head}</thead><tbody role="rowgroup">{body}</tbody></table></div>'
    )


def _with_intervals(score: Score) -> list[str]:
    auc, tpr = score.auc, score.tpr
    return [
        f"{number(auc.value)} {_ends(auc, number)}",
        f"{percent(tpr.value)} {_ends(tpr, percent)}",
    ]


def _auc(attack: AttackResult, detector: str, best: float) -> str:
    auc = attack.scores[detector].auc
    value = number(auc.value)
    return f'<strong class="best" title="highest AUC of this row">{value}</strong>' if auc.value == best else value


def _ends(interval: Interval, write: Callable[[float], str]) -> str:
    low, high = (write(end).removesuffix("\u202f%") for end in interval[1:])  # the unit once is enough
    return f"<small>{low}–{high}</small>"


def _of_both(result: DemoResult, write: Callable[[DemoResult, str], str]) -> str:
    """What the paper's detector reaches here, and the headline's beside it."""
    main = result.headline
    if PAPERS not in result.detectors or main == PAPERS:
        return write(result, main)
    return f"{detector_name(PAPERS)} {write(result, PAPERS)}; {detector_name(main)} {write(result, main)}"


def _own_aucs(result: DemoResult, detector: str) -> str:
    found = aucs(result, detector)
    seen = [attack.name for attack in result.attacks if attack.seen]
    return span([found[name].value for name in seen or found], lambda value: number(value, 2))


def _random_detected(result: DemoResult, detector: str) -> str:
    for attack in result.attacks:
        if attack.name == "Random":
            return percent(attack.scores[detector].tpr.value)
    return DASH


def _paper(name: str, value: Any) -> str:
    def write(figure: float) -> str:
        return f"{100 * figure:.4g}\u202f%" if name in _SHARES else number(figure, 2)  # as exact as given

    if isinstance(value, (list, tuple)) and all(isinstance(item, (int, float)) for item in value):
        return span(value, write)
    return write(float(value)) if isinstance(value, (int, float)) else plain(value)
