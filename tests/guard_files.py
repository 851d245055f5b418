"""What the tests of `effpath fit` and `effpath detect` start from: LeNet-5 on digits, in a folder of its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import numpy as of_numpy
from safetensors import safe_open
from safetensors.torch import save_file

import effpath
from digits_net import auxiliary_of, class_paths, data, graph, model, noisy
from effpath.detect.splits import digest_of

NETWORK = ["net.py:make", "--weights", "w.safetensors"]


def write_network(folder: Path) -> None:
    """Write a factory and the trained weights."""
    (folder / "net.py").write_text(
        "from effpath.demo.lenet import LeNet5\ndef make():\n    net = LeNet5(8)\n    net.input_size = (1, 8, 8)\n"
        "    return net\n"
    )
    save_file({name: value.contiguous() for name, value in model().state_dict().items()}, folder / "w.safetensors")


def write_guard(folder: Path, kind: str = "linear") -> effpath.Detector:
    """Write a detector of the network, fitted on noise, and return it."""
    images = data().test_images
    detector = effpath.Detector(graph(), class_paths(), kind=kind, auxiliary=auxiliary_of(kind))
    detector.fit(images[:60], None if kind == "clean" else noisy(images[60:120]))
    detector.calibrate(images[120:200], fpr=0.1)
    rows = {"fit": list(range(120)), "calibrate": list(range(120, 200))}
    mistakes = int((graph().predict(images[120:200]) != data().test_labels[120:200]).sum())
    detector.about = {
        "data": "digits", "part": "test", "part_size": len(images), "rows": rows,
        "digest": digest_of(images, torch.arange(200)), "calibrated_mistakes": mistakes,
        "class_paths": {"images": 400}, "attacks": {}, "seed": 0,
    }  # fmt: skip
    effpath.save_detector(detector, folder / "guard.safetensors")
    return detector


def rewritten(file: Path, change: Callable[[dict[str, Any], dict[str, np.ndarray]], object]) -> None:
    """Change header and arrays of a detector's file, and leave out its checksums, as an earlier format does."""
    with safe_open(file, framework="numpy") as opened:
        header = opened.metadata()
    about = json.loads(header["detector"]) | {"format": "effpath-detector-2"}
    paths = json.loads(header["effpath"]) | {"format": "effpath-class-paths-2"}
    arrays = of_numpy.load_file(file)
    del arrays["checksums"]
    change(about, arrays)
    of_numpy.save_file(arrays, file, {"effpath": json.dumps(paths), "detector": json.dumps(about)})
