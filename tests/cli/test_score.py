import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import effpath
from cli_run import run
from digits_net import class_paths, data, graph, model
from effpath.files import sealed


@pytest.fixture
def files(tmp_path, monkeypatch):
    """LeNet-5's weights, class paths of 400 digits, and five test digits, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("from effpath.demo.lenet import LeNet5\ndef make():\n    return LeNet5(8)\n")
    save_file({name: value.contiguous() for name, value in model().state_dict().items()}, "w.safetensors")
    effpath.save_class_paths(class_paths(), "c.safetensors")
    np.save("images.npy", data().test_images[:5].numpy())
    return ["net.py:make", "c.safetensors", "images.npy", "--weights", "w.safetensors"]


@pytest.mark.parametrize("level", ["synapses", "neurons", "weights"])
def test_the_similarities_are_those_of_the_api(files, monkeypatch, capsys, level):
    code, out, _ = run(monkeypatch, capsys, "score", *files, "--level", level, "--batch-size", 2, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["level"] == level
    for rank in (1, 2):
        paths = effpath.extract(graph(), data().test_images[:5], rank=rank)
        wanted = class_paths().similarity(paths, level)
        rows = [list(row[f"rank{rank}"].values()) for row in found["images"]]
        assert np.array_equal(np.array(rows, dtype=float), wanted, equal_nan=True)
        assert [row["classes"][rank - 1] for row in found["images"]] == paths.classes.tolist()
    assert next(iter(found["images"][0]["rank1"])).startswith("conv1")


def test_a_training_image_has_similarity_one_in_the_table(files, monkeypatch, capsys):
    images, labels = data().train_images[:400], data().train_labels[:400]
    with torch.no_grad():
        right = model()(images).argmax(1) == labels
    np.save("images.npy", images[right][:1].numpy())
    code, out, _ = run(monkeypatch, capsys, "score", *files)
    assert code == 0
    assert "1.000" in out
    assert "1 images; similarity of synapses" in out


def test_another_network_or_a_level_that_was_not_kept_is_refused(files, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "score", *files[:3])
    assert code == 1
    assert "FingerprintError" in err
    code, _, err = run(monkeypatch, capsys, "score", *files, "--level", "atoms")
    assert code == 1
    assert "expected --level to be one of synapses, neurons, weights" in err


@pytest.mark.parametrize("command", ["score", "merge"])
def test_a_file_of_class_paths_is_opened_once(files, monkeypatch, capsys, command):
    opened = []
    monkeypatch.setattr(
        sealed, "safe_open", lambda file, **how: (opened.append(Path(file).name), safe_open(file, **how))[1]
    )
    model, class_paths, images, *weights = files
    words = {
        "score": [class_paths, images],
        "merge": [class_paths, "-o", "whole.safetensors", "--input-size", "1,8,8"],
    }[command]
    code, _, err = run(monkeypatch, capsys, command, model, *words, *weights)
    assert code == 0, err
    assert [name for name in opened if name != "w.safetensors"] == [words[0]]
