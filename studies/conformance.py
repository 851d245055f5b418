"""Which models of torchvision and timm can be captured, folded and extracted, and are their paths right?

    python studies/conformance.py --output docs/results/conformance.json --page docs/conformance.md
    python studies/conformance.py --output DIR/some.json --models torchvision:resnet18 timm:mixer_s32_224

Every model is built with random weights from a seed and given one random image of the smallest size it takes (of
64, 96, 128, 112 and its own). It is *captured*; *folded*, if graph and model give the same logits; *extracted*,
whole, from its first class to the pixels, with the preset ``default``; and *verified* by `plain_check`: of every
weighted operator and choice some active neurons are recomputed and must have the same inputs and weights.

A model that takes more than ``--limit`` seconds of processor time is stopped. Each model's row is a file of its
own beside the output: a run that was stopped goes on where it was; delete rows to have them made again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import re
import resource
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from importlib.metadata import version
from math import ceil, inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import effpath
import plain_check
from effpath.errors import CaptureError
from effpath.files.cache import atomic_write
from effpath.kernels.options import make_options
from effpath.walk.recording import record
from effpath.walk.visit import paths_of
from sources import write_text

SIZES = (64, 96, 128, 112)
STAGES = ("built", "captured", "folded", "extracted", "verified")
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
        raise SystemExit(f"expected torchvision:NAME or timm:NAME, got {name!r}")
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
        checked, on_path, wrong = plain_check.verify(recorded, paths_of(recorded)[0], neurons, seed)
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
    write_text(text, file)


def measure(
    models: dict[str, str], folder: Path, *, limit: float, neurons: int, seed: int, minutes: float = inf
) -> dict[str, Any]:
    """Examine models, a name to a family, each in a process of its own; rows that are there already are kept.

    After so many minutes no further model is begun; those left are counted as waiting.
    """
    fork = multiprocessing.get_context("fork")  # so that libraries are imported once
    rows, waiting, end = [], [], time.monotonic() + 60 * minutes
    for name, family in models.items():
        file = folder / f"{name.replace(':', '_')}.json"
        if not file.exists():
            if time.monotonic() > end:
                waiting.append(name)
                continue
            child = fork.Process(target=examine_within, args=(limit, name, family, neurons, seed, file))
            child.start()
            child.join()
            if child.exitcode not in (0, -signal.SIGKILL, -signal.SIGXCPU):
                ended = {
                    **json.loads(file.read_text(encoding="utf-8")),
                    "cause": f"ended with code {child.exitcode}",
                }
                write_json(ended, file)
        row = {**json.loads(file.read_text(encoding="utf-8")), "family": family}
        row.pop("trace", None)  # of this machine; it stays in the row's own file
        rows.append(row)
        print(f"{name}: {rows[-1]['stage']} {rows[-1]['cause']}"[:200], flush=True)
    return {
        "limit": limit,
        "neurons": neurons,
        "seed": seed,
        "summary": summarise(rows),
        "waiting": waiting,
        "rows": rows,
    }


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


PAGE = """# Conformance

Which classification models of torchvision and timm (there the smallest of each family; a family is one of timm's
modules, or in a large module the models whose names start with one word) can be captured, folded, extracted whole
from a logit to the pixels, and verified. Weights and images are random, from a seed; images are as small as the
model takes them. *Verified* means: of every weighted operator and choice up to {neurons} neurons, those of the
path first, were recomputed without the library's geometry and selection, and inputs and weights were the same.

```
{command}
```

| | models | built | captured | folded | extracted | verified | neurons recomputed |
|---|---|---|---|---|---|---|---|
{summary}

![models that reach each stage, and seconds of those that pass]({figure})

Every row, with operators, sizes and times, is in [{table}]({table})
({versions}; one thread; a model is stopped after {limit:g} seconds of processor time).

## What fails, and why

| model | family | reached | cause |
|---|---|---|---|
{failures}
{settled}{waiting}"""

SETTLED = """
## Random weights that had to be settled

With random batch-norm statistics these networks are so sensitive that float32 and float64 give different logits,
so that nothing can be compared; they got statistics of random images first: {names}.
"""

WAITING = """
## Not examined yet

The command goes on with these: {names}.
"""


def write_page(table: dict[str, Any], output: Path, page: Path) -> None:
    """Write the table as a page of the documentation."""
    where = os.path.relpath(output, page.parent)
    summary = [
        f"| {library} | {' | '.join(f'{found[key]:,}' for key in ('models', *STAGES, 'neurons'))} |"
        for library, found in table["summary"].items()
    ]
    failures = [
        f"| {row['model']} | {row['family']} | {row['stage'] or 'nothing'} | {row['cause'].partition('; ')[0]} |"
        for row in table["rows"]
        if row["stage"] != "verified"
    ]
    settled = [row["model"] for row in table["rows"] if row.get("settled")]
    text = PAGE.format(
        neurons=table["neurons"],
        limit=table["limit"],
        command=table["command"],
        summary="\n".join(summary),
        failures="\n".join(failures) or "| none | | | |",
        table=where,
        figure=str(Path(where).with_suffix(".svg")),
        versions=", ".join(f"{name} {number}" for name, number in table["versions"].items()),
        settled=SETTLED.format(names=", ".join(settled)) if settled else "",
        waiting=WAITING.format(names=", ".join(table["waiting"])) if table["waiting"] else "",
    )
    write_text(text, page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="a .json file; the plot is beside it")
    parser.add_argument("--page", type=Path, help="a .md file to describe the table in")
    parser.add_argument(
        "--models", nargs="+", help="torchvision:NAME or timm:NAME; default: all, one a timm family"
    )
    parser.add_argument("--limit", type=float, default=60, help="seconds of processor time a model")
    parser.add_argument("--minutes", type=float, default=inf, help="begin no further model after that; run again")
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
    table = measure(
        models, folder, limit=options.limit, neurons=options.neurons, seed=options.seed, minutes=options.minutes
    )
    table["versions"] = {
        "python": platform.python_version(), "torch": torch.__version__, "effpath": effpath.__version__,
        "torchvision": version("torchvision"), "timm": version("timm"),
    }  # fmt: skip
    table["command"] = f"python studies/{Path(__file__).name} {' '.join(sys.argv[1:])}"
    write_json(table, options.output)
    plot(table, options.output.with_suffix(".svg"))
    if options.page:
        write_page(table, options.output, options.page)
    print(json.dumps(table["summary"], indent=1))


if __name__ == "__main__":
    main()
