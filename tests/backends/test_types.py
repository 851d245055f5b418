"""Networks that compute in other types than float32, throughout or in one layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import effpath
from effpath.errors import InputError, OptionError, UnknownOperatorError
from effpath.kernels.options import make_options
from effpath.walk.recording import record
from effpath.walk.visit import paths_of
from two_backends import equal_paths

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class Typed(nn.Module):
    """Convolution, max pooling, a skip, a mean and two linear layers, each in a type of its own."""

    def __init__(self, *dtypes: torch.dtype) -> None:
        super().__init__()
        self.dtypes = dtypes
        self.conv = nn.Conv2d(2, 4, 3, padding=1).to(dtypes[0])
        self.fc1 = nn.Linear(4, 5).to(dtypes[2])
        self.fc2 = nn.Linear(5, 3).to(dtypes[3])

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x.to(self.dtypes[0])).relu()
        x = F.max_pool2d(x.to(self.dtypes[1]), 2)
        x = (x + x.flip(-1)).mean((2, 3))
        return self.fc2(self.fc1(x.to(self.dtypes[2])).relu().to(self.dtypes[3]))


class Autocast(Typed):
    """The same under autocast, which casts layer by layer."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(x)


class Integers(nn.Module):
    """Largest, summed and chosen pixels as integers, between two layers of floats."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.fc1, self.fc2 = nn.Linear(32, 16), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = (self.fc1(x.flatten(1)).abs() * 4).to(self.dtype)
        x = torch.maximum(x[:, :8], x[:, 8:])
        return self.fc2((x + x.flip(1)).float())


def one_in(dtype: torch.dtype, place: int) -> tuple[torch.dtype, ...]:
    return tuple(dtype if i == place else torch.float32 for i in range(4))


NETWORKS = {
    **{f"{dtype} throughout": (lambda dtype=dtype: Typed(*[dtype] * 4), dtype) for dtype in FLOATS},
    **{
        f"{dtype} in {part}": (lambda dtype=dtype, place=place: Typed(*one_in(dtype, place)), torch.float32)
        for dtype in FLOATS[1:]
        for place, part in enumerate(("conv", "pool", "fc1", "fc2"))
    },
    "all mixed": (lambda: Typed(*reversed(FLOATS)), torch.float32),
    "autocast": (lambda: Autocast(*[torch.float32] * 4), torch.float32),
    **{
        f"{dtype} inside": (lambda dtype=dtype: Integers(dtype), torch.float32)
        for dtype in (torch.uint8, torch.int8, torch.int32, torch.int64, torch.bool)
    },
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_any_types_has_the_paths_of_the_reference(name: str) -> None:
    make, dtype = NETWORKS[name]
    torch.manual_seed(5)
    model = make().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2  # or hardly anything is active
    graph = effpath.capture(model, torch.zeros(1, 2, 4, 4, dtype=dtype))
    images = torch.rand(6, 2, 4, 4).to(dtype)
    for preset in ("paper", "authors", "default"):
        options = make_options(preset)
        recorded = record(graph, images, options=options)
        reference = record(graph, images, options=options, backend="reference")
        assert all(torch.equal(recorded.plainly().values[key], own) for key, own in reference.values.items())
        mine, theirs = paths_of(recorded), paths_of(reference)
        for row in range(len(images)):
            assert mine[row].synapses == theirs[row].synapses
            assert mine[row].neurons == theirs[row].neurons
        assert sum(len(own) for path in mine for own in path.synapses.values()) > 50
    assert recorded.compiled == (name == f"{torch.float32} throughout")
    if recorded.compiled:
        assert equal_paths(recorded) > 0
    else:
        with pytest.raises(
            OptionError, match=r"networks that compute in float32 throughout, but '.*' is torch\..*'auto'"
        ):
            record(graph, images, options=options, backend="compiled")


def test_a_layer_of_doubles_in_a_network_of_floats_chooses_by_its_own_numbers() -> None:
    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2, bias=False).double()
            self.fc.weight.data = torch.tensor([[1.0, 2, 3, 4], [4, 3, 2, 1]], dtype=torch.float64)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x.double())

    graph = effpath.capture(Inside().eval(), torch.zeros(1, 4))
    path = effpath.extract(graph, torch.ones(1, 4), classes=[0], preset="paper")[0]
    assert path.pairs("fc")[1].tolist() == [2, 3]


@pytest.mark.parametrize("dtype", FLOATS)
def test_products_of_short_floats_are_ranked_before_they_are_rounded(dtype: torch.dtype) -> None:
    model = nn.Linear(3, 1, bias=False).to(dtype).eval()
    step = 1 + torch.finfo(dtype).eps  # step · step rounds, in this type, to what 1 + 2 eps is
    model.weight.data = torch.tensor([[1 + 2 * torch.finfo(dtype).eps, step, 0]], dtype=dtype)
    graph = effpath.capture(model, torch.zeros(1, 3, dtype=dtype))
    images = torch.tensor([[1, step, 0]], dtype=dtype)
    chosen = effpath.extract(graph, images, preset="paper", theta=0.4)[0].pairs("linear")[1].tolist()
    assert chosen == ([1] if dtype in (torch.bfloat16, torch.float16) else [0])  # in the two long ones they tie


def test_integers_are_compared_and_multiplied_without_overflow_or_rounding() -> None:
    class Sums(nn.Module):
        def __init__(self, dtype: torch.dtype) -> None:
            super().__init__()
            self.dtype = dtype

        def forward(self, x: Tensor) -> Tensor:
            x = x.to(self.dtype)
            return torch.maximum(x[:, :2], x[:, 2:])

    graph = effpath.capture(Sums(torch.int64).eval(), torch.zeros(1, 4, dtype=torch.float64))
    images = torch.tensor([[2.0**24, 2.0**24 + 1, 2.0**24 + 1, 2.0**24]], dtype=torch.float64)
    for start, pixel in ((0, 2), (1, 1)):  # float32 takes each pair for a tie
        assert effpath.extract(graph, images, classes=[start]).pixels[0].tolist() == [pixel]


def test_complex_activations_are_refused_by_node_and_type() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.turn = nn.Parameter(torch.ones(4, dtype=torch.complex64))
            self.fc = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc((x.to(torch.complex64) * self.turn).abs())

    graph = effpath.capture(Turned().eval(), torch.zeros(1, 4))
    with pytest.raises(UnknownOperatorError, match=r"complex64.*apart"):
        effpath.extract(graph, torch.ones(1, 4))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.bool, torch.complex64])
def test_a_network_that_takes_other_than_floats_is_refused_at_capture_with_the_remedy(dtype: torch.dtype) -> None:
    class Pixels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x.float() / 255)

    with pytest.raises(InputError, match=rf"{dtype}.*floats in \[0, 1\].*255"):
        effpath.capture(Pixels().eval(), torch.zeros(1, 4, dtype=dtype))


def test_a_network_of_bytes_behind_the_advised_module_has_the_paths_of_its_pixels() -> None:
    class Pixels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2, bias=False)
            self.fc.weight.data = torch.tensor([[1.0, 2, 3, 4], [4, 3, 2, 1]])

        def forward(self, x: Tensor) -> Tensor:
            assert x.dtype == torch.uint8
            return self.fc(x.float() / 255)

    class Advised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = Pixels()

        def forward(self, x: Tensor) -> Tensor:
            return self.network((255 * x + 0.5).to(torch.uint8))

    graph = effpath.capture(Advised().eval(), torch.zeros(1, 4))
    for backend in ("auto", "compiled", "reference"):
        paths = effpath.extract(graph, torch.ones(1, 4), classes=[0], preset="paper", backend=backend)
        assert paths.pixels[0].tolist() == [2, 3]
