"""JSMA: the batch against a plain loop over images, and its three bounds."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import digits_net
from effpath.attacks import attack

COUNT = 24


def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    return digits_net.data().test_images[:COUNT], digits_net.data().test_labels[:COUNT]


def _one_by_one(
    model: nn.Module,
    image: torch.Tensor,
    label: int,
    guide: int,
    *,
    theta: float,
    changes: int,
    iterations: int,
    weighted: bool,
) -> torch.Tensor:
    """Papernot's algorithm on one image [C, H, W], value by value from the whole Jacobian."""
    x, moved, out = image.flatten().tolist(), [0] * image.numel(), set()
    for _ in range(iterations):
        now = torch.tensor(x).reshape(image.shape)
        with torch.no_grad():
            logits = model(now[None])[0].double().tolist()
        if logits.index(max(logits)) != label:
            return now
        jacobian = torch.autograd.functional.jacobian(lambda z: model(z[None])[0], now).flatten(1).double()
        best, best_score = None, -float("inf")
        for k in range(len(x)):
            alpha = float(jacobian[guide, k])
            weights = [math.exp(z) if weighted else 1.0 for z in logits]
            weights[guide] = 0.0
            beta = sum(w * float(jacobian[c, k]) for c, w in enumerate(weights))
            can = k not in out and (x[k] < 1 if alpha > 0 else x[k] > 0) and alpha != 0
            if can and -alpha * beta > best_score:
                best, best_score = k, -alpha * beta
        if best is None:
            return now
        step = theta if float(jacobian[guide, best]) > 0 else -theta
        x[best] = float((torch.tensor(x[best]) + step).clamp(0, 1))
        moved[best] += 1
        if x[best] in (0.0, 1.0) or moved[best] == changes:
            out.add(best)
    return torch.tensor(x).reshape(image.shape)


@pytest.mark.parametrize(
    "settings", [{}, {"theta": 0.3, "changes": 2}, {"iterations": 6}, {"weighted": True}], ids=str
)
def test_jsma_in_a_batch_is_what_a_plain_loop_finds_image_by_image(settings: dict[str, float]) -> None:
    model, (images, labels) = digits_net.model(), _digits()
    made = attack(model, images, labels, "JSMA", settings=settings)
    reached = attack(model, images, labels, "FGSM")
    assert reached.successes == reached.tried  # so that no guide is random
    all_settings = {"theta": 0.1, "changes": 7, "iterations": 2000, "weighted": False, **settings}
    for row in range(0, made.tried, 2):  # of each second image: the loop is slow
        expected = _one_by_one(
            model, images[made.source[row]], int(made.labels[row]), int(reached.predicted[row]), **all_settings
        )
        with torch.no_grad():
            fooled = int(model(expected[None]).argmax()) != int(made.labels[row])
        assert bool(made.succeeded[row]) == fooled
        if fooled:
            torch.testing.assert_close(made.images[row], expected, atol=1e-6, rtol=0)
    assert made.successes > 0
    assert (made.successes < made.tried) == ("iterations" in settings)


def test_jsma_changes_at_most_a_value_a_round_and_a_value_at_most_so_often() -> None:
    images, labels = _digits()
    model = digits_net.model()
    made = attack(model, images, labels, "JSMA", settings={"iterations": 8})
    assert made.successes > 0
    assert made.distances[:, 0].max() <= 8
    assert 0 < made.norms().l0 <= 8
    often = attack(model, images, labels, "JSMA", settings={"changes": 2})
    assert often.successes > 0
    assert often.distances[:, 2].max() <= 0.2 + 1e-6
    steps = (often.images - images[often.source]) / 0.1
    inside = (often.images > 0) & (often.images < 1)
    torch.testing.assert_close(steps[inside], steps[inside].round(), atol=1e-4, rtol=0)


def test_jsma_changes_fewer_values_than_the_fast_gradient_sign() -> None:
    images, labels = _digits()
    made = {name: attack(digits_net.model(), images, labels, name) for name in ("JSMA", "FGSM")}
    assert made["JSMA"].successes == made["JSMA"].tried
    assert made["JSMA"].norms().l0 < made["FGSM"].norms().l0 / 2


def test_weighing_the_other_classes_takes_fewer_changes() -> None:
    images, labels = _digits()
    plain, weighted = (
        attack(digits_net.model(), images, labels, "JSMA", settings={"weighted": one}) for one in (False, True)
    )
    assert weighted.successes == weighted.tried
    assert weighted.norms().l0 < plain.norms().l0


def test_jsma_goes_up_and_down() -> None:
    """Two pixels, two classes: more of the second and less of the first helps class 1."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2)).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[3.0, -2.0], [-3.0, 2.0]]))
        model[1].bias.zero_()
    image = torch.tensor([[[[0.8, 0.1]]]])  # logits ±2.2; the first pixel weighs more
    made = attack(model, image, torch.tensor([0]), "JSMA", settings={"theta": 0.1, "changes": 3})
    # three steps down (0.5), then two up (0.3): 3·0.5 − 2·0.3 = 0.9; one more: 0.4: 0.7 > 0; both stay: a failure
    assert not made.succeeded.any()
    made = attack(model, image, torch.tensor([0]), "JSMA", settings={"theta": 0.1, "changes": 5})
    # five down: 0.3, 0.9 − 0.2 = 0.7 > 0; then four up: 0.5, 0.9 − 1.0 < 0
    torch.testing.assert_close(made.images, torch.tensor([[[[0.3, 0.5]]]]))
    assert made.distances[0, 0] == 2


def test_where_no_value_matters_jsma_fails_and_ends() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3)).eval()
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    image = torch.tensor([[[[0.8, 0.1]]]])
    made = attack(model, image, torch.tensor([0]), "JSMA", settings={"iterations": 10**9})
    assert made.successes == 0
    assert torch.equal(made.images, image)
