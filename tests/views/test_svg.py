"""SVG files are the same bytes for the same numbers, whichever process writes them."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from effpath.views.page.svg import write_svg
from scenes import explanations

SCRIPT = """
import pickle, sys
from pathlib import Path
from effpath.views.page.figure import write_figure

write_figure(pickle.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]))
"""


def test_two_processes_write_the_same_figure(tmp_path: Path) -> None:
    found = [replace(one, verdict=replace(one.verdict, _explained=tuple)) for one in explanations()[:2]]
    (tmp_path / "found").write_bytes(pickle.dumps(found))
    files = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for seed, file in enumerate(files):
        given = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": str(seed)}
        subprocess.run([sys.executable, "-c", SCRIPT, tmp_path / "found", file], env=given, check=True)
    one, two = (file.read_bytes() for file in files)
    assert one == two
    assert b"<dc:date>" not in one


def drawn(left: float, file: Path) -> str:
    figure = Figure(figsize=(2, 2))
    for bottom in (0.1, 0.6):
        axes = figure.add_axes((left, bottom, 0.7, 0.3))
        axes.plot([0, 1])
        axes.set_axis_off()
    write_svg(figure, file)
    return file.read_text("utf-8")


def test_the_last_bits_of_a_place_are_not_in_the_file(tmp_path: Path) -> None:
    one, two = (drawn(left, tmp_path / "figure.svg") for left in (0.1, 0.1 + 1e-12))
    assert one == two
    for name in ("clip0", "clip1"):
        assert one.count(f'<clipPath id="{name}">') == one.count(f"url(#{name})") == 1
