"""The benchmark of sets compares equal things, and the docs show what it found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyroaring")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def bench():
    from benchmarks import sets

    return sets


def test_every_way_is_measured_on_the_same_sets(bench, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(bench, "ENOUGH", 0)
    rng = np.random.default_rng(0)
    sizes = {"few": 1 << 20, "many": 1 << 18}
    slots = {"few": [np.sort(rng.choice(1 << 20, 50)) for _ in range(3)], "many": [np.arange(5, 90_000)] * 3}
    one, other = ({key: np.concatenate(parts[a:b]) for key, parts in slots.items()} for a, b in ((0, 1), (1, 3)))
    rows = bench.measure({"images": [1, 2]}, (one, other), sizes, slots, repeats=1, file=tmp_path / "sets")
    assert [row["way"] for row in rows] == ["effpath", "packed bits", "sorted ids", "BitMap64", "BitMap"]
    expected = [sum(len(set(side[key].tolist())) for key in sizes) for side in (one, other)]
    assert all(row["members"] == expected for row in rows)
    assert all(row[f"{name}_ms"] > 0 for row in rows for name in bench.MEASURES)


def test_a_way_that_gives_another_set_is_not_reported(bench, tmp_path, monkeypatch) -> None:
    from benchmarks.set_ways import Roaring32

    monkeypatch.setattr(Roaring32, "union_ids", lambda self, other: self.ids())
    laid = ({"a": np.array([1, 2])}, {"a": np.array([2, 3])})
    with pytest.raises(SystemExit, match="BitMap: other sets than sorted ids in a"):
        bench.measure({}, laid, {"a": 9}, {"a": [np.array([1, 2])]}, repeats=1, file=tmp_path / "sets")


def test_the_page_shows_the_committed_results(bench) -> None:
    found = json.loads((ROOT / "docs" / "results" / "sets.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "sets.md").read_text(encoding="utf-8")
    assert page.split(bench.MARK)[1].strip() == bench.table(found)
