"""The patch: where it lies, what it leaves alone, and that training is what makes it work."""

from __future__ import annotations

import math

import pytest
import torch

import digits_net
from effpath.attacks import attack
from effpath.attacks.patches import draw_places, paste
from effpath.errors import OptionError


def _corners(centre: list[float], angle: float, side: float) -> list[tuple[float, float]]:
    """The corners of the turned square, by the rotation matrix."""
    half = side / 2
    return [
        (
            centre[0] + math.cos(angle) * u - math.sin(angle) * v,
            centre[1] + math.sin(angle) * u + math.cos(angle) * v,
        )
        for u, v in ((-half, -half), (half, -half), (half, half), (-half, half))
    ]


def _contains(corners: list[tuple[float, float]], x: float, y: float) -> float:
    """How far the point lies inside the convex polygon; negative outside."""
    depths = []
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        depths.append(((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / math.hypot(bx - ax, by - ay))
    return min(depths)


@pytest.mark.parametrize("shape", [(3, 12, 17), (1, 9, 9)])
def test_pixels_outside_the_turned_square_stay_and_those_inside_are_the_patch(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    images = torch.rand(30, *shape) * 0.5
    square = torch.full((shape[0], 5, 5), 0.9)  # of one colour, so that interpolation changes nothing
    centres, angles = draw_places(images, 4.3, math.pi)
    made = paste(square, images, centres, angles, 4.3)
    for row in range(len(images)):
        corners = _corners(centres[row].tolist(), float(angles[row]), 4.3)
        for y in range(shape[1]):
            for x in range(shape[2]):
                depth = _contains(corners, x + 0.5, y + 0.5)
                if depth < -1e-4:
                    assert torch.equal(made[row, :, y, x], images[row, :, y, x])
                elif depth > 1e-4:
                    torch.testing.assert_close(made[row, :, y, x], square[:, 0, 0])


@pytest.mark.parametrize("side", [1.0, 3.0, 6.2])
def test_every_square_lies_inside_its_image(side: float) -> None:
    torch.manual_seed(1)
    centres, angles = draw_places(torch.zeros(500, 1, 9, 12), side, math.pi)
    for centre, angle in zip(centres.tolist(), angles.tolist(), strict=True):
        for x, y in _corners(centre, angle, side):
            assert -1e-4 <= x <= 12 + 1e-4
            assert -1e-4 <= y <= 9 + 1e-4
    assert angles.abs().max() <= math.pi
    assert centres.std(0).min() > 0.2  # it moves about
    assert draw_places(torch.zeros(50, 1, 9, 9), side, 0.5)[1].abs().max() <= 0.5


def test_an_unturned_square_is_copied_pixel_by_pixel_and_a_quarter_turn_turns_it() -> None:
    square = torch.arange(9.0).reshape(1, 3, 3) / 10
    image = torch.ones(1, 1, 6, 7)
    made = paste(square, image, torch.tensor([[3.5, 2.5]]), torch.tensor([0.0]), 3.0)
    expected = image.clone()
    expected[0, 0, 1:4, 2:5] = square[0]
    torch.testing.assert_close(made, expected)
    turned = paste(square, image, torch.tensor([[3.5, 2.5]]), torch.tensor([math.pi / 2]), 3.0)
    expected[0, 0, 1:4, 2:5] = square[0].rot90(-1)  # clockwise, as y points down
    torch.testing.assert_close(turned, expected, atol=1e-5, rtol=0)


def test_one_patch_serves_the_batch_and_changes_no_more_than_its_area() -> None:
    data = digits_net.data()
    images, labels = data.test_images[:40], data.test_labels[:40]
    made = attack(digits_net.model(), images, labels, "Patch", settings={"scale": 0.5, "steps": 50, "rotation": 0})
    assert made.successes > 0
    assert len(made.targets.unique()) == 1
    changed = (made.images != images[made.source])[made.succeeded]
    for mask in changed:  # unturned: the changes lie in a box of 4 × 4 pixels
        rows, columns = mask.any(0).any(1).nonzero(), mask.any(0).any(0).nonzero()
        assert rows.max() - rows.min() < 4
        assert columns.max() - columns.min() < 4


def test_a_trained_patch_brings_more_images_to_its_class_than_an_untrained_one() -> None:
    data = digits_net.data()
    images, labels = data.test_images[:100], data.test_labels[:100]
    grey, trained = (
        attack(digits_net.model(), images, labels, "Patch", settings={"scale": 0.6, "steps": steps}, seed=1)
        for steps in (1, 200)
    )
    assert trained.successes > 2 * grey.successes
    larger = attack(digits_net.model(), images, labels, "Patch", settings={"scale": 0.7, "steps": 200}, seed=1)
    smaller = attack(digits_net.model(), images, labels, "Patch", settings={"scale": 0.2, "steps": 200}, seed=1)
    assert smaller.successes < trained.successes < larger.successes


@pytest.mark.parametrize("scale", [0.0, 0.1, 0.8])
def test_a_patch_smaller_than_a_pixel_or_too_large_to_turn_is_refused(scale: float) -> None:
    data = digits_net.data()
    with pytest.raises(OptionError, match=rf"at least a pixel and at most 0\.7; got {scale:g} on images of 8×8"):
        attack(digits_net.model(), data.test_images[:4], data.test_labels[:4], "Patch", settings={"scale": scale})
