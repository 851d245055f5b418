"""The four drawings of every study: curves, intervals, matrices and clouds; and the same numbers in words.

A study gives panels; what they look like is decided here.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from PIL import Image

from effpath.files.cache import atomic_write
from effpath.views.page.svg import write_svg

Value = float | Sequence[float] | None  # a number, one with its interval, five of a box, or nothing
COLOURS = {
    "linear": "tab:red", "surprise": "tab:blue", "forest": "tab:green", "clean": "tab:purple",
    "CDRP, linear": "tab:orange", "CDRP, forest": "tab:olive", "CDRP, adaboost": "tab:brown",
    "CDRP, boosting": "tab:pink", "max softmax": "grey", "energy": "silver",
    "synapses": "tab:blue", "neurons": "tab:orange", "weights": "tab:green",
}  # fmt: skip
"""Of detectors and of levels, the same in every figure; other labels take what is left of `PALETTE`, in order."""
_TWENTY = colormaps["tab20"].colors  # dark and light in turn
PALETTE = tuple(colour for colour in (*_TWENTY[::2], *_TWENTY[1::2]) if max(colour) > min(colour))  # no greys
LOG_DENSITY = "density (logarithmic scale)"
MARKED = {"marker": "o"}  # of curves with few places
WORDY = 100  # values of a series at most that are put in words
TICKS = 12  # names along an axis at most
SHADE = "0.94"  # of every other line of points
NUMBERED = 30  # columns of a matrix whose squares have their numbers in them, at most


@dataclass(frozen=True)
class Series:
    """A curve, the points of one colour, the row of a matrix, or a cloud.

    Attributes:
        label: its name in the legend, or beside its row.
        values: a number each, [value, low, high], or the box [whisker, quartile, median, quartile, whisker]; None
            where there is nothing.
        at: where the values are along the horizontal axis; without, at 0, 1, 2 …
        style: what differs from the style of the drawing, in Matplotlib's words.
    """

    label: str
    values: Sequence[Value]
    at: Sequence[float] | None = None
    style: Mapping[str, Any] = field(default_factory=dict)

    @property
    def table(self) -> np.ndarray:
        """Value, low and high (of a box, median and quartiles), [3, N]; NaN where there is none."""
        rows = [np.ravel(np.nan if value is None else value).astype(float) for value in self.values]
        ends = {1: lambda row: [row[0], np.nan, np.nan], 3: list, 5: lambda row: [row[2], row[1], row[3]]}
        return np.array([ends[len(row)](row) for row in rows]).reshape(-1, 3).T

    @property
    def boxed(self) -> bool:
        """Whether the values are boxes."""
        return any(np.size(value) == 5 for value in self.values if value is not None)


@dataclass(frozen=True)
class Panel:
    """What is drawn in one frame.

    Attributes:
        title: above it.
        series: what is in it.
        names: of the places of the values; lines of intervals, columns of a matrix.
        row: panels of another row begin a new line of the picture.
        span: the ends of the axis, or of the colours, of the values.
        line: a value that is marked.
        axes: what else differs, in the words of ``Axes.set``.
        words: what is said of it where its values are too many to be.
        marks: places that are marked, by lines across.
    """

    title: str
    series: Sequence[Series]
    names: Sequence[str] = ()
    row: str = ""
    span: tuple[float, float] | None = None
    line: float | None = None
    axes: Mapping[str, Any] = field(default_factory=dict)
    words: Sequence[str] = ()
    marks: Sequence[float] = ()


Draw = Callable[[Sequence[Panel], Path, int], None]


def curves(panels: Sequence[Panel], file: Path, columns: int = 1) -> None:
    """Draw values as lines in the bands of their intervals, or as boxes."""
    width, height = (1.9, 2.1) if columns > 3 else (3.4, 2.6)
    shared = dict.fromkeys(("sharex", "sharey"), columns > 3)
    for axes, panel, colours in _frames(panels, file, columns, width, lambda _: height, **shared):
        for series in panel.series:
            value, low, high = series.table
            places = np.arange(len(value)) if series.at is None else np.asarray(series.at, dtype=float)
            if series.boxed:
                _boxes(axes, places, series.values, colours[series.label])
                continue
            how = {"color": colours[series.label], "linewidth": 1.2, "markersize": 3, **series.style}
            (line,) = axes.plot(places, value, label=series.label, **how)
            axes.fill_between(places, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        if panel.names:
            step = -(-len(panel.names) // TICKS)
            places = np.arange(len(panel.names))[::step]
            leaning = {"rotation": 40, "ha": "right"} if max(map(len, panel.names)) > 5 else {}
            axes.set_xticks(places, panel.names[::step], **leaning)
        if panel.line is not None:
            axes.axhline(panel.line, color="grey", linewidth=0.6)
        for mark in panel.marks:
            axes.axvline(mark, color="grey", linewidth=0.6, linestyle=":")
        for key, axis in (("xscale", axes.xaxis), ("yscale", axes.yaxis)):
            if panel.axes.get(key) == "log":
                axis.set_major_formatter(written_out)
                axis.set_minor_locator(LogLocator(subs=(2, 5)))
                axis.set_minor_formatter(written_out)
                axis.set_tick_params(which="minor", labelsize="x-small")
        axes.set(ylim=panel.span)


def intervals(panels: Sequence[Panel], file: Path, columns: int = 1) -> None:
    """Draw values as points from left to right, each with its interval, a line for each name."""

    def height(panel: Panel) -> float:
        return 0.7 + len(panel.names) * (0.15 + 0.07 * (len(panel.series) - 1) * _crowded(panel))

    width, left = 4.5 if columns < 3 else 2.0, attrgetter("names")
    for axes, panel, colours in _frames(panels, file, columns, width, height, names=left, sharex=columns > 2):
        lines = np.arange(len(panel.names))[::-1]
        several = _crowded(panel) and len(panel.series) > 1
        shifts = np.linspace(0.3, -0.3, len(panel.series)) * several
        for line in lines[::2] if several else ():
            axes.axhspan(line - 0.5, line + 0.5, color=SHADE, linewidth=0, zorder=-1)
        for series, shift in zip(panel.series, shifts, strict=True):
            value, low, high = series.table
            how = {"color": colours[series.label], "fmt": "o", "markersize": 3, "elinewidth": 0.9, **series.style}
            ends = np.nan_to_num([value - low, high - value])
            axes.errorbar(value, lines + shift, xerr=ends.clip(min=0), label=series.label, **how)
        axes.set_ylim(-0.7, len(lines) - 0.3)
        axes.set_yticks(lines, panel.names)
        if panel.line is not None:
            axes.axvline(panel.line, color="grey", linewidth=0.6, zorder=0)
        axes.set(xlim=panel.span)


def matrices(panels: Sequence[Panel], file: Path, columns: int = 1) -> None:
    """Draw values as coloured squares, a row for each series, a column for each name.

    Few squares have their numbers in them, many a scale beside them. What has no name is not marked on the axes.
    """
    widest = max(len(panel.names) for panel in panels)
    side = 0.07 if widest > NUMBERED else 0.45 if columns == 1 else 0.3
    width = side * widest + (2.5 if columns == 1 else 0.7)

    def height(panel: Panel) -> float:
        return (0.24 if len(panel.series) <= NUMBERED else 0.07) * len(panel.series) + 1.5

    for axes, panel, _ in _frames(panels, file, columns, width, height, names=_labels):
        value = np.array([series.table[0] for series in panel.series])
        low, high = panel.span or (0.0, 1.0)
        image = axes.imshow(value, vmin=low, vmax=high, cmap="viridis", aspect="auto")
        if len(panel.names) > NUMBERED:
            axes.figure.colorbar(image, ax=axes).ax.tick_params(labelsize="x-small")
        for (row, column), number in np.ndenumerate(value) if len(panel.names) <= NUMBERED else ():
            if np.isnan(number):
                continue
            colour = "black" if number > low + 0.6 * (high - low) else "white"
            text = f"{number:.2f}".removeprefix("0")
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=6)
        axes.set_xticks(*_named(panel.names), rotation=90)
        axes.set_yticks(*_named(_labels(panel)))


def clouds(panels: Sequence[Panel], file: Path, columns: int = 1) -> None:
    """Draw values over places as points in the plane, the first series on top."""
    for axes, panel, colours in _frames(panels, file, columns, 5.5, lambda _: 5):
        for place, series in enumerate(panel.series):
            how = {"s": 7, "linewidths": 0, "color": colours[series.label], **series.style}
            axes.scatter(series.at, series.table[0], label=series.label, zorder=99 - place, **how)
        axes.set_axis_off()


def written_out(value: float, place: int | None = None) -> str:
    """Return a number of a logarithmic axis without an exponent.

    >>> written_out(5e-05), written_out(20.0)
    ('0.00005', '20')
    """
    return np.format_float_positional(value, precision=4, fractional=False, trim="-")


def in_words(panels: Sequence[Panel]) -> list[str]:
    """Return the numbers of the panels, a line for each series."""
    lines = []
    for panel in panels:
        lines.append(panel.title.replace(",\n", ", ").replace("\n", ", "))
        lines += [f"  {line}" for line in panel.words]
        for series in panel.series if not panel.words else ():
            value = series.table[0]
            names = panel.names or (range(len(value)) if series.at is None else [f"{at:g}" for at in series.at])
            known = [f"{name} {number:.3f}" for name, number in zip(names, value, strict=True) if number == number]
            if 0 < len(known) <= WORDY:
                lines.append(f"  {series.label}: {', '.join(known)}")
    return lines


def save_figure(figure: Figure, file: Path) -> None:
    """Write an SVG, the same for the same numbers, or a small PNG, by the name of the file."""
    if file.suffix == ".png":
        atomic_write(file, partial(_write_png, figure))
    else:
        write_svg(figure, file)


def _write_png(figure: Figure, file: Path) -> None:
    """Write 64 colours: a picture of lines and letters takes a third of the bytes."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=80)
    Image.open(drawn).convert("RGB").quantize(64).save(file, format="PNG", optimize=True)


def _frames(
    panels: Sequence[Panel],
    file: Path,
    columns: int,
    width: float,
    height: Callable[[Panel], float],
    *,
    names: Callable[[Panel], Sequence[str]] | None = None,
    **shared: Any,
) -> Iterator[tuple[Any, Panel, dict[str, Any]]]:
    """Yield axes, panel and the colours of all labels, frame by frame; then add a legend, and write the file.

    Colours are those of `COLOURS`; ``names`` are those on the left, written once for a line.
    """
    lines: list[list[Panel]] = []
    for _, members in groupby(panels, lambda panel: panel.row):
        whole = list(members)
        lines += [whole[start : start + columns] for start in range(0, len(whole), columns)]
    across = max(map(len, lines))
    heights = [max(map(height, line)) for line in lines]
    figure = Figure(figsize=(width * across + (1.5 if names else 0.5), sum(heights) + 0.4), layout="constrained")
    grid = figure.subplots(len(lines), across, squeeze=False, height_ratios=heights, **shared)
    labels = dict.fromkeys(series.label for panel in panels for series in panel.series)
    colours = {label: to_rgb(COLOURS[label]) for label in labels if label in COLOURS}
    free = cycle(colour for colour in PALETTE if colour not in colours.values())
    colours |= {label: next(free) for label in labels if label not in colours}
    for row, line in zip(grid, lines, strict=True):
        for axes in row[len(line) :]:
            axes.set_axis_off()
        for axes, panel in zip(row, line, strict=False):
            axes.set_title(panel.title, fontsize="small" if across < 4 else "x-small")
            axes.tick_params(labelsize="x-small")
            axes.set(**panel.axes)
            for axis in (axes.xaxis, axes.yaxis):
                axis.label.set_size("small")
            if names and panel is not line[0] and names(panel) == names(line[0]):
                axes.tick_params(labelleft=False)
            yield axes, panel, colours
    marks = {
        label: mark for axes in grid.flat for mark, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if len(marks) > 1:
        across = max(1, min(len(marks), int(figure.get_figwidth() / 1.4)))
        figure.legend([*marks.values()], [*marks], loc="outside lower center", ncols=across, fontsize="x-small")
    save_figure(figure, file)


def _boxes(axes: Any, places: np.ndarray, values: Sequence[Value], colour: Any) -> None:
    keys, lines = ("whislo", "q1", "med", "q3", "whishi"), {"color": colour, "linewidth": 1.0}
    there = [place for place, value in enumerate(values) if value is not None]
    boxes = [dict(zip(keys, values[place], strict=True)) for place in there]
    parts = ("boxprops", "whiskerprops", "capprops", "medianprops")
    how = {"showfliers": False, "manage_ticks": False, **dict.fromkeys(parts, lines)}
    axes.bxp(boxes, positions=places[there], widths=0.6, **how)


def _named(names: Sequence[str]) -> tuple[list[int], list[str]]:
    """Return the places that have a name, and their names."""
    places = [place for place, name in enumerate(names) if name]
    return places, [names[place] for place in places]


def _labels(panel: Panel) -> Sequence[str]:
    return [series.label for series in panel.series]


def _crowded(panel: Panel) -> bool:
    """Whether several series have a value at one place."""
    there = [~np.isnan(series.table[0]) for series in panel.series]
    return bool(np.sum(there, axis=0).max(initial=0) > 1)
