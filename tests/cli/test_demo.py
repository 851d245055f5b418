import json
import os
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cli_run import run
from digits_net import data, model
from effpath.attacks import ATTACKS
from effpath.demo.options import QUICK, DemoOptions
from effpath.detect.signs.profiles import PROFILES

pytest.importorskip("foolbox")

SMALL = ["--images", "60", "--train-images", "400", "--attacks", "FGSM,DeepFool,Random"]


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A folder for the demo, and a cache of its own."""
    monkeypatch.setenv("EFFPATH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "demo"


def test_the_demo_prints_a_table_and_writes_report_and_numbers(small, monkeypatch, capsys):
    enough = ["--images", "110"]  # for a threshold, so that images are flagged
    code, out, err = run(monkeypatch, capsys, "demo", "--output", small, *SMALL, *enough)
    assert code == 0
    for step in (
        "training LeNet-5 on 400 images",
        "FGSM on 110 images",
        "400 images, to compare others with",
        "signs of clean and adversarial images",
        "detectors trained and tested",
    ):
        assert re.search(rf"^{step}: \d+/\d+ in [\d.]+ s$", err, re.MULTILINE)
    results = json.loads((small / "results.json").read_text(), parse_constant=pytest.fail)
    assert [attack["name"] for attack in results["attacks"]] == ["FGSM", "DeepFool", "Random"]
    for attack in results["attacks"]:
        for detector in ("linear", "surprise", "standard"):
            value = attack["scores"][detector]["auc"][0]
            assert 0.5 < value <= 1
            assert f"{value:.4f}" in out
        assert attack["succeeded"] <= attack["tried"]
    assert "overall synapse density" in out
    assert "What the standard detector finds" in out
    assert results["headline"] == "standard"
    told = re.findall(r"^(?:FGSM|DeepFool|Random), \w+ taken for \w+: ([^;\n]+)", out, re.MULTILINE)
    assert told
    assert set(told) <= set(PROFILES["standard"].says)
    assert re.fullmatch(r"[0-9a-f]{16,}", results["provenance"]["fingerprint"])
    report = (small / "report.html").read_text()
    assert "DeepFool" in report
    assert "of clean images show this at least as strongly" in report
    assert not re.search(r"(?:src|href)=[\"']https?:", report)


def test_a_second_run_gives_the_same_numbers_from_what_the_first_one_left(small, monkeypatch, capsys):
    monkeypatch.setattr("effpath.demo.report.drawn", lambda chart: [])  # numbers alone are looked at
    first = run(monkeypatch, capsys, "demo", "--output", small, "--json", *SMALL)[1]
    monkeypatch.setattr("effpath.demo.network.train_classifier", None)  # neither trained nor attacked again
    monkeypatch.setattr("effpath.attacks.runner._attack_batch", None)
    second = run(monkeypatch, capsys, "demo", "--output", small, "--json", *SMALL)[1]
    numbers = [json.loads(text) for text in (first, second)]
    for result in numbers:
        del result["provenance"]["seconds"]
    assert numbers[0] == numbers[1]


def test_bad_data_is_one_clear_message(small, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "demo", "--output", small, "--data", "mnist:nowhere")
    assert code == 1
    assert "nowhere" in err
    code, _, err = run(monkeypatch, capsys, "demo", "--output", small, "--data", "letters")
    assert code == 1
    assert "unknown data set 'letters'" in err


def test_a_model_and_data_of_ones_own_go_the_same_way(small, tmp_path, monkeypatch, capsys):
    (tmp_path / "net.py").write_text(
        "from effpath.demo.lenet import LeNet5\ndef make():\n    net = LeNet5(8)\n    net.input_size = (1, 8, 8)\n"
        "    net.classes = tuple('zero one two three four five six seven eight nine'.split())\n    return net\n"
    )
    save_file(
        {name: value.contiguous() for name, value in model().state_dict().items()}, tmp_path / "w.safetensors"
    )
    backwards = 9 - torch.cat([data().train_labels, data().test_labels])
    np.savez(
        tmp_path / "d.npz",
        train_images=data().train_images.numpy(),
        train_labels=backwards[:1078].numpy(),
        test_images=data().test_images.numpy(),
        test_labels=backwards[1078:].numpy(),
        classes=["nine", "eight", "seven", "six", "five", "four", "three", "two", "one", "zero"],
    )
    arguments = ["--model", f"{tmp_path}/net.py:make", "--weights", tmp_path / "w.safetensors", "--json"]
    arguments += ["--data", f"npz:{tmp_path}/d.npz", "--layers", 3, "--batch-size", 64, *SMALL]
    code, out, _ = run(monkeypatch, capsys, "demo", "--output", small, *arguments)
    assert code == 0
    result = json.loads(out)
    assert result["network"] == "make"
    assert result["title"] == "make on d"
    assert result["accuracy"] > 0.9
    assert result["classes"][2] == "two"
    assert list(result["layer_density"]["neurons"]) == ["fc1", "fc2", "fc3"]
    assert "--model net.py:make --weights w.safetensors --batch-size 64" in result["provenance"]["command"]
    assert str(tmp_path) not in (small / "report.html").read_text() + (small / "results.json").read_text()


def test_the_demo_attacks_lenet_in_fewer_steps_and_other_networks_as_anybody_does():
    own, other = DemoOptions().settings, DemoOptions(model="net.py:make").settings
    assert list(own) == list(other) == list(DemoOptions().attacks)
    assert not any(other.values())
    assert {name: how for name, how in own.items() if how} == QUICK
    for name, how in QUICK.items():
        assert ATTACKS[name].merged(how)["steps"] < ATTACKS[name].settings["steps"]


def test_data_that_lenet_is_not_trained_on_ask_for_a_model(small, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "demo", "--output", small, "--data", "digits:16")
    assert code == 1
    assert "name a model with --model" in err


def test_a_model_of_more_outputs_than_the_data_has_classes_is_refused(small, tmp_path, monkeypatch, capsys):
    np.savez(
        tmp_path / "d.npz",
        train_images=np.zeros((20, 1, 28, 28), np.float32),
        train_labels=np.arange(20) % 3,
    )
    arguments = ["--model", "effpath.demo.lenet:LeNet5", "--data", f"npz:{tmp_path}/d.npz"]
    code, _, err = run(monkeypatch, capsys, "demo", "--output", small, *arguments)
    assert code == 1
    assert "each of the network's 10 outputs" in err


@pytest.mark.skipif(not os.environ.get("EFFPATH_DATA"), reason="EFFPATH_DATA is not set")
def test_the_demo_runs_on_mnist_with_the_papers_figures_beside_ours(small, monkeypatch, capsys):
    folder = os.path.join(os.environ["EFFPATH_DATA"], "mnist")
    code, out, _ = run(
        monkeypatch,
        capsys,
        "demo",
        "--output",
        small,
        "--data",
        f"mnist:{folder}",
        "--images",
        60,
        "--train-images",
        1500,
        "--attacks",
        "FGSM,Random",
    )
    assert code == 0
    assert "(paper: 13.8 %)" in out
    assert folder not in (small / "report.html").read_text()
