import json

import numpy as np
import pytest
import torch
from PIL import Image

import effpath
from cli_run import run
from digits_net import data, graph, noisy
from guard_files import NETWORK, write_guard, write_network


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_network(tmp_path)
    return tmp_path


def asked():
    return torch.cat([data().test_images[200:203], noisy(data().test_images[203:206])])


def explain(monkeypatch, capsys, *arguments):
    return run(
        monkeypatch, capsys, "explain", NETWORK[0], "guard.safetensors", *arguments, *NETWORK[1:], "--quiet"
    )


@pytest.mark.parametrize("kind", ["linear", "clean", "surprise"])
def test_json_is_what_the_api_says(kind, folder, monkeypatch, capsys):
    write_guard(folder, kind)
    np.save("images.npy", asked().numpy())
    code, out, err = explain(monkeypatch, capsys, "images.npy", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    detector = effpath.load_detector("guard.safetensors", graph())
    expected = effpath.explain(detector, asked(), names=[f"images.npy[{row}]" for row in range(6)])
    assert found["kind"] == kind
    assert found["images"] == json.loads(json.dumps([one.to_dict() for one in expected]))


def test_the_text_names_verdict_layers_bands_and_channels(folder, monkeypatch, capsys):
    detector = write_guard(folder)
    np.save("images.npy", asked().numpy())
    code, out, _ = explain(monkeypatch, capsys, "images.npy", "--first", 1)
    assert code == 0
    (one,) = effpath.explain(detector, asked()[:1])
    lines = out.splitlines()
    assert lines[0].startswith("images.npy[0]: ")
    assert ("flagged: suspicion" if one.verdict.flagged else "not flagged: suspicion") in lines[0]
    assert any(line.split()[:1] == ["conv1"] for line in lines)
    assert "clean, 5 to 95 %" in out
    assert "\u202f" not in out
    assert not any("images.npy[1]" in line for line in lines)


def test_pages_and_figures_are_written_with_the_nearest_clean_image(folder, monkeypatch, capsys):
    write_guard(folder)
    (folder / "train").mkdir()
    for row, image in enumerate((data().train_images[:6, 0] * 255).round().byte().numpy()):
        Image.fromarray(image).save(folder / "train" / f"{row}.png")
    np.save("images.npy", asked().numpy())
    files = ["a.html", "a.png", "a.svg"]
    outputs = [word for file in files for word in ("-o", file)]
    code, out, _ = explain(monkeypatch, capsys, "images.npy", "--clean", "train", *outputs)
    assert code == 0
    assert out.splitlines()[-3:] == ["page: a.html", "figure: a.png", "figure: a.svg"]
    page = (folder / "a.html").read_text("utf-8")
    assert page.count("<section") == 6
    assert "nearest clean image" in page
    assert "The nearest clean path is that of train/" in out


def test_of_a_data_set_the_training_part_is_searched(folder, monkeypatch, capsys):
    write_guard(folder)
    np.savez(
        "d.npz",
        train_images=data().train_images[:5].numpy(),
        train_labels=data().train_labels[:5].numpy(),
        test_images=data().test_images[:5].numpy(),
        test_labels=data().test_labels[:5].numpy(),
    )
    np.save("images.npy", data().train_images[3:4].numpy())
    code, out, _ = explain(monkeypatch, capsys, "images.npy", "--clean", "npz:d.npz", "--json")
    assert code == 0
    assert json.loads(out)["images"][0]["neighbour"]["similarity"] == 1


def test_other_endings_are_refused_before_the_work_and_damaged_images_by_name(folder, monkeypatch, capsys):
    code, _, err = explain(monkeypatch, capsys, "images.npy", "-o", "a.pdf")
    assert code == 1
    assert "expected --output as .html, .png or .svg, got a.pdf" in err
    write_guard(folder)
    (folder / "torn.png").write_bytes(b"no picture")
    code, _, err = explain(monkeypatch, capsys, "torn.png")
    assert code == 1
    assert "cannot read the picture torn.png" in err


def test_it_imports_nothing_that_fits_detectors_and_no_matplotlib_for_a_page(folder, monkeypatch, capsys):
    import subprocess
    import sys

    write_guard(folder)
    np.save("one.npy", data().test_images[300:301].numpy())
    code = (
        "import sys; from effpath.cli import main\n"
        "try: main()\nexcept SystemExit as leaving: assert not leaving.code, leaving.code\n"
        "print(sorted({'torch.export._trace', 'torch._dynamo', 'sklearn', 'matplotlib', 'captum'} "
        "& sys.modules.keys()))"
    )
    words = ["explain", NETWORK[0], "guard.safetensors", "one.npy", *NETWORK[1:], "-o", "one.html", "--quiet"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
