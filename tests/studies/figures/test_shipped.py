"""The study of the default detector on one network, on LeNet-5 and scikit-learn's digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import digits_net
import effpath
from detection.cases import Case, Planned
from detection.making import Making, thinned
from effpath.detect.classifiers import DEFAULT_KIND
from effpath.detect.splits import split_sources
from figures import FIGURES, shipped
from sources import read_result, write_result

CASE = Case(
    "digits",
    None,
    {
        "FGSM": Planned("FGSM", {"epsilons": 20}),
        "PGD 0.2": Planned("PGD", {"epsilon": 0.2}),
        "PGD 0.3": Planned("PGD", {"epsilon": 0.3}, unseen=True),
        "BIM": Planned("BIM"),
    },
    sources=120,
    clean=160,
    batch=64,
)
TAKEN = ("FGSM", "PGD 0.2", "PGD 0.3")


@pytest.fixture(scope="module")
def table(cache) -> dict:
    return shipped.measure(CASE, gathered=TAKEN, seeds=(3,))


def test_it_is_the_detector_that_users_make_weighed_by_fgsm_and_the_weaker_pgd(table: dict) -> None:
    assert table["settings"]["weighed"] == ["FGSM", "PGD 0.2"]
    assert table["settings"]["unseen"] == ["PGD 0.3"]
    made, _, _ = Making(replace(CASE, attacks={name: CASE.attacks[name] for name in TAKEN}), 0).made
    groups = thinned(made, None)
    assert {name: row["used"] for name, row in table["attacks"].items()} == {
        name: len(groups[name].images) for name in TAKEN
    }
    train = digits_net.data().part("train")
    detector = effpath.Detector(digits_net.graph(), digits_net.class_paths())
    assert detector.name == DEFAULT_KIND == table["settings"]["kind"]
    detector.collect(train.images, train.labels, batch_size=64)
    names = list(groups)
    sources = np.concatenate([groups[name].source for name in names])
    offsets = np.cumsum([0, *(len(groups[name].source) for name in names)])
    parts = split_sources(sources, fractions=(0.1, 0.2, 0.7), seed=3)

    def of(name: str, part: str):
        at = names.index(name)
        rows = parts[part]
        return rows[(rows >= offsets[at]) & (rows < offsets[at + 1])] - offsets[at]

    features = {name: detector.features(groups[name].images, batch_size=64) for name in names}
    attacked = np.concatenate([features[name].signs[of(name, "train")] for name in table["settings"]["weighed"]])
    clean = features["clean"][of("clean", "train")]
    detector.classifier.fit(clean.signs)
    labels = np.repeat([0, 1], [len(clean), len(attacked)])
    rows = detector.classifier[:-1].transform(np.concatenate([clean.signs, attacked]))
    detector.classifier[-1].reweigh(rows, labels)
    tested = [detector.score(features[name][of(name, "test")]) for name in ("clean", "PGD 0.3")]
    wanted = roc_auc_score(np.repeat([0, 1], list(map(len, tested))), np.concatenate(tested))
    assert table["cells"]["PGD 0.3"]["auc"][0] == pytest.approx(wanted, abs=1e-3)


def test_differences_are_of_the_means_that_are_told(table: dict) -> None:
    auc = {name: row["auc"] for name, row in table["detectors"].items()}
    for name, cell in table["cells"].items():
        own = auc[DEFAULT_KIND][name][0]
        assert cell["auc"] == auc[DEFAULT_KIND][name]
        assert cell["beyond_log_odds"][0] == pytest.approx(own - auc[shipped.LOG_ODDS][name][0], abs=2e-4)
        assert cell["added_by_paths"][0] == pytest.approx(own - auc[shipped.PATHLESS][name][0], abs=2e-4)
        low, high = cell["beyond_log_odds"][1:]
        assert low <= cell["beyond_log_odds"][0] <= high


def test_it_is_written_read_and_drawn(table: dict, tmp_path) -> None:
    file = tmp_path / "shipped.json"
    write_result(table, file)
    (panel,) = FIGURES["shipped"].panels({"digits": read_result(file)})
    assert [series.label for series in panel.series] == [DEFAULT_KIND, shipped.LOG_ODDS, shipped.PATHLESS]
    assert FIGURES["shipped"].drawn({"digits": table}, tmp_path / "shipped.png")
