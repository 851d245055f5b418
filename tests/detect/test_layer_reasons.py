"""In which layers the signs of a profile show: told behind each, from a detector and from its file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import effpath
from digits_net import auxiliary_of, class_paths, data, graph, noisy
from effpath.detect import Detector
from effpath.detect.explain import BEHIND, sign_names, signs_of_images, strongest_layers
from effpath.detect.signs.forward_concentration import ForwardConcentration
from effpath.detect.signs.forward_frequency import ForwardMargin, ForwardTypicality
from effpath.detect.signs.forward_sets import ForwardSets
from effpath.detect.signs.likelihood import Margin
from effpath.detect.signs.profiles import PROFILES
from effpath.detect.signs.similarity import EarlySimilarity
from effpath.detect.signs.typicality import Typicality
from effpath.errors import StoreError
from guard_files import rewritten

EARLY = ["conv1", "conv2", "fc1"]


def fitted(kind: str) -> Detector:
    images = data().test_images
    detector = Detector(graph(), class_paths(), kind=kind, auxiliary=auxiliary_of(kind))
    detector.collect(data().train_images[:300], data().train_labels[:300])
    attacked = None if kind in PROFILES else noisy(images[240:300])
    return detector.fit(images[:100], attacked).calibrate(images[100:200], fpr=0.1)


def suspicious() -> torch.Tensor:
    return torch.cat([data().test_images[200:220], noisy(data().test_images[220:240])])


def test_a_profile_names_the_layers_of_its_signs_in_the_order_of_what_is_measured() -> None:
    header = class_paths().header
    assert [(sign.name, layer) for sign, layer in PROFILES["standard"].layer_signs(header)] == [
        *((name, layer) for name in ("forward sets", "forward typicality", "forward margin") for layer in EARLY),
        *(("forward concentration", layer) for layer in EARLY[:2]),  # fc1 lies in no places
    ]
    late = [(sign.name, layer) for sign, layer in PROFILES["fast"].layer_signs(header) if sign.walks]
    assert late == [(name, layer) for name in ("margin", "typicality") for layer in ("fc2", "fc3")]


@pytest.mark.parametrize("kind", PROFILES)
def test_behind_each_sign_that_is_told_come_the_layers_in_which_it_shows_most(kind: str) -> None:
    detector = fitted(kind)
    found = detector.detect(suspicious())
    features, places = found.features, PROFILES[kind].layer_signs(class_paths().header)
    calibration = detector.features(data().test_images[100:200]).signs_by_layer
    usual = np.nanmedian(calibration, axis=0)
    np.testing.assert_array_equal(detector.usual_by_layer.medians, usual)
    names = sign_names(detector.scoring, detector.reading)
    told = 0
    for row, reasons in enumerate(found.reasons):
        label = str(features.classes[row, 0])
        for sign in PROFILES[kind].signs:
            at = [place for place, (own, _) in enumerate(places) if own is sign]
            said = [place for place, text in enumerate(reasons) if text.startswith(f"{sign.says[0]}: ")]
            if not at or not said:
                continue
            beyond = {place: sign.direction * (features.signs_by_layer[row, place] - usual[place]) for place in at}
            shown = [place for place in sorted(at, key=lambda place: -beyond[place]) if beyond[place] > 0][:BEHIND]
            expected = tuple(
                f"{places[place][1]}: {sign.in_words(features.signs_by_layer[row, place], usual[place], label)}"
                for place in shown
            )
            after = reasons[said[0] + 1 :]
            assert after[: len(expected)] == expected
            assert all(text.split(": ")[0] in names for text in after[len(expected) : len(expected) + 1])
            told += len(expected)
    assert told > 20


@pytest.mark.parametrize("kind", PROFILES)
def test_the_strongest_layers_are_those_of_the_strongest_sign_that_has_any(kind: str) -> None:
    detector = fitted(kind)
    features = detector.features(suspicious())
    layered = {sign.says[0] for sign, _ in PROFILES[kind].layer_signs(class_paths().header)}
    for layers, signs in zip(
        strongest_layers(detector, features, count=2),
        signs_of_images(detector.scoring, detector.reading, features),
        strict=True,
    ):
        assert len(layers) <= 2
        assert [reason.suspicion for reason in layers] == sorted((r.suspicion for r in layers), reverse=True)
        assert all(reason.suspicion > 0 for reason in layers)
        assert len({reason.sign for reason in layers}) <= 1
        before = [sign for sign, _ in signs if sign in layered]
        assert not layers or layers[0].sign in before
        assert all(str(reason) == f"{reason.layer}: {reason.said}" for reason in layers)


def test_a_layer_in_which_nothing_is_measured_is_never_told() -> None:
    detector = fitted("fast")
    features = detector.features(suspicious())
    features.signs_by_layer[:] = np.nan
    assert not any(strongest_layers(detector, features))


def test_signs_say_in_words_what_they_measure_in_a_layer() -> None:
    log = np.log
    assert ForwardSets().in_words(0.0912, 0.02, "3") == (
        "9.12 % of its most active neurons are that active in no clean image of class 3, usually 2 %"
    )
    assert ForwardTypicality().in_words(log(0.41), log(0.63), "3") == (
        "its most active neurons are that active in 41 % of clean images of class 3, usually 63 %"
    )
    assert ForwardMargin().in_words(-log(1.4), -log(0.8), "3") == (
        "its most active neurons are that active 1.4 times as often in another class as in class 3, "
        "usually 0.8 times"
    )
    assert ForwardConcentration().in_words(0.62, 0.4, "3") == (
        "62 % of what is unusual in its activity for class 3 lies within half of its height and width, "
        "usually 40 %"
    )
    assert Typicality("late").in_words(log(0.41), log(0.63), "3") == (
        "the synapses of its path are used in 41 % of images of class 3, usually 63 %"
    )
    assert Margin().in_words(-log(1.4), -log(0.8), "3") == (
        "the synapses of its path are used 1.4 times as often in another class as in class 3, usually 0.8 times"
    )
    assert EarlySimilarity().in_words(0.5, 0.75, "3") == (
        "50 % of the synapses of its path lie in the path of class 3, usually 75 %"
    )


def test_a_file_of_an_earlier_version_tells_the_signs_without_layers(tmp_path) -> None:
    file, detector = tmp_path / "guard.safetensors", fitted("standard")
    effpath.save_detector(detector, file)
    rewritten(file, lambda _, arrays: arrays.pop("detector/usual_by_layer"))
    older = effpath.load_detector(file, graph())
    images = suspicious()
    assert older.usual_by_layer is None
    assert not any(strongest_layers(older, older.features(images)))
    for earlier, now in zip(older.detect(images).reasons, detector.detect(images).reasons, strict=True):
        assert earlier == tuple(text for text in now if not text.startswith(tuple(f"{name}: " for name in EARLY)))


def test_usual_values_of_other_layers_are_damage(tmp_path) -> None:
    file = tmp_path / "guard.safetensors"
    effpath.save_detector(fitted("standard"), file)
    rewritten(file, lambda _, arrays: arrays.update({"detector/usual_by_layer": np.zeros(4)}))
    with pytest.raises(StoreError, match="expected 11 usual values in layers, got 4; it is damaged"):
        effpath.load_detector(file, graph())


@pytest.mark.parametrize("kind", ["standard", "surprise", "linear"])
def test_a_page_sets_the_layers_below_the_sign_that_they_stand_behind(kind: str) -> None:
    detector = fitted(kind)
    nested = 0
    for one in effpath.explain(detector, suspicious()):
        groups = one.verdict.grouped_reasons
        assert [text for reason, layers in groups for text in (reason, *layers)] == list(one.verdict.reasons)
        heads = [reason.split(": ")[0] in class_paths().header.keys("synapses") for reason, _ in groups]
        assert not any(heads) or kind == "linear"
        nested += sum(len(layers) for _, layers in groups)
    assert (nested > 0) == (kind != "linear")
