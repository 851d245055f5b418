"""Trained networks and a real image: both backends find the same; `benchmarks/exactness.py` is the whole."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import effpath
from cases import options_of
from effpath.models import load_model
from effpath.walk.visit import paths_of
from two_backends import equal_for

ROOT = Path(__file__).parents[2]
real = pytest.mark.skipif("EFFPATH_DATA" not in os.environ, reason="needs the research data of EFFPATH_DATA")


@pytest.fixture(scope="module")
def gate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_exactness", ROOT / "benchmarks" / "exactness.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@real
@pytest.mark.parametrize(("name", "layers"), [("alexnet_imagenette", None), ("resnet50_imagenette", 3)])
def test_a_real_image_has_the_same_path_by_both_backends(gate: ModuleType, name: str, layers: int | None) -> None:
    folder = Path(os.environ["EFFPATH_DATA"])
    model = load_model(f"{folder}/load.py:{name}")
    images = gate.images_for(folder, model.input_size[-1], 1)
    graph = effpath.capture(model, images)
    wanted = {} if layers is None else {"layers": layers}
    variants = [options_of(preset, 0.5) for preset in ("paper", "authors")]
    assert min(equal_for(graph, images, *variants, **wanted)) > 1000


@real
def test_the_gate_writes_rows_of_equal_sets_and_keeps_those_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "gate.json"
    command = [
        sys.executable,
        ROOT / "benchmarks" / "exactness.py",
        "--output",
        file,
        "--networks",
        "alexnet_imagenette",
    ]
    command += ["--images", "1", "--presets", "paper", "--thetas"]
    subprocess.run([*command, "0.3"], check=True, capture_output=True)
    (row,) = json.loads(file.read_text())["rows"]
    assert (row["images"], row["equal"]) == (1, True)
    assert min(row["synapses"], row["neurons"], row["weights"], row["pixels"]) > 1000
    row["weights"] = 7  # a row that is there is not made again
    file.write_text(json.dumps(json.loads(file.read_text()) | {"rows": [row]}))
    done = subprocess.run([*command, "0.3"], check=True, capture_output=True, text=True)
    assert json.loads(file.read_text())["rows"] == [row]
    assert "alexnet" not in done.stdout


def test_the_gate_says_which_layer_of_which_image_differs(
    gate: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    images = torch.randn(2, 3, 2, 2)
    graph = effpath.capture(model.eval(), images[:1])
    row = gate.compare("tiny", graph, images, "paper", 0.5)
    assert (row["equal"], row["images"]) == (True, 2)
    other = effpath.extract(graph, images[:1], preset="paper", theta=0.1)
    monkeypatch.setattr(gate.Recorded, "plainly", lambda self: other)
    monkeypatch.setattr(gate, "paths_of", lambda walked: other if walked is other else paths_of(walked))
    row = gate.compare("tiny", graph, images, "paper", 0.9)
    assert row["equal"] is False
    assert row["differs"].startswith("image 0: synapses of ")
