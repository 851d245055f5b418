"""``effpath demo``: the main job from end to end."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from effpath.cli.options import (
    AllowPickle,
    BatchSize,
    Extraction,
    InputSize,
    Output,
    Seed,
    Weights,
    of_network,
    parse_size,
)
from effpath.cli.output import filled, table, terminal_width
from effpath.files.plain import percent

if TYPE_CHECKING:
    from effpath.demo.result import DemoResult


def demo(
    extraction: Extraction,
    to: Output,
    data: Annotated[
        str, typer.Option(help="digits, mnist:DIR; with --model also cifar10:DIR, imagefolder:DIR, npz:FILE …")
    ] = "digits",
    model: Annotated[
        str | None,
        of_network(
            help="torchvision:NAME, timm:NAME or file.py:factory; LeNet-5, which is then trained, if not given."
        ),
    ] = None,
    weights: Weights = None,
    allow_pickle: AllowPickle = False,
    input_size: InputSize = None,
    output: Annotated[Path, typer.Option(help="Folder for weights, class paths, report.")] = Path("effpath-demo"),
    images: Annotated[int, typer.Option(help="Maximum number of test images to attack.")] = 1000,
    train_images: Annotated[
        int | None, typer.Option(help="Maximum number of training images for network and class paths.")
    ] = None,
    seed: Seed = 0,
    batch_size: BatchSize = 256,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
    attacks: Annotated[str, typer.Option(help="Names, separated by commas.")] = "FGSM,BIM,DeepFool,CWL2,Random",
) -> None:
    r"""Train LeNet-5, build class paths, attack the network, detect the attacks, write a report.

    Examples:

      effpath demo

      effpath demo --data mnist:DIR --output mnist-demo

      effpath demo --model net.py:make --weights net.safetensors \
        --data imagefolder:DIR --layers 3 --batch-size 8
    """
    from effpath.cli.network import note_random_weights
    from effpath.demo import DemoOptions, run_demo
    from effpath.demo.report import write_report
    from effpath.files.plain import json_of

    if model is not None:
        note_random_weights(model, weights, seed)
    options = DemoOptions(
        data=data,
        model=model,
        weights=weights,
        allow_pickle=allow_pickle,
        input_size=parse_size(input_size),
        seed=seed,
        batch_size=batch_size,
        images=images,
        train_images=train_images,
        attacks=tuple(name.strip() for name in attacks.split(",")),
        threads=threads,
        **extraction.arguments,
    )
    output.mkdir(parents=True, exist_ok=True)
    result = run_demo(options, output, to.track)
    report = output / "report.html"
    write_report(result, report)
    numbers = json_of(result.to_dict())
    (output / "results.json").write_text(numbers + "\n", encoding="utf-8")
    if to.as_json:
        print(numbers)
        return
    print(show(result, terminal_width()))
    print(f"report: {report}\nnumbers: {output / 'results.json'}")


def show(result: DemoResult, width: int | None) -> str:
    """Return what was measured as text: the attacks, every detector, and the figures of the paper beside ours.

    Args:
        result: of the demo.
        width: of the terminal, in characters; None for whole lines.
    """
    main, sources = result.headline, result.provenance["sources"]
    named = {attack.name + "*" * (not attack.seen): attack for attack in result.attacks}
    found = []
    for name, attack in named.items():
        auc, tpr = attack.scores[main].auc, attack.scores[main].tpr
        size = "-" if math.isnan(attack.l2) else f"{attack.l2:.3f}"
        ours = f"{auc.value:.4f} ({auc.low:.4f}-{auc.high:.4f})"
        low, high = (percent(end).removesuffix(" %") for end in (tpr.low, tpr.high))
        flagged = f"{percent(tpr.value)} ({low}-{high})"
        found.append([name, f"{attack.succeeded}/{attack.tried}", size, str(attack.tested), ours, flagged])
    order = [main, *(name for name in result.detectors if name != main)]
    aucs = [[name, *(f"{attack.scores[name].auc.value:.4f}" for attack in named.values())] for name in order]
    shown = [
        filled(f"{result.title}: accuracy {percent(result.accuracy)} on {result.test_images} test images", width),
        "",
        f"What {result.headline_name} finds" + (":" if main in result.headline_name else f" ({main}):"),
        table(["attack", "success", "L2", "tested", "AUC (95 %)", "flagged (95 %)"], found, width=width),
        "",
        filled("AUC of every detector; max softmax and energy look at the logits alone:", width),
        table(["detector", *named], aucs, width=width),
        "",
    ]
    told = [
        f"{one.attack}, {one.label} taken for {one.predicted}: {'; '.join(sign for sign, _ in one.strongest)}"
        for one in result.examples
        if one.strongest
    ]
    if told:
        shown += ["Flagged, for example, and by which signs:", *(filled(line, width, "  ") for line in told), ""]
    unseen = [attack.name for attack in result.attacks if not attack.seen]
    sentences = [f"* no detector was trained on {', '.join(unseen)}"] * bool(unseen)
    rate = result.true_rate
    usual = "" if rate is None else f"; nine thresholds in ten flag {percent(rate.low)} to {percent(rate.high)}"
    sentences += [
        f"clean images: {sources['train']} train, {sources['calibrate']} fix the threshold, {sources['test']} "
        f"test; {result.headline_name} flags {percent(result.fpr[main])} of the test images{usual}",
    ]
    if math.isinf(result.threshold[main]):
        sentences += ["too few clean images to fix a threshold, so that nothing is flagged: give more --images"]
    sentences += [
        "intervals are over images; training the network again gives other numbers, which they leave out"
    ]
    paper, seen = result.paper, result.overview
    for label, value, published in (
        ("overall synapse density", percent(seen.density["synapses"]), percent(paper.get("density", 0))),
        ("class-wise Jaccard, mean", f"{seen.mean_class_similarity:.3f}", paper.get("class similarity")),
        ("most special class", seen.most_special, paper.get("most special")),
    ):
        sentences.append(f"{label}: {value}" + (f"  (paper: {published})" if paper else ""))
    return "\n".join([*shown, *(filled(sentence, width) for sentence in sentences)])
