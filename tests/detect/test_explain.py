import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import effpath
from digits_net import class_paths, data, graph, noisy
from effpath.detect import SIGNS, JointSimilarity
from effpath.detect.explain import feature_suspicion, strongest_layers, strongest_signs
from effpath.detect.features import Features
from effpath.errors import OptionError
from effpath.files.plain import percent


def fitted(kind):
    images = data().test_images
    detector = effpath.Detector(graph(), class_paths(), kind=kind)
    return detector.fit(images[:60], None if kind == "clean" else noisy(images[60:120]))


@pytest.mark.parametrize("kind", ["linear", "clean"])
def test_what_the_similarities_add_sums_to_the_score_beside_that_of_the_usual_image(kind):
    detector = fitted(kind)
    features = detector.features(noisy(data().test_images[120:160]))
    usual = detector.classifier[0].statistics_[None]
    at_rest = detector.classifier[-1].decision_function(usual)[0] if kind == "linear" else 0.0
    total = feature_suspicion(detector.scoring, detector.read(features), features).sum(axis=1)
    np.testing.assert_allclose(total, detector.score(features) - at_rest, atol=1e-9)


def test_the_reasons_of_joint_surprise_are_those_of_its_first_sign():
    detector = fitted("surprise")
    features = detector.features(noisy(data().test_images[120:160]))
    estimator, imputer = detector.classifier[-1], detector.classifier[0]
    sets = len(class_paths().header.layers)
    added = feature_suspicion(detector.scoring, detector.read(features), features)
    assert (added[:, sets:] == 0).all()
    rows = imputer.transform(detector.read(features))
    sign = estimator.as_score().signs(rows)[:, 0] - estimator.as_score().signs(imputer.statistics_[None])[0, 0]
    np.testing.assert_allclose(added.sum(1), sign / estimator.excess_[0], atol=1e-9)
    signs = strongest_signs(detector, features)
    assert signs == [SIGNS[place] for place in estimator.as_score().surprises(rows).argmax(1)]
    assert len(set(signs)) > 1
    assert strongest_signs(fitted("linear"), features) is None
    assert all(reason.rank == 1 for reasons in strongest_layers(detector, features) for reason in reasons)


def hand_made(values):
    """Similarities of two images, set by hand, in the layout of the digits' network."""
    found = fitted("linear").features(data().test_images[:2])
    return Features(np.asarray(values, dtype=float), found.names, found.classes, found.logits)


def test_the_layer_that_was_changed_is_named_with_its_similarity_and_the_usual_one():
    detector = fitted("linear")
    usual = detector.classifier[0].statistics_
    weights = detector.classifier[-1].coef_
    column = int(np.argmin(weights[:5]))  # the rank-1 similarity of the greatest ω
    changed = usual.copy()
    changed[column] -= 0.25
    features = hand_made([changed, usual])
    loud, quiet = strongest_layers(detector, features)
    (reason,) = loud
    assert reason.layer == ("conv1", "conv2", "fc1", "fc2", "fc3")[column]
    assert (reason.rank, reason.label) == (1, int(features.classes[0, 0]))
    assert reason.suspicion == pytest.approx(-0.25 * weights[column])
    assert (reason.similarity, reason.usual) == (changed[column], usual[column])
    said = f"{reason.layer}: {percent(changed[column])} of the synapses of its path lie in the path of class"
    assert said in str(reason)
    assert quiet == []


def test_a_similarity_of_the_runner_up_names_the_runner_up():
    detector = fitted("clean")
    usual = detector.classifier[0].statistics_
    changed = usual.copy()
    changed[:5] = 1  # nothing is suspicious of rank 1
    changed[7] = 1
    features = hand_made([changed, usual])
    (reason, *_) = strongest_layers(detector, features)[0]
    assert reason.rank == 2
    assert reason.label == int(features.classes[0, 1])
    assert "of the runner-up's path" in str(reason)


def test_at_most_so_many_layers_are_named_the_loudest_first():
    detector = fitted("clean")
    features = detector.features(noisy(data().test_images[120:160]))
    for count in (1, 2, 5):
        for reasons in strongest_layers(detector, features, count=count):
            assert len(reasons) <= count
            strengths = [reason.suspicion for reason in reasons]
            assert strengths == sorted(strengths, reverse=True)
            assert all(strength > 0 for strength in strengths)
            assert len({reason.layer for reason in reasons}) == len(reasons)


def test_a_layer_without_a_path_is_never_a_reason():
    detector = fitted("clean")
    found = detector.features(noisy(data().test_images[120:124]))
    values = found.values.copy()
    values[:, [1, 6]] = np.nan  # conv2, both ranks
    for reasons in strongest_layers(detector, Features(values, found.names, found.classes, found.logits), count=5):
        assert "conv2" not in [reason.layer for reason in reasons]


@pytest.mark.parametrize("kind", ["forest", LogisticRegression()])
def test_a_classifier_that_is_no_sum_over_layers_does_not_say_why(kind):
    detector = fitted(kind)
    with pytest.raises(OptionError, match=f"got one of kind '{detector.name}'"):
        strongest_layers(detector, detector.features(data().test_images[:2]))


def test_a_scaler_before_the_sum_is_not_passed_over():
    scaled = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), JointSimilarity())
    detector = fitted(scaled)
    with pytest.raises(OptionError, match="got one of kind 'Pipeline'"):
        strongest_layers(detector, detector.features(data().test_images[:2]))


@pytest.mark.parametrize("kind", ["linear", "clean", "surprise"])
def test_what_has_learned_nothing_cannot_say_why(kind):
    detector = effpath.Detector(graph(), class_paths(), kind=kind)
    features = detector.features(data().test_images[:2])
    for ask in (strongest_layers, strongest_signs, lambda given, _: given.scoring):
        with pytest.raises(OptionError, match="call fit first"):
            ask(detector, features)
