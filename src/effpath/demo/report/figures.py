"""One function per figure: from a result, and whether it is for a phone, to a Matplotlib figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from effpath.demo.report.drawing import place, tone
from effpath.demo.result import DemoResult, Example
from effpath.views.page.inline import CARD, EDGE, MUTED, empty_figure, ticks
from effpath.views.page.words import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

_LINES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 3)))
_MARKERS = ("o", "s", "^", "D", "v", "P")
CURVE_POINTS = 400


def layer_similarity(result: DemoResult, rank: int, narrow: bool) -> Figure:
    """Draw median and 10–90 % band of the image-class path similarity in each layer, for each group (Fig. 5)."""
    figure = empty_figure(narrow, (520, 420), (320, 360))
    axes = figure.add_subplot()
    places = np.arange(len(result.layers))
    lowest = [1.0]  # of both ranks, so that they have one scale
    for group, values in result.similarity.items():
        band = _quantiles(values, (0.1, 0.5, 0.9))
        lowest += band[~np.isnan(band)].tolist()
        low, median, high = np.split(band, 2, axis=1)[rank - 1]
        shade = tone(result, group)
        axes.fill_between(places, low, high, color=shade, alpha=0.22 if group == "clean" else 0.1, linewidth=0)
        axes.plot(places, median, label=group, color=shade, **_strokes(result, group))
    _layer_axis(axes, result.layers, narrow)
    bottom = max(0.0, min(lowest) - 0.05)
    axes.set_ylim(bottom - 0.02, 1.02 + 0.02 * (1 - bottom))
    axes.set_ylabel("image-class path similarity")
    _legend(figure, axes, narrow)
    return figure


def roc_curves(result: DemoResult, detector: str, limit: float, narrow: bool) -> Figure:
    """Draw the ROC of a detector for each attack, up to a false positive rate; the symbols are the threshold."""
    scores, threshold, rate = result.roc[detector], result.threshold[detector], result.fpr[detector]
    figure = empty_figure(narrow, (520, 420), (320, 380))
    axes = figure.add_subplot()
    if limit == 1:
        axes.plot([0, 1], [0, 1], color=EDGE, linewidth=1)
    if rate <= limit:
        axes.axvline(rate, color=MUTED, linewidth=1, linestyle=":")
    for attack in result.attacks:
        fpr, tpr = _until(limit, *roc(scores["clean"], scores[attack.name]))
        strokes = _strokes(result, attack.name)
        shade, marker = tone(result, attack.name), strokes.pop("marker")
        label = f"{attack.name} {number(attack.scores[detector].auc.value)}"
        axes.plot(fpr, tpr, label=label, color=shade, **strokes)
        if rate <= limit:
            flagged = float(np.mean(scores[attack.name] > threshold))
            axes.plot(rate, flagged, marker, color=shade, markeredgecolor=CARD, markersize=7)
    axes.set_xlim(-0.01 * limit, limit * 1.01)
    ticks = np.linspace(0, limit, 5)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_ylim(-0.01, 1.02)
    axes.set_xlabel("clean images flagged (false positive rate)")
    axes.set_ylabel("adversarial images flagged")
    _legend(figure, axes, narrow, title="AUC")
    return figure


def example_similarity(result: DemoResult, example: Example, narrow: bool) -> Figure:
    """Draw path similarity per layer of an adversarial image beside its clean original: rank 1 above rank 2."""
    figure = empty_figure(narrow, (520, 390), (320, 380))
    places = np.arange(len(result.layers))
    top = None
    for rank in (1, 2):
        axes = top = figure.add_subplot(2, 1, rank, sharex=top)
        for side, name, values in (
            (-0.2, "clean", example.clean_similarity),
            (0.2, example.attack, example.similarity),
        ):
            shown = np.split(values, 2)[rank - 1]
            axes.bar(places + side, np.nan_to_num(shown), 0.38, color=tone(result, name), label=name)
            for gap in places[np.isnan(shown)]:
                axes.text(gap + side, 0.02, "none", rotation=90, ha="center", va="bottom", size=10)
        axes.set_ylim(0, 1.04)
        axes.set_ylabel("similarity")
        axes.grid(False, axis="x")
        axes.set_title(f"rank {rank}: {'predicted' if rank == 1 else 'second'} class", size="medium")
        if rank == 1:
            axes.tick_params(labelbottom=False)
            handles = axes.get_legend_handles_labels()
        else:
            _layer_axis(axes, result.layers, narrow)
    figure.legend(*handles, loc="outside lower center", ncols=2, handlelength=1)
    return figure


def medians(result: DemoResult, group: str, rank: int) -> list[float]:
    """Return the median similarity in each layer; NaN where no image has one."""
    values = np.split(result.similarity[group], 2, axis=1)[rank - 1]
    return [float(value) for value in _quantiles(values, (0.5,))[0]]


def roc(clean: Floats, adversarial: Floats) -> tuple[Floats, Floats]:
    """Return FPR and TPR at the corners of the curve, at most `CURVE_POINTS` of them, densest at low FPR.

    Straight lines between them are exact: one across scores that clean and adversarial images share counts
    ties as one half, as the AUC does.
    """
    truth = np.repeat([0, 1], [len(clean), len(adversarial)])
    fpr, tpr, _ = roc_curve(truth, np.concatenate([clean, adversarial]))
    if len(fpr) > CURVE_POINTS:
        spread = np.linspace(0, 1, CURVE_POINTS) ** 2 * (len(fpr) - 1)
        chosen = np.unique(np.round(spread).astype(int))
        fpr, tpr = fpr[chosen], tpr[chosen]
    return fpr, tpr


def _until(limit: float, fpr: Floats, tpr: Floats) -> tuple[Floats, Floats]:
    """Return the part of a curve up to a false positive rate; it ends on it."""
    inside = fpr < limit
    return np.append(fpr[inside], limit), np.append(tpr[inside], np.interp(limit, fpr, tpr))


def _legend(figure: Figure, axes: Any, narrow: bool, title: str | None = None) -> None:
    handles, labels = axes.get_legend_handles_labels()
    columns = min(2 if narrow else 3, len(labels))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=2.6, title=title)


def _strokes(result: DemoResult, group: str) -> dict[str, Any]:
    if group == "clean":
        return {"linewidth": 2.6, "linestyle": "-", "marker": "o", "markersize": 5}
    at = place(result, group) % len(_LINES)
    return {"linewidth": 1.7, "linestyle": _LINES[at], "marker": _MARKERS[at], "markersize": 4.5}


def _quantiles(values: Floats, shares: Sequence[float]) -> Floats:
    """Return quantiles of each column [shares, columns] without its NaN; NaN where nothing else is there."""
    found = np.full((len(shares), values.shape[1]), np.nan)
    for column, entries in enumerate(values.T):
        known = entries[~np.isnan(entries)]
        if len(known):
            found[:, column] = np.quantile(known, shares)
    return found


def _layer_axis(axes: Any, layers: Sequence[str], narrow: bool) -> None:
    places, names, tilted = ticks(layers, *((8, 14, 30) if narrow else (16, 18, 55)))
    axes.set_xticks(places, names, rotation=60 if tilted else 0)
    if tilted:
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.5, len(layers) - 0.5)
    axes.set_xlabel("layer, from input to output")
