"""The study of a training's checkpoints, on scikit-learn's digits: few steps, few images."""

from __future__ import annotations

from dataclasses import replace
from functools import partial, reduce
from operator import or_
from pathlib import Path

import numpy as np
import pytest
import torch

import digits_net
import effpath
from detection.cases import Case
from effpath.demo import network as demo_network
from effpath.demo.lenet import LeNet5
from effpath.models.weights import load_weights
from figures import FIGURES, training_process
from figures.training_process import box, checkpoints, measure, paths_of_labels, phases
from small_resnet import SmallResNet
from training import Recipe

CASE = Case("digits", None, {})
COUNT = training_process.CHECKPOINTS
QUICK = {"mnist": {"epochs": 2, "batch_size": 64, "learning_rate": 1e-2}}


@pytest.fixture(scope="module")
def patched(cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_process, "TRAINING", QUICK)
        patch.setattr(demo_network, "TRAINING", QUICK)
        patch.setattr(training_process, "CHECKPOINTS", 3)
        patch.setattr(training_process, "RECIPE", Recipe(epochs=1, batch_size=200))
        patch.setattr(training_process, "SmallResNet", partial(SmallResNet, width=4, blocks=1))
        yield patch


@pytest.fixture(scope="module")
def table(patched) -> dict:
    return measure(CASE, images=100, per_class=5)


def states(cache: Path, name: str) -> dict[int, Path]:
    return {int(file.stem): file for file in (cache / "training").glob(f"{name}-*/*.safetensors")}


# ---------------------------------------------------------------- checkpoints


def test_checkpoints_are_spread_over_the_logarithm_from_random_to_trained(monkeypatch) -> None:
    monkeypatch.setattr(training_process, "CHECKPOINTS", COUNT)
    found = sorted(checkpoints(2345))
    assert len(found) == 13
    assert (found[0], found[1], found[-1]) == (0, 5, 2345)
    ratios = np.divide(found[2:], found[1:-1])
    assert ratios.max() < 2
    assert ratios.min() > 1.5
    assert sorted(checkpoints(1)) == [0, 1]


def test_the_first_checkpoint_is_random_and_the_last_is_the_network_of_the_other_studies(table, cache) -> None:
    kept = states(cache, "lenet5")
    data = digits_net.data()
    steps = 2 * -(-len(data.train_labels) // 64)
    assert sorted(kept) == table["steps"]
    assert (table["steps"][0], table["steps"][-1]) == (0, steps)
    wanted = demo_network.trained_lenet(data.train_images, data.train_labels, classes=10, data="digits")
    last = LeNet5(8)
    load_weights(last, kept[steps])
    assert all(torch.equal(value, wanted.state_dict()[name]) for name, value in last.state_dict().items())
    torch.manual_seed(0)
    first = LeNet5(8)
    random = first.state_dict()["conv1.weight"].clone()
    load_weights(first, kept[0])
    assert torch.equal(first.state_dict()["conv1.weight"], random)
    assert table["network_fingerprint"] == effpath.capture(last.eval(), data.train_images[:1]).fingerprint


def test_every_checkpoint_is_measured_as_the_library_measures_it(table, cache) -> None:
    model = LeNet5(8)
    load_weights(model, states(cache, "lenet5")[table["steps"][1]])
    data = digits_net.data()
    rows = torch.linspace(0, len(data.test_labels) - 1, 100).round().long()
    right = model.eval()(data.test_images[rows]).argmax(1) == data.test_labels[rows]
    assert table["accuracy"][1] == pytest.approx(float(right.double().mean()), abs=1e-4)
    few = data.part("train").first_of_each_class(5)
    graph = effpath.capture(model, few.images[:1])
    each = [
        effpath.extract(graph, few.images[few.labels == label], classes=[label] * 5).union() for label in range(10)
    ]
    whole = reduce(or_, each)
    for level in ("synapses", "weights"):
        row = table["levels"][level]
        assert row["density"][1] == pytest.approx(whole.density(level), rel=1e-4)
        similar = [each[one].jaccard(each[two], level) for one in range(10) for two in range(one)]
        similar = [value for value in similar if not np.isnan(value)]  # of two empty paths
        assert row["pairs"][1] == len(similar) > 0
        assert row["mean"][1] == pytest.approx(np.mean(similar), abs=1e-4)
        assert row["box"][1][1:4] == pytest.approx(np.quantile(similar, [0.25, 0.5, 0.75]), abs=1e-4)
    assert (table["path_images"], table["test_images"], table["trained"]) == (50, 100, "LeNet-5")


def test_paths_of_images_that_are_right_are_those_of_the_class_paths() -> None:
    train = digits_net.data().part("train").first_of_each_class(6)
    train = train.take(digits_net.graph().predict(train.images) == train.labels)
    found = paths_of_labels(digits_net.graph(), train)
    assert found.classes == list(range(10))
    for label, path in found.items():
        own = train.take(train.labels == label)
        assert path == effpath.build_class_paths(digits_net.graph(), own.images, own.labels)[label]


def test_what_was_trained_and_measured_before_a_run_was_killed_is_kept(patched, table) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_process, "train_classifier", lambda *a, **k: pytest.fail("trained again"))
        patch.setattr(training_process, "checkpoint", lambda *a: pytest.fail("measured again"))
        assert measure(CASE, images=100, per_class=5) == table
    made, measured, most = training_process.checkpoint, [], [1]

    def counted(model, state, taken, test):
        if len(measured) == most[0]:
            raise KeyboardInterrupt
        measured.append(int(state.stem))
        return made(model, state, taken, test)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_process, "checkpoint", counted)
        with pytest.raises(KeyboardInterrupt):
            measure(CASE, images=60, per_class=2)
        most[0] = 9
        assert len(measure(CASE, images=60, per_class=2)["accuracy"]) == 3
    assert measured == table["steps"]


def test_another_case_trains_a_residual_network(patched, cache) -> None:
    found = measure(replace(CASE, model="any:thing"), images=40, per_class=2)
    assert found["trained"] == "ResNet-20, 1 epochs"
    assert sorted(states(cache, "resnet20")) == found["steps"] == [0, 1, 5]
    assert all(len(row["box"]) == 3 for row in found["levels"].values())


# ---------------------------------------------------------------- boxes and phases


def test_a_box_ends_at_the_last_value_within_its_reach() -> None:
    assert box(np.array([1.0, 2.0, 3.0, 4.0, 5.0])) == [1, 2, 3, 4, 5]
    assert box(np.array([-9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 30.0])) == [1.0, 1.5, 3.0, 4.5, 5.0]
    assert box(np.array([0.5, 0.5])) == [0.5] * 5


ACCURACY = [0.1, 0.1, 0.12, 0.5, 0.95, 0.97, 0.98]  # before: 0 to 2, learning: 2 to 4, settled: 4 to 6


def judged(density: list[float], mean: list[float | None], accuracy: list[float] = ACCURACY) -> dict:
    return phases(accuracy, {"synapses": {"density": density, "mean": mean}})


def test_three_phases_are_found_where_paths_turn_with_accuracy() -> None:
    found = judged([5, 5, 5, 3, 1, 1, 1], [0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9])
    assert found["ends"] == [2, 4]
    assert found["phases"]["synapses"] == {
        "density": ["stays", "falls", "stays"], "mean": ["stays", "stays", "stays"], "found": True,
    }  # fmt: skip
    both = judged([5, 4, 3, 2, 1, 1, 1], [1, 1, 1, 2, 3, 4, 5])["phases"]["synapses"]  # each turns once
    assert (both["density"], both["mean"]) == (["falls", "falls", "stays"], ["stays", "rises", "rises"])
    assert both["found"]


def test_phases_are_not_found_where_paths_go_on_as_before_or_accuracy_jumps() -> None:
    assert not judged([7, 6, 5, 4, 3, 2, 1], [1, 2, 3, 4, 5, 6, 7])["phases"]["synapses"]["found"]
    steady = judged([5, 5, 5, 3, 1, 0, -1], [1] * 7)  # turns once only
    assert steady["phases"]["synapses"]["density"] == ["stays", "falls", "falls"]
    assert not steady["phases"]["synapses"]["found"]
    at_once = judged([5, 5, 5, 3, 1, 1, 1], [1] * 7, [0.1, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9])
    assert at_once["ends"] == [0, 1]
    assert not at_once["phases"]["synapses"]["found"]
    assert not judged([5, 5, 5, 3, 1, 1, 1], [1] * 7, [0.1] * 7)["phases"]["synapses"]["found"]
    unsettled = judged([5, 5, 5, 3, 1, 1, 1], [1] * 7, [0.1, 0.1, 0.1, 0.5, 0.95, 0.98, 0.2])
    assert unsettled["ends"][1] == 6
    assert not unsettled["phases"]["synapses"]["found"]


def test_a_checkpoint_without_any_similarity_is_passed_over() -> None:
    assert judged([1, 1, 1, 3, 5, 5, 5], [None, 0.2, 0.2, 0.5, 0.9, 0.9, 0.9])["phases"]["synapses"] == {
        "density": ["stays", "rises", "stays"], "mean": ["stays", "rises", "stays"], "found": True,
    }  # fmt: skip
    unknown = judged([1, 1, 1, 3, 5, 5, 5], [None, None, None, 0.5, 0.9, 0.9, 0.9])["phases"]["synapses"]
    assert unknown["mean"] == ["unknown", "rises", "stays"]


def test_a_training_is_drawn_small_and_said_in_words(table, tmp_path) -> None:
    figure = FIGURES["training_process"]
    assert figure.drawn({"digits": table}, tmp_path / "figure.svg")
    assert 1000 < (tmp_path / "figure.svg").stat().st_size < 300_000
    said = figure.words("digits", table)
    assert said[0] == figure.sentence(table)
    assert "three phases are" in said[0]
    assert len(figure.panels({"digits": table})) == 4
