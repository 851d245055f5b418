import json
import re

import numpy as np
import pytest
import torch

import effpath
from cli_run import run
from digits_net import data, graph, model, noisy
from effpath.attacks import attack
from guard_files import NETWORK, write_network

SMALL = ["--per-class", 20, "--images", 120, "--batch-size", 64]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with the network, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EFFPATH_CACHE", str(tmp_path / "cache"))
    write_network(tmp_path)
    return tmp_path


def fit(monkeypatch, capsys, *arguments):
    return run(monkeypatch, capsys, "fit", *NETWORK[:1], "digits", *NETWORK[1:], *SMALL, *arguments)


def test_a_clean_detector_is_fitted_and_calibrated_as_the_api_does_it(monkeypatch, capsys):
    code, out, err = fit(monkeypatch, capsys, "-o", "g.safetensors", "--fpr", 0.1, "--layers", 3, "--quiet")
    assert code == 0
    assert err == ""
    loaded = effpath.load_detector("g.safetensors", graph())
    rows = loaded.about["rows"]
    test = data().part("test")
    train = data().part("train").first_of_each_class(20)
    paths = effpath.build_class_paths(graph(), train.images, train.labels, layers=3, levels=["synapses"])
    again = effpath.Detector(graph(), paths, kind="clean").fit(test.images[rows["fit"]])
    again.calibrate(test.images[rows["calibrate"]], fpr=0.1)
    assert loaded.threshold == again.threshold
    images = noisy(test.images[:50])
    np.testing.assert_array_equal(loaded.score(images), again.score(images))
    assert f"threshold {loaded.threshold:.4g}" in out
    assert "at most 10.0% of" in out


def test_the_images_are_disjoint_as_many_as_asked_and_predicted_right(monkeypatch, capsys):
    code, out, _ = fit(monkeypatch, capsys, "-o", "g.safetensors", "--json")
    assert code == 0
    about = effpath.load_detector("g.safetensors", graph()).about
    fitted, calibrated, wrong = (set(about["rows"][name]) for name in ("fit", "calibrate", "wrong"))
    assert len(fitted) + len(calibrated) + len(wrong) == len(fitted | calibrated | wrong) == 120
    assert abs(len(fitted) - len(calibrated)) <= 1
    with torch.no_grad():
        right = model()(data().test_images).argmax(1) == data().test_labels
    assert all(right[row] for row in fitted | calibrated)
    assert not any(right[row] for row in wrong)
    shown = json.loads(out)
    assert shown["images"] == {name: len(rows) for name, rows in about["rows"].items()}
    assert shown["class_paths"]["seen"] == 200
    assert "rows" not in shown


def test_a_linear_detector_learns_from_attacks_on_the_images_to_fit_alone(monkeypatch, capsys):
    arguments = ["--kind", "linear", "--attack", "FGSM:epsilons=50"]
    code, out, _ = fit(monkeypatch, capsys, "-o", "g.safetensors", *arguments)
    assert code == 0
    loaded = effpath.load_detector("g.safetensors", graph())
    rows = loaded.about["rows"]["fit"]
    images, labels = data().test_images[rows], data().test_labels[rows]
    made = attack(model(), images, labels, "FGSM", settings={"epsilons": 50}, batch_size=64)
    assert loaded.about["attacks"]["FGSM"]["succeeded"] == made.successes > 50
    assert f"FGSM: {made.successes} of {made.tried} images fool the network" in out
    again = effpath.Detector(graph(), loaded.class_paths, kind="linear").fit(images, made.images[made.succeeded])
    np.testing.assert_array_equal(loaded.score(data().test_images), again.score(data().test_images))


def test_a_stopped_run_goes_on_from_its_class_paths_and_attacks(monkeypatch, capsys, folder):
    arguments = ["-o", "g.safetensors", "--kind", "linear", "--attack", "FGSM:epsilons=50"]
    with monkeypatch.context() as patched:
        patched.setattr("effpath.detect.store.write_class_paths", interrupted)
        code, _, err = fit(monkeypatch, capsys, *arguments)
    assert code == 130
    assert "kept and used by the next run" in err
    assert not (folder / "g.safetensors").exists()
    assert (folder / "g.safetensors.partial").exists()
    monkeypatch.setattr("effpath.profile.record", None)
    monkeypatch.setattr("effpath.attacks.runner._attack_batch", None)
    assert fit(monkeypatch, capsys, *arguments)[0] == 0
    assert (folder / "g.safetensors").exists()
    assert not (folder / "g.safetensors.partial").exists()


def interrupted(*arguments):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "forest"], "kind must be one of linear, clean, surprise"),
        (["--kind", "clean", "--attack", "FGSM"], "leave out --attack"),
        (["--kind", "linear", "--attack", "Magic"], "unknown attacks Magic"),
        (["--kind", "linear", "--attack", "FGSM", "--attack", "FGSM:epsilons=9"], "each attack once"),
        (["--kind", "linear", "--attack", "FGSM:epsilons"], "expected NAME or NAME:setting=value"),
        (["--kind", "linear", "--attack", "FGSM:speed=3"], "FGSM has no setting 'speed'"),
        (["--kind", "linear", "--attack", "FGSM:max_epsilon=0.0"], "nothing to learn from"),
        (["--images", 3], "at least 4 images"),
    ],
)
def test_what_cannot_be_fitted_says_why(arguments, message, monkeypatch, capsys, folder):
    code, _, err = fit(monkeypatch, capsys, "-o", "g.safetensors", *arguments)
    assert code != 0
    assert message in re.sub(r"[\s│]+", " ", err)
    assert not (folder / "g.safetensors").exists()


def test_data_without_images_of_an_output_is_refused(monkeypatch, capsys):
    np.savez("d.npz", train_images=np.zeros((6, 1, 8, 8), np.float32), train_labels=np.arange(6))
    code, _, err = run(monkeypatch, capsys, "fit", *NETWORK, "npz:d.npz", "-o", "g.safetensors")
    assert code == 1
    assert "each of the network's 10 outputs" in err


def test_help_gives_examples(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "fit", "--help")
    assert code == 0
    assert "effpath fit net.py:make imagefolder:DIR" in out
