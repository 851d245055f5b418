import json

import numpy as np
import pytest

from cli_run import run
from digits_net import data, graph
from effpath.views.drawing import draw_path
from guard_files import NETWORK, write_network


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_network(tmp_path)
    np.save("a.npy", data().test_images[7:8].numpy())
    return tmp_path


def show(monkeypatch, capsys, *arguments):
    return run(monkeypatch, capsys, "show", NETWORK[0], *arguments, *NETWORK[1:])


@pytest.mark.parametrize("by", ["neurons", "channels"])
def test_json_is_what_the_api_says(by, monkeypatch, capsys):
    code, out, err = show(monkeypatch, capsys, "a.npy", "--json", "--by", by, "--rank", 2, "--theta", 0.4)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found.pop("fingerprint") == graph().fingerprint
    expected = draw_path(graph(), data().test_images[7], by=by, rank=2, theta=0.4, name="a.npy[0]")
    assert found == json.loads(json.dumps(expected.to_dict()))


def test_the_table_has_a_row_per_layer_and_the_page_draws_it(folder, monkeypatch, capsys):
    code, out, _ = show(monkeypatch, capsys, "a.npy", "-o", "page.html")
    assert code == 0
    lines = out.splitlines()
    found = draw_path(graph(), data().test_images[7])
    for row in found.rows:
        (line,) = [line for line in lines if line.split()[:1] == [row.name]]
        assert line.split()[1:] == [row.operator, *(f"{n:,}" for n in (row.active, row.neurons, row.synapses))]
    assert lines[-1] == "page: page.html"
    page = (folder / "page.html").read_text("utf-8")
    assert 'id="scene"' in page
    assert len(page) < 1_000_000


def test_several_images_and_other_ways_to_draw_are_refused(monkeypatch, capsys):
    np.save("two.npy", data().test_images[:2].numpy())
    code, _, err = show(monkeypatch, capsys, "two.npy")
    assert code == 1
    assert "expected one image to draw the path of, got 2 in two.npy" in err
    code, _, err = show(monkeypatch, capsys, "a.npy", "--by", "weights")
    assert code == 1
    assert "expected neurons or channels to draw, got 'weights'" in err
    code, _, err = show(monkeypatch, capsys, "a.npy", "-o", "page.pdf")
    assert code == 1
    assert "expected --output as an .html file" in err
