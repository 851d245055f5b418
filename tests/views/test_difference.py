"""What two paths share."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import effpath
from digits_net import data, graph, noisy
from effpath.errors import InputError, OptionError
from effpath.kernels.options import make_options
from effpath.views.difference import difference
from effpath.views.pixels import pixel_maps
from effpath.walk import visit as visiting
from effpath.walk.recording import record


def pair() -> torch.Tensor:
    return torch.cat([data().test_images[7:8], noisy(data().test_images[7:8])])


def test_an_image_and_itself_share_everything():
    found = difference(graph(), data().test_images[[3, 3]])
    assert found.total.jaccard == 1
    assert found.pixel_shares.jaccard == 1
    for layer in found.layers:
        assert layer.synapses.first == layer.synapses.second == layer.neurons.first == layer.neurons.second == 0
        assert layer.first_channels == layer.second_channels == ()


def test_shares_are_those_of_the_sets():
    found = difference(graph(), pair())
    paths = effpath.extract(graph(), pair())
    one, two = paths
    assert found.labels == found.predicted == tuple(paths.classes)
    assert [layer.layer for layer in found.layers] == [layer.name for layer in paths.header.layers]
    for level in ("synapses", "neurons"):
        jaccards = one.layer_jaccard(two, level)
        for layer in found.layers:
            shares = getattr(layer, level)
            assert shares.jaccard == pytest.approx(jaccards[layer.layer], nan_ok=True)
            first, second = one.sets(level)[layer.layer], two.sets(level)[layer.layer]
            assert (shares.both, shares.first) == (len(first & second), len(first - second))
            assert shares.second == len(second - first)
    assert found.total.jaccard == pytest.approx(one.jaccard(two))
    pixels = [set(paths.pixels[row].tolist()) for row in (0, 1)]
    assert found.pixel_shares.both == len(pixels[0] & pixels[1])
    jaccards = one.layer_jaccard(two)
    assert found.most_shared.layer == max(jaccards, key=jaccards.get)
    assert found.least_shared.layer == min(jaccards, key=jaccards.get)


def test_channels_of_one_alone_are_used_by_it_and_not_by_the_other():
    found = difference(graph(), pair())
    paths = effpath.extract(graph(), pair())
    for layer in found.layers:
        own = [np.unique(path.neurons[layer.layer].ids // positions(layer.layer)) for path in paths]
        used = [np.unique(path.pairs(layer.layer)[0] // positions(layer.layer)) for path in paths]
        assert set(layer.first_channels) == set(used[0].tolist()) - set(used[1].tolist())
        assert set(layer.second_channels) == set(used[1].tolist()) - set(used[0].tolist())
        assert set(used[0].tolist()) <= set(own[0].tolist())


def positions(layer: str) -> int:
    return {"conv1": 64, "conv2": 16}.get(layer, 1)


@pytest.mark.parametrize("layers", [None, 2])
def test_the_path_of_each_image_is_walked_once_and_its_pixels_are_those_that_it_reads(layers, monkeypatch):
    walks, own = [], visiting.walk
    monkeypatch.setattr(visiting, "walk", lambda *given, **how: walks.append(1) or own(*given, **how))
    found = difference(graph(), pair(), layers=layers)
    assert len(walks) == 2
    for pixels, image in zip(found.pixels, pair(), strict=True):
        recorded = record(graph(), image[None], options=make_options("default"))
        np.testing.assert_array_equal(pixels, pixel_maps(recorded)[0])


def test_both_paths_can_start_from_one_class_and_only_some_layers_be_compared():
    found = difference(graph(), pair(), start=4, layers=2, theta=0.3)
    assert found.labels == (4, 4)
    assert [layer.layer for layer in found.layers] == ["fc2", "fc3"]
    one, two = effpath.extract(graph(), pair(), classes=[4, 4], theta=0.3)
    assert found.layers[0].synapses.jaccard == one.layer_jaccard(two)["fc2"]


def test_it_is_json():
    values = json.loads(json.dumps(difference(graph(), pair(), names=("a", "b")).to_dict()))
    assert values["images"] == ["a", "b"]
    assert values["layers"][0]["synapses"].keys() == {"jaccard", "both", "first", "second"}


def test_another_number_of_images_and_a_class_that_is_none_are_refused():
    with pytest.raises(InputError, match="expected two images to compare, got 3"):
        difference(graph(), data().test_images[:3])
    with pytest.raises(OptionError):
        difference(graph(), pair(), start=10)
