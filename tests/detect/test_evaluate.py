from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from effpath.detect import CombinedSurprise
from effpath.detect.classifiers import make_classifier, suspicion
from effpath.detect.evaluate import BASELINES, Entrant, Group, evaluate
from effpath.detect.features import Features
from effpath.detect.metrics import threshold_at_fpr
from effpath.detect.signs.profiles import PROFILES
from effpath.detect.splits import split_sources
from effpath.errors import InputError, OptionError


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


class Classifier(LogisticRegression):
    def fit(self, X, y):
        self.rows_, self.labels_ = X, y
        return super().fit(X, y)


class Outliers(IsolationForest):
    def fit(self, X, y=None):
        self.rows_ = X
        return super().fit(X)


def numbered(group, start):
    """The group with an array that numbers its rows."""
    return replace(group, arrays={"number": start + np.arange(len(group.source), dtype=float)[:, None]})


def test_another_detector_learns_from_the_training_rows_of_what_it_may_see():
    clean, attacks = groups()
    clean, *attacks = (numbered(g, 1000 * i) for i, g in enumerate([clean, *attacks]))
    entrants = {
        "all": Entrant(lambda g: g.arrays["number"], lambda seed: Classifier()),
        "one": Entrant(lambda g: g.arrays["number"], lambda seed: Outliers(n_estimators=5, random_state=seed)),
    }
    judged = evaluate(clean, attacks, kinds=(), others=entrants, unseen=("R",), seed=2)
    learnt, outliers = judged.classifiers["all"], judged.classifiers["one"]
    sources = np.concatenate([g.source for g in (clean, *attacks)])
    parts = split_sources(sources, fractions=(0.1, 0.2, 0.7), seed=2)
    numbers = np.concatenate([g.arrays["number"][:, 0] for g in (clean, *attacks)])[parts["train"]]
    np.testing.assert_array_equal(learnt.rows_[:, 0], numbers[numbers < 3000])  # R, the third attack, is unseen
    np.testing.assert_array_equal(learnt.labels_, learnt.rows_[:, 0] >= 1000)
    np.testing.assert_array_equal(outliers.rows_[:, 0], numbers[numbers < 1000])
    tested = attacks[0].arrays["number"][judged.test["A"]]
    np.testing.assert_array_equal(judged.suspicion["all"]["A"], learnt.decision_function(tested))
    np.testing.assert_array_equal(judged.suspicion["one"]["A"], -outliers.score_samples(tested))


def test_a_detector_that_learns_nothing_gives_its_suspicion_itself():
    clean, attacks = groups()
    clean, *attacks = (replace(g, arrays={"score": 1 - g.features.values[:, 0]}) for g in (clean, *attacks))
    judged = evaluate(clean, attacks, kinds=(), others={"mine": Entrant(lambda g: g.arrays["score"])})
    rows = judged.test["B"]
    np.testing.assert_array_equal(judged.suspicion["mine"]["B"], attacks[1].arrays["score"][rows])
    held_out = split_sources(clean.source, fractions=(0.1, 0.2, 0.7), seed=0)["calibrate"]
    assert judged.threshold["mine"] == threshold_at_fpr(clean.arrays["score"][held_out], 0.05)
    assert list(judged.scores) == [*BASELINES, "mine"]
    assert "mine" not in judged.classifiers


def test_too_few_clean_images_for_the_rate_flag_nothing_and_a_false_rate_is_refused():
    clean, attacks = groups()
    judged = evaluate(clean, attacks, kinds=("linear",), fractions=(0.5, 0.09, 0.41), seed=0, resamples=0)
    assert judged.sizes["calibrate"] == 18
    assert judged.threshold["linear"] == np.inf
    assert judged.fpr["linear"] == judged.scores["linear"]["A"].tpr.value == 0
    assert judged.scores["linear"]["A"].auc.value > 0.5
    enough = evaluate(clean, attacks, kinds=("linear",), fractions=(0.5, 0.095, 0.405), seed=0, resamples=0)
    assert enough.threshold["linear"] == enough.calibration["linear"].max()
    with pytest.raises(OptionError, match=r"expected fpr, .* in \(0, 1\)"):
        evaluate(clean, attacks, kinds=("linear",), fpr=1)


STANDARD = PROFILES["standard"].says


def with_signs(group, shift, seed):
    """The group with signs of the default kind, a few of them raised by ``shift``."""
    found = np.random.default_rng(seed).normal(size=(len(group.source), len(STANDARD)))
    found[:, :3] += shift
    return replace(group, features=replace(group.features, signs=found, sign_names=STANDARD))


def signed():
    clean, attacks = groups()
    return with_signs(clean, 0, 10), [
        with_signs(each, 1 + place, 11 + place) for place, each in enumerate(attacks)
    ]


def test_a_profile_of_signs_is_fitted_on_clean_rows_and_weighed_by_the_seen_attacks_alone():
    clean, attacks = signed()
    judged = evaluate(clean, attacks, kinds=("standard", "linear"), unseen=("R",), seed=2, resamples=0)
    sources = np.concatenate([each.source for each in (clean, *attacks)])
    train = split_sources(sources, fractions=(0.1, 0.2, 0.7), seed=2)["train"]
    rows = np.concatenate([each.features.signs for each in (clean, *attacks)])
    group_of = np.repeat(np.arange(4), [len(each.source) for each in (clean, *attacks)])
    own, seen = train[group_of[train] == 0], train[group_of[train] < 3]
    alone = CombinedSurprise("standard").fit(rows[own])
    before = alone.weights_
    weighed = alone.reweigh(rows[seen], group_of[seen] > 0)
    assert not np.array_equal(before, weighed.weights_)
    for each in attacks:
        tested = each.features.signs[judged.test[each.name]]
        np.testing.assert_array_equal(judged.suspicion["standard"][each.name], -weighed.score_samples(tested))
    assert judged.threshold["standard"] == threshold_at_fpr(judged.calibration["standard"], 0.05)
    none = evaluate(clean, attacks, kinds=("standard",), unseen=("A", "B", "R"), seed=2, resamples=0)
    np.testing.assert_array_equal(none.classifiers["standard"][-1].weights_, before)


def test_an_entrant_that_reweighs_is_treated_the_same_with_and_without_a_pipeline_around_it():
    clean, attacks = signed()
    entrants = {
        "bare": Entrant(lambda g: g.features.signs, lambda seed: CombinedSurprise()),
        "piped": Entrant(lambda g: g.features.signs, lambda seed: make_classifier(CombinedSurprise())),
    }
    judged = evaluate(clean, attacks, kinds=("standard",), others=entrants, unseen=("R",), seed=2, resamples=0)
    for name in entrants:
        np.testing.assert_array_equal(judged.suspicion[name]["A"], judged.suspicion["standard"]["A"])


def test_features_without_the_signs_that_a_kind_reads_are_an_error():
    clean, attacks = groups()
    with pytest.raises(OptionError, match="expected features with the signs 'unsure', 'too sure'"):
        evaluate(clean, attacks, kinds=("standard",))


def test_a_name_that_is_taken_or_an_array_of_another_length_is_an_error():
    clean, attacks = groups()
    with pytest.raises(OptionError, match=r"expected a kind of linear, .* got 'tree'"):
        evaluate(clean, attacks, kinds=("tree",))
    with pytest.raises(OptionError, match="a detector is called energy already"):
        evaluate(clean, attacks, others={"energy": Entrant(lambda g: g.features.logits[:, 0])})
    with pytest.raises(InputError, match="expected a row of LID for each of the 200 images of clean, got 199"):
        replace(clean, arrays={"LID": np.zeros((199, 2))})
