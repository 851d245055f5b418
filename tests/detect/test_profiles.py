"""Detectors that read the signs of a profile: from clean images alone, to a file and back, with reasons."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from sklearn.base import clone

import effpath
from digits_net import class_paths, data, graph, noisy
from effpath.detect import CombinedSurprise, Detector
from effpath.detect.explain import sign_names, strongest_layers, strongest_signs
from effpath.detect.saved import WHAT, open_detector
from effpath.detect.signs.profiles import PROFILES
from effpath.errors import OptionError, StoreError
from effpath.files.plain import percent
from effpath.files.sealed import SealedFile

EARLY = ["conv1", "conv2", "fc1"]


def fitted(kind: str | CombinedSurprise = "standard", *, collected: bool = True) -> Detector:
    images = data().test_images
    detector = Detector(graph(), class_paths(), kind=kind)
    if collected:
        detector.collect(data().train_images[:300], data().train_labels[:300])
    return detector.fit(images[:100]).calibrate(images[100:200], fpr=0.1)


@pytest.mark.parametrize("collected", [True, False], ids=["collected", "from the images to fit"])
@pytest.mark.parametrize("kind", PROFILES)
def test_noise_is_flagged_by_a_detector_that_has_seen_clean_images_alone(kind: str, collected: bool) -> None:
    detector = fitted(kind, collected=collected)
    clean, noise = data().test_images[200:260], noisy(data().test_images[260:320])
    assert detector.detect(noise).flagged.mean() > detector.detect(clean).flagged.mean() + 0.3
    assert detector.detect(data().test_images[100:200]).flagged.mean() <= 0.1
    assert detector.reference is not None
    assert detector.reference.own is not collected


def test_what_is_collected_from_the_images_to_fit_leaves_each_of_them_out() -> None:
    detector = fitted("fast", collected=False)
    place = PROFILES["fast"].says.index("active where its class is not")
    fitted_on = detector.classifier[-1].clean_[:, place]
    assert fitted_on.max() > 0
    again = detector.read(detector.features(data().test_images[:100]))[:, place]
    assert (again == 0).all()  # looked at as images of any other day, they are inside


def test_images_that_are_fitted_on_anew_are_collected_from_anew_but_what_was_given_stays() -> None:
    own, given = fitted("fast", collected=False), fitted("fast")
    first, kept = own.reference, given.reference
    own.fit(data().test_images[200:300])
    given.fit(data().test_images[200:300])
    assert own.reference is not first
    assert given.reference is kept
    assert clone(given).reference is None
    given.set_params(kind="standard")
    assert given.reference is None


def test_before_anything_is_collected_features_say_what_to_do() -> None:
    detector = Detector(graph(), class_paths(), kind="fast")
    with pytest.raises(OptionError, match="call its collect"):
        detector.features(data().test_images[:3])
    assert Detector(graph(), class_paths(), kind="clean").collect(data().test_images[:3]).reference is None


def test_attacked_images_reweigh_the_signs_and_change_nothing_else() -> None:
    clean, attacked = data().test_images[:100], noisy(data().test_images[260:320])
    alone, both = fitted(), fitted()
    both.fit(clean, attacked)
    one, other = alone.classifier[-1], both.classifier[-1]
    np.testing.assert_array_equal(one.clean_, other.clean_)
    assert one.weights_.max() == 1
    assert not np.allclose(one.weights_, other.weights_, atol=0.05)
    assert other.weights_.min() >= other.floor
    assert other.weights_.max() == 1
    assert both.threshold is None


@pytest.mark.parametrize("kind", PROFILES)
def test_reasons_are_the_signs_that_add_most_and_what_signs_add_sums_to_the_score(kind: str) -> None:
    detector = fitted(kind)
    found = detector.detect(torch.cat([data().test_images[200:220], noisy(data().test_images[220:260])]))
    read = detector.scoring.filled(detector.read(found.features))
    score, names = detector.scoring.score, sign_names(detector.scoring, detector.reading)
    added = score.parts(read)
    np.testing.assert_allclose(added.sum(1), found.scores)
    np.testing.assert_array_equal(detector.classifier[-1].score_samples(read), -found.scores)
    assert names == PROFILES[kind].says
    strongest = strongest_signs(detector, found.features)
    for row, verdict in enumerate(found):
        if verdict.flagged:
            first = strongest[row]
            share = np.exp(-score.surprises(read)[row, names.index(first)])
            assert added[row, names.index(first)] == added[row].max()
            as_strong = f"{percent(share)} of clean images show this at least as strongly"
            assert verdict.reasons[0] == f"{first}: {as_strong}"
    assert found.flagged.any()


def test_the_layers_behind_early_similarity_are_told_after_it() -> None:
    detector = fitted("thorough")
    images = noisy(data().test_images[220:280])
    found = detector.detect(images)
    layers = strongest_layers(detector, found.features)
    medians = detector.clean_rows.medians()
    assert any(layers)
    for row, reasons in enumerate(layers):
        for reason in reasons:
            column = EARLY.index(reason.layer)
            assert reason.usual == medians[column]
            assert reason.similarity == found.features.values[row, column]
            assert reason.suspicion == pytest.approx(reason.usual - reason.similarity)
        told = found.reasons[row]
        said = [place for place, text in enumerate(told) if text.startswith("early layers outside its class path")]
        for place in said:
            assert told[place + 1 : place + 1 + len(reasons)] == tuple(map(str, reasons))
    fast = fitted("fast")
    assert not any(strongest_layers(fast, fast.features(images)))


@pytest.mark.parametrize("kind", [*PROFILES, CombinedSurprise("fast", rule="harmonic")], ids=str)
def test_a_file_gives_back_scores_from_images_and_reasons(kind, tmp_path) -> None:
    detector, file = fitted(kind), tmp_path / "guard.safetensors"
    images = torch.cat([data().test_images[200:220], noisy(data().test_images[220:240])])
    effpath.save_detector(detector, file)
    loaded = effpath.load_detector(file, graph())
    with SealedFile(file, WHAT) as opened:
        saved = open_detector(opened, graph())
    before = detector.detect(images)
    for other in (loaded, saved):
        after = other.detect(images)
        np.testing.assert_array_equal(after.scores, before.scores)
        assert after.reasons == before.reasons
        assert other.reference.own is False
        assert strongest_signs(other, after.features) == strongest_signs(detector, before.features)
    assert repr(loaded.kind) == repr(detector.kind)
    assert any(before.flagged)


@pytest.mark.parametrize("signs", [["unsure", "moody"], None])
def test_a_file_of_a_version_whose_profile_had_other_signs_is_refused(signs, tmp_path, monkeypatch) -> None:
    file = tmp_path / "guard.safetensors"
    effpath.save_detector(fitted("fast"), file)
    with safe_open(file, framework="numpy") as opened:
        about = json.loads(opened.metadata()["detector"])
    assert about["signs"] == list(PROFILES["fast"].says)
    about = {name: value for name, value in about.items() if name != "signs"} | ({"signs": signs} if signs else {})
    if signs is None:
        about["numbers"] = {**about["numbers"], "n_features_in_": 5}
    monkeypatch.setattr("effpath.detect.saved.detector_about", lambda opened: about)
    with pytest.raises(StoreError, match=r"of kind 'fast' with the signs .* got one with ('moody'|others) in"):
        effpath.load_detector(file, graph())


def test_a_reference_that_does_not_fit_the_network_is_refused(tmp_path) -> None:
    file = tmp_path / "guard.safetensors"
    effpath.save_detector(fitted("fast"), file)
    with safe_open(file, framework="numpy") as opened:
        header = opened.metadata()
    about = json.loads(header["detector"]) | {"format": "effpath-detector-2"}
    paths = json.loads(header["effpath"]) | {"format": "effpath-class-paths-2"}
    arrays = load_file(file)
    del arrays["checksums"]
    arrays["detector/reference/counts/conv1"] = arrays["detector/reference/counts/conv1"][:, 1:].copy()
    save_file(arrays, file, {"effpath": json.dumps(paths), "detector": json.dumps(about)})
    with pytest.raises(StoreError, match="it is damaged"):
        effpath.load_detector(file, graph())


def test_other_kinds_have_no_reference_in_their_files(tmp_path) -> None:
    file = tmp_path / "guard.safetensors"
    effpath.save_detector(fitted("clean"), file)
    assert not any("reference/" in name for name in load_file(file))
    assert effpath.load_detector(file, graph()).reference is None


def test_class_paths_without_counts_are_told_which_kinds_do_without() -> None:
    digits = data()
    bare = effpath.build_class_paths(
        graph(), digits.train_images[:100], digits.train_labels[:100], options=effpath.BuildOptions(counts=False)
    )
    with pytest.raises(OptionError, match=r"kind 'fast': .*counts=True.*or choose kind='linear' or 'clean'"):
        Detector(graph(), bare, kind="fast")


def test_an_explanation_shows_layers_without_what_they_add() -> None:
    (found,) = effpath.explain(fitted(), data().test_images[200:201])
    assert len(found.layers) == 5
    assert all(layer.added is None for layer in found.layers)
    assert any("not a sum over layers" in note for note in found.notes)
