"""The study of both branches of residual sums: paths that follow both hold those that θ keeps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import effpath
from detection.cases import Case, Planned
from figures import FIGURES, branches


class Residual(nn.Module):
    """A block whose sum has operands of its shape, a sum with a bias that is broadcast, and one of a scalar."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.one, self.two = (nn.Conv2d(c, 4, 3, padding=1) for c in (1, 4, 4))
        self.narrow, self.head = nn.Conv2d(4, 1, 1), nn.Linear(4 * 8 * 8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.two(torch.relu(self.one(x))) + x)
        x = (x + self.narrow(x)) + 1.0
        return self.head(x.flatten(1))


@pytest.fixture(scope="module")
def graph() -> effpath.Graph:
    return effpath.capture(Residual().eval(), torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("backend", ["compiled", "reference"])
def test_both_branches_hold_what_theta_keeps_and_more(graph, backend) -> None:
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    kept = effpath.extract(graph, images, backend=backend)
    both = effpath.extract(branches.both_branches(graph), images, backend=backend)
    for one, other in zip(kept, both, strict=True):
        assert one <= other
        assert one != other
    assert list(both) == list(effpath.extract(branches.both_branches(graph), images))
    assert list(kept) == list(effpath.extract(graph, images))  # whose own plan stays as it is


def test_an_active_sum_leads_to_both_operands_of_its_shape_and_selects_elsewhere(graph) -> None:
    plans = [branches.plan_for(each) for each in (graph, branches.both_branches(graph))]
    changed = [name for name in plans[0].kinds if type(plans[0].kinds[name]) is not type(plans[1].kinds[name])]
    assert [graph.by_name[name].op for name in changed] == ["add"]
    (kind,) = (plans[1].kinds[name] for name in changed)
    assert kind.reaches(follow_gates=False) == graph.by_name[changed[0]].refs
    assert [layer.name for layer in plans[1].layers] == [layer.name for layer in plans[0].layers]


def test_where_nothing_is_added_both_paths_are_one(cache) -> None:
    case = Case(
        "digits", None, {"FGSM": Planned("FGSM", {"epsilons": 20}), "BIM": Planned("BIM", {"epsilons": 5})},
        sources=60, clean=60, per_class=20, batch=64,
    )  # fmt: skip
    table = branches.measure(case, gathered=["FGSM"], images=40)
    assert set(table["attacks"]) == {"FGSM"}
    assert table["attacks"]["FGSM"]["tried"] == 40
    assert table["paths"][branches.KEPT] == table["paths"][branches.BOTH]
    assert table["paths"][branches.KEPT]["layers_with_synapses"] == 5
    assert table["auc"][branches.KEPT] == table["auc"][branches.BOTH]
    assert set(table["added"]) == {*branches.KINDS, *branches.SIGNS}
    assert all(added == [0, 0, 0] for row in table["added"].values() for added in row.values())
    panels = FIGURES["branches"].panels({"digits": table})
    assert [panel.title for panel in panels] == list(table["added"])
