"""Draw every picture of docs/gallery.md, and that of the README.

    python studies/gallery.py --output docs/pictures
    python studies/gallery.py --output docs/pictures --only path.png show.png
    python studies/gallery.py --photographs resnet18_imagenette --output DIR

Pages are those of the commands, run in a folder of their own on a LeNet-5 that is trained on digits of
scikit-learn, and shown by Chromium. Maps and curves are those in the results of `attributions`. Photographs of
ImageNet may not be published: of a network that sees them the committed pictures show the path through its layers,
and maps in squares of 8 × 8 pixels, never a photograph. ``--photographs`` draws the maps of a network of
`attributions` beside the photographs, at full resolution, for those who have the data, and for them alone.
"""

from __future__ import annotations

import io
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import effpath
from attribution.methods import METHODS
from attribution.views import draw, map_grid, maps_figure
from attributions import NETWORKS, opened, shown_rows
from effpath.data import Dataset, load_data
from effpath.errors import EffpathError, InputError
from effpath.files.cache import atomic_write
from effpath.views.drawing import draw_path
from effpath.views.page.pages import drawing_page, write_page
from effpath.views.page.pictures import rgb
from path_picture import paths_figure
from sources import parser, read_result, train_lenet

LARGEST = 300_000  # bytes of a picture
WINDOW, MARGIN = 1000, 14  # pixels, width of a page, what is shown around a part of it
DRAWING, LOWER = (
    "[aria-labelledby=drawing-title]",
    1405,
)  # of effpath show; pixels that are shown of a long drawing
DPI = 110
DIGIT, ATTACK = 3, {"epsilon": 0.15}  # that is drawn, and PGD's setting
FITTED, HELD_OUT = slice(0, 200), slice(200, 400)  # test images of the detector; others are shown
JUDGED = 50  # digits of the report, clean and attacked
NETWORK = """\
from effpath.demo.lenet import LeNet5

def make():
    network = LeNet5(image_size=8)
    network.input_size = (1, 8, 8)
    return network
"""
COMMANDS = {
    "show": "effpath show lenet.py:make three.png --weights lenet.safetensors -o show.html",
    "explain": "effpath explain lenet.py:make guard.safetensors attacked.png --weights lenet.safetensors "
    "--clean digits -o explain.html -o explain.png",
    "diff": "effpath diff lenet.py:make three.png attacked.png --weights lenet.safetensors -o diff.html",
    "report": "effpath report lenet.py:make guard.safetensors uploads/ --weights lenet.safetensors --examples 3 "
    "-o report.html",
    "slice": "effpath slice lenet.py:make guard.safetensors --keep 3,5,8 --weights lenet.safetensors "
    "--data digits -o sliced.safetensors",
}
"""The commands of docs/gallery.md."""


@dataclass(frozen=True, eq=False)
class Making:
    """What pictures are made of.

    Attributes:
        folder: for the files of commands.
        results: folder of the results of studies.
    """

    folder: Path
    results: Path

    @cached_property
    def data(self) -> Dataset:
        return load_data("digits")

    @cached_property
    def model(self) -> nn.Module:
        return train_lenet(self.data, 0)

    @cached_property
    def detector(self) -> effpath.Detector:
        """A detector of the network, fitted on attacked digits."""
        train, test = self.data.part("train"), self.data.part("test")
        graph = effpath.capture(self.model, train.images[:1])
        described = effpath.Description(self.data.classes, "digits")
        class_paths = effpath.build_class_paths(graph, train.images, train.labels, description=described)
        clean = test.images[FITTED]
        attacked = effpath.attack(self.model, clean, test.labels[FITTED], "PGD", settings=ATTACK).fooling
        detector = effpath.Detector(graph, class_paths, kind="surprise")  # its first sign is a sum over layers
        return detector.fit(clean, attacked).calibrate(test.images[HELD_OUT], fpr=0.05)

    @cached_property
    def pair(self) -> Tensor:
        """The first digit of its class that is attacked and flagged: clean and attacked, [2, 1, 8, 8].

        The clean one is classified correctly and not flagged. Both have the values that a picture can hold.
        """
        test = self.data.part("test")
        rest = slice(HELD_OUT.stop, None)
        rows = (test.labels[rest] == DIGIT).nonzero()[:, 0]
        images, labels = test.images[rest][rows], test.labels[rest][rows]
        found = effpath.attack(self.model, images, labels, "PGD", settings=ATTACK)
        for row in found.succeeded.nonzero()[:, 0].tolist():
            pair = (255 * torch.stack([images[found.source[row]], found.images[row]])).round() / 255
            clean, attacked = self.detector.detect(pair)
            right = clean.predicted == DIGIT and not clean.flagged
            if right and attacked.predicted != DIGIT and attacked.flagged:
                return pair
        raise SystemExit(f"no attacked digit {DIGIT} is flagged; attack with a larger epsilon")

    @cached_property
    def judged(self) -> dict[str, Tensor]:
        """Digits that the detector was not made from, and what PGD makes of those that it changes into others."""
        test, rest = self.data.part("test"), slice(HELD_OUT.stop, HELD_OUT.stop + JUDGED)
        images = test.images[rest]
        attacked = effpath.attack(self.model, images, test.labels[rest], "PGD", settings=ATTACK).fooling
        return {"clean": images, "attacked": attacked}

    @cached_property
    def files(self) -> Path:
        """The folder, with the files that the commands name."""
        (self.folder / "lenet.py").write_text(NETWORK, encoding="utf-8")
        weights = {name: value.contiguous() for name, value in self.model.state_dict().items()}
        save_file(weights, self.folder / "lenet.safetensors")
        effpath.save_detector(self.detector, self.folder / "guard.safetensors")
        for name, image in zip(("three", "attacked"), self.pair, strict=True):
            write_digit(image, self.folder / f"{name}.png")
        for name, images in self.judged.items():
            for place, image in enumerate(images):
                write_digit(image, self.folder / "uploads" / name / f"{place:02}.png")
        return self.folder

    def run(self, command: str, *more: str) -> str:
        """Run a command of the page; return what it prints."""
        words = [sys.executable, "-m", "effpath", *shlex.split(COMMANDS[command])[1:], *more]
        done = subprocess.run(words, cwd=self.files, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{COMMANDS[command]}\n{done.stderr}")
        return done.stdout

    def result(self, network: str) -> dict[str, Any]:
        """Return what `attributions` found of a network."""
        file = self.results / "attributions" / f"{network}.json"
        if not file.exists():
            raise InputError(f"expected {file}; studies/attributions.py makes it")
        return read_result(file)


Draw = Callable[[Making, Path], None]


def path(made: Making, file: Path) -> None:
    """Draw the path of a digit beside that of the same digit attacked, for the README."""
    images = {"A handwritten 3": made.pair[0], "The same 3, attacked": made.pair[1]}
    detector = made.detector
    write_png(as_image(paths_figure(detector.graph, detector.class_paths, images, made.data.classes)), file)


def page(command: str, part: str, *, alone: bool = False) -> Draw:
    """Return what draws the page of a command, down to the end of a part, or the part alone.

    Args:
        command: of `COMMANDS`.
        part: CSS selector.
        alone: whether what is above the part is left out.
    """

    def drawn(made: Making, file: Path) -> None:
        made.run(command)
        write_png(screenshot(made.files / f"{command}.html", part, alone), file)

    return drawn


def explanation(made: Making, file: Path) -> None:
    """Draw the figure that ``effpath explain`` writes."""
    made.run("explain")
    write_png(Image.open(made.files / "explain.png"), file)


def show_resnet18(made: Making, file: Path) -> None:
    """Draw the lower end of the page of ``effpath show`` for ResNet-18, with grey in place of the photograph."""
    asked = opened(NETWORKS["resnet18_imagenette"], 10)
    row = asked.labels.tolist().index(4)
    found = draw_path(asked.subject.graph, asked.pixels[row], name="a photograph", classes=asked.names)
    grey = replace(found, image=np.full_like(found.image, 0.5))
    write_page(drawing_page(grey, "ResNet-18"), made.folder / "show-resnet18.html")
    whole = screenshot(made.folder / "show-resnet18.html", DRAWING)
    write_png(whole.crop((0, whole.height - LOWER, whole.width, whole.height)), file)


def sliced(made: Making, file: Path) -> None:
    """Draw what ``effpath slice`` says: weights kept, and accuracy beside pruning."""
    write_png(as_image(slice_figure(json.loads(made.run("slice", "--json")))), file)


def slice_figure(found: Mapping[str, Any]) -> Figure:
    """Draw the result of ``effpath slice --json``."""
    figure = Figure(figsize=(8.5, 2.9), layout="constrained", facecolor="white")
    kept, right = figure.subplots(1, 2)
    weights = found["weights"]
    shares = [100 * row["kept"] / row["all"] for row in weights.values()]
    total = sum(row["kept"] for row in weights.values()) / sum(row["all"] for row in weights.values())
    kept.barh(list(weights), shares, color="#0b63a5")
    kept.invert_yaxis()
    kept.set(xlabel=f"weights kept, % ({100 * total:.0f} % in all)", xlim=(0, 100))
    classes = ", ".join(row["name"] or str(row["class"]) for row in found["keep"])
    kept.set_title(f"LeNet-5, classes {classes}", fontsize="medium", loc="left")
    names = [row["network"] for row in found["accuracy"]]
    places = np.arange(len(names))
    for shift, key, colour in ((-0.2, "among_all", "#0b63a5"), (0.2, "among_kept", "#d55e00")):
        values = [100 * row[key] for row in found["accuracy"]]
        bars = right.barh(places + shift, values, 0.36, color=colour, label=key.replace("_", " ") + " outputs")
        right.bar_label(bars, fmt="%.1f", padding=2, fontsize="x-small")
    right.set_yticks(places, names)
    right.invert_yaxis()
    right.set(xlabel="accuracy, %", xlim=(0, 115))
    right.set_title(f"on n = {found['images']} images of these classes", fontsize="medium", loc="left")
    figure.legend(loc="outside lower right", ncols=2, fontsize="x-small", frameon=False)
    for axes in (kept, right):
        axes.tick_params(labelsize="small")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def maps(network: str) -> Draw:
    """Return what draws the maps that `attributions` kept of a network."""
    return lambda made, file: write_png(as_image(maps_figure(made.result(network))), file)


def faithful(made: Making, file: Path) -> None:
    """Draw the curves of every network that `attributions` was run on."""
    tables = {one.stem: read_result(one) for one in sorted((made.results / "attributions").glob("*.json"))}
    if not tables:
        raise InputError(f"expected results of studies/attributions.py in {made.results}")
    draw(tables, file)


PICTURES: dict[str, Draw] = {
    "path.png": path,
    "show.png": page("show", DRAWING),
    "show-resnet18.png": show_resnet18,
    "explain.png": page("explain", "table.layers"),
    "explain-figure.png": explanation,
    "diff.png": page("diff", "[aria-labelledby=layers-title]"),
    "report.png": page("report", "[aria-labelledby=classes-title]", alone=True),
    "slice.png": sliced,
    "attributions-digits.png": maps("lenet_digits"),
    "attributions-resnet18.png": maps("resnet18_imagenette"),
    "faithfulness.svg": faithful,
}


# ---------------------------------------------------------------- files


def write_digit(image: Tensor, file: Path) -> None:
    """Write a grey image [1, H, W] as a picture."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((255 * image[0]).round().to(torch.uint8).numpy()).save(file)


def as_image(figure: Figure) -> Image.Image:
    """Return a figure as pixels."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, facecolor="white")
    return Image.open(drawn)


def write_png(image: Image.Image, file: Path) -> None:
    """Write a picture in all its colours, or in as many, of 256, 128, 64 or 32, as 300 kB hold."""
    plain = image.convert("RGB")
    for colours in (None, 256, 128, 64, 32):
        drawn = io.BytesIO()
        shown = plain.quantize(colours, dither=Image.Dither.NONE) if colours else plain
        shown.save(drawn, format="PNG", optimize=True)
        if drawn.tell() < LARGEST:
            break
    content = drawn.getvalue()
    atomic_write(file, lambda temporary: temporary.write_bytes(content))


def screenshot(file: Path, part: str, alone: bool = False) -> Image.Image:
    """Return what Chromium shows of a page in light colours, down to the end of a part, or of the part alone."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise InputError("expected chromium, to show pages; install it, or leave these pictures out with --only")
    from playwright.sync_api import sync_playwright

    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=quiet)
        shown = browser.new_page(viewport={"width": WINDOW, "height": 900}, color_scheme="light")
        shown.goto(file.as_uri())
        box = shown.locator(part).first.bounding_box()
        if box is None:
            raise InputError(f"expected {part} in {file}")
        top = max(0.0, box["y"] - MARGIN) if alone else 0.0
        height = box["y"] + box["height"] + MARGIN - top
        taken = shown.screenshot(full_page=True, clip={"x": 0, "y": top, "width": WINDOW, "height": height})
        browser.close()
    return Image.open(io.BytesIO(taken))


def photographs(network: str, folder: Path) -> Path:
    """Draw the maps of a network of `attributions` beside its images, at full resolution."""
    asked = opened(NETWORKS[network], 10)
    five = asked.take(shown_rows(asked.labels))
    columns = {"image": [rgb(image.numpy()) for image in five.pixels]}
    for name, method in METHODS.items():
        found = five.maps(method).numpy()
        tops = np.quantile(np.abs(found), 0.995, axis=(1, 2), keepdims=True)
        columns[name] = list(np.clip(found / np.where(tops > 0, tops, 1), -1, 1))
    file = folder / f"photographs-{network}.png"
    image = as_image(map_grid(columns, five.titles, "for it (1 is reached by 0.5 % of the pixels)"))
    atomic_write(file, lambda temporary: image.save(temporary, format="PNG"))
    return file


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--output", type=Path, required=True, help="folder of the pictures")
    made.add_argument("--only", nargs="+", choices=PICTURES, default=list(PICTURES), help="draw only these")
    made.add_argument("--results", type=Path, default=Path("docs/results"), help="folder of all results")
    made.add_argument("--photographs", choices=NETWORKS, help="draw this network's maps beside its images instead")
    options = made.parse_args()
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    if options.photographs:
        print(photographs(options.photographs, options.output))
        return
    with tempfile.TemporaryDirectory() as folder:
        making, left_out, large = Making(Path(folder), options.results), [], []
        for name in options.only:
            file = options.output / name
            try:
                PICTURES[name](making, file)
            except EffpathError as error:
                left_out.append(f"{name}: {error}")
                continue
            print(f"{file}: {file.stat().st_size:,} bytes", flush=True)
            large += [name] if file.stat().st_size >= LARGEST else []
    if left_out or large:
        raise SystemExit("\n".join([*left_out, *(f"{name} has {LARGEST:,} bytes or more" for name in large)]))


if __name__ == "__main__":
    main()
