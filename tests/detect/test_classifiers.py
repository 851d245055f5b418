from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from effpath.detect import make_classifier, suspicion
from effpath.detect.classifiers import CLASSIFIERS, is_clean_only, reading_of
from effpath.errors import InputError, OptionError


@pytest.fixture(scope="module")
def similarities():
    """Clean and adversarial features [300, 6], three layers of each rank, with a NaN in one row of ten."""
    rng = np.random.default_rng(0)
    y = np.arange(300) % 2
    X = 0.5 + 0.2 * np.outer(y, [-1, -1, -1, 1, 1, 1]) + 0.15 * rng.standard_normal((300, 6))
    X[rng.random(300) < 0.1, 1] = np.nan
    return X, y


def seen_by(kind, X):
    """The columns that a kind looks at; margins and log odds fall with suspicion, as rank-1 similarities do, and
    all signs grow with it."""
    if reading_of(kind).profile:
        return np.hstack([1 - X[:, :3], X[:, 3:]])
    return np.hstack([X[:, :3], 2 * X[:, :3] - 1, 10 * X[:, 2:3]]) if reading_of(kind).wants_likelihood else X


def fitted(kind, X, y, seed=0):
    if is_clean_only(kind):
        return make_classifier(kind, seed=seed).fit(X[y == 0])
    return make_classifier(kind, seed=seed).fit(X, y)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_every_kind_grows_with_suspicion_and_takes_missing_layers(kind, similarities):
    X, y = seen_by(kind, similarities[0]), similarities[1]
    scores = suspicion(fitted(kind, X[:150], y[:150]), X[150:])
    assert scores.shape == (150,)
    assert scores.dtype == np.float64
    assert roc_auc_score(y[150:], scores) > 0.9


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_layer_that_is_always_missing_keeps_its_column(kind, similarities):
    X, y = seen_by(kind, similarities[0]).copy(), similarities[1]
    X[:, 0] = np.nan
    model = fitted(kind, X, y)
    assert model[-1].n_features_in_ == X.shape[1]
    assert np.isfinite(suspicion(model, X)).all()


def test_a_missing_similarity_counts_as_the_training_median(similarities):
    X, y = similarities
    model = make_classifier("linear").fit(X, y)
    row, filled = X[:1].copy(), X[:1].copy()
    row[0, 2], filled[0, 2] = np.nan, np.nanmedian(X[:, 2])
    np.testing.assert_array_equal(suspicion(model, row), suspicion(model, filled))


@pytest.mark.parametrize("kind", ["forest", "adaboost", "boosting"])
def test_the_same_seed_gives_the_same_scores(kind, similarities):
    X, y = similarities
    scores = [suspicion(fitted(kind, X, y, seed=3), X) for _ in range(2)]
    np.testing.assert_array_equal(*scores)


def test_the_ensembles_have_the_papers_sizes():
    sizes = {kind: make_classifier(kind)[-1].n_estimators for kind in ("forest", "adaboost", "boosting")}
    assert sizes == {"forest": 100, "adaboost": 50, "boosting": 100}


def test_the_linear_detector_of_gates_takes_features_of_either_direction(similarities):
    X, y = similarities
    X = np.nan_to_num(X, nan=0.5)
    scores = suspicion(make_classifier("gates").fit(X, y), X)
    flipped = suspicion(make_classifier("gates").fit(1 - X, y), 1 - X)
    np.testing.assert_allclose(scores, flipped, rtol=0.02, atol=0.02)
    assert roc_auc_score(y, scores) > 0.95
    assert roc_auc_score(y, suspicion(make_classifier("linear").fit(1 - X, y), 1 - X)) == 0.5


@pytest.mark.parametrize(
    "model",
    [IsolationForest(random_state=0), make_pipeline(StandardScaler(), IsolationForest(random_state=0))],
)
def test_other_outlier_detectors_grow_with_suspicion_too(model):
    rng = np.random.default_rng(0)
    model.fit(rng.standard_normal((100, 2)))
    near, far = suspicion(model, [[0, 0], [9, 9]])
    assert near < far


def test_an_unknown_kind_is_answered_with_the_known_ones():
    with pytest.raises(
        OptionError,
        match=r"a kind of linear, forest, adaboost, boosting, clean, surprise, gates, fast, standard, paired, "
        r"thorough, or .* got 'tree'",
    ):
        make_classifier("tree")


def test_a_classifier_of_three_classes_is_refused():
    model = LogisticRegression().fit(np.eye(3), [0, 1, 2])
    with pytest.raises(InputError, match="two classes"):
        suspicion(model, np.eye(3))
