"""The benchmark compares sets before it measures, goes on where it was, and the docs show what it found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import effpath
from benchmarks import gate, guard, measure, page, run
from benchmarks.cases import PARTS, STRESS, Case, Check, cases_of, checks_of
from benchmarks.goals import goals, slope
from benchmarks.networks import Network
from benchmarks.plot import plot
from benchmarks.stress import stressed
from effpath.kernels.options import make_options
from effpath.walk.recording import Recorded, record
from effpath.walk.visit import paths_of

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def small():
    model, _ = guard.network()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return effpath.capture(model, images), images


def test_every_case_is_there_once_and_has_its_check() -> None:
    cases = list(cases_of("data:resnet50_imagenette", PARTS, 0))
    keys = [json.dumps(case.to_dict()) for case in cases]
    assert len(set(keys)) == len(keys)
    checked = [check for checks in checks_of(cases).values() for check in checks]
    assert all(case.check in checked for case in cases if case.check.kind != "detector")
    assert {case.batch for case in cases} == {1, 2, 4, 8, 16}
    assert {case.check.theta for case in cases if case.check.kind == "walk"} == {0.1, 0.3, 0.5, 0.7, 0.9, 1.0}


def test_the_gate_says_what_it_compared(small) -> None:
    graph, images = small
    found = gate.compare(Check("small", products=1), graph, images)
    assert found["equal"]
    assert (found["compared_layers"], found["of_layers"]) == (1, 5)
    assert gate.compare(Check("small"), graph, images)["compared_layers"] == 5


def test_a_difference_in_one_set_shuts_the_gate(small, monkeypatch) -> None:
    graph, images = small
    plainly = Recorded.plainly

    def wrong(self: Recorded) -> Recorded:
        plain = plainly(self)
        return replace(plain, header=replace(plain.header, options=make_options("default", theta=0.51)))

    monkeypatch.setattr(Recorded, "plainly", wrong)
    assert not gate.compare(Check("small"), graph, images)["equal"]


def test_a_shut_gate_ends_the_run(monkeypatch) -> None:
    monkeypatch.setattr(run, "child", lambda module, asked: [{**asked[0], "equal": False}])
    with pytest.raises(SystemExit, match="other sets than the reference's; nothing is reported"):
        run.open_gates({"gates": []}, [Check("small")])


def test_products_are_the_candidates_of_active_neurons_without_padding() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Flatten(), nn.Linear(48, 2)).eval()
    graph = effpath.capture(model, torch.rand(1, 2, 4, 4))
    paths = effpath.extract(graph, torch.rand(1, 2, 4, 4), theta=1.0)
    taps = nn.functional.conv2d(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3), padding=1).flatten()
    ids = paths.neurons["0"][0]
    assert gate.products(paths) == {"0": 2 * int(taps[torch.from_numpy(ids) % 16].sum()), "2": 48}


def test_a_stress_makes_every_target_a_quarter_of_the_positive_sum() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4 * 16, 3)

        def forward(self, x):
            x = self.first(x).relu()
            return self.last((x + self.second(x)).relu().flatten(1))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, images = Residual().eval(), torch.rand(16, 2, 6, 6)
    graph = effpath.capture(model, images)
    paths = paths_of(stressed(record(graph, images, options=STRESS, backend="compiled"), images))
    with torch.no_grad():
        hidden = model.first(images).relu()
    inputs = {"first": images.flatten(1).numpy(), "second": hidden.flatten(1).numpy()}
    weights = {"first": model.first.weight, "second": model.second.weight}
    for layer in ("first", "second"):  # the second's value is read by the add too
        window = paths.header.layer(layer).window
        assert len(paths.neurons[layer].values) >= 5
        for image, neuron in ((i, n) for i in range(16) for n in paths.neurons[layer][i]):
            reads = window.input_ids(torch.tensor([neuron]))[0].numpy()
            by_candidate = window.weight_ids(torch.tensor([neuron]))[0]
            c = inputs[layer][image][reads] * weights[layer].detach().flatten()[by_candidate].numpy()
            ranked = np.argsort(-c, kind="stable")
            target = 0.25 * c[c > 0].sum(dtype=np.float64) * (1 - 1e-6)
            expected = sorted(ranked[: (np.cumsum(c[ranked], dtype=np.float64) >= target).argmax() + 1])
            slots = paths.synapses[layer][image]
            assert (slots[slots // window.candidates == neuron] % window.candidates).tolist() == expected


def test_rounds_stop_at_the_budget_but_not_before_three() -> None:
    calls: list[int] = []
    times = measure.rounds({"a": lambda: calls.append(sum(range(100_000)))}, 1, 50, 0.0)
    assert len(times["a"]) == 3
    assert len(calls) == 4
    assert all(ms > 0 for ms in times["a"])


def test_a_run_goes_on_where_it_was_and_refuses_results_of_other_code(tmp_path) -> None:
    file, common = tmp_path / "bench.json", run.about(3, 1.0)
    results = run.opened(file, common, fresh=False)
    results["rows"].append(Case(Check("small")).to_dict())
    run.save(results, file)
    again = run.opened(file, common, fresh=False)
    assert again == results
    assert run.measured(again, Case(Check("small")))
    assert not run.measured(again, Case(Check("small"), batch=8))
    with pytest.raises(SystemExit, match="measured with another source; begin anew with --fresh"):
        run.opened(file, {**common, "source": "other"}, fresh=False)
    assert run.opened(file, common, fresh=True)["rows"] == []


def test_a_run_measures_what_is_missing_and_shows_it(small, tmp_path, monkeypatch) -> None:
    graph, _ = small
    model, _ = guard.network()
    loaded = []

    def load_network(name: str, count: int, seed: int) -> Network:
        return Network(model, torch.rand(count, *graph.input_shape), "random, seed 0", "random")

    def child(module: str, asked, **_) -> list:
        loaded.append(module)
        if module == "benchmarks.gate":
            return [gate.compare(Check(**one), graph, torch.rand(1, *graph.input_shape)) for one in asked]
        case = Case(Check(**asked["check"]), asked["batch"], asked["threads"])
        return [json.loads(json.dumps(measure.measure(case, 1, 0.0)))]

    monkeypatch.setattr(measure, "load_network", load_network)
    monkeypatch.setattr(measure, "UNION", 2)
    monkeypatch.setattr(run, "child", child)
    before = torch.get_num_threads()
    file = tmp_path / "bench.json"
    results = run.opened(file, run.about(1, 0.0), fresh=False)
    name = "data:alexnet_imagenette"
    try:
        run.run(results, file, [name], ["partial", "theta", "detector"], 0)
    finally:
        torch.set_num_threads(before)
    assert [row["layers"] for row in results["rows"]] == [3] * 2 + [None] * 6 + [3] * 2  # it has no ten layers
    assert [row["kind"] for row in results["rows"]] == ["walk"] * 8 + ["detector"] * 2
    assert all(gate["equal"] for gate in results["gates"])
    thetas = [row for row in results["rows"] if row["layers"] is None]
    assert [row["synapses"] for row in thetas] == sorted(row["synapses"] for row in thetas)
    held = results["rows"][0]["bytes"]
    late = 1 << 20  # Linux adds what a thread takes to the counters in steps of 64 pages
    assert 0 < held["loaded"] <= held["forward"] + late
    assert 0 < held["captured"] <= held["extracted"] + late
    assert results["rows"][1]["bytes"]["paths"] > held["paths"] > 0
    loaded.clear()
    run.run(run.opened(file, run.about(1, 0.0), fresh=False), file, [name], ["partial", "theta", "detector"], 0)
    assert loaded == []
    plot(run.read(file), tmp_path / "bench.svg")
    assert "walk ÷ forward" in (tmp_path / "bench.svg").read_text(encoding="utf-8")
    assert page.tables(run.read(file)).count("| all 3 |") == 1


def test_a_missed_goal_is_called_missed() -> None:
    by_title = {goal.title: goal for goal in goals()}
    full = by_title["AlexNet, all layers, batch 8, default: walk ÷ forward"]
    assert [full.met(value) for value in (0.6, 0.5, 0.2, 0.1)] == [0, 1, 2, 3]
    faster = by_title["AlexNet, default: reference ÷ compiled"]
    assert [faster.met(value) for value in (49, 50)] == [0, 1]
    assert slope([{"n": n, "walk_ms": 3.0 * n**2} for n in (1, 2, 5)], "n") == pytest.approx(2)


def test_the_page_shows_the_committed_results() -> None:
    results = run.read(ROOT / "docs" / "results" / "bench.json")
    text = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    assert text.split(page.MARK)[1].strip() == page.tables(results)
    assert all(gate["equal"] for gate in results["gates"])
    assert (ROOT / "docs" / "results" / "bench.svg").stat().st_size < 300_000


def test_no_goal_of_the_committed_page_is_unmeasured() -> None:
    results = run.read(ROOT / "docs" / "results" / "bench.json")
    assert [goal.title for goal in goals() if goal.measured(results) is None] == []
    text = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    assert "not measured" not in text.split(page.MARK)[1]
    assert "partial run" not in text.split(page.MARK)[1]


def test_a_page_of_a_part_of_the_rows_says_so() -> None:
    results = run.read(ROOT / "docs" / "results" / "bench.json")
    few = {**results, "rows": results["rows"][:1]}
    assert "A partial run" in page.tables(few)
    assert any(goal.measured(few) is None for goal in goals())
