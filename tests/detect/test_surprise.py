"""Joint surprise: four signs, each as surprising as it is rare among clean rows, and their sum."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import effpath
from digits_net import class_paths, data, graph, model
from effpath.attacks import attack
from effpath.class_paths.likelihood import PathLikelihood
from effpath.detect import SIGNS, Detector, JointSimilarity, JointSurprise, make_classifier, path_features
from effpath.detect.surprise import CAP, PENALTY, learned_weights
from effpath.errors import InputError, OptionError

SETS = 2


def rows(count: int, *, similarity: float, margin: float, odds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    first = similarity + 0.02 * rng.normal(size=(count, SETS))
    lead = margin + 0.1 * rng.normal(size=(count, SETS))
    return np.hstack([first, lead, odds + rng.normal(size=(count, 1))])


CLEAN = rows(200, similarity=0.9, margin=2, odds=12)
BORDER = rows(200, similarity=0.8, margin=1, odds=0, seed=1)


def fitted() -> JointSurprise:
    return JointSurprise().fit(np.vstack([CLEAN, BORDER]), np.repeat([0, 1], 200))


def test_suspicion_is_the_sum_of_four_surprises() -> None:
    detector = fitted()
    surprises = detector.as_score().surprises(CLEAN)
    assert surprises.shape == (200, len(SIGNS))
    assert surprises.min() >= 0
    np.testing.assert_array_equal(detector.decision_function(BORDER), detector.as_score().surprises(BORDER).sum(1))
    assert (detector.predict(BORDER) == 1).mean() > 0.95
    assert (detector.predict(CLEAN) == 1).mean() == pytest.approx(0.05, abs=0.005)


def test_a_surprise_is_minus_the_log_of_the_share_of_clean_rows_and_exponential_in_the_tail() -> None:
    detector = fitted()
    signs, surprises = detector.as_score().signs(CLEAN), detector.as_score().surprises(CLEAN)
    for sign, surprise in zip(signs.T, surprises.T, strict=True):
        edge = np.quantile(sign, 0.7)
        share = np.array([(sign >= value).mean() for value in sign])
        below = sign <= edge
        np.testing.assert_allclose(surprise[below], np.minimum(-np.log(share[below]), -np.log(0.3)), atol=0.02)
        beyond = sign > edge
        wanted = -np.log(0.3) + (sign[beyond] - edge) / (sign[beyond] - edge).mean()
        np.testing.assert_allclose(surprise[beyond], wanted)
        order = np.argsort(sign)
        assert (np.diff(surprise[order]) >= -1e-12).all()


@pytest.mark.parametrize(
    ("which", "image"),
    [
        (0, {"similarity": 0.6, "margin": 2, "odds": 12}),
        (1, {"similarity": 0.9, "margin": -2, "odds": 12}),
        (2, {"similarity": 0.9, "margin": 2, "odds": -1}),
        (3, {"similarity": 0.9, "margin": 2, "odds": 40}),
    ],
)
def test_one_sign_is_enough(which: int, image: dict[str, float]) -> None:
    detector = fitted()
    surprises = detector.as_score().surprises(rows(50, **image, seed=2))
    assert (surprises.argmax(1) == which).mean() > 0.9
    assert (detector.decision_function(rows(50, **image, seed=2)) > detector.usual_).mean() > 0.9


def test_the_first_sign_is_a_weighted_sum_of_similarities() -> None:
    X, y = np.vstack([CLEAN, BORDER]), np.repeat([0, 1], 200)
    alone = JointSimilarity(SETS).fit(X[:, :SETS], y).decision_function(X[:, :SETS])
    np.testing.assert_array_equal(fitted().as_score().signs(X)[:, 0], alone)
    np.testing.assert_array_equal(fitted().as_score().signs(X)[:, 3], X[:, -1])
    np.testing.assert_array_equal(fitted().as_score().signs(X)[:, 2], -X[:, -1])


def test_columns_of_another_number_and_a_tail_outside_its_range_are_refused() -> None:
    with pytest.raises(InputError, match=r"2 · sets \+ 1 \+ 0 columns; got 4"):
        JointSurprise().fit(CLEAN[:, 1:], np.arange(200) % 2)
    with pytest.raises(InputError, match=r"2 · sets \+ 1 \+ 1 columns; got 5"):
        JointSurprise(further=1).fit(CLEAN, np.arange(200) % 2)
    with pytest.raises(OptionError, match="expected further of at least 0, got -1"):
        JointSurprise(further=-1).fit(CLEAN, np.arange(200) % 2)
    with pytest.raises(OptionError, match="expected tail in"):
        JointSurprise(tail=1.0).fit(CLEAN, np.arange(200) % 2)
    with pytest.raises(OptionError, match=r"expected floor in \[0, 1\], got 1.5"):
        JointSurprise(floor=1.5).fit(CLEAN, np.arange(200) % 2)


def test_further_signs_are_summed_with_the_four_and_leave_these_as_they_are() -> None:
    rng = np.random.default_rng(5)
    X, y = np.vstack([CLEAN, BORDER]), np.repeat([0, 1], 200)
    further = np.stack([rng.normal(size=400), np.repeat([0.0, 9], 200) + rng.normal(size=400)], axis=1)
    longer = JointSurprise(further=2).fit(np.hstack([X, further]), y)
    surprises = longer.as_score().surprises(np.hstack([X, further]))
    np.testing.assert_array_equal(surprises[:, :4], fitted().as_score().surprises(X))
    np.testing.assert_array_equal(longer.as_score().signs(np.hstack([X, further]))[:, 4:], further)
    assert surprises[200:, 5].min() > surprises[:200, 5].max()
    np.testing.assert_array_equal(longer.decision_function(np.hstack([X, further])), surprises.sum(1))
    clean = np.hstack([CLEAN[:50], np.zeros((50, 1)), np.full((50, 1), 9.0)])
    assert (longer.predict(clean) == 1).mean() > 0.9  # one further sign is enough


def test_with_a_floor_below_1_what_helps_counts_1_and_noise_the_floor() -> None:
    rng = np.random.default_rng(5)
    X, y = np.vstack([CLEAN, CLEAN]), np.repeat([0, 1], 200)  # none of the four signs helps
    further = np.stack([rng.normal(size=400), np.repeat([0.0, 1.5], 200) + rng.normal(size=400)], axis=1)
    X = np.hstack([X, further])
    plain, weighed = JointSurprise(further=2).fit(X, y), JointSurprise(further=2, floor=0.1).fit(X, y)
    np.testing.assert_array_equal(plain.weights_, np.ones(6))
    assert weighed.weights_[5] == 1
    assert (weighed.weights_[:5] < 0.3).all()
    assert weighed.weights_.min() == 0.1
    np.testing.assert_array_equal(weighed.as_score().surprises(X), plain.as_score().surprises(X))
    np.testing.assert_array_equal(
        weighed.decision_function(X), (weighed.as_score().surprises(X) * weighed.weights_).sum(1)
    )
    assert (weighed.predict(X[:200]) == 1).mean() == pytest.approx(0.05, abs=0.005)
    assert (weighed.predict(X[200:]) == 1).mean() > (plain.predict(X[200:]) == 1).mean() + 0.1


def test_learned_weights_are_those_of_a_constrained_logistic_regression() -> None:
    rng = np.random.default_rng(6)
    attacked = np.repeat([False, True], [300, 50])
    surprises = rng.exponential(size=(350, 3)) + attacked[:, None] * [2.0, 1.0, 0.0]
    weights = learned_weights(surprises, attacked, 0.0)
    free = LogisticRegression(class_weight="balanced", C=1 / (PENALTY * 350), tol=1e-10, max_iter=1000)
    slopes = np.maximum(free.fit(np.minimum(surprises, CAP), attacked).coef_[0], 0)
    assert slopes.min() > 0 or weights[slopes == 0].max() < 0.01  # the bound hardly moves the others
    np.testing.assert_allclose(weights, slopes / slopes.max(), atol=0.02)
    mirrored = learned_weights(surprises, ~attacked, 0.25)
    assert (mirrored[:2] <= mirrored[2]).all()  # what speaks against an attack counts no less than nothing
    np.testing.assert_array_equal(learned_weights(np.ones((4, 2)), np.arange(4) % 2 == 1, 0.1), np.ones(2))


def test_clean_rows_that_are_all_alike_give_finite_scores() -> None:
    same = np.tile(CLEAN[:1], (20, 1))
    detector = JointSurprise().fit(np.vstack([same, BORDER]), np.repeat([0, 1], [20, 200]))
    assert np.isfinite(detector.decision_function(np.vstack([CLEAN, BORDER]))).all()


def test_the_detector_reads_similarities_margins_and_log_odds() -> None:
    images, labels = data().test_images[:90], data().test_labels[:90]
    made = attack(model(), images, labels, "FGSM")
    detector = Detector(graph(), class_paths(), kind="surprise")
    detector.fit(images[:60], made.images[:60]).calibrate(images[60:])
    features = detector.features(images[:5])
    assert features.likelihood is not None
    wanted = PathLikelihood(class_paths())(effpath.extract(graph(), images[:5]))
    np.testing.assert_array_equal(features.likelihood, wanted)
    odds = features.logits.astype(float)
    top = odds.max(1)
    others = np.log(np.exp(odds).sum(1) - np.exp(top))
    np.testing.assert_allclose(features.log_odds(), top - others, rtol=1e-6)
    assert detector.read(features).shape == (5, 2 * len(class_paths().header.layers) + 1)
    np.testing.assert_array_equal(detector.detect(images[:5]).scores, detector.score(features))
    assert detector.score(made.images).mean() > detector.score(images).mean() + 1


def test_features_without_the_likelihood_say_how_to_get_it() -> None:
    features = path_features(graph(), class_paths(), data().test_images[:4])
    with pytest.raises(OptionError, match="likelihood=PathLikelihood"):
        features.margins()
    with pytest.raises(OptionError, match="likelihood=PathLikelihood"):
        Detector(graph(), class_paths(), kind="surprise").fit(features, features)


def test_the_most_likely_class_of_clean_images_is_mostly_their_own() -> None:
    images = data().test_images[:100]
    features = path_features(graph(), class_paths(), images, likelihood=PathLikelihood(class_paths()))
    assert (features.most_likely() == features.classes[:, 0]).mean() > 0.85
    some = features[np.arange(3)]
    np.testing.assert_array_equal(some.margins(), features.margins()[:3])


def test_class_paths_without_counts_are_told_which_kinds_do_without() -> None:
    digits = data()
    images, labels = digits.train_images[:200], digits.train_labels[:200]
    bare = effpath.build_class_paths(graph(), images, labels, options=effpath.BuildOptions(counts=False))
    with pytest.raises(OptionError, match=r"kind 'surprise': .*counts=True.*or choose kind='linear' or 'clean'"):
        Detector(graph(), bare, kind="surprise")


def test_it_is_made_by_name() -> None:
    X, y = np.vstack([CLEAN, BORDER]), np.repeat([0, 1], 200)
    np.testing.assert_array_equal(
        make_classifier("surprise").fit(X, y).decision_function(X), fitted().decision_function(X)
    )
