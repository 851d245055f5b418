"""The study of a published perturbation, on a perturbation made here: does it count what it says?"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.io import savemat

import effpath
from cli_run import run
from digits_net import data, graph, model
from guard_files import NETWORK, write_guard, write_network
from published_set import draw, measure, read_published
from sources import write_arrays


@pytest.fixture
def perturbation(tmp_path):
    """A pattern of signs, 0.3 strong, written as a published one is."""
    signs = np.random.default_rng(3).choice([-1, 1], (1, 8, 8, 1))
    np.save(tmp_path / "v.npy", (signs * 0.3 * 255).astype(np.float32))
    return read_published(tmp_path / "v.npy")


def test_rows_stay_rows_and_channels_come_first(tmp_path):
    array = np.random.default_rng(0).uniform(-10, 10, (4, 5, 3)).astype(np.float32)
    savemat(tmp_path / "v.mat", {"r": array})
    read = read_published(tmp_path / "v.mat")
    assert read.shape == (3, 4, 5)
    np.testing.assert_allclose(read[2, 1, 4], array[1, 4, 2] / 255, rtol=1e-6)


def test_attacked_images_are_right_ones_that_no_detector_has_seen(perturbation, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_network(tmp_path)
    guard = write_guard(tmp_path)
    table, attacked, labels = measure(model(), data(), perturbation, {"guard": guard}, batch=64)
    with torch.no_grad():
        right = model()(data().test_images[200:]).argmax(1) == data().test_labels[200:]
    wanted = (data().test_images[200:][right] + perturbation).clamp(0, 1)
    assert torch.equal(attacked, wanted)
    assert torch.equal(labels, data().test_labels[200:][right])
    assert (table["images"], table["attacked"]) == (519, int(right.sum()))
    row = table["detectors"]["guard"]
    verdicts = guard.detect(attacked)
    fooled = verdicts.predicted != labels.numpy()
    assert table["fooled"]["published"] == int(fooled.sum()) > 20
    assert row["found"][0] == round(float(verdicts.flagged[fooled].mean()), 4)
    assert row["auc"][1] < row["auc"][0] < row["auc"][2]
    assert set(table["detectors"]) == {"guard", "max softmax", "energy"}

    write_arrays(tmp_path / "attacked.npz", images=attacked.numpy(), labels=labels.numpy())
    arguments = ["attacked.npz", "--clean", "digits", "--held-out", "--batch-size", 64, "--json"]
    code, out, _ = run(monkeypatch, capsys, "detect", NETWORK[0], "guard.safetensors", *arguments, *NETWORK[1:])
    assert code == 0
    found = json.loads(out)
    assert found["fooling"] == int(fooled.sum())
    assert found["fooling_flagged"] == int(verdicts.flagged[fooled].sum())
    assert found["auc"]["ours"][0] == pytest.approx(row["auc"][0], abs=1e-4)


def test_detectors_of_the_same_and_of_other_class_paths_stand_side_by_side(perturbation, tmp_path):
    first = write_guard(tmp_path)
    other = effpath.build_class_paths(graph(), data().train_images[:700], data().train_labels[:700])
    second = effpath.Detector(graph(), other, kind="clean").fit(data().test_images[:60])
    second.calibrate(data().test_images[120:200]).about = first.about
    both, _, _ = measure(model(), data(), perturbation, {"a": first, "b": second, "c": first}, images=60, batch=64)
    alone, _, _ = measure(model(), data(), perturbation, {"b": second}, images=60, batch=64)
    assert both["detectors"]["b"] == alone["detectors"]["b"]
    assert both["detectors"]["c"] == both["detectors"]["a"] != both["detectors"]["b"]
    draw({"digits": both}, tmp_path / "roc.svg")
    assert (tmp_path / "roc.svg").read_text(encoding="utf-8").count("<path") > 20
