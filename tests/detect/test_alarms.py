"""The strongest of three alarms decides, and each can be read off."""

from __future__ import annotations

import numpy as np
import pytest

import effpath
from digits_net import class_paths, data, graph, model
from effpath.attacks import attack
from effpath.detect import ALARMS, Detector, JointSimilarity, StrongestAlarm, make_classifier, path_features
from effpath.errors import InputError, OptionError
from effpath.likelihood import PathFit

SETS = 2


def rows(count: int, *, similarity: float, margin: float, odds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    first = similarity + 0.02 * rng.normal(size=(count, SETS))
    second = 0.4 + 0.02 * rng.normal(size=(count, SETS))
    lead = margin + 0.1 * rng.normal(size=(count, SETS))
    return np.hstack([first, second, lead, odds + rng.normal(size=(count, 1))])


CLEAN = rows(200, similarity=0.9, margin=2, odds=12)
BORDER = rows(200, similarity=0.8, margin=1, odds=0, seed=1)


def fitted() -> StrongestAlarm:
    return StrongestAlarm().fit(np.vstack([CLEAN, BORDER]), np.repeat([0, 1], 200))


def test_suspicion_is_the_highest_alarm_in_standard_deviations_of_clean_rows() -> None:
    detector = fitted()
    alarms = detector.alarms(CLEAN)
    np.testing.assert_allclose(alarms.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(alarms.std(0), 1, atol=1e-9)
    np.testing.assert_array_equal(detector.decision_function(BORDER), detector.alarms(BORDER).max(1))
    assert (detector.predict(BORDER) == 1).mean() > 0.95 > 0.9 > (detector.predict(CLEAN) == 1).mean()


@pytest.mark.parametrize(
    ("which", "image"),
    [
        (0, {"similarity": 0.6, "margin": 2, "odds": 12}),
        (1, {"similarity": 0.9, "margin": -2, "odds": 12}),
        (2, {"similarity": 0.9, "margin": 2, "odds": -1}),
    ],
)
def test_one_alarm_is_enough(which: int, image: dict[str, float]) -> None:
    alarms = fitted().alarms(rows(50, **image, seed=2))
    assert (alarms.argmax(1) == which).mean() > 0.9
    assert len(ALARMS) == alarms.shape[1]


def test_the_first_alarm_is_the_joint_similarity() -> None:
    X, y = np.vstack([CLEAN, BORDER]), np.repeat([0, 1], 200)
    alone = JointSimilarity(SETS).fit(X[:, : 2 * SETS], y).decision_function(X[:, : 2 * SETS])
    assert np.corrcoef(fitted().alarms(X)[:, 0], alone)[0, 1] == pytest.approx(1)


def test_columns_of_another_number_are_refused() -> None:
    with pytest.raises(InputError, match=r"3 · sets \+ 1 columns; got 6"):
        StrongestAlarm().fit(CLEAN[:, 1:], np.arange(200) % 2)


def test_the_detector_reads_similarities_margins_and_log_odds() -> None:
    images, labels = data().test_images[:90], data().test_labels[:90]
    made = attack(model(), images, labels, "FGSM")
    detector = Detector(graph(), class_paths(), kind="alarms")
    detector.fit(images[:60], made.images[:60]).calibrate(images[60:])
    features = detector.features(images[:5])
    assert features.fit is not None
    wanted = PathFit(class_paths())(effpath.extract(graph(), images[:5]))
    np.testing.assert_array_equal(features.fit, wanted)
    odds = features.logits.astype(float)
    top = odds.max(1)
    others = np.log(np.exp(odds).sum(1) - np.exp(top))
    np.testing.assert_allclose(features.confidence(), top - others, rtol=1e-6)
    assert detector.read(features).shape == (5, 3 * len(class_paths().header.layers) + 1)
    np.testing.assert_array_equal(detector.detect(images[:5]).scores, detector.score(features))
    assert detector.score(made.images).mean() > detector.score(images).mean() + 1


def test_features_without_the_fit_say_how_to_get_it() -> None:
    features = path_features(graph(), class_paths(), data().test_images[:4])
    with pytest.raises(OptionError, match="fit=PathFit"):
        features.margins()
    with pytest.raises(OptionError, match="fit=PathFit"):
        Detector(graph(), class_paths(), kind="alarms").fit(features, features)


def test_the_best_fitting_class_of_clean_images_is_mostly_their_own() -> None:
    images = data().test_images[:100]
    features = path_features(graph(), class_paths(), images, fit=PathFit(class_paths()))
    assert (features.best_fitting() == features.classes[:, 0]).mean() > 0.85
    some = features[np.arange(3)]
    np.testing.assert_array_equal(some.margins(), features.margins()[:3])


def test_it_is_made_by_name() -> None:
    X, y = np.vstack([CLEAN, BORDER]), np.repeat([0, 1], 200)
    np.testing.assert_array_equal(
        make_classifier("alarms").fit(X, y).decision_function(X), fitted().decision_function(X)
    )
