"""One way to ask a model, whatever the batch and wherever the images are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from effpath.errors import InputError, NumericalError
from effpath.images.lazy import LazyImages
from effpath.models.predict import correct_rows, count_classes, device_of, logits_of, predict

IMAGES = torch.rand(9, 1, 2, 2, generator=torch.Generator().manual_seed(0))


def network(classes: int = 3) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(4, classes)).eval()


@pytest.mark.parametrize("batch_size", [None, 1, 4, 9, 20])
def test_predictions_do_not_depend_on_the_batch_and_no_batch_is_larger(batch_size):
    read = []

    def rows(wanted):
        read.append(len(wanted))
        return IMAGES[wanted]

    expected = network()(IMAGES).argmax(1)
    for images in (IMAGES, LazyImages(9, rows)):
        assert torch.equal(predict(network(), images, batch_size), expected)
    assert max(read) <= (batch_size or 9)
    assert sum(read) == 9
    assert torch.equal(correct_rows(network(), IMAGES, expected, batch_size), torch.arange(9))
    assert correct_rows(network(), IMAGES, 1 - expected, batch_size).tolist() == []
    assert predict(network(), IMAGES[:0], batch_size).tolist() == []


def test_classes_are_counted_with_the_first_image_alone():
    assert count_classes(network(7), LazyImages(9, lambda rows: IMAGES[rows[rows == 0]])) == 7
    assert device_of(nn.Flatten()) == torch.device("cpu")


def test_what_is_no_row_of_finite_logits_for_each_image_is_refused():
    assert not logits_of(network(), IMAGES).requires_grad
    with pytest.raises(InputError, match=r"for 9 images it gave \[9, 1, 2, 2\]"):
        predict(nn.Identity(), IMAGES)
    with pytest.raises(InputError, match=r"for 9 images it gave \[1, 36\]"):
        predict(nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (1, 36))), IMAGES)
    broken = network()
    broken[1].weight.data[0] = torch.nan
    with pytest.raises(NumericalError, match="for 9 of 9 images"):
        predict(broken, IMAGES)
