"""A build keeps within the memory that it is given, or says how much it needs; its sets are the same."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import pytest

import effpath
from cli_run import run
from effpath.class_paths import memory
from effpath.class_paths.build import Work
from effpath.class_paths.memory import budget_of
from effpath.errors import OptionError
from peak_memory import PRINT_PEAK
from tiny_store import DESCRIPTION, OPTIONS, build, contents, graph, images, work

LEAST = 1600 << 20  # enough for the little network


def bounded(size: int | None, **options: object) -> Work:
    return replace(work(), options=replace(OPTIONS, memory=size, **options))


def test_more_memory_lets_more_images_be_recorded_together(monkeypatch) -> None:
    monkeypatch.setattr(memory, "LIBRARIES", 0)
    for counts in (True, False):
        with pytest.raises(OptionError, match=r"expected a memory of at least \d+M for this network, its layers"):
            budget_of(bounded(1, counts=counts), 3)
        found = [
            budget_of(bounded(size, counts=counts, batch_size=64), 3).together for size in range(9000, 30_000, 500)
        ]
        assert found == sorted(found)
        assert found[0] < found[-1] <= 64
    assert budget_of(bounded(1 << 40), 3).together == OPTIONS.batch_size
    assert budget_of(bounded(None), 3) is None


def test_the_memory_that_the_error_asks_for_is_enough() -> None:
    with pytest.raises(OptionError, match=r"give more, or keep fewer layers") as refused:
        budget_of(bounded(1 << 20), 3)
    asked = int(re.search(r"at least (\d+)M", str(refused.value))[1])
    assert budget_of(bounded(asked << 20), 3).together >= 1
    with pytest.raises(OptionError, match="expected a memory of at least"):
        budget_of(bounded(asked - 1 << 20), 3)


@pytest.mark.parametrize("counts", [True, False])
def test_the_sets_are_those_of_a_build_without_bound(tmp_path, counts, monkeypatch) -> None:
    taken, before = memory.resident, memory.resident()  # by the tests that this process has run
    monkeypatch.setattr(memory, "resident", lambda: (1 << 30) + max(0, taken() - before))
    build(tmp_path / "free", counts=counts)
    build(tmp_path / "bounded", counts=counts, memory=LEAST)
    assert contents(tmp_path / "bounded") == contents(tmp_path / "free")
    options = replace(OPTIONS, counts=counts)
    built = [
        effpath.build_class_paths(
            graph(), *images(), options=replace(options, memory=size), description=DESCRIPTION
        )
        for size in (LEAST, None)
    ]
    assert built[0] == built[1]


def test_a_process_that_takes_more_after_all_says_so(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(memory, "resident", lambda: LEAST + 1)
    with pytest.raises(OptionError, match=r"expected the process to take at most 1600M of memory, got 1601M"):
        build(tmp_path / "store", memory=LEAST)


def test_the_command_refuses_what_is_no_size_and_what_is_too_little(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()\n"
    )
    monkeypatch.chdir(tmp_path)
    arguments = ["profile", "net.py:make", "digits", "--input-size", "1,8,8", "-o", "store", "--memory"]
    code, _, err = run(monkeypatch, capsys, *arguments, "much")
    assert code == 2
    assert "expected --memory such as 4G or 700M, got 'much'" in " ".join(err.replace("│", " ").split())
    code, _, err = run(monkeypatch, capsys, *arguments, "10M")
    assert code == 1
    assert "expected a memory of at least" in err


PEAK = """
import sys, torch, effpath
from effpath.images.lazy import LazyImages
from torch import nn
memory, folder = int(sys.argv[1]) or None, sys.argv[2]
torch.manual_seed(0)
torch.set_num_threads(1)
layers = nn.Conv2d(1, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
graph = effpath.capture(nn.Sequential(*layers, nn.Linear(16, 2)).eval(), torch.rand(1, 1, 256, 256))
def read(rows):
    made = [torch.Generator().manual_seed(row) for row in rows.tolist()]
    return torch.stack([torch.rand(1, 256, 256, generator=each) for each in made])
images = LazyImages(48, read)
labels = graph.predict(images[:1]).repeat(48)
options = effpath.StoreOptions(("neurons", "weights"), counts=False, batch_size=48, memory=memory)
effpath.build_store(folder, graph, images, labels, options=options)
"""


def test_a_process_stays_below_its_bound_which_it_would_exceed_otherwise(tmp_path) -> None:
    bound = 1750 << 20
    peaks = []
    for size in (bound, 0):
        words = [sys.executable, "-c", PEAK + PRINT_PEAK, str(size), str(tmp_path / str(size))]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
    assert peaks[0] < bound < peaks[1]
    assert contents(tmp_path / str(bound)) == contents(tmp_path / "0")
