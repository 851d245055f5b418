"""The studies that look inside a network, on LeNet-5 and scikit-learn's digits, each against another way."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

import digits_net
import effpath
from detection.cases import Case
from effpath import ClassPaths, IdSet
from effpath.masks import Masked
from effpath.masks.weights import largest_weights
from figures import FIGURES, class_similarity, deactivation, density_growth, layer_density, slicing

CASE = Case("digits", None, {}, per_class=15, batch=64, thetas=(0.5, 0.9))
LEVELS = ("synapses", "neurons", "weights")


@pytest.fixture(scope="module")
def class_paths() -> ClassPaths:
    train = digits_net.data().part("train").first_of_each_class(15)
    return effpath.build_class_paths(digits_net.graph(), train.images, train.labels)


# ---------------------------------------------------------------- similarity of classes


def test_the_similarities_are_those_of_the_class_paths_and_the_closest_pair_has_the_largest(class_paths) -> None:
    table = class_similarity.measure(CASE, presets=("default",))["presets"]["default"]
    matrix = class_paths.class_similarity()
    np.testing.assert_allclose(table["similarity"], matrix, atol=1e-4)
    others = matrix[~np.eye(10, dtype=bool)].reshape(10, 9)
    np.testing.assert_allclose(table["class_means"], others.mean(1), atol=1e-4)
    assert table["mean"] == pytest.approx(others.mean(), abs=1e-4)
    assert table["most_special"] == str(others.mean(1).argmin())
    first, second = map(int, table["closest"])
    assert matrix[first, second] == others.max()
    assert table["images"] == class_paths.images


def test_confusion_is_the_mean_softmax_of_each_class_and_is_set_beside_similarity(class_paths) -> None:
    test = digits_net.data().part("test")
    mass = class_similarity.confusion(digits_net.graph(), test, 64)
    softmax = digits_net.model()(test.images).softmax(1)
    for label in range(10):
        wanted = softmax[test.labels == label].mean(0).detach()
        np.testing.assert_allclose(mass[label], wanted, atol=1e-5)
    matrix, both = class_paths.class_similarity(), (mass + mass.T) / 2
    above = np.triu_indices(10, 1)
    found = class_similarity.measure(CASE, presets=("default",))
    test_of = found["presets"]["default"]["confusion"]
    assert test_of["spearman"] == pytest.approx(spearmanr(matrix[above], both[above])[0], abs=1e-4)
    first, second = map(int, test_of["most_confused"])
    assert both[first, second] == both[above].max()
    assert 0 < test_of["p"] <= 1
    assert found["test_images"] == len(test)


def test_a_class_without_a_test_image_has_no_confusion() -> None:
    test = digits_net.data().part("test")
    mass = class_similarity.confusion(digits_net.graph(), test.take(test.labels != 4), 64)
    assert np.isnan(mass[4]).all()
    assert np.isfinite(np.delete(mass, 4, axis=0)).all()


def test_classes_of_superclasses_are_tested_and_drawn_in_their_order(class_paths, tmp_path, monkeypatch) -> None:
    groups = {str(digit): "odd" if digit % 2 else "even" if digit else "none" for digit in range(10)}
    monkeypatch.setattr(class_similarity, "SUPERCLASS_OF", groups)
    monkeypatch.setattr(class_similarity, "FEW", ("odd", "none"))
    table = class_similarity.measure(CASE, presets=("default",))
    row = table["presets"]["default"]
    matrix = class_paths.class_similarity()
    named = np.array(list(groups.values()))
    same = named[:, None] == named
    above = np.triu(np.ones((10, 10), dtype=bool), 1)
    assert row["superclasses"]["all"]["inside"] == pytest.approx(matrix[same & above].mean(), abs=1e-4)
    assert row["superclasses"]["all"]["between"] == pytest.approx(matrix[~same & above].mean(), abs=1e-4)
    few = [0, 1, 3, 5, 7, 9]
    inside = matrix[np.ix_(few[1:], few[1:])][np.triu_indices(5, 1)].mean()
    assert row["superclasses"]["few"]["inside"] == pytest.approx(inside, abs=1e-4)
    every, some = class_similarity.panels("net", table)
    assert list(every.names) == ["", "", "even", "", "none", "", "", "odd", "", ""]
    assert list(some.names) == ["0", "1", "3", "5", "7", "9"]
    values = np.array([series.table[0] for series in every.series])
    order = [2, 4, 6, 8, 0, 1, 3, 5, 7, 9]
    wanted = np.where(np.eye(10, dtype=bool), np.nan, matrix[np.ix_(order, order)])
    np.testing.assert_allclose(values, wanted, atol=1e-4)
    assert FIGURES["class_similarity"].drawn({"net": {"network": "net", **table}}, tmp_path / "figure.svg")


# ---------------------------------------------------------------- growth


def test_the_mean_union_is_that_over_all_subsets() -> None:
    rng = np.random.default_rng(0)
    groups = [set(rng.choice(30, size, replace=False).tolist()) for size in (3, 9, 9, 14, 1)]
    uses = np.bincount([sum(item in group for group in groups) for item in range(30)], minlength=6)
    uses[0] = 0  # what no group has is in no union
    wanted = [
        np.mean([len(set.union(*chosen)) for chosen in itertools.combinations(groups, size)])
        for size in (1, 2, 4, 5)
    ]
    np.testing.assert_allclose(density_growth.merged(uses, (1, 2, 4, 5)), wanted)


def test_growth_begins_with_one_and_ends_with_all(class_paths) -> None:
    table = density_growth.measure(CASE)
    assert table["classes"] == 10
    for level in LEVELS:
        by_classes, by_images = table["by_classes"][level], table["by_images"][level]
        single = np.mean([path.density(level) for path in class_paths.values()])
        assert by_classes[0] == pytest.approx(single, rel=1e-3)
        assert by_classes[-1] == pytest.approx(class_paths.overall.density(level), rel=1e-3)
        assert by_classes == sorted(by_classes)
        assert by_images == sorted(by_images)
        slope = (by_classes[5] - by_classes[4], by_classes[1] - by_classes[0])
        assert [table["slope"][level][at] for at in ("5", "1")] == pytest.approx(slope, rel=0.05)
    train = digits_net.data().part("train").first_of_each_class(15)
    paths = effpath.extract(digits_net.graph(), train.images)
    right = paths.classes == train.labels.numpy()
    each = [
        np.mean([paths[int(row)].density() for row in np.flatnonzero(right & (paths.classes == label))])
        for label in range(10)
    ]
    assert table["by_images"]["synapses"][0] == pytest.approx(np.mean(each), rel=1e-3)
    assert table["sizes"] == [1, 2, 5, 10]


# ---------------------------------------------------------------- layers


def test_the_density_of_each_layer_is_that_of_the_paths(class_paths) -> None:
    table = layer_density.measure(CASE)
    assert table["layers"] == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    assert table["blocks"] == [None] * 5
    for level in LEVELS:
        whole = class_paths.overall.layer_density(level)
        np.testing.assert_allclose(table["density"][level]["overall"], list(whole.values()), rtol=1e-3)
        means = np.mean([list(path.layer_density(level).values()) for path in class_paths.values()], axis=0)
        np.testing.assert_allclose(table["density"][level]["class"], means, rtol=1e-3)


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 3, padding=1)
        self.one, self.two, self.side = (nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))
        self.last = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = (x + self.one(x)).relu()
        x = (self.side(x) + self.two(x)).relu()
        return self.last(x.flatten(1))


def test_residual_blocks_end_with_the_additions(tmp_path) -> None:
    graph = effpath.capture(Blocks().eval(), torch.zeros(1, 1, 4, 4))
    assert layer_density.blocks(graph) == [0, 0, 1, 1, None]
    table = layer_density.measure(CASE)
    (panel, _) = layer_density.panels("net", {**table, "blocks": [0, 0, 1, 1, None]})
    marked = panel.series[-1]
    assert marked.at == [2, 4]
    assert marked.values == [table["density"]["synapses"]["overall"][at] for at in (1, 3)]


# ---------------------------------------------------------------- deactivation


@pytest.mark.parametrize("level", LEVELS)
def test_as_many_elements_of_each_layer_are_off_in_every_way(level, class_paths) -> None:
    graph, overall = digits_net.graph(), class_paths.overall.sets(level)
    pools = {key: deactivation.pool(graph, class_paths, level, key) for key in overall}
    for key, own in pools.items():
        assert len(own.ids) == class_paths.header.total(level, key)
        assert IdSet(own.path, size=own.size) == overall[key]
    for way in deactivation.WAYS:
        if level == "neurons" and way == "the largest weights":
            continue
        parts = list(deactivation.parts(pools, way, np.random.default_rng(0)))
        for smaller, larger in itertools.pairwise(parts):
            assert all(smaller[key] <= larger[key] for key in pools)
        for key, own in pools.items():
            inside, count = parts[-1][key].intersection_size(overall[key]), len(overall[key])
            if way == "outside the path":
                assert (inside, len(parts[-1][key])) == (0, min(count, len(own.ids) - count))
            else:
                assert len(parts[-1][key]) == count
            if way.startswith("the path"):
                assert inside == count
            assert parts[-1][key] <= IdSet(own.ids, size=own.size)
    key = "conv1.weight" if level == "weights" else "conv1"
    *_, first, _ = deactivation.parts(pools, "the path, most used first", np.random.default_rng(0))
    total = np.zeros(pools[key].size, dtype=int)
    for label in class_paths.classes:
        total[class_paths[label].sets(level)[key].ids] += class_paths.counts[label][level][key]
    chosen = first[key].ids  # half of the path
    assert total[chosen].min() >= np.sort(total)[-len(chosen)]


def test_the_largest_weights_are_those_of_the_parameter(class_paths) -> None:
    own = deactivation.pool(digits_net.graph(), class_paths, "weights", "fc1.weight")
    weight = digits_net.model().fc1.weight
    wanted = largest_weights({"fc1.weight": weight}, 40)["fc1.weight"]
    assert set(own.ordered("the largest weights", np.random.default_rng(0))[:40].tolist()) == set(wanted)
    synapses = deactivation.pool(digits_net.graph(), class_paths, "synapses", "conv2")
    layer = class_paths.header.layer("conv2")
    at = layer.window.weights_of(torch.from_numpy(synapses.ids))
    np.testing.assert_array_equal(synapses.magnitude, digits_net.model().conv2.weight.detach().abs().flatten()[at])


def test_accuracy_is_that_of_the_masked_network(class_paths, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(deactivation, "SHARES", (0.2, 1.0))
    table = deactivation.measure(CASE, level="weights", images=60)
    test = digits_net.data().part("test")
    rows = torch.linspace(0, len(test) - 1, 60).round().long()
    images, labels = test.images[rows], test.labels[rows]
    masked = Masked(digits_net.graph(), class_paths.overall.weights, "weights")
    right = float((masked(images).argmax(1) == labels).double().mean())
    for way in ("the path", "the path, most used first"):  # all of it is off, in whatever order
        assert table["accuracy"][way][-1][0] == pytest.approx(right, abs=1e-4)
    assert table["whole"][0] == pytest.approx(
        float((digits_net.graph()(images).argmax(1) == labels).double().mean()), abs=1e-4
    )
    for rows_of in table["accuracy"].values():
        assert all(low <= value <= high for value, low, high in rows_of)
    assert table["path"] == sum(map(len, class_paths.overall.weights.values()))
    assert table["all"] == sum(
        weights.numel() for name, weights in digits_net.model().named_parameters() if "weight" in name
    )


# ---------------------------------------------------------------- slicing


def test_a_slice_is_judged_on_its_classes_beside_as_many_other_weights() -> None:
    table = slicing.measure(CASE, images=200)
    assert [(row["theta"], row["classes"]) for row in table["rows"]] == [
        (theta, size) for theta in CASE.thetas for size in (2, 5, 10)
    ]
    assert {size: len(groups) for size, groups in table["groups"].items()} == {"2": 3, "5": 3, "10": 1}
    train = digits_net.data().part("train").first_of_each_class(15)
    class_paths = effpath.build_class_paths(digits_net.graph(), train.images, train.labels, theta=0.9)
    test = digits_net.data().part("test")
    rows = torch.linspace(0, len(test) - 1, 200).round().long()
    images, labels = test.images[rows], test.labels[rows]
    row = table["rows"][-1]
    sets = class_paths.overall.weights
    right = Masked(digits_net.graph(), sets, "weights", keep=True)(images).argmax(1) == labels
    assert row["among_kept"]["class paths"][0] == pytest.approx(float(right.double().mean()), abs=1e-4)
    assert row["among_kept"] == row["among_all"]
    every = sum(own.size for own in sets.values())
    assert row["kept"] == pytest.approx(sum(map(len, sets.values())) / every, rel=1e-3)
    for own in table["rows"]:
        best = max(own["among_kept"][way][0] for way in slicing.WAYS[1:3])
        assert own["beyond_pruning"][0] == pytest.approx(own["among_kept"]["class paths"][0] - best, abs=2e-4)
        assert own["among_kept"]["whole"][0] >= own["among_all"]["whole"][0]
    whole = digits_net.graph()(images).argmax(1)
    at = [torch.isin(labels, torch.tensor(group)) for group in table["groups"]["2"]]
    hits = sum(int((whole[own] == labels[own]).sum()) for own in at) / sum(int(own.sum()) for own in at)
    assert table["rows"][0]["among_all"]["whole"][0] == pytest.approx(hits, abs=1e-4)


# ---------------------------------------------------------------- drawings


@pytest.mark.parametrize(
    ("study", "options"),
    [
        (class_similarity, {}), (density_growth, {}), (layer_density, {}), (deactivation, {"images": 20}),
        (slicing, {"images": 30}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_a_study_is_drawn_small_and_said_in_words(study, options, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(deactivation, "SHARES", (0.5, 1.0))
    figure = FIGURES[study.__name__.rpartition(".")[2]]
    table = {"network": "digits", **study.measure(CASE, **options)}
    assert figure.drawn({"digits": table}, tmp_path / "figure.svg")
    assert 1000 < (tmp_path / "figure.svg").stat().st_size < 300_000
    assert len(figure.words("digits", table)) > 1
