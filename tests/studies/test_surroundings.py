"""Pixels from their surroundings: the closed form beside least squares on rows that are cut out one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detection.surroundings import ROUNDING, Surroundings


def rows_of(image: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """What each pixel is predicted from, and its values, of an image [C, H, W] with its mirror around it."""
    reach = side // 2
    wide = np.pad(image, [(0, 0), (reach, reach), (reach, reach)], mode="reflect")
    others = np.ones((len(image), side, side), bool)
    others[:, reach, reach] = False
    known, values = [], []
    for y in range(image.shape[1]):
        for x in range(image.shape[2]):
            known.append([*wide[:, y : y + side, x : x + side][others], 1])
            values.append(image[:, y, x])
    return np.array(known, np.float64), np.array(values, np.float64)


@pytest.mark.parametrize(("shape", "side"), [((1, 8, 8), 5), ((3, 9, 7), 5), ((2, 4, 6), 3), ((1, 3, 12), 3)])
def test_it_is_least_squares_over_the_pixels_around(shape, side) -> None:
    draw = np.random.default_rng(0)
    smooth = draw.random((40, *shape)).cumsum(-1) / shape[-1]
    images = torch.from_numpy(smooth.astype(np.float32))
    found = Surroundings.fit(None, images, torch.zeros(40))
    assert found.weights.shape == (shape[0], shape[0], side, side)
    assert (found.weights[:, :, side // 2, side // 2] == 0).all()
    cut = [rows_of(image.numpy(), side) for image in images]
    known, values = (np.concatenate(parts) for parts in zip(*cut, strict=True))
    solved = np.linalg.lstsq(known, values, rcond=None)[0]
    new = draw.random((5, *shape), np.float32)
    measured = found.measure(torch.from_numpy(new))
    for image, value in zip(new, measured, strict=True):
        rows, actual = rows_of(image, side)
        wanted = np.log(np.square(actual - rows @ solved) + ROUNDING).mean()
        assert value == pytest.approx(wanted, abs=0.02)


def test_what_is_predicted_exactly_is_as_near_as_rounding_allows_and_noise_is_not() -> None:
    steps = torch.linspace(0, 1, 16)
    slopes = [(down, right) for down in (0, 0.5, 1) for right in (0, 0.5, 1)]
    planes = torch.stack([(down * steps[:, None] + right * steps)[None] / 2 for down, right in slopes])
    found = Surroundings.fit(None, planes, torch.zeros(9))
    inside = found.measure(planes)
    assert (inside < np.log(ROUNDING) + 1).all()
    noisy = (planes + 0.05 * torch.randn(planes.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    assert (found.measure(noisy) > inside.max() + 2).all()


def test_a_measurement_depends_on_its_image_alone() -> None:
    images = torch.rand(6, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    found = Surroundings.fit(None, images, torch.zeros(6))
    whole = found.measure(images)
    np.testing.assert_array_equal(whole, np.concatenate([found.measure(each[None]) for each in images]))
