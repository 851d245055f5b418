"""Figures as SVG files, the same bytes for the same numbers, whichever process writes them."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from effpath.files.cache import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_svg(figure: Figure, file: Path, *, dpi: float | str = "figure") -> None:
    """Write a figure to an SVG file, atomically: without a date, and with numbers as names of its clip paths.

    Matplotlib names a clip path by where it is, to the last bit. The solver of its layout leaves that bit to the
    addresses of objects, which differ between processes.

    Args:
        figure: what is written; text as Matplotlib's settings say.
        file: where.
        dpi: of the images in it; the figure's own if not given.

    Raises:
        StoreError: the file cannot be written; an older one is left as it was.
    """
    import matplotlib

    drawn = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "effpath"}):
        figure.savefig(drawn, format="svg", dpi=dpi, metadata={"Date": None})
    text = drawn.getvalue()
    for number, name in enumerate(re.findall(r'<clipPath id="([^"]+)"', text)):
        text = text.replace(name, f"clip{number}")
    atomic_write(file, lambda temporary: temporary.write_bytes(text.encode()))
