import json

import numpy as np
import pytest

import effpath
from cli_run import run
from digits_net import data, graph, noisy
from effpath.views.difference import difference
from guard_files import NETWORK, write_network


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_network(tmp_path)
    np.save("a.npy", data().test_images[7:8].numpy())
    np.save("b.npy", noisy(data().test_images[7:8]).numpy())
    return tmp_path


def diff(monkeypatch, capsys, *arguments):
    return run(monkeypatch, capsys, "diff", NETWORK[0], *arguments, *NETWORK[1:])


def expected(**how):
    import torch

    images = torch.cat([data().test_images[7:8], noisy(data().test_images[7:8])])
    return difference(graph(), images, names=("a.npy[0]", "b.npy[0]"), **how)


def test_json_is_what_the_api_says(monkeypatch, capsys):
    code, out, err = diff(monkeypatch, capsys, "a.npy", "b.npy", "--json", "--theta", 0.4, "--start", 2)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found.pop("fingerprint") == graph().fingerprint
    assert found == json.loads(json.dumps(expected(theta=0.4, start=2).to_dict()))


def test_the_table_has_a_row_per_layer_and_the_page_is_written(folder, monkeypatch, capsys):
    code, out, _ = diff(monkeypatch, capsys, "a.npy", "b.npy", "-o", "page.html")
    assert code == 0
    lines = out.splitlines()
    for layer in expected().layers:
        (line,) = [line for line in lines if line.split()[:1] == [layer.layer]]
        assert f"{layer.synapses.both:,}" in line
    assert lines[-1] == "page: page.html"
    assert "Where two paths through net.py:make part" in (folder / "page.html").read_text("utf-8")


def test_more_than_two_images_and_another_ending_are_refused(monkeypatch, capsys):
    np.save("two.npy", data().test_images[:2].numpy())
    code, _, err = diff(monkeypatch, capsys, "a.npy", "two.npy")
    assert code == 1
    assert "expected two images to compare, got 3 in a.npy and two.npy" in err
    code, _, err = diff(monkeypatch, capsys, "a.npy", "b.npy", "-o", "page.png")
    assert code == 1
    assert "expected --output as an .html file, got page.png" in err


def test_both_images_give_what_extraction_gives(monkeypatch, capsys):
    _, out, _ = diff(monkeypatch, capsys, "a.npy", "b.npy", "--json", "--layers", "2")
    found = json.loads(out)
    one = effpath.extract(graph(), data().test_images[7:8], layers=2)[0]
    assert [layer["layer"] for layer in found["layers"]] == ["fc2", "fc3"]
    shares = found["layers"][0]["synapses"]
    assert shares["both"] + shares["first"] == len(one.synapses["fc2"])
