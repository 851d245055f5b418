"""Bytes and time of path sets: effpath's rows or bits beside packed bits, sorted ids and Roaring bitmaps.

    EFFPATH_DATA=DIR python -m benchmarks.sets --cache DIR --output docs/results/sets.json
    python -m benchmarks.sets --read docs/results/sets.json --page docs/sets.md

The sets are synapses of trained networks: of one image, and of unions over images of one class. A time is that of
all layers together. Before any time is taken, every way must give the same sets. Process time, one thread, median
and quartiles. Needs pyroaring. With ``--read`` nothing is measured; ``--page`` puts the table into a page.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

import effpath
from benchmarks.machine import machine, versions
from benchmarks.networks import research_folder, research_loader
from benchmarks.set_ways import WAYS, Ids, SortedIds
from effpath.files.cache import atomic_write
from effpath.files.progress import track
from effpath.models import load_model

Slots = dict[str, list[Ids]]  # by layer, of each image
CASES = ["alexnet_imagenette:all:3", "alexnet_imagenette:all:8", "resnet50_imagenette:10:10"]
MARK = "<!-- the table: python -m benchmarks.sets --read docs/results/sets.json --page docs/sets.md -->"
ENOUGH = 2e-3  # seconds that one timing lasts at least
LONG = 0.3  # seconds; what takes longer is run three times only
MEASURES = ("build", "union", "intersection_size", "jaccard", "contains_1e5", "contains_1e6",
            "contains_1e6_shuffled", "iterate", "save_load")  # fmt: skip


def load_images(model: Any, label: int, count: int) -> torch.Tensor:
    """Return images of one class, training images first."""
    module = research_loader()
    parts = []
    for split in ("train", "val"):
        images, labels = module.load_images("imagenette", split, size=model.input_size[-1])
        parts.append(module.to_tensor(images[labels == label]))
    images = torch.cat(parts)[:count]
    if len(images) < count:
        raise SystemExit(f"expected {count} images of class {label}, there are {len(images)}")
    return images


def extract(network: str, layers: str, label: int, count: int) -> tuple[Slots, dict[str, int]]:
    """Return the synapse slots of images of one class, and the universe of each layer."""
    model = load_model(f"{research_folder() / 'load.py'}:{network}")
    images = load_images(model, label, count)
    graph = effpath.capture(model, images[:1])
    slots: Slots = {}
    sizes: dict[str, int] = {}
    with track(f"{network}, class {label}") as progress:
        for start in range(0, count, 10):
            wanted = None if layers == "all" else int(layers)
            paths = effpath.extract(graph, images[start : start + 10], layers=wanted)
            for key, ragged in paths.synapses.items():
                slots.setdefault(key, []).extend(ragged[i] for i in range(len(paths)))
                sizes[key] = paths.header.universe("synapses", key)
            progress(start + len(paths), count)
    return slots, sizes


def cached(folder: Path | None, network: str, layers: str, label: int, count: int) -> tuple[Slots, dict[str, int]]:
    """Return what `extract` gives, from the folder where it is there."""
    if folder is None:
        return extract(network, layers, label, count)
    file = folder / f"slots_{network}_{layers}_{label}_{count}.npz"
    if not file.exists():
        slots, sizes = extract(network, layers, label, count)
        held = {f"ids/{key}": np.concatenate(parts) for key, parts in slots.items()}
        held |= {f"ends/{key}": np.cumsum([len(part) for part in parts]) for key, parts in slots.items()}
        held |= {f"size/{key}": np.int64(size) for key, size in sizes.items()}
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(file, **held)
    with np.load(file) as held:
        keys = [name.removeprefix("size/") for name in held.files if name.startswith("size/")]
        slots = {key: np.split(held[f"ids/{key}"], held[f"ends/{key}"][:-1]) for key in keys}
        return slots, {key: int(held[f"size/{key}"]) for key in keys}


def seconds(work: Callable[[], Any], repeats: int) -> list[float]:
    """Return process times of one run, each averaged over as many as last `ENOUGH`."""
    begin = time.process_time()
    work()
    first = time.process_time() - begin
    loops = max(1, math.ceil(ENOUGH / max(first, 1e-7)))
    found = []
    for _ in range(repeats if first < LONG else 3):
        begin = time.process_time()
        for _ in range(loops):
            work()
        found.append((time.process_time() - begin) / loops)
    return found


def save_and_load(way: Any, held: dict[str, Any], sizes: dict[str, int], file: Path) -> list[Any]:
    save_file({f"{key}/{name}": a for key, one in held.items() for name, a in one.arrays().items()}, file)
    arrays: dict[str, dict[str, Any]] = {}
    for name, array in load_file(file).items():
        key, _, kind = name.rpartition("/")
        arrays.setdefault(key, {})[kind] = array
    return [way.of_arrays(arrays[key], sizes[key]) for key in held]


def questions(slots: Slots, sizes: dict[str, int], count: int, *, shuffled: bool) -> dict[str, Ids]:
    """Return ids to ask for, by layer in the shares of the slots.

    They are the images' slots end to end, or half of these and half drawn from the universe, shuffled.
    """
    rng = np.random.default_rng(0)
    laid = {key: np.concatenate(parts) for key, parts in slots.items()}
    total = sum(map(len, laid.values()))
    asked = {}
    for key, ids in laid.items():
        wanted = round(count * len(ids) / total)
        if shuffled:
            half = rng.choice(ids, wanted // 2) if len(ids) else ids
            asked[key] = rng.permutation(np.concatenate([half, rng.integers(0, sizes[key], wanted - len(half))]))
        else:
            asked[key] = np.resize(ids, wanted)
    return asked


def check(
    ways: dict[str, tuple[dict[str, Any], dict[str, Any]]], asked: dict[str, Ids], keys: Sequence[str]
) -> None:
    """Stop unless every way gives the same sets and answers."""
    for key in keys:
        plain, plain_other = (side[key] for side in ways[SortedIds.name])
        for name, sides in ways.items():
            one, other = (side[key] for side in sides)
            same = (
                np.array_equal(one.ids(), plain.ids())
                and np.array_equal(other.ids(), plain_other.ids())
                and np.array_equal(one.union_ids(other), plain.union_ids(plain_other))
                and one.intersection_size(other) == plain.intersection_size(plain_other)
                and np.isclose(one.jaccard(other), plain.jaccard(plain_other), rtol=1e-12)
                and (not len(plain.ids()) or np.array_equal(one.contains(asked[key]), plain.contains(asked[key])))
            )
            if not same:
                raise SystemExit(f"{name}: other sets than sorted ids in {key}; nothing is reported")


def measure(
    title: dict[str, Any], laid: tuple[dict[str, Ids], dict[str, Ids]], sizes: dict[str, int], slots: Slots,
    *, repeats: int, file: Path,
) -> list[dict[str, Any]]:  # fmt: skip
    """Measure all ways on two operands, each the ids of one or more images by layer."""
    keys = [key for key in sizes if all(len(side[key]) for side in laid)]  # Jaccard of two empty sets is undefined
    ways: dict[str, Any] = {
        way.name: tuple({key: way(side[key], sizes[key]) for key in keys} for side in laid) for way in WAYS
    }
    asked = {
        "contains_1e5": questions(slots, sizes, 10**5, shuffled=False),
        "contains_1e6": questions(slots, sizes, 10**6, shuffled=False),
        "contains_1e6_shuffled": questions(slots, sizes, 10**6, shuffled=True),
    }
    check(ways, asked["contains_1e6_shuffled"], keys)
    rows = []
    for way in WAYS:
        one, other = ways[way.name]
        works: dict[str, Callable[[], Any]] = {
            "build": lambda way=way: [way(laid[1][key], sizes[key]) for key in keys],
            "save_load": lambda way=way, other=other: save_and_load(way, other, sizes, file),
            "iterate": lambda other=other: [other[key].iterate() for key in keys],
        }
        for name in ("union", "intersection_size", "jaccard"):
            works[name] = lambda name=name, one=one, other=other: [getattr(one[k], name)(other[k]) for k in keys]
        for name, ids in asked.items():
            works[name] = lambda ids=ids, other=other: [other[key].contains(ids[key]) for key in keys]
        row = {
            **title,
            "way": way.name,
            "members": [sum(len(side[key].ids()) for key in keys) for side in (one, other)],
            "universe": sum(sizes[key] for key in keys),
            "bytes": [sum(side[key].nbytes() for key in keys) for side in (one, other)],
        }
        for name in MEASURES:
            times = 1e3 * np.array(seconds(works[name], repeats))
            row[f"{name}_ms"] = float(f"{np.median(times):.4g}")
            row[f"{name}_ms_quartiles"] = [float(f"{q:.4g}") for q in np.quantile(times, [0.25, 0.75])]
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def run(case: str, cache: Path | None, images: Sequence[int], repeats: int, file: Path) -> list[dict[str, Any]]:
    """Measure one network: unions over images of two classes, and one image with the largest union."""
    network, layers, last = case.split(":")
    (first, sizes), (second, _) = (cached(cache, network, layers, label, max(images)) for label in (0, 1))
    keep = list(sizes)[-int(last) :]
    first, second = ({key: side[key] for key in keep} for side in (first, second))
    sizes = {key: sizes[key] for key in keep}

    def laid(slots: Slots, count: int, start: int = 0) -> dict[str, Ids]:
        return {key: np.concatenate(parts[start : start + count]) for key, parts in slots.items()}

    pairs = [(count, count, laid(second, count), laid(first, count)) for count in images]
    pairs.append((1, max(images), laid(second, 1), laid(first, max(images))))
    rows = []
    for few, many, one, other in pairs:
        title = {"network": network, "layers": len(keep), "images": [few, many]}
        rows += measure(title, (one, other), sizes, second, repeats=repeats, file=file)
    return rows


def table(found: dict[str, Any]) -> str:
    """Return the rows as Markdown: bytes of the second operand, times in ms."""
    heads = ["set", "MB", "build", "union", "size of ∩", "Jaccard", "10⁵ in", "10⁶ in", "shuffled"]
    heads += ["iterate", "save, load"]
    lines = []
    cases: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in found["rows"]:
        cases.setdefault((row["network"], row["layers"], *row["images"]), []).append(row)
    for (network, layers, few, many), rows in cases.items():
        a, b = rows[0]["members"]
        lines.append(
            f"\n**{network}, last {layers} layers, {few} with {many} image{'s' * (many > 1)}** "
            f"({a:,} and {b:,} members of {rows[0]['universe']:,})\n"
        )
        lines += ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
        columns = [[row["bytes"][1] / 1e6 for row in rows]]
        columns += [[row[f"{name}_ms"] for row in rows] for name in MEASURES]
        for i, row in enumerate(rows):
            cells = [f"{'**' * (c[i] == min(c))}{c[i]:.3g}{'**' * (c[i] == min(c))}" for c in columns]
            lines.append(f"| {row['way']} | " + " | ".join(cells) + " |")
    machine, versions = found["machine"], found["versions"]
    lines.append(
        f"\n{machine['processor']}, {machine['cores']} cores, one thread, process time in ms, medians of "
        f"{found['repeats']} (3 above {LONG} s); "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + "."
    )
    return "\n".join(lines).strip()


def joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return several runs of one machine, versions and number of repeats as one."""
    about = [{key: value for key, value in part.items() if key != "rows"} for part in parts]
    if any(one != about[0] for one in about):
        raise SystemExit("expected runs of one machine, the same versions and repeats; measure them together")
    return {**about[0], "rows": [row for part in parts for row in part["rows"]]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=CASES, help="NETWORK:LAYERS EXTRACTED:LAST LAYERS MEASURED")
    parser.add_argument("--images", type=int, nargs="+", default=[1, 30, 250])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cache", type=Path, help="a folder that extracted slots are kept in")
    parser.add_argument("--output", type=Path, help="a .json file")
    parser.add_argument("--read", type=Path, nargs="+", help=".json files of earlier runs instead of measuring")
    parser.add_argument("--page", type=Path, help="a Markdown page; all below its mark becomes the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.read:
        found = joined([json.loads(file.read_text(encoding="utf-8")) for file in options.read])
    else:
        found = {
            "machine": machine(),
            "versions": versions(("numpy", "numba", "pyroaring")),
            "repeats": options.repeats,
            "rows": [],
        }
        with tempfile.TemporaryDirectory() as folder:
            for case in options.cases:
                found["rows"] += run(
                    case, options.cache, options.images, options.repeats, Path(folder) / "sets.safetensors"
                )
    if options.output:
        text = json.dumps(found, indent=1) + "\n"
        atomic_write(options.output, lambda file: file.write_text(text, encoding="utf-8") and None)
    if options.page:
        above = options.page.read_text(encoding="utf-8").split(MARK)[0]
        page = f"{above}{MARK}\n\n{table(found)}\n"
        atomic_write(options.page, lambda file: file.write_text(page, encoding="utf-8") and None)


if __name__ == "__main__":
    main()
