"""Figures and images as parts of the page: a figure twice, for wide windows and for phones, in the page's colours.

Matplotlib is imported only when a figure is drawn, and its global state is left alone.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from effpath.demo.result import DemoResult, Example
from effpath.views.page.pictures import picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from effpath.demo.report.charts import Chart

# A figure is drawn in these, and no colour scale has them; `as_variables` makes variables of them. Of the groups'
# colours, by Okabe and Ito, colour-blind readers can tell all apart; line styles and markers repeat them.
INK, MUTED, LINE, EDGE, CARD, CLEAN = (f"#fe01{place:02x}" for place in range(6))
GROUPS = tuple(f"#fe02{place:02x}" for place in range(6))
_NAMES = {INK: "ink", MUTED: "muted", LINE: "line", EDGE: "edge", CARD: "card", CLEAN: "clean"}
_NAMES |= {tone: f"group-{place}" for place, tone in enumerate(GROUPS)}
WIDE, NARROW = 11.0, 10.5  # size of text; a unit of a drawing is about a pixel of the window that it is for
_RC = {
    "font.family": ["DejaVu Sans", "sans-serif"], "figure.facecolor": "none", "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": EDGE, "axes.facecolor": "none",
    "axes.grid": True, "axes.axisbelow": True, "axes.labelcolor": INK, "axes.titlelocation": "left",
    "grid.color": LINE, "text.color": INK, "xtick.color": INK, "ytick.color": INK, "text.parse_math": False,
    "svg.fonttype": "none", "svg.hashsalt": "effpath",
}  # fmt: skip


def tone(result: DemoResult, group: str) -> str:
    """Return the colour of a group to draw with: the same in every figure."""
    return CLEAN if group == "clean" else GROUPS[place(result, group) % len(GROUPS)]


def place(result: DemoResult, group: str) -> int:
    """Return the place of an attack among the attacks."""
    return [attack.name for attack in result.attacks].index(group)


def as_variables(text: str) -> str:
    """Return the text with variables of the style sheet, which knows light and dark, for the colours.

    >>> as_variables("fill: #fe0100")
    'fill: var(--ink)'
    """
    return re.sub("#fe0[12][0-9a-f]{2}", lambda found: f"var(--{_NAMES[found[0]]})", text)


def figure(narrow: bool, wide_size: tuple[float, float], narrow_size: tuple[float, float]) -> Figure:
    """Return an empty figure of one of two sizes, each (width, height) in about pixels."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    width, height = narrow_size if narrow else wide_size
    return Figure(figsize=(width / 72, height / 72), layout=ConstrainedLayoutEngine(w_pad=6 / 72, h_pad=4 / 72))


class Drawing(NamedTuple):
    """A figure as SVG.

    Attributes:
        kind: ``wide`` or ``narrow``; the style sheet shows one of the two.
        box: its view box.
        body: what is inside of the ``svg`` element, and the end of it.
    """

    kind: str
    box: str
    body: str


def drawn(chart: Chart) -> list[Drawing]:
    """Return a chart's drawing for wide windows, and that for phones."""
    return [_drawing(chart, narrow) for narrow in (False, True)]


def _drawing(chart: Chart, narrow: bool) -> Drawing:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    with matplotlib.rc_context():  # the user's settings return afterwards
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**_RC, "font.size": NARROW if narrow else WIDE})
        canvas = FigureCanvasSVG(chart.draw(narrow))
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})  # `savefig` would draw all twice
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<(metadata|style|clipPath)\b.*?</\1>", "", text, flags=re.S)
    text = re.sub(r' clip-path="[^"]*"|<defs>\s*</defs>', "", text)  # nothing drawn reaches past its axes
    box = re.search(r'viewBox="([^"]*)"', text)
    assert box is not None
    body = text[text.index(">") + 1 :].strip().replace("xlink:href", "href")
    used = set(re.findall(r'href="#([^"]*)"', body))
    kind = "narrow" if narrow else "wide"
    start = f"{chart.key}-{kind}-"
    body = re.sub(
        r' id="([^"]*)"', lambda found: f' id="{start}{found[1]}"' if found[1] in used else "", body
    ).replace('href="#', f'href="#{start}')
    return Drawing(kind, box[1], as_variables(re.sub(r"\s*\n\s*", "\n", body)))


class Picture(NamedTuple):
    """An image of the report: its class of the style sheet, its PNG, its name, and what it shows."""

    kind: str
    data: str
    name: str
    text: str


def pictures(example: Example) -> list[Picture]:
    """Return the clean image, the adversarial one, and the difference."""
    change, times = difference(example)
    colour = len(example.clean) == 3
    return [
        Picture("pixels", picture(example.clean), "clean", f"read as {example.label}"),
        Picture("pixels", picture(example.adversarial), example.attack, f"read as {example.predicted}"),
        Picture(
            "pixels" if colour else "pixels change",
            picture(change),
            f"difference × {times:.1f}",
            "grey: unchanged" if colour else "orange: brighter, blue: darker",
        ),
    ]


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
