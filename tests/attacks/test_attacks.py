"""Attacks: what counts as a success, the ladders of ε, the cache."""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from effpath.attacks import ATTACKS, AdversarialSet, attack, runner
from effpath.attacks.adversarial_set import measure
from effpath.attacks.spec import AttackSpec, Settings
from effpath.demo.lenet import LeNet5
from effpath.errors import InputError, MissingExtraError, NumericalError, OptionError, StoreError

QUICK: dict[str, dict[str, Any]] = {
    "FGSM": {"epsilons": 100},
    "FGSM_targeted": {"epsilons": 100},
    "BIM": {"epsilons": 20},
    "DeepFool": {},
    "JSMA": {"theta": 0.5},
    "CWL2": {"steps": 30, "binary_search_steps": 4, "initial_const": 1.0, "stepsize": 0.1},
    "CWL2_targeted": {"steps": 30, "binary_search_steps": 4, "initial_const": 10.0, "stepsize": 0.1},
    "CWL2_confidence": {
        "steps": 30,
        "binary_search_steps": 4,
        "initial_const": 10.0,
        "stepsize": 0.1,
        "confidence": 0.01,
    },
    "PGD": {"epsilon": 0.3},
    "APGD": {"epsilon": 0.3, "steps": 20},
    "Square": {"epsilon": 0.3, "queries": 50},
    "AutoAttack": {"epsilon": 0.3, "steps": 10, "targets": 2, "queries": 20},
    "Patch": {"scale": 0.5, "steps": 30},
    "Random": {},
    "RandomGaussian": {},
}
EVERY = [name for name, spec in ATTACKS.items() if not spec.files]  # the others: test_universal.py
FROM_CLEAN = [name for name in EVERY if ATTACKS[name].from_clean]
UNTARGETED = {name for name in FROM_CLEAN if ATTACKS[name].targeting is None}
FOOLBOX = [name for name, spec in ATTACKS.items() if spec.library == "foolbox"]


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def net() -> LeNet5:
    torch.manual_seed(0)
    return LeNet5(8, classes=4).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels(net: LeNet5, images: torch.Tensor) -> torch.Tensor:
    """What the network says, but for rows 3 and 7."""
    with torch.no_grad():
        right = net(images).argmax(1)
    right[[3, 7]] = (right[[3, 7]] + 1) % 4
    return right


def _linear() -> nn.Module:
    """Two pixels, three classes, no hidden layer."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 0.5], [0.2, 0.6]]))
        model[1].bias.copy_(torch.tensor([0.05, 0.0, -0.1]))
    return model.eval()


def _grid() -> tuple[torch.Tensor, torch.Tensor]:
    """Every point of a 9×9 grid in the unit square, with the class that `_linear` gives it."""
    axis = torch.linspace(0, 1, 9)
    points = torch.cartesian_prod(axis, axis).reshape(-1, 1, 1, 2)
    with torch.no_grad():
        return points, _linear()(points).argmax(1)


def _counting(monkeypatch: pytest.MonkeyPatch, name: str, *, stop_at: int | None = None) -> list[int]:
    """Count the batches that the attack really computes; Ctrl-C when it begins batch ``stop_at``."""
    spec, calls = ATTACKS[name], []

    def run(model: nn.Module, x: torch.Tensor, y: torch.Tensor, settings: Settings) -> torch.Tensor:
        if stop_at is not None and len(calls) == stop_at:
            raise KeyboardInterrupt
        calls.append(len(x))
        return spec.run(model, x, y, settings)

    monkeypatch.setitem(ATTACKS, name, dataclasses.replace(spec, run=run))
    return calls


def _returning(monkeypatch: pytest.MonkeyPatch, made: torch.Tensor) -> None:
    """An attack "Fake" whose candidates are ``made``, whatever it is given."""
    fake = AttackSpec("Fake", "L2", {}, lambda model, x, y, settings: made)
    monkeypatch.setitem(ATTACKS, "Fake", fake)


def _without(path: Path, tensor: str) -> bytes:
    """The file as it would be if this tensor had never been thought of."""
    with safe_open(path, framework="pt") as file:
        kept = {name: file.get_tensor(name) for name in file.keys() if name != tensor}  # noqa: SIM118
        return save(kept, file.metadata())


def _assert_equal(one: AdversarialSet, other: AdversarialSet) -> None:
    assert (one.name, dict(one.settings)) == (other.name, dict(other.settings))
    for field in ("images", "source", "labels", "targets", "predicted", "succeeded"):
        assert torch.equal(getattr(one, field), getattr(other, field)), field
    assert torch.equal(one.distances.nan_to_num(-1), other.distances.nan_to_num(-1))


# What a success is


@pytest.mark.parametrize("name", FROM_CLEAN)
def test_every_success_is_misclassified_inside_the_unit_box_and_of_the_size_it_says(
    name: str, net: LeNet5, images: torch.Tensor, labels: torch.Tensor
) -> None:
    made = attack(net, images, labels, name, settings=QUICK[name], batch_size=7)
    assert made.tried == 18
    assert made.successes >= (15 if name in UNTARGETED else 3)  # the network knows only some of its classes
    assert torch.equal(made.source, torch.tensor([k for k in range(20) if k not in (3, 7)]))
    assert torch.equal(made.labels, labels[made.source])
    assert made.images.dtype == torch.float32
    assert 0 <= made.images.min() <= made.images.max() <= 1
    with torch.no_grad():
        predicted = net(made.images).argmax(1)
    assert torch.equal(predicted, made.predicted)
    assert torch.equal(predicted != made.labels, made.succeeded)
    if name in UNTARGETED:
        assert (made.targets == -1).all()
    else:
        assert torch.equal((predicted == made.targets) & (made.targets != made.labels), made.succeeded)
    difference = (made.images - images[made.source]).flatten(1)
    torch.testing.assert_close(made.distances[:, 1], difference.norm(dim=1))
    torch.testing.assert_close(made.distances[:, 2], difference.abs().amax(1))
    assert torch.equal(made.images[~made.succeeded], images[made.source][~made.succeeded])
    assert torch.equal(made.fooling, made.images[made.succeeded])
    assert (net(made.fooling).argmax(1) != made.fooling_labels).all()
    assert torch.equal(labels[made.fooling_rows], made.fooling_labels)


def test_the_library_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, net: LeNet5, images: torch.Tensor, labels: torch.Tensor
) -> None:
    right = [k for k in range(20) if k not in (3, 7)]
    other = next(k for k in right if labels[k] != labels[right[0]])
    made = images[right].clone()
    made[0] = images[other]  # misclassified indeed
    made[1] = float("nan")
    made[2] = images[right[2]] + 0  # the clean image
    made[3] = images[right[3]] * 1.00001 - 1e-6  # changed, but not misclassified
    _returning(monkeypatch, made)
    result = attack(net, images, labels, "Fake")
    assert result.succeeded.tolist() == [True] + [False] * 17
    assert torch.equal(result.images[1:], images[right][1:])
    assert result.images.isfinite().all()


def test_candidates_outside_the_unit_box_are_cut_before_they_are_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points = torch.tensor([[[[1.0, 0.0]]], [[[1.0, 0.0]]]])
    outside = torch.tensor([[[[1.0, 2.0]]], [[[-1.0, -4.0]]]])
    with torch.no_grad():
        assert _linear()(points).argmax(1).tolist() == [0, 0]
        assert _linear()(outside).argmax(1).tolist() == [2, 0]
        assert _linear()(outside.clamp(0, 1)).argmax(1).tolist() == [2, 0]
    _returning(monkeypatch, outside)
    result = attack(_linear(), points, torch.tensor([0, 0]), "Fake")
    assert result.images.tolist() == [[[[1.0, 1.0]]], [[[1.0, 0.0]]]]
    assert result.predicted.tolist() == [2, 0]
    assert result.distances[0].tolist() == [1, 1, 1]


def test_the_black_image_that_foolbox_returns_for_a_failure_is_a_failure() -> None:
    points = torch.tensor([[[[0.9, 0.1]]]])  # class 0; black is class 0 too here, so shift the biases
    model = _linear()
    with torch.no_grad():
        model[1].bias.copy_(torch.tensor([0.0, 0.3, 0.0]))
        assert model(points).argmax(1) == 0
        assert model(points * 0).argmax(1) == 1
    hopeless = {"steps": 1, "binary_search_steps": 1, "initial_const": 1e-9}
    made = attack(model, points, torch.tensor([0]), "CWL2", settings=hopeless)
    assert made.successes == 0
    assert torch.equal(made.images, points)


def test_where_the_model_is_always_wrong_nothing_is_tried(
    net: LeNet5, images: torch.Tensor, labels: torch.Tensor, tmp_path: Path
) -> None:
    with torch.no_grad():
        wrong = (net(images).argmax(1) + 1) % 4
    for _ in range(2):  # computed, then read back
        made = attack(net, images, wrong, "FGSM", cache=tmp_path)
        assert (made.tried, made.successes, made.images.shape) == (0, 0, (0, 1, 8, 8))
        assert all(norm != norm for norm in made.norms())


# Sizes


def test_the_three_norms_by_hand() -> None:
    clean = torch.zeros(2, 1, 1, 4)
    made = torch.tensor([[0.3, 0.0, 0.4, 5e-7], [0.5, 0.5, 0.5, 0.5]]).reshape(2, 1, 1, 4)
    torch.testing.assert_close(measure(made, clean), torch.tensor([[2.0, 0.5, 0.4], [4.0, 1.0, 0.5]]))


def test_the_medians_are_over_the_successes_only() -> None:
    rows = torch.zeros(4, dtype=torch.int64)
    distances = torch.tensor([[1.0, 10.0, 0.1], [9.0, 90.0, 0.9], [2.0, 20.0, 0.2], [3.0, 30.0, 0.3]])
    succeeded = torch.tensor([True, False, True, True])
    made = AdversarialSet("FGSM", {}, torch.zeros(4, 1, 1, 1), rows, rows, rows, rows, succeeded, distances)
    assert (made.tried, made.successes) == (4, 3)
    assert made.norms() == pytest.approx((2.0, 20.0, 0.2))


# The ladders


def test_the_epsilon_of_fgsm_is_the_smallest_on_the_ladder() -> None:
    model, (points, classes) = _linear(), _grid()
    made = attack(model, points, classes, "FGSM", settings={"epsilons": 50, "max_epsilon": 0.5}, batch_size=17)
    weight = model[1].weight.double()
    with torch.no_grad():
        chances = model(points).double().softmax(1)
    # the gradient of the cross-entropy of a linear model, by hand: Wᵀ(p − onehot)
    sign = ((chances - torch.eye(3).double()[classes]) @ weight).sign().float().reshape(points.shape)
    for row in range(len(points)):
        expected = None
        for k in range(1, 51):
            candidate = (points[row] + k / 50 * 0.5 * sign[row]).clamp(0, 1)
            with torch.no_grad():
                if model(candidate[None]).argmax(1) != classes[row]:
                    expected = candidate
                    break
        assert bool(made.succeeded[row]) == (expected is not None)
        assert torch.equal(made.images[row], points[row] if expected is None else expected)
    assert 0 < made.successes < made.tried


def test_fgsm_and_bim_on_few_images_at_a_time_give_the_same_as_on_all(
    net: LeNet5, images: torch.Tensor, labels: torch.Tensor
) -> None:
    for name in ("FGSM", "BIM"):
        together = attack(net, images, labels, name, settings=QUICK[name])
        single = attack(net, images, labels, name, settings=QUICK[name], batch_size=1)
        torch.testing.assert_close(together.images, single.images, atol=1e-6, rtol=0)


def test_the_epsilon_of_bim_is_the_smallest_on_the_ladder(
    net: LeNet5, images: torch.Tensor, labels: torch.Tensor
) -> None:
    foolbox = pytest.importorskip("foolbox")
    made = attack(net, images, labels, "BIM", settings={"epsilons": 20})
    wrapped = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    one = foolbox.attacks.LinfBasicIterativeAttack(steps=10, rel_stepsize=0.2, random_start=False)
    tries = [k / 20 for k in range(1, 21)]
    clean = images[made.source]
    _, candidates, _ = one(wrapped, clean, made.labels, epsilons=tries)
    with torch.no_grad():
        fooled = torch.stack([net(batch).argmax(1) != made.labels for batch in candidates])  # [20, N]
    assert torch.equal(fooled.any(0), made.succeeded)
    first = torch.tensor(tries)[fooled.int().argmax(0)]
    reached = made.succeeded & (made.distances[:, 2] > 0)
    assert (made.distances[reached, 2] <= first[reached] + 1e-6).all()
    expected = torch.stack([candidates[int(fooled[:, row].int().argmax())][row] for row in range(len(clean))])
    torch.testing.assert_close(made.images[reached], expected[reached], atol=1e-6, rtol=0)


def test_the_gradient_survives_a_confident_network() -> None:
    """A steep network has the borders of a flat one; with a margin of 40 its softmax is exactly one-hot."""
    model, (points, classes) = _linear(), _grid()
    with torch.no_grad():
        model[1].weight.mul_(200)
        model[1].bias.mul_(200)
        logits = model(points)
    top = logits.topk(2).values
    sure = (top[:, 0] - top[:, 1]) > 40
    assert sure.any()
    for name in ("FGSM", "BIM"):
        made = attack(model, points[sure], classes[sure], name)
        assert made.successes == made.tried
        assert made.norms().linf < 0.5


# Random images


@pytest.mark.parametrize("name", ["Random", "RandomGaussian"])
def test_random_images_have_no_source_and_depend_on_the_seed_alone(
    name: str, net: LeNet5, images: torch.Tensor, labels: torch.Tensor
) -> None:
    made = attack(net, images, labels, name, seed=5, batch_size=8)
    assert made.images.shape == images.shape
    assert 0 <= made.images.min() <= made.images.max() <= 1
    assert (made.source == -1).all()
    assert (made.labels == -1).all()
    assert (made.targets == -1).all()
    assert made.successes == made.tried == 20
    assert made.distances.isnan().all()
    with torch.no_grad():
        assert torch.equal(made.predicted, net(made.images).argmax(1))
    torch.manual_seed(77)
    _assert_equal(made, attack(net, images * 0, labels * 0, name, seed=5, batch_size=8))
    other = attack(net, images, labels, name, seed=6, batch_size=8)
    assert not torch.equal(made.images, other.images)
    assert len(torch.unique(torch.cat([made.images, other.images]).flatten(1), dim=0)) == 40


def test_random_images_are_uniform_and_gaussian_ones_are_not(net: LeNet5, labels: torch.Tensor) -> None:
    many = torch.zeros(500, 1, 8, 8)
    dull = torch.zeros(500, dtype=torch.int64)
    flat = attack(net, many, dull, "Random").images.flatten()
    bell = attack(net, many, dull, "RandomGaussian").images.flatten()
    assert abs(flat.mean() - 0.5) < 0.01
    assert abs(flat.std() - 12**-0.5) < 0.01
    assert abs(bell.mean() - 0.5) < 0.01
    assert abs(bell.std() - 0.25) < 0.02


# Repeatability and side effects


@pytest.mark.parametrize("name", EVERY)
def test_two_runs_are_equal_and_nothing_else_is_touched(
    name: str, net: LeNet5, images: torch.Tensor, labels: torch.Tensor
) -> None:
    net.conv1.weight.requires_grad_(False)
    wanted = [p.requires_grad for p in net.parameters()]
    before, root = images.clone(), list(logging.getLogger().handlers)
    results = []
    for _ in range(2):
        torch.manual_seed(99)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("error")
            results.append(attack(net, images, labels, name, settings=QUICK[name]))
        after = torch.rand(1)
        torch.manual_seed(99)
        assert torch.equal(after, torch.rand(1))
    _assert_equal(*results)
    assert torch.equal(images, before)
    assert [p.requires_grad for p in net.parameters()] == wanted
    assert all(p.grad is None for p in net.parameters())
    assert logging.getLogger().handlers == root


def test_progress_ends_at_the_number_of_attacked_images(
    net: LeNet5, images: torch.Tensor, labels: torch.Tensor, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    for expected in ([(7, 18), (14, 18), (18, 18)], [(18, 18)]):  # computed, then read back
        seen.clear()
        attack(net, images, labels, "FGSM", batch_size=7, cache=tmp_path, progress=lambda *now: seen.append(now))
        assert seen == expected


# The cache


def test_a_finished_attack_is_read_back_and_not_run_again(
    monkeypatch: pytest.MonkeyPatch, net: LeNet5, images: torch.Tensor, labels: torch.Tensor, tmp_path: Path
) -> None:
    calls = _counting(monkeypatch, "BIM")
    first = attack(net, images, labels, "BIM", settings=QUICK["BIM"], batch_size=7, cache=tmp_path)
    assert calls == [7, 7, 4]
    monkeypatch.setattr(runner, "predict", None)
    monkeypatch.setattr(runner, "correct_rows", None)
    again = attack(net, images, labels, "BIM", settings=QUICK["BIM"], batch_size=7, cache=tmp_path)
    assert calls == [7, 7, 4]
    _assert_equal(first, again)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", EVERY)
def test_every_attack_comes_back_from_the_cache_as_it_was(
    name: str, net: LeNet5, images: torch.Tensor, labels: torch.Tensor, tmp_path: Path
) -> None:
    plain = attack(net, images, labels, name, settings=QUICK[name], batch_size=9)
    for _ in range(2):
        kept = attack(net, images, labels, name, settings=QUICK[name], batch_size=9, cache=tmp_path)
        _assert_equal(plain, kept)


def test_a_killed_run_goes_on_after_its_last_whole_batch(
    monkeypatch: pytest.MonkeyPatch, net: LeNet5, images: torch.Tensor, labels: torch.Tensor, tmp_path: Path
) -> None:
    whole = attack(net, images, labels, "FGSM", batch_size=5)
    with monkeypatch.context() as patch:
        calls = _counting(patch, "FGSM", stop_at=2)
        with pytest.raises(KeyboardInterrupt):
            attack(net, images, labels, "FGSM", batch_size=5, cache=tmp_path)
        assert calls == [5, 5]
    calls = _counting(monkeypatch, "FGSM")
    _assert_equal(whole, attack(net, images, labels, "FGSM", batch_size=5, cache=tmp_path))
    assert calls == [5, 3]


def test_whatever_decides_the_result_decides_the_cache_file(
    monkeypatch: pytest.MonkeyPatch, net: LeNet5, images: torch.Tensor, labels: torch.Tensor, tmp_path: Path
) -> None:
    calls = _counting(monkeypatch, "DeepFool")
    other_net = LeNet5(8, classes=4).eval()
    few = torch.tensor([0, 1])
    base: dict[str, Any] = {"model": net, "images": images[few], "labels": labels[few], "name": "DeepFool"}
    variants: list[dict[str, Any]] = [
        {},
        {"seed": 1},
        {"batch_size": 2},
        {"settings": {"steps": 99}},
        {"images": images[few] * 0.999},
        {"model": other_net, "labels": other_net(images[few]).argmax(1)},
    ]
    for variant in variants:
        attack(**{**base, **variant}, cache=tmp_path)
    assert len(calls) == len(variants)
    monkeypatch.setattr(runner.importlib.metadata, "version", lambda name: "0.0")
    attack(**base, cache=tmp_path)
    assert len(calls) == len(variants) + 1
    attack(**base, settings={"steps": 100}, cache=tmp_path)  # the default, said aloud
    assert len(calls) == len(variants) + 1


@pytest.mark.parametrize("damage", ["truncated", "empty", "other key", "rubbish", "without targets"])
def test_a_damaged_cache_file_is_made_again_with_a_warning(
    damage: str, net: LeNet5, images: torch.Tensor, labels: torch.Tensor, tmp_path: Path
) -> None:
    first = attack(net, images, labels, "FGSM", cache=tmp_path)
    attack(net, images, labels, "FGSM", seed=1, cache=tmp_path / "other")
    (path,) = tmp_path.glob("*.safetensors")
    (other,) = (tmp_path / "other").iterdir()
    content = path.read_bytes()
    path.write_bytes(
        {
            "truncated": content[: len(content) // 2],
            "empty": b"",
            "other key": other.read_bytes(),
            "rubbish": b"\xff" * 500,
            "without targets": _without(path, "targets"),
        }[damage]
    )
    with pytest.warns(UserWarning, match="running a cached attack again"):
        again = attack(net, images, labels, "FGSM", cache=tmp_path)
    _assert_equal(first, again)
    assert path.read_bytes() == content


def test_a_cache_that_cannot_be_written_is_an_error_that_names_it(
    net: LeNet5, images: torch.Tensor, labels: torch.Tensor, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(StoreError, match="cache"):
        attack(net, images, labels, "Random", cache=tmp_path / "cache")


# Without foolbox


@pytest.mark.parametrize("name", FOOLBOX)
def test_without_foolbox_the_error_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch, net: LeNet5, images: torch.Tensor, labels: torch.Tensor
) -> None:
    monkeypatch.setitem(sys.modules, "foolbox", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'effpath\[attacks\]'") as caught:
        attack(net, images, labels, name)
    assert name in str(caught.value)


def test_what_needs_no_foolbox_works_without_it(
    monkeypatch: pytest.MonkeyPatch, net: LeNet5, images: torch.Tensor, labels: torch.Tensor
) -> None:
    monkeypatch.setitem(sys.modules, "foolbox", None)
    for name in sorted(set(EVERY) - set(FOOLBOX)):
        assert attack(net, images, labels, name, settings=QUICK[name]).successes > 0


def test_importing_the_attacks_does_not_import_foolbox() -> None:
    code = "import sys, effpath.attacks; sys.exit('foolbox' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# What is refused


def test_the_table_has_the_promised_names_and_the_papers_settings() -> None:
    assert list(ATTACKS) == [
        *("FGSM", "FGSM_targeted", "BIM", "DeepFool", "JSMA", "CWL2", "CWL2_targeted", "CWL2_confidence", "PGD"),
        *("APGD", "Square", "AutoAttack", "Patch", "PatchFile", "Universal", "Random", "RandomGaussian"),
    ]
    assert all(name == spec.name for name, spec in ATTACKS.items())
    assert ATTACKS["FGSM"].settings == {"epsilons": 1000, "max_epsilon": 1.0}
    assert ATTACKS["DeepFool"].settings["steps"] == 100
    assert ATTACKS["JSMA"].settings == {"theta": 0.1, "changes": 7, "iterations": 2000, "weighted": False}
    assert ATTACKS["CWL2_targeted"].settings == ATTACKS["CWL2"].settings
    assert ATTACKS["CWL2_confidence"].settings == {**ATTACKS["CWL2"].settings, "confidence": 14.0}
    assert ATTACKS["PGD"].settings["epsilon"] == 8 / 255
    assert ATTACKS["PGD"].settings["steps"] == 40
    assert {name: spec.norm for name, spec in ATTACKS.items()} == {
        **dict.fromkeys(("FGSM", "FGSM_targeted", "BIM", "PGD", "APGD", "Square", "AutoAttack"), "Linf"),
        **dict.fromkeys(("DeepFool", "CWL2", "CWL2_targeted", "CWL2_confidence"), "L2"),
        "JSMA": "L0",
        **dict.fromkeys(("Patch", "PatchFile", "Universal", "Random", "RandomGaussian")),
    }


def test_an_unknown_attack_is_refused_with_the_known_ones(
    net: LeNet5, images: torch.Tensor, labels: torch.Tensor
) -> None:
    with pytest.raises(OptionError, match="'fgsm'; expected one of: FGSM, FGSM_targeted, BIM"):
        attack(net, images, labels, "fgsm")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("FGSM", {"steps": 3}, "no setting 'steps'; it has: epsilons, max_epsilon"),
        ("Random", {"steps": 3}, "it has: none"),
        ("FGSM", {"epsilons": 0}, "an integer of at least 1; got 0"),
        ("FGSM", {"epsilons": 1.5}, "an integer of at least"),
        ("FGSM", {"epsilons": True}, "an integer of at least"),
        ("FGSM", {"max_epsilon": -1}, "finite number of at least 0; got -1"),
        ("FGSM", {"max_epsilon": float("nan")}, "finite number"),
        ("BIM", {"random_start": 1}, "True or False; got 1"),
        ("Universal", {"file": 3}, "a path; got 3"),
    ],
)
def test_a_wrong_setting_is_refused(
    name: str, settings: Settings, message: str, net: LeNet5, images: torch.Tensor, labels: torch.Tensor
) -> None:
    with pytest.raises(OptionError, match=message):
        attack(net, images, labels, name, settings=settings)


def test_a_model_that_cannot_be_attacked_is_refused(
    net: LeNet5, images: torch.Tensor, labels: torch.Tensor
) -> None:
    with pytest.raises(InputError, match=r"torch\.nn\.Module; got function"):
        attack(lambda x: x, images, labels, "FGSM")
    with pytest.raises(InputError, match=r"call model\.eval"):
        attack(nn.Sequential(net, nn.Dropout().train()), images, labels, "FGSM")
    with pytest.raises(InputError, match=r"logits \[N, classes\]; for 20 images it gave \[20, 6, 8, 8\]"):
        attack(net.conv1.eval(), images, labels, "FGSM")
    with torch.no_grad():
        net.fc3.bias[0] = float("nan")
    with pytest.raises(NumericalError, match="20 of 20"):
        attack(net, images, labels, "FGSM")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(20, 8, 8)}, r"\[N, C, H, W\]"),
        ({"images": torch.zeros(20, 1, 8, 8).double()}, "float64"),
        ({"images": torch.zeros(0, 1, 8, 8)}, "N > 0"),
        ({"images": torch.full((20, 1, 8, 8), 1.5)}, r"\[0, 1\]; got 1.5"),
        ({"images": torch.full((20, 1, 8, 8), float("nan"))}, "got nan"),
        ({"labels": torch.zeros(19, dtype=torch.int64)}, "each of 20 images"),
        ({"labels": torch.zeros(20)}, "float32"),
    ],
)
def test_images_and_labels_that_do_not_fit_are_refused(
    change: dict[str, torch.Tensor], message: str, net: LeNet5, images: torch.Tensor, labels: torch.Tensor
) -> None:
    with pytest.raises(InputError, match=message):
        attack(net, **{"images": images, "labels": labels, **change}, name="FGSM")


def test_a_batch_size_of_zero_is_refused(net: LeNet5, images: torch.Tensor, labels: torch.Tensor) -> None:
    with pytest.raises(OptionError, match="batch_size"):
        attack(net, images, labels, "FGSM", batch_size=0)


@pytest.mark.skipif("EFFPATH_DATA" not in os.environ, reason="EFFPATH_DATA, a folder with mnist/, is not set")
def test_on_mnist_every_attack_keeps_its_own_norm_small() -> None:
    from effpath.data import load_data
    from effpath.demo.train import train_classifier

    data = load_data(f"mnist:{os.environ['EFFPATH_DATA']}/mnist")
    torch.manual_seed(0)
    model = LeNet5()
    train_classifier(model, data.train_images[:20_000], data.train_labels[:20_000], epochs=1, seed=0)
    made = {
        name: attack(model, data.test_images[:40], data.test_labels[:40], name, settings=settings)
        for name, settings in {"FGSM": {}, "BIM": {}, "DeepFool": {}, "JSMA": {"weighted": True}}.items()
    }
    assert all(one.successes >= 0.95 * one.tried for one in made.values())
    assert made["DeepFool"].norms().l2 < made["BIM"].norms().l2 < made["FGSM"].norms().l2
    assert made["BIM"].norms().linf < made["FGSM"].norms().linf < made["DeepFool"].norms().linf
    assert made["JSMA"].norms().l0 < 0.1 * min(made[name].norms().l0 for name in ("FGSM", "BIM", "DeepFool"))
