"""The picture and the tables of adaptive attacks, and the table of the networks that were trained against PGD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from drawing import MARKED, Panel, Series, curves
from effpath.files.plain import percent
from page_parts import TITLES, markdown, part
from sources import Row, read_result

UNAWARE = {"linestyle": ":"}  # the line of who knows only the network
STEP = 1 / 255  # the least L∞ between two images that can be saved


def bounds_shown(table: Row) -> tuple[str, dict[int, str]]:
    """Return what the axis of ε is called, and its values by their places in a curve.

    An ε below a step of 8 bits is left out: no image that can be saved is that near.
    """
    unit, name = (255, "ε · 255") if table["norm"] == "Linf" else (1, "ε")
    bounds = [point["epsilon"] for point in next(iter(table["detectors"].values()))["all"]["curve"]]
    shown = {at: f"{unit * each:.3g}" for at, each in enumerate(bounds) if unit == 1 or each >= STEP * (1 - 1e-3)}
    return name, shown


def draw(tables: Mapping[str, Row], file: Path) -> None:
    """Draw SR@5 and SR@50 over ε, a row for each network, a line for each detector, and print the rates."""
    kinds = dict.fromkeys(kind for table in tables.values() for kind in table["detectors"])
    colours = {kind: f"C{place}" for place, kind in enumerate(kinds)}
    found = []
    for network, table in tables.items():
        name, shown = bounds_shown(table)
        axes = {"xlabel": f"{name}, {table['norm'].replace('inf', '∞')}", "ylabel": "success rate"}
        for key in ("sr5", "sr50"):
            drawn = [
                Series(
                    kind + said,
                    [rows[row]["curve"][at][key] for at in shown],
                    style={**style, "color": colours[kind]},
                )
                for row, said, style in (("all", "", MARKED), ("unaware", ", unaware", UNAWARE))
                for kind, rows in table["detectors"].items()
                if row in rows
            ]
            title = f"{network}, SR@{key[2:]}"
            found.append(Panel(title, drawn, list(shown.values()), network, (-0.03, 1.03), axes=axes))
        print(f"{network}\n\n{tabulate(table)}\n")
    curves(found, file, 2)


def tabulate(table: Row) -> str:
    """Return the rates of the best attack on each detector, and of who does not know it, as a Markdown table."""
    bound, shown = bounds_shown(table)
    lines = []
    for kind, rows in table["detectors"].items():
        for name, key in (("all", "sr5"), ("all", "sr50"), ("unaware", "sr5")):
            if name in rows:
                rate = f"SR@{key[2:]}" + (", unaware" if name == "unaware" else "")
                lines.append([kind, rate, *(f"{rows[name]['curve'][at][key]:.0%}" for at in shown)])
    return markdown([bound, "rate", *shown.values()], lines)


@part
def attacked(results: Path, network: str) -> str:
    """The rates of a network, as a table of docs/adaptive.md."""
    return tabulate(read_result(results / "adaptive" / f"{network}.json"))


@part
def attacked_apart(results: Path, network: str) -> str:
    """The rates of each attack, where every attack has a result of its own: a folder of the network.

    The last rows of a detector take the strongest attack at each ε, not the best of them image by image.
    """
    tables = {file.stem: read_result(file) for file in sorted((results / "adaptive" / network).glob("*.json"))}
    one = next(iter(tables.values()))
    bound, shown = bounds_shown(one)
    lines = []
    for kind in one["detectors"]:
        curves_of = {name: table["detectors"][kind][name]["curve"] for name, table in tables.items()}
        for key in ("sr5", "sr50"):
            rates = {name: [curve[at][key] for at in shown] for name, curve in curves_of.items()}
            rates["the strongest"] = [max(column) for column in zip(*rates.values(), strict=True)]
            if key == "sr5":
                rates["unaware"] = [one["detectors"][kind]["unaware"]["curve"][at][key] for at in shown]
            lines += [
                [kind, f"SR@{key[2:]}", name, *(f"{rate:.0%}" for rate in row)] for name, row in rates.items()
            ]
    return markdown(["detector", "rate", f"attack; {bound}", *shown.values()], lines)


GLANCE = {  # of the README: what it is called, and its results
    "lenet_digits": TITLES["lenet_digits"],
    "lenet_mnist": TITLES["lenet_mnist"],
    "lenet_mnist_robust": "the same, trained against PGD within 77/255",
    "resnet20_cifar10": TITLES["resnet20_cifar10"],
    "resnet20_cifar10_robust": "the same, trained against PGD within 8/255",
    "alexnet_imagenette_standard": TITLES["alexnet_imagenette"],
}


@part
def adaptive_at_a_glance(results: Path) -> str:
    """Who knows the default, and who knows the yardstick, on every network, for the README."""
    lines = []
    for name, title in GLANCE.items():
        folder = results / "adaptive"
        files = sorted((folder / name).glob("*.json")) or [folder / f"{name}.json"]
        tables = [read_result(file) for file in files]
        _, shown = bounds_shown(tables[0])
        bounds = {at: bound for at, bound in shown.items() if bound != "255"}  # within which all images are
        rates = [
            ", ".join(f"{100 * strongest(tables, kind, key, at):.0f}" for at in bounds) + " %"
            for kind in ("standard", "softmax")
            for key in ("sr5", "sr50")
        ]
        lines.append([title, str(tables[0]["attacked"]), ", ".join(bounds.values()), *rates])
    head = ["network, data", "images", "ε · 255", "pass `standard`, 5 %", "50 %", "pass the softmax, 5 %", "50 %"]
    return markdown(head, lines)


def strongest(tables: Sequence[Row], kind: str, key: str, at: int) -> float:
    """Return the rate of all attacks at an ε, image by image; of single attacks, each in a result, the highest."""
    return max(float(table["detectors"][kind]["all"]["curve"][at][key]) for table in tables)


@part
def robust_networks(results: Path) -> str:
    """The networks that were trained against PGD, a line for each."""
    head = ["network", "training images", "epochs", "ε", "accuracy", "under PGD", "attacked images", "trained on"]
    lines = []
    for file in sorted((results / "robust").glob("*.json")):
        row = read_result(file)
        lines.append([
            row["network"], str(row["training_images"]), str(row["recipe"]["epochs"]), f"{row['epsilon']:.3g}",
            percent(row["accuracy"]), percent(row["robust_accuracy"]), str(row["attacked_images"]), row["device"],
        ])  # fmt: skip
    return markdown(head, lines)
