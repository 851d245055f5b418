import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import effpath
from digits_net import class_paths, data, graph, noisy
from effpath.class_paths.fused import similarity
from effpath.class_paths.likelihood import PathLikelihood
from effpath.detect import path_features
from effpath.detect.explain import strongest_layers
from effpath.detect.features import Features
from effpath.errors import ClassPathError, FingerprintError, OptionError
from effpath.walk import visit as visiting
from effpath.walk.recording import record
from effpath.walk.visit import paths_of


def parts():
    images = data().test_images
    return images[:100], noisy(images[100:200]), images[200:300], images[300:360], noisy(images[360:420])


@pytest.mark.parametrize("kind", ["surprise", "linear", "forest", "adaboost", "boosting", "clean"])
def test_every_kind_flags_noise_more_often_than_clean_images(kind):
    clean, adversarial, held_out, new_clean, new_noisy = parts()
    detector = effpath.Detector(graph(), class_paths(), kind=kind)
    detector.fit(clean, None if kind == "clean" else adversarial).calibrate(held_out, fpr=0.06)
    assert detector.detect(new_noisy).flagged.mean() > detector.detect(new_clean).flagged.mean() + 0.3
    assert detector.detect(held_out).flagged.mean() <= 0.05


def test_verdicts_carry_scores_classes_and_named_features():
    clean, adversarial, held_out, new_clean, _ = parts()
    detector = effpath.Detector(graph(), class_paths()).fit(clean, adversarial).calibrate(held_out)
    verdicts = detector.detect(new_clean)
    logits = graph().run(new_clean)["fc3"]
    ranked = logits.argsort(dim=1, descending=True)
    np.testing.assert_array_equal(verdicts.predicted, ranked[:, 0])
    np.testing.assert_array_equal(verdicts.runner_up, ranked[:, 1])
    np.testing.assert_array_equal(verdicts.flagged, verdicts.scores > detector.threshold)
    assert verdicts.features.names[0] == "rank1:synapses:conv1"
    assert verdicts.features.names[-1] == "rank1:synapses:fc3"  # joint surprise reads no other
    assert verdicts.features.values.shape == (60, 5)
    linear = effpath.Detector(graph(), class_paths(), kind="linear").features(new_clean)
    assert linear.names[-1] == "rank2:synapses:fc3"
    assert linear.values.shape == (60, 10)


def test_features_are_the_similarities_of_the_rank_one_and_rank_two_paths():
    images = data().test_images[:30]
    features = path_features(graph(), class_paths(), images, batch_size=7)
    both = [class_paths().similarity(effpath.extract(graph(), images, rank=rank)) for rank in (1, 2)]
    np.testing.assert_array_equal(features.values, np.concatenate(both, axis=1))


@pytest.fixture
def walked(monkeypatch):
    """Number of images of every walk."""
    sizes: list[int] = []
    own = visiting.CompiledWalk

    def note(plan, options, values, active, visited, **threads):
        sizes.append(len(active))
        return own(plan, options, values, active, visited, **threads)

    monkeypatch.setattr(visiting, "CompiledWalk", note)
    return sizes


@pytest.mark.parametrize(("kind", "walks"), [("surprise", 1), ("linear", 2), ("clean", 2), ("forest", 2)])
def test_a_detector_walks_only_the_paths_that_its_kind_reads(kind, walks, walked):
    detector = effpath.Detector(graph(), class_paths(), kind=kind)
    features = detector.features(data().test_images[:12])
    assert sum(walked) == 12 * walks
    assert detector.read(features).shape[0] == 12
    assert features.classes.shape == (12, 2)  # the runner-up is known without its path


@pytest.mark.parametrize("level", ["synapses", "neurons"])
def test_one_walk_gives_what_walks_for_similarities_and_for_the_likelihood_give(level):
    images, likelihood = data().test_images[:40], PathLikelihood(class_paths())
    recorded = record(graph(), images, options=class_paths().header.options)
    one = path_features(graph(), class_paths(), images, ranks=(1,), level=level, likelihood=likelihood)
    both = path_features(graph(), class_paths(), images, level=level, likelihood=likelihood)
    alone = path_features(graph(), class_paths(), images, level=level)
    np.testing.assert_array_equal(one.values, similarity(recorded, class_paths(), level=level))
    np.testing.assert_array_equal(one.likelihood, likelihood(paths_of(recorded)))
    np.testing.assert_array_equal(both.values, alone.values)
    np.testing.assert_array_equal(both.values[:, :5], one.values)
    np.testing.assert_array_equal(both.classes, one.classes)
    np.testing.assert_array_equal(both.logits, one.logits)
    np.testing.assert_array_equal(both.margins(), one.margins())


def test_the_score_is_the_same_whatever_else_the_features_hold():
    clean, adversarial, _, new_clean, _ = parts()
    detector = effpath.Detector(graph(), class_paths(), kind="surprise").fit(clean, adversarial)
    more = path_features(graph(), class_paths(), new_clean, likelihood=PathLikelihood(class_paths()))
    assert more.values.shape == (60, 10)
    np.testing.assert_array_equal(detector.score(more), detector.score(new_clean))
    assert strongest_layers(detector, more) == strongest_layers(detector, detector.features(new_clean))


def test_features_of_rank_1_alone_are_refused_by_kinds_that_read_rank_2():
    features = path_features(graph(), class_paths(), data().test_images[:12], ranks=(1,))
    with pytest.raises(OptionError, match=r"ask path_features for ranks=\(1, 2\)"):
        effpath.Detector(graph(), class_paths(), kind="linear").fit(features, features)


def test_features_of_other_levels_have_their_own_names():
    features = path_features(graph(), class_paths(), data().test_images[:3], level="weights", ranks=(1,))
    assert features.names == tuple(f"rank1:weights:{n}.weight" for n in ("conv1", "conv2", "fc1", "fc2", "fc3"))


def test_any_scikit_learn_classifier_will_do():
    clean, adversarial, held_out, _, new_noisy = parts()
    detector = effpath.Detector(graph(), class_paths(), kind=LogisticRegression()).fit(clean, adversarial)
    assert detector.calibrate(held_out, fpr=0.1).detect(new_noisy).flagged.mean() > 0.3


def test_a_detector_without_a_threshold_or_with_the_wrong_images_says_so():
    clean, adversarial, *_ = parts()
    detector = effpath.Detector(graph(), class_paths()).fit(clean, adversarial)
    with pytest.raises(OptionError, match="no threshold yet: call calibrate"):
        detector.detect(clean)
    with pytest.raises(OptionError, match="'linear' needs adversarial images too"):
        effpath.Detector(graph(), class_paths(), kind="linear").fit(clean)
    with pytest.raises(
        OptionError, match=r"'surprise' needs adversarial images too.*kind='clean', which needs none"
    ):
        effpath.Detector(graph(), class_paths(), kind="surprise").fit(clean)
    with pytest.raises(OptionError, match="'clean' takes only clean images"):
        effpath.Detector(graph(), class_paths(), kind="clean").fit(clean, adversarial)


def test_a_predicted_class_without_a_class_path_is_an_error():
    images, labels = data().train_images[:200], data().train_labels[:200]
    built = effpath.build_class_paths(graph(), images[labels != 0], labels[labels != 0])
    zeros = data().test_images[data().test_labels == 0]
    with pytest.raises(ClassPathError, match="no class path for class 0"):
        path_features(graph(), built, zeros[:3])


def test_what_is_taken_for_a_class_without_a_class_path_is_flagged_and_costs_no_other_its_score():
    images, labels = data().train_images[:400], data().train_labels[:400]
    built = effpath.build_class_paths(graph(), images[labels < 3], labels[labels < 3])
    own = data().test_images[data().test_labels < 3]
    detector = effpath.Detector(graph(), built, kind="surprise").fit(own[:60], noisy(own[60:90]))
    detector.calibrate(own[90:150], fpr=0.1)
    both = torch.cat([own[150:153], data().test_images[data().test_labels == 7][:2]])
    features = detector.features(both)
    assert np.isnan(features.values[3:]).all()
    assert np.isnan(features.margins()[3:]).all()
    found = detector.detect(both)
    assert found.scores[3:].tolist() == [np.inf, np.inf]
    assert found.flagged[3:].all()
    np.testing.assert_allclose(found.scores[:3], detector.score(own[150:153]), rtol=1e-5)


def test_images_without_a_score_are_passed_over_when_the_threshold_is_fixed_and_the_p_values_agree():
    images, labels = data().train_images[:400], data().train_labels[:400]
    built = effpath.build_class_paths(graph(), images[labels < 3], labels[labels < 3])
    test = data().test_images
    detector = effpath.Detector(graph(), built, kind="clean").fit(test[:100][data().test_labels[:100] < 3])
    features = detector.features(test[100:400])
    detector.calibrate(features, fpr=0.1)
    scored = np.isfinite(detector.score(features))
    assert 0 < scored.sum() < 150
    assert len(detector.calibration) == len(detector.clean_rows.values) == scored.sum()
    again = effpath.Detector(graph(), built, kind="clean").fit(test[:100][data().test_labels[:100] < 3])
    assert detector.threshold == again.calibrate(features[np.flatnonzero(scored)], fpr=0.1).threshold < np.inf
    found = detector.detect(test[400:])
    np.testing.assert_array_equal(found.flagged, found.p_values <= 0.1)
    with pytest.raises(effpath.errors.InputError, match="at least 19 clean images"):
        detector.calibrate(features[np.flatnonzero(~scored)])


def test_no_images_and_foreign_class_paths_are_errors():
    with pytest.raises(effpath.errors.InputError, match="got none"):
        path_features(graph(), class_paths(), data().test_images[:0])
    assert len(Features(np.zeros((2, 1)), ("a",), np.zeros((2, 1), int), np.zeros((2, 3)))[:1]) == 1
    import torch

    other = effpath.capture(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval(), data().test_images[:1]
    )
    with pytest.raises(FingerprintError):
        effpath.Detector(other, class_paths()).score(data().test_images[:1])
