import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from effpath.detect.classifiers import suspicion
from effpath.detect.evaluate import BASELINES, Group, evaluate
from effpath.detect.features import Features
from effpath.detect.splits import split_sources
from effpath.errors import InputError


def group(name, source, shift, seed):
    """Similarities of 3 layers, rank 1 lowered and rank 2 raised by ``shift``."""
    rng = np.random.default_rng(seed)
    count = len(source)
    values = np.concatenate(
        [0.9 - shift + 0.05 * rng.normal(size=(count, 3)), 0.5 + shift + 0.05 * rng.normal(size=(count, 3))],
        axis=1,
    )
    logits = rng.normal(size=(count, 10)).astype(np.float32)
    return Group(
        name, Features(values, tuple("abcdef"), np.zeros((count, 2), np.int64), logits), np.asarray(source)
    )


def groups():
    sources = np.arange(200)
    return group("clean", sources, 0, 0), [
        group("A", sources, 0.05, 1), group("B", sources[::2], 0.03, 2), group("R", np.full(80, -1), 0.1, 3)
    ]  # fmt: skip


def test_every_score_is_that_of_the_test_rows_alone():
    clean, attacks = groups()
    judged = evaluate(clean, attacks, unseen=("R",), seed=1)
    for attack in attacks:
        rows = judged.test[attack.name]
        for kind in ("linear", "forest", "clean"):
            classifier = judged.classifiers[kind]
            positive = suspicion(classifier, attack.features.values[rows])
            negative = suspicion(classifier, clean.features.values[judged.test["clean"]])
            y = np.repeat([0, 1], [len(negative), len(positive)])
            expected = roc_auc_score(y, np.concatenate([negative, positive]))
            score = judged.scores[kind][attack.name]
            assert score.auc.value == pytest.approx(expected, abs=1e-12)
            assert score.auc.low <= score.auc.value <= score.auc.high
            assert score.tpr.value == (positive > judged.threshold[kind]).mean()


def test_no_source_is_in_two_parts_and_the_threshold_sees_held_out_clean_rows_only():
    clean, attacks = groups()
    judged = evaluate(clean, attacks, seed=3)
    tested = {name: set(g.source[judged.test[name]].tolist()) - {-1} for name, g in
              [("clean", clean), *((a.name, a) for a in attacks)]}  # fmt: skip
    assert tested["A"] == tested["clean"]
    assert tested["B"] <= tested["clean"]
    assert judged.sizes == {"train": 20, "calibrate": 40, "test": 140}
    assert len(tested["clean"]) == 140


def test_an_unseen_attack_does_not_change_the_detector():
    clean, attacks = groups()
    with_r = evaluate(clean, attacks, unseen=("R",), kinds=("linear",))
    without = evaluate(clean, attacks[:2], kinds=("linear",))
    np.testing.assert_array_equal(with_r.suspicion["linear"]["A"], without.suspicion["linear"]["A"])
    seen = evaluate(clean, attacks, kinds=("linear",))
    assert not np.array_equal(seen.suspicion["linear"]["A"], without.suspicion["linear"]["A"])


def test_the_baselines_grow_with_suspicion():
    sure = np.array([[9.0, 0, 0], [1.0, 0.9, 0.8]], dtype=np.float32)
    features = Features(np.zeros((2, 2)), ("a", "b"), np.zeros((2, 2), np.int64), sure)
    np.testing.assert_allclose(BASELINES["max softmax"](features), -softmax(sure, axis=1).max(1), rtol=1e-6)
    assert all(score(features)[0] < score(features)[1] for score in BASELINES.values())


def test_too_few_images_are_an_error():
    clean, attacks = groups()
    lonely = group("L", np.array([0]), 0.1, 4)
    seeds = [
        seed
        for seed in range(20)
        if 0 not in split_sources(np.arange(200), fractions=(0.1, 0.2, 0.7), seed=seed)["test"]
    ]
    with pytest.raises(InputError, match="no image of L is in the test part; attack more images"):
        evaluate(clean, [*attacks, lonely], kinds=("linear",), seed=seeds[0])
