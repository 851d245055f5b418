"""Attacks by one who knows the detector: bounds, honest judging, the surrogate's limit, curves that grow."""

from __future__ import annotations

import copy
import itertools
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import digits_net
import effpath
from effpath.adaptive import (
    ADAPTIVE,
    PatchSettings,
    Victim,
    adaptive_attack,
    adaptive_curve,
    passing,
    success_rates,
    train_aware_patch,
    within,
)
from effpath.adaptive.methods import without
from effpath.adaptive.search import Search
from effpath.adaptive.slopes import Slopes, Suspicion, combined
from effpath.adaptive.soft import SoftFeatures, find_near
from effpath.adaptive.soft_counterparts import SOFT
from effpath.adaptive.soft_signs import SignLook, SoftSigns
from effpath.attacks import attack, train_patch
from effpath.class_paths.likelihood import PathLikelihood, margins
from effpath.detect import CombinedSurprise, Detector, Features, JointSurprise, threshold_at_fpr
from effpath.detect.combining import RULES
from effpath.detect.features import READINGS, Reading
from effpath.detect.signs.forward_concentration import ForwardConcentration
from effpath.detect.signs.jpeg import jpeg
from effpath.detect.signs.likelihood import Margin
from effpath.detect.signs.profiles import PROFILES, Profile
from effpath.detect.signs.size import Effort, PathSize
from effpath.detect.signs.typicality import Typicality
from effpath.errors import InputError, OptionError
from effpath.paths.rows import Ragged

QUICK: dict[str, dict[str, Any]] = {
    "mimic": {"steps": 4, "layers": (1, 2), "mimics": 2},
    "surrogate": {"steps": 4, "tradeoffs": (0.3, 1.0)},
    "orthogonal_pgd": {"steps": 5, "restarts": 2},
    "selective_pgd": {"steps": 5, "restarts": 2},
    "guided_pgd": {"steps": 5, "starts": 2},
    "black_box": {"steps": 2, "gradient_steps": 10},
}
COUNT = 12


def digits(start: int, stop: int) -> tuple[Tensor, Tensor]:
    data = digits_net.data()
    return data.test_images[start:stop], data.test_labels[start:stop]


@cache
def adversarial() -> Tensor:
    images, labels = digits(100, 200)
    parts = [attack(digits_net.model(), images, labels, "FGSM")]
    parts.append(attack(digits_net.model(), images, labels, "PGD", settings={"epsilon": 0.2}))
    return torch.cat([part.fooling for part in parts])


@cache
def detector(kind: str = "linear") -> Detector:
    data = digits_net.data()
    known = CombinedSurprise("most") if kind == "most" else kind
    found = Detector(
        digits_net.graph(), digits_net.class_paths(), kind=known, auxiliary=digits_net.auxiliary_of(known)
    )
    found.collect(data.train_images, data.train_labels)
    found.fit(digits(100, 200)[0], None if found.clean_only else adversarial())
    return found.calibrate(digits(200, 300)[0])


def run(name: str, epsilon: float = 0.2, **others: Any) -> effpath.adaptive.AdaptiveResult:
    given = {"settings": QUICK[name], **others}
    given["settings"] = {**QUICK[name], **given["settings"]}
    guides = given.pop("guides", digits(300, 340))
    attacked, surrogate = given.pop("detector", detector()), given.pop("surrogate", None)
    victim = Victim(attacked, digits_net.model(), surrogate, guides)
    return adaptive_attack(victim, *digits(0, COUNT), name, epsilon=epsilon, **given)


# ---------------------------------------------------------------- results


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("name", list(ADAPTIVE))
def test_an_attack_keeps_its_bound_and_is_judged_by_the_detector_itself(name: str, norm: str) -> None:
    epsilon = {"Linf": 0.2, "L2": 1.5}[norm]
    found = run(name, epsilon, settings={"norm": norm})
    images, labels = digits(0, COUNT)
    change = (found.images - images[found.source]).flatten(1)
    furthest = change.abs().amax(1) if norm == "Linf" else change.norm(dim=1)
    assert torch.equal(found.distances, furthest)
    assert float(furthest.max()) <= epsilon * 1.00001
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    np.testing.assert_allclose(found.scores, detector().score(found.images), rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        predicted = digits_net.model()(found.images).argmax(1)
    assert torch.equal(predicted, found.predicted)
    assert torch.equal(found.misclassified, predicted != labels[found.source])
    assert torch.equal(found.images[~found.misclassified], images[found.source][~found.misclassified])
    verdicts = detector().detect(found.images)
    assert np.array_equal(found.succeeded(), found.misclassified.numpy() & ~verdicts.flagged)
    assert found.queries >= len(found)


@pytest.mark.parametrize("name", ["surrogate", "selective_pgd", "orthogonal_pgd"])
def test_who_knows_the_detector_is_flagged_less_often_than_who_does_not(name: str) -> None:
    images, labels = digits(0, COUNT)
    blind = attack(digits_net.model(), images, labels, "PGD", settings={"epsilon": 0.3})
    limit = threshold_at_fpr(detector().score(digits(200, 300)[0]), 0.5)
    passed = (blind.succeeded.numpy() & (detector().score(blind.images) <= limit)).mean()
    assert run(name, 0.3, settings={"steps": 10}).succeeded(limit).mean() > passed


def test_descents_from_clean_images_pass_a_look_at_the_pixels_where_signs_of_gradients_do_not() -> None:
    known, steps = detector("standard"), {"steps": 10}
    signs, guided = (run(name, 0.3, settings=steps, detector=known) for name in ("selective_pgd", "guided_pgd"))
    assert guided.succeeded().sum() >= signs.succeeded().sum() + COUNT // 3


@pytest.mark.parametrize("name", ["surrogate", "black_box"])
def test_a_seed_gives_the_same_result_and_another_seed_another(name: str) -> None:
    first, again, other = (run(name, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)


def test_only_images_that_the_network_gets_right_are_attacked() -> None:
    images, labels = digits(0, COUNT)
    wrong = (labels + 1) % 10
    mixed = torch.where(torch.arange(COUNT) % 2 == 0, labels, wrong)
    found = adaptive_attack(
        Victim(detector(), digits_net.model()),
        images,
        mixed,
        "selective_pgd",
        epsilon=0.2,
        settings=QUICK["selective_pgd"],
    )
    with torch.no_grad():
        right = digits_net.model()(images).argmax(1) == mixed
    assert found.source.tolist() == right.nonzero()[:, 0].tolist()


def test_further_signs_have_no_gradient_and_are_refused() -> None:
    rng = np.random.default_rng(0)
    longer = JointSurprise(further=1).fit(rng.normal(size=(40, 6)), np.repeat([0, 1], 20))
    own = Detector(digits_net.graph(), digits_net.class_paths(), kind=longer)
    with pytest.raises(OptionError, match="kind 'JointSurprise'; give surrogate="):
        Suspicion(own)


def test_a_detector_without_gradient_is_attacked_by_way_of_the_linear_one() -> None:
    forest = detector("forest")
    with pytest.raises(OptionError, match="kind 'forest'; give surrogate="):
        run("surrogate", detector=forest)
    found = run("surrogate", detector=forest, surrogate=detector())
    np.testing.assert_allclose(found.scores, forest.score(found.images))
    assert found.misclassified.any()


# ---------------------------------------------------------------- curves


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("selective_pgd", "linear"),
        ("black_box", "linear"),
        ("selective_pgd", "surprise"),
        ("guided_pgd", "fast"),
        ("surrogate", "fast"),
        *((name, "standard") for name in ADAPTIVE),
    ],
)
def test_success_grows_with_the_bound_and_no_score_rises(name: str, kind: str) -> None:
    victim = Victim(detector(kind), digits_net.model(), guides=digits(300, 340))
    curve = adaptive_curve(victim, *digits(0, COUNT), name, epsilons=(0.3, 0.1, 1.0), settings=QUICK[name])
    assert [result.epsilon for result in curve] == [0.1, 0.3, 1.0]
    for smaller, larger in itertools.pairwise(curve):
        assert bool((larger.misclassified >= smaller.misclassified).all())
        kept = smaller.misclassified.numpy()
        assert (larger.scores[kept] <= smaller.scores[kept]).all()
        assert float(smaller.distances.max()) <= smaller.epsilon * 1.00001
    rates = success_rates(curve, detector(kind).score(digits(200, 300)[0]))
    assert [rate.epsilon for rate in rates] == [0.1, 0.3, 1.0]
    for fpr in (0.05, 0.5):
        shares = [rate.at[fpr] for rate in rates]
        assert shares == sorted(shares)
    assert rates[0].at[0.05] < rates[-1].at[0.05]
    assert all(rate.at[0.5] <= rate.at[0.05] <= rate.misclassified for rate in rates)


def test_without_a_bound_nothing_is_stopped() -> None:
    found = run("mimic", 1.0)
    assert found.succeeded().all()


def test_where_classes_have_thresholds_of_their_own_what_is_furthest_below_its_own_is_kept(monkeypatch) -> None:
    attacked = copy.copy(detector())
    classes = np.arange(10)
    limits = np.random.default_rng(0).permutation(np.quantile(attacked.calibration, np.linspace(0.3, 1, 10)))
    attacked.class_thresholds = dict(zip(classes.tolist(), limits.tolist(), strict=True))
    seen: list[tuple[Tensor, np.ndarray, np.ndarray]] = []
    look = Search.look

    def noted(search: Search, candidates: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fooled, scores, predicted = look(search, candidates, labels)
        seen.append((fooled, scores.numpy(), predicted.numpy()))
        return fooled, scores, predicted

    monkeypatch.setattr(Search, "look", noted)
    curve = [run("mimic", 0.3, detector=attacked)]
    curve.append(run("mimic", 0.4, detector=attacked, start=curve[0]))
    fooled, scores, predicted = (np.stack(each) for each in zip(*seen, strict=True))
    excess = np.where(fooled, scores - limits[predicted], np.inf)
    half = len(seen) // 2
    for found, until in zip(curve, (half, None), strict=True):
        reached = excess[:until].min(0)
        np.testing.assert_array_equal(found.misclassified.numpy(), np.isfinite(reached))
        np.testing.assert_allclose(found.excess[np.isfinite(reached)], reached[np.isfinite(reached)])
        assert np.array_equal(found.succeeded(), reached <= 0)
    least = np.where(fooled, scores, np.inf).argmin(0)  # of all, which would be flagged where another passes
    assert (excess[least, np.arange(len(least))] > excess.min(0)).any()


def test_success_rates_by_hand() -> None:
    found = run("selective_pgd")
    limit = threshold_at_fpr(np.arange(100.0), 0.05)
    assert limit == 95
    shifted = effpath.adaptive.AdaptiveResult(**{**vars(found), "scores": np.linspace(90, 101, len(found))})
    (rate,) = success_rates([shifted], np.arange(100.0), fprs=(0.05,))
    assert rate.at[0.05] == np.mean(found.misclassified.numpy() & (np.linspace(90, 101, len(found)) <= 95))


def test_a_smaller_bound_sends_what_is_too_far_back_to_its_clean_image() -> None:
    found = run("selective_pgd", 0.3)
    clean_scores = detector().score(found.clean)
    smaller = within(found, 0.05, clean_scores)
    far = found.distances > 0.0501
    assert far.any()
    assert not smaller.misclassified[far].any()
    assert torch.equal(smaller.images[far], found.clean[far])
    assert np.array_equal(smaller.scores[far.numpy()], clean_scores[far.numpy()])
    with pytest.raises(OptionError, match=r"at most 0\.05"):
        within(smaller, 0.3, clean_scores)


@pytest.mark.parametrize("name", ["mimic", "black_box"])
def test_an_image_is_not_brought_to_a_guide_of_its_own_class(name: str) -> None:
    labels = digits(0, COUNT)[1]
    same = int(labels[0])
    guides = digits(300, 340)
    own = guides[1] == same
    found = run(name, 1.0, guides=(guides[0][own], guides[1][own]))
    alike = found.labels == same
    assert alike.any()
    if name == "black_box":
        assert not found.misclassified[alike].any()
    assert found.misclassified[~alike].all()


# ---------------------------------------------------------------- the surrogate


class Tiny(nn.Module):
    """A convolution with padding and stride, a residual sum, a pooling, two linear layers, all with biases."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(1, 4, 3, padding=1)
        self.two = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.fc1 = nn.Linear(36, 12)
        self.fc2 = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.one(x))
        x = nn.functional.max_pool2d(x + torch.relu(self.two(x)), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


@cache
def tiny() -> tuple[effpath.Graph, effpath.ClassPaths, Tensor]:
    torch.manual_seed(0)
    model = Tiny().eval()
    for name, parameter in model.named_parameters():
        parameter.data *= 0.2 if name.endswith("bias") else 2
    images = torch.rand(40, 1, 6, 6)
    graph = effpath.capture(model, images[:1])
    with torch.no_grad():
        labels = model(images).argmax(1)
    held = torch.rand(6, 1, 6, 6)
    options = effpath.BuildOptions(allow_missing=True)
    return graph, effpath.build_class_paths(graph, images, labels, options=options), held


def classes_that_have_paths(logits: Tensor, class_paths: effpath.ClassPaths) -> list[Tensor]:
    known = torch.tensor(class_paths.classes)
    order = logits[:, known].sort(dim=1, descending=True).indices
    return [known[order[:, 0]], known[order[:, 1 % len(known)]]]


@pytest.mark.parametrize("preset", ["default", "paper", "authors"])
def test_the_soft_columns_become_the_exact_ones_as_the_temperature_goes_to_zero(preset: str) -> None:
    graph, _, held = tiny()
    images = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    labels = graph.run(images)[graph.logits].argmax(1)
    options = effpath.BuildOptions(allow_missing=True)
    class_paths = effpath.build_class_paths(graph, images, labels, preset=preset, options=options)
    likelihood = PathLikelihood(class_paths)
    starts = classes_that_have_paths(graph.run(held)[graph.logits], class_paths)
    paths = [effpath.extract(graph, held, classes=start, preset=preset) for start in starts]
    similarities = [class_paths.similarity(each) for each in paths]
    found = margins(likelihood(paths[0]), likelihood.columns(paths[0].classes))
    exact = {
        None: np.concatenate(similarities, 1),
        likelihood: np.concatenate([similarities[0], found], 1),
    }
    for own, wanted in exact.items():
        gaps = []
        for temperature in (0.3, 0.03, 1e-7):
            soft = SoftFeatures(graph, class_paths, own, temperature=temperature)
            values = soft.run(held)
            look = soft.look(held, values, starts[: soft.ranks])
            found = soft.soft(values, look).detach().numpy()
            assert found.shape == wanted.shape == (6, 8)
            gaps.append(float(np.nanmax(np.abs(found - wanted))))
            columns = soft.columns(values, look).detach().numpy()
            np.testing.assert_allclose(columns[:, :8], wanted, atol=1e-5)
        assert gaps[0] > gaps[1] > gaps[2]
        assert gaps[2] < 1e-5


@pytest.mark.parametrize("kind", ["linear", "clean", "surprise"])
def test_the_columns_are_what_the_detector_reads_and_all_but_the_last_layers_can_be_held(kind: str) -> None:
    images, own = digits(0, 4)[0], detector(kind)
    features = own.features(images)
    classes = [torch.from_numpy(each) for each in features.classes.T]
    for layers, soft_columns in ((None, list(range(10))), (1, [4, 9]), (2, [3, 4, 8, 9])):
        soft = SoftFeatures(own.graph, own.class_paths, own.path_likelihood, layers=layers)
        values = soft.run(images)
        found = soft.columns(values, soft.look(images, values, classes[: soft.ranks]))
        np.testing.assert_allclose(found.detach().numpy(), own.read(features), rtol=1e-5, atol=1e-5)
        assert soft.soft_columns == soft_columns


def test_where_no_synapse_is_chosen_there_are_no_candidates_and_no_mean() -> None:
    graph, class_paths, held = tiny()
    soft = SoftFeatures(graph, class_paths)
    layer, values = soft.layers[0], soft.run(held)
    x, value = values[layer.sources[0]].flatten(1), values[layer.name].flatten(1)
    nothing = Ragged(np.empty(0, np.int64), np.zeros(len(held) + 1, np.int64))
    near = find_near(layer.window, x, graph.constants[layer.weight].reshape(-1), value, nothing)
    assert len(near.slot) == len(near.scale) == 0
    assert near.mean(near.taken(x, x[0], 0.1), near.bound).isnan().all()


def test_a_step_down_the_soft_similarity_lowers_it() -> None:
    graph, class_paths, held = tiny()
    soft = SoftFeatures(graph, class_paths)
    starts = classes_that_have_paths(graph.run(held)[graph.logits], class_paths)
    pixels = held.clone().requires_grad_()
    values = soft.run(pixels)
    look = soft.look(held, values, starts)
    before = soft.soft(values, look).nansum(1)
    (slope,) = torch.autograd.grad(before.sum(), pixels)
    assert torch.isfinite(slope).all()
    assert (slope.flatten(1).norm(dim=1) > 0).all()
    moved = held - 1e-4 * slope / slope.flatten(1).norm(dim=1)[:, None, None, None]
    after = soft.soft(soft.run(moved), look).nansum(1)
    expected = -1e-4 * slope.flatten(1).norm(dim=1)
    torch.testing.assert_close(after - before.detach(), expected, rtol=0.1, atol=2e-6)


def test_the_slope_of_joint_surprise_points_where_the_exact_score_rises() -> None:
    """The exact score is a staircase: over a finite step, and at many pixels, it rises as the slope says."""
    images = digits(300, 330)[0]
    labels = digits_net.model()(images).argmax(1)
    own = detector("surprise")
    slope = (
        Slopes(own, layers=None, temperature=0.1, confidence=0.5, refresh=1)
        .at(images, (labels + 1) % 10)
        .suspicion
    )  # of the predicted class: none of these images is labelled so
    length = slope.flatten(1).norm(dim=1)[:, None, None, None]
    assert (length > 0).all()
    step = 0.3 * slope / length
    assert (own.score(images + step) > own.score(images - step)).mean() > 0.8
    agree = []  # pixel by pixel
    moves = 0.1 * torch.eye(64).reshape(64, 1, 8, 8)
    for image, direction in zip(images[:8], slope[:8], strict=True):
        change = own.score(image + moves) - own.score(image - moves)
        agree += (np.sign(change) == np.sign(direction.flatten().numpy())).tolist()
    assert np.mean(agree) > 0.58


@pytest.mark.parametrize("kind", ["linear", "clean", "surprise", "gates", "fast", "standard"])
def test_the_suspicion_that_is_followed_is_the_detector_s_own_up_to_a_constant(kind: str) -> None:
    images = digits(300, 420)[0]
    features = detector(kind).features(images)
    own = Suspicion(detector(kind))(torch.from_numpy(detector(kind).read(features))).numpy()
    score = detector(kind).score(features)
    if kind in ("clean", "surprise", "fast", "standard"):  # smooth tails: not the same numbers
        assert np.corrcoef(own, score)[0, 1] > (0.98 if kind in ("clean", "surprise") else 0.95)
    else:
        np.testing.assert_allclose(own - own[0], score - score[0], atol=1e-9)


def test_learned_weights_of_the_signs_are_followed() -> None:
    weighed = copy.deepcopy(detector("surprise"))
    images = digits(300, 420)[0]
    columns = torch.from_numpy(weighed.read(weighed.features(images)))
    weighed.classifier[-1].weights_ = np.array([0.0, 0.0, 0.0, 1.0])  # too sure: nothing else counts
    own = Suspicion(weighed)(columns).numpy()
    sure = columns[:, -1].numpy()
    assert (np.diff(own[sure.argsort()]) >= 0).all()
    assert np.corrcoef(own, weighed.score(images))[0, 1] > 0.98


@pytest.mark.parametrize("kind", ["linear", "clean", "surprise", "fast", "standard"])
def test_gradients_are_finite_and_there(kind: str) -> None:
    images = digits(0, COUNT)[0]
    labels = digits_net.model()(images).argmax(1)
    slopes = Slopes(detector(kind), layers=None, temperature=0.1, confidence=0.5, refresh=1)
    found = slopes.at(images, labels)
    for gradient in (found.margin, found.suspicion):
        assert gradient.shape == images.shape
        assert torch.isfinite(gradient).all()
        assert (gradient.flatten(1).norm(dim=1) > 0).all()
    assert not found.fooled.any()
    assert slopes.at(images, (labels + 1) % 10).fooled.all()


def test_what_is_orthogonal_to_a_gradient_leaves_it_alone() -> None:
    first, second = torch.randn(2, 5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    left = without(first, second)
    torch.testing.assert_close((left * second).flatten(1).sum(1), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(without(first, torch.zeros_like(first)), first)


# ---------------------------------------------------------------- signs


def seen_softly(kind: str, images: Tensor, temperature: float = 0.1) -> tuple[SoftSigns, Tensor, Any, SignLook]:
    """The soft signs of a detector, and what they see of images: pixels, values, and constants of that point."""
    soft = SoftSigns(detector(kind), temperature=temperature)
    pixels = images.clone().requires_grad_()
    values = soft.run(pixels)
    return soft, pixels, values, soft.look(images, values, [values[soft.graph.logits].argmax(1)])


MOST = Profile(  # every sign that has a soft counterpart
    "most",
    (
        *(sign for sign in PROFILES["thorough"].signs if type(sign) in SOFT), PathSize(), Effort(), Margin(),
        Typicality(), Margin("early"), Typicality("early"), ForwardConcentration(),
    ),
)  # fmt: skip
READINGS["most"] = Reading(partial(Features.suspicions, says=MOST.says), (1,), True, MOST)


@pytest.mark.parametrize("kind", ["fast", "standard", "paired", "most"])
def test_every_sign_has_a_soft_counterpart_that_becomes_exact_as_the_temperature_goes_to_zero(kind: str) -> None:
    images = digits(300, 320)[0]
    images, own = torch.cat([images, digits_net.noisy(images)]), detector(kind)
    exact = own.read(own.features(images))
    # logs of distances between nearly equal pixels in float32, and means over many ways and layers, round more
    near = np.array(
        [1e-4 if kind == "most" or says.startswith("pixels") else 2e-6 for says in own.reading.profile.says]
    )
    gaps = []
    for temperature in (0.3, 0.03, 1e-7):
        soft, _, values, look = seen_softly(kind, images, temperature)
        assert (np.abs(look.exact.numpy() - exact) <= near + 1e-7 * np.abs(exact)).all()
        np.testing.assert_array_equal(soft.columns(values, look).detach().numpy(), look.exact.numpy())
        gaps.append(np.abs(soft.soft(values, look).detach().numpy() - exact).max(0))
    assert gaps[0].max() > gaps[1].max() > gaps[2].max()
    assert (gaps[2] < np.maximum(near, 1e-5)).all()


@pytest.mark.parametrize("kind", ["fast", "standard", "paired", "most"])
def test_the_gradient_of_every_soft_sign_agrees_with_finite_differences(kind: str) -> None:
    images = digits_net.noisy(digits(300, 312)[0])
    soft, pixels, values, look = seen_softly(kind, images)
    columns = soft.soft(values, look)
    for number, says in enumerate(soft.profile.says):
        if "JPEG" in says or "bits" in says:
            continue  # its gradient is that of another function: the next test
        (slope,) = torch.autograd.grad(columns[:, number].sum(), pixels, retain_graph=True)
        length = slope.flatten(1).norm(dim=1)
        assert torch.isfinite(slope).all()
        assert (length > 0).all(), says
        step = 1e-3 * slope / length[:, None, None, None]
        with torch.no_grad():
            up, down = (soft.soft(soft.run(images + sign * step), look)[:, number] for sign in (1, -1))
        found = (up - down) / 2e-3
        assert torch.isclose(found, length, rtol=0.05, atol=1e-3).double().mean() > 0.9, says


def test_the_gradient_of_compression_is_the_network_s_at_the_compressed_image() -> None:
    images = digits_net.noisy(digits(300, 312)[0])
    soft, pixels, values, look = seen_softly("standard", images)
    place = soft.profile.says.index("changes its mind after JPEG")
    (slope,) = torch.autograd.grad(soft.soft(values, look)[:, place].sum(), pixels)
    changed = jpeg(images).requires_grad_()
    logs = digits_net.model()(changed).log_softmax(1)
    own = logs.gather(1, look.first[:, None])[:, 0]
    other = logs.scatter(1, look.first[:, None], -torch.inf).amax(1)
    (wanted,) = torch.autograd.grad((other.exp() - own.exp() + 0.1 * (other - own)).sum(), changed)
    torch.testing.assert_close(slope, wanted, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(look.exact[:, place].numpy(), (other.exp() - own.exp()).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_of_combining_is_followed_and_becomes_exact_without_smoothing(rule: str) -> None:
    rng = np.random.default_rng(0)
    fitted = CombinedSurprise("fast", rule=rule).fit(rng.normal(size=(60, 5)))
    score, rows = fitted.as_score(), 2 * rng.normal(size=(50, 5))
    exact = score(rows)
    near, limit = (combined(score, torch.from_numpy(rows), smooth).numpy() for smooth in (1.0, 1e-9))
    np.testing.assert_allclose(limit, exact, atol=1e-6)
    assert np.corrcoef(near, exact)[0, 1] > 0.97


def test_a_sign_without_a_soft_counterpart_is_named() -> None:
    wanted = r"got neighbours in 'thorough': .*give surrogate=Detector\(.*'standard'\)"
    with pytest.raises(OptionError, match=wanted):
        run("surrogate", detector=detector("thorough"))
    found = run("surrogate", detector=detector("thorough"), surrogate=detector("standard"))
    np.testing.assert_allclose(found.scores, detector("thorough").score(found.images), rtol=1e-5)


def test_a_class_without_a_path_has_nothing_to_follow_but_the_rest_has() -> None:
    data = digits_net.data()
    rows = torch.arange(400)[data.train_labels[:400] != 3]
    some = effpath.build_class_paths(digits_net.graph(), data.train_images[rows], data.train_labels[rows])
    images, labels = digits(100, 200)
    own = Detector(digits_net.graph(), some, kind="standard").fit(images[labels != 3])
    images, labels = digits(300, 340)
    predicted = digits_net.model()(images).argmax(1)
    assert (predicted == 3).any()
    assert np.isinf(own.score(images)[predicted == 3]).all()
    slopes = Slopes(own, layers=None, temperature=0.1, confidence=0.5, refresh=1)
    assert torch.isfinite(slopes.at(images, (predicted + 1) % 10).suspicion).all()


@pytest.mark.parametrize("kind", ["fast", "standard"])
def test_who_knows_the_signs_is_flagged_less_often_than_who_does_not(kind: str) -> None:
    images, labels = digits(0, 30)
    own = detector(kind)
    limit = threshold_at_fpr(own.score(digits(200, 300)[0]), 0.05)
    rates = []
    for epsilon in (0.1, 0.2, 0.3):
        blind = attack(digits_net.model(), images, labels, "PGD", settings={"epsilon": epsilon})
        passed = (blind.succeeded.numpy() & (own.score(blind.images) <= limit)).mean()
        found = adaptive_attack(
            Victim(own, digits_net.model()), images, labels, "selective_pgd", epsilon=epsilon,
            settings={"steps": 10, "restarts": 1},
        )  # fmt: skip
        rates.append(found.succeeded(limit).mean())
        assert rates[-1] > passed or epsilon == 0.1
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]


# ---------------------------------------------------------------- patches


def test_a_patch_that_knows_the_detector_passes_it_more_often_than_one_that_does_not() -> None:
    data, own, model = digits_net.data(), detector("fast"), digits_net.model()
    learned, labels = data.train_images[:60], data.train_labels[:60]
    start = train_patch(model, learned, 3, settings={"scale": 0.5, "steps": 60})
    how = PatchSettings(steps=30, judge_every=10)
    found, again = (
        train_aware_patch(Victim(own, model), learned, labels, start, settings=how, seed=1) for _ in range(2)
    )
    assert torch.equal(found, again)
    assert found.shape == start.shape
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    limits = [float("inf"), own.threshold, threshold_at_fpr(own.calibration, 0.5)]
    before, after = (
        passing(Victim(own, model), learned, labels, patch, how, 1, limits) for patch in (start, found)
    )
    assert after[0] >= after[1] >= after[2]
    assert after[1] + after[2] > before[1] + before[2]


def test_a_patch_is_refused_that_does_not_fit() -> None:
    images, labels = digits(0, 4)
    with pytest.raises(InputError, match=r"a square patch \[1, P, P\] to start from, got \[3, 4, 4\]"):
        train_aware_patch(Victim(detector("fast"), digits_net.model()), images, labels, torch.zeros(3, 4, 4))
    raw = Detector(digits_net.graph(), digits_net.class_paths(), kind="fast")
    with pytest.raises(OptionError, match="no threshold: call calibrate"):
        train_aware_patch(Victim(raw, digits_net.model()), images, labels, torch.zeros(1, 4, 4))


# ---------------------------------------------------------------- errors


def test_what_cannot_be_done_is_said() -> None:
    images, labels = digits(0, 4)
    model, raw = digits_net.model(), Detector(digits_net.graph(), digits_net.class_paths())
    victim = Victim(detector(), model)
    with pytest.raises(OptionError, match="unknown adaptive attack 'magic'; expected one of: mimic, surrogate"):
        adaptive_attack(victim, images, labels, "magic", epsilon=0.1)
    with pytest.raises(OptionError, match=r"no threshold: call calibrate"):
        adaptive_attack(Victim(raw, model), images, labels, "surrogate", epsilon=0.1)
    with pytest.raises(OptionError, match="epsilon must be above 0 and finite"):
        adaptive_attack(victim, images, labels, "surrogate", epsilon=float("inf"))
    with pytest.raises(OptionError, match="has no setting 'stepz'"):
        adaptive_attack(victim, images, labels, "surrogate", epsilon=0.1, settings={"stepz": 1})
    with pytest.raises(OptionError, match="steps: expected an integer of at least 1; got 0"):
        adaptive_attack(victim, images, labels, "surrogate", epsilon=0.1, settings={"steps": 0})
    with pytest.raises(OptionError, match="norm: expected one of"):
        adaptive_attack(victim, images, labels, "surrogate", epsilon=0.1, settings={"norm": "L1"})
    with pytest.raises(OptionError, match="tradeoffs: expected numbers"):
        adaptive_attack(victim, images, labels, "surrogate", epsilon=0.1, settings={"tradeoffs": ()})
    with pytest.raises(InputError, match="none of the images as labelled"):
        adaptive_attack(victim, images, (labels + 1) % 10, "surrogate", epsilon=0.1)
    with pytest.raises(InputError, match="mimic needs guides"):
        adaptive_attack(victim, images, labels, "mimic", epsilon=0.1)
    wrong = Victim(detector(), model, guides=(images, (labels + 1) % 10))
    with pytest.raises(InputError, match="guides that the network classifies as labelled"):
        adaptive_attack(wrong, images, labels, "mimic", epsilon=0.1)
    with pytest.raises(OptionError, match="expected a temperature above 0"):
        SoftFeatures(digits_net.graph(), digits_net.class_paths(), temperature=0)
    with pytest.raises(OptionError, match="at least one epsilon"):
        adaptive_curve(victim, images, labels, "surrogate", epsilons=())


def test_a_start_of_other_images_or_a_larger_bound_is_refused() -> None:
    larger = run("selective_pgd", 0.3)
    with pytest.raises(InputError, match="within a bound no greater"):
        run("selective_pgd", 0.2, start=larger)
    with pytest.raises(InputError, match="bounded in Linf, expected L2"):
        run("selective_pgd", 0.5, start=larger, settings={"norm": "L2"})
