"""``effpath demo``: the main job from end to end."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from effpath.demo.result import DemoResult


def demo(
    data: Annotated[str, typer.Option(help="digits, or mnist:DIR with the four IDX files.")] = "digits",
    output: Annotated[Path, typer.Option(help="Folder for weights, class paths, tables, report.")] = Path(
        "effpath-demo"
    ),
    images: Annotated[int, typer.Option(help="Test images to attack, at most.")] = 1000,
    train_images: Annotated[
        int | None, typer.Option(help="Training images for network and class paths, at most.")
    ] = None,
    preset: Annotated[str, typer.Option(help="default, paper or authors.")] = "default",
    theta: Annotated[float | None, typer.Option(help="θ in (0, 1]; the preset's 0.5 if not given.")] = None,
    seed: Annotated[int, typer.Option(help="Of training, attacks, splits and classifiers.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Of torch.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
    attacks: Annotated[str, typer.Option(help="Names, separated by commas.")] = "FGSM,BIM,DeepFool,CWL2,Random",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Train LeNet-5, build class paths, attack the network, detect the attacks, write a report.

    Examples:

      effpath demo

      effpath demo --data mnist:path/to/mnist --output mnist-demo
    """
    from effpath.demo import DemoOptions, run_demo
    from effpath.progress import track
    from effpath.report import write_report

    names = tuple(name.strip() for name in attacks.split(","))
    options = DemoOptions(
        data=data,
        seed=seed,
        preset=preset,
        theta=theta,
        images=images,
        train_images=train_images,
        attacks=names,
        threads=threads,
    )
    output.mkdir(parents=True, exist_ok=True)
    shown = ["effpath demo", f"--data {data.partition(':')[0]}{':DIR' if ':' in data else ''}"]
    shown += [
        f"--images {images}",
        f"--preset {preset}",
        f"--seed {seed}",
        f"--attacks {attacks}",
        f"--threads {threads}",
    ]
    shown += [f"--theta {theta}"] * (theta is not None) + [f"--train-images {train_images}"] * bool(train_images)
    result = run_demo(options, output, partial(track, quiet=quiet), " ".join(shown))
    report = output / "report.html"
    write_report(result, report)
    numbers = json.dumps(result.to_dict(), indent=1)
    (output / "results.json").write_text(numbers + "\n", encoding="utf-8")
    if as_json:
        print(numbers)
        return
    show(result, Console(file=sys.stdout))
    print(f"report: {report}\nnumbers: {output / 'results.json'}")


def show(result: DemoResult, console: Console) -> None:
    """Print what was measured: the table of attacks, and the figures of the paper beside ours."""
    table = Table(title=f"{result.title}: accuracy {result.accuracy:.2%} on {result.test_images} test images")
    for column in ("attack", "success", "L2", "tested", "AUC, linear (95 %)", "TPR at 5 % FPR (95 %)"):
        table.add_column(column, justify="left" if column == "attack" else "right")
    others = [name for name in result.detectors if name != "linear"]
    for name in others:
        table.add_column(f"AUC, {name}", justify="right")
    for attack in result.attacks:
        auc, tpr = attack.scores["linear"].auc, attack.scores["linear"].tpr
        table.add_row(
            attack.name + ("" if attack.seen else " (unseen)"),
            f"{attack.succeeded}/{attack.tried}",
            f"{attack.l2:.3f}",
            str(attack.tested),
            f"{auc.value:.4f} ({auc.low:.4f}-{auc.high:.4f})",
            f"{tpr.value:.4f} ({tpr.low:.4f}-{tpr.high:.4f})",
            *(f"{attack.scores[name].auc.value:.4f}" for name in others),
        )
    if not console.is_terminal:
        console.width = 200  # a pipe or a log has no width of its own
    console.print(table)
    sources = result.provenance["sources"]
    console.print(
        f"clean images: {sources['train']} train, {sources['calibrate']} fix the threshold, "
        f"{sources['test']} test; "
        f"measured FPR of the linear detector {result.fpr['linear']:.2%}"
    )
    paper = result.paper
    for label, value, theirs in (
        ("overall synapse density", f"{result.density['synapses']:.1%}", f"{paper.get('density', 0):.1%}"),
        ("class-wise Jaccard, mean", f"{result.mean_class_similarity:.3f}", paper.get("class similarity")),
        ("most special class", result.most_special, paper.get("most special")),
    ):
        beside = f"  (paper: {theirs})" if paper else ""
        console.print(f"{label}: {value}{beside}", highlight=False)
