"""What every command does with the images it is given."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from torch import nn

from cli_run import run
from effpath.cli.network import Network
from effpath.cli.options import Source
from effpath.errors import InputError
from effpath.images import PictureFormat

NET = (
    "from effpath.demo.lenet import LeNet5\ndef make():\n    net = LeNet5(8)\n    net.input_size = (1, 8, 8)\n"
    "    {more}\n    return net\n"
)
GREY = PictureFormat(1, 4, 4)


def network(picture_format=None, model=None, **options):
    """A network that shows how images are read."""
    return Network(Source("net.py:make", **options), model or nn.Identity(), picture_format)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A network, and digits of which one has values 0 … 255 and another NaN."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET.format(more="pass"))
    for name, value in (("wide", 255.0), ("nan", np.nan)):
        images = np.full((40, 1, 8, 8), 0.5, np.float32)
        images[35] = value
        labels = np.arange(40) % 10
        np.savez(
            tmp_path / f"{name}.npz", images=images, labels=labels, train_images=images, train_labels=labels,
            test_images=images, test_labels=labels,
        )  # fmt: skip
    return tmp_path


COMMANDS = {
    "extract": ["extract", "net.py:make", "{file}", "-o", "out.npz"],
    "extract of data": ["extract", "net.py:make", "npz:{file}", "-o", "out.npz"],
    "score": ["score", "net.py:make", "none.safetensors", "{file}"],
    "profile": ["profile", "net.py:make", "npz:{file}", "-o", "out.safetensors"],
    "fit": ["fit", "net.py:make", "npz:{file}", "-o", "out.safetensors"],
    "demo": ["demo", "--model", "net.py:make", "--data", "npz:{file}", "--output", "out"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize(
    ("name", "message"),
    [("wide", "expected images in [0, 1], or uint8, got 255 to 255"), ("nan", "NaN or infinity")],
)
def test_every_command_refuses_images_that_are_no_pixels(folder, monkeypatch, capsys, command, name, message):
    code, _, err = run(monkeypatch, capsys, *(text.format(file=f"{name}.npz") for text in command), "--quiet")
    assert code == 1
    assert message in err
    assert "[35]" in err


def test_a_network_may_say_that_it_takes_other_numbers(folder):
    free = nn.Identity()
    free.pixel_range = None
    for source in ("wide.npz", "npz:wide.npz"):
        images, _ = network(model=free).images([source])
        assert images[:].max() == 255


def test_only_the_images_that_are_asked_for_are_read(folder):
    for source in ("wide.npz", "npz:wide.npz"):
        images, names = network().images([source], first=35)
        assert len(images) == len(names) == 35
        with pytest.raises(InputError, match=r"\[35\]"):
            network().images([source], first=36)


def test_files_that_are_left_out_are_said_and_counted(tmp_path, capsys):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    for i in range(7):
        (tmp_path / f"{i}.txt").write_text("no picture")
    (tmp_path / ".DS_Store").touch()
    network(GREY).opened([str(tmp_path)])
    said = capsys.readouterr().err
    names = ", ".join(f"{tmp_path}/{i}.txt" for i in range(5))
    assert said == f"note: left out, not pictures: {names}, … (7)\n"


def test_files_of_a_data_set_that_are_left_out_are_said(tmp_path, capsys):
    for name in ("a/1.png", "b/1.png", "loose.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    network(GREY).dataset(f"imagefolder:{tmp_path}")
    assert capsys.readouterr().err == "note: left out, not pictures of a class: loose.png (1)\n"


def test_damaged_pictures_are_counted_before_the_work_or_left_out(tmp_path, capsys):
    for i in range(4):
        Image.new("L", (4, 4), i).save(tmp_path / f"{i}.png")
    for i in (1, 2):
        (tmp_path / f"{i}.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(InputError, match=r"1\.png.*\(2 of 4 images; --skip-damaged leaves them out\)"):
        network(GREY).images([str(tmp_path)])
    _, names = network(GREY, skip_damaged=True).images([str(tmp_path)])
    assert names == [f"{tmp_path}/0.png", f"{tmp_path}/3.png"]
    assert capsys.readouterr().err.count("left out, cannot be read") == 2
    with pytest.raises(InputError, match="none of 1 images can be read"):
        network(GREY, skip_damaged=True).images([str(tmp_path / "1.png")])
