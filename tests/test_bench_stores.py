"""Measurements of stores compare before they report, notice what they look for, and are what the docs show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import effpath
from benchmarks.flips import OTHER, REFUSED
from benchmarks.same import same_class_paths
from benchmarks.stores import coding, cost, flips, page, reduce, scaling, sizes, thousand
from benchmarks.stores.result import read_result
from effpath.class_paths.build import BuildOptions, prepare
from effpath.paths.idset import IdSet
from tiny_store import build, graph, images, in_memory

GROWTH = [
    {"used": 10 * n, "classes": 10, "kept": {"synapses": {"bytes": 100.0 * n**0.5, "ids": 50.0 * n}}}
    for n in (1, 4, 16)
]


def test_the_page_shows_the_committed_results() -> None:
    assert page.PAGE.read_text(encoding="utf-8").split(page.MARK)[1].strip() == page.tables()


def test_every_change_of_a_store_is_counted(tmp_path) -> None:
    audit = flips.Audit()
    found = flips.damage_store(flips.make_store(tmp_path / "store"), 300, 0, audit)
    assert {"manifest", "structure", "images", "class 0"} <= found.keys()
    assert sum(row["flips"] + row["cuts"] for row in found.values()) == 300
    assert all(row[REFUSED] == row["flips"] + row["cuts"] for row in found.values())
    assert audit.heard == {}


def test_what_reading_runs_and_what_it_does_not_notice_are_heard_of(tmp_path) -> None:
    file, audit = tmp_path / "file", flips.Audit()
    file.write_bytes(b"plain")

    def careless(path: Path) -> bool:
        eval("1 + 1")
        return path.read_bytes() == b"plain"

    found = flips.damage_store({"file": (file, careless)}, 20, 0, audit)
    assert audit.heard["exec"] == audit.heard["compile"] == 20
    assert found["file"][OTHER] == 20


@pytest.mark.parametrize("ids", [[], [0], [127, 128], [0, 16_383, 40_000, 1 << 40]])
def test_gaps_are_read_as_they_were_written(ids) -> None:
    assert coding.of_varints(coding.varints(np.array(ids, np.int64))).tolist() == ids


def test_ways_of_coding_are_measured_on_the_same_sets(tmp_path, monkeypatch) -> None:
    pytest.importorskip("zstandard")
    monkeypatch.setattr(coding, "REPEATS", 1)
    rng = np.random.default_rng(0)
    sets = {f"layer{place}": IdSet(rng.integers(1 << 20, size=400 * place), size=1 << 20) for place in range(4)}
    found = coding.measure(sets, tmp_path)
    assert found["ids"] == sum(map(len, sets.values()))
    assert len(found["ways"]) == 9
    assert found["ways"]["gaps + zstd"]["bytes"] < found["ways"]["plain ids"]["bytes"]


def test_a_coding_that_gives_other_sets_is_not_reported(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(coding, "packers", lambda: {"": (lambda raw: raw, lambda raw: raw)})
    monkeypatch.setattr(coding, "of_varints", lambda coded: np.empty(0, np.int64))
    with pytest.raises(SystemExit, match="Gaps: other sets than were written"):
        coding.measure({"layer": IdSet([1, 2], size=9)}, tmp_path)


def test_sizes_are_those_of_the_arrays_of_a_store(tmp_path) -> None:
    build(tmp_path / "store", counts=False)
    found = sizes.sizes(tmp_path / "store")
    wanted = in_memory()
    for level, layers in found.items():
        kept = [path.sets(level).values() for path in wanted.values()]
        assert sum(layer["ids"] for layer in layers) == sum(len(ids) for sets in kept for ids in sets)
        assert sum(layer["bytes"] for layer in layers) == sum(ids.nbytes for sets in kept for ids in sets)
    last = sizes.of_kept(found, 3, {"levels": "synapses", "layers": 1})
    assert last["ids"] == found["synapses"][-1]["ids"] / 3


def test_what_has_grown_by_a_power_goes_on_by_it() -> None:
    for images_ in (1, 2, 4, 9, 16, 1281):
        assert sizes.grown(GROWTH, "synapses", images_) == pytest.approx(100 * images_**0.5)
        assert sizes.grown(GROWTH, "synapses", images_, "ids") == pytest.approx(50 * images_)


def test_the_line_of_the_reduce_is_that_of_its_rows() -> None:
    rows = [
        {"shards": k, "ids": k * n, "seconds": 2e-3 + 1e-3 * k + 1e-8 * k * n}
        for k in (1, 4, 16)
        for n in (9, 900)
    ]
    line = reduce.fit(rows)
    assert cost.reduce_seconds(line, 64, 6400) == pytest.approx(2e-3 + 64e-3 + 64e-6)
    assert line["worst"] == 0
    falling = [{**row, "seconds": 2e-3 + 1e-3 * row["shards"] - 1e-9 * row["ids"]} for row in rows]
    assert reduce.fit(falling)["seconds_per_id"] == 0


def test_each_kind_of_sets_has_a_line_of_its_own_in_the_cost(monkeypatch) -> None:
    line = {"seconds": 0.0, "seconds_per_shard": 0.0, "seconds_per_id": 1e-6}
    lines = {"without": line, "neurons": {**line, "seconds_per_id": 1e-9}}
    known = {"reduce": {"lines": lines}, "sizes": read_result("sizes")}
    monkeypatch.setattr(cost, "read_result", known.get)
    by_kept = {row["kept"]: row for row in cost.costs(cost.Plan()) if row["network"].startswith("alexnet")}
    monkeypatch.setitem(lines, "neurons", line)
    for row in cost.costs(cost.Plan()):
        if row["network"].startswith("alexnet"):
            thousandth = row["kept"] == "neurons, all layers"
            assert by_kept[row["kept"]]["merge_s"] == pytest.approx(row["merge_s"] * (1e-3 if thousandth else 1))


def test_reductions_are_measured_over_more_and_more_shards(tmp_path) -> None:
    pixels, labels = images()
    some = pixels[labels == 0][:6]
    work = prepare(graph(), some, [0] * len(some), options=BuildOptions(("synapses",), False))
    rows = reduce.reductions(work, reduce.map_shards(work, 2, tmp_path), (1, 3), tmp_path)
    assert [row["shards"] for row in rows] == [1, 3]
    assert rows[1]["ids"] >= rows[1]["united"] >= rows[0]["united"] == rows[0]["ids"] > 0


def test_a_made_up_store_is_built_and_asked(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(thousand, "SHARD", 4)
    monkeypatch.setattr(thousand, "LAYERS", 1)
    pixels, _ = images()
    empty = prepare(graph(), pixels[:1], [0], layers=1, options=BuildOptions(("synapses",), counts=False)).empty
    made = thousand.MadeUp(empty, 20, graph().classes, 7, 0)
    built = thousand.build(tmp_path / "store", made)
    assert built["shards"] == -(-7 * graph().classes // 4)
    opened = effpath.load_class_paths(tmp_path / "store", graph())
    key = opened.header.keys("synapses")[0]
    assert opened[1].synapses[key].ids.tolist() == made.members(1, key).tolist()
    assert set(thousand.ask(tmp_path / "store", graph(), pixels[:2], made, cold=True)) == {
        "open", "score", "both", "both, process time"
    }  # fmt: skip


def test_class_paths_that_differ_in_one_count_are_not_the_same(tmp_path) -> None:
    build(tmp_path / "store")
    found = effpath.load_class_paths(tmp_path / "store", graph()).loaded()
    assert same_class_paths(found, in_memory())
    counts = next(each for each in found.counts[0]["neurons"].values() if len(each))
    counts[0] += 1
    assert not same_class_paths(found, in_memory())


def test_what_the_machine_gives_is_measured_by_what_only_computes() -> None:
    assert scaling.spin(1000) > 0
    assert 0 < scaling.machine_gives(1, 100_000) < 10


def test_a_cost_is_that_of_its_images() -> None:
    if read_result("sizes") is None:
        pytest.skip("no sizes are committed")
    one, two = (cost.costs(cost.Plan(images=count)) for count in (10**6, 2 * 10**6))
    assert one
    for first, second in zip(one, two, strict=True):
        assert second["core_hours"] == pytest.approx(2 * first["core_hours"])
        assert second["bytes"] > first["bytes"]
