"""The figures and tables of the paper, and of this project: what measures each, and how it is drawn.

Each is a file: ``measure`` gives numbers, ``panels`` what is drawn of them. `FIGURES` lists them for the command,
`studies/reproduce.py`, and for the page, `detection.page`. Where nothing else is said, AUC and rates are means
over five splits that are disjoint by source image, with 95 % intervals of a bootstrap over source images, the same
resamples for all that is compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from detection.cases import Case
from detection.gather import OTHERS, gather
from detection.product import PID
from detection.seen import Seen
from detection.signs import SIGNS
from drawing import Draw, Panel, clouds, curves, in_words, intervals, matrices
from effpath import PRESETS
from effpath.errors import OptionError
from effpath.rules import LEVELS
from figures import (
    branches,
    breadth,
    candidates,
    cdrp,
    class_similarity,
    combining,
    controls,
    deactivation,
    density_growth,
    detectors,
    floors,
    further_signs,
    layer_density,
    layer_similarity,
    layers,
    pixels,
    profiles,
    promise,
    recovery,
    roc,
    slicing,
    theta,
    training_process,
    training_size,
    transfer,
    tsne,
)
from sources import Row, read_result

HEADING = (
    "network", "network_fingerprint", "data", "seed", "accuracy", "clean_images", "attacked_images",
    "training_images", "attacks",
)  # fmt: skip
ALL = ("",)  # controls: every name begins so
OPTIONS: dict[str, Row] = {  # of single studies, by the name of the parameter
    "images": {"type": int, "help": "use so many of the images, evenly spread"},
    "per_class": {"type": int, "help": "training images per class for class paths"},
    "gated": {"nargs": "+", "help": "nodes whose channels have gates; without, see `gated_nodes`"},
    "gathered": {"nargs": "+", "help": "use these of the case's attacks"},
    "timed": {"type": int, "help": "images whose time is taken"},
    "level": {"choices": LEVELS, "help": "what is switched off"},
    "device": {"help": "such as cuda: where attacks are searched, without --study, or networks are trained"},
    "presets": {"nargs": "+", "choices": PRESETS, "help": "selections that are compared"},
}


@dataclass(frozen=True)
class Figure:
    """A line of the table.

    Attributes:
        paper: the figure or table of the paper, and what it shows.
        study: the module that measures it, with ``measure`` and ``panels``.
        draw: one of the four drawings.
        columns: panels side by side.
        others: what the study looks at beside paths; None where it gathers its images itself.
        controls: how the names of images begin that were not attacked and that it looks at, beside clean ones and
            natural mistakes.
        reads: the study whose results it reads instead of images.
        options: of `OPTIONS`, those that ``measure`` takes.
        form: of the picture in a folder of results.
        page: that shows it, and the folder of its results.
    """

    paper: str
    study: ModuleType
    draw: Draw
    columns: int = 1
    others: Sequence[str] | None = ()
    controls: Sequence[str] = ()
    reads: str = ""
    options: Sequence[str] = ()
    form: str = ".png"
    page: str = "detection"

    def result(self, name: str, case: Case, seed: int, output: Path, given: Mapping[str, Any]) -> Row:
        """Measure a case, with the options that are given; ``output`` is the folder of all results."""
        if wrong := sorted(set(given) - set(self.options)):
            raise OptionError(f"expected no --{wrong[0].replace('_', '-')} for {self.study.__name__}")
        if self.reads:
            return {"network": name, **self.study.measure(read_result(output / self.reads / f"{name}.json"))}
        if self.others is None:
            return {"network": name, **self.study.measure(case, seed=seed, **given)}
        seen = gather(name, case, seed=seed, others=self.others, controls=self.controls)
        return {**heading(seen), **self.study.measure(seen, **given)}

    def panels(self, tables: Mapping[str, Row]) -> list[Panel]:
        """Return the panels of several networks, those of each on lines of their own."""
        return [panel for network, table in tables.items() for panel in self.study.panels(network, table)]

    def drawn(self, tables: Mapping[str, Row], file: Path) -> bool:
        """Draw results by network; False where they hold nothing to be drawn."""
        panels = self.panels(tables)
        if panels:
            self.draw(panels, file, self.columns)
        return bool(panels)

    def sentence(self, table: Row) -> str:
        """Return what there is to see in the picture of a study that says so."""
        said: str = self.study.sentence(table)
        return said

    def words(self, name: str, table: Row) -> list[str]:
        """Return what was found, and what was left out."""
        out = {**table.get("skipped", {}), **table.get("left_out", {})}
        out |= dict.fromkeys(table.get("only_tested", ()), "too few images to train on it alone")
        lines = [f"left out: {key}, {why}" for key, why in out.items()]
        lines += [f"{key}: {value}" for key, value in table.get("time", {}).items()]
        lines += [self.sentence(table)] if self.page == "inside" else []
        return [*lines, *in_words(self.panels({name: table}))]


def _inside(
    paper: str, study: ModuleType, draw: Draw, columns: int, options: Sequence[str] = ("per_class",)
) -> Figure:
    """Return a figure of docs/inside.md, whose study gathers its images itself and says what there is to see."""
    return Figure(paper, study, draw, columns, None, options=options, form=".svg", page="inside")


FIGURES: dict[str, Figure] = {
    "layer_similarity": Figure("5, 14: similarity by layer, and its delta", layer_similarity, curves, 3),
    "roc": Figure("6, 7, 16: ROC", roc, curves, 5),
    "detectors": Figure("8, 17: detectors", detectors, intervals, 5, OTHERS),
    "further_signs": Figure("joint surprise with further signs", further_signs, intervals, 1, OTHERS),
    "training_size": Figure("9, 18: size of the training set", training_size, curves, 3, ("CDRP",)),
    "transfer": Figure("10, 19: attacks seen in training", transfer, matrices, 5, OTHERS),
    "theta": Figure("11: θ", theta, curves, options=("images", "per_class")),
    "layers": Figure("12, 20: layers", layers, curves, 2),
    "tsne": Figure("15: t-SNE", tsne, clouds),
    "breadth": Figure("Table 2: breadth", breadth, matrices, reads="detectors"),
    "cdrp": Figure(
        "beside CDRP, with times (Table 1: see also [speed](speed.md))", cdrp, intervals, 4, None,
        options=("images", "gated", "gathered", "timed"),
    ),
    "profiles": Figure("the profiles of cost, and what paths add to them", profiles, intervals, 2, OTHERS),
    "branches": Figure(
        "both branches of a residual sum, or what θ keeps", branches, intervals, 3, None,
        options=("images", "per_class", "gathered"),
    ),
    "candidates": Figure(
        "signs that no profile has", candidates, intervals, 1, (SIGNS,), controls=("square of ",)
    ),
    "floors": Figure("a sign of the default, and what each counts at least", floors, intervals, 1, (SIGNS,)),
    "combining": Figure("the rules by which signs combine, and each sign", combining, intervals, 1, (SIGNS,)),
    "pixels": Figure("what the signs of the pixels add", pixels, intervals, 2, (SIGNS,), controls=ALL),
    "controls": Figure("images without an attack", controls, intervals, others=OTHERS, controls=ALL),
    "promise": Figure("false alarms over many calibrations", promise, intervals, 3, (SIGNS, PID)),
    "recovery": Figure("the true class of flagged images", recovery, intervals, 2),
    "class_similarity": _inside(
        "2, 13: similarity of classes", class_similarity, matrices, 1, ("per_class", "presets")
    ),
    "density_growth": _inside("3: growth of density", density_growth, curves, 2),
    "layer_density": _inside("22, 23: density by layer", layer_density, curves, 2),
    "training_process": _inside(
        "21: the training process", training_process, curves, 2, ("images", "per_class", "device")
    ),
    "deactivation": _inside(
        "Sec. 2.2: parts of the path switched off", deactivation, curves, 1, ("level", "images", "per_class")
    ),
    "slicing": _inside("a network reduced to some classes", slicing, curves, 3, ("images", "per_class")),
}  # fmt: skip


def heading(seen: Seen) -> Row:
    """Return what every table says of its case."""
    return {key: seen.about[key] for key in HEADING}
