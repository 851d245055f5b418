"""A verdict per image: class, score, conformal p-value, and what speaks for an attack."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import effpath
from digits_net import class_paths, data, graph, noisy
from effpath import ClassPaths
from effpath.detect import SIGNS, Verdict, threshold_at_fpr
from effpath.detect import explain as module
from effpath.detect.explain import strongest_layers
from effpath.detect.metrics import conformal_p_values
from effpath.files.plain import percent


def detector(kind="surprise", paths=None):
    images = data().test_images
    found = effpath.Detector(graph(), paths or class_paths(), kind=kind)
    found.fit(images[:60], None if kind == "clean" else noisy(images[60:120]))
    return found.calibrate(images[120:200], fpr=0.1)


def verdicts(kind="surprise", paths=None):
    images = data().test_images[200:240]
    return detector(kind, paths).detect(torch.cat([images, noisy(images)]))


def test_verdicts_are_a_sequence_of_their_rows():
    found = verdicts()
    rows = list(found)
    assert len(rows) == len(found) == 80
    assert all(isinstance(verdict, Verdict) for verdict in rows)
    assert [verdict.flagged for verdict in found] == found.flagged.tolist()
    assert [verdict.score for verdict in found] == found.scores.tolist()
    assert [verdict.p_value for verdict in found] == found.p_values.tolist()
    assert [verdict.predicted for verdict in found] == found.predicted.tolist()
    assert [verdict.score for verdict in found[3:9:2]] == found.scores[3:9:2].tolist()
    assert found[-1].score == found.scores[-1]
    with pytest.raises(IndexError):
        found[80]


def test_a_label_is_the_name_of_the_predicted_class_or_its_number_where_there_is_no_name():
    names = ("zero", "one", "", "three")
    found = verdicts(paths=replace(class_paths(), names=names))
    for verdict in found:
        named = verdict.predicted in (0, 1, 3)
        assert verdict.label == (names[verdict.predicted] if named else str(verdict.predicted))
    assert f"label={found[0].label!r}" in repr(found[0])
    assert found[0] == found[0]


@pytest.mark.parametrize("kind", ["surprise", "linear", "clean", "forest"])
def test_a_p_value_is_the_share_of_calibration_images_that_are_as_suspicious_the_image_counted(kind):
    fitted = detector(kind)
    images = data().test_images[200:240]
    found = fitted.detect(torch.cat([images, noisy(images)]))
    clean = fitted.score(data().test_images[120:200])
    np.testing.assert_array_equal(fitted.calibration, np.sort(clean))
    expected = [(1 + (clean >= score).sum()) / 81 for score in found.scores]
    np.testing.assert_array_equal(found.p_values, expected)
    np.testing.assert_array_equal(found.flagged, found.p_values <= 0.1)


@settings(max_examples=200, deadline=None)
@given(
    clean=st.lists(st.integers(-3, 3) | st.floats(-9, 9), min_size=20, max_size=60),
    scores=st.lists(st.integers(-4, 4) | st.floats(-9, 9), min_size=1, max_size=9),
    percent=st.integers(5, 99),
)
def test_what_is_flagged_is_what_has_a_p_value_of_at_most_the_false_positive_rate(clean, scores, percent):
    fpr = percent / 100
    p_values = conformal_p_values(np.array(scores, float), np.sort(np.array(clean, float)))
    np.testing.assert_array_equal(np.array(scores) > threshold_at_fpr(clean, fpr), p_values <= fpr)


def test_the_p_values_of_new_clean_images_are_at_most_p_in_at_most_p_of_the_cases():
    rng = np.random.default_rng(0)
    draws = [conformal_p_values(rng.normal(size=500), np.sort(rng.normal(size=50))) for _ in range(200)]
    for p in (0.02, 0.05, 0.1, 0.5):
        assert np.mean(np.concatenate(draws) <= p) <= p + 0.01


@pytest.mark.parametrize("kind", ["surprise", "linear", "clean", "forest"])
def test_what_is_flagged_has_a_reason_in_words(kind):
    found = verdicts(kind)
    assert found.flagged.any()
    assert all(verdict.reasons and isinstance(verdict.reasons[0], str) for verdict in found if verdict.flagged)


def test_the_reasons_of_joint_surprise_are_its_signs_strongest_first_with_the_layers_behind_the_first():
    fitted = detector()
    found = fitted.detect(noisy(data().test_images[200:240]))
    read = fitted.scoring.filled(fitted.read(found.features))
    surprises = fitted.scoring.score.surprises(read)
    layers = strongest_layers(fitted, found.features)
    for row, verdict in enumerate(found):
        expected = []
        for place in np.argsort(-surprises[row], kind="stable"):
            share = np.exp(-surprises[row, place])
            if share < 0.5:
                expected.append(f"{SIGNS[place]}: {percent(share)} of clean images show this at least as strongly")
                expected += [str(reason) for reason in layers[row]] if place == 0 else []
        assert verdict.reasons == tuple(expected) or (verdict.flagged and not expected)


@pytest.mark.parametrize("kind", ["linear", "clean"])
def test_the_reasons_of_kinds_that_sum_over_layers_are_the_layers(kind):
    fitted = detector(kind)
    found = fitted.detect(noisy(data().test_images[200:240]))
    for verdict, layers in zip(found, strongest_layers(fitted, found.features), strict=True):
        score_alone = (f"its score of {verdict.score:.4g} is above the threshold of {fitted.threshold:.4g}",)
        assert verdict.reasons == (tuple(map(str, layers)) or (score_alone if verdict.flagged else ()))


def test_a_kind_that_cannot_say_why_tells_its_score():
    found = verdicts("forest")
    verdict = next(verdict for verdict in found if verdict.flagged)
    assert verdict.reasons[0].startswith(f"its score of {verdict.score:.4g} is above the threshold of ")
    assert all(verdict.reasons == () for verdict in found if not verdict.flagged)


def test_an_image_of_a_class_without_a_path_is_flagged_for_that():
    whole = class_paths()
    known = ClassPaths(
        whole.header, whole.levels, {label: whole[label] for label in whole if label != 3},
        {label: counts for label, counts in whole.counts.items() if label != 3}, names=whole.names,
    )  # fmt: skip
    found = verdicts(paths=known)
    strange = [verdict for verdict in found if verdict.predicted == 3]
    assert strange
    for verdict in strange:
        assert verdict.reasons == (
            f"class {verdict.label} has no class path: every image predicted as it is flagged",
        )


def test_detecting_explains_nothing_and_the_reasons_are_found_once(monkeypatch):
    calls = []
    sums = module.feature_suspicion
    monkeypatch.setattr(module, "feature_suspicion", lambda *given: calls.append(1) or sums(*given))
    found = verdicts()
    assert not calls
    _ = [verdict.reasons for verdict in found]
    assert len(calls) == 1


def test_the_reasons_are_those_of_the_detector_that_detected_though_it_is_fitted_anew_since():
    fitted, images = detector(), noisy(data().test_images[200:220])
    expected = fitted.detect(images).reasons
    found = fitted.detect(images)
    fitted.fit(data().test_images[300:360], noisy(data().test_images[360:420]))
    assert found.reasons == expected


@pytest.mark.parametrize("load", ["load_detector", "open_detector"])
def test_the_calibration_scores_come_back_from_a_file_and_a_file_without_them_gives_no_p_values(load, tmp_path):
    from effpath.detect.saved import WHAT, open_detector
    from effpath.files.sealed import SealedFile

    def opener(file, network):
        if load == "load_detector":
            return effpath.load_detector(file, network)
        with SealedFile(file, WHAT) as opened:
            return open_detector(opened, network)

    fitted, images = detector(), data().test_images[200:220]
    effpath.save_detector(fitted, tmp_path / "d.safetensors")
    found = opener(tmp_path / "d.safetensors", graph()).detect(images)
    np.testing.assert_array_equal(found.p_values, fitted.detect(images).p_values)
    assert found.reasons == fitted.detect(images).reasons
    fitted.calibration = None
    effpath.save_detector(fitted, tmp_path / "old.safetensors")
    found = opener(tmp_path / "old.safetensors", graph()).detect(images)
    assert found.p_values is None
    assert all(verdict.p_value is None for verdict in found)
