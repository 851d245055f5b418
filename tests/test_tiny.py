"""The whole pipeline in a second: from a network and images to verdicts, through the files on disk."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

import effpath
from effpath.kernels.options import PRESETS
from striped import SIDE, network, striped

SECONDS = 1.0


@pytest.fixture(scope="module")
def compiled() -> None:
    """Compile the kernels before anything is timed."""
    pipeline(np.random.default_rng(1), None)


def pipeline(rng: np.random.Generator, folder) -> tuple[effpath.Verdicts, np.ndarray, np.ndarray]:
    """Return verdicts of clean and attacked images, and the scores before and after the detector's file."""
    model = network()
    images, labels = striped(rng, 120)
    graph = effpath.capture(model, images[:1])
    class_paths = effpath.build_class_paths(graph, images[:60], labels[:60])
    adversarial = effpath.attack(model, images[60:80], labels[60:80], "FGSM", settings={"epsilons": 20}).fooling
    detector = effpath.Detector(graph, class_paths).fit(images[60:80], adversarial)
    detector.calibrate(images[80:100], fpr=0.1)
    mixed = torch.cat([images[100:], adversarial])
    before = after = detector.score(mixed)
    if folder is not None:
        effpath.save_detector(detector, folder / "tiny.safetensors")
        after = effpath.load_detector(folder / "tiny.safetensors", graph).score(mixed)
    return detector.detect(mixed), before, after


def test_from_images_to_verdicts_in_a_second(tmp_path, compiled) -> None:
    start = time.process_time()
    verdicts, before, after = pipeline(np.random.default_rng(0), tmp_path)
    seconds = time.process_time() - start
    np.testing.assert_array_equal(before, after)
    clean, attacked = verdicts.flagged[:20], verdicts.flagged[20:]
    assert len(attacked) >= 10
    assert attacked.mean() > clean.mean()
    assert seconds < SECONDS


@pytest.mark.parametrize("preset", PRESETS)
def test_the_path_of_a_striped_image_is_its_column(preset: str, compiled) -> None:
    model = network()
    image = torch.zeros(1, 1, SIDE, SIDE)
    image[..., 1] = 1.0
    path = effpath.extract(effpath.capture(model, image), image, preset=preset)
    assert path.classes.tolist() == [1]
    assert set(path.pixels[0].tolist()) <= {row * SIDE + 1 for row in range(SIDE)}
    assert len(path.pixels[0])
