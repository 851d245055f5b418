"""Weights from files: safetensors, and pickles on request only."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from effpath.demo.lenet import LeNet5
from effpath.errors import InputError, StoreError
from effpath.models import load_model
from effpath.models.weights import load_weights

SPEC = "effpath.demo.lenet:LeNet5"


class Evil:
    """A pickle that leaves a trace when its code runs."""

    ran = False

    def __reduce__(self):
        return exec, (f"import {__name__} as m; m.Evil.ran = True",)


@pytest.fixture
def state():
    torch.manual_seed(9)
    return LeNet5().state_dict()


def prefixed(prefix):
    return lambda state: {f"{prefix}{name}": value for name, value in state.items()}


def compiled_in_part(state):
    return {name.replace("fc1.", "fc1._orig_mod."): value for name, value in state.items()}


def beside_a_loss(state):
    return {**prefixed("model.")(state), "loss.weight": torch.ones(10), "ema.decay": torch.ones(1)}


RENAMED = {
    "as it is": dict,
    "DataParallel": prefixed("module."),
    "Lightning": prefixed("model."),
    "Lightning with a loss": beside_a_loss,
    "torch.compile": prefixed("_orig_mod."),
    "a part through torch.compile": compiled_in_part,
    "PixelModel": prefixed("network."),
    "all of them": prefixed("model.module._orig_mod.net."),
}
WRAPPED = {
    "alone": dict,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "arch": "lenet"},
    "model": lambda state: {"model": state, "optimizer": {}},
    "model_state_dict": lambda state: {"model_state_dict": state, "optimizer_state_dict": {"lr": 0.1}},
    "net": lambda state: {"net": state, "acc": 91.5},
    "beside a model's name": lambda state: {"model": "lenet", "state_dict": state},
    "in two": lambda state: {"model": {"state_dict": state}},
}


def same(model, state):
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("rename", RENAMED.values(), ids=RENAMED)
def test_a_pickled_state_dict_is_read_however_a_script_wrapped_it(tmp_path, state, rename, wrap):
    torch.save(wrap(rename(state)), tmp_path / "w.pt")
    assert same(load_model(SPEC, tmp_path / "w.pt"), state)


@pytest.mark.parametrize("rename", RENAMED.values(), ids=RENAMED)
def test_prefixes_are_understood_in_safetensors_as_in_pickles(tmp_path, state, rename):
    save_file(rename(state), tmp_path / "w.safetensors")
    assert same(load_model(SPEC, tmp_path / "w.safetensors"), state)


def test_names_of_the_networks_own_are_left_alone_even_where_they_look_like_a_prefix(tmp_path):
    network = nn.Sequential(OrderedDict(model=nn.Linear(2, 2), module=nn.Linear(2, 3)))
    save_file(network.state_dict(), tmp_path / "own.safetensors")
    save_file(prefixed("module.model.")(network.state_dict()), tmp_path / "more.safetensors")
    for file in ("own", "more"):
        other = nn.Sequential(OrderedDict(model=nn.Linear(2, 2), module=nn.Linear(2, 3)))
        load_weights(other, tmp_path / f"{file}.safetensors")
        assert same(other, network.state_dict())


def test_a_file_may_lack_the_counters_of_batch_norm(tmp_path):
    network = nn.Sequential(nn.BatchNorm2d(2))
    state = {name: torch.rand(2) for name in ("0.weight", "0.bias", "0.running_mean", "0.running_var")}
    save_file(prefixed("module.")(state), tmp_path / "w.safetensors")
    load_weights(network, tmp_path / "w.safetensors")
    assert torch.equal(network[0].running_var, state["0.running_var"])


@pytest.mark.parametrize("prefix", ["", "module.", "model._orig_mod."])
def test_weights_of_another_number_of_outputs_say_which_classes_to_give(tmp_path, prefix):
    network, trained = (nn.Sequential(nn.Linear(4, 3), nn.Linear(3, outputs)) for outputs in (1000, 7))
    save_file(prefixed(prefix)(trained.state_dict()), tmp_path / "w.safetensors")
    with pytest.raises(StoreError, match=r"do not fit.*1\.bias of shape \[1000\], got \[7\].*give --classes 7,"):
        load_weights(network, tmp_path / "w.safetensors")


def test_weights_of_another_network_say_what_is_missing_and_what_is_left(tmp_path, state):
    save_file({**prefixed("net.")(state), "net.extra": torch.ones(1)}, tmp_path / "more.safetensors")
    with pytest.raises(StoreError, match=r"the file lacks none; .* no place for extra;"):
        load_model(SPEC, tmp_path / "more.safetensors")
    del state["fc3.weight"]
    save_file(prefixed("module.")(state), tmp_path / "less.safetensors")
    with pytest.raises(StoreError, match=r"the file lacks fc3\.weight; .* no place for none"):
        load_model(SPEC, tmp_path / "less.safetensors")
    state["fc3.weight"] = torch.ones(2, 3)
    state["fc2.weight"] = torch.ones(5, 6)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(StoreError, match=r"2 of 10 tensors have other shapes\); give another architecture"):
        load_model(SPEC, tmp_path / "other.safetensors")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ""])
def test_a_pickle_of_more_than_tensors_is_refused_and_its_code_does_not_run(tmp_path, suffix, state):
    torch.save({"state_dict": state, "config": Evil()}, tmp_path / f"w{suffix}")
    with pytest.raises(InputError, match=r"pickles can run code.*save_model.*--allow-pickle"):
        load_model(SPEC, tmp_path / f"w{suffix}")
    assert not Evil.ran


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
        for allowed in (False, True):
            with pytest.raises(StoreError, match="cannot read weights"):
                load_model(SPEC, tmp_path / file, allow_pickle=allowed)


class Tied(nn.Module):
    """Two layers with one weight, as networks that tie their ends have."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x).relu())


def test_a_tied_weight_is_read_under_one_of_its_names_as_save_model_writes_it(tmp_path):
    trained, network, x = Tied().eval(), Tied().eval(), torch.rand(3, 4)
    with pytest.raises(RuntimeError, match="share memory"):
        save_file(trained.state_dict(), tmp_path / "not.safetensors")  # so no message may advise it
    save_model(trained, str(tmp_path / "w.safetensors"))
    load_weights(network, tmp_path / "w.safetensors")
    assert network.second.weight is network.first.weight
    assert torch.equal(network(x), trained(x))
    save_file({"first.weight": torch.rand(4, 4)}, tmp_path / "less.safetensors")
    with pytest.raises(StoreError, match=r"the file lacks .*bias"):
        load_weights(network, tmp_path / "less.safetensors")
