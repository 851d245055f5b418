"""The pictures of the gallery: what they show, and that the page names what draws them."""

from __future__ import annotations

import io
import re
import shlex
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from PIL import Image

import digits_net
import gallery
import path_picture
from digits_net import class_paths, data, graph, noisy
from effpath.errors import InputError
from effpath.images import PictureFormat, load_images
from effpath.views.drawing import draw_path
from gallery import COMMANDS, LARGEST, PICTURES, Making, slice_figure, write_png
from path_picture import INSIDE, OUTSIDE, outside_of, paths_figure, placed

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = re.compile(r"!\[([^\]]*)\]\((?:docs/)?pictures/([\w.-]+)\)")


def image() -> torch.Tensor:
    return noisy(data().test_images[7:8])[0]


# ---------------------------------------------------------------- the path of the README


def test_what_lies_outside_is_what_the_class_path_lacks() -> None:
    found = draw_path(graph(), image())
    outside = outside_of(graph(), image(), found.label, class_paths())
    assert list(outside) == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    rows = {row.name: row for row in found.rows}
    members = class_paths()[found.label]
    for name, (outputs, inputs, neurons) in outside.items():
        both = set(zip(*(ids.tolist() for ids in members.pairs(name)), strict=True))
        assert both.isdisjoint(zip(outputs.tolist(), inputs.tolist(), strict=True))
        assert len(outputs) <= rows[name].synapses
        assert set(neurons.tolist()) <= set(rows[name].nodes.tolist())
    assert sum(len(outputs) for outputs, _, _ in outside.values()) > 0


def test_every_synapse_is_drawn_in_the_colour_of_where_it_lies() -> None:
    figure = paths_figure(graph(), class_paths(), {"one": image(), "two": data().test_images[7]}, "0123456789")
    for axes, pixels in zip(figure.axes, (image(), data().test_images[7]), strict=True):
        drawing = draw_path(graph(), pixels)
        outside = outside_of(graph(), pixels, drawing.label, class_paths())
        counted = {INSIDE: 0, OUTSIDE: 0}
        for lines in axes.collections:
            if isinstance(lines, LineCollection) and len(lines.get_segments()):
                colour = "#{:02x}{:02x}{:02x}".format(*(round(255 * part) for part in lines.get_color()[0][:3]))
                counted[colour] = counted.get(colour, 0) + len(lines.get_segments())
        strange = sum(len(outputs) for outputs, _, _ in outside.values())
        assert counted[OUTSIDE] == strange
        assert counted[INSIDE] == sum(row.synapses for row in drawing.rows if row.name in outside) - strange
        assert sum(counted.values()) == drawing.synapses
        assert f"taken for {drawing.predicted}" in axes.get_title(loc="left")


def test_neurons_lie_inside_the_drawing_and_rows_do_not_overlap() -> None:
    rows = placed(draw_path(graph(), image()).rows)
    for one, other in pairwise(rows):
        assert one.bottom + path_picture.GAP == pytest.approx(other.top)
    for one in rows:
        every = one.corners(np.arange(np.prod(one.row.shape)))
        assert len(np.unique(every.round(6), axis=0)) == len(every)
        assert every.min() >= 0
        assert every[:, 0].max() + one.cell <= path_picture.WIDTH


# ---------------------------------------------------------------- pictures


def test_the_slice_is_drawn_with_its_numbers() -> None:
    found = {
        "weights": {"conv1.weight": {"all": 10, "kept": 5}, "fc.weight": {"all": 90, "kept": 15}},
        "keep": [{"class": 3, "name": "3"}, {"class": 5, "name": ""}],
        "images": 12,
        "accuracy": [{"network": "whole", "among_all": 0.9, "among_kept": 1.0}],
    }
    kept, right = slice_figure(found).axes
    assert kept.get_xlabel() == "weights kept, % (20 % in all)"
    assert kept.get_title(loc="left") == "LeNet-5, classes 3, 5"
    assert "n = 12" in right.get_title(loc="left")
    assert [text.get_text() for text in right.texts] == ["90.0", "100.0"]


def test_a_picture_is_small_or_has_fewer_colours(tmp_path: Path) -> None:
    plain = Image.new("RGB", (300, 200), "white")
    write_png(plain, tmp_path / "plain.png")
    assert Image.open(tmp_path / "plain.png").convert("RGB").getpixel((5, 5)) == (255, 255, 255)
    noise = np.random.default_rng(0).integers(0, 255, (500, 900, 3), dtype=np.uint8)
    write_png(Image.fromarray(noise), tmp_path / "noise.png")
    assert len(Image.open(tmp_path / "noise.png").getcolors()) <= 32


def test_results_that_are_missing_are_named(tmp_path: Path) -> None:
    making = Making(tmp_path, tmp_path)
    with pytest.raises(InputError, match=r"attributions/lenet_digits\.json; studies/attributions\.py makes it"):
        making.result("lenet_digits")
    with pytest.raises(InputError, match=r"expected results of studies/attributions\.py"):
        PICTURES["faithfulness.svg"](making, tmp_path / "x.svg")


def test_the_digit_is_flagged_only_when_it_is_attacked_and_is_what_its_picture_holds(
    tmp_path: Path, monkeypatch
) -> None:
    pytest.importorskip("foolbox")
    monkeypatch.setattr(gallery, "train_lenet", lambda data, seed: digits_net.model())
    making = Making(tmp_path, tmp_path)
    clean, attacked = making.detector.detect(making.pair)
    assert (clean.predicted, clean.flagged, attacked.flagged) == (gallery.DIGIT, False, True)
    assert attacked.predicted != gallery.DIGIT
    files = [making.files / f"{name}.png" for name in ("three", "attacked")]
    images, _ = load_images(files, PictureFormat(1, 8, 8))
    assert torch.equal(images[:], making.pair)
    assert {"lenet.py", "lenet.safetensors", "guard.safetensors"} <= {file.name for file in tmp_path.iterdir()}


# ---------------------------------------------------------------- the page


def test_every_picture_is_shown_and_every_shown_one_is_drawn() -> None:
    shown = [name for _, name in SHOWN.findall(PAGE + README)]
    assert sorted(shown) == sorted(PICTURES)


def test_every_picture_has_a_description_and_a_sentence_that_says_what_to_see() -> None:
    for text, name in SHOWN.findall(PAGE + README):
        assert len(text) > 60, name
    for _, name in SHOWN.findall(PAGE):
        behind = PAGE.partition(f"(pictures/{name})")[2].lstrip()
        assert behind.startswith("What to see: "), name


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_there_and_below_300_kb(name: str) -> None:
    file = ROOT / "docs" / "pictures" / name
    assert 1000 < file.stat().st_size < LARGEST
    if file.suffix == ".png":
        image = Image.open(io.BytesIO(file.read_bytes()))
        assert 500 <= image.width <= 1600


def test_the_commands_of_the_page_are_those_that_were_run() -> None:
    fences = "\n".join(re.findall(r"^```\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    lines = [shlex.split(line) for line in fences.replace("\\\n", " ").splitlines()]
    for command in COMMANDS.values():
        assert shlex.split(command) in lines
