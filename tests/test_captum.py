"""Effective paths as attributions: called and shaped as those of Captum."""

import numpy as np
import pytest
import torch
from torch import nn

import effpath
from digits_net import data, graph, model
from effpath.captum import EffectivePath
from effpath.errors import InputError, OptionError


def images():
    return data().test_images[:4]


@pytest.mark.parametrize("target", [3, [1, 2, 3, 4], torch.tensor([1, 2, 3, 4]), torch.tensor(3), None])
def test_an_attribution_is_above_0_exactly_on_the_pixel_path(target):
    found = EffectivePath(model()).attribute(images(), target)
    assert (found.shape, found.dtype, found.device) == (images().shape, images().dtype, images().device)
    classes = None if target is None else torch.as_tensor(target).expand(4)
    paths = effpath.extract(graph(), images(), classes=classes)
    for row in range(4):
        assert np.array_equal(np.flatnonzero(found[row].numpy()), paths.pixels[row])
        assert found[row].flatten().tolist() == np.bincount(paths[row].pairs("conv1")[1], minlength=64).tolist()


def test_options_are_those_of_the_extraction():
    few = EffectivePath(model(), theta=0.1).attribute(images())
    paths = effpath.extract(graph(), images(), theta=0.1)
    assert [int((one > 0).sum()) for one in few] == paths.pixels.lengths.tolist()
    assert (few > 0).sum() < (EffectivePath(model(), preset="paper").attribute(images()) > 0).sum()


def test_a_tuple_gives_a_tuple_as_in_captum():
    method = EffectivePath(model())
    (found,) = method.attribute((images(),), 3)
    assert torch.equal(found, method.attribute(images(), target=3))
    assert method.has_convergence_delta() is False


def test_gradients_and_double_precision_are_taken_and_kept_out():
    wanted = images().double().requires_grad_()
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3).double()).eval()
    found = EffectivePath(net).attribute(wanted)
    assert found.dtype == torch.float64
    assert not found.requires_grad
    assert wanted.grad is None


def test_a_network_is_captured_once_for_each_shape(monkeypatch):
    captured = []
    monkeypatch.setattr("effpath.captum.capture", lambda *given: captured.append(given) or graph())
    method = EffectivePath(model())
    method.attribute(images())
    method.attribute(images()[:1])
    assert len(captured) == 1


def test_what_captum_could_pass_and_paths_cannot_use_is_refused():
    with pytest.raises(InputError, match=r"expected a torch.nn.Module"):
        EffectivePath(lambda x: x)
    method = EffectivePath(model())
    with pytest.raises(OptionError, match="images alone"):
        method.attribute(images(), 1, additional_forward_args=(2,))
    with pytest.raises(OptionError, match="a tuple of 2"):
        method.attribute((images(), images()), 1)
    with pytest.raises(OptionError, match="0 … 9"):
        method.attribute(images(), 10)
    with pytest.raises(InputError, match="as a tensor"):
        method.attribute(images().numpy(), 1)
