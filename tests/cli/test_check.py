import json
import re

import pytest

from cli_run import run


def odd(tmp_path):
    (tmp_path / "odd.py").write_text(
        "import torch\n"
        "class Odd(torch.nn.Module):\n"
        "    input_size = (1, 4, 4)\n"
        "    def forward(self, x):\n"
        "        return torch.cumsum(torch.cumsum(x, 2), 3).flatten(1)\n"
        "class Branch(Odd):\n"
        "    def forward(self, x):\n"
        "        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)\n"
    )
    return f"{tmp_path}/odd.py"


def test_a_supported_model_is_summed_up(monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "check", "effpath.demo.lenet:LeNet5", "--input-size", "1,28,28")
    assert code == 0
    assert "supported; 5 layers, input 1×28×28, 10 classes" in out
    assert "48,000" in out
    assert "RANDOM" not in err


def test_in_a_pipe_a_layer_is_one_line_and_its_numbers_are_aligned(monkeypatch, capsys):
    _, out, _ = run(monkeypatch, capsys, "check", "effpath.demo.lenet:LeNet5", "--input-size", "1,28,28")
    assert not re.search("[│┃━]", out)
    lines = out.splitlines()
    assert lines[0].split() == ["layer", "operator", "output", "neurons", "synapses", "weights"]
    assert lines[4].split() == ["fc2", "linear", "84", "84", "10,080", "10,080"]
    assert len({len(line) for line in lines[:6]}) == 1
    at = lines.index("one class path on disk:")
    assert [line.split()[0] for line in lines[at + 1 : at + 5]] == ["level", "synapses", "neurons", "weights"]


def test_the_numbers_come_as_json(monkeypatch, capsys):
    options = ["--input-size", "1,28,28", "--layers", "fc1,fc2", "--density", "0.5", "--json"]
    code, out, _ = run(monkeypatch, capsys, "check", "effpath.demo.lenet:LeNet5", *options)
    found = json.loads(out)
    assert code == 0
    assert [layer["name"] for layer in found["layers"]] == ["fc1", "fc2"]
    assert found["class_path"]["weights"] == {
        "elements": 58080, "held": 7260, "counted": 7260 + 2 * 29040, "at_most": 7260,
    }  # fmt: skip


def test_an_unsupported_model_is_exit_code_one_with_every_operator(tmp_path, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "check", f"{odd(tmp_path)}:Odd")
    assert code == 1
    assert "NOT SUPPORTED, 2 operators without a rule" in out
    assert "cumsum#2" in out
    code, out, _ = run(monkeypatch, capsys, "check", f"{odd(tmp_path)}:Odd", "--json")
    assert code == 1
    assert [missing["node"] for missing in json.loads(out)["unsupported"]] == ["cumsum", "cumsum#2"]


def test_a_model_that_cannot_be_captured_is_exit_code_one_with_the_reason(tmp_path, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "check", f"{odd(tmp_path)}:Branch", "--json")
    assert code == 1
    assert "CaptureError: torch.export cannot capture" in err
    assert json.loads(out)["supported"] is False


def test_a_model_of_unknown_size_asks_for_it(monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "check", "effpath.demo.lenet:LeNet5")
    assert code == 1
    assert "give --input-size C,H,W" in err


def test_a_library_model_without_weights_says_that_they_are_random(monkeypatch, capsys):
    pytest.importorskip("torchvision")
    code, out, err = run(monkeypatch, capsys, "check", "torchvision:squeezenet1_1", "--input-size", "3,64,64")
    assert code == 0
    assert "torchvision:squeezenet1_1 has RANDOM weights (seed 0)" in err
    assert "get_model('squeezenet1_1', weights='DEFAULT')" in err
    assert "network.features.0" in out


def test_help_shows_examples(monkeypatch, capsys):
    for command, example in (
        ("check", "effpath check timm:inception_v4"),
        ("rules", "effpath rules pool --json"),
        ("profile", "effpath profile torchvision:resnet50"),
        ("merge", "effpath merge torchvision:resnet50"),
        ("extract", "effpath extract net.py:make cifar10:"),
        ("score", "effpath score net.py:make"),
        ("demo", "effpath demo --model net.py:make"),
    ):
        assert example in run(monkeypatch, capsys, command, "--help")[1]
