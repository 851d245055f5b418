"""What every kind of detector, and the detector of images itself, owes those who know scikit-learn."""

from __future__ import annotations

import io
import pickle
import warnings
from copy import deepcopy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils.estimator_checks import parametrize_with_checks

import effpath
from digits_net import auxiliary_of, class_paths, data, graph, noisy
from effpath.class_paths.likelihood import PathLikelihood
from effpath.detect import CleanSimilarity, CombinedSurprise, Detector, Features, JointSimilarity, JointSurprise
from effpath.detect.classifiers import CLASSIFIERS, DEFAULT_KIND, suspicion
from effpath.detect.learned import SAVED
from effpath.detect.signs.auxiliary import AuxiliaryNetwork
from effpath.detect.signs.profiles import PROFILES
from effpath.errors import FingerprintError, InputError, OptionError
from own_kinds import Distance, LowestMargin

SETS = 3
OBJECTS = {
    "JointSimilarity": JointSimilarity(alpha=0.1),
    "CleanSimilarity": CleanSimilarity(contamination=0.1),
    "CombinedSurprise": CombinedSurprise("thorough", rule="harmonic"),
    "JointSurprise": JointSurprise(tail=0.2),
    "IsolationForest": IsolationForest(n_estimators=10, random_state=0),
    "OneClassSVM": OneClassSVM(gamma="scale"),
    "LocalOutlierFactor": LocalOutlierFactor(novelty=True),
    "LogisticRegression": LogisticRegression(),
    "HistGradientBoosting": HistGradientBoostingClassifier(max_iter=5),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
    "pipeline of outliers": make_pipeline(StandardScaler(), IsolationForest(n_estimators=10, random_state=0)),
    "pipeline of surprise": make_pipeline(SimpleImputer(keep_empty_features=True), JointSurprise()),
    "one's own": LowestMargin(power=2.0),
    "one's own, from clean images alone": Distance(),
    "search": GridSearchCV(JointSurprise(), {"tail": [0.2, 0.3]}, cv=2, scoring="roc_auc"),
}
KINDS = {**{kind: kind for kind in CLASSIFIERS}, **OBJECTS}
NEEDS = 2 * SETS + 1  # columns of what joint surprise reads

EVEN = "joint surprise reads 2 · sets + 1 columns; the check has an even number"
NO_COLUMNS = dict.fromkeys(
    [
        "check_estimators_overwrite_params", "check_estimators_fit_returns_self", "check_readonly_memmap_input",
        "check_n_features_in_after_fitting", "check_positive_only_tag_during_fit", "check_dtype_object",
        "check_classifier_data_not_an_array", "check_classifiers_classes", "check_classifiers_train",
        "check_fit_idempotent", "check_fit_check_is_fitted", "check_n_features_in",
    ],
    EVEN,
)  # fmt: skip


@parametrize_with_checks([JointSurprise()], expected_failed_checks=lambda estimator: NO_COLUMNS)
def test_joint_surprise_is_a_scikit_learn_classifier(estimator, check):
    check(estimator)


def rows(count, shift, seed):
    """Features of `count` images with holes, their fit with three classes included."""
    rng = np.random.default_rng(seed)
    sides = np.repeat([-1.0, 1.0], SETS)
    values = np.clip(0.6 + shift * sides + 0.1 * rng.normal(size=(count, 2 * SETS)), 0, 1)
    values[rng.random(count) < 0.2, 1] = np.nan
    classes = rng.permuted(np.tile(np.arange(3), (count, 1)), axis=1)[:, :2]
    logits = rng.normal(size=(count, 3)).astype(np.float32)
    logits[np.arange(count), classes[:, 0]] += 9 - 10 * shift
    fit = -1 - rng.random((count, SETS, 3))
    fit[np.arange(count), :, classes[:, 0]] += 1 - shift
    names = tuple(f"rank{1 + column // SETS}:synapses:l{column % SETS}" for column in range(2 * SETS))
    said = tuple(dict.fromkeys(title for profile in PROFILES.values() for title in profile.says))
    signs = rng.normal(size=(count, len(said))) + 5 * shift
    signs[rng.random(count) < 0.2, 1] = np.nan
    signs[:, said.index(AuxiliaryNetwork.says[0])] -= 3  # it believes most answers
    return Features(values, names, classes, logits, fit, (0, 1, 2), signs, said)


CLEAN, ATTACKED = rows(120, 0, 0), rows(120, 0.2, 1)


def detector(kind, **options) -> Detector:
    asked = auxiliary_of(kind) if isinstance(kind, str) and kind in CLASSIFIERS else None
    return Detector(graph(), class_paths(), kind=kind, **{"auxiliary": asked, **options})


def fitted(kind, **options) -> Detector:
    own = detector(kind, **options)
    return own.fit(CLEAN, None if own.clean_only else ATTACKED)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
class TestEveryKind:
    """Every name, and estimators given as objects: ours with other parameters, and scikit-learn's."""

    def test_it_says_itself_whether_it_learns_from_clean_images_alone(self, kind):
        own = detector(kind)
        if own.reweighs:
            alone = own.fit(CLEAN).score(ATTACKED)
            assert own.clean_only
            assert not np.array_equal(own.fit(CLEAN, ATTACKED).score(ATTACKED), alone)
            own.fit(CLEAN)
        elif own.clean_only:
            with pytest.raises(OptionError, match="takes only clean images"):
                own.fit(CLEAN, ATTACKED)
            own.fit(CLEAN)
        else:
            with pytest.raises(OptionError, match="needs adversarial images too"):
                own.fit(CLEAN)
            own.fit(CLEAN, ATTACKED)
        assert own.score(ATTACKED).mean() > own.score(CLEAN).mean()

    def test_what_is_not_fitted_says_call_fit_first(self, kind):
        own = detector(kind)
        for call in (own.score, own.detect, own.calibrate):
            with pytest.raises(OptionError, match="call fit first"):
                call(CLEAN)
        with pytest.raises(OptionError, match="call fit first"):
            suspicion(own.classifier, CLEAN.values)
        assert "not fitted" in repr(own)

    def test_missing_similarities_give_finite_scores(self, kind):
        holes = rows(20, 0, 2)
        holes.values[:, 0] = np.nan
        assert np.isfinite(fitted(kind).score(holes)).all()

    def test_a_clone_has_the_same_parameters_learned_nothing_and_gives_the_same_scores(self, kind):
        own = fitted(kind, seed=3).calibrate(CLEAN)
        other = clone(own)
        assert (other.graph, other.class_paths, other.seed) == (own.graph, own.class_paths, 3)
        assert repr(other.kind) == repr(own.kind)
        assert (other.threshold, other.fpr) == (None, None)
        with pytest.raises(OptionError, match="call fit first"):
            other.score(CLEAN)
        other.fit(CLEAN, None if other.clean_only else ATTACKED)
        np.testing.assert_array_equal(other.score(ATTACKED), own.score(ATTACKED))

    def test_its_parameters_make_it_again(self, kind):
        own = detector(kind, seed=1)
        assert set(own.get_params(deep=False)) == {"graph", "class_paths", "kind", "auxiliary", "seed"}
        again = Detector(**own.get_params(deep=False))
        assert repr(again) == repr(own)
        assert again.set_params(**own.get_params(deep=False)).kind == own.kind

    def test_a_copy_and_a_pickle_score_alike(self, kind):
        own = fitted(kind).classifier
        X = detector(kind).read(ATTACKED)
        for other in (deepcopy(own), pickle.loads(pickle.dumps(own))):
            np.testing.assert_array_equal(suspicion(other, X), suspicion(own, X))

    def test_the_estimator_that_was_given_is_not_changed(self, kind):
        before = repr(kind)
        first = fitted(kind)
        scores = first.score(ATTACKED)
        detector(kind).fit(rows(80, 0, 5), None if first.clean_only else rows(80, 0.1, 6))
        np.testing.assert_array_equal(first.score(ATTACKED), scores)
        assert repr(kind) == before

    def test_it_prints_its_kind_and_how_far_it_is_in_a_line_or_two(self, kind):
        own = fitted(kind)
        assert "no threshold yet" in repr(own)
        text = repr(own.calibrate(CLEAN, fpr=0.1))
        assert repr(kind) in text
        assert "10 classes" in text
        assert "for 0.1 FPR" in text
        assert len(text) < 500
        assert "<pre>Detector(" in own._repr_html_()


@pytest.mark.parametrize(
    ("kind", "parameter", "values"),
    [
        (JointSurprise(), "tail", [0.2, 0.4]),
        (LowestMargin(), "power", [1.0, 3.0]),
        (Distance(), "least", [0.01, 0.1]),
    ],
    ids=["ours", "one's own", "clean images alone"],
)
def test_a_search_takes_the_parameters_of_the_kind_and_fits_the_detector_with_the_best(kind, parameter, values):
    images = data().test_images
    clean, attacked = images[:30], noisy(images[30:60])
    labels = np.repeat([0, 1], 30)
    search = GridSearchCV(
        detector(kind),
        {f"kind__{parameter}": values},
        cv=StratifiedKFold(2),
        scoring=lambda found, X, y: roc_auc_score(y, found.score(X)),
    ).fit(torch.cat([clean, attacked]), labels)
    best = search.best_estimator_
    assert isinstance(best, Detector)
    assert getattr(best.kind, parameter) == search.best_params_[f"kind__{parameter}"] in values
    again = detector(clone(best.kind)).fit(clean, None if best.clean_only else attacked)
    np.testing.assert_array_equal(again.score(images[60:80]), best.score(images[60:80]))
    assert getattr(kind, parameter) == type(kind)().get_params()[parameter]


def test_labels_tell_clean_from_adversarial_images_as_scikit_learn_gives_them():
    whole = rows(60, 0.1, 7)
    labels = np.arange(60) % 2
    given = detector("linear").fit(whole, labels)
    apart = detector("linear").fit(whole[np.arange(0, 60, 2)], whole[np.arange(1, 60, 2)])
    np.testing.assert_array_equal(given.score(CLEAN), apart.score(CLEAN))
    alone = detector("clean").fit(whole, labels)
    np.testing.assert_array_equal(
        alone.score(CLEAN), detector("clean").fit(whole[np.arange(0, 60, 2)]).score(CLEAN)
    )


class Table(np.ndarray):
    """An array that scikit-learn takes for a data frame: its columns have names."""


@pytest.mark.parametrize(
    "kind", [JointSimilarity(), JointSurprise(), CleanSimilarity(), CombinedSurprise()], ids=repr
)
def test_a_table_with_named_columns_warns_of_nothing(kind, monkeypatch):
    names = np.array([f"column {place}" for place in range(NEEDS)], dtype=object)
    monkeypatch.setattr(
        "sklearn.utils.validation._get_feature_names", lambda X: names if isinstance(X, Table) else None
    )
    X = np.nan_to_num(detector("surprise").read(CLEAN), nan=0.5).view(Table)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = clone(kind).fit(X, np.arange(len(X)) % 2)
        assert np.isfinite(suspicion(model, X)).all()
        model.predict(X)
    assert list(model.feature_names_in_) == list(names)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(np.asarray(X))


@pytest.mark.parametrize(
    "estimator", [JointSimilarity(), JointSurprise(), CleanSimilarity(), CombinedSurprise()], ids=repr
)
def test_our_estimators_before_fit_raise_scikit_learns_error(estimator):
    for method in ("predict", "decision_function"):
        with pytest.raises(NotFittedError):
            getattr(estimator, method)(np.zeros((2, NEEDS)))


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("as_object", [False, True], ids=["by name", "as an object"])
def test_a_kind_that_can_be_saved_comes_back_with_its_parameters_and_scores(name, as_object, tmp_path):
    objects = {
        "linear": OBJECTS["JointSimilarity"],
        "clean": CleanSimilarity(rank_1=4),
        "surprise": JointSurprise(tail=0.2),
        **{name: CombinedSurprise(name, rule="fisher", floor=0.5) for name in PROFILES},
    }
    own = fitted(objects[name] if as_object else name, auxiliary=auxiliary_of(name)).calibrate(CLEAN)
    effpath.save_detector(own, tmp_path / "guard.safetensors")
    loaded = effpath.load_detector(tmp_path / "guard.safetensors", graph(), auxiliary=auxiliary_of(name))
    np.testing.assert_array_equal(loaded.score(ATTACKED), own.score(ATTACKED))
    assert repr(loaded.kind) == repr(own.kind)
    assert repr(loaded) == repr(own)
    again = clone(loaded).fit(CLEAN, None if loaded.clean_only else ATTACKED)
    np.testing.assert_array_equal(again.score(ATTACKED), own.score(ATTACKED))


def test_an_imputer_of_ones_own_is_not_saved_as_if_it_were_ours(tmp_path):
    own = fitted(make_pipeline(SimpleImputer(strategy="mean", keep_empty_features=True), JointSimilarity()))
    with pytest.raises(OptionError, match="cannot be saved"):
        effpath.save_detector(own, tmp_path / "guard.safetensors")


def test_parameters_of_the_estimator_are_set_by_its_path_and_undo_the_fit():
    own = detector(JointSimilarity(), seed=0).fit(CLEAN, ATTACKED).calibrate(CLEAN)
    before = own.score(ATTACKED)
    own.set_params(kind__alpha=0.3)
    assert own.get_params()["kind__alpha"] == 0.3
    assert own.threshold is None
    with pytest.raises(OptionError, match="call fit first"):
        own.score(CLEAN)
    assert not np.array_equal(own.fit(CLEAN, ATTACKED).score(ATTACKED), before)
    own.set_params(kind="surprise")
    assert isinstance(own.path_likelihood, PathLikelihood)
    with pytest.raises(ValueError, match="Invalid parameter 'colour'"):
        own.set_params(colour="red")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("tree", "expected a kind of linear, .* got 'tree'"),
        (JointSimilarity, r"got the class JointSimilarity; make one: JointSimilarity\(\)"),
        (LinearRegression(), "classifier or outlier detector, got LinearRegression"),
        (StandardScaler(), "got StandardScaler"),
        (None, "got NoneType"),
        (7, "got int"),
        (LocalOutlierFactor(), "score_samples, which LocalOutlierFactor does not have"),
    ],
    ids=str,
)
def test_what_is_no_detector_is_refused_when_it_is_given(kind, message):
    with pytest.raises(OptionError, match=message):
        detector(kind)


def test_an_estimator_that_reads_something_unknown_or_gives_no_scores_says_so():
    odd = JointSimilarity()
    odd.reads = "tea leaves"
    with pytest.raises(
        OptionError, match=r"JointSimilarity.reads to be one of similarities, margins, fast, .* got 'tea leaves'"
    ):
        detector(odd)
    voting = VotingClassifier([("one", LogisticRegression()), ("two", JointSimilarity())])
    with pytest.raises(OptionError, match="VotingClassifier has neither"):
        fitted(voting).score(CLEAN)


def test_the_default_is_the_best_kind_and_class_paths_of_another_network_are_refused_at_once():
    assert Detector(graph(), class_paths()).kind == DEFAULT_KIND == "standard"
    other = effpath.capture(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval(), data().test_images[:1]
    )
    with pytest.raises(FingerprintError, match="class paths of another network"):
        Detector(other, class_paths())


def test_calibration_refuses_too_few_images_or_a_false_rate_before_it_reads_them(monkeypatch):
    own = fitted("linear")
    monkeypatch.setattr(Detector, "features", None)
    images = data().test_images
    with pytest.raises(InputError, match=r"at least 19 clean images to fix a threshold .* got 18"):
        own.calibrate(images[:18])
    for rate in (0, 1, 5, "5%"):
        with pytest.raises(OptionError, match=r"expected fpr, .* in \(0, 1\)"):
            own.calibrate(images[:100], fpr=rate)
    assert own.threshold is None


def test_a_pickled_detector_scores_as_before():
    own = fitted("surprise").calibrate(CLEAN)

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing):
            return "network" if thing is own.graph else None  # networks are pickled by the tests of graphs

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, name):
            return own.graph

    file = io.BytesIO()
    Pickler(file).dump(own)
    other = Unpickler(io.BytesIO(file.getvalue())).load()
    np.testing.assert_array_equal(other.score(ATTACKED), own.score(ATTACKED))
    images = data().test_images[:3]
    np.testing.assert_array_equal(other.features(images).likelihood, own.features(images).likelihood)
    assert repr(other) == repr(own)
