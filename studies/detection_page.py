"""The tables of docs/detection.md and of the README, written into the pages from the results.

    python studies/detection_page.py --results docs/results/detection --pages docs/detection.md README.md

What stands between ``<!-- table NAME -->`` and ``<!-- end -->`` is replaced by the table of that name.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detection.cases import CASES
from effpath.errors import InputError
from further_signs import PATHLESS, WEIGHED
from sources import read_result, write_text

Row = dict[str, Any]
PLACE = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def tables_of(results: Path, study: str) -> dict[str, Row]:
    """Return the tables of a study by network, in the order of the cases."""
    found = {file.stem: read_result(file) for file in (results / study).glob("*.json")}
    return {name: found[name] for name in (*CASES, *sorted(found)) if name in found}


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def with_interval(values: Sequence[float]) -> str:
    value, low, high = values
    return f"{value:.3f} ({low:.3f} – {high:.3f})"


def titled(attack: str, *, unseen: bool) -> str:
    return f"{attack} (unseen)" if unseen else attack


def verdict(cell: Row) -> str:
    """Tell how a detector stands beside the best of the others."""
    return "best" if cell["beyond_best"][0] >= 0 else "within" if cell["within"] else "**lost**"


def images(results: Path) -> str:
    """Every network: how many images, how many attacks succeeded, how large they are."""
    rows = []
    for network, table in tables_of(results, "roc").items():
        attacks = ", ".join(
            f"{name} {own['succeeded']}/{own['tried']}"
            + (f" (L2 {own['median']['l2']:.3g}, L∞ {own['median']['linf']:.2g})" if "l2" in own["median"] else "")
            for name, own in table["attacks"].items()
        )
        sizes = table["sizes"]
        rows.append([
            network, f"{table['accuracy']:.1%}", str(table["training_images"]),
            f"{table['clean_images']}: {sizes['train']} to train, {sizes['calibrate']} for the threshold, "
            f"{sizes['test']} tested", attacks,
        ])  # fmt: skip
    return markdown(
        ["network", "accuracy", "training images of class paths", "clean images", "successes / tried, medians"],
        rows,
    )


def paper(results: Path) -> str:
    """The paper's AUC of its linear detector, cell by cell."""
    rows = []
    for network, table in tables_of(results, "roc").items():
        for name, cell in table["paper"].items():
            linear, surprise = (table["detectors"][kind]["auc"][name] for kind in ("linear", "surprise"))
            met = (
                "met" if cell["met"] else "met by joint surprise" if surprise[0] >= cell["paper"] else "**missed**"
            )
            rows.append([
                network, name, f"{cell['paper']:.2f}", with_interval(linear), with_interval(surprise),
                f"{table['published_protocol'][name]:.3f}", str(table["tested"][name]), met,
            ])  # fmt: skip
    return markdown(
        ["network", "attack", "paper", "joint similarity", "joint surprise",
         "joint similarity, published protocol", "tested", ""], rows
    )  # fmt: skip


def rivals(results: Path) -> str:
    """Joint surprise beside the best of all others, and the maximum softmax, attack by attack."""
    rows = []
    for network, table in tables_of(results, "detectors").items():
        for name, cell in table["cells"].items():
            softmax = table["detectors"]["max softmax"]["auc"][name][0]
            tpr = table["detectors"]["surprise"]["tpr"]["0.05"][name][0]
            rows.append([
                network, titled(name, unseen=name in table["settings"]["unseen"]),
                with_interval(cell["ours"]), f"{tpr:.0%}", f"{cell['best_rival']} {cell['its_auc']:.3f}",
                verdict(cell), f"{softmax:.3f}" + (" **above ours**" if cell["below_softmax"] else ""),
            ])  # fmt: skip
    return markdown(
        ["network", "attack", "joint surprise", "TPR at 5 %", "best of the others", "", "max softmax"], rows
    )


def means(results: Path) -> str:
    """Mean AUC over the attacks of every detector, a column a network."""
    found = tables_of(results, "detectors")
    names = list(dict.fromkeys(name for table in found.values() for name in table["detectors"]))
    rows = []
    for name in names:
        cells = [
            f"{own['mean'][0]:.3f}, {own['fpr']['0.05']:.1%}" if own else "–"
            for own in (table["detectors"].get(name) for table in found.values())
        ]
        rows.append([name, *cells])
    return markdown(["mean AUC over attacks, measured FPR at 5 %", *found], rows)


def won(results: Path) -> str:
    """In how many cells joint surprise is the best or within chance of it, alone and with all further signs."""
    alone, further = tables_of(results, "detectors"), tables_of(results, "further_signs")
    found = {
        network: [
            table["within_the_best"],
            *(further[network]["with"][name]["within_the_best"] for name in (WEIGHED, PATHLESS)),
        ]
        for network, table in alone.items()
    }
    total = np.sum(list(found.values()), axis=0).tolist()
    rows = [
        [network, *(f"{won} of {cells}" for won, cells in own)]
        for network, own in [*found.items(), ("all", total)]
    ]
    return markdown(["network", "joint surprise", "with all further signs, weighed", "these without paths"], rows)


def further(results: Path) -> str:
    """Joint surprise with further signs: mean AUC over attacks, and cells that are the best or within chance."""
    found = tables_of(results, "further_signs")
    names = list(dict.fromkeys(name for table in found.values() for name in table["with"]))
    rows = [
        ["nothing", *(f"{table['without']['mean'][0]:.3f}" for table in found.values())],
        ["(best other detector)", *(f"{table['best_alone'][0]:.3f}" for table in found.values())],
    ]
    for name in names:
        cells = []
        for table in found.values():
            own = table["with"].get(name)
            cells.append("–" if own is None else f"{own['auc']['mean'][0]:.3f}, {own['within_the_best'][0]} of "
                         f"{own['within_the_best'][1]}")  # fmt: skip
        rows.append([name, *cells])
    return markdown(["added to joint surprise", *found], rows)


def weighed(results: Path) -> str:
    """All further signs, weighed, attack by attack, and what paths add to them."""
    rows = []
    for network, table in tables_of(results, "further_signs").items():
        for name, cell in table["with"][WEIGHED]["cells"].items():
            added, low, high = table["added_by_paths"][name]
            rows.append([
                network, titled(name, unseen=name in table["settings"]["unseen"]),
                with_interval(cell["auc"]), f"{cell['tpr'][0]:.0%}", f"{cell['best']} {cell['its_auc']:.3f}",
                verdict(cell), f"{cell['softmax']:.3f}" + (" **above**" if cell["below_softmax"] else ""),
                f"{added:+.3f} ({low:+.3f} – {high:+.3f})",
            ])  # fmt: skip
    return markdown(
        ["network", "attack", "all further signs, weighed", "TPR at 5 %", "best of the others", "", "max softmax",
         "of it by paths"], rows
    )  # fmt: skip


def weights(results: Path) -> str:
    """What each sign counts, where it is learned; a column a network."""
    found = {
        network: table["with"][WEIGHED]["weights"]
        for network, table in tables_of(results, "further_signs").items()
    }
    signs = list(dict.fromkeys(sign for own in found.values() for sign in own))
    rows = [[sign, *(f"{own[sign]:.2f}" if sign in own else "–" for own in found.values())] for sign in signs]
    return markdown(["sign", *found], rows)


def transfer(results: Path) -> str:
    """The loss of training on one attack only."""
    rows = []
    for network, table in tables_of(results, "transfer").items():
        for name, own in table["sets"].items():
            losses = [
                f"{with_interval(own[detector]['mean_loss'])}{'' if own[detector]['met'] else ' **above**'}"
                if detector in own
                else "–"
                for detector in ("linear", "surprise", "weighed", "CDRP, linear", "CDRP, forest")
            ]
            rows.append([network, {"minimal": "the paper's", "every": "all"}[name], *losses])
    return markdown(
        ["network", "attacks", "linear", "surprise", "all further signs, weighed", "CDRP, linear", "CDRP, forest"],
        rows,
    )


def cdrp(results: Path) -> str:
    """CDRP beside effective paths: mean AUC over attacks, and forward passes an image."""
    rows = []
    for network, table in tables_of(results, "cdrp").items():
        own = table["detectors"]
        kinds = ("linear", "forest", "adaboost", "boosting")
        times = table["time"]
        for title, names, method in (
            (f"paths, {table['similarities']} similarities", kinds, "paths"),
            (f"CDRP, {table['gates']} gates", [f"CDRP, {kind}" for kind in kinds], "cdrp"),
        ):
            rows.append([
                network, title, str(table["sources"]), *(f"{own[name]['mean'][0]:.3f}" for name in names),
                f"{times[f'{method}_by_forward']:.3g}", f"{times[f'{method}_ms_an_image']:.3g}",
            ])  # fmt: skip
    return markdown(
        ["network", "features", "images", "linear", "forest", "AdaBoost", "boosting", "forward passes an image",
         "ms an image"], rows
    )  # fmt: skip


def controls(results: Path) -> str:
    """How often images that nobody attacked are flagged at a false positive rate of 5 %."""
    rows = []
    for network, table in tables_of(results, "controls").items():
        for name, count in table["images"].items():
            flagged = [
                f"{table['detectors'][detector]['flagged'][name][0]:.1%}"
                for detector in ("linear", "surprise", "clean", "max softmax")
            ]
            rows.append([network, name, str(count), *flagged])
    return markdown(["network", "images", "number", "linear", "surprise", "clean", "max softmax"], rows)


def recovery(results: Path) -> str:
    """How often a guess is the true class, of the images that joint surprise flags."""
    rows = []
    for network, table in tables_of(results, "recovery").items():
        for name, parts in table["detectors"]["surprise"].items():
            if "detected" in parts:
                own = parts["detected"]
                guesses = [f"{own[guess][0]:.2f}" for guess in ("rank 2", "best fit", "best other fit")]
                rows.append([network, name, f"{own['images']:.0f}", *guesses])
    return markdown(
        [
            "network",
            "attack",
            "flagged images, mean of the splits",
            "rank-2 class",
            "best fit",
            "best fit of others",
        ],
        rows,
    )


def figures(results: Path) -> str:
    """The paper's figures, the command of each, and the pictures."""
    rows = []
    for study, figure in FIGURES.items():
        drawn = {file.stem for file in (results / study).glob("*.png")}
        names = [*(name for name in CASES if name in drawn), *sorted(drawn - set(CASES))]
        links = " · ".join(f"[{name}](results/detection/{study}/{name}.png)" for name in names)
        rows.append([figure, f"`studies/{study}.py`", links])
    return markdown(["figure or table of the paper", "study", "ours"], rows)


FIGURES = {
    "layer_similarity": "5, 14: similarity by layer, and its delta",
    "roc": "6, 7, 16: ROC",
    "detectors": "8, 17: detectors",
    "further_signs": "joint surprise with further signs",
    "training_size": "9, 18: size of the training set",
    "transfer": "10, 19: attacks seen in training",
    "theta": "11: θ",
    "layers": "12, 20: layers",
    "tsne": "15: t-SNE",
    "breadth": "Table 2: breadth",
    "cdrp": "beside CDRP, with times (Table 1: see also [speed](speed.md))",
    "controls": "images that nobody attacked",
    "recovery": "the true class of flagged images",
}


def reruns(results: Path) -> str:
    """How long everything takes from nothing."""
    rows = []
    for network, table in tables_of(results, "reproduce").items():
        seconds = table["seconds"]
        rows.append([network, str(table["processes"]), f"{seconds['all'] / 60:.1f} min"])
    return markdown(["network", "processes", "attacks, paths, rivals and every study, from nothing"], rows)


def mnist(results: Path) -> str:
    """LeNet-5 on MNIST, attack by attack, for the README."""
    table = read_result(results / "detectors" / "lenet_mnist.json")
    rows = []
    for name, own in table["attacks"].items():
        if name not in table["cells"]:
            continue
        linear, surprise, softmax = (table["detectors"][kind] for kind in ("linear", "surprise", "max softmax"))
        cell = table["cells"][name]
        rows.append([
            titled(name, unseen=own["unseen"]), f"{own['succeeded']}/{own['tried']}",
            with_interval(linear["auc"][name]), with_interval(surprise["auc"][name]),
            f"{surprise['tpr']['0.05'][name][0]:.0%}", f"{softmax['auc'][name][0]:.3f}",
            f"{cell['best_rival']} {cell['its_auc']:.3f}",
        ])  # fmt: skip
    return markdown(
        ["attack", "success", "AUC, joint similarity", "AUC, joint surprise", "its TPR at 5 % FPR",
         "AUC, max softmax", "best of all others"], rows
    )  # fmt: skip


TABLES: dict[str, Callable[[Path], str]] = {
    made.__name__: made
    for made in (
        images,
        paper,
        rivals,
        means,
        won,
        further,
        weighed,
        weights,
        transfer,
        cdrp,
        controls,
        recovery,
        figures,
        reruns,
        mnist,
    )
}


def fill(page: str, results: Path) -> str:
    """Return the page with its tables made anew."""

    def table(found: re.Match[str]) -> str:
        if found[2] not in TABLES:
            raise InputError(f"unknown table {found[2]!r}; there are {', '.join(TABLES)}")
        return f"{found[1]}{TABLES[found[2]](results)}\n{found[3]}"

    return PLACE.sub(table, page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="folder with a folder for each study")
    parser.add_argument("--pages", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    for page in options.pages:
        write_text(fill(page.read_text(encoding="utf-8"), options.results), page)


if __name__ == "__main__":
    main()
