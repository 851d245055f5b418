"""What is generated of the pages: each part stands between ``<!-- table NAME -->`` and ``<!-- end -->``.

A part is a function of the folder of all results, and of the words that stand behind its name in the page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from detection.cases import CASES
from effpath.detect.classifiers import DEFAULT_KIND
from effpath.detect.signs.profiles import PROFILES
from effpath.errors import InputError
from figures import FIGURES
from sources import Row, read_result, write_text

Lines = Iterator[list[str]]
Part = Callable[..., str]
PLACE = re.compile(r"(<!-- table (\w+)((?: \w+)*) -->\n).*?(<!-- end -->)", re.DOTALL)
TABLES: dict[str, Part] = {}


def part(made: Part) -> Part:
    """Register a function that gives a part of a page."""
    TABLES[made.__name__] = made
    return made


def by_line(study: str, head: str, *, shipped: bool = False) -> Callable[[Callable[[Row], Lines]], Part]:
    """Make a part of a function that gives the lines of a network: one table under ``head`` of all networks.

    Of a table of what is ``shipped``, networks whose default had other signs when it was judged have a dagger.
    """

    def put(lines: Callable[[Row], Lines]) -> Part:
        def table(results: Path) -> str:
            found = results_of(results, study)
            before = judged_before(results) if shipped else set()
            shown = {network: network + " †" * (network in before) for network in found}
            rows = [[shown[network], *line] for network, result in found.items() for line in lines(result)]
            if not rows and folder_of(results, study).parent.name == "inside":
                return NOT_MEASURED
            return markdown(["network", *head.split(" | ")], rows)

        return TABLES.setdefault(lines.__name__, table)

    return put


TITLES = {  # of networks, in the tables of the README
    "lenet_digits": "LeNet-5, scikit-learn's digits", "lenet_mnist": "LeNet-5, MNIST",
    "resnet20_cifar10": "ResNet-20, CIFAR-10", "alexnet_imagenette": "AlexNet, Imagenette",
    "googlenet_imagenette": "GoogLeNet, Imagenette", "resnet50_imagenette": "ResNet-50, Imagenette",
}  # fmt: skip
NOT_MEASURED = "*Not measured.*"


def by_column(study: str, corner: str) -> Callable[[Callable[[Row], Mapping[str, str]]], Part]:
    """Make a part of a function that gives the cells of a network by name: a table, a column for each network."""

    def put(cells: Callable[[Row], Mapping[str, str]]) -> Part:
        def table(results: Path) -> str:
            found = {network: cells(result) for network, result in results_of(results, study).items()}
            names = dict.fromkeys(name for column in found.values() for name in column)
            lines = [[name, *(column.get(name, "–") for column in found.values())] for name in names]
            return markdown([corner, *found], lines)

        return TABLES.setdefault(cells.__name__, table)

    return put


def folder_of(results: Path, study: str) -> Path:
    """Return the folder of a study's results and pictures: it is named like the page that shows them."""
    return results / (FIGURES[study].page if study in FIGURES else "detection") / study


def results_of(results: Path, study: str) -> dict[str, Row]:
    """Return the results of a study by network, in the order of the cases, others behind by name."""
    found = {file.stem: read_result(file) for file in folder_of(results, study).glob("*.json")}
    return {name: found[name] for name in (*CASES, *sorted(found)) if name in found}


def judged_before(results: Path) -> set[str]:
    """Return the networks whose default was judged with other signs than it has now."""
    now = [sign.name for sign in PROFILES[DEFAULT_KIND].signs]
    return {name for name, table in results_of(results, "profiles").items() if table["signs"][DEFAULT_KIND] != now}


def fill(page: str, results: Path) -> str:
    """Return a page with its generated parts made again."""

    def made(found: re.Match[str]) -> str:
        if found[2] not in TABLES:
            raise InputError(f"unknown table {found[2]!r}; expected one of: {', '.join(TABLES)}")
        return f"{found[1]}{TABLES[found[2]](results, *found[3].split())}\n{found[4]}"

    return PLACE.sub(made, page)


def fill_file(page: Path, results: Path) -> bool:
    """Make the generated parts of a page again; tell whether they changed."""
    before = page.read_text(encoding="utf-8")
    after = fill(before, results)
    if after != before:
        write_text(after, page)
    return after != before


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def with_interval(values: Sequence[float], form: str = ".3f") -> str:
    value, low, high = (format(value, form) for value in values)
    return f"{value} ({low} – {high})"


def code(command: str) -> str:
    return f"```\n{command}\n```"
