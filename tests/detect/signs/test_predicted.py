"""Predicted pixels: the closed form beside least squares on rows that are cut out one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from effpath.detect.signs.predicted import PER_UNIT, PLACES, RIDGE, ROUNDING, Predicting, Prediction

KINDS = [(5, 0), (3, 8)]  # side and units


def fitted(images: Tensor, side: int, units: int) -> Prediction:
    predicting = Predicting(side, units)
    for image in torch.split(images, 1):
        predicting.add(image, 0)
    return predicting.prediction()


def rows_of(image: np.ndarray, found: Prediction) -> tuple[np.ndarray, np.ndarray]:
    """What each pixel is predicted from, and its values, of an image [C, H, W] with its mirror around it."""
    side = found.linear.shape[2]
    reach = side // 2
    wide = np.pad(image, [(0, 0), (reach, reach), (reach, reach)], mode="reflect")
    others = np.ones((len(image), side, side), bool)
    others[:, reach, reach] = False
    kernels, offsets = found.kernels.double().numpy()[:, others], found.offsets.double().numpy()
    known, values = [], []
    for y in range(image.shape[1]):
        for x in range(image.shape[2]):
            around = wide[:, y : y + side, x : x + side][others].astype(np.float64)
            known.append([*around, *np.maximum(kernels @ around + offsets, 0), 1])
            values.append(image[:, y, x])
    return np.array(known), np.array(values, np.float64)


@pytest.mark.parametrize(("side", "units"), KINDS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7), (2, 4, 12)])
def test_it_is_least_squares_over_the_pixels_around(shape, side, units) -> None:
    draw = np.random.default_rng(0)
    smooth = draw.random((60, *shape)).cumsum(-1) / shape[-1]
    images = torch.from_numpy(smooth.astype(np.float32))
    found = fitted(images, side, units)
    assert found.kernels.shape == (units, shape[0], side, side)
    for kernels in (found.linear, found.kernels):
        assert (kernels[:, :, side // 2, side // 2] == 0).all()
    known, values = (
        np.concatenate(part) for part in zip(*(rows_of(i.numpy(), found) for i in images), strict=True)
    )
    ridge = np.sqrt(RIDGE * np.square(known).sum(0).mean()) * np.eye(known.shape[1])
    none = np.zeros((len(ridge), shape[0]))
    solved = np.linalg.lstsq(np.concatenate([known, ridge]), np.concatenate([values, none]), rcond=None)[0]
    new = draw.random((5, *shape), np.float32)
    for image, value in zip(new, found.logs(torch.from_numpy(new)).numpy(), strict=True):
        rows, actual = rows_of(image, found)
        wanted = np.log(np.square(actual - rows @ solved) + ROUNDING).mean()
        assert value == pytest.approx(wanted, abs=2e-3)


@pytest.mark.parametrize(("side", "units"), KINDS)
def test_what_is_predicted_exactly_is_as_near_as_rounding_allows_and_noise_is_not(side, units) -> None:
    steps = torch.linspace(0, 1, 16)
    slopes = [(down, right) for down in (0, 0.5, 1) for right in (0, 0.5, 1)]
    planes = torch.stack([(down * steps[:, None] + right * steps)[None] / 2 for down, right in slopes])
    found = fitted(planes, side, units)
    inside = found.logs(planes)
    assert (inside < np.log(ROUNDING) + 1).all()
    noisy = (planes + 0.05 * torch.randn(planes.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    assert (found.logs(noisy) > inside.max() + 2).all()


@pytest.mark.parametrize(("side", "units"), KINDS)
@pytest.mark.parametrize("shape", [(3, 12, 12), (1, 28, 28), (3, 130, 70)])
def test_a_measurement_depends_on_its_image_alone(shape, side, units) -> None:
    images = torch.rand(6, *shape, generator=torch.Generator().manual_seed(1))
    found = fitted(images, side, units)
    alone = torch.cat([found.logs(each[None]) for each in images])
    torch.testing.assert_close(found.logs(images), alone, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("side", "units"), KINDS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 9), (1, 2, 2), (2, 3, 3)])
def test_images_without_a_mirror_image_have_zeros_around(shape, side, units) -> None:
    images = torch.rand(50, *shape, generator=torch.Generator().manual_seed(2))
    assert fitted(images, side, units).logs(images).isfinite().all()


def test_of_large_images_some_pixels_are_predicted_evenly_spaced() -> None:
    """What lies between them, out of reach, is not looked at."""
    images = torch.rand(2, 1, 640, 640, generator=torch.Generator().manual_seed(3))
    found = fitted(images, 3, 0)
    changed = images.clone()
    changed[:, :, 5::20, 5::20] = 0  # those are 20 apart
    assert torch.equal(found.logs(changed), found.logs(images))
    changed[:, :, 20, 20] = 0
    assert (found.logs(changed) != found.logs(images)).all()


def test_few_pixels_have_few_units_and_a_class_gives_so_many_pixels() -> None:
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    assert len(fitted(images, 3, 256).offsets) == 4 * 64 // PER_UNIT
    predicting = Predicting(3, 256)
    many = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(5))
    for _ in range(20):
        predicting.add(many, 7)
    assert predicting.places == {7: PLACES}
    predicting.add(many, 8)
    assert predicting.places == {7: PLACES, 8: 32**2}
    assert len(predicting.prediction().offsets) == 256


def test_it_is_what_its_arrays_say_and_others_do_not_fit() -> None:
    images = torch.rand(9, 3, 8, 8, generator=torch.Generator().manual_seed(6))
    found = fitted(images, 3, 8)
    assert torch.equal(Prediction.read(found.arrays).logs(images), found.logs(images))
    for name, array in found.arrays.items():
        with pytest.raises(ValueError, match="expected a prediction's"):
            Prediction.read({**found.arrays, name: array[:-1]})
        with pytest.raises(KeyError):
            Prediction.read({key: array for key, array in found.arrays.items() if key != name})


def test_its_slope_is_that_of_its_value() -> None:
    images = torch.rand(9, 1, 6, 6, generator=torch.Generator().manual_seed(7))
    found = fitted(images, 3, 8)
    pixel = images[:1].clone().requires_grad_()
    (slope,) = torch.autograd.grad(found.logs(pixel).sum(), pixel)
    step = torch.zeros_like(pixel)
    step[0, 0, 2, 3] = 1e-2
    with torch.no_grad():
        measured = (found.logs(images[:1] + step) - found.logs(images[:1] - step)) / 2e-2
    assert float(slope[0, 0, 2, 3]) == pytest.approx(float(measured), rel=0.05)
