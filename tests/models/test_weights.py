"""Weights from files: safetensors, and pickles on request only."""

from __future__ import annotations

import pytest
import torch

from effpath.errors import InputError, StoreError
from effpath.lenet import LeNet5
from effpath.models import load_model

SPEC = "effpath.lenet:LeNet5"


class Evil:
    """A pickle that leaves a trace when its code runs."""

    ran = False

    def __reduce__(self):
        return exec, (f"import {__name__} as m; m.Evil.ran = True",)


@pytest.fixture
def state():
    torch.manual_seed(9)
    return LeNet5().state_dict()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ""])
def test_a_pickle_is_refused_and_not_even_opened(tmp_path, suffix):
    with pytest.raises(InputError, match=r"pickles can run code.*save_file.*--allow-pickle"):
        load_model(SPEC, tmp_path / f"missing{suffix}")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {}},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
    ],
)
def test_a_pickled_state_dict_is_read_on_request_however_a_script_wrapped_it(tmp_path, state, wrap):
    torch.save(wrap(state), tmp_path / "w.pt")
    model = load_model(SPEC, tmp_path / "w.pt", allow_pickle=True)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_pickled_module_needs_its_code_and_is_read_on_request(tmp_path, state):
    model = LeNet5()
    model.load_state_dict(state)
    torch.save(model, tmp_path / "w.pt")
    assert torch.equal(load_model(SPEC, tmp_path / "w.pt", allow_pickle=True).fc1.weight, state["fc1.weight"])


def test_the_code_in_a_pickle_does_not_run_where_pickles_are_not_allowed(tmp_path):
    import pickle

    (tmp_path / "w.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError):
        load_model(SPEC, tmp_path / "w.pt")
    assert not Evil.ran


@pytest.mark.parametrize("held", [3, [1, 2], {"fc1.weight": "text"}])
def test_a_pickle_of_something_else_is_refused(tmp_path, held):
    torch.save(held, tmp_path / "w.pt")
    with pytest.raises(StoreError, match="expected a state dict"):
        load_model(SPEC, tmp_path / "w.pt", allow_pickle=True)


def test_a_damaged_or_missing_pickle_is_one_error(tmp_path, state):
    torch.save(state, tmp_path / "w.pt")
    (tmp_path / "w.pt").write_bytes((tmp_path / "w.pt").read_bytes()[:500])
    for file in ("w.pt", "none.pt"):
        with pytest.raises(StoreError, match="cannot read weights"):
            load_model(SPEC, tmp_path / file, allow_pickle=True)
