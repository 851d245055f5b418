"""The tables and figures of docs/inside.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from effpath.files.plain import percent
from figures import FIGURES
from figures.deactivation import WAYS, first_below
from figures.density_growth import falling, points
from figures.layer_density import extremes
from figures.slicing import WAYS as KEPT
from figures.training_process import PHASES, SHOWN, told
from page_parts import NOT_MEASURED, Lines, by_line, code, folder_of, markdown, part, results_of, with_interval
from sources import Row, read_result

AT = ("1", "10", "50", "100", "200")  # merged classes
NEAR = 0.05  # a mean similarity within it agrees with one that is given to a digit


# ---------------------------------------------------------------- beside the paper


class Claim(NamedTuple):
    """A line of the comparison with the paper.

    Attributes:
        figure: of the paper.
        study, case: whose result is ours.
        paper: what the paper has there.
        ours: the same, of a result.
        agreement: of a result: whether both agree, or what is known of why not.
    """

    figure: str
    study: str
    case: str
    paper: str
    ours: Callable[[Row], str]
    agreement: Callable[[Row], str]


def default(table: Row) -> Row:
    """Return the similarities of the default preset."""
    found: Row = table["presets"]["default"]
    return found


def special(table: Row) -> tuple[str, float]:
    """Return the most special class, and its mean similarity."""
    return default(table)["most_special"], min(default(table)["class_means"])


def mean_agrees(table: Row) -> str:
    off = default(table)["mean"] - 0.5
    return "agrees" if abs(off) <= NEAR else f"{off:+.3f}; retraining moves it, [measured](decisions.md)"


def special_agrees(table: Row) -> str:
    digit, mean = special(table)
    same = "the same digit" if digit == "1" else "another digit"
    return f"{same}, {mean - 0.35:+.3f}; similarity grows with the number of images, [measured](decisions.md)"


def closest_agrees(table: Row) -> str:
    return "agrees" if set(default(table)["closest"]) == {"5", "8"} else "another pair"


def slopes(table: Row) -> str:
    after = ", ".join(f"{points(value)} after {count}" for count, value in table["slope"]["synapses"].items())
    return f"points of synapses that one more class adds: {after}"


def further_away(table: Row) -> tuple[int, int]:
    """Return in how many pairs of layer and attack clean images are closer, beyond chance, and of how many."""
    deltas = [delta for row in table["measures"]["rank 1"].values() for delta in row.get("delta", ())]
    return sum(low > 0 for _, low, _ in deltas), len(deltas)


def closer(table: Row) -> str:
    count, pairs = further_away(table)
    return f"rank-1 similarity, clean above attacked beyond chance: {count} of {pairs} pairs of layer and attack"


def closer_agrees(table: Row) -> str:
    count, pairs = further_away(table)
    return "agrees" if count == pairs else f"agrees in {percent(count / pairs)} of the pairs"


def votes(table: Row) -> str:
    errors = list(table["errors"].values())
    wrong = sum(errors) / len(errors)
    return f"the five nearest images vote wrongly on {percent(wrong)}, mean over attacks; chance 50 %"


def superclass_means(table: Row) -> str:
    test = default(table)["superclasses"]["all"]
    return f"inside {test['inside']:.3f}, between {test['between']:.3f}; p = {test['p']:.2g}"


def superclasses_agree(table: Row) -> str:
    test = default(table)["superclasses"]["all"]
    return "agrees" if test["inside"] > test["between"] and test["p"] < 0.05 else "does not agree"


def phases(table: Row) -> str:
    return "; ".join(f"{level}: {told(row)}" for level, row in table["phases"].items())


def phases_agree(table: Row) -> str:
    said = {True: "found", False: "not found"}
    return ", ".join(f"{level}: {said[row['found']]}" for level, row in table["phases"].items())


def densest(table: Row) -> str:
    (dense, most), (sparse, least) = extremes(table, "synapses")
    return (
        f"overall {percent(table['whole']['synapses'])}; densest {dense}, {percent(most)}, sparsest {sparse}, "
        f"{percent(least)}"
    )


def density_agrees(known: float) -> Callable[[Row], str]:
    """Return what compares an overall density with the paper's."""

    def agreement(table: Row) -> str:
        return (
            f"{100 * table['whole']['synapses'] - known:+.1f} points, of {table['images']} images of "
            f"{table['classes']} classes; density grows with both, as Fig. 3"
        )

    return agreement


def dropped(table: Row) -> str:
    shown = ("the path", "the path, most used first", "outside the path")
    place = table["shares"].index(0.1) if 0.1 in table["shares"] else 0
    found = ", ".join(f"{way} {table['accuracy'][way][place][0]:.3f}" for way in shown)
    return f"{table['level']}, {percent(table['shares'][place])} off: {found}; all on {table['whole'][0]:.3f}"


def drop_agrees(table: Row) -> str:
    """Tell from which share on accuracy is below that of both random controls."""
    said = []
    for way, name in (("the path, most used first", "the most used first"), ("the path", "drawn at random")):
        least = first_below(table, way)
        said.append(f"{name}: " + ("never" if least is None else f"from {percent(least)} on"))
    return f"below both random controls beyond chance, {', '.join(said)}"


CLAIMS = (
    Claim("2", "class_similarity", "lenet_mnist", "mean similarity of two digits ≈ 0.5",
          lambda table: f"{default(table)['mean']:.3f}", mean_agrees),
    Claim("2", "class_similarity", "lenet_mnist", "digit 1 is the most special, ≈ 0.35",
          lambda table: "digit {}, {:.3f}".format(*special(table)), special_agrees),
    Claim("2", "class_similarity", "lenet_mnist", "5 and 8 are the closest pair",
          lambda table: " and ".join(default(table)["closest"]), closest_agrees),
    *(
        Claim("3", "density_growth", case, "density grows ever more slowly with the classes merged", slopes,
              lambda table: "agrees" if falling(table) else "does not agree everywhere")
        for case in ("lenet_mnist", "resnet20_cifar100", "squeezenet_imagenet")
    ),
    *(
        Claim("5, 14", "layer_similarity", case, "attacked images lie less in the class path, layer by layer",
              closer, closer_agrees)
        for case in ("lenet_mnist", "alexnet_imagenette", "resnet50_imagenette")
    ),
    Claim("13", "class_similarity", "resnet20_cifar100", "classes of one superclass are more similar",
          superclass_means, superclasses_agree),
    *(
        Claim("15", "tsne", case, "clean and attacked images part in the plane", votes,
              lambda table: "a picture, no number to compare")
        for case in ("lenet_mnist", "alexnet_imagenette", "resnet50_imagenette")
    ),
    *(
        Claim("21", "training_process", case, "three phases of training", phases, phases_agree)
        for case in ("lenet_mnist", "resnet20_cifar10")
    ),
    Claim("22, 23", "layer_density", "lenet_mnist", "density by layer; overall 13.8 %",
          densest, density_agrees(13.8)),
    Claim("22, 23", "layer_density", "resnet50_imagenette",
          "density by layer, residual blocks marked; overall 22.2 %", densest, density_agrees(22.2)),
    *(
        Claim("Sec. 2.2", "deactivation", case, "accuracy drops at once when parts of the path go",
              dropped, drop_agrees)
        for case in ("lenet_mnist", "alexnet_imagenette")
    ),
)  # fmt: skip


@part
def beside_the_paper(results: Path) -> str:
    """The paper's figures on what a network looks like inside, row by row, beside ours."""
    lines = []
    for claim in CLAIMS:
        file = folder_of(results, claim.study) / f"{claim.case}.json"
        if file.exists():
            table = read_result(file)
            found = [claim.ours(table), claim.agreement(table), f"`{table['command']}`"]
        else:
            page = FIGURES[claim.study].page
            how = f"python studies/reproduce.py --study {claim.study} --case {claim.case}"
            found = ["not measured", "–", f"`{how} --output docs/results/{page}`"]
        lines.append([claim.figure, claim.case, claim.paper, *found])
    head = ["figure", "network", "the paper", "ours", "agreement, or the measured reason", "command"]
    return markdown(head, lines)


# ---------------------------------------------------------------- study by study


@part
def pictures(results: Path, study: str) -> str:
    """The figures of a study, each with the sentence that says what to see."""
    figure = FIGURES[study]
    shown = [
        f"![{figure.paper}, {network}](results/{figure.page}/{study}/{network}{figure.form})\n\n"
        f"*{network}*: {figure.sentence(table)}"
        for network, table in results_of(results, study).items()
    ]
    return "\n\n".join(shown)


@by_line(
    "class_similarity", "preset | images | mean | most special class, its mean | closest pair, its similarity"
)
def classes(table: Row) -> Lines:
    """How similar class paths are."""
    for preset, row in table["presets"].items():
        at = [row["classes"].index(name) for name in row["closest"]]
        yield [
            preset, str(row["images"]), f"{row['mean']:.3f}",
            f"{row['most_special']}, {min(row['class_means']):.3f}",
            f"{' and '.join(row['closest'])}, {row['similarity'][at[0]][at[1]]:.3f}",
        ]  # fmt: skip


@by_line("class_similarity", "preset | superclasses | inside | between | pairs inside | p")
def superclasses(table: Row) -> Lines:
    """Whether classes of one superclass are more similar than others."""
    for preset, row in table["presets"].items():
        for key, test in row.get("superclasses", {}).items():
            which = {"all": "all twenty", "few": "the three of Fig. 13"}[key]
            means = (f"{test['inside']:.3f}", f"{test['between']:.3f}")
            yield [preset, which, *means, str(test["pairs_inside"]), f"{test['p']:.2g}"]


@by_line("class_similarity", "preset | test images | Spearman | p | most confused pair")
def confusions(table: Row) -> Lines:
    """Whether similar classes are those that the network confuses."""
    for preset, row in table["presets"].items():
        test = row.get("confusion")
        if test and test["spearman"] is not None:
            pair = " and ".join(test["most_confused"])
            yield [preset, str(table["test_images"]), f"{test['spearman']:.2f}", f"{test['p']:.2g}", pair]


@by_line(
    "density_growth",
    "images | classes | level | " + " | ".join(f"{at} merged" for at in AT) + " | all | points added after",
)
def growth(table: Row) -> Lines:
    """Density over merged classes."""
    for level, row in table["by_classes"].items():
        cells = [percent(row[int(at) - 1]) if int(at) < table["classes"] else "–" for at in AT]
        added = ", ".join(f"{at}: {points(slope)}" for at, slope in table["slope"][level].items())
        yield [str(table["images"]), str(table["classes"]), level, *cells, percent(row[-1]), added]


@by_line("layer_density", "images | classes | level | overall path | densest layer | sparsest layer")
def by_layer(table: Row) -> Lines:
    """Density of the overall path, of all layers, the densest and the sparsest."""
    for level in table["density"]:
        ends = [f"{name}, {percent(value)}" for name, value in extremes(table, level)]
        yield [str(table["images"]), str(table["classes"]), level, percent(table["whole"][level]), *ends]


@by_line(
    "training_process",
    "step | accuracy | " + " | ".join(f"{level}: density | similarity, median (quartiles)" for level in SHOWN),
)
def training(table: Row) -> Lines:
    """Accuracy, density and similarity at the checkpoints of a training."""
    for place, step in enumerate(table["steps"]):
        cells = []
        for level in SHOWN:
            row = table["levels"][level]
            _, low, median, high, _ = row["box"][place]
            cells += [percent(row["density"][place]), f"{median:.3f} ({low:.3f} – {high:.3f})"]
        yield [str(step), percent(table["accuracy"][place]), *cells]


@by_line("training_process", "level | of | " + " | ".join(PHASES) + " | three phases")
def training_phases(table: Row) -> Lines:
    """What density and mean similarity do in each phase."""
    for level, row in table["phases"].items():
        for key, name in {"density": "density", "mean": "similarity"}.items():
            yield [level, name, *row[key], "found" if row["found"] else "not found"]


@by_line("deactivation", "level | off: share of the path | " + " | ".join(WAYS))
def deactivated(table: Row) -> Lines:
    """Accuracy without parts of a network."""
    found = table["accuracy"]
    yield [table["level"], "nothing", *[with_interval(table["whole"])] * len(WAYS)]
    for place, share in enumerate(table["shares"]):
        cells = [with_interval(found[way][place]) if way in found else "–" for way in WAYS]
        yield [table["level"], percent(share), *cells]


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
def trained_here(results: Path) -> str:
    """The networks that this project trained for its studies."""
    head = ["network", "data", "training images", "epochs", "test images", "accuracy", "of the superclass", "size"]
    lines = []
    for file in sorted((results / "inside" / "trained").glob("*.json")):
        row = read_result(file)
        lines.append([
            row["network"], row["data"], str(row["training_images"]), str(row["recipe"]["epochs"]),
            str(row["test_images"]), percent(row['accuracy']), percent(row['superclass_accuracy']),
            f"{row['weights_bytes'] / 1e6:.2f} MB",
        ])  # fmt: skip
    return markdown(head, lines) if lines else NOT_MEASURED


@part
def inside_commands(results: Path) -> str:
    """The commands that made the results of this page."""
    files = sorted((results / "inside").glob("*/*.json"))
    return code("\n".join(dict.fromkeys(read_result(file)["command"] for file in files)))
