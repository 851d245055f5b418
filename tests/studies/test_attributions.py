"""Attributions against what can be computed by hand, and the study of them on scikit-learn's digits."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import attributions
import digits_net
import effpath
from attribution import faithful, views
from attribution.faithful import BESIDE, KINDS, PATH, RANDOM, area, changed, judged, removal_order
from attribution.methods import METHODS, Subject, relevance
from attributions import NETWORKS, Network, measure, opened, shown_rows
from detection import making as making_module
from effpath.errors import OptionError
from sources import write_result

CAPTUM = ("integrated gradients", "Grad-CAM")  # are Captum's
OURS = {name: method for name, method in METHODS.items() if name not in CAPTUM}
there = pytest.mark.skipif(find_spec("captum") is None, reason="captum is not installed")


def subject() -> Subject:
    net = digits_net.model()
    return Subject.of(net, digits_net.data().test_images, "relu2", torch.zeros(1, 1, 1, 1))


def images() -> tuple[Tensor, Tensor]:
    found = digits_net.data().test_images[:12]
    return found, digits_net.graph().predict(found)


class Block(nn.Module):
    """A network without biases, with an addition, a concatenation and both poolings."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.left = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.right = nn.Conv2d(4, 2, 1, bias=False)
        self.out = nn.Linear(6 * 4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.max_pool2d(torch.relu(self.first(x)), 2)
        x = torch.cat([torch.relu(self.left(x) + x), torch.relu(self.right(x))], 1)
        return self.out(nn.functional.avg_pool2d(x, 2).flatten(1))


@pytest.fixture(scope="module")
def block() -> tuple[effpath.Graph, Tensor, Tensor]:
    torch.manual_seed(3)
    net = Block().double().eval()
    pixels = torch.rand(5, 2, 8, 8, dtype=torch.float64)
    return effpath.capture(net, pixels[:1]), pixels, torch.tensor([0, 1, 2, 0, 1])


# ---------------------------------------------------------------- relevance


def test_relevance_sums_to_the_logit_where_there_are_no_biases(block) -> None:
    graph, pixels, classes = block
    logits = graph(pixels).gather(1, classes[:, None])[:, 0]
    for gamma in (0.0, 0.25, 2.0):
        found = relevance(graph, pixels, classes, gamma=gamma, epsilon=1e-12)
        torch.testing.assert_close(found.sum((1, 2, 3)), logits, rtol=1e-6, atol=1e-8)


def test_relevance_without_gamma_is_gradient_times_input_where_there_are_no_biases(block) -> None:
    graph, pixels, classes = block
    leaf = pixels.clone().requires_grad_()
    logits = graph.run(leaf, change=lambda _, value: value)[graph.logits]
    (slopes,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), leaf)
    found = relevance(graph, pixels, classes, gamma=0, epsilon=1e-12)
    torch.testing.assert_close(found, slopes * pixels, rtol=1e-6, atol=1e-9)


def test_gamma_favours_what_has_the_sign_of_the_output() -> None:
    net = nn.Sequential(
        nn.Conv2d(2, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(2, 2, 1, bias=False), nn.Flatten()
    ).eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(2)[:, :, None, None])
        net[2].weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]])[:, :, None, None])
    pixels = torch.tensor([2.0, 1.0]).view(1, 2, 1, 1)
    graph = effpath.capture(net, pixels)
    for label, expected in ((0, [4 / 3, -1 / 3]), (1, [-4 / 3, 1 / 3])):  # of contributions 2 and −1, −2 and 1
        found = relevance(graph, pixels, torch.tensor([label]), gamma=1.0, epsilon=1e-9)
        assert found.flatten().tolist() == pytest.approx(expected, rel=1e-5)


def test_relevance_of_the_neutral_colour_is_0_and_the_network_is_left_alone(block) -> None:
    graph, pixels, classes = block
    before = graph(pixels)
    found = relevance(graph, pixels, classes, neutral=pixels[:, :, :1, :1])
    assert (found[:, :, 0, 0] == 0).all()
    assert not found.requires_grad
    assert torch.equal(graph(pixels), before)


@there
def test_the_epsilon_rule_is_that_of_captum() -> None:
    from captum.attr import LRP

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 5, 3)
            self.relus, self.pool = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.ReLU()]), nn.MaxPool2d(2)
            self.third, self.last = nn.Linear(20, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.pool(self.relus[1](self.second(self.relus[0](self.first(x)))))
            return self.last(self.relus[2](self.third(x.flatten(1))))

    torch.manual_seed(0)
    net = Plain().eval()
    pixels, classes = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 1])
    graph = effpath.capture(net, pixels[:1])
    ours = relevance(graph, pixels, classes, gamma=0, epsilon=1e-9)
    theirs = LRP(net).attribute(pixels.clone(), target=classes).detach()
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


# ---------------------------------------------------------------- methods


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_a_finite_map_of_each_image_and_the_same_again(name: str) -> None:
    if name in CAPTUM:
        pytest.importorskip("captum")
    pixels, classes = images()
    one, two = (METHODS[name](subject(), pixels, classes) for _ in range(2))
    assert one.shape[0] == len(pixels)
    assert one.shape[1] in (1, pixels.shape[1])
    assert one.shape[2:] == pixels.shape[2:]
    assert one.isfinite().all()
    assert torch.equal(one, two)


@there
def test_integrated_gradients_sum_to_what_the_logit_differs_by() -> None:
    pixels, classes = images()
    asked = subject()
    found = METHODS["integrated gradients"](asked, pixels, classes).sum((1, 2, 3))
    model = asked.model
    with torch.no_grad():
        differences = (model(pixels) - model(torch.zeros_like(pixels))).gather(1, classes[:, None])[:, 0]
    torch.testing.assert_close(found, differences, rtol=0.05, atol=0.3)


@there
def test_grad_cam_has_no_negative_value() -> None:
    assert (METHODS["Grad-CAM"](subject(), *images()) >= 0).all()


# ---------------------------------------------------------------- deletion and insertion


def test_the_highest_pixel_goes_first_and_pixels_of_a_square_together() -> None:
    maps = torch.tensor([[[3.0, 1.0], [2.0, 0.0]]])
    assert removal_order(maps, 1)[0].tolist() == [[[0, 2], [1, 3]]]
    order, count = removal_order(torch.arange(15.0).view(1, 3, 5), 2)
    assert count == 6
    assert order[0].tolist() == [[5, 5, 4, 4, 3], [5, 5, 4, 4, 3], [2, 2, 1, 1, 0]]


def test_ties_are_drawn_by_lot_once_for_all() -> None:
    maps = torch.zeros(2, 4, 4)
    maps[:, 1, 2] = 1
    order, count = removal_order(maps, 1)
    assert (order[:, 1, 2] == 0).all()
    assert order.flatten(1).sort(1).values.tolist() == [list(range(count))] * 2
    assert not torch.equal(order[0], order[1])
    assert torch.equal(order, removal_order(maps, 1)[0])
    assert not torch.equal(order, removal_order(maps, 1, seed=1)[0])


def test_a_curve_begins_before_all_changes_and_ends_behind_them() -> None:
    pixels, classes = images()
    order = removal_order(torch.rand(len(pixels), 8, 8), 1)
    found = changed(digits_net.model(), classes, order, pixels, torch.zeros_like(pixels), 4)
    assert found.shape == (len(pixels), 5)
    np.testing.assert_allclose(found[:, 0], faithful.probabilities(digits_net.model(), pixels, classes), rtol=1e-5)
    ends = faithful.probabilities(digits_net.model(), torch.zeros_like(pixels), classes)
    np.testing.assert_allclose(found[:, -1], ends, rtol=1e-5)
    half = torch.where((order[0] < 32)[:, None], torch.zeros_like(pixels), pixels)
    np.testing.assert_allclose(found[:, 2], faithful.probabilities(digits_net.model(), half, classes), rtol=1e-5)


def test_of_a_linear_network_the_contributions_are_the_most_faithful_order() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 3, bias=False)).eval()
    pixels = torch.rand(40, 1, 6, 6)
    classes = net(pixels).argmax(1)
    lead = (net[1].weight[classes] - net[1].weight.mean(0)).detach().view(40, 6, 6) * pixels[:, 0]
    areas = {}
    for name, found in (("own", lead), ("none", torch.rand(40, 6, 6)), ("turned", -lead)):
        order = removal_order(found, 1)
        areas[name] = area(changed(net, classes, order, pixels, torch.zeros_like(pixels), 12)).mean()
    assert areas["own"] < areas["none"] < areas["turned"]


def test_differences_are_paired_and_positive_where_a_method_is_more_faithful() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(30)  # images differ by far more than methods
    areas = {PATH: hard + 0.1, RANDOM: hard + 0.2, BESIDE[1]: hard}
    deletion, insertion = (judged(areas, kind) for kind in KINDS)
    assert deletion["beyond"][RANDOM][PATH] == pytest.approx([0.1, 0.1, 0.1])
    assert insertion["beyond"][RANDOM][PATH] == pytest.approx([-0.1, -0.1, -0.1])
    assert deletion["path_beyond"][BESIDE[1]] == pytest.approx([-0.1, -0.1, -0.1])
    low, high = deletion["auc"][PATH][1:]
    assert low < hard.mean() + 0.1 < high


def test_blurred_images_keep_their_mean_and_lose_their_detail() -> None:
    pixels = torch.rand(2, 3, 64, 64)
    found, sigma = faithful.blurred(pixels)
    assert (found.shape, found.dtype, sigma) == (pixels.shape, torch.float32, 4)
    torch.testing.assert_close(found.mean((2, 3)), pixels.mean((2, 3)), rtol=0.05, atol=0.02)
    assert (found.std((2, 3)) < 0.2 * pixels.std((2, 3))).all()


def test_the_examples_run() -> None:
    assert doctest.testmod(faithful).failed == 0
    assert doctest.testmod(views).failed == 0


# ---------------------------------------------------------------- the study


@pytest.fixture(scope="module")
def trained() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making_module, "train_lenet", lambda data, seed: digits_net.model())
        yield


@pytest.fixture(scope="module")
def table(trained) -> dict:
    return measure("lenet_digits", images=30, parts=5, methods=OURS)


def test_a_table_has_every_method_in_both_curves(table) -> None:
    assert (table["images"], list(table["seconds_per_image"])) == (30, list(OURS))
    assert list(table["cells"]) == ["1"]
    for kind in KINDS:
        row = table["cells"]["1"][kind]
        assert list(row["auc"]) == list(row["curves"]) == list(OURS)
        assert all(len(curve) == 6 for curve in row["curves"].values())
        assert list(row["path_beyond"]) == [name for name in OURS if name != PATH]
        ends = {(curve[0], curve[-1]) for curve in row["curves"].values()}
        assert len(ends) == 1  # all begin and end with the same images
        for name, (value, low, high) in row["auc"].items():
            assert low <= value <= high, name
    found = table["probability"]
    assert found["image"][0] == pytest.approx(table["cells"]["1"]["deletion"]["curves"][PATH][0], abs=1e-3)
    assert found["blurred"][0] == pytest.approx(table["cells"]["1"]["insertion"]["curves"][PATH][0], abs=1e-3)


def test_kept_maps_are_those_of_the_first_image_of_five_classes(table) -> None:
    asked = opened(NETWORKS["lenet_digits"], 30)
    rows = shown_rows(asked.labels)
    assert asked.labels[rows].tolist() == [0, 2, 4, 7, 9]
    shown = table["shown"]
    assert len(shown["titles"]) == 5
    kept = views.from_text(shown["maps"][PATH][1], shown["shape"])
    found = asked.take(rows).maps(METHODS[PATH])[1].numpy()
    np.testing.assert_allclose(kept, found / found.max(), atol=0.006)
    picture = views.from_text(shown["pictures"][1], shown["shape"])
    np.testing.assert_allclose(picture, asked.pixels[rows[1], 0] / asked.pixels[rows[1]].max(), atol=0.006)


def test_pictures_and_maps_of_data_that_may_not_be_published_are_not_kept() -> None:
    for name, network in NETWORKS.items():
        assert network.pictures == (name == "lenet_digits")
        if network.maps and not network.pictures:
            assert network.cells[-1] >= 8


def test_squares_are_measured_beside_single_pixels(trained, monkeypatch) -> None:
    squares = Network(NETWORKS["lenet_digits"].case, "relu2", (0.0,), 10, (1, 3), maps=False)
    monkeypatch.setattr(attributions, "NETWORKS", {"tiny": squares})
    few = {name: OURS[name] for name in (PATH, RANDOM)}
    found = measure("tiny", parts=3, methods=few)
    assert list(found["cells"]) == ["1", "3"]
    assert "shown" not in found


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(OptionError, match=r"unknown case 'lenet'.*lenet_mnist"):
        measure("lenet")


def test_the_page_says_what_is_won_and_what_is_lost(table, tmp_path: Path) -> None:
    write_result({"network": "lenet_digits", **table}, tmp_path / "attributions" / "lenet_digits.json")
    lines = views.faithfulness(tmp_path).splitlines()
    assert len(lines) == 2 + len(OURS)
    assert all(line.startswith("| lenet_digits, n = 30 | single pixels | ") for line in lines[2:])
    said = views.more_faithful(tmp_path).splitlines()
    assert [line.split(":")[0] for line in said] == [
        f"- **lenet_digits**, single pixels, {kind}" for kind in KINDS
    ]
    row = {"auc": dict.fromkeys("abcd"), "path_beyond": {"b": [0.1, 0.05, 0.2], "c": [-0.3, -0.4, -0.2]}}
    row["path_beyond"]["d"] = [0.0, -0.1, 0.1]
    assert views.standing(row) == (
        "the effective path is number 2 of 4; more faithful than b (+0.100 (+0.050 – +0.200)); "
        "**less faithful than** c (-0.300 (-0.400 – -0.200)); not told apart from d (+0.000 (-0.100 – +0.100))."
    )


def test_curves_and_maps_are_drawn(table, tmp_path: Path) -> None:
    views.draw({"lenet_digits": table}, tmp_path / "curves.svg")
    assert (tmp_path / "curves.svg").stat().st_size > 1000
    figure = views.maps_figure(table)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["image", *OURS]
    assert len(figure.axes) == 5 * (1 + len(OURS)) + 1  # and the scale
