"""Intervals over what images share, such as a patch; thresholds on what the network gets wrong, too."""

from __future__ import annotations

import numpy as np
import pytest

from effpath.detect import auc_interval, tpr_interval
from effpath.detect.evaluate import Entrant, Group, evaluate
from effpath.detect.features import Features
from effpath.detect.metrics import cluster_draws, threshold_at_fpr
from effpath.detect.splits import split_rows
from effpath.errors import InputError

SOURCES = np.arange(200)


def group(name: str, scores: np.ndarray, source: np.ndarray, clusters: np.ndarray | None = None) -> Group:
    """Images that one detector has scored."""
    count = len(source)
    features = Features(
        np.zeros((count, 2)), ("a", "b"), np.zeros((count, 2), np.int64), np.zeros((count, 3), np.float32)
    )
    return Group(name, features, source, {"score": scores}, clusters)


JUDGED = {"kinds": (), "others": {"score": Entrant(lambda each: each.arrays["score"])}}


def test_what_holds_for_a_patch_is_as_uncertain_as_the_patches_are_few() -> None:
    """Four of eight patches are found always, four never: two hundred images say no more than eight patches."""
    rng = np.random.default_rng(0)
    patches = np.repeat(np.arange(8), 25)
    scores = np.where(patches % 2, 3.0, -3.0) + 0.01 * rng.normal(size=200)
    y = np.repeat([0, 1], 200)
    both = np.concatenate([rng.normal(size=200), scores]), np.tile(SOURCES, 2)
    by_image = auc_interval(y, *both, seed=0)
    by_patch = auc_interval(y, *both, clusters=np.concatenate([np.full(200, -1), patches]), seed=0)
    assert by_image.value == by_patch.value == pytest.approx(0.5, abs=0.02)
    assert by_image.high - by_image.low < 0.2
    assert by_patch.high - by_patch.low == pytest.approx(2 * 1.96 * 0.5 / 8**0.5, rel=0.25)
    found = tpr_interval(scores, SOURCES, 0.0, clusters=patches, seed=0)
    assert found.value == 0.5
    assert found.high - found.low == pytest.approx(0.69, rel=0.25)


def test_without_clusters_and_with_none_that_share_the_interval_is_the_one_of_images() -> None:
    scores = np.random.default_rng(1).normal(size=200)
    plain = tpr_interval(scores, SOURCES, 0.3, seed=5)
    assert tpr_interval(scores, SOURCES, 0.3, clusters=np.full(200, -1), seed=5) == plain


def test_clusters_are_drawn_with_replacement_and_rows_without_one_once() -> None:
    drawn = cluster_draws(np.array([4, -1, 4, 7, 9, 9]), 500, np.random.default_rng(0))
    assert drawn.shape == (500, 6)
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 2])
    np.testing.assert_array_equal(drawn[:, 4], drawn[:, 5])
    np.testing.assert_array_equal(drawn[:, 1], 1)
    np.testing.assert_array_equal(drawn[:, [0, 3, 4]].sum(1), 3)
    assert drawn[:, 3].mean() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("clusters", [np.zeros((2, 2), int), np.array([0.5, 1.0]), np.array([-2, 0])])
def test_clusters_that_are_none_are_refused(clusters: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected clusters of integers"):
        cluster_draws(clusters, 3, np.random.default_rng(0))


def test_an_interval_wants_a_cluster_for_each_row() -> None:
    with pytest.raises(InputError, match="expected a cluster for each of 200 scores"):
        tpr_interval(np.zeros(200), SOURCES, 0.0, clusters=np.zeros(3, int), seed=0)


def test_an_evaluation_gives_intervals_over_the_patches_of_a_group() -> None:
    rng = np.random.default_rng(0)
    clean = group("clean", rng.normal(size=200), SOURCES)
    patches = np.arange(200) % 8
    attacked = np.where(patches % 2, 3.0, -3.0) + 0.01 * rng.normal(size=200)
    wide, narrow = (
        evaluate(clean, [group("Patch", attacked, SOURCES, clusters)], **JUDGED).scores["score"]["Patch"].auc
        for clusters in (patches, None)
    )
    assert wide.value == narrow.value
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    with pytest.raises(InputError, match="a row of clusters for each of the 200 images of Patch"):
        group("Patch", attacked, SOURCES, patches[:3])


def test_thresholds_are_fixed_on_mistakes_too_and_these_are_negatives_of_no_auc() -> None:
    rng = np.random.default_rng(3)
    clean, attacked = group("clean", rng.normal(size=200), SOURCES), group("A", rng.normal(1, size=200), SOURCES)
    wrong = group("mistakes", rng.normal(4, size=40), np.full(40, -1))
    plain, careful = (evaluate(clean, [attacked], **JUDGED, mistakes=each) for each in (None, wrong))
    held = split_rows(40, fractions=(0.1, 0.2, 0.7), seed=0)["calibrate"]
    known = np.concatenate([plain.calibration["score"], wrong.arrays["score"][held]])
    np.testing.assert_array_equal(careful.calibration["score"], known)
    assert careful.threshold["score"] == threshold_at_fpr(known, 0.05) > plain.threshold["score"]
    assert careful.scores["score"]["A"].auc == plain.scores["score"]["A"].auc
    tested = careful.suspicion["score"]["mistakes"]
    np.testing.assert_array_equal(tested, wrong.arrays["score"][careful.test["mistakes"]])
    assert not set(held) & set(careful.test["mistakes"])
    assert careful.sizes == plain.sizes


def test_rows_that_share_nothing_are_divided_and_few_of_them_leave_parts_empty() -> None:
    parts = split_rows(40, fractions=(0.1, 0.2, 0.7), seed=1)
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 4, "calibrate": 8, "test": 28}
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(40))
    assert sum(map(len, split_rows(1, fractions=(0.1, 0.2, 0.7), seed=1).values())) == 1
    assert not any(map(len, split_rows(0, fractions=(0.1, 0.2, 0.7), seed=1).values()))
