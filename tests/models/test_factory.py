"""Factories in files and packages."""

from __future__ import annotations

import pytest
import torch

from effpath.errors import InputError
from effpath.images import PictureFormat, format_of
from effpath.models import from_library, load_model


def write(tmp_path, text):
    (tmp_path / "net.py").write_text(text)
    return f"{tmp_path}/net.py:make"


def test_a_factory_gives_its_model_in_eval_mode_with_weights_from_the_seed(tmp_path):
    spec = write(tmp_path, "import torch\ndef make():\n    return torch.nn.Linear(2, 3)\n")
    assert not from_library(spec)
    first, again, other = (load_model(spec, seed=seed) for seed in (0, 0, 1))
    assert not first.training
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)


def test_a_file_may_import_its_neighbours(tmp_path):
    (tmp_path / "neighbour_of_net.py").write_text("import torch\nLAYER = torch.nn.Linear(2, 3)\n")
    spec = write(tmp_path, "from neighbour_of_net import LAYER\ndef make():\n    return LAYER\n")
    assert load_model(spec).out_features == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "def make():\n    raise OSError('no weights here')\n",
            r"make\(\) in .*net.py failed: OSError: no weights",
        ),
        ("def make(size):\n    pass\n", "called without arguments"),
        ("def other():\n    pass\n", "it has other"),
        ("make = 3\n", "no factory 'make'"),
        ("def make(:\n", "cannot be run: SyntaxError"),
    ],
)
def test_a_factory_that_fails_says_so(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load_model(write(tmp_path, text))


def test_the_format_of_a_model_is_what_it_names():
    model = torch.nn.Identity()
    assert format_of(model) is None
    model.input_size = (1, 28, 30)
    assert format_of(model) == PictureFormat(1, 28, 30)
    for wrong in (28, (28, 28), ("a", 2, 3), (3, 0, 4)):
        model.input_size = wrong
        with pytest.raises(InputError, match=r"input_size to be \(C, H, W\)"):
            format_of(model)
