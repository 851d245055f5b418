"""Detectors that read the signs of a profile: from clean images alone, to a file and back, with reasons."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from sklearn.base import clone

import effpath
from digits_net import auxiliary, auxiliary_of, class_paths, data, graph, model, noisy
from effpath.detect import CombinedSurprise, Detector
from effpath.detect.explain import sign_names, strongest_signs
from effpath.detect.saved import WHAT, open_detector
from effpath.detect.signs.profiles import PROFILES
from effpath.errors import FingerprintError, InputError, NumericalError, OptionError, StoreError
from effpath.files.plain import percent
from effpath.files.sealed import SealedFile
from guard_files import rewritten


def fitted(kind: str | CombinedSurprise = "standard", *, collected: bool = True) -> Detector:
    images = data().test_images
    detector = Detector(graph(), class_paths(), kind=kind, auxiliary=auxiliary_of(kind))
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


@pytest.mark.parametrize("kind", [*PROFILES, CombinedSurprise("fast", rule="harmonic")], ids=str)
def test_a_file_gives_back_scores_from_images_and_reasons(kind, tmp_path) -> None:
    detector, file = fitted(kind), tmp_path / "guard.safetensors"
    images = torch.cat([data().test_images[200:220], noisy(data().test_images[220:240])])
    effpath.save_detector(detector, file)
    other = auxiliary_of(kind)
    loaded = effpath.load_detector(file, graph(), auxiliary=other)
    with SealedFile(file, WHAT) as opened:
        saved = open_detector(opened, graph(), other)
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
    counts = "detector/reference/counts/conv1"
    rewritten(file, lambda _, arrays: arrays.update({counts: arrays[counts][:, 1:].copy()}))
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
    assert any("is a sum over signs, not over layers" in note for note in found.notes)


class TestPaired:
    """A detector that asks another network."""

    def test_it_flags_what_the_other_network_does_not_believe(self) -> None:
        detector, images = fitted("paired"), data().test_images[200:300]
        said = auxiliary()(images).argmax(1) == graph()(images).argmax(1)
        assert 0 < (~said).sum() < 20
        scores = detector.score(images)
        assert scores[~said.numpy()].mean() > 1.5 * scores[said.numpy()].mean()
        added = detector.scoring.score.parts(detector.read(detector.features(images)))
        place = PROFILES["paired"].says.index("another network does not believe it")
        assert added[~said.numpy(), place].min() > np.median(added[said.numpy(), place])

    def test_a_copy_asks_the_same_network(self) -> None:
        detector = Detector(graph(), class_paths(), kind="paired", auxiliary=auxiliary())
        assert clone(detector).auxiliary is auxiliary()
        assert detector.get_params(deep=False)["auxiliary"] is auxiliary()
        with pytest.raises(OptionError, match="'fast' asks no other network"):
            detector.set_params(kind="fast")

    def test_without_the_other_network_or_with_one_that_nothing_asks_it_says_so(self, tmp_path) -> None:
        with pytest.raises(OptionError, match="kind 'paired' asks another network for the same classes, got none"):
            Detector(graph(), class_paths(), kind="paired")
        with pytest.raises(OptionError, match=r"kind 'standard' asks no other network: .* kind 'paired'"):
            Detector(graph(), class_paths(), auxiliary=auxiliary())
        effpath.save_detector(fitted("paired"), tmp_path / "paired.safetensors")
        effpath.save_detector(fitted("fast"), tmp_path / "fast.safetensors")
        with pytest.raises(OptionError, match="asks another network"):
            effpath.load_detector(tmp_path / "paired.safetensors", graph())
        with pytest.raises(OptionError, match="asks no other network"):
            effpath.load_detector(tmp_path / "fast.safetensors", graph(), auxiliary=auxiliary())

    def test_a_file_opens_with_the_network_that_it_was_fitted_with_alone(self, tmp_path) -> None:
        effpath.save_detector(fitted("paired"), tmp_path / "guard.safetensors")
        third = effpath.capture(model(2), data().test_images[:1])
        with pytest.raises(
            FingerprintError, match=rf"{auxiliary().fingerprint}, this one has {third.fingerprint}"
        ):
            effpath.load_detector(tmp_path / "guard.safetensors", graph(), auxiliary=third)

    @pytest.mark.parametrize("shape", [(1, 8, 8), (1, 9, 9)])
    def test_a_network_for_other_images_or_classes_is_refused(self, shape) -> None:
        layers = torch.nn.Flatten(), torch.nn.Linear(shape[1] * shape[2], 10 if shape[1] > 8 else 7)
        other = effpath.capture(torch.nn.Sequential(*layers).eval(), torch.zeros(1, *shape))
        with pytest.raises(
            InputError, match=rf"\[1, 8, 8\] of 10 classes, .* got one for \[{shape[0]}, {shape[1]}"
        ):
            Detector(graph(), class_paths(), kind="paired", auxiliary=other)

    def test_the_network_itself_is_no_other(self) -> None:
        with pytest.raises(OptionError, match="got the network itself"):
            Detector(graph(), class_paths(), kind="paired", auxiliary=graph())

    def test_a_network_with_its_classes_in_another_order_is_refused_when_it_is_fitted(self) -> None:
        other = model(1)  # trained here: a capture takes no gradients

        class Turned(torch.nn.Module):
            def forward(self, pixels: torch.Tensor) -> torch.Tensor:
                return other(pixels).roll(1, 1)

        turned = effpath.capture(Turned().eval(), data().test_images[:1])
        detector = Detector(graph(), class_paths(), kind="paired", auxiliary=turned)
        with pytest.raises(InputError, match=r"agrees .* at least 50% of clean images, got 0% of 100: check"):
            detector.fit(data().test_images[:100])

    @pytest.mark.parametrize("changed", ["float64", "one image at a time"])
    def test_the_other_network_may_have_another_precision_or_take_no_batch(self, changed: str) -> None:
        trained = model(1)  # here: a capture takes no gradients

        class Alone(torch.nn.Module):
            def forward(self, pixels: torch.Tensor) -> torch.Tensor:
                return trained(pixels) + pixels.mean()  # of all images: a shift, which log odds do not see

        other, example = Alone().eval(), data().test_images[:2]
        if changed == "float64":
            other, example = copy.deepcopy(trained).double(), example.double()
        odd = effpath.capture(other, example)
        assert odd.batched is (changed == "float64")
        images, known = data().test_images[200:220], fitted("paired")
        found = Detector(graph(), class_paths(), kind="paired", auxiliary=odd)
        found.reference = known.reference
        wanted = known.read(known.features(images))
        np.testing.assert_allclose(found.read(found.features(images)), wanted, rtol=1e-4, atol=1e-4)

    def test_logits_of_the_other_network_that_are_not_finite_are_told(self) -> None:
        class Broken(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = torch.nn.Linear(64, 10)

            def forward(self, pixels: torch.Tensor) -> torch.Tensor:
                return self.layer(pixels.flatten(1)) / pixels.flatten(1)[:, :1].clamp(0, 0)

        broken = effpath.capture(Broken().eval(), data().test_images[:1])
        detector = Detector(graph(), class_paths(), kind="paired", auxiliary=broken)
        with pytest.raises(NumericalError, match="finite logits of the auxiliary network"):
            detector.collect(data().train_images[:60]).features(data().test_images[:5])
