"""The conformance study on a handful of tiny models, and that its plain check can fail."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

import conformance
import effpath
from effpath.rules import RULES
from known_graphs import captured

pytest.importorskip("timm")
pytest.importorskip("torchvision")

TINY = ("test_convnext", "test_efficientnet_gn", "test_mambaout", "test_nfnet", "test_resnet", "test_vit")


def examined(name: str, file: Path) -> dict:
    conformance.examine(name, "tiny", 5, 0, file)
    return json.loads(file.read_text())


@pytest.mark.parametrize("name", TINY)
def test_a_tiny_model_is_captured_folded_extracted_and_verified(name: str, tmp_path: Path) -> None:
    row = examined(f"timm:{name}", tmp_path / "row.json")
    assert (row["stage"], row["cause"], row["wrong"]) == ("verified", "", 0)
    assert row["checked"] > 50
    assert 0 < row["neuron_density"] < 1


@pytest.mark.parametrize("op", ["conv2d", "linear", "max_pool2d", "add"])
def test_a_wrong_rule_is_found_by_the_plain_check(op: str, tmp_path: Path, monkeypatch) -> None:
    rule = RULES[op]

    def shifted(graph, node):
        kind = rule(graph, node)
        window = kind.window
        if op == "add":
            window = replace(window, coefficients=torch.tensor([[1.0, -1.0]]))
        elif window.positions > 1:  # the head of a network has no other position
            window = replace(window, taps=window.taps.roll(1, 0))
        return replace(kind, window=window)

    monkeypatch.setitem(RULES, op, shifted)
    name = "timm:test_vit" if op == "linear" else "timm:test_resnet"
    monkeypatch.setattr(effpath, "capture", partial(captured, name))
    row = examined(name, tmp_path / "row.json")
    assert row["stage"] == "extracted"
    assert row["wrong"] > 0
    assert "differ from the plain check" in row["cause"]


def test_rows_that_are_there_are_kept_and_one_that_takes_too_long_says_how_far_it_came(
    tmp_path: Path,
) -> None:
    kept = {"model": "timm:kept", "family": "tiny", "stage": "verified", "cause": "", "checked": 7, "seconds": {}}
    (tmp_path / "timm_kept.json").write_text(json.dumps(kept))
    models = {"timm:kept": "tiny", "timm:test_vit": "tiny"}
    table = conformance.measure(models, tmp_path, limit=1, neurons=1, seed=0)
    assert table["rows"][0] == kept
    assert table["rows"][1]["cause"] == "stopped at the time limit"
    assert (table["summary"]["timm"]["models"], table["summary"]["timm"]["verified"]) == (2, 1)


def test_a_model_that_crashes_is_not_said_to_be_slow(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(conformance, "build", lambda name, seed: os._exit(3))
    table = conformance.measure({"timm:test_vit": "tiny"}, tmp_path, limit=60, neurons=1, seed=0)
    assert table["rows"][0]["cause"] == "ended with code 3"


def test_the_families_of_timm_are_many_and_hold_every_model_once() -> None:
    families = conformance.timm_families()
    names = [name for members in families.values() for name in members]
    assert len(families) >= 100
    assert len(names) == len(set(names))
    assert len(conformance.torchvision_models()) >= 80
