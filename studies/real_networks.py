"""Write the docs page of the studies on real networks from their results.

    python studies/real_networks.py --paths docs/results/real/*.json \\
        --presets docs/results/default_preset/*.json --output docs/real-networks.md

Figures are those that the studies drew beside their results.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from default_preset import COMBINATIONS, DETECTORS, TODAY
from effpath.rules.plan import LEVELS
from sources import read_result, write_text

Row = dict[str, Any]
PAPER = {"alexnet": "20.5 %", "resnet50": "22.2 %"}  # overall synapse density, θ = 0.5; networks we have too

HEAD = """# Paths of real networks

Trained networks on real images: how much of a network one image, a class and a whole data set use, and how far a
class's path differs from another's. This page is written by

```
python studies/real_networks.py --paths docs/results/real/*.json \\
    --presets docs/results/default_preset/*.json --output docs/real-networks.md
```

from results that the commands below made, where `$EFFPATH_DATA` is a folder with the images and a `load.py` of
model factories. They are for research only and not part of this repository. All values are for θ = 0.5.
"""

BESIDE = """
## Density

Density is the share of all synapses (neurons, weights) of the network's layers. *Image*: mean and standard
deviation over single images. *Class*: mean over class paths. *Overall*: the union over all images that the
network predicts correctly, as many as the column *images* says. *Jaccard*: mean over each two class paths, all
layers together.

"""

DIFFERS = """
The paper reports overall synapse densities at θ = 0.5 of 20.5 % (AlexNet), 22.2 % (ResNet-50), 41.7 %
(Inception-v4) and 17.2 % (VGG-16), of 1000 classes and many images of each. Ours are not those figures and
should not be read as such:

- **Images and classes.** Ten classes, or one image of each of some hundred, and at most a few hundred images in
  all. Density still grows where our tables end, as the growth columns and plots below show.
- **Weights.** The networks are compressed: ResNet-50 and ResNet-18 are built from codebooks, so equal weights
  and ties are common; AlexNet's layers are quantised and its `fc6` was refitted on ten classes. GoogLeNet and
  SqueezeNet are rounded to half precision.
- **Selection.** The preset `paper` takes the target of the paper's Eq. 1 and leaves the bias, which a folded batch
  norm adds to every layer, out of the candidates. Other selections change the size of a path by up to two orders
  of magnitude, as the last section shows, and the authors' program has one of its own (`authors`).
- Inception-v4 and VGG-16 with trained weights were not available, so nothing is set beside them.
"""


def percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def name_of(table: Row) -> str:
    return f"{table['network']}, {table['settings']['preset']}"


def heading(table: Row) -> str:
    where = f"{table['data']}{', pooled' if table['settings']['pooled'] else ''}"
    return f"{table['network']} on {where}, preset `{table['settings']['preset']}`"


def lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)) + "\n"


def density_table(tables: Sequence[Row]) -> str:
    """Return a row a network: single images, class paths, overall path, similarity."""
    header = ["network, data", "preset", "image: synapses", "neurons", "weights", "class: synapses"]
    header += ["overall: synapses", "neurons", "weights", "images", "classes", "Jaccard", "paper, overall"]
    rows = []
    for table in tables:
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
    return lines(header, rows)


def growth_table(table: Row) -> str:
    """Return overall and class density by number of images."""
    pooled = table["settings"]["pooled"]
    header = ["images looked at" if pooled else "images a class", "predicted correctly"]
    header += [
        f"{kind}: {level}" for kind in (("overall",) if pooled else ("overall", "class")) for level in LEVELS
    ]
    rows = [
        [str(row["size"]), str(row["images"]), *(percent(row["overall"][level]) for level in LEVELS),
         *([] if pooled else [percent(row["class"][level]) for level in LEVELS])]
        for row in table["growth"]
    ]  # fmt: skip
    return lines(header, rows)


def layer_table(table: Row) -> str:
    """Return a row a layer: density by level, similarity of classes and of images."""
    pooled = table["settings"]["pooled"]
    kinds = ("single", "overall") if pooled else ("single", "class", "overall")
    header = [
        "layer",
        *(f"{level}: {'image' if kind == 'single' else kind}" for level in LEVELS for kind in kinds),
    ]
    header += [] if pooled else ["Jaccard of two classes", "image in own class", "in another"]
    rows = []
    for row in table["layers"]:
        cells = [row["layer"], *(percent(row[level][kind]) for level in LEVELS for kind in kinds)]
        if not pooled:
            pairs = (row["own"], row["other"])
            cells += [f"{row['jaccard']:.3f}", *("–" if v is None else f"{v:.3f} ± {sd:.3f}" for v, sd in pairs)]
        rows.append(cells)
    return lines(header, rows)


def network_section(table: Row, figure: str) -> str:
    """Return everything of one result."""
    similar = ""
    if not table["settings"]["pooled"]:
        jaccard = table["class_jaccard"]
        similar = (
            f" Two class paths have a Jaccard of {jaccard['mean']:.3f} ({jaccard['least']:.3f} – "
            f"{jaccard['most']:.3f}); {table['held_out_images']} test images were compared with class paths."
        )
    return f"""
### {heading(table)}

![density and similarity of {table["network"]}]({figure})

{growth_table(table)}
Single images: {table["single"]["images"]}.{similar}

<details><summary>by layer</summary>

{layer_table(table)}
</details>

```
{table["command"]}
```
"""


def preset_section(network: str, table: Row) -> str:
    """Return the comparison of selections on one network."""
    detectors = [f"{d}: {what}" for d in DETECTORS for what in ("AUC", "beyond today's")]
    header = ["target, bias, fallback", "synapses an image", "fall back", "out of reach", "path ends", *detectors]
    rows = []
    for name in COMBINATIONS:
        row = table["combinations"][name]
        cells = [f"**{name}**" if name == TODAY else name, str(row["synapses_mean"])]
        cells += [percent(row[key]) for key in ("fall_back", "unreachable", "path_ends")]
        for detector in DETECTORS:
            auc = row["auc"][detector]
            cells += ["{:.3f} ({:.3f} – {:.3f})".format(*auc["mean"])]
            cells += ["" if name == TODAY else "{:+.3f} ({:+.3f} – {:+.3f})".format(*auc["beyond today"])]
        rows.append(cells)
    attacks = "; ".join(
        f"{name} {row['succeeded']}/{row['tried']}, median L2 {row['median_l2']:.3g}, L∞ {row['median_linf']:.3g}"
        for name, row in table["attacks"].items()
    )
    soft = ", ".join(
        f"{name} {value[0]:.3f}" for name, value in table["combinations"][TODAY]["auc"]["max softmax"].items()
        if name in table["attacks"]
    )  # fmt: skip
    settings = table["settings"]
    return f"""
### {network} on {table["data"]}

{lines(header, rows)}
Attacks: {attacks}. AUC of the maximum softmax probability: {soft}. Class paths of the last layers
({settings["layers"]}) from {table["class_path_images"]} training images; {settings["sized"]} images for the sizes.

```
{table["command"]}
```
"""


PRESETS = """
## Which selection should be the default

Each combination of target, bias and fallback is measured from the same activations. *Fall back*, *out of reach*
and *path ends* are shares of the active neurons of whole paths: the target or every contribution is not
positive; the positive contributions do not reach the target; the bias alone reaches it, so that no synapse is
chosen. AUC is the mean over attacks and {splits} splits (40 % of the source images for training, 50 % for the
test, 10 % unused here) with a 95 % bootstrap interval over source images; the difference to today's default
(bold) is paired: the same images and resamples. What follows from it is in
[decisions](decisions.md#the-default-preset).

![synapses and AUC by selection]({figure})
"""


def page(paths: Mapping[Path, Row], presets: Mapping[Path, Row], folder: Path) -> str:
    """Return the page; links are relative to ``folder``."""

    def link(file: Path) -> str:
        return Path(os.path.relpath(file, folder)).as_posix()

    text = HEAD + BESIDE + density_table(list(paths.values())) + DIFFERS + "\n## Network by network\n"
    for file, table in paths.items():
        text += network_section(table, link(file.with_suffix(".svg")))
    if presets:
        first = next(iter(presets))
        splits = len(presets[first]["settings"]["seeds"])
        text += PRESETS.format(splits=splits, figure=link(first.parent.with_suffix(".svg")))
        for file, table in presets.items():
            text += preset_section(file.stem, table)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paths", type=Path, nargs="+", required=True, help="results of real_paths.py")
    parser.add_argument("--presets", type=Path, nargs="*", default=[], help="results of default_preset.py")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    paths, presets = (
        {file: read_result(file) for file in sorted(own)} for own in (options.paths, options.presets)
    )
    write_text(page(paths, presets, options.output.parent), options.output)


if __name__ == "__main__":
    main()
