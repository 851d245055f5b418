"""Which models of torchvision and timm can be captured, folded and extracted, and are their paths right?

    python studies/conformance.py --output docs/results/conformance.json
    python studies/conformance.py --output DIR/some.json --models torchvision:resnet18 timm:mixer_s32_224

Every model is built with random weights from a seed and given one random image of the smallest size it takes (of
64, 96, 128 and its own). It is *captured*; *folded*, if graph and model give the same logits; *extracted*, whole,
from its first class to the pixels, with the preset ``default``; and *verified*: of every weighted operator and
choice some active neurons are recomputed without effpath's geometry and selection (contributions by the derivative
of the operator itself, a plain sorted loop) and must have the same inputs and weights.

A model that takes more than ``--limit`` seconds of processor time is stopped. Each model's row is a file of its
own beside the output: a run that was stopped goes on where it was; delete rows to have them made again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import re
import resource
import time
import traceback
import warnings
from collections import Counter
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import effpath
from effpath.cache import atomic_write
from effpath.errors import CaptureError
from effpath.extract import Recorded, record, walk
from effpath.kernels.options import make_options
from effpath.rules.kinds import Choice, Kind, Weighted

SIZES = (64, 96, 128)
STAGES = ("built", "captured", "folded", "extracted", "verified")
SUMS = ("avg_pool", "mean", "sum", "col2im")  # operators whose summands count with weight 1
SPLIT = 100  # a timm module of more models is several families, by the first word of their names
Row = dict[str, Any]


# ---------------------------------------------------------------- models


def torchvision_models() -> list[str]:
    from torchvision import models

    return [f"torchvision:{name}" for name in models.list_models(module=models)]


def timm_families() -> dict[str, list[str]]:
    """Models by family: one of timm's modules, or of a large module those whose names start with one word."""
    import timm

    families: dict[str, list[str]] = {}
    for module in timm.list_modules():
        names = [name for name in timm.list_models(module=module) if not name.startswith("test_")]
        for name in names:
            word = re.match(r"[a-z]+", name)
            key = f"{module}/{word[0]}" if len(names) > SPLIT and word else module
            families.setdefault(key, []).append(name)
    return families


def smallest(names: list[str]) -> str:
    """Return the model of fewest parameters, without making any."""
    import timm

    sizes = {}
    for name in names:
        with torch.device("meta"):
            sizes[name] = sum(p.numel() for p in timm.create_model(name).parameters())
    return min(sizes, key=lambda name: (sizes[name], name))


def build(name: str, seed: int) -> tuple[nn.Module, tuple[int, ...]]:
    """Return a model in eval mode, no parameter of it zero or one throughout, and the shape of its own images."""
    library, _, kind = name.partition(":")
    torch.manual_seed(seed)
    if library == "torchvision":
        from torchvision import models

        quick = {"init_weights": False} if kind in ("googlenet", "inception_v3") else {}
        model, size = models.get_model(kind, weights=None, **quick), 299 if kind == "inception_v3" else 224
        shape: tuple[int, ...] = (3, size, size)
    elif library == "timm":
        import timm

        model = timm.create_model(kind)
        shape = tuple(model.default_cfg["input_size"])
    else:
        raise SystemExit(f"wanted torchvision:NAME or timm:NAME, got {name!r}")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() > 1 and parameter.std() < 1e-3:  # biases, norms, layer scales, zeroed heads
                spread = 0.03 if parameter.dim() < 2 else parameter[0].numel() ** -0.5
                parameter.add_(torch.randn_like(parameter) * spread)
        for key, buffer in model.named_buffers():
            if key.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            if key.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return model.eval(), shape


def image_for(model: nn.Module, shape: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor]:
    """Return one image of the smallest size that the model takes, and its logits."""
    generator = torch.Generator().manual_seed(seed)
    for size in (*(s for s in SIZES if s < shape[-1]), shape[-1]):
        image = torch.randn(1, shape[0], size, size, generator=generator)
        try:
            with torch.no_grad():
                return image, model(image)
        except Exception:
            if size == shape[-1]:
                raise
    raise AssertionError


def settle(model: nn.Module, image: Tensor, seed: int) -> Tensor:
    """Give the batch norms statistics of random images, and return the logits of the image again.

    With random statistics a deep network can be so sensitive that float32 and float64 give different logits;
    then graph and model differ by rounding alone, and nothing can be compared.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum, norm.training = None, True
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model(torch.randn(8, *image.shape[1:], generator=generator))
        model.eval()
        return model(image)


# ---------------------------------------------------------------- the plain check


def value_of(recorded: Recorded, name: str, given: dict[str, Tensor]) -> Any:
    """Value in double precision: as given, as recorded, or computed (a padding before the operator)."""
    graph = recorded.plan.graph
    if name in given:
        return given[name]
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
        weight = graph.constants[kind.weight].numpy()
        row, feature = divmod(output, len(weight))
        slope, width = np.zeros(sum(sizes)), weight.shape[1]
        slope[row * width : (row + 1) * width] = weight[feature]
        met = {row * width + i: feature * width + i for i in range(width)}
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


def wanted(recorded: Recorded, name: str, kind: Kind, output: int, order: np.ndarray) -> tuple[set[int], set[int]]:
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


def alone(recorded: Recorded, name: str, active: Tensor) -> Any:
    """What is chosen for some outputs of one operator, [1, outputs]."""
    plan = recorded.plan
    only = replace(plan, graph=replace(plan.graph, logits=name), kinds={name: plan.kinds[name]})
    return walk(replace(recorded, plan=only, visited=frozenset([name])), active)[0][name]


def verify(recorded: Recorded, path: Any, neurons: int, seed: int) -> tuple[int, int, list[str]]:
    """Recompute some neurons of every weighted operator and choice: of the path first, then any.

    Returns how many were, how many of them are on the path, and what differed.
    """
    generator = np.random.default_rng(seed)
    checked, on_path, wrong = 0, 0, []
    for layer in recorded.header.layers:
        kind, window = recorded.plan.kinds[layer.name], layer.window
        mine = np.array(sorted(path.neurons[layer.name]), dtype=np.int64)
        mine = generator.permutation(mine)[:neurons].tolist()
        others = generator.integers(0, window.outputs, max(0, neurons - len(mine))).tolist()
        active = torch.zeros(1, window.outputs, dtype=torch.bool)
        active[0, mine + others] = True
        slots = alone(recorded, layer.name, active).slot
        whole = torch.tensor(sorted(path.synapses[layer.name]), dtype=torch.int64)
        order = places(recorded, layer.name, kind)
        for output in active[0].nonzero()[:, 0].tolist():
            own = slots[slots // window.candidates == output]
            if output in mine and not torch.equal(own, whole[whole // window.candidates == output]):
                wrong.append(f"{layer.name}, output {output}: alone it has other synapses than on the path")
            inputs = set(window.ends(own)[1].tolist())
            weights = set(window.weights_of(own).tolist()) if layer.parameter else set()
            if (inputs, weights) != wanted(recorded, layer.name, kind, output, order):
                wrong.append(f"{layer.name}, output {output}: other inputs or weights than the plain check")
            checked, on_path = checked + 1, on_path + (output in mine)
    return checked, on_path, wrong


# ---------------------------------------------------------------- one model


def examine(name: str, family: str, neurons: int, seed: int, file: Path) -> None:
    """Write the row of one model after every stage, so that one that is stopped says how far it came."""
    warnings.simplefilter("ignore")
    row: Row = {"model": name, "family": family, "stage": "", "cause": "stopped at the time limit", "seconds": {}}
    started = time.process_time()

    def reached(stage: str, **found: Any) -> None:
        nonlocal started
        row.update(found, stage=stage)
        row["seconds"][stage] = round(time.process_time() - started, 1)
        write_json(row, file)
        started = time.process_time()

    try:
        write_json(row, file)
        model, shape = build(name, seed)
        image, logits = image_for(model, shape, seed)
        reached("built", image=list(image.shape[1:]), parameters=sum(p.numel() for p in model.parameters()))
        try:
            graph = effpath.capture(model, image)
        except CaptureError as error:
            if "other outputs" not in str(error):
                raise
            logits = settle(model, image, seed)
            graph, row["settled"] = effpath.capture(model, image), True
        operators = dict(Counter(node.op for node in graph.nodes).most_common())
        reached("captured", operators=operators, batched=graph.batched)
        difference = float((graph.run(image)[graph.nodes[-1].name] - logits).abs().max() / logits.abs().max())
        if not difference <= 1e-3:
            raise AssertionError(f"graph and model differ by {difference:.1e} of the largest logit")
        reached("folded", difference=float(f"{difference:.1e}"))
        path = effpath.extract(graph, image)[0]
        reached("extracted", layers=len(path.header.layers), neuron_density=round(path.density("neurons"), 6))
        recorded = record(graph, image, options=make_options("default"), include_auxiliary=True)
        checked, on_path, wrong = verify(recorded, recorded.paths()[0], neurons, seed)
        row.update(checked=checked, on_path=on_path, wrong=len(wrong))
        if wrong:
            raise AssertionError(f"{len(wrong)} of {checked} neurons differ from the plain check: {wrong[0]}")
        reached("verified", cause="")
    except Exception as error:
        row["cause"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:400]
        row["trace"] = traceback.format_exc(limit=-3)[-1500:]
        write_json(row, file)


def examine_within(limit: float, *args: Any) -> None:
    """Examine one model in this process, which is killed once it has worked for ``limit`` seconds."""
    resource.setrlimit(resource.RLIMIT_CPU, (ceil(limit), ceil(limit)))
    examine(*args)


def write_json(value: Any, file: Path) -> None:
    text = json.dumps(value, indent=1) + "\n"
    atomic_write(file, lambda part: part.write_text(text, encoding="utf-8") and None)


def measure(models: dict[str, str], folder: Path, *, limit: float, neurons: int, seed: int) -> dict[str, Any]:
    """Examine models, a name to a family, each in a process of its own; rows that are there already are kept."""
    fork = multiprocessing.get_context("fork")  # so that libraries are imported once
    rows = []
    for name, family in models.items():
        file = folder / f"{name.replace(':', '_')}.json"
        if not file.exists():
            child = fork.Process(target=examine_within, args=(limit, name, family, neurons, seed, file))
            child.start()
            child.join()
        rows.append({**json.loads(file.read_text(encoding="utf-8")), "family": family})
        print(f"{name}: {rows[-1]['stage']} {rows[-1]['cause']}"[:200], flush=True)
    return {"limit": limit, "neurons": neurons, "seed": seed, "summary": summarise(rows), "rows": rows}


def summarise(rows: list[Row]) -> dict[str, dict[str, int]]:
    """Models of each library that reached each stage."""
    found = {}
    for library in ("torchvision", "timm"):
        mine = [row for row in rows if row["model"].startswith(library)]
        passed = {stage: sum(reached(row) >= k for row in mine) for k, stage in enumerate(STAGES)}
        found[library] = {"models": len(mine), **passed, "neurons": sum(row.get("checked", 0) for row in mine)}
    return found


def reached(row: Row) -> int:
    return STAGES.index(row["stage"]) if row["stage"] else -1


def plot(table: dict[str, Any], file: Path) -> None:
    """Draw how many models of each library reach each stage, and how long those that pass take."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for at, (library, summary) in enumerate(table["summary"].items()):
        share = [100 * summary[stage] / max(1, summary["models"]) for stage in STAGES]
        bars = left.bar(
            np.arange(len(STAGES)) + 0.4 * at, share, 0.38, label=f"{library}, {summary['models']} models"
        )
        left.bar_label(bars, [summary[stage] for stage in STAGES], fontsize="x-small")
        times = sorted(
            row["seconds"]["captured"] + row["seconds"]["folded"] + row["seconds"]["extracted"]
            for row in table["rows"]
            if row["model"].startswith(library) and row["stage"] == "verified"
        )
        right.plot(np.arange(1, 1 + len(times)), times, label=library)
    left.axhline(95, color="grey", linestyle="--", linewidth=0.8)
    left.set(xticks=np.arange(len(STAGES)) + 0.2, xticklabels=STAGES, ylabel="% of the models", ylim=(80, 103))
    left.legend(fontsize="small", loc="lower left")
    right.set(
        yscale="log", xlabel="models that pass, by time", ylabel="seconds", title="capture and extract, one image"
    )
    right.legend(fontsize="small")
    atomic_write(file, lambda part: figure.savefig(part, format="svg", metadata={"Date": None}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="a .json file; the plot is beside it")
    parser.add_argument(
        "--models", nargs="+", help="torchvision:NAME or timm:NAME; default: all, one a timm family"
    )
    parser.add_argument("--limit", type=float, default=60, help="seconds of processor time a model")
    parser.add_argument("--neurons", type=int, default=20, help="recomputed in each layer")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.output.with_suffix(".rows")
    models = dict.fromkeys(options.models or [], "named")
    if not models:
        chosen = folder / "models.list"
        if not chosen.exists():
            found = dict.fromkeys(torchvision_models(), "torchvision")
            found |= {f"timm:{smallest(names)}": family for family, names in timm_families().items()}
            write_json(found, chosen)
        models = json.loads(chosen.read_text(encoding="utf-8"))
    table = measure(models, folder, limit=options.limit, neurons=options.neurons, seed=options.seed)
    table["versions"] = {
        "python": platform.python_version(), "torch": torch.__version__, "effpath": effpath.__version__,
        "torchvision": version("torchvision"), "timm": version("timm"),
    }  # fmt: skip
    write_json(table, options.output)
    plot(table, options.output.with_suffix(".svg"))
    print(json.dumps(table["summary"], indent=1))


if __name__ == "__main__":
    main()
