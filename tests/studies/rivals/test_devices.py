"""Rivals where the network is on another device than images and results; the device is pretended."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

import digits_net
from quick_rivals import QUICK

ELSEWHERE = torch.device("cuda", 0)


class Away(Tensor):
    """A tensor that is said to be on a graphics processor."""


class Pretended(TorchFunctionMode):
    """A graphics processor: NumPy cannot read its tensors, and they are not computed with those of the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.moved: list[nn.Parameter] = []

    def away(self, tensor: Tensor) -> bool:
        return isinstance(tensor, Away) or any(tensor is each for each in self.moved)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        there = any(map(self.away, tensors))
        if func == Tensor.device.__get__:
            return ELSEWHERE if there else func(*args, **kwargs)
        if there and name in ("numpy", "__array__", "tolist"):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")
        if name == "cpu":
            return args[0].as_subclass(Tensor)
        if name == "to":
            return self.to(*args, **kwargs)
        if name not in ("__getitem__", "__setitem__", "__set__") and not name.startswith("_foreach"):
            mixed = [each for each in tensors if not self.away(each) and each.dim()]
            if there and mixed:  # but for indices, and what an optimizer keeps
                raise RuntimeError(f"expected all tensors to be on the same device, in {name}")
        device = kwargs.pop("device", None)
        if device is not None and torch.device(device).type == "cuda":
            return func(*args, **kwargs).as_subclass(Away)
        return func(*args, **({} if device is None else {"device": device}), **kwargs)

    def to(self, tensor: Tensor, *how, device=None, **kwargs):
        target = device
        for each in how:
            target = each if isinstance(each, str | torch.device) else target
            target = (
                (ELSEWHERE if self.away(each) else torch.device("cpu")) if isinstance(each, Tensor) else target
            )
        rest = [each.dtype if isinstance(each, Tensor) else each for each in how]
        rest = [each for each in rest if not isinstance(each, str | torch.device) and each is not None]
        found = tensor.as_subclass(Tensor).to(*rest, **kwargs) if rest and rest[0] is not False else tensor
        if target is None:
            return found.as_subclass(type(tensor)) if isinstance(tensor, Away) else found
        there = torch.device(target).type == "cuda"
        if there and isinstance(tensor, nn.Parameter):
            self.moved.append(tensor)
        return found.as_subclass(Away if there else Tensor)


def test_the_pretended_device_is_as_strict_as_a_real_one() -> None:
    with Pretended():
        there = torch.ones(3).to(ELSEWHERE)
        assert there.device == ELSEWHERE
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        with pytest.raises(TypeError, match="numpy"):
            np.asarray(there + 1)
        with pytest.raises(RuntimeError, match="same device"):
            torch.add(there, torch.ones(3))
        assert (there + 1).cpu().numpy().tolist() == [2, 2, 2]
        with pytest.raises(RuntimeError, match="same device"):
            nn.Linear(3, 2)(there)
        assert nn.Linear(3, 2).to(ELSEWHERE)(there).device == ELSEWHERE


@pytest.mark.parametrize("name", QUICK)
def test_a_rival_measures_the_same_wherever_the_network_is(name) -> None:
    data = digits_net.data()
    images = torch.cat([data.test_images[:10], digits_net.noisy(data.test_images[:10])])
    known = data.train_images[:120], data.train_labels[:120]
    here = QUICK[name].fit(digits_net.graph(), *known, seed=3).measure(images)
    with Pretended():
        graph = digits_net.graph().to(ELSEWHERE)
        assert graph.device == ELSEWHERE
        there = QUICK[name].fit(graph, *known, seed=3).measure(images)
    if name == "PID":  # long training strengthens what is rounded otherwise
        assert np.corrcoef(there, here)[0, 1] > 0.95
    else:
        np.testing.assert_allclose(there, here, rtol=1e-5, atol=1e-6)
