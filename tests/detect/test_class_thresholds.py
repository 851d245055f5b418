"""Classes with enough calibration images have a threshold of their own, in flags, p-values, files and pages."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import effpath
from digits_net import class_paths, data, graph, noisy
from effpath.adaptive import AdaptiveResult
from effpath.detect.conformal import LEAST, class_thresholds, true_rate
from effpath.detect.metrics import sharing, threshold_at_fpr, thresholds_of
from effpath.detect.saved import WHAT, open_detector
from effpath.errors import StoreError
from effpath.files.sealed import SealedFile

FPR = 0.05


@cache
def calibration():
    """Features of 990 images: some classes have a hundred, some have fewer."""
    return effpath.Detector(graph(), class_paths(), kind="clean").features(data().train_images[:990])


def detector(features=None):
    made = effpath.Detector(graph(), class_paths(), kind="clean").fit(data().test_images[:200])
    return made.calibrate(calibration() if features is None else features, fpr=FPR)


@cache
def new():
    """Features of clean images and of noisy ones."""
    made = detector()
    return [made.features(images) for images in (data().test_images[200:], noisy(data().test_images[200:]))]


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.lists(st.integers(LEAST, 400), min_size=2, max_size=5),
    fpr=st.sampled_from([0.01, 0.05, 0.2]),
    seed=st.integers(0, 2**32 - 1),
)
def test_each_class_keeps_the_rate_however_far_apart_their_scores_are(sizes, fpr, seed):
    rng = np.random.default_rng(seed)
    where, wide = rng.normal(0, 10, len(sizes)), rng.uniform(0.1, 5, len(sizes))
    classes = np.repeat(np.arange(len(sizes)), sizes)
    rates = []
    for _ in range(200):
        found = class_thresholds(where[classes] + wide[classes] * rng.exponential(size=len(classes)), classes, fpr)
        assert list(found) == list(range(len(sizes)))
        limits = np.array([found[label] for label in found])
        rates.append(
            np.exp(-np.maximum(limits - where, 0) / wide)
        )  # what a new score of the class exceeds them by
    for mean, size in zip(np.mean(rates, axis=0), sizes, strict=True):
        expected = true_rate(size, fpr)
        spread = (expected.high - expected.low) / 3.3 / np.sqrt(200)
        assert abs(mean - expected.value) < 5 * spread
        assert expected.value <= fpr


@pytest.mark.parametrize("others", [0.3, 0.1, 0.03, 0.01])
def test_all_classes_together_keep_the_rate_where_those_with_few_images_are_the_most_suspicious(others):
    rng = np.random.default_rng(0)
    share = np.r_[np.full(3, (1 - others) / 3), np.full(7, others / 7)]  # of three classes, and of seven with few
    where = np.r_[np.zeros(3), np.full(7, 4.0)]
    rates, with_all = [], []
    for _ in range(400):
        classes = rng.choice(10, 500, p=share)
        scores = where[classes] + rng.exponential(size=500)
        found = class_thresholds(scores, classes, FPR)
        shared = sharing(classes, found)
        assert 2 <= len(found) <= 3
        limits = [threshold_at_fpr(each, FPR) for each in (scores[shared], scores)]
        for limit, kept in zip(limits, (rates, with_all), strict=True):
            above = thresholds_of(np.arange(10), limit, found) - where
            kept.append(share @ np.exp(-np.maximum(above, 0)))
    spread = np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) < FPR + 3 * spread
    assert np.mean(with_all) > FPR + 0.05 * others  # a threshold of all images, for those with few


def test_where_the_others_are_too_few_for_the_rate_the_class_with_the_fewest_joins_them():
    scores, classes = np.arange(318.0), np.repeat([3, 5, 8], [200, 18, 100])
    assert list(class_thresholds(scores, classes, 0.05)) == [3]
    assert sharing(classes, [3]).tolist() == [False] * 200 + [True] * 118
    assert list(class_thresholds(scores[:200], classes[:200], 0.05)) == [3]
    assert sharing(classes[:200], [3]).all()  # a class that was not met is compared with all
    assert list(class_thresholds(scores[200:], classes[200:], 0.05)) == []


def test_too_few_images_of_a_class_or_too_few_for_the_rate_give_it_none():
    scores, classes = np.arange(399.0), np.repeat([3, 5, 8], [LEAST, LEAST - 1, 200])
    assert list(class_thresholds(scores, classes, 0.05)) == [3, 8]
    assert list(class_thresholds(scores, classes, 0.005)) == [8]
    assert class_thresholds(scores, classes, 0.05)[3] == threshold_at_fpr(scores[:LEAST], 0.05)
    assert thresholds_of(np.array([3, 5, 3]), 1.5, {3: 0.5}).tolist() == [0.5, 1.5, 0.5]


def test_a_detector_has_them_for_the_classes_that_it_sees_often_and_says_so():
    made, classes = detector(), calibration().classes[:, 0]
    scores, counts = made.score(calibration()), np.bincount(classes)
    own = np.flatnonzero(counts >= LEAST).tolist()
    assert 0 < len(own) < 10
    assert made.class_thresholds == {c: threshold_at_fpr(scores[classes == c], FPR) for c in own}
    shared = ~np.isin(classes, own)
    assert made.threshold == threshold_at_fpr(scores[shared], FPR)
    assert made.true_rate == true_rate(int(shared.sum()), FPR)
    assert f"one of their own for {len(own)} of the classes" in repr(made)
    few = detector(calibration()[:500])
    assert few.class_thresholds == {}
    assert "of their own" not in repr(few)
    assert made.fit(data().test_images[:200]).class_thresholds == {}


def test_flags_and_p_values_agree_and_are_of_the_class_that_the_network_predicts():
    made = detector()
    for features in new():
        found = made.detect(features)
        limits = np.array([made.class_thresholds.get(c, made.threshold) for c in found.predicted.tolist()])
        np.testing.assert_array_equal(found.thresholds, limits)
        np.testing.assert_array_equal(found.flagged, found.scores > limits)
        np.testing.assert_array_equal(found.flagged, found.p_values <= FPR)
        for row in (0, 40, 111):
            scores, classes = made.score(calibration()), calibration().classes[:, 0]
            if (label := found.predicted[row]) in made.class_thresholds:
                scores = scores[classes == label]
            else:
                scores = scores[~np.isin(classes, list(made.class_thresholds))]
            np.testing.assert_array_equal(made.fixed_on(label), np.sort(scores))
            assert found.p_values[row] == (1 + (scores >= found.scores[row]).sum()) / (len(scores) + 1)
    made.calibrate(calibration(), fpr=FPR, by_class=False)
    assert made.class_thresholds == {}
    plain = made.detect(new()[1])
    np.testing.assert_array_equal(plain.flagged, plain.scores > made.threshold)
    np.testing.assert_array_equal(plain.flagged, plain.p_values <= FPR)


def test_an_image_alone_is_judged_as_among_others():
    made = detector()
    together = made.detect(new()[1])
    for row in range(0, len(together), 7):
        alone, among = made.detect(new()[1][row : row + 1])[0], together[row]
        assert alone == among
        assert alone.reasons == among.reasons
        assert alone.threshold == made.class_thresholds.get(alone.predicted, made.threshold)
        if alone.flagged and "above the threshold" in alone.reasons[0]:
            assert f"{alone.threshold:.4g}" in alone.reasons[0]


def opened(file):
    with SealedFile(file, WHAT) as found:
        return open_detector(found, graph())


@pytest.mark.parametrize("read", [opened, lambda file: effpath.load_detector(file, graph())])
def test_a_file_keeps_them_to_the_last_bit(read, tmp_path):
    made = detector()
    effpath.save_detector(made, tmp_path / "d.safetensors")
    found = read(tmp_path / "d.safetensors")
    assert found.class_thresholds == made.class_thresholds
    theirs, ours = found.detect(new()[1]), made.detect(new()[1])
    for name in ("flagged", "p_values", "thresholds"):
        np.testing.assert_array_equal(getattr(theirs, name), getattr(ours, name))


def test_a_file_of_an_earlier_version_has_one_threshold_and_one_whose_parts_do_not_fit_is_refused(tmp_path):
    made, file = detector(), tmp_path / "d.safetensors"
    classes, limits = made.calibration_classes, made.class_thresholds
    made.calibration_classes, made.class_thresholds = None, {}
    effpath.save_detector(made, file)  # as it was written before, but for an empty word
    old = opened(file)
    assert (old.class_thresholds, old.calibration_classes) == ({}, None)
    np.testing.assert_array_equal(old.detect(new()[1]).flagged, old.score(new()[1]) > old.threshold)
    made.class_thresholds = limits
    effpath.save_detector(made, file)
    with pytest.raises(StoreError, match="without calibration scores of them"):
        opened(file)
    made.calibration_classes = classes[1:]
    effpath.save_detector(made, file)
    with pytest.raises(StoreError, match=f"{len(classes)} calibration scores in one place, {len(classes) - 1} in"):
        opened(file)


def test_explanations_and_reports_name_the_threshold_that_decides():
    made, images = detector(), noisy(data().test_images[200:212])
    for found, verdict in zip(effpath.explain(made, images), made.detect(images), strict=True):
        assert found.threshold == verdict.threshold
        assert found.verdict == verdict
    report = effpath.report(graph(), made, noisy(data().test_images[200:212]))
    known = made.detect(calibration())
    assert report.calibration.above == known.flagged.mean() <= FPR
    assert f"in {len(made.class_thresholds)} of the classes above a limit of their own" in report.html
    assert "less the threshold of the class that the network predicts" in report.html
    told = json.loads(report.json)["detector"]["class_thresholds"]
    assert told == {str(label): limit for label, limit in made.class_thresholds.items()}


def test_an_adaptive_attack_succeeds_where_it_stays_below_the_threshold_of_the_class_that_it_ends_in():
    images = torch.zeros(4, 1, 8, 8)
    wrong, predicted = torch.tensor([True, True, True, False]), torch.tensor([3, 4, 3, 3])
    result = AdaptiveResult(
        "made", {"norm": "Linf"}, 0.1, images, images, torch.arange(4), torch.zeros(4, dtype=torch.int64),
        predicted, wrong, np.array([0.5, 0.5, 0.1, 0.1]), 1.0, 0, {3: 0.2},
    )  # fmt: skip
    assert result.succeeded().tolist() == [False, True, True, False]
    assert result.succeeded(0.3).tolist() == [False, False, True, False]
