"""A model of thirty lines, written outside the project, from the command line: nothing of it is changed."""

import json

import numpy as np
import torch
from safetensors.torch import save_file

import effpath
from cli_run import run
from effpath.models import load_model

MODEL = '''
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """Squeeze-excite, an in-place add, and one convolution that is used twice."""

    def __init__(self, width):
        super().__init__()
        self.shared = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.squeeze = nn.Linear(width, 2)
        self.excite = nn.Linear(2, width)

    def forward(self, x):
        y = F.relu(self.norm(self.shared(x)))
        y = self.shared(y)
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(y.mean((2, 3))))))
        y = y * gate[:, :, None, None]
        y += x
        return F.relu(y, inplace=True)


def make():
    net = nn.Sequential(nn.Conv2d(3, 6, 3), Block(6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    net.input_size = (3, 8, 8)
    net.classes = ("circle", "square", "star", "none")
    return net
'''


def test_it_is_checked_extracted_and_profiled_and_every_layer_is_in_the_files(tmp_path, monkeypatch, capsys):
    assert len(MODEL.strip().splitlines()) <= 31
    (tmp_path / "outside.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    state = load_model("outside.py:make").state_dict()
    for name, value in state.items():  # untrained biases would explain nearly everything
        value.copy_(torch.zeros_like(value) if name.endswith("bias") else value * 3 if "weight" in name else value)
    save_file(state, "w.safetensors")
    network = load_model("outside.py:make", "w.safetensors")
    images = np.random.default_rng(0).random((24, 3, 8, 8), dtype=np.float32)
    with torch.no_grad():
        labels = network(torch.from_numpy(images)).argmax(1).numpy()
    np.savez("d.npz", images=images, labels=labels, classes=["circle", "square", "star", "none"])
    trained = ["--weights", "w.safetensors"]

    code, out, _ = run(monkeypatch, capsys, "check", "outside.py:make", *trained, "--json")
    assert code == 0
    layers = [layer["name"] for layer in json.loads(out)["layers"]]
    assert layers == ["0", "1.shared", "1.shared#2", "4"]
    assert [layer["parameter"] for layer in json.loads(out)["layers"]][1:3] == ["1.shared.weight"] * 2

    code, out, _ = run(
        monkeypatch, capsys, "extract", "outside.py:make", "npz:d.npz", *trained, "-o", "p.npz", "--json"
    )
    assert code == 0
    rows = json.loads(out)["images"]
    assert [row["class"] for row in rows] == labels.tolist()
    assert rows[0]["name"] == ("circle", "square", "star", "none")[labels[0]]
    stored = np.load("p.npz")
    direct = effpath.extract(effpath.capture(network, torch.zeros(1, 3, 8, 8)), torch.from_numpy(images))
    for layer in layers:
        outputs, inputs = direct[7].pairs(layer)
        at = slice(*stored[f"synapses/{layer}/offsets"][7:9])
        assert np.array_equal(stored[f"synapses/{layer}/outputs"][at], outputs)
        assert np.array_equal(stored[f"synapses/{layer}/inputs"][at], inputs)
        assert sum(direct.synapses[layer].lengths) > 0

    code, out, _ = run(
        monkeypatch, capsys, "profile", "outside.py:make", "npz:d.npz", *trained, "-o", "c.safetensors"
    )
    assert code == 0
    assert "24 of 24 images predicted correctly" in out
