"""The study of CDRP beside effective paths, on LeNet-5 and scikit-learn's digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import digits_net
import effpath
from detection.cases import Case, Planned
from detection.making import Making, thinned
from effpath.detect import path_features
from effpath.detect.evaluate import Group, evaluate
from figures import FIGURES, cdrp
from rivals.cdrp import cdrp_gates
from sources import read_result, write_result

CASE = Case(
    "digits",
    None,
    {"FGSM": Planned("FGSM", {"epsilons": 20}), "Random": Planned("Random", unseen=True), "BIM": Planned("BIM")},
    sources=120,
    per_class=40,
    batch=16,
)


@pytest.fixture(scope="module")
def table(cache) -> dict:
    return cdrp.measure(CASE, images=60, gathered=("FGSM", "Random"), seeds=(3,), timed=8)


def test_both_methods_are_judged_on_the_images_and_splits_of_the_protocol(table) -> None:
    graph = digits_net.graph()
    wanted = {name: CASE.attacks[name] for name in ("FGSM", "Random")}
    made, _, _ = Making(replace(CASE, attacks=wanted), 0).made
    groups = thinned(made, 60)
    assert list(groups) == ["clean", "FGSM", "Random"]
    assert table["sources"] == len(groups["clean"].images) == 60
    train = digits_net.data().part("train").first_of_each_class(40)
    class_paths = effpath.build_class_paths(graph, train.images, train.labels)

    def judged(of, kind):
        clean, *attacks = (Group(name, of(own.images), own.source) for name, own in groups.items())
        return evaluate(clean, attacks, kinds=(kind,), unseen=("Random",), seed=3).scores

    gates = judged(lambda pixels: cdrp_gates(graph, pixels).features(), "gates")
    paths = judged(lambda pixels: path_features(graph, class_paths, pixels), "linear")
    for name in ("FGSM", "Random"):
        value, low, high = table["detectors"]["CDRP, linear"]["auc"][name]
        assert value == pytest.approx(gates["gates"][name].auc.value, abs=1e-2)  # batches round differently
        assert low <= value <= high
        found = table["detectors"]["linear"]["auc"][name][0]
        assert found == pytest.approx(paths["linear"][name].auc.value, abs=1e-4)
        softmax = paths["max softmax"][name].auc.value
        assert table["detectors"]["max softmax"]["auc"][name][0] == pytest.approx(softmax, abs=1e-4)
    for kind, other in cdrp.KINDS.items():
        means = [table["detectors"][name]["mean"][0] for name in (kind, other)]
        assert table["paths_beyond_cdrp"][kind][0] == pytest.approx(means[0] - means[1], abs=2e-4)


def test_some_images_keep_their_attacks_and_their_sources() -> None:
    made, _, _ = Making(CASE, 0).made
    groups = thinned(made, 30)
    assert set(groups) == {"clean", "FGSM", "Random", "BIM"}
    assert len(groups["Random"].images) == 30
    own = groups["BIM"]
    whole = {image.numpy().tobytes(): row for row, image in enumerate(made["clean"].images)}
    place = {image.numpy().tobytes(): row for row, image in enumerate(made["BIM"].images)}
    for image, source in zip(own.images, own.source, strict=True):
        original = groups["clean"].images[source]
        at = place[image.numpy().tobytes()]
        assert made["BIM"].source[at] == whole[original.numpy().tobytes()]
    np.testing.assert_array_equal(own.labels, groups["clean"].labels[own.source])


def test_times_are_of_equal_images_and_gates_take_tens_of_forward_passes(table) -> None:
    times = table["time"]
    assert times["images"] == 8
    for name in ("paths", "cdrp"):
        ratio = times[f"{name}_ms_an_image"] / times["forward_ms_an_image"]
        assert times[f"{name}_by_forward"] == pytest.approx(ratio, rel=1e-2)
    assert times["cdrp_by_forward"] > 30


def test_results_are_drawn_and_keep_no_folder(table, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("EFFPATH_DATA", "/some/where")
    monkeypatch.setattr("sys.argv", ["studies/reproduce.py", "--data", "mnist:/some/where/mnist"])
    write_result({"network": "digits", **table}, tmp_path / "digits.json")
    found = read_result(tmp_path / "digits.json")
    assert found["command"] == "python studies/reproduce.py --data mnist:$EFFPATH_DATA/mnist"
    assert FIGURES["cdrp"].drawn({"digits": found}, tmp_path / "cdrp.svg")
    assert 1000 < (tmp_path / "cdrp.svg").stat().st_size < 200_000
