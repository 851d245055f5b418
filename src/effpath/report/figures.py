"""One function per figure. Matplotlib is imported only when one is drawn, and its global state is left alone."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from effpath.demo.result import DemoResult, Example
from effpath.report.words import main_detector, number, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

# Okabe and Ito's colours, which the colour-blind tell apart; a line style and a marker say the same again.
CLEAN = "#4a4f57"
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_LINES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 3)))
_MARKERS = ("o", "s", "^", "D", "v", "P")
_RC = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a9099",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8ec",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.hashsalt": "effpath",
    "text.parse_math": False,
    "xtick.color": "#3a3f47",
    "ytick.color": "#3a3f47",
}
CURVE_POINTS = 400
IMAGE_SIDE = 128


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's defaults and ours, whatever the user has set; his settings return afterwards."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def svg(draw: Callable[[], Figure]) -> str:
    """Return a figure as a data URI: an image of its own, so that the ids of two figures cannot meet."""
    buffer = io.BytesIO()
    with style():
        draw().savefig(buffer, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def colour(result: DemoResult, group: str) -> str:
    """Return the colour of a group: the same in every figure and table."""
    return CLEAN if group == "clean" else COLOURS[_place(result, group) % len(COLOURS)]


def class_similarity(result: DemoResult) -> Figure:
    """Jaccard similarity of each two class paths; the diagonal, always 1, is left empty."""
    values = np.array(result.class_similarity, dtype=np.float64)
    np.fill_diagonal(values, np.nan)
    classes = len(values)
    figure = _figure(5.2, 4.2)
    axes = figure.add_subplot()
    top = np.nanmax(values, initial=0.01)
    mesh = (
        axes.pcolormesh(
            values, cmap="cividis", vmin=0, vmax=top, edgecolors="white", linewidth=1, rasterized=classes > 30
        )
        if classes <= 30
        else axes.pcolormesh(values, cmap="cividis", vmin=0, vmax=top, rasterized=True)
    )
    axes.invert_yaxis()
    axes.set_aspect("equal")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    step = -(-classes // 30)
    places = np.arange(0, classes, step)
    names = [_short(result.classes[place]) for place in places]
    tilted = max(map(len, names)) * len(names) > 45
    axes.set_xticks(places + 0.5, names, rotation=90 if tilted else 0)
    axes.set_yticks(places + 0.5, names)
    if classes <= 12:
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                shade = "white" if value < 0.55 * top else "black"
                axes.text(column + 0.5, row + 0.5, f"{value:.2f}", ha="center", va="center", color=shade, size=7.5)
    bar = figure.colorbar(mesh, ax=axes, shrink=0.8, label="Jaccard similarity of the class paths")
    bar.outline.set_visible(False)
    return figure


def layer_similarity(result: DemoResult, rank: int) -> Figure:
    """Median and 10–90 % band of the image-class path similarity in each layer, for each group (Fig. 5)."""
    figure = _figure(5.2, 4.2)
    axes = figure.add_subplot()
    layers = len(result.layers)
    columns = slice((rank - 1) * layers, rank * layers)
    places = np.arange(layers)
    lowest = [1.0]  # of both ranks, so that they have one scale
    for group, values in result.similarity.items():
        band = _quantiles(values, (0.1, 0.5, 0.9))
        lowest += band[~np.isnan(band)].tolist()
        low, median, high = band[:, columns]
        shade = colour(result, group)
        axes.fill_between(places, low, high, color=shade, alpha=0.22 if group == "clean" else 0.1, linewidth=0)
        axes.plot(places, median, label=group, color=shade, **_strokes(result, group))
    _layer_axis(axes, result.layers)
    bottom = max(0.0, min(lowest) - 0.05)
    axes.set_ylim(bottom - 0.02, 1.02 + 0.02 * (1 - bottom))
    axes.set_ylabel("image-class path similarity")
    axes.set_title(f"rank {rank}: {'predicted' if rank == 1 else 'second'} class")
    figure.legend(loc="outside lower center", ncols=min(3, len(result.similarity)), handlelength=3.2)
    return figure


def roc_curves(result: DemoResult, limit: float) -> Figure:
    """ROC of the joint similarity for each attack, up to a false positive rate; the dot is the threshold."""
    detector = main_detector(result)
    scores, threshold = result.roc[detector], result.threshold[detector]
    figure = _figure(5.2, 3.9)
    axes = figure.add_subplot()
    for attack in result.attacks:
        fpr, tpr = roc(scores["clean"], scores[attack.name])
        strokes = _strokes(result, attack.name)
        shade, marker = colour(result, attack.name), strokes.pop("marker")
        inside = np.append(True, fpr[:-1] <= limit)  # one point past the limit: the line leaves the panel
        axes.plot(
            fpr[inside],
            tpr[inside],
            label=f"{attack.name}  {number(attack.scores[detector].auc.value)}",
            color=shade,
            **strokes,
        )
        if result.fpr[detector] <= limit:
            flagged = float(np.mean(scores[attack.name] > threshold))
            axes.plot(result.fpr[detector], flagged, marker, color=shade, markeredgecolor="white", markersize=7)
    if result.fpr[detector] <= limit:
        axes.axvline(result.fpr[detector], color="#8a9099", linewidth=1, linestyle=":")
    if limit == 1:
        axes.plot([0, 1], [0, 1], color="#b8bdc6", linewidth=1)
        axes.legend(loc="lower right", title="AUC", alignment="left", handlelength=2.6)
    axes.set_xlim(-0.01 * limit, limit * 1.01)
    ticks = np.linspace(0, limit, 5)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_ylim(-0.01, 1.02)
    axes.set_xlabel("clean images flagged (false positive rate)")
    axes.set_ylabel("adversarial images flagged")
    axes.set_title("whole curve" if limit == 1 else f"close-up: at most {percent(limit, 0)} false positives")
    return figure


def suspicion_scores(result: DemoResult) -> Figure:
    """Distribution of the suspicion score in each group, one row each, with the threshold."""
    detector = main_detector(result)
    scores, threshold = result.roc[detector], result.threshold[detector]
    groups = ["clean", *(attack.name for attack in result.attacks)]
    figure = _figure(8.4, 1.0 + 0.52 * len(groups))
    axes = figure.add_subplot()
    pooled = np.concatenate([scores[group] for group in groups])
    low, high = np.quantile(pooled, [0.001, 0.999])
    if np.isfinite(threshold):
        low, high = min(low, threshold), max(high, threshold)
    pad = 0.04 * (high - low) or 1.0
    edges = np.linspace(low - pad, high + pad, 70)
    for row, group in enumerate(groups):
        shares = np.histogram(np.clip(scores[group], edges[0], edges[-1]), edges)[0].astype(np.float64)
        tops = -row + 0.85 * shares / max(shares.max(), 1)
        shade = colour(result, group)
        axes.stairs(tops, edges, baseline=-row, fill=True, color=shade, alpha=0.35, linewidth=0)
        axes.stairs(tops, edges, baseline=-row, color=shade, linewidth=1.3)
        flagged = f"{percent(float(np.mean(scores[group] > threshold)))} flagged"
        axes.text(1.01, -row + 0.25, flagged, transform=axes.get_yaxis_transform(), color="#3a3f47", va="center")
    if np.isfinite(threshold):
        axes.axvline(threshold, color="black", linewidth=1.2, linestyle="--")
        axes.text(threshold, 1.0, f"threshold {number(threshold, 2)}", ha="center", va="bottom")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(-len(groups) + 0.95, 1.0)
    axes.set_yticks([0.25 - row for row in range(len(groups))], groups)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(False, axis="y")
    axes.set_xlabel("suspicion (higher = more likely adversarial)")
    return figure


def example_similarity(result: DemoResult, example: Example) -> Figure:
    """Path similarity per layer of one adversarial image beside its clean original, rank 1 above rank 2."""
    figure = _figure(4.6, 3.5)
    layers = len(result.layers)
    places = np.arange(layers)
    top = None
    for rank in (1, 2):
        axes = top = figure.add_subplot(2, 1, rank, sharex=top)
        columns = slice((rank - 1) * layers, rank * layers)
        for side, name, values in (
            (-0.2, "clean", example.clean_similarity),
            (0.2, example.attack, example.similarity),
        ):
            shown = values[columns]
            axes.bar(places + side, np.nan_to_num(shown), 0.38, color=colour(result, name), label=name)
            for place in places[np.isnan(shown)]:
                axes.text(place + side, 0.02, "none", rotation=90, ha="center", va="bottom", size=7)
        axes.set_ylim(0, 1.04)
        axes.set_ylabel("similarity")
        axes.grid(False, axis="x")
        axes.set_title(f"rank {rank}: {'predicted' if rank == 1 else 'second'} class")
        if rank == 1:
            axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=2, borderaxespad=0, handlelength=1)
            axes.tick_params(labelbottom=False)
        else:
            _layer_axis(axes, result.layers)
    return figure


def medians(result: DemoResult, group: str, rank: int) -> list[float]:
    """Median similarity in each layer; NaN where no image has one."""
    layers = len(result.layers)
    values = result.similarity[group][:, (rank - 1) * layers : rank * layers]
    return [float(value) for value in _quantiles(values, (0.5,))[0]]


def picture(pixels: NDArray[np.float32]) -> str:
    """Return an image [C, H, W] in [0, 1] as a PNG data URI; large ones are scaled down."""
    from PIL import Image

    shown = pixels if len(pixels) == 3 else np.broadcast_to(pixels.mean(0), (3, *pixels.shape[1:]))
    rows = np.round(255 * np.clip(shown, 0, 1)).astype(np.uint8).transpose(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(rows))
    image.thumbnail((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def difference(example: Example) -> tuple[NDArray[np.float32], float]:
    """Return adversarial − clean as an image [3, H, W], and how often it was amplified to fill the scale.

    One channel: white is unchanged, orange brighter, blue darker. Three channels: mid grey is unchanged.
    """
    change = example.adversarial.astype(np.float64) - example.clean
    largest = float(np.abs(change).max())
    times = 1 / largest if largest > 0 else 1.0
    change = np.clip(change * times, -1, 1)
    if len(change) == 3:
        return (0.5 + change / 2).astype(np.float32), times
    flat = change.mean(0)
    ends = np.array([[0.835, 0.369, 0.0], [0.0, 0.447, 0.698]])  # brighter, darker
    ink = np.where(flat > 0, 1 - ends[0][:, None, None], 1 - ends[1][:, None, None])  # [3, H, W]
    return (1 - np.abs(flat) * ink).astype(np.float32), times


def roc(clean: Floats, adversarial: Floats) -> tuple[Floats, Floats]:
    """Return FPR and TPR at the corners of the curve, at most `CURVE_POINTS` of them, densest at low FPR.

    Straight lines between them are exact: one across scores that clean and adversarial images share counts
    ties as one half, as the AUC does.
    """
    thresholds = np.append(np.inf, np.unique(np.concatenate([clean, adversarial]))[::-1])
    above, caught = (
        len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left") for scores in (clean, adversarial)
    )
    right, up = np.diff(above), np.diff(caught)
    corner = np.append(True, np.append(right[1:] * up[:-1] != right[:-1] * up[1:], True))
    chosen = np.flatnonzero(corner)
    if len(chosen) > CURVE_POINTS:
        chosen = chosen[np.unique(np.round(np.linspace(0, 1, CURVE_POINTS) ** 2 * (len(chosen) - 1)).astype(int))]
    return above[chosen] / len(clean), caught[chosen] / len(adversarial)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _place(result: DemoResult, group: str) -> int:
    return next(place for place, attack in enumerate(result.attacks) if attack.name == group)


def _strokes(result: DemoResult, group: str) -> dict[str, Any]:
    if group == "clean":
        return {"linewidth": 2.6, "linestyle": "-", "marker": "o", "markersize": 5}
    place = _place(result, group) % len(_LINES)
    return {"linewidth": 1.7, "linestyle": _LINES[place], "marker": _MARKERS[place], "markersize": 4.5}


def _quantiles(values: Floats, shares: Sequence[float]) -> Floats:
    """Quantiles of each column [shares, columns] without its NaN; NaN where nothing else is there."""
    found = np.full((len(shares), values.shape[1]), np.nan)
    for column, entries in enumerate(values.T):
        known = entries[~np.isnan(entries)]
        if len(known):
            found[:, column] = np.quantile(known, shares)
    return found


def _layer_axis(axes: Any, layers: Sequence[str]) -> None:
    step = -(-len(layers) // 16)
    names = [_short(name) for name in layers[::step]]
    tilted = max(map(len, names)) * len(names) > 55
    axes.set_xticks(np.arange(0, len(layers), step), names, rotation=60 if tilted else 0)
    if tilted:
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.5, len(layers) - 0.5)


def _short(name: str, longest: int = 18) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
