"""The studies of real networks on LeNet-5 and scikit-learn's digits, and the page that shows what they found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import default_preset
import digits_net
import effpath
import real_networks
import real_paths
from effpath.attacks import attack
from effpath.data import Dataset
from effpath.kernels.options import make_options
from effpath.walk.recording import record
from sources import open_network, read_result, write_result

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"


def digits(train: int = 60, test: int = 200) -> Dataset:
    data = digits_net.data()
    parts = {
        "train": data.part("train").take(torch.arange(train)),
        "test": data.part("test").take(torch.arange(test)),
    }
    return Dataset(data.name, parts, data.classes)


@pytest.fixture(scope="module")
def table() -> dict:
    return real_paths.measure(digits_net.model(), digits(), sizes=(1, 3), singles=1, held_out=2, others=9)


# ---------------------------------------------------------------- paths


def test_the_overall_path_is_that_of_the_class_paths_built_by_the_library(table) -> None:
    part = digits().part("train").first_of_each_class(3)
    options = effpath.BuildOptions(allow_missing=True)
    class_paths = effpath.build_class_paths(digits_net.graph(), part.images, part.labels, options=options)
    last = table["growth"][-1]
    assert last["images"] == class_paths.images
    for level in ("synapses", "neurons", "weights"):
        assert last["overall"][level] == real_paths.rounded(class_paths.overall.density(level))
        by_class = [path.density(level) for path in class_paths.paths.values()]
        assert last["class"][level] == real_paths.rounded(float(np.mean(by_class)))
    matrix = class_paths.class_similarity()
    above = matrix[np.triu_indices(len(matrix), 1)]
    assert table["class_jaccard"]["mean"] == pytest.approx(above.mean(), rel=1e-3)


def test_density_grows_with_images_and_with_classes(table) -> None:
    for level in ("synapses", "neurons", "weights"):
        sizes = [table["single"][level][0], *(row["overall"][level] for row in table["growth"])]
        classes = [row[level] for row in table["by_classes"]]
        assert sizes == sorted(sizes)
        assert sizes[0] < sizes[-1]
        assert classes == sorted(classes)
        assert classes[-1] == table["growth"][-1]["overall"][level]


def test_an_image_lies_in_the_path_of_its_class_that_it_helped_to_build_and_less_in_another() -> None:
    part = digits().part("train").first_of_each_class(3)
    graph = digits_net.graph()
    options = effpath.BuildOptions(counts=False, allow_missing=True)
    class_paths = effpath.build_class_paths(graph, part.images, part.labels, options=options)
    own, other = real_paths.image_similarity(graph, part, class_paths.paths, 9, 8)
    assert own.shape == (class_paths.images, 5)
    assert (own == 1).all()
    assert other.mean() < 0.9


def test_pooled_images_make_one_path(table) -> None:
    data = digits(train=30)
    pooled = real_paths.measure(digits_net.model(), data, sizes=(10, 30), pooled=True, singles=4)
    paths = effpath.extract(digits_net.graph(), data.train_images)
    right = np.flatnonzero(paths.classes == data.train_labels.numpy())
    assert pooled["growth"][-1]["images"] == len(right)
    assert pooled["growth"][-1]["overall"]["synapses"] == real_paths.rounded(paths.union(right).density())
    assert "class_jaccard" not in pooled


# ---------------------------------------------------------------- the default preset


def test_the_sums_of_contributions_are_those_of_an_unfolded_convolution() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(2, 3, 3, stride=2), nn.Flatten(), nn.Linear(27, 4)).eval()
    images = torch.randn(2, 2, 6, 6)
    recorded = record(effpath.capture(model, images), images, options=make_options("paper"), backend="reference")
    layer = recorded.header.layers[0].name
    positive, negative = default_preset.signed_sums(recorded, layer, recorded.plan.kinds[layer])
    patches = functional.unfold(functional.pad(images, (1, 1, 1, 1)), 3, stride=2)  # [2, 18, 9]
    contributions = (patches[:, None] * model[1].weight.reshape(1, 3, 18, 1)).double()
    assert torch.allclose(positive, contributions.clamp(min=0).sum(2).flatten(1), rtol=1e-5)
    assert torch.allclose(negative, (-contributions).clamp(min=0).sum(2).flatten(1), rtol=1e-5)


def test_neurons_in_trouble_are_those_of_a_hand_made_layer() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 4)).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, 1.0], [1.0, -3.0], [-1.0, -1.0], [1.0, 0.0]]))
        model[1].bias.copy_(torch.tensor([0.0, 4.0, 1.0, 9.0]))  # values 2, 2, -1, 10
    images = torch.ones(1, 1, 1, 2)
    graph = effpath.capture(model, images)

    def found(**options: str) -> tuple[list[int], list[int]]:
        chosen = effpath.Options(**options)
        recorded = record(graph, images, options=chosen, backend="reference")
        name = recorded.header.layers[0].name
        kind = recorded.plan.kinds[name]
        sums = default_preset.signed_sums(recorded, name, kind)
        pair = default_preset.trouble(recorded, name, kind, sums, chosen)
        return tuple(mask[0].nonzero()[:, 0].tolist() for mask in pair)

    assert found() == ([], [3])  # a bias of 9 of a value of 10
    assert found(bias="candidate") == ([], [])
    assert found(target="sum") == ([1], [])  # 1 - 3 explains no positive value


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> dict:
    return default_preset.measure(
        digits_net.model(), digits(100, 200), per_class=5,
        attacks={"FGSM": {"epsilons": 20}, "PGD": {"epsilon": 0.3, "steps": 5}},
         sources=6, sized=2, seeds=(0, 1), cache=tmp_path_factory.mktemp("attacks"),
    )  # fmt: skip


def test_every_combination_is_measured_on_the_same_images(compared) -> None:
    rows = compared["combinations"]
    assert list(rows) == list(default_preset.COMBINATIONS)
    today = rows[default_preset.TODAY]["auc"]["linear"]
    assert today["beyond today"] == [0, 0, 0]
    for name, row in rows.items():
        path = effpath.extract(
            digits_net.graph(), digits().test_images[:1], preset=default_preset.COMBINATIONS[name]
        )
        assert len(path[0].synapses["fc3"]) > 0
        assert row["auc"]["max softmax"] == rows[default_preset.TODAY]["auc"]["max softmax"]
        low, high = row["auc"]["linear"]["mean"][1:]
        assert 0.4 < low < row["auc"]["linear"]["mean"][0] < high <= 1
        difference = row["auc"]["linear"]["mean"][0] - today["mean"][0]
        assert row["auc"]["linear"]["beyond today"][0] == pytest.approx(difference, abs=2e-4)


def test_a_bias_that_is_a_candidate_ends_paths_and_leaves_nothing_out_of_reach(compared) -> None:
    rows = compared["combinations"]
    assert rows["output, candidate, positive"]["unreachable"] == 0
    assert rows["output, value, positive"]["path_ends"] == 0
    assert rows["output, candidate, positive"]["synapses_mean"] < rows["output, value, positive"]["synapses_mean"]


def test_pgd_stays_within_its_bound_and_in_the_range_of_pixels() -> None:
    data = digits()
    made = attack(
        digits_net.model(), data.test_images[:20], data.test_labels[:20], "PGD",
        settings={**default_preset.PGD, "epsilon": 0.1, "steps": 6}, batch_size=7,
    )  # fmt: skip
    assert float((made.images - data.test_images[made.source]).abs().max()) <= 0.1 + 1e-6
    assert 0 <= float(made.images.min()) <= float(made.images.max()) <= 1
    assert bool((digits_net.model()(made.images).argmax(1) != data.test_labels[made.source]).any())


# ---------------------------------------------------------------- files and the page


def test_results_name_their_command_without_folders_and_are_drawn(table, compared, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("EFFPATH_DATA", "/some/where")
    monkeypatch.setattr(
        "sys.argv", ["studies/real_paths.py", "--model", "/some/where/load.py:net", "--sizes", "1"]
    )
    file = tmp_path / "digits.json"
    write_result({"network": "lenet5", **table}, file)
    found = read_result(file)
    assert found["command"] == "python studies/real_paths.py --model $EFFPATH_DATA/load.py:net --sizes 1"
    real_paths.draw({"digits": found}, tmp_path / "digits.svg")
    default_preset.draw({"digits": compared}, tmp_path / "preset.svg")
    write_result({"network": "lenet5", **table}, tmp_path / "real" / "digits.json")
    write_result(compared, tmp_path / "default_preset" / "digits.json")
    assert "](results/real/digits.svg)" in real_networks.networks(tmp_path)
    assert "### digits on " in real_networks.presets(tmp_path)
    assert f"| lenet5, {found['data']} | default |" in real_networks.densities(tmp_path)
    assert all((tmp_path / name).stat().st_size < 300_000 for name in ("digits.svg", "preset.svg"))


def test_data_is_labelled_by_the_outputs_of_the_model(tmp_path, monkeypatch) -> None:
    model, data = open_network("effpath.demo.lenet:LeNet5", "digits:28")
    assert data.part("train").labels.max() == 9
    assert model(data.part("train").images[:1]).shape == (1, 10)


def test_the_results_hold_the_networks_that_the_page_speaks_of() -> None:
    names = {read_result(file)["network"] for file in (RESULTS / "real").glob("*.json")}
    assert {"alexnet_imagenette", "googlenet_imagenette", "resnet50_imagenette"} <= names
