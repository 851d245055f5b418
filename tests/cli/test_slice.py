"""``effpath slice``: the state dict that it writes, and what it prints beside it."""

from __future__ import annotations

import json
from functools import reduce
from operator import or_

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import effpath
from cli_run import run
from digits_net import class_paths, data, graph, model
from effpath.cli.slice import parse_classes
from effpath.demo.lenet import LeNet5
from effpath.masks import Masked
from effpath.masks.weights import pruned_to
from effpath.models.weights import load_weights

KEPT = [1, 4, 8]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """LeNet-5's weights, class paths of 400 digits, and test digits, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        "from effpath.demo.lenet import LeNet5\ndef make():\n    net = LeNet5(8)\n    net.input_size = (1, 8, 8)\n"
        "    return net\n"
    )
    save_file({name: value.contiguous() for name, value in model().state_dict().items()}, "w.safetensors")
    effpath.save_class_paths(class_paths(), "c.safetensors")
    np.savez("d.npz", test_images=data().test_images.numpy(), test_labels=data().test_labels.numpy())
    return ["net.py:make", "c.safetensors", "--weights", "w.safetensors", "--keep", "8,1, 4"]


def united():
    """The weights of the kept class paths."""
    known = class_paths()
    return {name: reduce(or_, (known[label].weights[name] for label in KEPT)) for name in known[1].weights}


@pytest.mark.parametrize("output", ["s.safetensors", "s.pth"])
def test_the_network_keeps_the_weights_of_the_class_paths_and_no_others(
    files, tmp_path, monkeypatch, capsys, output
):
    code, out, err = run(monkeypatch, capsys, "slice", *files, "-o", output)
    assert code == 0, err
    sliced = LeNet5(image_size=8).eval()
    load_weights(sliced, tmp_path / output)
    before, sets = model().state_dict(), united()
    for name, value in sliced.state_dict().items():
        if name in sets:
            on = torch.from_numpy(sets[name].mask()).reshape(value.shape)
            assert torch.equal(value, before[name] * on)
        else:
            assert torch.equal(value, before[name])
    kept, every = sum(map(len, sets.values())), sum(members.size for members in sets.values())
    assert f"{kept:,} of {every:,} weights kept" in out
    assert "for 1, 4, 8" in out


def test_accuracies_are_those_of_the_masked_networks_on_the_images_of_these_classes(files, monkeypatch, capsys):
    words = ["slice", *files, "-o", "s.pth", "--data", "npz:d.npz", "--batch-size", 50]
    code, out, err = run(monkeypatch, capsys, *words, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert [row["class"] for row in found["keep"]] == KEPT
    rows = torch.isin(data().test_labels, torch.tensor(KEPT))
    images, labels = data().test_images[rows], data().test_labels[rows]
    assert found["images"] == len(labels)
    state, sets = model().state_dict(), united()
    for own, wanted in zip(
        found["accuracy"],
        [
            graph(),
            *(
                Masked(graph(), kept, "weights", keep=True)
                for kept in (sets, pruned_to(state, sets), pruned_to(state, sets, by_layer=True))
            ),
        ],
        strict=True,
    ):
        logits = wanted(images)
        assert own["among_all"] == pytest.approx(float((logits.argmax(1) == labels).double().mean()))
        among = torch.tensor(KEPT)[logits[:, KEPT].argmax(1)]
        assert own["among_kept"] == pytest.approx(float((among == labels).double().mean()))
        assert own["among_kept"] >= own["among_all"]
    assert [row["network"] for row in found["accuracy"]][:2] == ["whole", "sliced"]
    assert {name: row["kept"] for name, row in found["weights"].items()} == {n: len(s) for n, s in sets.items()}
    code, out, _ = run(monkeypatch, capsys, *words)
    assert code == 0
    assert f"accuracy on {len(labels)} images" in out


def test_classes_are_named_by_output_or_by_name():
    names = ("cat", "dog", "bird", "7")
    assert parse_classes("bird, 0,bird", names) == [0, 2]
    assert parse_classes("7", names) == [3]


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (["--keep", "10"], 2, "expected --keep with outputs in 0 … 9 or their names"),
        (["--keep", "1,,2"], 2, "got ''"),
        (["-o", "net.py/s.pth"], 1, "cannot write net.py/s.pth"),
        (["--weights", "none.safetensors"], 1, "cannot read weights"),
    ],
)
def test_bad_options_are_one_clear_message(files, monkeypatch, capsys, change, code, message):
    found, _, err = run(monkeypatch, capsys, "slice", *files, "-o", "s.pth", *change)
    assert found == code
    assert message in " ".join(err.replace("│", " ").split())


def test_images_of_none_of_the_classes_are_an_error(files, monkeypatch, capsys):
    np.savez("d.npz", test_images=data().test_images[:2].numpy(), test_labels=np.array([0, 9]))
    code, _, err = run(monkeypatch, capsys, "slice", *files, "-o", "s.pth", "--data", "npz:d.npz")
    assert code == 1
    assert "expected images of the classes 8,1, 4 in d, got none" in err
