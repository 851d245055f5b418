import sys

import pytest

import compare
from sources import write_result

RESULT = {
    "network_fingerprint": "aa",
    "seconds": 3,
    "detectors": {"linear": {"auc": {"FGSM": [0.9, 0.8, 0.95]}, "tpr": {"0.05": {"FGSM": [0.5, 0.4, 0.6]}}}},
}


def changed(fingerprint="aa", auc=0.9, tpr=0.5):
    return {
        "network_fingerprint": fingerprint,
        "seconds": 4,
        "detectors": {"linear": {"auc": {"FGSM": [auc, 0.8, 0.95]}, "tpr": {"0.05": {"FGSM": [tpr, 0.4, 0.6]}}}},
    }


def test_a_run_that_took_another_time_is_the_same_result():
    found = compare.compare(RESULT, changed())
    assert (found["network"], found["values"], found["equal"], found["differing"]) == ("the same", 6, 6, {})


def test_what_differs_is_told_by_kind_and_by_interval():
    found = compare.compare(RESULT, changed(auc=0.7, tpr=0.55))
    assert found["differing"] == {"auc": 1, "tpr": 1}
    assert found["auc_outside"] == ["detectors / linear / auc / FGSM"]


@pytest.mark.parametrize(("fingerprint", "code"), [("aa", 1), ("bb", 0), (None, 0)])
def test_only_a_difference_on_the_same_network_fails(fingerprint, code, tmp_path, monkeypatch, capsys):
    for folder, result in (("old", RESULT), ("new", changed(fingerprint, auc=0.85))):
        (tmp_path / folder / "roc").mkdir(parents=True)
        write_result(result, tmp_path / folder / "roc" / "net.json")
    arguments = ["compare.py", str(tmp_path / "old"), str(tmp_path / "new"), "--case", "net"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as leaving:
        compare.main()
    assert leaving.value.code == code
    network = {"aa": "the same", "bb": "another", None: "unknown"}[fingerprint]
    assert f"5 of 6 values equal, the network is {network}; differing: {{'auc': 1}}" in capsys.readouterr().out
