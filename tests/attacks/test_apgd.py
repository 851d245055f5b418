"""Auto-PGD: within its bound, at least as strong as PGD, and by the formulas of its paper."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import digits_net
from effpath.attacks import attack
from effpath.attacks.apgd import checkpoints, logits_ratio
from effpath.attacks.methods import doubt

COUNT = 100


def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    return digits_net.data().test_images[:COUNT], digits_net.data().test_labels[:COUNT]


@pytest.mark.parametrize("epsilon", [0.05, 0.1])
def test_auto_pgd_stays_within_epsilon_and_fools_what_pgd_fools(epsilon: float) -> None:
    images, labels = _digits()
    auto, plain = (
        attack(digits_net.model(), images, labels, name, settings={"epsilon": epsilon}) for name in ("APGD", "PGD")
    )
    assert (auto.images - images[auto.source]).abs().max() <= epsilon + 1e-6
    assert auto.successes >= plain.successes
    assert 0 < auto.successes < auto.tried
    assert auto.succeeded[plain.succeeded].float().mean() > 0.97


def test_the_ratio_of_logits_is_that_of_the_paper_and_grows_until_the_label_is_no_longer_first() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0, -1.0], [1.0, 3.0, 0.0, -1.0]])
    labels = torch.tensor([0, 0])
    torch.testing.assert_close(logits_ratio(logits, labels), torch.tensor([-2.0 / 3, 2.0 / 3]))
    assert logits_ratio(10 * logits + 5, labels).tolist() == pytest.approx([-2 / 3, 2 / 3])


def test_the_doubt_grows_with_the_cross_entropy() -> None:
    logits = torch.randn(200, 5, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.arange(200) % 5
    entropy = nn.functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(doubt(logits, labels), (entropy.exp() - 1).log())


def test_step_sizes_are_judged_when_the_paper_says() -> None:
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    expected = {int(-(-(round(share, 6) * 100) // 1)) for share in shares[1:] if share <= 1 + 1e-9}
    assert checkpoints(100) == expected == {22, 41, 57, 70, 80, 87, 93, 99}
    assert max(checkpoints(7)) <= 7


def test_of_two_classes_only_the_cross_entropy_is_tried() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2)).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[3000.0, 0.0], [0.0, 3000.0]]))
        model[1].bias.zero_()
    image = torch.tensor([[[[0.6, 0.4]]]])
    made = attack(model, image, torch.tensor([0]), "APGD", settings={"epsilon": 0.2, "steps": 20})
    assert made.succeeded.all()
    torch.testing.assert_close(made.images, torch.tensor([[[[0.4, 0.6]]]]))


def test_the_second_loss_is_tried_where_the_first_fails() -> None:
    """A softmax that ignores the image but for a hair: log odds of float32 have no slope, the logits have."""

    class Flat(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            near = x.flatten(1).sum(1) - 1.0
            huge = torch.full_like(near, 1e4)
            return torch.stack([huge, huge + near, huge - 1], 1)

    image = torch.full((1, 1, 1, 2), 0.45)
    assert Flat()(image).argmax(1) == 0
    made = attack(Flat().eval(), image, torch.tensor([0]), "APGD", settings={"epsilon": 0.1, "steps": 20})
    assert made.succeeded.all()
