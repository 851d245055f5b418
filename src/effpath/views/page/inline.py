"""Figures as parts of a page: each is drawn twice, for wide windows and for phones, in the page's colours.

Matplotlib is imported only when a figure is drawn, and its global state is left alone.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


@dataclass(frozen=True)
class Chart:
    """A drawing with its words.

    Attributes:
        draw: gives the drawing; its argument says whether it is for a phone.
        key: of this chart alone, for ids.
        title: what is drawn.
        size: n.
        alt: what it shows, for readers who cannot see it.
        see: a sentence or two that say what to see.
    """

    draw: Callable[[bool], Figure]
    key: str
    title: str
    size: str
    alt: str
    see: str


def as_variables(text: str) -> str:
    """Return the text with variables of the style sheet, which knows light and dark, for the colours.

    >>> as_variables("fill: #fe0100")
    'fill: var(--ink)'
    """
    return re.sub("#fe0[12][0-9a-f]{2}", lambda found: f"var(--{_NAMES[found[0]]})", text)


def empty_figure(narrow: bool, wide_size: tuple[float, float], narrow_size: tuple[float, float]) -> Figure:
    """Return an empty figure of one of two sizes, each (width, height) in about pixels."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    width, height = narrow_size if narrow else wide_size
    return Figure(figsize=(width / 72, height / 72), layout=ConstrainedLayoutEngine(w_pad=6 / 72, h_pad=4 / 72))


def ticks(names: Sequence[str], most: int, longest: int, room: int) -> tuple[NDArray[Any], list[str], bool]:
    """Return the places of at most so many names, the names, cut short, and whether they are to be tilted."""
    step = -(-len(names) // most)
    shown = [name if len(name) <= longest else f"{name[: longest - 1]}…" for name in names[::step]]
    return np.arange(0, len(names), step), shown, max(map(len, shown)) * len(shown) > room


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
    body = re.sub(r'data:image/png;base64,([^"]*)', with_palette, body)
    used = set(re.findall(r'href="#([^"]*)"', body))
    kind = "narrow" if narrow else "wide"
    start = f"{chart.key}-{kind}-"
    body = re.sub(
        r' id="([^"]*)"', lambda found: f' id="{start}{found[1]}"' if found[1] in used else "", body
    ).replace('href="#', f'href="#{start}')
    return Drawing(kind, box[1], as_variables(re.sub(r"\s*\n\s*", "\n", body)))


def with_palette(found: re.Match[str]) -> str:
    """Return a PNG of at most 256 colours with one byte per pixel, not four; any other as it is.

    Args:
        found: the data URI, with what is coded in base 64 as its group.
    """
    from PIL import Image

    pixels = np.array(Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("RGBA"))  # [H, W, 4]
    colours, places = np.unique(pixels.view(np.uint32), return_inverse=True)
    if len(colours) > 256:
        return found[0]
    palette = colours.view(np.uint8).reshape(-1, 4)
    picture = Image.fromarray(places.reshape(pixels.shape[:2]).astype(np.uint8))
    picture.putpalette(palette[:, :3].tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True, transparency=palette[:, 3].tobytes())
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
