"""The tables of docs/real-networks.md, from the results of `real_paths` and `default_preset`."""

from __future__ import annotations

from pathlib import Path

from default_preset import COMBINATIONS, DETECTORS, TODAY
from effpath.files.plain import percent
from effpath.rules.plan import LEVELS
from page_parts import code, markdown, part, with_interval
from sources import Row, read_result

PAPER = {"alexnet": "20.5 %", "resnet50": "22.2 %"}  # overall synapse density, θ = 0.5; networks we have too


def by_name(folder: Path) -> dict[str, Row]:
    return {file.stem: read_result(file) for file in sorted(folder.glob("*.json"))}


@part
def densities(results: Path) -> str:
    """A line for each network: single images, class paths, overall path, similarity."""
    head = ["network, data", "preset", "image: synapses", "neurons", "weights", "class: synapses"]
    head += ["overall: synapses", "neurons", "weights", "images", "classes", "Jaccard", "paper, overall"]
    rows = []
    for table in by_name(results / "real").values():
        last, pooled = table["growth"][-1], table["settings"]["pooled"]
        known = next((value for key, value in PAPER.items() if table["network"].startswith(key)), "")
        rows.append([
            f"{table['network']}, {table['data']}", table["settings"]["preset"],
            *("{} ± {}".format(*map(percent, table["single"][level])) for level in LEVELS),
            "" if pooled else percent(last["class"]["synapses"]),
            *(percent(last["overall"][level]) for level in LEVELS),
            str(last["images"]), str(last["images"] if pooled else len(table["by_classes"])),
            "" if pooled else f"{table['class_jaccard']['mean']:.3f}", known,
        ])  # fmt: skip
    return markdown(head, rows)


@part
def networks(results: Path) -> str:
    """A section for each network."""
    return "\n\n".join(network_section(name, table) for name, table in by_name(results / "real").items())


def network_section(name: str, table: Row) -> str:
    """Return everything of one result."""
    similar = ""
    if not table["settings"]["pooled"]:
        jaccard = table["class_jaccard"]
        similar = (
            f" Two class paths have a Jaccard of {jaccard['mean']:.3f} ({jaccard['least']:.3f} – "
            f"{jaccard['most']:.3f}); {table['held_out_images']} test images were compared with class paths."
        )
    where = f"{table['data']}{', pooled' if table['settings']['pooled'] else ''}"
    return f"""### {table["network"]} on {where}, preset `{table["settings"]["preset"]}`

![density and similarity of {table["network"]}](results/real/{name}.svg)

{growth_table(table)}

Single images: {table["single"]["images"]}.{similar}

<details><summary>by layer</summary>

{layer_table(table)}

</details>

{code(table["command"])}"""


def growth_table(table: Row) -> str:
    """Return overall and class density by number of images."""
    pooled = table["settings"]["pooled"]
    columns = [(kind, level) for kind in ("overall", "class")[: 1 if pooled else 2] for level in LEVELS]
    head = ["images looked at" if pooled else "images per class", "predicted correctly"]
    rows = [
        [str(row["size"]), str(row["images"]), *(percent(row[kind][level]) for kind, level in columns)]
        for row in table["growth"]
    ]
    return markdown([*head, *(f"{kind}: {level}" for kind, level in columns)], rows)


def layer_table(table: Row) -> str:
    """Return a line for each layer: density by level, similarity of classes and of images."""
    pooled = table["settings"]["pooled"]
    kinds = ("single", "overall") if pooled else ("single", "class", "overall")
    head = ["layer", *(f"{level}: {kind.replace('single', 'image')}" for level in LEVELS for kind in kinds)]
    head += [] if pooled else ["Jaccard of two classes", "image in own class", "in another"]
    rows = []
    for row in table["layers"]:
        cells = [row["layer"], *(percent(row[level][kind]) for level in LEVELS for kind in kinds)]
        if not pooled:
            pairs = (row["own"], row["other"])
            cells += [f"{row['jaccard']:.3f}", *("–" if v is None else f"{v:.3f} ± {sd:.3f}" for v, sd in pairs)]
        rows.append(cells)
    return markdown(head, rows)


@part
def presets(results: Path) -> str:
    """A section for each network on which selections were compared."""
    found = by_name(results / "default_preset")
    return "\n\n".join(preset_section(name, table) for name, table in found.items())


def preset_section(network: str, table: Row) -> str:
    """Return the comparison of selections on one network."""
    detectors = [f"{d}: {what}" for d in DETECTORS for what in ("AUC", "beyond today's")]
    head = ["target, bias, fallback", "synapses per image", "fall back", "out of reach", "path ends", *detectors]
    rows = []
    for name in COMBINATIONS:
        row = table["combinations"][name]
        cells = [f"**{name}**" if name == TODAY else name, str(row["synapses_mean"])]
        cells += [percent(row[key]) for key in ("fall_back", "unreachable", "path_ends")]
        for auc in (row["auc"][detector] for detector in DETECTORS):
            beyond = "" if name == TODAY else with_interval(auc["beyond today"], "+.3f")
            cells += [with_interval(auc["mean"]), beyond]
        rows.append(cells)
    attacks = "; ".join(
        f"{name} {row['succeeded']}/{row['tried']}, median L2 {row['median_l2']:.3g}, L∞ {row['median_linf']:.3g}"
        for name, row in table["attacks"].items()
    )
    soft = ", ".join(
        f"{name} {value[0]:.3f}"
        for name, value in table["combinations"][TODAY]["auc"]["max softmax"].items()
        if name in table["attacks"]
    )
    settings = table["settings"]
    return f"""### {network} on {table["data"]}

{markdown(head, rows)}

Attacks: {attacks}. AUC of the maximum softmax probability: {soft}. Class paths of the last layers
({settings["layers"]}) from {table["class_path_images"]} training images; {settings["sized"]} images for the sizes.

{code(table["command"])}"""
