import json
import os
import re

import pytest

from cli_run import run

pytest.importorskip("foolbox")

SMALL = ["--images", "60", "--train-images", "400", "--attacks", "FGSM,DeepFool,Random"]


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A folder for the demo, and a cache of its own."""
    monkeypatch.setenv("EFFPATH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "demo"


def test_the_demo_prints_a_table_and_writes_report_and_numbers(small, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "demo", "--output", small, *SMALL)
    assert code == 0
    results = json.loads((small / "results.json").read_text())
    assert [attack["name"] for attack in results["attacks"]] == ["FGSM", "DeepFool", "Random"]
    for attack in results["attacks"]:
        value = attack["scores"]["linear"]["auc"][0]
        assert 0.5 < value <= 1
        assert f"{value:.4f}" in out
        assert attack["succeeded"] <= attack["tried"]
    assert "overall synapse density" in out
    report = (small / "report.html").read_text()
    assert "DeepFool" in report
    assert not re.search(r"(?:src|href)=[\"']https?:", report)


def test_a_second_run_gives_the_same_numbers_from_what_the_first_one_left(small, monkeypatch, capsys):
    first = run(monkeypatch, capsys, "demo", "--output", small, "--json", *SMALL)[1]
    monkeypatch.setattr("effpath.demo.run.train_classifier", None)  # neither trained nor attacked again
    monkeypatch.setattr("effpath.attacks.runner._attack_batch", None)
    second = run(monkeypatch, capsys, "demo", "--output", small, "--json", *SMALL)[1]
    numbers = [json.loads(text) for text in (first, second)]
    for result in numbers:
        del result["provenance"]["seconds"]
    assert numbers[0] == numbers[1]


def test_bad_data_is_one_clear_message(small, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "demo", "--output", small, "--data", "mnist:nowhere")
    assert code == 1
    assert "nowhere" in err
    code, _, err = run(monkeypatch, capsys, "demo", "--output", small, "--data", "letters")
    assert code == 1
    assert "unknown data set 'letters'" in err


@pytest.mark.skipif(not os.environ.get("EFFPATH_DATA"), reason="EFFPATH_DATA is not set")
def test_the_demo_runs_on_mnist_with_the_papers_figures_beside_ours(small, monkeypatch, capsys):
    data = os.path.join(os.environ["EFFPATH_DATA"], "mnist")
    code, out, _ = run(
        monkeypatch,
        capsys,
        "demo",
        "--output",
        small,
        "--data",
        f"mnist:{data}",
        "--images",
        60,
        "--train-images",
        1500,
        "--attacks",
        "FGSM,Random",
    )
    assert code == 0
    assert "(paper: 13.8%)" in out
    assert data not in (small / "report.html").read_text()
