"""AutoAttack and its parts: towards one class after another, by squares, each on what still resists."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import digits_net
from effpath.attacks import attack
from effpath.attacks.apgd import logits_ratio, one_after_another, targeted_ascents, targeted_ratio
from effpath.attacks.methods import doubt
from effpath.attacks.square import side_of, square_search

COUNT = 100


def _digits(count: int = COUNT) -> tuple[torch.Tensor, torch.Tensor]:
    return digits_net.data().test_images[:count], digits_net.data().test_labels[:count]


class Stairs(nn.Module):
    """A network that sees its images in steps of a twentieth: no gradient anywhere."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network((x * 20).round() / 20)


# ---------------------------------------------------------------- towards one class after another


def test_the_targeted_ratio_is_that_of_the_paper() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0, -1.0], [1.0, 3.0, 0.0, -2.0]])
    found = targeted_ratio(logits, torch.tensor([0, 0]), targets=torch.tensor([2, 1]))
    torch.testing.assert_close(found, torch.tensor([-3 / 3.5, 2 / 4]))
    scaled = targeted_ratio(10 * logits + 5, torch.tensor([0, 0]), targets=torch.tensor([2, 1]))
    assert scaled.tolist() == pytest.approx(found.tolist())


def test_targets_are_the_likeliest_classes_in_turn_and_never_the_label() -> None:
    images, labels = _digits(6)
    with torch.no_grad():
        logits = digits_net.model()(images)
    asked: list[torch.Tensor] = []

    def spied(value: torch.Tensor, *, targets: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        asked.append(targets)
        return doubt(value, labels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "effpath.attacks.apgd.targeted_ratio",
            lambda value, labels, *, targets: spied(value, targets=targets, labels=labels),
        )
        runs = targeted_ascents(digits_net.model(), images, labels, {"epsilon": 0.01, "steps": 1, "targets": 9})
        for run in runs:
            run(torch.arange(6))
    assert len(runs) == 9
    found = torch.stack(asked[::2], 1)  # the start and one step of each run
    for row in range(6):
        order = sorted((c for c in range(10) if c != labels[row]), key=lambda c, row=row: -float(logits[row, c]))
        assert found[row].tolist() == order


@pytest.mark.parametrize("classes", [2, 3])
def test_without_a_fourth_class_there_is_no_targeted_run(classes: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, classes)).eval()
    images = torch.rand(3, 1, 2, 2)
    settings = {"epsilon": 0.1, "steps": 5, "targets": 9}
    assert targeted_ascents(model, images, model(images).argmax(1), settings) == []
    made = attack(model, images, model(images).argmax(1), "AutoAttack", settings={"epsilon": 1.0, "queries": 50})
    assert made.succeeded.all()


def test_the_targeted_ratio_brings_images_to_its_target() -> None:
    images, labels = _digits()
    with torch.no_grad():
        right = digits_net.model()(images).argmax(1) == labels
    images, labels = images[right], labels[right]
    (run,) = targeted_ascents(digits_net.model(), images, labels, {"epsilon": 0.15, "steps": 40, "targets": 1})
    made, fooled = run(torch.arange(len(images)))
    with torch.no_grad():
        second = digits_net.model()(images).scatter(1, labels[:, None], -torch.inf).argmax(1)
        reached = digits_net.model()(made).argmax(1)
    assert fooled.float().mean() > 0.5
    assert (reached == second)[fooled].float().mean() > 0.7  # others may be passed on the way
    assert (made - images).abs().max() <= 0.15 + 1e-6


# ---------------------------------------------------------------- squares


def test_sides_of_squares_are_those_of_the_paper() -> None:
    assert [side_of(query, 32, 32) for query in (0, 10, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)] == [
        round(math.sqrt(share * 32 * 32))
        for share in (0.8, 0.8, 0.4, 0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625, 0.003125, 0.0015625)
    ]
    assert side_of(0, 4, 200) == 4
    assert side_of(9999, 4, 4) == 1


def test_the_search_is_that_of_a_plain_loop_over_images_and_pixels() -> None:
    images, labels = _digits(6)
    epsilon, queries, model = 0.12, 60, digits_net.model()
    torch.manual_seed(4)
    found, fooled = square_search(model, images, labels, {"epsilon": epsilon, "queries": queries})

    def lead(image: torch.Tensor, label: int) -> float:
        with torch.no_grad():
            logits = model(image[None])[0].tolist()
        return max(value for c, value in enumerate(logits) if c != label) - logits[label]

    torch.manual_seed(4)
    stripes = torch.randint(2, (6, 1, 1, 8)) * 2 - 1
    best = [(images[row] + epsilon * stripes[row]).clamp(0, 1) for row in range(6)]
    reached = [lead(best[row], int(labels[row])) for row in range(6)]
    for query in range(queries):
        rows = [row for row in range(6) if reached[row] <= 0]
        if not rows:
            break
        side = side_of(query, 8, 8)
        tops, lefts = (torch.randint(8 - side + 1, (len(rows), 1, 1, 1)).flatten().tolist() for _ in range(2))
        signs = (torch.randint(2, (len(rows), 1, 1, 1)) * 2 - 1).flatten().tolist()
        for row, top, left, sign in zip(rows, tops, lefts, signs, strict=True):
            tried = best[row].clone()
            for y in range(top, top + side):
                for x in range(left, left + side):
                    tried[0, y, x] = min(max(float(images[row, 0, y, x]) + sign * epsilon, 0.0), 1.0)
            gained = lead(tried, int(labels[row]))
            if gained > reached[row]:
                best[row], reached[row] = tried, gained
    torch.testing.assert_close(found, torch.stack(best))
    assert fooled.tolist() == [value > 0 for value in reached]
    assert 0 < fooled.sum() < 6


def test_squares_fool_a_network_without_gradients_where_auto_pgd_does_not() -> None:
    images, labels = _digits()
    images, hidden = (images * 20).round() / 20, Stairs(digits_net.model()).eval()
    settings = {"epsilon": 0.2}
    blind = attack(hidden, images, labels, "APGD", settings={**settings, "steps": 20})
    squares = attack(hidden, images, labels, "Square", settings={**settings, "queries": 300})
    whole = attack(hidden, images, labels, "AutoAttack", settings={**settings, "steps": 20, "queries": 300})
    assert squares.successes > 2 * blind.successes
    assert squares.successes > 0.8 * squares.tried
    assert whole.successes > 0.8 * whole.tried
    assert (squares.images - images[squares.source]).abs().max() <= 0.2 + 1e-6


# ---------------------------------------------------------------- together


def test_each_attempt_is_made_on_what_resists_alone() -> None:
    images = torch.zeros(5, 1, 1, 1)
    seen: list[list[int]] = []

    def attempt(*breaks: int):
        def run(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            seen.append(rows.tolist())
            fooled = torch.tensor([int(row) in breaks for row in rows])
            return torch.full((len(rows), 1, 1, 1), float(len(seen))), fooled

        return run

    found = one_after_another(images, [attempt(1, 3), attempt(), attempt(0, 2, 4), attempt(1)])
    assert seen == [[0, 1, 2, 3, 4], [0, 2, 4], [0, 2, 4]]
    assert found.flatten().tolist() == [3, 1, 3, 1, 3]


@pytest.mark.parametrize("epsilon", [0.05, 0.1])
def test_autoattack_fools_what_its_parts_fool_and_stays_within_epsilon(epsilon: float) -> None:
    images, labels = _digits()
    settings = {"epsilon": epsilon, "steps": 50, "queries": 200}
    made = attack(digits_net.model(), images, labels, "AutoAttack", settings=settings)
    once = attack(digits_net.model(), images, labels, "APGD", settings={"epsilon": epsilon, "steps": 50})
    squares = attack(digits_net.model(), images, labels, "Square", settings={"epsilon": epsilon, "queries": 200})
    assert (made.images - images[made.source]).abs().max() <= epsilon + 1e-6
    assert made.successes >= max(once.successes, squares.successes)
    assert 0 < made.successes < made.tried
    alike = (made.images == once.images).flatten(1).all(1)
    assert alike[once.succeeded].float().mean() > 0.9  # the first run is that of Auto-PGD, from the same start


def test_the_parts_are_as_strong_as_those_of_torchattacks() -> None:
    library = pytest.importorskip("torchattacks", reason="torchattacks is not installed")
    images, labels = _digits()
    model = digits_net.model()
    with torch.no_grad():
        right = model(images).argmax(1) == labels
    images, labels = images[right], labels[right]
    theirs = {
        "APGD": library.APGD(model, eps=0.1, steps=100, loss="ce"),
        "AutoAttack": library.AutoAttack(model, eps=0.1, n_classes=10),
        "Square": library.Square(model, eps=0.1, n_queries=1000),
    }
    for name, other in theirs.items():
        settings = {"epsilon": 0.1, **({"queries": 1000} if name == "Square" else {})}
        ours = attack(model, images, labels, name, settings=settings).successes
        with torch.no_grad():
            fooled = int((model(other(images, labels)).argmax(1) != labels).sum())
        print(name, "ours", ours, "theirs", fooled, "of", len(images))
        assert ours >= fooled - 2


def test_the_ratio_and_the_targeted_ratio_agree_on_the_sign_of_the_nearest_class() -> None:
    logits = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 6
    targets = logits.scatter(1, labels[:, None], -torch.inf).argmax(1)
    ratio, aimed = logits_ratio(logits, labels), targeted_ratio(logits, labels, targets=targets)
    assert torch.equal(ratio.sign(), aimed.sign())
