"""The study of CDRP beside effective paths, on LeNet-5 and scikit-learn's digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import cdrp
import digits_net
import effpath
from default_preset import adversarial, pgd
from effpath.cdrp import cdrp_gates
from effpath.data import Dataset
from effpath.detect.evaluate import Group, evaluate
from sources import read_result, write_result

DOCS = Path(__file__).parents[1] / "docs"
ATTACKS = {"FGSM": {"epsilons": 20}, "PGD": {"epsilon": 0.2, "steps": 5}}
FRACTIONS = (0.4, 0.1, 0.5)


def digits() -> Dataset:
    data = digits_net.data()
    parts = {
        "train": data.part("train").take(torch.arange(400)),
        "test": data.part("test").take(torch.arange(100)),
    }
    return Dataset(data.name, parts, data.classes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("attacks")


@pytest.fixture(scope="module")
def table(folder) -> dict:
    return cdrp.measure(
        digits_net.model(), digits(), attacks=ATTACKS, sources=5, fractions=FRACTIONS, seeds=(3,), timed=8,
        batch=16, cache=folder,
    )  # fmt: skip


def test_both_methods_are_judged_on_the_images_and_splits_of_the_protocol(table, folder) -> None:
    test, model, graph = digits().part("test").first_of_each_class(5), digits_net.model(), digits_net.graph()
    with torch.no_grad():
        correct = model(test.images).argmax(1) == test.labels
    images, labels = test.images[correct], test.labels[correct]
    assert table["sources"] == len(images)
    made = adversarial(model, images, labels, ATTACKS, 3, folder)
    class_paths = effpath.build_class_paths(graph, digits().train_images, digits().train_labels)

    def judged(of, kind):
        clean = Group("clean", of(images), np.arange(len(images)))
        attacks = [Group(name, of(own), source) for name, (own, source, _) in made.items()]
        return evaluate(clean, attacks, kinds=(kind,), fractions=FRACTIONS, seed=3).scores

    gates = judged(lambda pixels: cdrp_gates(graph, pixels).features(), "gates")
    paths = judged(lambda pixels: effpath.path_features(graph, class_paths, pixels), "linear")
    for name in ATTACKS:
        value, low, high = table["auc"]["cdrp"]["gates"][name]
        assert value == pytest.approx(gates["gates"][name].auc.value, abs=5e-3)  # batches round differently
        assert low <= value <= high
        assert table["auc"]["paths"]["linear"][name][0] == pytest.approx(paths["linear"][name].auc.value, abs=1e-4)
        softmax = paths["max softmax"][name].auc.value
        assert table["auc"]["paths"]["max softmax"][name][0] == pytest.approx(softmax, abs=1e-4)
    for kind, other in cdrp.CLASSIFIERS.items():
        means = [table["auc"]["paths"][kind]["mean"][0], table["auc"]["cdrp"][other]["mean"][0]]
        assert table["paths_beyond_cdrp"][kind][0] == pytest.approx(means[0] - means[1], abs=2e-4)


def test_times_are_of_equal_images_and_gates_take_tens_of_forward_passes(table) -> None:
    times = table["time"]
    assert times["images"] == 8
    for name in ("paths", "cdrp"):
        ratio = times[f"{name}_ms_an_image"] / times["forward_ms_an_image"]
        assert times[f"{name}_by_forward"] == pytest.approx(ratio, rel=1e-2)
    assert times["cdrp_by_forward"] > 30


def test_results_are_drawn_and_keep_no_folder(table, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("EFFPATH_DATA", "/some/where")
    monkeypatch.setattr("sys.argv", ["studies/cdrp.py", "--data", "mnist:/some/where/mnist"])
    write_result({"network": "digits", **table}, tmp_path / "digits.json")
    found = read_result(tmp_path / "digits.json")
    assert found["command"] == "python studies/cdrp.py --data mnist:$EFFPATH_DATA/mnist"
    cdrp.plot({"digits": found}, tmp_path / "cdrp.svg")
    assert 1000 < (tmp_path / "cdrp.svg").stat().st_size < 200_000


def test_pgd_gives_the_same_images_in_batches_of_any_size() -> None:
    data = digits_net.data()
    images, labels = data.test_images[:9], data.test_labels[:9]
    one, other = (pgd(digits_net.model(), images, labels, epsilon=0.1, steps=3, batch=batch) for batch in (4, 9))
    torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_the_page_shows_the_committed_results() -> None:
    page = (DOCS / "method.md").read_text(encoding="utf-8")
    names = ("digits", "digits_all_layers")
    digits, every = (read_result(DOCS / "results" / "cdrp" / f"{name}.json") for name in names)
    assert digits["auc"]["paths"] == every["auc"]["paths"]
    assert f"digits, {digits['sources']} images" in page
    assert f"class paths of {digits['class_path_images']} training images" in page
    for title, table, method, kinds in (
        ("effective paths", digits, "paths", cdrp.CLASSIFIERS),
        (f"CDRP, both convolutions ({digits['gates']} gates)", digits, "cdrp", cdrp.CLASSIFIERS.values()),
        (f"CDRP, all layers but the last ({every['gates']} gates)", every, "cdrp", cdrp.CLASSIFIERS.values()),
    ):
        means = " | ".join(f"{table['auc'][method][kind]['mean'][0]:.3f}" for kind in kinds)
        assert f"| {title} | {means} | {table['time'][f'{method}_by_forward']:.3g} |" in page
