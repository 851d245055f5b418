"""Targeted attacks: which class they have to reach, and that they do."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import digits_net
from effpath.attacks import ATTACKS, AttackSpec, attack
from effpath.attacks.spec import draw_targets
from effpath.errors import InputError

QUICK: dict[str, dict[str, Any]] = {
    "FGSM_targeted": {},
    "CWL2_targeted": {"steps": 100, "stepsize": 0.1, "binary_search_steps": 5, "initial_const": 0.1},
    "Patch": {"scale": 0.5, "steps": 100},
}
COUNT = 40


def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    return digits_net.data().test_images[:COUNT], digits_net.data().test_labels[:COUNT]


def test_a_target_is_never_the_label_and_every_other_class_is_as_likely() -> None:
    labels = torch.arange(5).repeat(2000)
    targets = draw_targets(labels, 5, seed=3, targeting="each")
    assert targets.dtype == torch.int64
    counts = torch.zeros(5, 5)
    counts.index_put_((labels, targets), torch.ones(len(labels)), accumulate=True)
    assert (counts.diagonal() == 0).all()
    others = counts[~torch.eye(5, dtype=torch.bool)]
    assert others.min() > 430  # 500 expected, standard deviation 19
    assert others.max() < 570


def test_one_target_for_all_is_one_of_all_classes() -> None:
    drawn = [draw_targets(torch.tensor([0, 1, 2]), 3, seed=seed, targeting="one") for seed in range(40)]
    assert all((targets == targets[0]).all() for targets in drawn)
    assert {int(targets[0]) for targets in drawn} == {0, 1, 2}


def test_a_model_of_one_class_has_no_target() -> None:
    with pytest.raises(InputError, match="at least 2 classes; got 1"):
        draw_targets(torch.tensor([0]), 1, seed=0, targeting="each")


@pytest.mark.parametrize("name", list(QUICK))
def test_a_targeted_success_is_in_its_target_and_nothing_else_is_a_success(name: str) -> None:
    images, labels = _digits()
    made = attack(digits_net.model(), images, labels, name, settings=QUICK[name])
    with torch.no_grad():
        predicted = digits_net.model()(made.images).argmax(1)
    assert torch.equal(predicted[made.succeeded], made.targets[made.succeeded])
    assert (made.targets[made.succeeded] != made.labels[made.succeeded]).all()
    assert torch.equal(predicted[~made.succeeded], made.labels[~made.succeeded])
    assert torch.equal(made.images[~made.succeeded], images[made.source][~made.succeeded])
    wanted = {"FGSM_targeted": 0.6, "CWL2_targeted": 0.95, "Patch": 0.1}[name]
    assert made.successes >= wanted * made.tried


def test_the_same_seed_gives_every_attack_the_same_targets_whatever_the_batches() -> None:
    images, labels = _digits()
    model, few = digits_net.model(), QUICK["CWL2_targeted"]
    whole = attack(model, images, labels, "FGSM_targeted", seed=4)
    parts = attack(model, images, labels, "FGSM_targeted", seed=4, batch_size=7)
    other = attack(model, images, labels, "CWL2_targeted", seed=4, settings={**few, "steps": 1})
    assert torch.equal(whole.targets, parts.targets)
    assert torch.equal(whole.targets, other.targets)
    assert not torch.equal(whole.targets, attack(model, images, labels, "FGSM_targeted", seed=5).targets)


def test_images_of_the_patch_target_itself_are_failures() -> None:
    images, labels = _digits()
    for seed in range(20):  # the first seed whose target is among the labels
        made = attack(digits_net.model(), images, labels, "Patch", seed=seed, settings={"scale": 0.5, "steps": 1})
        own = made.labels == made.targets
        if own.any():
            break
    assert own.any()
    assert not made.succeeded[own].any()
    assert torch.equal(made.images[own], images[made.source][own])


def test_to_leave_the_label_is_not_enough_for_a_targeted_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = _digits()
    model = digits_net.model()
    fooling = attack(model, images, labels, "FGSM")
    candidates = fooling.images
    for targeting in ("each", "one"):
        fake = AttackSpec("Fake", None, {}, lambda m, x, y, s: candidates, targeting=targeting)  # type: ignore[arg-type]
        monkeypatch.setitem(ATTACKS, "Fake", fake)
        made = attack(model, images, labels, "Fake", seed=2)
        expected = fooling.succeeded & (fooling.predicted == made.targets)
        assert torch.equal(made.succeeded, expected)
        assert fooling.successes - made.successes > 0


def test_the_epsilon_of_targeted_fgsm_is_the_smallest_on_the_ladder() -> None:
    images, labels = _digits()
    model = digits_net.model()
    made = attack(model, images, labels, "FGSM_targeted", settings={"epsilons": 50}, batch_size=11)
    for row in range(made.tried):
        clean, target = images[made.source[row]][None], made.targets[row]
        pixels = clean.clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(model(pixels).double(), target[None])
        sign = torch.autograd.grad(loss, pixels)[0].sign()
        expected = None
        for k in range(1, 51):
            candidate = (clean - k / 50 * sign).clamp(0, 1)
            with torch.no_grad():
                if model(candidate).argmax(1) == target:
                    expected = candidate
                    break
        assert bool(made.succeeded[row]) == (expected is not None)
        torch.testing.assert_close(made.images[row], (clean if expected is None else expected)[0])


def test_targeted_carlini_wagner_is_foolbox_s_own() -> None:
    foolbox = pytest.importorskip("foolbox")
    images, labels = _digits()
    made = attack(digits_net.model(), images, labels, "CWL2_targeted", settings=QUICK["CWL2_targeted"])
    direct = foolbox.attacks.L2CarliniWagnerAttack(**QUICK["CWL2_targeted"])
    wrapped = foolbox.PyTorchModel(digits_net.model(), bounds=(0, 1), device="cpu")
    goal = foolbox.criteria.TargetedMisclassification(made.targets)
    _, expected, reached = direct(wrapped, images[made.source], goal, epsilons=None)
    assert torch.equal(made.succeeded, reached)
    assert torch.equal(made.fooling, expected[made.succeeded])
