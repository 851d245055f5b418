"""Each rival against its formula, by hand or by a library that it does not use, and the study that judges them."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, mahalanobis
from scipy.special import logsumexp, softmax
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import KernelDensity
from torch import nn

import detection.making as making_module
import digits_net
import effpath
import rivals as table_module
from detection.cases import Case, Planned
from detection.gather import gather
from effpath.attacks import attack
from effpath.detect.classifiers import is_clean_only, suspicion
from effpath.detect.signs import passes
from effpath.detect.signs.bit_depth import reduce_bits
from effpath.detect.signs.jpeg import jpeg
from effpath.detect.signs.resize_and_pad import resize_and_pad
from effpath.errors import InputError, MissingExtraError
from figures import FIGURES, detectors, heading
from quick_rivals import QUICK as QUICK_RIVALS
from rivals import RIVALS, Rival, pid, transformations
from rivals.activations import (
    SPREAD,
    Output,
    activations_with_gradient,
    batches,
    channel_means,
    hidden_outputs,
    layer_values,
    logits,
    outputs,
    rows,
    spread_outputs,
)
from rivals.density import ClassDensity, choose_bandwidth
from rivals.lid import LocalDimension, dimension
from rivals.magnet import MagNet
from rivals.mahalanobis import Mahalanobis, fit_gaussians
from rivals.metzen import Activation, ActivationDetector
from rivals.neighbours import DeepNeighbours
from rivals.odds import BestSide, BothSides, LogOdds
from rivals.pid import Inconsistency
from rivals.ptolemy import ForwardPaths
from rivals.squeezing import BORNE, FeatureSqueezing, median
from rivals.transformations import Disagreement
from rivals.vim import VirtualLogit
from sources import read_result, write_result

QUICK = {name: rival for name, rival in QUICK_RIVALS.items() if name != "total variation"}


def train(count: int = 300):
    digits = digits_net.data()
    return digits.train_images[:count], digits.train_labels[:count]


def fresh(count: int = 40):
    return digits_net.data().test_images[:count]


# ---------------------------------------------------------------- every rival


@pytest.mark.parametrize("name", QUICK)
def test_a_rival_gives_a_finite_row_an_image_that_depends_on_the_seed_and_the_image_alone(name) -> None:
    images = torch.cat([fresh(), digits_net.noisy(fresh()), torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)])
    first, again = (QUICK[name].fit(digits_net.graph(), *train(), seed=3).measure(images) for _ in range(2))
    assert len(first) == len(images)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first, axis=0)) > 10
    fitted = QUICK[name].fit(digits_net.graph(), *train(), seed=3)
    np.testing.assert_allclose(fitted.measure(images[7:9]), first[7:9], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", QUICK)
def test_torch_s_generator_is_left_as_it_was(name) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    QUICK[name].fit(digits_net.graph(), *train(60), seed=3).measure(fresh(2))
    assert torch.equal(torch.rand(1), wanted)


# ---------------------------------------------------------------- activations


def test_activations_are_those_of_the_network_s_own_nonlinearities() -> None:
    graph, model, images = digits_net.graph(), digits_net.model(), fresh(5)
    found = outputs(graph)
    assert [output.node for output in found] == ["relu1", "relu2", "relu3", "relu4", "fc3"]
    with torch.no_grad():
        first = model.relu1(model.conv1(images))
        second = model.relu2(model.conv2(model.pool1(first)))
    means = layer_values(graph, images, found, channel_means)
    np.testing.assert_allclose(means[0], first.mean((2, 3)).numpy(), rtol=1e-5)
    np.testing.assert_allclose(means[1], second.mean((2, 3)).numpy(), rtol=1e-5)
    assert means[4].shape == (5, 10)


def test_a_layer_whose_output_is_added_to_something_is_read_itself() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)

        def forward(self, x):
            x = self.first(x).relu()
            return self.last((x + self.second(x)).relu().mean((2, 3)))

    torch.manual_seed(0)
    graph = effpath.capture(Residual().eval(), torch.rand(1, 1, 6, 6))
    nodes = {output.layer: output.node for output in outputs(graph)}
    assert graph.by_name[nodes["first"]].op == "relu"
    assert nodes["second"] == "second"
    assert [output.layer for output in hidden_outputs(graph)] == ["first", "second"]


def test_the_gradient_of_an_activation_is_that_of_the_network() -> None:
    images = fresh(3).clone().requires_grad_()
    wanted = torch.autograd.grad(digits_net.model()(images)[:, 2].sum(), images)[0]
    graph = digits_net.graph()
    values = activations_with_gradient(graph, images, [graph.logits])[graph.logits]
    torch.testing.assert_close(torch.autograd.grad(values[:, 2].sum(), images)[0], wanted)


def test_as_many_images_run_together_as_suit_the_memory(monkeypatch) -> None:
    graph, images = digits_net.graph(), fresh(7)
    whole = logits(graph, images)
    monkeypatch.setattr(passes, "CACHED", 3 * graph.largest_bytes)
    assert [len(batch) for batch in batches(graph, images)] == [3, 3, 1]
    np.testing.assert_allclose(logits(graph, images), whole, atol=1e-4)


def test_of_a_deep_network_layers_are_spread_from_the_first_to_the_last() -> None:
    torch.manual_seed(0)
    deep = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), *[nn.Linear(5, 5) for _ in range(29)]).eval()
    found = [output.layer for output in spread_outputs(effpath.capture(deep, fresh(1)))]
    assert len(found) == SPREAD
    assert (found[0], found[-1]) == ("1", "30")
    steps = np.diff([int(name) for name in found])
    assert steps.max() - steps.min() <= 1


def test_large_layers_are_averaged_over_their_places() -> None:
    output = Output("conv", "conv", 1)
    large, small = torch.rand(2, 9, 32, 32), torch.rand(2, 8, 32, 32)
    torch.testing.assert_close(rows(large, output), large.mean((2, 3)))
    torch.testing.assert_close(rows(small, output), small.flatten(1))
    tokens = torch.rand(2, 7, 5)
    torch.testing.assert_close(channel_means(tokens, Output("fc", "fc", -1)).float(), tokens.mean(1))


# ---------------------------------------------------------------- one by one


def squeezers(*chosen) -> FeatureSqueezing:
    return FeatureSqueezing(digits_net.graph(), chosen)


def test_squeezing_what_is_squeezed_already_changes_nothing() -> None:
    one_bit, smooth = squeezers(partial(reduce_bits, bits=1)), squeezers(partial(median, side=2))
    black_and_white, even = fresh().round(), torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    np.testing.assert_array_equal(one_bit.measure(black_and_white), 0)
    np.testing.assert_array_equal(smooth.measure(even), 0)
    assert min(one_bit.measure(fresh()).max(), smooth.measure(black_and_white).max()) > 0.1


def test_squeezers_are_those_that_clean_images_bear() -> None:
    images, labels = train()
    chosen = FeatureSqueezing.fit(digits_net.graph(), images, labels).squeezers

    def kept(squeeze) -> float:
        with torch.no_grad():
            pair = (digits_net.model()(own).argmax(1) for own in (images, squeeze(images)))
            return float(torch.eq(*pair).float().mean())

    bits = chosen[0].keywords["bits"]
    assert kept(partial(reduce_bits, bits=bits)) >= BORNE
    assert all(kept(partial(reduce_bits, bits=fewer)) < BORNE for fewer in range(1, bits))
    assert (len(chosen) == 2) == (kept(partial(median, side=2)) >= BORNE)


def test_the_suspicion_of_squeezing_is_the_largest_l1_distance_of_the_softmax() -> None:
    images = fresh(6)
    with torch.no_grad():
        before, bits, middle = (
            softmax(digits_net.model()(own).double().numpy(), axis=1)
            for own in (images, (images > 0.5).float(), median(images, 2))
        )
    wanted = np.maximum(np.abs(before - bits).sum(1), np.abs(before - middle).sum(1))
    both = squeezers(partial(reduce_bits, bits=1), partial(median, side=2))
    np.testing.assert_allclose(both.measure(images), wanted, atol=1e-5)


def test_bits_and_medians_are_those_of_an_image_by_hand() -> None:
    row = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.9, 1.0])
    torch.testing.assert_close(reduce_bits(row, 2), torch.tensor([0.0, 1 / 3, 1 / 3, 2 / 3, 1.0, 1.0]))
    image = torch.tensor([[1.0, 2, 9], [4, 3, 5], [7, 8, 6]])
    assert median(image[None, None], 3)[0, 0, 1, 1] == 5
    both = torch.stack([image, 10 * image])[None]
    torch.testing.assert_close(median(both, 2)[0, 1], 10 * median(both, 2)[0, 0])


def test_the_distance_is_scipy_s_and_zero_at_a_class_mean() -> None:
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(60, 4)), np.repeat([0, 1, 2], 20)
    values[labels == 1] += 3
    gaussians = fit_gaussians(values, labels)
    means = np.array([values[labels == k].mean(0) for k in range(3)])
    inverse = np.linalg.inv((values - means[labels]).T @ (values - means[labels]) / 60)
    wanted = [min(mahalanobis(row, mean, inverse) ** 2 for mean in means) for row in values]
    np.testing.assert_allclose(gaussians.distance(torch.from_numpy(values)).numpy(), wanted, rtol=1e-9)
    np.testing.assert_allclose(gaussians.distance(torch.from_numpy(means)).numpy(), 0, atol=1e-20)


def test_of_fewer_images_than_channels_the_distance_is_scikit_learn_s() -> None:
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(12, 30)), np.repeat([3, 5], 6)
    means = np.array([values[labels == k].mean(0) for k in (3, 5)])
    covariance = EmpiricalCovariance(assume_centered=True).fit(values - means[(labels == 5).astype(int)])
    new = rng.normal(size=(4, 30))
    wanted = np.min([covariance.mahalanobis(new - mean) for mean in means], axis=0)
    np.testing.assert_allclose(
        fit_gaussians(values, labels).distance(torch.from_numpy(new)).numpy(), wanted, rtol=1e-6
    )


def test_a_channel_that_never_varies_has_no_part_in_the_distance() -> None:
    values = np.random.default_rng(1).normal(size=(30, 3))
    dead = np.concatenate([values, np.zeros((30, 1))], axis=1)
    labels = np.repeat([0, 1], 15)
    with_it, without = fit_gaussians(dead, labels), fit_gaussians(values, labels)
    np.testing.assert_allclose(
        with_it.distance(torch.from_numpy(dead) + torch.tensor([0, 0, 0, 5.0])).numpy(),
        without.distance(torch.from_numpy(values)).numpy(),
    )


def test_each_layer_s_distance_is_what_it_is_alone() -> None:
    whole = Mahalanobis.fit(digits_net.graph(), *train())
    pairs = zip(whole.layers, whole.gaussians, strict=True)
    alone = [replace(whole, layers=(layer,), gaussians=(one,)).measure(fresh()) for layer, one in pairs]
    assert len(alone) > 2
    np.testing.assert_allclose(whole.measure(fresh()), np.concatenate(alone, axis=1), rtol=1e-9)


def test_the_first_step_of_mahalanobis_lowers_the_distance() -> None:
    plain, moved = (Mahalanobis.fit(digits_net.graph(), *train(), epsilon=e).measure(fresh()) for e in (0, 0.002))
    assert (moved < plain).mean() > 0.95
    np.testing.assert_allclose(moved, plain, rtol=0.2)


def test_the_dimension_is_that_of_its_formula() -> None:
    assert dimension(np.array([[1.0, 2.0, 4.0]]))[0] == pytest.approx(3 / (np.log(4) + np.log(2)))
    assert dimension(np.array([[2.0, 2.0, 2.0], [0.0, 0.0, 0.0]])).tolist() == [1000, 1000]
    points = np.random.default_rng(0).uniform(size=(4000, 3))  # a cube has three dimensions
    nearest = np.sort(cdist(np.full((1, 3), 0.5), points))[:, :200]
    assert dimension(nearest)[0] == pytest.approx(3, rel=0.15)


def test_distances_for_the_dimension_are_to_the_drawn_training_images() -> None:
    images, labels = train(150)
    rival = LocalDimension.fit(digits_net.graph(), images, labels, seed=4, minibatch=30, k=5)
    drawn = np.sort(np.random.default_rng(4).permutation(150)[:30])
    with torch.no_grad():
        clean, new = (digits_net.model()(own).double().numpy() for own in (images[drawn], fresh(8)))
    wanted = dimension(np.sort(cdist(new, clean))[:, :5])
    np.testing.assert_allclose(rival.measure(fresh(8))[:, -1], wanted, rtol=1e-4)


def test_the_density_is_scikit_learn_s_and_that_of_its_formula_for_the_predicted_class() -> None:
    images, labels = train()
    model, new = digits_net.model(), fresh(12)
    rival = ClassDensity.fit(digits_net.graph(), images, labels, bandwidth=0.7)
    with torch.no_grad():
        hidden = []
        hook = model.relu4.register_forward_hook(lambda *call: hidden.append(call[2].double().numpy()))
        model(images)
        predicted = model(new).argmax(1).numpy()
        hook.remove()
    for row, label, found in zip(hidden[1], predicted, rival.measure(new), strict=True):
        own = hidden[0][labels.numpy() == label]
        squares = ((own - row) ** 2).sum(1)
        by_hand = logsumexp(-squares / (2 * 0.7**2)) - np.log(len(own)) - len(row) / 2 * np.log(2 * np.pi * 0.7**2)
        assert -found == pytest.approx(by_hand, rel=1e-5)
        assert -found == pytest.approx(KernelDensity(bandwidth=0.7).fit(own).score_samples(row[None])[0], rel=1e-5)


def test_the_bandwidth_follows_the_scale_of_the_values_and_a_missing_class_is_an_error() -> None:
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(200, 3)), np.arange(200) % 4
    narrow = choose_bandwidth(values, labels, seed=0)
    assert 0.1 < narrow < 1.5
    assert choose_bandwidth(10 * values, labels, seed=0) == pytest.approx(10 * narrow)
    images, labels = train()
    with pytest.raises(InputError, match=r"expected training images of every class, got none of \[7\]"):
        ClassDensity.fit(digits_net.graph(), images[labels != 7], labels[labels != 7])


def test_the_neighbours_and_p_values_are_those_of_a_plain_search() -> None:
    images, labels = train(100)
    rival = DeepNeighbours.fit(digits_net.graph(), images, labels, seed=2, k=5)
    order = np.random.default_rng(2).permutation(100)
    held_out, reference = np.sort(order[:10]), np.sort(order[10:])

    def apart(new: torch.Tensor) -> np.ndarray:
        total = np.zeros((len(new), 10))
        for name in ("relu1", "relu2", "relu3", "relu4", "fc3"):
            graph = digits_net.graph()
            near, far = (graph.run(own, [name])[name].flatten(1).numpy() for own in (new, images[reference]))
            found = np.argsort(cdist(near, far, "cosine"), axis=1, kind="stable")[:, :5]
            for label in range(10):
                total[:, label] += (labels.numpy()[reference][found] != label).sum(1)
        return total

    np.testing.assert_array_equal(rival.nonconformity(fresh(9)), apart(fresh(9)))
    own = apart(images[held_out])[np.arange(10), labels.numpy()[held_out]]
    p_values = np.array([[(own >= value).mean() for value in row] for row in apart(fresh(9))])
    with torch.no_grad():
        predicted = digits_net.model()(fresh(9)).argmax(1).numpy()
    measured = rival.measure(fresh(9))
    np.testing.assert_allclose(measured[:, 0], -p_values.max(1))
    np.testing.assert_allclose(measured[:, 1], -p_values[np.arange(9), predicted])


def test_magnet_s_autoencoder_learns_to_copy_and_its_score_is_the_largest_distance_in_deviations() -> None:
    images, labels = train()
    raw, taught = (MagNet.fit(digits_net.graph(), images, labels, steps=steps) for steps in (1, 300))
    held_out = fresh()
    assert taught.distances(held_out)[:, 0].mean() < 0.5 * raw.distances(held_out)[:, 0].mean()
    with torch.no_grad():
        apart = (taught.network(held_out) - held_out).double().numpy()
    np.testing.assert_allclose(taught.distances(held_out)[:, 0], np.abs(apart).mean((1, 2, 3)))
    np.testing.assert_allclose(taught.distances(held_out)[:, 1], np.sqrt((apart**2).mean((1, 2, 3))))
    usual = taught.distances(images[np.random.default_rng(0).permutation(300)[:30]])
    standard = (taught.distances(held_out) - usual.mean(0)) / usual.std(0)
    np.testing.assert_allclose(taught.measure(held_out), standard.max(1))


def test_metzen_s_detector_reads_the_middle_convolution_and_finds_noise() -> None:
    reader = Activation.fit(digits_net.graph(), *train(1))
    assert reader.layer.node == "relu2"
    values = np.concatenate([reader.measure(own) for own in (fresh(100), digits_net.noisy(fresh(100)))])
    assert values.shape == (200, 16, 4, 4)
    learnt = np.r_[0:50, 100:150]
    y = np.repeat([0, 1], 100)
    detector = ActivationDetector(steps=100).fit(values[learnt], y[learnt])
    assert (detector.predict(np.delete(values, learnt, axis=0)) == np.delete(y, learnt)).mean() > 0.8


def test_transformations_of_an_image_by_hand() -> None:
    flat = torch.full((1, 3, 16, 16), 128 / 255)
    torch.testing.assert_close(jpeg(flat), flat, atol=1 / 255, rtol=0)
    assert not torch.equal(jpeg(fresh(1)), fresh(1))
    white = torch.ones(1, 1, 8, 8)
    small = resize_and_pad(white, side=0.75, top=1.0, left=0.0)[0, 0]
    wanted = torch.zeros(8, 8)
    wanted[2:, :6] = 1
    torch.testing.assert_close(small, wanted)
    torch.testing.assert_close(resize_and_pad(fresh(2), side=1.0, top=0.3, left=0.3), fresh(2))


def test_disagreement_is_above_zero_where_the_changed_image_has_another_class() -> None:
    graph, model, images = digits_net.graph(), digits_net.model(), digits_net.noisy(fresh(60))
    unchanged = Disagreement(graph, (lambda x: x,)).measure(images)
    assert (unchanged < 0).all()
    turned = Disagreement(graph, (lambda x: x.flip(2),)).measure(images)
    with torch.no_grad():
        differs = (model(images).argmax(1) != model(images.flip(2)).argmax(1)).numpy()
    np.testing.assert_array_equal(turned > 0, differs)
    assert 0.1 < differs.mean() < 1


def test_total_variation_smooths_noise_and_keeps_flat_images() -> None:
    generator = torch.Generator().manual_seed(0)
    noisy = (0.5 + 0.1 * torch.randn(2, 1, 16, 16, generator=generator)).clamp(0, 1)
    smooth = transformations.total_variation(noisy)
    assert smooth.dtype == noisy.dtype
    assert (smooth.flatten(1).std(1) < 0.4 * noisy.flatten(1).std(1)).all()
    flat = torch.full((1, 3, 8, 8), 0.25)
    torch.testing.assert_close(transformations.total_variation(flat), flat)


def test_log_odds_are_those_of_the_maximum_softmax() -> None:
    found = LogOdds.fit(digits_net.graph(), *train(1)).measure(fresh())
    with torch.no_grad():
        largest = digits_net.model()(fresh()).double().softmax(1).amax(1).numpy()
    np.testing.assert_allclose(found[:, 0], np.log(largest) - np.log1p(-largest), rtol=1e-3)


def test_both_sides_of_the_clean_values_are_suspicious_each_in_its_own_width() -> None:
    clean = np.r_[np.linspace(-1, 0, 501), np.linspace(0, 10, 501)[1:]][:, None]
    fitted = BothSides().fit(clean)
    assert is_clean_only(fitted)
    found = suspicion(fitted, [[0.0], [-0.9], [9.0], [-1.8], [90.0]])
    np.testing.assert_allclose(found, [0, 1, 1, 2, 10], rtol=1e-2, atol=1e-9)


@pytest.mark.parametrize("side", [1, -1])
def test_the_best_threshold_is_on_the_side_of_the_attacks(side) -> None:
    values, labels = side * np.array([[0.0], [1], [2], [3], [5], [6], [7], [0.5]]), [0, 0, 0, 0, 1, 1, 1, 1]
    fitted = BestSide().fit(values, labels)
    assert fitted.side_ == side
    assert fitted.threshold_ == 4.0
    assert fitted.predict(side * np.array([[4.5], [3.5], [-9]])).tolist() == [1, 0, 0]
    assert not is_clean_only(fitted)


def test_the_virtual_logit_is_that_of_its_formula() -> None:
    images, labels = train()
    model, new = digits_net.model(), fresh(12)
    rival = VirtualLogit.fit(digits_net.graph(), images, labels)
    with torch.no_grad():
        hidden = []
        hook = model.relu4.register_forward_hook(lambda *call: hidden.append(call[2].double().numpy()))
        known, said = (model(own).double().numpy() for own in (images, new))
        hook.remove()
        weight, bias = model.fc3.weight.double().numpy(), model.fc3.bias.double().numpy()
    origin = np.linalg.lstsq(weight, -bias, rcond=None)[0]  # the shortest one where all logits are 0
    _, _, axes = np.linalg.svd(hidden[0] - origin, full_matrices=False)
    usual = axes[:42]  # half of 84 features

    def outside(values: np.ndarray) -> np.ndarray:
        centred = values - origin
        return np.linalg.norm(centred - centred @ usual.T @ usual, axis=1)

    scale = known.max(1).mean() / outside(hidden[0]).mean()
    np.testing.assert_allclose(
        rival.measure(new), scale * outside(hidden[1]) - logsumexp(said, axis=1), rtol=1e-3, atol=1e-3
    )


def test_a_network_that_does_not_end_in_a_linear_layer_has_no_virtual_logit() -> None:
    torch.manual_seed(0)
    pooled = nn.Sequential(nn.Conv2d(1, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with pytest.raises(InputError, match="ViM reads the last linear layer"):
        VirtualLogit.fit(effpath.capture(pooled, fresh(1)), *train(20))


def test_a_forward_path_is_the_neurons_above_the_threshold_inside_those_of_the_class() -> None:
    images, labels = train(80)
    rival = ForwardPaths.fit(digits_net.graph(), images, labels, seed=5)
    drawn = np.sort(np.random.default_rng(5).permutation(80)[:32])
    with torch.no_grad():
        right = (digits_net.model()(images).argmax(1) == labels).numpy()
        predicted = digits_net.model()(fresh(7)).argmax(1).numpy()
    found = rival.measure(fresh(7))
    assert found.shape == (7, 5)
    for place, node in enumerate(("relu1", "relu2", "relu3", "relu4", "fc3")):
        known, new = (digits_net.graph().run(own, [node])[node].flatten(1).numpy() for own in (images, fresh(7)))
        limit = np.quantile(known[drawn], 0.9)
        for row, label in enumerate(predicted):
            path = (known[right & (labels.numpy() == label)] > limit).any(0)
            own = new[row] > limit
            assert found[row, place] == pytest.approx(path[own].mean() if own.any() else 1.0)


# ---------------------------------------------------------------- what does not fit


def test_a_rival_that_cannot_be_fitted_says_why(monkeypatch) -> None:
    monkeypatch.setattr(transformations.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="scikit-image"):
        RIVALS["total variation"].fit(digits_net.graph(), *train(1))
    torch.manual_seed(0)
    linear = effpath.capture(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval(), fresh(1))
    for name in ("density", "Metzen"):
        with pytest.raises(InputError, match="the network has none"):
            RIVALS[name].fit(linear, *train(), seed=0)
    assert len(RIVALS["JPEG"].fit(linear, *train(), seed=0).measure(fresh(2))) == 2


# ---------------------------------------------------------------- the study


class Noted:
    """A rival that notes what it was fitted on, and numbers the images it measures."""

    def __init__(self) -> None:
        self.fitted: list[torch.Tensor] = []

    def fit(self, graph, images, labels, *, seed):
        self.fitted.append(images)
        return self

    def measure(self, images):
        return images.flatten(1).double().numpy()


def refuse(graph, images, labels, *, seed):
    raise InputError("not for this network")


class Classifier(ActivationDetector):
    learnt: ClassVar[list[np.ndarray]] = []

    def fit(self, X, y):
        Classifier.learnt.append(X)
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X):
        return X.sum(1)


CASE = Case(
    "digits",
    None,
    {
        "FGSM": Planned("FGSM", {"epsilons": 20}),
        "PGD": Planned("PGD", {"epsilon": 0.2, "steps": 10, "rel_stepsize": 0.25}, sources=50),
        "Random": Planned("Random", unseen=True),
    },
    sources=150,
    clean=150,
    per_class=30,
    gates=False,
)


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    noted = Noted()
    Classifier.learnt.clear()
    rivals = {**QUICK, "refused": Rival(refuse, {"refused": (np.asarray, None)})}
    rivals["noted"] = Rival(noted.fit, {"noted": (np.asarray, lambda seed: Classifier())})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EFFPATH_CACHE", str(tmp_path_factory.mktemp("cache")))
        for module in (making_module, table_module):
            patch.setattr(module, "RIVALS", rivals)
        seen = gather("tiny", CASE, others=tuple(rivals))
        again = gather("tiny", CASE, others=tuple(rivals))
        return {**heading(seen), **detectors.measure(seen)}, noted, seen, again


def test_every_detector_is_judged_on_every_attack_with_one_threshold(studied) -> None:
    table, _, _, _ = studied
    rivals = {name for name, row in table["detectors"].items() if row["whose"] == "rival"}
    measured = [rival for name, rival in QUICK.items() if name != "CDRP"]  # the case is without gates
    assert rivals == {"noted", *(detector for rival in measured for detector in rival.detectors)}
    left = "left to `--study cdrp`, on fewer images"
    assert table["skipped"] == {"CDRP": left, "refused": "not for this network"}
    for row in table["detectors"].values():
        assert set(row["auc"]) == set(row["tpr"]["0.05"]) == {"FGSM", "PGD", "Random"}
        assert 0 <= row["fpr"]["0.01"] <= row["fpr"]["0.05"] <= row["fpr"]["0.1"] <= 0.4
        for value, low, high in (*row["auc"].values(), *row["tpr"]["0.05"].values()):
            assert 0 <= low <= value <= high <= 1
    assert table["detectors"]["Mahalanobis"]["auc"]["Random"][0] > 0.9
    assert table["tested"]["FGSM"] <= table["attacks"]["FGSM"]["succeeded"]
    assert table["attacks"]["PGD"]["tried"] == 50
    assert table["sizes"] == {"train": 15, "calibrate": 30, "test": 105}


def test_the_best_rival_of_an_attack_has_the_highest_auc(studied) -> None:
    table, _, _, _ = studied
    for name, cell in table["cells"].items():
        others = [row["auc"][name][0] for row in table["detectors"].values() if row["whose"] != "ours"]
        assert cell["its_auc"] == max(others)
        ours = table["detectors"]["surprise"]["auc"][name]
        assert cell["ours"] == ours
        assert cell["beyond_best"][0] == pytest.approx(ours[0] - max(others), abs=2e-4)
        assert cell["within"] == (cell["beyond_best"][0] >= 0 or cell["p_best"] > 0.05)
        assert cell["kind"] == ("ceiling" if max(others) >= 0.995 else "open")  # of more than fifty images each
        assert cell["successes"] == table["attacks"][name]["succeeded"]
    assert table["within_the_best"] == [sum(cell["within"] for cell in table["cells"].values()), 3]
    assert np.sum(list(table["kinds"].values()), axis=0).tolist() == table["within_the_best"]
    assert table["floats"] == {}


def test_no_tested_image_is_among_those_that_anything_was_fitted_on(studied) -> None:
    table, noted, seen, _ = studied

    def keys(images: np.ndarray) -> set[bytes]:
        return {row.astype(np.float64).tobytes() for row in np.asarray(images).reshape(len(images), -1)}

    (fitted,) = noted.fitted
    tested = keys(digits_net.data().test_images.numpy())
    assert torch.equal(fitted, digits_net.data().part("train").first_of_each_class(30).images)
    assert not keys(fitted.numpy()) & tested
    assert len(Classifier.learnt) == 5
    clean = keys(seen.groups["clean"].arrays["noted"])
    for learnt in Classifier.learnt:
        assert not keys(learnt) & keys(fitted.numpy())
        assert len(keys(learnt) & clean) == table["sizes"]["train"]
        assert not keys(learnt) & keys(seen.groups["Random"].arrays["noted"])


def test_what_was_gathered_is_read_back_equal(studied) -> None:
    _, noted, seen, again = studied
    assert len(noted.fitted) == 1  # not gathered twice
    assert list(seen.groups) == list(again.groups) == ["clean", "FGSM", "PGD", "Random"]
    for name, group in seen.groups.items():
        other = again.groups[name]
        np.testing.assert_array_equal(group.features.values, other.features.values)
        np.testing.assert_array_equal(group.features.likelihood, other.features.likelihood)
        np.testing.assert_array_equal(group.source, other.source)
        assert set(group.arrays) == set(other.arrays) == {*QUICK, "noted"} - {"CDRP"}
    assert set(seen.controls) == {"noise as large as PGD", "natural mistakes"}
    assert (seen.labels["Random"] == -1).all()
    assert seen.about == again.about


def test_the_source_of_an_attack_on_some_images_is_among_all_of_them(studied) -> None:
    _, _, seen, _ = studied
    clean, attacked = (seen.groups[name] for name in ("clean", "PGD"))
    pixels = [group.arrays["noted"] for group in (clean, attacked)]
    assert np.abs(pixels[1] - pixels[0][attacked.source]).max() <= 0.2 + 1e-6
    np.testing.assert_array_equal(seen.labels["PGD"], seen.labels["clean"][attacked.source])
    assert attacked.source.max() > 140  # spread over all


def test_the_study_is_written_and_drawn(studied, tmp_path, monkeypatch) -> None:
    table, _, _, _ = studied
    monkeypatch.setattr("sys.argv", ["reproduce.py", "--study", "detectors", "--output", "DIR"])
    write_result(table, tmp_path / "digits.json")
    found = read_result(tmp_path / "digits.json")
    assert found["command"] == "python studies/reproduce.py --study detectors --output DIR"
    assert FIGURES["detectors"].drawn({"digits": found}, tmp_path / "digits.png")
    assert 1000 < (tmp_path / "digits.png").stat().st_size < 300_000
    assert any("surprise" in line for line in FIGURES["detectors"].words("digits", found))


def test_pid_is_the_log_odds_of_the_other_network_against_the_predicted_class() -> None:
    torch.manual_seed(0)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    found = Inconsistency(digits_net.graph(), other).measure(fresh())
    with torch.no_grad():
        predicted = digits_net.model()(fresh()).argmax(1)
        believed = other(fresh()).double().softmax(1).gather(1, predicted[:, None])[:, 0].numpy()
    np.testing.assert_allclose(found, np.log1p(-believed) - np.log(believed), rtol=1e-4, atol=1e-5)


def test_pid_takes_the_first_network_that_fits_and_never_the_network_itself(monkeypatch) -> None:
    torch.manual_seed(0)
    useless = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    good = copy.deepcopy(digits_net.model())
    with torch.no_grad():
        good.fc3.bias[0] += 1
    known = {"useless": useless, "itself": digits_net.model(), "good": good}
    monkeypatch.setattr(pid, "load_model", known.__getitem__)
    monkeypatch.delenv("EFFPATH_DATA", raising=False)
    monkeypatch.setattr(pid, "AUXILIARIES", {((1, 8, 8), 10): ("$EFFPATH_DATA/none", "useless", "itself", "good")})
    monkeypatch.setattr(pid, "trained", lambda *given: pytest.fail("a network was trained"))
    assert Inconsistency.fit(digits_net.graph(), *train()).auxiliary is good


def test_pid_without_a_network_that_fits_is_refused(monkeypatch) -> None:
    torch.manual_seed(0)
    large = effpath.capture(nn.Sequential(nn.Flatten(), nn.Linear(80 * 80, 3)).eval(), torch.rand(1, 1, 80, 80))
    with pytest.raises(InputError, match=r"3 classes that gets at least 50% of them right; got none"):
        Inconsistency.fit(large, torch.rand(12, 1, 80, 80), torch.arange(12) % 3)
    images, labels = train(100)
    monkeypatch.setattr(pid, "trained", lambda *given: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    with pytest.raises(InputError, match=r"at least 50% of them right; got \['\d+%'\]"):
        Inconsistency.fit(digits_net.graph(), images, (labels + 5) % 10)


@pytest.mark.skipif("EFFPATH_DATA" not in os.environ, reason="EFFPATH_DATA is not set")
def test_every_auxiliary_network_is_there_and_takes_its_images() -> None:
    for (shape, classes), specs in pid.AUXILIARIES.items():
        for spec in specs:
            network = pid.load_model(os.path.expandvars(spec)).eval()
            with torch.no_grad():
                assert network(torch.full((2, *shape), 0.5)).shape == (2, classes)


def test_pid_finds_what_only_one_network_is_fooled_by() -> None:
    rival = Inconsistency.fit(digits_net.graph(), *train())
    data = digits_net.data()
    made = attack(
        digits_net.model(), data.test_images[:80], data.test_labels[:80], "PGD", settings={"epsilon": 0.1}
    )
    clean, attacked = rival.measure(data.test_images[made.fooling_rows]), rival.measure(made.fooling)
    assert (attacked > clean).mean() > 0.8
