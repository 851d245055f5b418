import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import effpath
from cli_run import run
from digits_net import class_paths, data, graph, noisy
from effpath.data import Part
from guard_files import NETWORK, write_guard, write_network


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_network(tmp_path)
    effpath.save_class_paths(class_paths(), tmp_path / "classes.safetensors")
    return tmp_path


def asked():
    return torch.cat([data().test_images[200:205], noisy(data().test_images[205:210])])


def report(monkeypatch, capsys, *arguments):
    return run(monkeypatch, capsys, "report", NETWORK[0], *arguments, *NETWORK[1:])


def test_of_class_paths_json_is_what_the_api_says_and_the_page_is_written(folder, monkeypatch, capsys):
    code, out, err = report(monkeypatch, capsys, "classes.safetensors", "--json", "--quiet")
    assert (code, err) == (0, "")
    found = json.loads(out, parse_constant=pytest.fail)
    expected = effpath.report(graph(), class_paths(), name="net.py:make")
    assert found == json.loads(expected.json)
    assert (folder / "report.html").read_text("utf-8") == expected.html


def test_a_store_is_reported_as_the_file_of_the_same_class_paths_and_judges_no_image(folder, monkeypatch, capsys):
    images, labels = data().train_images[:200], data().train_labels[:200]
    effpath.save_class_paths(effpath.build_store("store", graph(), images, labels).loaded(), "same.safetensors")
    reports = [report(monkeypatch, capsys, name, "--json", "--quiet") for name in ("store", "same.safetensors")]
    assert [(code, err) for code, _, err in reports] == [(0, ""), (0, "")]
    of_store, of_file = (json.loads(out) for _, out, _ in reports)
    assert of_store == of_file
    np.save("images.npy", asked().numpy())
    code, _, err = report(monkeypatch, capsys, "store", "images.npy")
    assert code == 1
    assert "expected the file of a detector" in err


@pytest.mark.parametrize("kind", ["linear", "clean", "surprise"])
def test_of_a_detector_and_images_json_is_what_the_api_says(kind, folder, monkeypatch, capsys):
    write_guard(folder, kind)
    np.save("images.npy", asked().numpy())
    words = ["guard.safetensors", "images.npy", "--examples", 1, "-o", "guard.html", "--json", "--quiet"]
    code, out, err = report(monkeypatch, capsys, *words)
    assert (code, err) == (0, "")
    found = json.loads(out)
    detector = effpath.load_detector("guard.safetensors", graph())
    part = Part(asked(), torch.full((10,), -1), [f"images.npy[{row}]" for row in range(10)])
    from_api = effpath.report(graph(), detector, part, name="net.py:make", examples=1)
    expected = json.loads(from_api.json)
    scores, wanted = ([row.pop("score") for row in one["findings"]["rows"]] for one in (found, expected))
    assert scores == pytest.approx(wanted, rel=1e-6)  # logits depend on the batch by their last bits
    assert found == expected
    assert found["detector"]["about"]["images"] == {"fit": 120, "calibrate": 80}
    assert (folder / "guard.html").read_text("utf-8").count("<article") == len(found["findings"]["examples"])


def test_the_text_has_classes_layers_and_what_was_found(folder, monkeypatch, capsys):
    write_guard(folder)
    np.save("images.npy", asked().numpy())
    code, out, err = report(monkeypatch, capsys, "guard.safetensors", "images.npy")
    assert code == 0
    for step in ("10 class paths compared", "paths of 10 images", "figures drawn"):
        assert f"{step}: started" in err
    seen = effpath.report(graph(), class_paths()).overview
    lines = out.splitlines()
    assert lines[0].split()[:2] == ["class", "images"]
    assert lines[1].split()[0] == seen.most_special
    assert "10 classes, the most special first" in lines
    assert [line.split()[0] for line in lines if line.split()[:1] == [seen.layers_apart[0][0]]]
    assert f"The most special class is {seen.most_special}," in out
    assert "Flagged: " in out
    assert "\u202f" not in out
    assert lines[-1] == "page: report.html"


def test_classes_are_compared_by_the_level_that_is_named(monkeypatch, capsys):
    _, out, _ = report(monkeypatch, capsys, "classes.safetensors", "--level", "weights", "--json", "--quiet")
    found = json.loads(out)
    assert found["level"] == "weights"
    assert np.array(found["class_similarity"]) == pytest.approx(
        class_paths().class_similarity("weights"), abs=1e-6
    )
    code, _, err = report(monkeypatch, capsys, "classes.safetensors", "--level", "atoms")
    assert code == 1
    assert "level must be one of" in err


def test_of_a_data_set_labels_are_known(folder, monkeypatch, capsys):
    write_guard(folder)
    np.savez(
        "d.npz",
        train_images=data().train_images[:3].numpy(),
        train_labels=data().train_labels[:3].numpy(),
        test_images=data().test_images[300:330].numpy(),
        test_labels=data().test_labels[300:330].numpy(),
    )
    code, out, _ = report(monkeypatch, capsys, "guard.safetensors", "npz:d.npz", "--json", "--quiet")
    assert code == 0
    found = json.loads(out)["findings"]
    right = graph().predict(data().test_images[300:330]) == data().test_labels[300:330]
    assert (found["images"], found["labelled"], found["correct"]) == (30, 30, int(right.sum()))


def test_wrong_files_other_networks_and_images_without_a_detector_are_one_clear_line(folder, monkeypatch, capsys):
    cases = [
        (["w.safetensors"], "expected a file of format"),
        (["nowhere.safetensors"], "expected a file of class paths or a detector, found no file at"),
        (["net.py"], "cannot read class paths or a detector from net.py"),
        (
            ["classes.safetensors", "images.npy"],
            "expected the file of a detector to judge images, got class paths",
        ),
        (["classes.safetensors", "-o", "report.pdf"], "expected --output as an .html file, got report.pdf"),
    ]
    for words, said in cases:
        code, _, err = report(monkeypatch, capsys, *words, "--quiet")
        assert code == 1
        assert said in err
        assert err.count("\n") == 1
    code, _, err = run(monkeypatch, capsys, "report", NETWORK[0], "classes.safetensors")
    assert code == 1
    assert "FingerprintError" in err
    assert not (folder / "report.html").exists()


def test_one_class_alone_and_a_damaged_picture_are_refused_by_name(folder, monkeypatch, capsys):
    whole = class_paths()
    one = effpath.ClassPaths(whole.header, whole.levels, {3: whole[3]}, names=whole.names)
    effpath.save_class_paths(one, "one.safetensors")
    code, _, err = report(monkeypatch, capsys, "one.safetensors", "--quiet")
    assert code == 1
    assert "expected class paths of at least two classes, to compare them, got those of class 3 alone" in err
    write_guard(folder)
    (folder / "torn.png").write_bytes(b"no picture")
    code, _, err = report(monkeypatch, capsys, "guard.safetensors", "torn.png", "--quiet")
    assert code == 1
    assert "cannot read the picture torn.png" in err


def test_damaged_pictures_can_be_left_out(folder, monkeypatch, capsys):
    write_guard(folder)
    (folder / "shots").mkdir()
    for row, image in enumerate((data().test_images[300:303, 0] * 255).round().byte().numpy()):
        Image.fromarray(image).save(folder / "shots" / f"{row}.png")
    (folder / "shots" / "torn.png").write_bytes(b"no picture")
    words = ["guard.safetensors", "shots", "--skip-damaged", "--json", "--quiet"]
    code, out, err = report(monkeypatch, capsys, *words)
    assert code == 0
    assert "left out, cannot be read" in err
    assert json.loads(out)["findings"]["images"] == 3


def test_it_imports_nothing_that_fits_detectors(folder):
    write_guard(folder)
    np.save("one.npy", data().test_images[300:301].numpy())
    code = (
        "import sys; from effpath.cli import main\n"
        "try: main()\nexcept SystemExit as leaving: assert not leaving.code, leaving.code\n"
        "print(sorted({'torch.export._trace', 'torch._dynamo', 'sklearn', 'captum'} & sys.modules.keys()))"
    )
    words = ["report", NETWORK[0], "guard.safetensors", "one.npy", *NETWORK[1:], "--quiet"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
