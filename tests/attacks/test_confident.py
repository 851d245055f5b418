"""Attacks that go well past the border: PGD, and C&W with a confidence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import digits_net
from effpath.attacks import attack
from effpath.files.cache import fingerprint

COUNT = 40
FEW = 10  # C&W is slow
CARLINI: dict[str, Any] = {"steps": 200, "stepsize": 0.1, "binary_search_steps": 6, "initial_const": 0.1}


def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    return digits_net.data().test_images[:COUNT], digits_net.data().test_labels[:COUNT]


def _margins(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How far the best other logit lies above the label's."""
    with torch.no_grad():
        logits = digits_net.model()(images).clone()
    own = logits.gather(1, labels[:, None]).squeeze(1)
    return logits.scatter(1, labels[:, None], -torch.inf).amax(1) - own


@pytest.mark.parametrize("epsilon", [0.1, 0.2, 0.3])
def test_pgd_stays_within_epsilon_and_grows_surer_with_it(epsilon: float) -> None:
    images, labels = _digits()
    made = attack(digits_net.model(), images, labels, "PGD", settings={"epsilon": epsilon})
    difference = (made.images - images[made.source]).abs()
    assert difference.max() <= epsilon + 1e-6
    assert difference[made.succeeded].flatten(1).amax(1).min() > epsilon - 1e-6  # it uses what it may
    less = attack(digits_net.model(), images, labels, "PGD", settings={"epsilon": epsilon / 2})
    assert less.successes < made.successes
    both = less.succeeded & made.succeeded
    assert both.any()
    margins = [_margins(one.images[both], one.labels[both]).median() for one in (less, made)]
    assert margins[0] < margins[1]


def test_pgd_is_foolbox_s_own() -> None:
    foolbox = pytest.importorskip("foolbox")
    images, labels = _digits()
    made = attack(digits_net.model(), images, labels, "PGD", settings={"epsilon": 0.1}, seed=3)
    direct = foolbox.attacks.LinfPGD(steps=40, rel_stepsize=1 / 30, random_start=True)
    wrapped = foolbox.PyTorchModel(digits_net.model(), bounds=(0, 1), device="cpu")
    torch.manual_seed(int(fingerprint(3, 0)[:15], 16))  # the seed, the first row of the batch
    _, expected, fooled = direct(wrapped, images[made.source], made.labels, epsilons=0.1)
    assert torch.equal(made.succeeded, fooled)
    assert 0 < made.successes < made.tried
    torch.testing.assert_close(made.fooling, expected[made.succeeded], atol=1e-6, rtol=0)


def test_the_seed_decides_where_pgd_starts() -> None:
    images, labels = _digits()
    made = [
        attack(digits_net.model(), images, labels, "PGD", settings={"epsilon": 0.3}, seed=k) for k in (0, 0, 1)
    ]
    assert torch.equal(made[0].images, made[1].images)
    assert not torch.equal(made[0].images, made[2].images)
    still = {"epsilon": 0.3, "random_start": False}
    fixed = [attack(digits_net.model(), images, labels, "PGD", settings=still, seed=k) for k in (0, 1)]
    assert torch.equal(fixed[0].images, fixed[1].images)


def test_pgd_has_a_gradient_where_the_softmax_is_one_hot() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2)).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[3000.0, 0.0], [0.0, 3000.0]]))
        model[1].bias.zero_()
    image = torch.tensor([[[[0.6, 0.4]]]])
    with torch.no_grad():
        assert model(image).softmax(1).tolist() == [[1, 0]]
    still = {"epsilon": 0.2, "random_start": False}
    made = attack(model, image, torch.tensor([0]), "PGD", settings=still)
    assert made.succeeded.all()
    torch.testing.assert_close(made.images, torch.tensor([[[[0.4, 0.6]]]]))


def test_a_confident_carlini_wagner_lies_its_confidence_past_the_border() -> None:
    images, labels = _digits()
    model = digits_net.model()
    near = attack(model, images, labels, "CWL2", settings=CARLINI)
    far = attack(model, images, labels, "CWL2_confidence", settings=CARLINI)
    assert far.successes >= 0.95 * far.tried
    assert _margins(far.fooling, far.fooling_labels).min() >= 14 - 1e-3
    assert _margins(near.fooling, near.fooling_labels).median() < 1
    assert near.norms().l2 < far.norms().l2


def test_a_confident_carlini_wagner_is_foolbox_s_own() -> None:
    foolbox = pytest.importorskip("foolbox")
    images, labels = (column[:FEW] for column in _digits())
    made = attack(digits_net.model(), images, labels, "CWL2_confidence", settings=CARLINI)
    direct = foolbox.attacks.L2CarliniWagnerAttack(**CARLINI, confidence=14.0)
    wrapped = foolbox.PyTorchModel(digits_net.model(), bounds=(0, 1), device="cpu")
    expected = direct.run(wrapped, images[made.source], made.labels)
    assert torch.equal(made.fooling, expected[made.succeeded])
