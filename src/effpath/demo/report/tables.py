"""What the tables of the report hold; the template makes rows and cells of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from effpath.demo.report.words import PAPERS, aucs, shown_detectors
from effpath.demo.result import DemoResult
from effpath.detect.evaluate import BASELINES
from effpath.views.page.words import detector_name, number, percent, plain, span

# The paper's figures, in sections of the report: name → (what it is, ours).
PAPER_FIGURES: dict[str, dict[str, tuple[str, Callable[[DemoResult], str]]]] = {
    "classes": {
        "class similarity": (
            "mean similarity of two classes",
            lambda r: number(r.overview.mean_class_similarity, 2),
        ),
        "most special": ("most special class", lambda r: r.overview.most_special),
    },
    "density": {"density": ("synapses in the overall path", lambda r: percent(r.overview.density["synapses"]))},
    "detection": {
        "AUC": ("AUC on the attacks that detectors were trained on", lambda r: _of_both(r, _seen_aucs)),
        "random detected": ("random images flagged", lambda r: _of_both(r, _random_detected)),
    },
}
_SHARES = ("density", "random detected")


def attack_groups(result: DemoResult, columns: int) -> list[tuple[str, int]]:
    """Return the heads over several columns: of the attack, and of each detector that is shown."""
    papers = {PAPERS: f"{detector_name(PAPERS)}, the paper's"}
    shown = shown_detectors(result)
    return [("attack", columns), *((papers.get(name, detector_name(name)), 2) for name in shown)]


def detector_labels(result: DemoResult, named: bool) -> list[str]:
    """Return the heads of the columns of each detector that is shown; ``named`` says whose they are."""
    return [
        (f"{detector_name(name)}: " if named else "") + what
        for name in shown_detectors(result)
        for what in ("AUC", f"flagged at {percent(result.fpr[name])} FPR")
    ]


def ordered_detectors(result: DemoResult) -> list[str]:
    """Return the detectors, the headline's first and those without paths last."""
    trained = [name for name in result.detectors if name not in BASELINES and name != result.headline]
    return [result.headline, *trained, *(name for name in BASELINES if name in result.detectors)]


def paper_rows(result: DemoResult, section: str) -> list[tuple[str, str, str]]:
    """Return what is compared with the paper in one section, what it is here, and what it is there."""
    return [
        (label, ours(result), _paper(name, result.paper[name]))
        for name, (label, ours) in PAPER_FIGURES[section].items()
        if name in result.paper
    ]


def all_settings(result: DemoResult) -> dict[str, Mapping[str, Any]]:
    """Return what the result was made with, by the caption of the table that shows it."""
    nested = {name: values for name, values in result.provenance.items() if isinstance(values, Mapping)}
    compared = {name for names in PAPER_FIGURES.values() for name in names}
    return {
        "Settings": {
            name: value for name, value in result.provenance.items() if name not in nested and name != "command"
        },
        **{name.capitalize(): values for name, values in nested.items()},
        "Attacks": {attack.name: attack.settings for attack in result.attacks},
        "The paper's other figures": {name: value for name, value in result.paper.items() if name not in compared},
    }


def _of_both(result: DemoResult, write: Callable[[DemoResult, str], str]) -> str:
    """Return what the paper's detector reaches here, and the headline's beside it."""
    main = result.headline
    if PAPERS not in result.detectors or main == PAPERS:
        return write(result, main)
    return f"{detector_name(PAPERS)} {write(result, PAPERS)}; {detector_name(main)} {write(result, main)}"


def _seen_aucs(result: DemoResult, detector: str) -> str:
    found = aucs(result, detector)
    seen = [attack.name for attack in result.attacks if attack.seen]
    return span([found[name].value for name in seen or found], lambda value: number(value, 2))


def _random_detected(result: DemoResult, detector: str) -> str:
    rates = (attack.scores[detector].tpr.value for attack in result.attacks if attack.name == "Random")
    return percent(next(rates, math.nan))


def _paper(name: str, value: Any) -> str:
    def write(figure: float) -> str:
        return f"{100 * figure:.4g}\u202f%" if name in _SHARES else number(figure, 2)  # as exact as given

    if isinstance(value, (list, tuple)) and all(isinstance(item, (int, float)) for item in value):
        return span(value, write)
    return write(float(value)) if isinstance(value, (int, float)) else plain(value)
