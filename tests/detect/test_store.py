from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression

import effpath
from digits_net import class_paths, data, graph, noisy
from effpath.demo.lenet import LeNet5
from effpath.detect.features import Features
from effpath.errors import FingerprintError, OptionError, StoreError
from guard_files import rewritten


def fitted(kind, **parameters):
    images = data().test_images
    detector = effpath.Detector(graph(), class_paths(), kind=kind)
    if parameters:
        detector.classifier[-1].set_params(**parameters)
    return detector.fit(images[:60], None if kind == "clean" else noisy(images[60:120]))


@pytest.fixture(params=["linear", "clean", "surprise"])
def detector(request):
    return fitted(request.param)


def test_scores_threshold_and_verdicts_after_loading_are_equal(detector, tmp_path):
    images = torch.cat([data().test_images[200:260], noisy(data().test_images[260:320])])
    detector.calibrate(data().test_images[120:200], fpr=0.1)
    detector.about = {"data": "digits", "rows": [1, 2, 3]}
    effpath.save_detector(detector, tmp_path / "guard.safetensors")
    loaded = effpath.load_detector(tmp_path / "guard.safetensors", graph())
    assert (loaded.kind, loaded.threshold, loaded.fpr) == (detector.kind, detector.threshold, 0.1)
    assert loaded.about == detector.about
    before, after = detector.detect(images), loaded.detect(images)
    np.testing.assert_array_equal(after.scores, before.scores)
    np.testing.assert_array_equal(after.flagged, before.flagged)
    assert 0 < before.flagged.sum() < len(images)


def test_a_similarity_that_is_missing_counts_as_before(detector, tmp_path):
    found = detector.features(data().test_images[:20])
    values = np.where(np.random.default_rng(0).random(found.values.shape) < 0.3, np.nan, found.values)
    holes = replace(found, values=values)
    effpath.save_detector(detector, tmp_path / "guard.safetensors")
    loaded = effpath.load_detector(tmp_path / "guard.safetensors", graph())
    np.testing.assert_array_equal(loaded.score(holes), detector.score(holes))


def test_learned_weights_come_back(tmp_path):
    weighed = fitted("surprise", floor=0.2)
    effpath.save_detector(weighed, tmp_path / "guard.safetensors")
    loaded = effpath.load_detector(tmp_path / "guard.safetensors", graph())
    images = data().test_images[200:260]
    np.testing.assert_array_equal(loaded.score(images), weighed.score(images))
    assert loaded.classifier[-1].weights_.min() < 1
    assert not np.array_equal(weighed.score(images), fitted("surprise").score(images))


def test_a_feature_that_was_missing_in_all_training_rows_counts_as_before(tmp_path):
    detector = fitted("clean")
    found = detector.features(data().test_images[:40])
    values = found.values.copy()
    values[:, 1] = np.nan
    holes = Features(values, found.names, found.classes, found.logits)
    detector.fit(holes)
    effpath.save_detector(detector, tmp_path / "guard.safetensors")
    loaded = effpath.load_detector(tmp_path / "guard.safetensors", graph())
    for rows in (holes, found):
        np.testing.assert_array_equal(loaded.score(rows), detector.score(rows))


def test_a_detector_without_a_threshold_comes_back_without_one(detector, tmp_path):
    effpath.save_detector(detector, tmp_path / "guard.safetensors")
    loaded = effpath.load_detector(tmp_path / "guard.safetensors", graph())
    assert loaded.threshold is None
    assert loaded.fpr is None
    with pytest.raises(OptionError, match="no threshold yet"):
        loaded.detect(data().test_images[:2])


def test_a_loaded_detector_can_be_saved_again_and_its_file_is_one_of_class_paths(detector, tmp_path):
    effpath.save_detector(detector, tmp_path / "a.safetensors")
    effpath.save_detector(effpath.load_detector(tmp_path / "a.safetensors", graph()), tmp_path / "b.safetensors")
    first, second = load_file(tmp_path / "a.safetensors"), load_file(tmp_path / "b.safetensors")
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    read = effpath.load_class_paths(tmp_path / "a.safetensors", graph())
    assert all(read[label] == class_paths()[label] for label in class_paths().classes)


@pytest.mark.parametrize("kind", ["forest", "adaboost", "boosting", LogisticRegression()])
def test_kinds_that_cannot_be_saved_say_which_can(kind, tmp_path):
    with pytest.raises(OptionError, match="a kind of linear, clean, surprise"):
        effpath.save_detector(fitted(kind), tmp_path / "guard.safetensors")
    assert not any(tmp_path.iterdir())


def test_a_classifier_of_ones_own_does_not_pass_for_ours(tmp_path):
    detector = fitted("linear")
    detector.classifier = LogisticRegression()
    with pytest.raises(OptionError, match="with its own classifier"):
        effpath.save_detector(detector, tmp_path / "guard.safetensors")


def test_a_detector_that_was_not_fitted_is_refused(tmp_path):
    with pytest.raises(OptionError, match="call fit first"):
        effpath.save_detector(effpath.Detector(graph(), class_paths()), tmp_path / "guard.safetensors")


def test_another_network_is_refused(detector, tmp_path):
    effpath.save_detector(detector, tmp_path / "guard.safetensors")
    other = effpath.capture(LeNet5(image_size=8).eval(), data().train_images[:1])
    with pytest.raises(FingerprintError, match=other.fingerprint):
        effpath.load_detector(tmp_path / "guard.safetensors", other)


def test_files_that_are_missing_cut_or_something_else_are_refused(detector, tmp_path):
    file = tmp_path / "guard.safetensors"
    with pytest.raises(StoreError, match="found no file"):
        effpath.load_detector(file, graph())
    effpath.save_class_paths(class_paths(), file)
    with pytest.raises(StoreError, match="effpath fit or save_detector"):
        effpath.load_detector(file, graph())
    save_file({"a": np.zeros(3)}, file)
    with pytest.raises(StoreError, match="expected a file of format"):
        effpath.load_detector(file, graph())
    effpath.save_detector(detector, file)
    whole = file.read_bytes()
    for length in (0, 5, 200, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(StoreError, match="truncated or damaged"):
            effpath.load_detector(file, graph())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about, arrays: about.update(kind="oracle"), "a kind of linear, clean, surprise, .*got 'oracle'"),
        (lambda about, arrays: about.update(format="effpath-detector-9"), "effpath-detector-9"),
        (lambda about, arrays: about.pop("numbers"), "it is damaged"),
        (lambda about, arrays: about["parameters"].update(colour="red"), "it is damaged"),
        (lambda about, arrays: arrays.pop("detector/usual"), "it is damaged"),
        (lambda about, arrays: arrays.update({"detector/usual": np.zeros((2, 2))}), "expected 1 dimensions"),
        (lambda about, arrays: arrays.update({"detector/usual": np.zeros(3)}), "10 features in one place, 3 in"),
        (lambda about, arrays: arrays.update({"detector/coef_": np.zeros(3)}), "it is damaged"),
    ],
)  # fmt: skip
def test_a_file_that_was_tampered_with_is_refused(change, message, tmp_path):
    file = tmp_path / "guard.safetensors"
    effpath.save_detector(fitted("linear"), file)
    rewritten(file, change)
    with pytest.raises(StoreError, match=message):
        effpath.load_detector(file, graph())


def test_a_failed_write_leaves_the_old_file(detector, tmp_path):
    file = tmp_path / "guard.safetensors"
    effpath.save_detector(detector, file)
    before = file.read_bytes()
    full = mock.patch("effpath.files.sealed.save_file", side_effect=OSError("disk full"))
    with full, pytest.raises(StoreError, match="disk full"):
        effpath.save_detector(detector, file)
    assert file.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["guard.safetensors"]
