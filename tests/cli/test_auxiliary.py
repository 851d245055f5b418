"""A detector that asks another network, by commands: fitted, and used with the same network alone."""

import json

import numpy as np
import pytest
from safetensors.torch import save_file

import effpath
from cli_run import run
from digits_net import auxiliary, data, graph, model, noisy
from effpath.cli.fit import _agreement
from effpath.cli.network import open_network
from effpath.cli.options import Source
from effpath.detect.saved import WHAT, detector_about
from effpath.files.sealed import SealedFile
from effpath.graph import export
from guard_files import NETWORK, write_guard, write_network

OTHER = ["--auxiliary", "net.py:make", "--auxiliary-weights", "other.safetensors"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with the network, the weights of another, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EFFPATH_CACHE", str(tmp_path / "cache"))
    write_network(tmp_path)
    save_file({name: value.contiguous() for name, value in model(1).state_dict().items()}, "other.safetensors")
    np.save("images.npy", noisy(data().test_images[200:206]).numpy())
    return tmp_path


def test_where_another_network_is_named_the_detector_is_fitted_with_it(monkeypatch, capsys):
    words = ["fit", NETWORK[0], "digits", *NETWORK[1:], "--per-class", 10, "--images", 120, "--batch-size", 64]
    code, out, err = run(monkeypatch, capsys, *words, "--attack", "none", *OTHER, "-o", "g.safetensors", "--quiet")
    assert (code, err) == (0, "")
    assert "kind paired, fitted on" in out
    with SealedFile("g.safetensors", WHAT) as opened:
        agreed, images = detector_about(opened)["about"]["auxiliary"].values()
    assert 0.8 * images < agreed < images
    assert f"the other network believes the answer for {agreed} of these {images} images\n" in out
    loaded = effpath.load_detector("g.safetensors", graph(), auxiliary=auxiliary())
    assert loaded.kind == "paired"
    code, _, err = run(monkeypatch, capsys, *words, *OTHER, "--kind", "fast", "-o", "h.safetensors")
    assert code == 1
    assert "'fast' asks no other network: leave out auxiliary, or choose kind 'paired'" in err
    code, _, err = run(monkeypatch, capsys, *words, "--kind", "paired", "-o", "h.safetensors")
    assert code == 1
    assert "'paired' asks another network for the same classes, got none" in err


def test_a_network_that_believes_few_answers_is_told_of() -> None:
    assert _agreement(80, 100) == "the other network believes the answer for 80 of these 100 images"
    assert _agreement(79, 100).endswith("compare with a detector of kind standard, without it")


def test_commands_that_use_it_say_what_the_api_says_and_need_the_same_network(folder, monkeypatch, capsys):
    detector = write_guard(folder, "paired")
    wanted = detector.score(noisy(data().test_images[200:206]))
    words = [NETWORK[0], "guard.safetensors", "images.npy", *NETWORK[1:], "--json", "--quiet"]
    found, exports = {}, []
    for command, more in (("detect", []), ("explain", []), ("report", ["-o", "report.html"])):
        with monkeypatch.context() as patch:
            patch.setattr(export, "exported", lambda *given, **more: exports.append(given))
            code, out, err = run(monkeypatch, capsys, command, *words, *more, *OTHER)
        assert exports == []  # the file holds the structure of both networks
        assert (code, err) == (0, "")
        found[command] = json.loads(out)
        code, _, err = run(monkeypatch, capsys, command, *words, *more)
        assert code == 1
        assert "or --auxiliary" in err
        code, _, err = run(
            monkeypatch, capsys, command, *words, *more, *OTHER[:2], "--auxiliary-weights", "w.safetensors"
        )
        assert code == 1
        assert "got the network itself" in err
    assert [row["score"] for row in found["detect"]["rows"]] == pytest.approx(wanted.tolist(), rel=1e-5)
    assert [one["score"] for one in found["explain"]["images"]] == pytest.approx(wanted.tolist(), rel=1e-5)
    assert found["report"]["findings"]["flagged"] == found["detect"]["flagged"]


def test_weights_of_a_network_that_is_not_named_are_refused(folder, monkeypatch, capsys):
    write_guard(folder)
    words = ["detect", NETWORK[0], "guard.safetensors", "images.npy", *NETWORK[1:], *OTHER[2:]]
    code, _, err = run(monkeypatch, capsys, *words)
    assert code == 1
    assert "expected --auxiliary with --auxiliary-weights" in err


def test_a_network_whose_outputs_or_pixels_are_others_is_refused_by_name(folder, monkeypatch, capsys):
    write_guard(folder, "paired")
    made = (
        "from effpath.demo.lenet import LeNet5\ndef make(**more):\n    net = LeNet5(8)\n"
        "    net.input_size = (1, 8, 8)\n    vars(net).update(more)\n"
        "    net.classes = more.get('classes', 'zero one two three four five six seven eight nine'.split())\n"
        "    return net\ndef turned():\n    return make(classes=make().classes[::-1])\n"
        "def wide():\n    return make(pixel_range=None)\n"
    )
    (folder / "named.py").write_text(made)
    words = ["detect", "named.py:make", "guard.safetensors", "images.npy", *NETWORK[1:], "--quiet"]
    for factory, wanted in (
        ("turned", "in the order of those of named.py:make, got 'nine' instead of 'zero' as output 0"),
        ("wide", "to take pixels in the range of named.py:make, got another pixel_range"),
    ):
        code, _, err = run(monkeypatch, capsys, *words, "--auxiliary", f"named.py:{factory}", *OTHER[2:])
        assert code == 1
        assert wanted in " ".join(err.split())


def test_a_network_of_a_library_gets_as_many_outputs_as_the_network_has(folder, monkeypatch, capsys):
    pytest.importorskip("torchvision")
    source = Source("net.py:make", seed=1)
    found = open_network(source).beside("torchvision:resnet18", None, 10)
    assert found.model.network.fc.out_features == 10
    assert found.picture_format.shape == (1, 8, 8)
