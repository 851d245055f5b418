"""``effpath detect`` holds some pictures of a folder at a time, however many there are."""

import os
import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import effpath
from effpath.models import load_model
from peak_memory import PRINT_PEAK

SIDE = 256
FEW, PICTURES = 100, 1000
HELD = 3 * SIDE * SIDE * 4  # bytes of one picture in memory
NET = f"""
from torch import nn
def make():
    last = nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    net = nn.Sequential(nn.Conv2d(3, 4, 16, 16), nn.ReLU(), *last)
    net.input_size = (3, {SIDE}, {SIDE})
    return net.eval()
"""
RUN = (
    "from effpath.cli import main\n"
    "try: main()\nexcept SystemExit as leaving: assert not leaving.code, leaving.code\n"
) + PRINT_PEAK


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "net.py").write_text(NET)
    torch.manual_seed(0)
    net = load_model(f"{folder}/net.py:make")
    save_file(net.state_dict(), folder / "w.safetensors")
    images = torch.rand(60, 3, SIDE, SIDE)
    graph = effpath.capture(net, images[:1])
    labels = graph.run(images)[graph.logits].argmax(1)  # of whichever classes
    class_paths = effpath.build_class_paths(
        graph, images, labels, options=effpath.BuildOptions(allow_missing=True)
    )
    detector = effpath.Detector(graph, class_paths, kind="clean").fit(images[:30]).calibrate(images[30:], fpr=0.1)
    effpath.save_detector(detector, folder / "guard.safetensors")
    for number in range(PICTURES):
        part = folder / ("few" if number < FEW else "more")
        part.mkdir(exist_ok=True)
        if number < 10:
            Image.effect_noise((SIDE, SIDE), 64).convert("RGB").save(part / f"{number:04}.bmp")
        else:
            (part / f"{number:04}.bmp").hardlink_to(folder / "few" / f"{number % 10:04}.bmp")
    return folder


def peak(folder, *sources):
    """Return the most memory, bytes, that detecting in these folders took."""
    words = ["detect", "net.py:make", "guard.safetensors", *sources, "--weights", "w.safetensors", "-q", "--json"]
    freed = {
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
    }  # to the system
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, **freed},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1])


def test_ten_times_as_many_pictures_take_no_more_memory(guarded):
    few, many = peak(guarded, "few"), peak(guarded, "few", "more")
    assert many - few < 40 * HELD  # for 900 more pictures: what the allocator keeps varies by so much
