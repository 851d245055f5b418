"""The tables of docs/inside.md."""

from __future__ import annotations

from pathlib import Path

from figures.deactivation import WAYS
from figures.slicing import WAYS as KEPT
from page_parts import Lines, by_line, code, part, results_of, with_interval
from sources import Row, read_result

PAPER = {"mean": "≈ 0.5", "special": "1 (0.35)", "closest": "5 and 8"}  # LeNet-5 on MNIST
AT = ("1", "10", "50", "100", "200")  # merged classes


def percent(value: float) -> str:
    return f"{100 * value:.3g} %"


@by_line(
    "class_similarity",
    "preset | images | mean | the paper | most special class, its mean | the paper | closest pair | the paper",
)
def classes(table: Row) -> Lines:
    """How similar class paths are."""
    for preset, row in table["presets"].items():
        known = PAPER if table["network"] == "lenet_mnist" else dict.fromkeys(PAPER, "")
        first, second = row["closest"]
        at = [row["classes"].index(name) for name in row["closest"]]
        yield [
            preset, str(row["images"]), f"{row['mean']:.3f}", known["mean"],
            f"{row['most_special']} ({min(row['class_means']):.3f})", known["special"],
            f"{first} and {second} ({row['similarity'][at[0]][at[1]]:.3f})", known["closest"],
        ]  # fmt: skip


@by_line("deactivation", "level | off: share of the path | " + " | ".join(WAYS))
def deactivated(table: Row) -> Lines:
    """Accuracy without parts of a network."""
    found = table["accuracy"]
    yield [table["level"], "nothing", *[with_interval(table["whole"])] * len(WAYS)]
    for place, share in enumerate(table["shares"]):
        cells = [with_interval(found[way][place]) if way in found else "–" for way in WAYS]
        yield [table["level"], f"{share:.0%}", *cells]


@by_line(
    "density_growth",
    "images | classes | level | " + " | ".join(f"{at} classes" for at in AT) + " | all | slope after",
)
def growth(table: Row) -> Lines:
    """Density over merged classes."""
    for level, row in table["by_classes"].items():
        cells = [percent(row[int(at) - 1]) if int(at) < table["classes"] else "–" for at in AT]
        slopes = ", ".join(f"{at}: {100 * slope:.2g}" for at, slope in table["slope"][level].items())
        yield [str(table["images"]), str(table["classes"]), level, *cells, percent(row[-1]), slopes]


@by_line("layer_density", "images | classes | level | overall path | densest layer | sparsest layer")
def by_layer(table: Row) -> Lines:
    """Density of the overall path, of all layers, the densest and the sparsest."""
    for level, row in table["density"].items():
        ends = []
        for choose in (max, min):
            value = choose(row["overall"])
            ends.append(f"{table['layers'][row['overall'].index(value)]}, {percent(value)}")
        yield [str(table["images"]), str(table["classes"]), level, percent(table["whole"][level]), *ends]


@by_line(
    "slicing",
    "classes | θ | weights kept | whole network | " + " | ".join(KEPT) + " | class paths − better pruning",
)
def slices(table: Row) -> Lines:
    """Accuracy of reduced networks among the kept classes."""
    for row in table["rows"]:
        own = row["among_kept"]
        yield [
            str(row["classes"]), f"{row['theta']:g}", percent(row["kept"]), f"{own['whole'][0]:.3f}",
            *(with_interval(own[way]) for way in KEPT), with_interval(row["beyond_pruning"], "+.3f"),
        ]  # fmt: skip


@part
def inside_commands(results: Path) -> str:
    """The commands that made the results of this page."""
    studies = ("class_similarity", "density_growth", "layer_density", "deactivation", "slicing")
    found = [
        read_result(results / "detection" / study / f"{name}.json")["command"]
        for study in studies
        for name in results_of(results, study)
    ]
    return code("\n".join(found))
