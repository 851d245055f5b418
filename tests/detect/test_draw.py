import pytest
import torch

from digits_net import data, model
from effpath.data import Part
from effpath.detect.fitting import FitOptions
from effpath.detect.fitting.sources import draw
from effpath.errors import InputError
from effpath.models.predict import predict

CLASSES = torch.arange(10)


def some_wrong():
    """Test images of which every third has a label that is not what the network says."""
    images = data().test_images
    said = predict(model(), images, 256)
    right = torch.arange(len(images)) % 3 != 0
    return Part(images, torch.where(right, said, (said + 1) % 10)), right


def test_the_half_to_calibrate_on_has_as_many_mistakes_as_the_images_and_the_half_to_fit_on_none():
    part, right = some_wrong()
    found = draw(model(), part, FitOptions(images=600), CLASSES)
    fit, calibrate, wrong = (found[name] for name in ("fit", "calibrate", "wrong"))
    assert len(calibrate) == len(fit) + len(wrong) == 300
    assert len(torch.cat([fit, calibrate, wrong]).unique()) == 600
    assert right[fit].all()
    assert not right[wrong].any()
    assert 0.25 < float((~right[calibrate]).double().mean()) < 0.42  # a third of all
    assert all((rows.diff() > 0).all() for rows in found.values())


def test_what_the_network_says_does_not_move_an_image_from_one_half_to_the_other():
    part, _ = some_wrong()
    options = FitOptions(images=200, seed=4)
    theirs, ours = (draw(model(), one, options, CLASSES) for one in (part, data().part("test")))
    assert theirs["calibrate"].tolist() == ours["calibrate"].tolist()
    assert (
        theirs["calibrate"].tolist() != draw(model(), part, FitOptions(images=200), CLASSES)["calibrate"].tolist()
    )


def test_too_few_images_on_either_side_are_refused_with_what_to_do():
    part, _ = some_wrong()
    none = Part(part.images, (predict(model(), part.images, 256) + 1) % 10)
    with pytest.raises(InputError, match=r"at least 2 images to fit on.* gets 0 right.*\(--images\)"):
        draw(model(), none, FitOptions(images=100), CLASSES)
    with pytest.raises(InputError, match=r"at least 19 clean images.*; 60 images were drawn"):
        draw(model(), part, FitOptions(images=60), CLASSES[:2])  # the others would have no score
