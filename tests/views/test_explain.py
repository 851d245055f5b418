"""An explanation says what the detector computed, taken apart; its parts add up."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import effpath
from digits_net import auxiliary_of, class_paths, data, graph, noisy
from effpath import ClassPaths
from effpath.detect.explain import feature_suspicion
from effpath.detect.signs.profiles import PROFILES
from effpath.errors import InputError, OptionError
from effpath.views import explain as explaining
from effpath.views import pixels
from effpath.views.explanation import Explanation
from effpath.walk.visit import paths_of

KINDS = ("linear", "clean", "surprise", *PROFILES)
LAYERS = ("conv1", "conv2", "fc1", "fc2", "fc3")


def detector(kind: object = "linear", paths: ClassPaths | None = None) -> effpath.Detector:
    images = data().test_images
    made = effpath.Detector(graph(), paths or class_paths(), kind=kind, auxiliary=auxiliary_of(kind))
    made.fit(images[:60], None if made.clean_only else noisy(images[60:120]))
    return made.calibrate(images[120:400], fpr=0.1)


def images() -> torch.Tensor:
    return torch.cat([data().test_images[400:404], noisy(data().test_images[404:410])])


@pytest.fixture(scope="module", params=KINDS)
def found(request: pytest.FixtureRequest) -> tuple[effpath.Detector, list[Explanation]]:
    made = detector(request.param)
    return made, effpath.explain(made, images())


def test_verdicts_are_those_of_the_detector(found):
    made, explained = found
    verdicts = made.detect(images())
    assert [one.verdict for one in explained] == list(verdicts)
    assert [one.verdict.reasons for one in explained] == list(verdicts.reasons)
    assert {(one.threshold, one.fpr) for one in explained} == {(made.threshold, 0.1)}
    assert np.array_equal(explained[5].image, images()[5].numpy())


def test_similarity_is_the_share_of_synapses_inside_and_channels_have_all_that_is_outside(found):
    _, explained = found
    paths = effpath.extract(graph(), images())
    values = class_paths().similarity(paths)
    for row, one in enumerate(explained):
        assert tuple(layer.layer for layer in one.layers) == LAYERS
        for column, layer in enumerate(one.layers):
            assert layer.synapses == len(paths[row].synapses[layer.layer])
            assert layer.similarity == pytest.approx(values[row, column], abs=1e-12)
            assert layer.similarity == pytest.approx(1 - layer.outside / layer.synapses, abs=1e-12)
            outside = [channel.outside for channel in layer.channels]
            assert outside == sorted(outside, reverse=True)
            assert all(0 < channel.outside <= channel.synapses for channel in layer.channels)
            assert sum(outside) == layer.outside or len(outside) == 20


def test_channels_are_those_of_the_synapses_outside_the_class_path(found):
    _, explained = found
    one = explained[6]
    path = effpath.extract(graph(), images()[6:7])[0]
    outside = path.synapses["conv2"] - class_paths()[one.verdict.predicted].synapses["conv2"]
    outputs, _ = graph_layer("conv2").window.ends(torch.from_numpy(outside.ids))
    positions = graph_layer("conv2").window.positions
    counted = np.bincount(outputs.numpy() // positions, minlength=16)
    layer = one.layers[1]
    assert layer.outside > 0
    assert {channel.channel: channel.outside for channel in layer.channels} == {
        channel: count for channel, count in enumerate(counted.tolist()) if count
    }


def graph_layer(name):
    return class_paths().header.layer(name)


def test_what_layers_and_channels_add_is_what_the_similarities_add(found):
    made, explained = found
    if made.kind in PROFILES:
        assert all(layer.added is None for one in explained for layer in one.layers)
        return
    features = made.features(images(), paths=True)
    added = feature_suspicion(made.scoring, made.read(features), features)
    names = features.names
    for row, one in enumerate(explained):
        for column, layer in enumerate(one.layers):
            own = [at for at, name in enumerate(names) if name.endswith(f":{layer.layer}")]
            assert layer.added == pytest.approx(added[row, own].sum(), abs=1e-12)
            if 0 < len(layer.channels) < 20:
                parts = sum(channel.added for channel in layer.channels)
                assert parts == pytest.approx(added[row, column], abs=1e-12)
        strengths = [channel.added for channel in one.strongest_channels()]
        assert strengths == sorted(strengths, reverse=True)
        assert all(strength > 0 for strength in strengths)


def test_bands_are_those_of_the_class_among_the_calibration_images(found):
    made, explained = found
    clean = made.features(data().test_images[120:400], paths=True)
    for one in explained:
        label = one.verdict.predicted
        own = clean.classes[:, 0] == label
        assert own.sum() >= 20
        assert (one.band_images, one.band_label) == (int(own.sum()), label)
        for column, layer in enumerate(one.layers):
            values = clean.values[own, column]
            expected = np.quantile(values[~np.isnan(values)], (0.05, 0.5, 0.95))
            assert (layer.low, layer.median, layer.high) == tuple(expected)
            assert layer.below == (layer.similarity < layer.low)


def test_pixel_paths_are_those_of_the_predicted_class_and_of_the_runner_up(found):
    _, explained = found
    for rank in (1, 2):
        paths = effpath.extract(graph(), images(), rank=rank)
        for row, one in enumerate(explained):
            path = one.pixels[rank - 1]
            assert path.label == paths.classes[row]
            assert np.array_equal(np.flatnonzero(path.counts), paths.pixels[row])
            assert path.share == len(paths.pixels[row]) / 64


def test_one_walk_for_the_predicted_class_and_one_for_the_runner_up(monkeypatch):
    made = detector()
    asked = images()[:1]
    expected = effpath.explain(made, asked)[0]
    starts: list[int] = []
    for module in (explaining, pixels):

        def counted(recorded, *, classes, rank=1):
            starts.extend(classes)
            return paths_of(recorded, classes=classes)

        monkeypatch.setattr(module, "paths_of", counted)
    one = effpath.explain(made, asked)[0]
    assert starts == [one.verdict.predicted, one.verdict.runner_up]
    assert one.layers == expected.layers
    assert all(np.array_equal(a.counts, b.counts) for a, b in zip(one.pixels, expected.pixels, strict=True))


def test_the_closest_class_is_the_most_likely_one_or_that_with_most_of_the_path(found):
    made, explained = found
    features = made.features(images(), paths=True)
    paths = effpath.extract(graph(), images())
    for row, one in enumerate(explained):
        values = [value for _, value in one.closest.ranking]
        assert values == sorted(values, reverse=True)
        assert one.closest.compared == 10
        if features.likelihood is not None:
            means = np.nanmean(features.likelihood[row], axis=0)
            best = features.likelihood_classes[int(means.argmax())]
            assert (one.closest.measure, one.closest.best) == ("likelihood", best)
            assert made.kind != "surprise" or best == features.most_likely()[row]
            continue
        path = paths[row]
        shares = {
            label: np.mean(
                [
                    len(path.synapses[name] & class_paths()[label].synapses[name]) / len(path.synapses[name])
                    for name in LAYERS[:-1]
                ]
            )
            for label in class_paths()
        }
        assert one.closest.measure == "similarity"
        assert one.closest.best == max(shares, key=shares.get)
        assert one.closest.ranking[0][1] == pytest.approx(max(shares.values()))


def test_the_nearest_clean_image_of_one_that_is_among_them_is_that_image():
    made = detector()
    asked, clean = data().train_images[10:13], data().train_images[:40]
    seen: list[tuple[int, int]] = []
    explained = effpath.explain(
        made,
        asked,
        clean=clean,
        clean_names=[f"train {row}" for row in range(40)],
        batch_size=16,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [one.neighbour.name for one in explained] == ["train 10", "train 11", "train 12"]
    assert [one.neighbour.similarity for one in explained] == [1, 1, 1]
    assert np.array_equal(explained[0].neighbour.image, asked[0].numpy())
    assert seen[-1] == (40, 40)


def test_the_nearest_clean_image_has_the_highest_jaccard_similarity_of_those_compared():
    made = detector()
    clean = data().train_images[:6]  # fewer than are compared in full
    (one,) = effpath.explain(made, images()[6:7], clean=clean)
    path = effpath.extract(graph(), images()[6:7])[0]
    values = [other.jaccard(path) for other in effpath.extract(graph(), clean)]
    assert one.neighbour.similarity == pytest.approx(max(values))
    assert one.neighbour.name == f"image {int(np.argmax(values))}"


def test_an_image_of_a_class_without_a_path_has_no_layers_and_says_so():
    whole = class_paths()
    known = ClassPaths(whole.header, whole.levels, {label: whole[label] for label in whole if label != 3})
    made = detector("linear", known)
    of_three = data().test_images[(data().test_labels == 3)]
    explained = effpath.explain(made, of_three[:8])
    one = next(one for one in explained if one.verdict.predicted == 3)
    assert one.verdict.flagged
    assert one.layers == ()
    assert one.notes == ("Class 3 has no class path, so that there is nothing to compare the layers with.",)
    assert one.closest.best != 3
    assert one.strongest_channels() == []


def test_without_clean_similarities_there_are_no_bands_and_it_says_so():
    made = detector()
    made.clean_rows = None
    one = effpath.explain(made, images())[4]
    assert (one.band_images, one.band_label, one.below) == (0, None, [])
    assert all(np.isnan(layer.low) for layer in one.layers)
    assert "no similarities of clean images" in one.notes[0]


def test_features_without_paths_leave_no_bands_and_it_says_so():
    made = detector("standard")
    made.calibrate(made.features(data().test_images[120:400]), fpr=0.1)
    one = effpath.explain(made, images())[4]
    assert (one.band_images, one.below) == (0, [])
    assert not any(np.isnan(layer.similarity) for layer in one.layers if layer.synapses)
    assert "no similarities of clean images" in one.notes[0]


def test_of_a_kind_that_is_no_sum_the_layers_say_what_is_outside_and_nothing_is_added():
    one = effpath.explain(detector("forest"), images())[6]
    assert all(layer.added is None for layer in one.layers)
    strongest = one.strongest_channels(5)
    assert [channel.outside for channel in strongest] == sorted(
        (channel.outside for layer in one.layers for channel in layer.channels), reverse=True
    )[: len(strongest)]
    assert one.notes == ("The score of a detector of kind forest is not a sum over layers.",)


def test_class_paths_over_some_layers_still_show_the_pixels():
    digits = data()
    paths = effpath.build_class_paths(graph(), digits.train_images[:400], digits.train_labels[:400], layers=2)
    made = detector("linear", paths)
    one = effpath.explain(made, images()[:1])[0]
    assert [layer.layer for layer in one.layers] == ["fc2", "fc3"]
    assert np.array_equal(np.flatnonzero(one.pixels[0].counts), effpath.extract(graph(), images()[:1]).pixels[0])


def test_it_is_json_without_pixels(found):
    _, explained = found
    for one in explained:
        values = json.loads(json.dumps(one.to_dict()))
        assert values["class"] == one.verdict.predicted
        assert values["flagged"] == one.verdict.flagged
        assert [layer["layer"] for layer in values["layers"]] == list(LAYERS)
        assert values["closest"]["best"] == one.closest.best
        assert values["neighbour"] is None
    assert len(json.dumps(explained[0].to_dict())) < 40_000


def test_a_detector_without_a_threshold_and_images_of_another_shape_are_refused():
    made = detector()
    with pytest.raises(InputError, match="expected images of shape"):
        effpath.explain(made, torch.zeros(1, 1, 9, 9))
    made.threshold = None
    with pytest.raises(OptionError, match="no threshold yet"):
        effpath.explain(made, images())


def test_names_of_classes_are_the_class_paths_own_or_those_given():
    made = detector()
    one = effpath.explain(made, images()[:1], names=["seven.png"], classes=list("abcdefghij"))[0]
    assert one.name == "seven.png"
    assert one.title(2) == "2 (c)"
    assert replace(one, names=()).title(2) == "2"
