"""How large the class paths of ImageNet networks are, what building them holds in memory, and how both grow.

    EFFPATH_DATA=DIR python -m benchmarks.stores.sizes --output docs/results/stores/sizes.json
    EFFPATH_DATA=DIR python -m benchmarks.stores.sizes --memory 4G --per-class 2 --memory-of 2 \
        --output docs/results/stores/memory.json

The stores are of Imagenette's ten classes, built by ``effpath profile``. One store of all levels and layers grows
by images of each class; its sizes are those of the arrays of each level and layer in the classes' files. The most
memory is that of commands that keep less, each a process of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.networks import research_folder
from benchmarks.page import table
from benchmarks.stores.child import OWN, of_peaks, run
from benchmarks.stores.result import RESULTS, mb, number, short, source, write_result
from effpath.class_paths.folder.store import Store
from effpath.class_paths.store import WHAT
from effpath.files.progress import track
from effpath.files.sealed import SealedFile

NETWORKS = ("alexnet_imagenette", "resnet50_imagenette")
KEPT: dict[str, dict[str, Any]] = {  # what is kept: levels, and the last layers
    "synapses, last 3 layers": {"levels": "synapses", "layers": 3},
    "synapses, last 10 layers": {"levels": "synapses", "layers": 10},
    "weights, all layers": {"levels": "weights"},
    "neurons, all layers": {"levels": "neurons"},
    "synapses, all layers": {"levels": "synapses"},
}
IMAGES, CLASSES = 1_281_167, 1000  # of ImageNet
Row = dict[str, Any]


def profile(network: str, store: Path, per_class: int, *options: object) -> list[object]:
    """Return the command that builds a store."""
    data = research_folder()
    model, images = f"{data / 'load.py'}:{network}", f"imagefolder:{data / 'imagenette'}"
    fixed = ["--engine", "inline", "--per-class", per_class, "-q"]  # the memory of one process
    return ["-m", "effpath", "profile", model, images, *fixed, "-o", store, *options]


def sizes(store: Path) -> dict[str, list[dict[str, int]]]:
    """Return bytes and ids by level and, in their order, layers: sums over the classes of a store."""
    opened = Store.open(store)
    layers = opened.manifest.about["layers"]
    found: dict[str, list[dict[str, int]]] = {
        level: [{"bytes": 0, "ids": 0} for _ in layers] for level in opened.manifest.about["levels"]
    }
    for label in opened.manifest.classes:
        kept = opened.class_file(label)
        if kept is None:
            continue
        with SealedFile(kept[0], WHAT) as file:
            for name in file.names:
                _, level, key = name.split("/", 2)
                key, _, kind = key.rpartition("/")
                layer = key if key in layers else key.rpartition(".")[0]  # weights have the name of the parameter
                array, entry = file.array(name), found[level][layers.index(layer)]
                entry["bytes"] += array.nbytes
                if kind != "starts":
                    entry["ids"] += int(np.bitwise_count(array).sum()) if kind == "bits" else len(array)
    return found


def of_kept(found: dict[str, list[dict[str, int]]], classes: int, kept: Row) -> dict[str, float]:
    """Return mean bytes and ids of a class for what is kept."""
    layers = found[kept["levels"]][-kept.get("layers", 10**6) :]
    return {what: sum(layer[what] for layer in layers) / classes for what in ("bytes", "ids")}


def measure(network: str, per_class: Sequence[int], memory_of: int, budget: Sequence[object]) -> Row:
    """Return sizes for so many images of each class, and the most memory for each that may be kept."""
    row: Row = {"growth": [], "peaks": {}}
    with tempfile.TemporaryDirectory() as name, track(network) as progress:
        for count in per_class:
            ran = run(profile(network, Path(name) / "store", count, *budget))
            store = Store.open(Path(name) / "store")
            entries = [entry for entry in store.manifest.classes.values() if entry.used]
            found = sizes(Path(name) / "store")
            row["growth"].append({
                "per_class": count, "used": sum(entry.used for entry in entries), "classes": len(entries),
                "kept": {what: of_kept(found, len(entries), kept) for what, kept in KEPT.items()},
                "files_bytes": sum(file.stat().st_size for file in (Path(name) / "store").rglob("*.*")),
                "peak_bytes": ran.peak_bytes, "cpu_s": round(ran.cpu_s, 1),
            })  # fmt: skip
            row["of_layers"] = len(store.manifest.about["layers"])
            progress(len(row["growth"]), len(per_class) + len(KEPT))
        for what, kept in KEPT.items():
            if kept.get("layers", 0) >= row["of_layers"]:
                continue  # all of them
            options = [part for key, value in kept.items() for part in (f"--{key}", value)]
            ran = run(profile(network, Path(name) / what, memory_of, *options, *budget))
            row["peaks"][what] = {"peak_bytes": ran.peak_bytes, "cpu_s": round(ran.cpu_s, 1)}
            progress(len(per_class) + len(row["peaks"]), len(per_class) + len(KEPT))
    return row


def grown(growth: list[Row], kept: str, images: float, what: str = "bytes") -> float:
    """Return bytes or ids of a class after so many images, by the power law through the measured ones around it.

    Beyond the last that was measured this is too much where growth slows down.
    """
    points = [(row["used"] / row["classes"], row["kept"][kept][what]) for row in growth]
    pairs = list(pairwise(points))
    if not pairs or images <= points[0][0]:
        return float(points[0][1])
    (n1, s1), (n2, s2) = next((pair for pair in pairs if images <= pair[1][0]), pairs[-1])
    return float(s1 * (images / n1) ** (math.log(s2 / s1) / math.log(n2 / n1)))


def kept_of(of_layers: int) -> list[str]:
    """Return what may be kept of a network: none of them twice."""
    return [kept for kept, about in KEPT.items() if about.get("layers", 0) < of_layers]


def measured_of_250(network: str, kept: str, of_layers: int) -> float | None:
    """Return the bytes of a class path of 250 images, where `benchmarks.sets` has measured it."""
    if KEPT[kept]["levels"] != "synapses":
        return None
    wanted = {"network": network, "layers": KEPT[kept].get("layers", of_layers), "images": [250, 250]}
    for row in json.loads((RESULTS.parent / "sets.json").read_text(encoding="utf-8"))["rows"]:
        if row["way"] == "effpath" and all(row[key] == value for key, value in wanted.items()):
            return float(np.mean(row["bytes"]))
    return None


def shown(found: Row) -> str:
    """Return bytes of a class path, as it grows."""
    counts = [row["per_class"] for row in next(iter(found["networks"].values()))["growth"]]
    per_class, lines = IMAGES / CLASSES, []
    for network, row in found["networks"].items():
        for kept in kept_of(row["of_layers"]):
            growth = row["growth"]
            check = measured_of_250(network, kept, row["of_layers"])
            lines.append([
                short(network), kept, *(number(each["kept"][kept]["bytes"] / 1e3) for each in growth),
                f"{growth[-1]['kept'][kept]['ids']:,.0f}", number(grown(growth, kept, 250) / 1e3),
                "" if check is None else number(check / 1e3), number(grown(growth, kept, per_class) / 1e3),
                number(CLASSES * grown(growth, kept, per_class) / 1e9),
            ])  # fmt: skip
    heads = ["network", "kept", *(f"{count} images, kB" for count in counts), f"ids of {counts[-1]}",
             "250 images, kB: extrapolated", "measured", f"{per_class:.0f} images, kB: extrapolated",
             "1000 classes, GB: extrapolated"]  # fmt: skip
    return table(heads, lines) + (
        "\n\nMeans over ten classes. What was measured of 250 images is the mean of two classes, by "
        f"`python -m benchmarks.sets`. {source(found)}"
    )


def shown_peaks(found: Row) -> str:
    """Return the most memory of commands."""
    lines = []
    for network, row in found["networks"].items():
        whole = row["growth"][-1]
        lines.append([short(network), "all levels, all layers", f"{whole['per_class']}", mb(whole["peak_bytes"])])
        for kept, peak in row["peaks"].items():
            lines.append([short(network), kept, f"{found['per_class']['peaks']}", mb(peak["peak_bytes"])])
    budget = f"The budget was {found['budget']}." if found["budget"] else "No budget was given; batches of 8."
    return (
        table(["network", "kept", "images of each of ten classes", "most memory, MB"], lines)
        + f"\n\n{budget} {of_peaks(found)}{source(found)}"
    )


def main() -> None:
    """Measure all networks, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--per-class", type=int, nargs="+", default=[3, 10, 30], help="images, ascending")
    parser.add_argument("--memory-of", type=int, default=3, help="images of each class where memory is measured")
    parser.add_argument("--memory", help="the budget that the commands are given")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    asked = parser.parse_args()
    budget = [] if asked.memory is None else ["--memory", asked.memory]
    networks: Row = {}
    images = {"growth": asked.per_class, "peaks": asked.memory_of}
    found = {"budget": asked.memory, "per_class": images, "networks": networks, **OWN}
    for name in asked.networks:
        networks[name] = measure(name, asked.per_class, asked.memory_of, budget)
        write_result(asked.output, "sizes", found, ("torch", "numpy", "numba"), research=True)


if __name__ == "__main__":
    main()
