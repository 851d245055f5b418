"""Recompute neurons of any network without effpath's geometry and selection.

Contributions are found by the derivative of the operator itself (a linear layer's by its formula), in double
precision, and chosen by a plain sorted loop; only the recorded activations are shared.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from effpath.rules.kinds import Choice, Kind, Weighted
from effpath.walk.recording import Recorded
from effpath.walk.visit import walk

SUMS = ("avg_pool", "mean", "sum", "col2im")  # operators whose summands count with weight 1


def value_of(recorded: Recorded, name: str, given: dict[str, Tensor]) -> Any:
    """Value in double precision: as given (also behind a padding), as recorded, or computed."""
    graph = recorded.plan.graph
    if name in given:
        return given[name]
    node = graph.by_name.get(name)
    if node is not None and node.op in ("pad", "constant_pad_nd") and node["self"].name in given:
        return node.call(partial(value_of, recorded, given=given))
    if name in recorded.values:
        return recorded.values[name].reshape(graph.shape(name)).double()
    if name in graph.constants:
        constant = graph.constants[name]
        return constant.double() if constant.is_floating_point() else constant
    if name == graph.input:  # for its shape alone
        return torch.zeros(graph.shape(name), dtype=torch.float64)
    return graph.by_name[name].call(partial(value_of, recorded, given=given))


def slopes(recorded: Recorded, name: str, kind: Kind, output: int) -> tuple[np.ndarray, float, dict[int, int]]:
    """Return of one output: its derivative by each source element, its value at zero, and the weight of each.

    Everything but the sources and the weight keeps its recorded value. The last gives for each source element
    that this output multiplies with a scalar of the weight the id of that scalar.
    """
    graph = recorded.plan.graph
    node = graph.by_name[name]
    sizes = [graph.size(source) for source in kind.sources]
    if node.op == "linear":  # by its formula: the derivative of a large one by its weight takes too long
        stored = graph.constants[kind.weight]
        weight = (stored.T if kind.window.transposed else stored).numpy()
        row, feature = divmod(output, len(weight))
        slope, width = np.zeros(sum(sizes)), weight.shape[1]
        slope[row * width : (row + 1) * width] = weight[feature]
        turned = kind.window.transposed
        met = {row * width + i: i * len(weight) + feature if turned else feature * width + i for i in range(width)}
        return slope, 0.0 if kind.bias is None else float(graph.constants[kind.bias][feature]), met

    def compute(x: Tensor, weight: Tensor | None = None) -> Tensor:
        parts = zip(kind.sources, x.split(sizes), strict=True)
        given = {source: part.reshape(graph.shape(source)) for source, part in parts}
        if weight is not None:
            given[kind.weight] = weight
        return node.call(partial(value_of, recorded, given=given)).reshape(-1)[output]

    x = torch.zeros(sum(sizes), dtype=torch.float64)
    if isinstance(kind, Choice):
        x = torch.cat([recorded.values[source][0] for source in kind.sources]).double()
    at_zero = compute(x.requires_grad_())
    (slope,) = torch.autograd.grad(at_zero, x)
    met = {}
    if isinstance(kind, Weighted) and kind.weight is not None:  # each scalar meets one element: give that its id
        weight = graph.constants[kind.weight].double().requires_grad_()
        ids = torch.arange(1, 1 + sum(sizes)).double()
        (by_weight,) = torch.autograd.grad(compute(ids, weight), weight)
        flat = by_weight.reshape(-1)
        met = {int(flat[w]) - 1: w for w in flat.nonzero()[:, 0].tolist()}
    return slope.numpy(), float(at_zero), met


def select_plain(c: np.ndarray, order: np.ndarray, value: float, bias: float, theta: float) -> list[int]:
    """Indices of the contributions that reach θ of the value: the preset ``default``, step by step."""
    if value < 0:
        c, value, bias = -c, -value, -bias
    ranked = sorted(np.flatnonzero(c > 0).tolist(), key=lambda k: (-c[k], order[k]))
    target = theta * value
    summands = [(float(c[k]), k) for k in ranked]
    if target <= 0:
        target = theta * sum(size for size, _ in summands)
    elif bias > 0 and ranked:
        summands.insert(sum(1 for size, _ in summands if size >= bias), (bias, -1))
    chosen, total = [], 0.0
    for size, k in summands:
        if total >= target - 1e-12 * abs(target):
            break
        total += size
        chosen.append(k)
    return [k for k in chosen if k >= 0]


def places(recorded: Recorded, name: str, kind: Kind) -> np.ndarray:
    """Place of every source element in canonical order: of images pixel by pixel, then by channel."""
    graph = recorded.plan.graph
    op, shape = graph.by_name[name].op, graph.shape(kind.sources[0])
    ids = np.arange(sum(graph.size(source) for source in kind.sources))
    if not op.startswith("conv"):
        return ids
    by_pixel = ids.reshape(shape[1], -1).T
    if op.startswith("conv_transpose"):
        by_pixel = by_pixel[::-1]
    order = np.empty_like(ids)
    order[by_pixel.reshape(-1)] = ids
    return order


def expected(
    recorded: Recorded, name: str, kind: Kind, output: int, order: np.ndarray
) -> tuple[set[int], set[int]]:
    """Return inputs and weights that one output must have."""
    slope, at_zero, met = slopes(recorded, name, kind, output)
    used = np.flatnonzero(slope)
    if isinstance(kind, Choice):
        return {int(min(used, key=order.__getitem__))}, set()
    x = np.concatenate([recorded.values[source][0].numpy() for source in kind.sources])[used]
    op = recorded.plan.graph.by_name[name].op.removeprefix("adaptive_")
    c = x if op.startswith(SUMS) else x * slope[used].astype(x.dtype)
    value = float(c.astype(np.float64).sum()) if op.startswith(SUMS) else float(recorded.values[name][0, output])
    bias = 0.0 if kind.bias is None else float(np.float32(at_zero))
    inputs = used[select_plain(c, order[used], value, bias, recorded.header.options.theta)]
    return set(inputs.tolist()), {met[i] for i in inputs.tolist() if met}


def alone(recorded: Recorded, name: str, active: Tensor) -> Tensor:
    """Slots that are chosen for some outputs of one operator, [1, outputs]."""
    plan = recorded.plan
    only = replace(plan, graph=replace(plan.graph, logits=name), kinds={name: plan.kinds[name]})
    only.prepared.update(plan.prepared)  # the places of what it reads
    header = replace(recorded.header, layers=tuple(la for la in recorded.header.layers if la.name == name))
    moved = replace(recorded, plan=only, header=header, visited=frozenset([name]))
    return torch.from_numpy(walk(moved, active).synapses[name][0])


def verify(recorded: Recorded, path: Any, neurons: int, seed: int) -> tuple[int, int, list[str]]:
    """Recompute some neurons of every weighted operator and choice: of the path first, then any.

    Returns how many were, how many of them are on the path, and what differed.
    """
    generator = np.random.default_rng(seed)
    checked, on_path, wrong = 0, 0, []
    plain = recorded.plainly()
    for layer in recorded.header.layers:
        kind, window = recorded.plan.kinds[layer.name], layer.window
        members = np.array(sorted(path.neurons[layer.name]), dtype=np.int64)
        members = generator.permutation(members)[:neurons].tolist()
        others = generator.integers(0, window.outputs, max(0, neurons - len(members))).tolist()
        active = torch.zeros(1, window.outputs, dtype=torch.bool)
        active[0, members + others] = True
        slots = alone(recorded, layer.name, active)
        whole = torch.tensor(sorted(path.synapses[layer.name]), dtype=torch.int64)
        order = places(recorded, layer.name, kind)
        for output in active[0].nonzero()[:, 0].tolist():
            selected = slots[slots // window.candidates == output]
            if output in members and not torch.equal(selected, whole[whole // window.candidates == output]):
                wrong.append(f"{layer.name}, output {output}: alone it has other synapses than on the path")
            inputs = set(window.ends(selected)[1].tolist())
            weights = set(window.weights_of(selected).tolist()) if layer.parameter else set()
            if (inputs, weights) != expected(plain, layer.name, kind, output, order):
                wrong.append(f"{layer.name}, output {output}: other inputs or weights than the plain check")
            checked, on_path = checked + 1, on_path + (output in members)
    return checked, on_path, wrong
