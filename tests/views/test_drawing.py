"""What is drawn of a path is the path."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import effpath
from digits_net import data, graph
from effpath.errors import InputError, OptionError
from effpath.views.drawing import draw_path
from effpath.walk import visit as visiting


class Block(nn.Module):
    """A network with all that joins rows: an addition, a concatenation, poolings, a flip of the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.left = nn.Conv2d(6, 6, 3, padding=1)
        self.right = nn.Conv2d(6, 2, 1)
        self.out = nn.Linear(8 * 16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x.flip(1)))
        both = torch.cat([torch.relu(self.left(x) + x), self.right(x)], 1)
        return self.out(F.avg_pool2d(both, 2).flatten(1))


@pytest.fixture(scope="module")
def block():
    torch.manual_seed(0)
    image = torch.rand(3, 8, 8)
    return effpath.capture(Block().eval(), image[None]), image


BY = pytest.mark.parametrize("by", ["neurons", "channels"])


def cases(block):
    return [block, (graph(), data().test_images[5])]


@BY
def test_every_synapse_is_on_a_line_or_left_out(block, by):
    for made, image in cases(block):
        found = draw_path(made, image, by=by)
        path = effpath.extract(made, image[None], include_auxiliary=True)[0]
        assert [row.name for row in found.rows] == ["image", *(layer.name for layer in path.header.layers)]
        for place, row in enumerate(found.rows[1:], 1):
            lines = [lines for lines in found.lines if lines.row == place]
            assert row.synapses == len(path.synapses[row.name])
            assert sum(int(part.synapses.sum()) + part.left_out for part in lines) == row.synapses
        plain = effpath.extract(made, image[None])[0]
        assert found.density == plain.density()


@BY
def test_a_line_joins_a_node_of_its_row_with_one_of_an_earlier_row(block, by):
    for made, image in cases(block):
        found = draw_path(made, image, by=by)
        for lines in found.lines:
            assert lines.source < lines.row
            assert set(lines.outputs.tolist()) <= set(found.rows[lines.row].nodes.tolist())
            assert set(lines.inputs.tolist()) <= set(found.rows[lines.source].nodes.tolist())


def test_nodes_are_the_neurons_or_the_channels_that_have_one(block):
    made, image = block
    path = effpath.extract(made, image[None], include_auxiliary=True)[0]
    for row in draw_path(made, image, by="neurons").rows[1:]:
        assert np.array_equal(row.nodes, path.neurons[row.name].ids)
        assert np.prod(row.shape) == row.neurons
    for row in draw_path(made, image, by="channels").rows[1:]:
        channels = path.neurons[row.name].ids // (row.neurons // row.shape[0])
        assert np.array_equal(row.nodes, np.unique(channels))
        assert np.array_equal(row.weights, np.bincount(channels)[row.nodes])


def test_an_addition_is_joined_with_both_of_its_operands(block):
    made, image = block
    found = draw_path(made, image, by="neurons", theta=1)
    names = [row.name for row in found.rows]
    added = next(at for at, row in enumerate(found.rows) if row.operator == "add")
    assert found.rows[added].shape == (6, 8, 8)
    sources = {names[lines.source] for lines in found.lines if lines.row == added}
    assert sources == {"left", "first"}


def test_small_networks_are_drawn_by_neurons_and_the_pixels_are_those_of_the_path():
    found = draw_path(graph(), data().test_images[5])
    assert found.by == "neurons"
    paths = effpath.extract(graph(), data().test_images[5:6])
    assert np.array_equal(found.rows[0].nodes, paths.pixels[0])
    assert found.label == found.predicted == paths.classes[0]


def test_large_ones_by_channels_with_the_strongest_lines(monkeypatch):
    monkeypatch.setattr("effpath.views.drawing.MOST_SYNAPSES", 10)
    monkeypatch.setattr("effpath.views.drawing.LINES", 5)
    found = draw_path(graph(), data().test_images[5], theta=0.9)
    assert found.by == "channels"
    assert max(len(lines.outputs) for lines in found.lines) == 5
    assert found.left_out > 0
    monkeypatch.setattr("effpath.views.drawing.LINES", 10**6)
    whole = draw_path(graph(), data().test_images[5], theta=0.9)
    assert whole.left_out == 0
    for some, every in zip(found.lines, whole.lines, strict=True):
        strongest = np.sort(every.synapses)[::-1][: len(some.synapses)]
        assert np.array_equal(np.sort(some.synapses)[::-1], strongest)


def test_it_starts_from_the_class_asked_for():
    image = data().test_images[5]
    second = draw_path(graph(), image, rank=2)
    assert second.label == effpath.extract(graph(), image[None], rank=2).classes[0] != second.predicted
    assert draw_path(graph(), image, start=3).label == 3


def test_it_is_json():
    for by in ("neurons", "channels"):
        values = json.loads(json.dumps(draw_path(graph(), data().test_images[5], by=by).to_dict()))
        assert values["by"] == by
        assert len(values["rows"]) == 8


def test_several_images_and_other_ways_to_draw_are_refused():
    with pytest.raises(InputError, match="expected one image to draw the path of, got 2"):
        draw_path(graph(), data().test_images[:2])
    with pytest.raises(OptionError, match="expected neurons or channels to draw, got 'weights'"):
        draw_path(graph(), data().test_images[0], by="weights")
    with pytest.raises(OptionError):
        draw_path(graph(), data().test_images[0], start=10)


def test_the_path_of_a_drawing_is_walked_once(block, monkeypatch):
    walks, own = [], visiting.walk
    monkeypatch.setattr(visiting, "walk", lambda *given, **how: walks.append(1) or own(*given, **how))
    for made, image in cases(block):
        walks.clear()
        draw_path(made, image)
        assert len(walks) == 1
