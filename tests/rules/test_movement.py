"""Gates and choices by values: what an output goes to, and composite operators that are written out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import effpath
from cases import Call
from effpath.rules import plan_for
from effpath.rules.kinds import Gate, Route


def plan_of_last(
    function: Callable[[Tensor], Tensor], shape: tuple[int, ...] = (6,)
) -> tuple[object, effpath.Graph]:
    graph = effpath.capture(nn.Sequential(nn.Flatten(), Call(function)).eval(), torch.ones(1, *shape))
    return plan_for(graph, gates=True).kinds[graph.logits], graph


def test_a_gated_linear_unit_is_its_first_half_gated_by_the_second() -> None:
    kind, _ = plan_of_last(F.glu)
    assert isinstance(kind, Gate)
    assert kind.data.ids.tolist() == [0, 1, 2]
    assert [gate.ids.tolist() for gate in kind.gates] == [[3, 4, 5]]


def test_a_choice_by_values_goes_to_every_operand_that_depends_on_the_image() -> None:
    kind, _ = plan_of_last(lambda x: torch.where(x > 1, x[:, :1], x * 2))
    assert isinstance(kind, Gate)
    assert kind.equal
    assert kind.data.ids.tolist() == [0] * 6
    kind, _ = plan_of_last(lambda x: torch.where(x > 1, 0.5, x))
    assert (kind.data.ids, kind.gates) == (None, ())


def test_a_filling_by_a_value_of_the_image_leads_to_the_value_too() -> None:
    kind, _ = plan_of_last(lambda x: x.masked_fill(torch.tensor([True] * 2 + [False] * 4), x[0, 5]))
    assert isinstance(kind, Route)
    assert kind.ids.tolist() == [6, 6, 2, 3, 4, 5]  # the filled ones to the value, which lies behind the data
    kind, _ = plan_of_last(lambda x: x.masked_fill(x > 1, x[0, 5]))
    assert isinstance(kind, Gate)
    assert kind.equal
    assert [gate.ids.tolist() for gate in kind.gates] == [[0] * 6]


def test_a_layer_scale_is_a_route() -> None:
    kind, _ = plan_of_last(lambda x: x * torch.arange(6.0))
    assert isinstance(kind, Route)
    assert kind.ids is None


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.normalize(x, dim=1),
        lambda x: F.normalize(x, p=1, dim=1),
        lambda x: x / (x.norm(dim=(1, 2), keepdim=True) + 1),
        lambda x: (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + 1).sqrt(),
        lambda x: x / (x.std((1, 2), keepdim=True, correction=0) + 1),
        lambda x: x * x.var((1, 2), keepdim=True) / x.std(1, unbiased=False, keepdim=True).add(1),
        lambda x: torch.addcmul(x, x.sigmoid(), x[:, :1], value=0.5),
        lambda x: torch.minimum(torch.minimum(x, x.flip(1)), torch.tensor(0.5)),
        lambda x: x + x.amin((1, 2), keepdim=True),
    ],
    ids=[
        "norm 2",
        "norm 1",
        "norm over two",
        "variance",
        "deviation",
        "two deviations",
        "addcmul",
        "minimum",
        "amin",
    ],
)
def test_a_composite_operator_is_written_out_with_the_same_outputs(function: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Unflatten(1, (3, 4)), Call(function), nn.Flatten(), nn.Linear(12, 3)).eval()
    images = torch.randn(2, 12)
    graph = effpath.capture(model, images[:1])
    assert not {node.op for node in graph.nodes} & {
        "linalg_vector_norm",
        "var",
        "std",
        "addcmul",
        "minimum",
        "amin",
    }
    for image in images:
        torch.testing.assert_close(graph(image[None]), model(image[None]).detach())
    plain = effpath.extract(graph, images, preset="paper")
    gated = effpath.extract(graph, images, preset=effpath.Options(gates=True))
    assert all(set(a.tolist()) <= set(b.tolist()) for a, b in zip(plain.pixels, gated.pixels, strict=True))
