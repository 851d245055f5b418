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

import json
import multiprocessing
import re
import resource
import signal
import time
import traceback
import warnings
from collections import Counter
from math import ceil, inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import effpath
import plain_check
from drawing import MARKED, Panel, Series, curves
from effpath.errors import CaptureError
from effpath.kernels.options import make_options
from effpath.walk.recording import record
from effpath.walk.visit import paths_of
from page_parts import code, fill_file, markdown, part
from processes import end_with
from sources import Row, parser, read_result, write_json, write_result

SIZES = (64, 96, 128, 112)
STAGES = ("built", "captured", "folded", "extracted", "verified")
SPLIT = 100  # a timm module of more models is several families, by the first word of their names


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


def examine(name: str, family: str, neurons: int, seed: int, file: Path, limit: float = inf) -> None:
    """Write the row of one model after every stage, so that one that is stopped says how far it came.

    With a limit this process is killed once it has worked for so many seconds.
    """
    if limit < inf:
        resource.setrlimit(resource.RLIMIT_CPU, (ceil(limit), ceil(limit)))
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


def _apart(*arguments: Any) -> None:
    """Examine a model in a process that ends with the one that asks."""
    asking = multiprocessing.parent_process()
    assert asking is not None
    end_with(asking.sentinel)
    examine(*arguments)


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
            child = fork.Process(target=_apart, args=(name, family, neurons, seed, file, limit), daemon=True)
            child.start()
            child.join()
            if child.exitcode not in (0, -signal.SIGKILL, -signal.SIGXCPU):
                write_json({**read_result(file), "cause": f"ended with code {child.exitcode}"}, file)
        row = {**read_result(file), "family": family}
        row.pop("trace", None)  # of this machine; it stays in the row's own file
        rows.append(row)
        print(f"{name}: {row['stage']} {row['cause']}"[:200], flush=True)
    about = {"limit": limit, "neurons": neurons, "seed": seed, "summary": summarise(rows)}
    return {**about, "waiting": waiting, "rows": rows}


def summarise(rows: list[Row]) -> dict[str, dict[str, int]]:
    """Models of each library that reached each stage."""
    found = {}
    for library in ("torchvision", "timm"):
        models = [row for row in rows if row["model"].startswith(library)]
        last = [STAGES.index(row["stage"]) if row["stage"] else -1 for row in models]
        passed = {stage: sum(at >= k for at in last) for k, stage in enumerate(STAGES)}
        found[library] = {"models": len(models), **passed, "neurons": sum(row.get("checked", 0) for row in models)}
    return found


def draw(table: dict[str, Any], file: Path) -> None:
    """Draw how many models of each library reach each stage, and how long those that pass take."""
    shares, times = [], []
    for library, summary in table["summary"].items():
        share = [100 * summary[stage] / max(1, summary["models"]) for stage in STAGES]
        shares.append(Series(f"{library}, {summary['models']} models", share, style=MARKED))
        seconds = sorted(
            sum(row["seconds"][stage] for stage in ("captured", "folded", "extracted"))
            for row in table["rows"]
            if row["model"].startswith(library) and row["stage"] == "verified"
        )
        times.append(Series(shares[-1].label, seconds, range(1, 1 + len(seconds))))
    axes = {"yscale": "log", "xlabel": "models that pass, by time", "ylabel": "seconds"}
    stages = Panel("models that reach a stage", shares, STAGES, span=(80, 103), line=95, axes={"ylabel": "%"})
    curves([stages, Panel("capture and extract, one image", times, axes=axes)], file, 2)


@part
def stages(results: Path) -> str:
    """How many models reach each stage, for docs/conformance.md, with what it was made on and by."""
    table = read_result(results / "conformance.json")
    counts = ("models", *STAGES, "neurons")
    rows = [[library, *(f"{found[key]:,}" for key in counts)] for library, found in table["summary"].items()]
    versions = ", ".join(f"{name} {number}" for name, number in table["versions"].items())
    about = (
        f"{versions}; one thread; up to {table['neurons']} neurons of each layer; a model is stopped after "
        f"{table['limit']:g} seconds of processor time."
    )
    summary = markdown(["library", *counts[:-1], "neurons recomputed"], rows)
    return f"{code(table['command'])}\n\n{summary}\n\n{about}"


@part
def failures(results: Path) -> str:
    """The models that fail, and those that were examined otherwise or not at all."""
    table = read_result(results / "conformance.json")
    failed = [
        [row["model"], row["family"], row["stage"] or "nothing", row["cause"].partition("; ")[0]]
        for row in table["rows"]
        if row["stage"] != "verified"
    ]
    text = markdown(["model", "family", "reached", "cause"], failed or [["none", "", "", ""]])
    if settled := [row["model"] for row in table["rows"] if row.get("settled")]:
        text += f"\n\nBatch norms got the statistics of random images first: {', '.join(settled)}."
    if table["waiting"]:
        text += f"\n\nNot examined yet; the command goes on with them: {', '.join(table['waiting'])}."
    return text


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--output", type=Path, required=True, help="a .json file; the plot is beside it")
    made.add_argument("--page", type=Path, help="a .md file whose tables are made again; docs/conformance.md")
    made.add_argument("--models", nargs="+", help="torchvision:NAME or timm:NAME; all, and of timm one per family")
    made.add_argument("--limit", type=float, default=60, help="seconds of processor time per model")
    made.add_argument("--minutes", type=float, default=inf, help="begin no further model after that; run again")
    made.add_argument("--neurons", type=int, default=20, help="recomputed in each layer")
    made.add_argument("--seed", type=int, default=0)
    given = vars(made.parse_args())
    output, page, named = (given.pop(name) for name in ("output", "page", "models"))
    torch.set_num_threads(1)
    folder = output.with_suffix(".rows")
    models = dict.fromkeys(named or [], "named")
    if not models:
        chosen = folder / "models.list"
        if not chosen.exists():
            found = dict.fromkeys(torchvision_models(), "torchvision")
            found |= {f"timm:{smallest(names)}": family for family, names in timm_families().items()}
            write_json(found, chosen)
        models = read_result(chosen)
    table = measure(models, folder, **given)
    write_result(table, output, ("torchvision", "timm"))
    draw(table, output.with_suffix(".svg"))
    if page:
        fill_file(page, output.parent)
    print(json.dumps(table["summary"], indent=1))


if __name__ == "__main__":
    main()
