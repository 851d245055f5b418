"""What the compiled walk knows of a plan: layouts, places of masks in the arena, operators. Made once per plan."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from effpath.backends.layout import Layout, layouts_of, one_to_one
from effpath.backends.operators import Operator
from effpath.backends.tables import operator_for
from effpath.kernels.arguments import Array
from effpath.rules.kinds import Gate, Route
from effpath.rules.plan import Plan


@dataclass(eq=False)
class Prepared:
    """Layouts, places in the arena and its width; operators and tables of routes as they are used."""

    plan: Plan
    layouts: dict[str, Layout]
    places: dict[str, int]
    width: int
    operators: dict[str, Operator] = field(default_factory=dict)
    targets: dict[tuple[str, int], Array] = field(default_factory=dict)

    def operator(self, name: str) -> Operator:
        """Return an operator, prepared at its first use."""
        if name not in self.operators:
            self.operators[name] = operator_for(name, self.plan, self.layouts, self.places)
        return self.operators[name]

    def same_place(self, name: str, route: Route) -> bool:
        """Whether a route's source has the mask of its result."""
        return len(route.sources) == 1 and self.places[route.sources[0]] == self.places[name]

    def targets_of(self, name: str, number: int, route: Route) -> Array:
        """Return the column of the arena that each stored output of a route stands for, int64, -1 for none."""
        if (name, number) not in self.targets:
            graph = self.plan.graph
            columns = torch.cat([self.layouts[s].table + self.places[s] for s in route.sources])
            ids = torch.arange(graph.size(name)) if route.ids is None else route.ids
            columns = torch.where(ids >= 0, columns[ids.clamp(min=0)], -1)
            stored = torch.empty_like(columns)
            stored[self.layouts[name].table] = columns
            self.targets[name, number] = stored.numpy()
        return self.targets[name, number]


def prepare(plan: Plan) -> Prepared:
    """Lay out the arena of a plan: tensors that are one another element by element share a place."""
    if "compiled" not in plan.prepared:
        layouts = layouts_of(plan)
        places: dict[str, int] = {}
        width = 0
        for name in reversed([plan.graph.input, *plan.kinds]):
            if name not in places:
                places[name] = width
                width += -(-layouts[name].size // 64) * 64
            kind = plan.kinds.get(name)
            if kind is None or kind.selects or _needs_own_mask(kind, plan):
                continue
            for source in one_to_one(kind, name, plan):
                if source not in places and layouts[source] == layouts[name]:
                    places[source] = places[name]
        plan.prepared["compiled"] = Prepared(plan, layouts, places, width)
    prepared: Prepared = plan.prepared["compiled"]
    return prepared


def _needs_own_mask(kind: Route | Gate, plan: Plan) -> bool:
    """Whether a mask also says which gates are used, so that other readers of the data may not add to it."""
    gates = [source for gate in kind.gates for source in gate.sources]
    return any(source in plan.kinds or source == plan.graph.input for source in gates)
