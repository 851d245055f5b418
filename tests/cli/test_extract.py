import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from cli_run import run
from digits_net import data, graph, model
from effpath.graph import inputs
from effpath.kernels.options import make_options
from effpath.walk import recording
from effpath.walk.recording import bytes_per_image


@pytest.fixture
def weights(tmp_path):
    file = tmp_path / "digits.safetensors"
    save_file({name: value.contiguous() for name, value in model().state_dict().items()}, file)
    lines = [
        "from effpath.demo.lenet import LeNet5",
        "def make():",
        "    net = LeNet5(8)",
        "    net.input_size = (1, 8, 8)",
    ]
    (tmp_path / "net.py").write_text("\n".join([*lines, "    return net", ""]))
    return file


def test_paths_of_an_array_are_written_and_summed_up(tmp_path, monkeypatch, capsys, weights):
    np.save(tmp_path / "images.npy", data().test_images[:3].numpy())
    code, out, _ = run(
        monkeypatch, capsys, "extract", f"{tmp_path}/net.py:make", tmp_path / "images.npy",
        "--weights", weights, "-o", tmp_path / "paths.npz", "--json",
    )  # fmt: skip
    assert code == 0
    summary = json.loads(out)
    stored = np.load(tmp_path / "paths.npz")
    assert [row["class"] for row in summary["images"]] == stored["classes"].tolist()
    assert len(stored["synapses/conv1/offsets"]) == 4
    assert 0 < summary["images"][0]["synapses_density"] < 0.2


@pytest.mark.parametrize(
    ("asked", "fit", "sizes"), [(8, 100, [8, 2]), (8, 3, [3, 3, 3, 1]), (2, 3, [2] * 5), (1000, 100, [10])]
)
def test_a_batch_has_no_more_images_than_asked_for_and_than_the_bytes_allow(
    tmp_path, monkeypatch, capsys, weights, asked, fit, sizes
):
    np.save(tmp_path / "images.npy", data().test_images[:10].numpy())
    monkeypatch.setattr(inputs, "ACTIVATION_BYTES", fit * bytes_per_image(graph(), make_options("default"), None))
    found, own = [], recording.record
    monkeypatch.setattr(
        recording, "record", lambda *given, **how: found.append(len(given[1])) or own(*given, **how)
    )
    code, out, _ = run(
        monkeypatch, capsys, "extract", f"{tmp_path}/net.py:make", tmp_path / "images.npy",
        "--weights", weights, "-o", tmp_path / "paths.npz", "--json", "--batch-size", asked,
    )  # fmt: skip
    assert code == 0
    assert found == sizes
    assert [row["class"] for row in json.loads(out)["images"]] == graph().predict(data().test_images[:10]).tolist()


def test_pictures_and_folders_are_read_in_the_networks_size(tmp_path, monkeypatch, capsys, weights):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(2):
        pixels = (data().test_images[i, 0].numpy() * 255).astype(np.uint8)
        Image.fromarray(pixels).resize((16, 16), Image.Resampling.NEAREST).save(folder / f"{i}.png")
    code, out, _ = run(
        monkeypatch, capsys, "extract", f"{tmp_path}/net.py:make", folder, folder / "0.png",
        "--weights", weights, "-o", tmp_path / "paths.safetensors", "--layers", 2,
    )  # fmt: skip
    assert code == 0
    assert "3 images; paths:" in out
    assert (tmp_path / "paths.safetensors").stat().st_size > 1000


def test_a_model_of_an_installed_package_needs_no_weights(tmp_path, monkeypatch, capsys):
    np.save(tmp_path / "images.npy", np.random.default_rng(0).random((1, 1, 28, 28), dtype=np.float32))
    code, _, _ = run(
        monkeypatch,
        capsys,
        "extract",
        "effpath.demo.lenet:LeNet5",
        tmp_path / "images.npy",
        "-o",
        tmp_path / "p.npz",
    )
    assert code == 0
    assert (tmp_path / "p.npz").exists()


def broken(tmp_path):
    np.save(tmp_path / "images.npy", data().test_images[:1].numpy())
    np.save(tmp_path / "nan.npy", np.full((1, 1, 8, 8), np.nan, np.float32))
    np.save(tmp_path / "flat.npy", np.zeros((3, 8), np.float32))
    (tmp_path / "torn.npy").write_bytes((tmp_path / "images.npy").read_bytes()[:90])
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Path("more than tensors")))
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n123")
    (tmp_path / "bad.py").write_text("def make():\n    return 3\n")
    (tmp_path / "worse.py").write_text("import no_such_module\n")
    (tmp_path / "empty").mkdir()


@pytest.mark.parametrize(
    ("model_spec", "image", "options", "message"),
    [
        ("net.py:make", "none.npy", [], "InputError: no file or folder"),
        ("net.py:make", "flat.npy", [], r"expected float or uint8 images [N, C, H, W]"),
        ("net.py:make", "torn.npy", [], "cannot read an array from"),
        ("net.py:make", "torn.png", [], "cannot read the picture"),
        ("net.py:make", "empty", [], "no pictures"),
        (
            "net.py:make",
            "nan.npy",
            [],
            "InputError: expected numbers as pixels, got NaN or infinity as 64 of the 64 values of nan.npy[0]",
        ),
        ("net.py:make", "images.npy", ["--theta", "0"], "OptionError: theta must lie in (0, 1], got 0.0"),
        (
            "net.py:make",
            "images.npy",
            ["--preset", "best"],
            "unknown preset 'best'; one of paper, authors, default",
        ),
        (
            "net.py:make",
            "images.npy",
            ["--layers", "9"],
            "layers as a whole number in 1 … 5 for the last k, got 9",
        ),
        ("net.py:make", "images.npy", ["--rank", "11"], "rank as a whole number in 1 … 10"),
        ("net.py:make", "images.npy", ["--weights", "pickle.pt"], "pickles can run code"),
        ("net.py:make", "images.npy", ["--weights", "torn.safetensors"], "StoreError: cannot read weights"),
        ("net.py:nothing", "images.npy", [], "no factory 'nothing'"),
        ("missing.py:make", "images.npy", [], "no file"),
        ("no_such_package:make", "images.npy", [], "no module 'no_such_package'"),
        ("just_a_name", "images.npy", [], "expected a model as path/to/file.py:factory"),
        ("bad.py:make", "images.npy", [], "to return a torch.nn.Module, got int"),
        ("worse.py:make", "images.npy", [], "cannot be run: ModuleNotFoundError"),
    ],
)
def test_bad_input_gets_one_clear_message_and_exit_code_one(
    tmp_path, monkeypatch, capsys, weights, model_spec, image, options, message
):
    broken(tmp_path)
    (tmp_path / "torn.safetensors").write_bytes(weights.read_bytes()[:100])
    monkeypatch.chdir(tmp_path)
    code, _, err = run(monkeypatch, capsys, "extract", model_spec, image, "-o", "p.npz", *options)
    assert code == 1
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "p.npz").exists()


def test_pictures_for_a_network_of_unknown_size_ask_for_it(tmp_path, monkeypatch, capsys):
    Image.new("L", (28, 28)).save(tmp_path / "a.png")
    arguments = ["extract", "effpath.demo.lenet:LeNet5", tmp_path / "a.png", "-o", tmp_path / "p.npz"]
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 1
    assert "give --input-size C,H,W" in err
    assert run(monkeypatch, capsys, *arguments, "--input-size", "1,28,28")[0] == 0
    code, _, err = run(monkeypatch, capsys, *arguments, "--input-size", "big")
    assert code == 2
    assert "such as 3,224,224" in err


def test_ctrl_c_is_exit_code_130(tmp_path, monkeypatch, capsys):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("effpath.cli.network.load_model", interrupt)
    code, _, err = run(monkeypatch, capsys, "extract", "a:b", "c.npy", "-o", tmp_path / "p.npz")
    assert code == 130
    assert "interrupted" in err


def test_help_shows_examples_and_the_version_is_printed(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "extract", "--help")
    assert code == 0
    assert "effpath extract net.py:make" in out
    assert "effpath 0.1.0" in run(monkeypatch, capsys, "--version")[1]
