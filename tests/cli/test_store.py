"""``effpath profile`` into stores, ``merge`` of them, and ``store``, which says what they have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

import effpath
from cli_run import run
from digits_net import data, graph, model
from effpath.class_paths.folder.store import Store

NET = (
    "from effpath.demo.lenet import LeNet5\ndef make():\n    net = LeNet5(8)\n    net.input_size = (1, 8, 8)\n"
    "    return net\n"
)
COUNT = 120


@pytest.fixture
def digits(tmp_path, monkeypatch):
    """LeNet-5 and 120 digits in files; the arguments that name them."""
    (tmp_path / "net.py").write_text(NET)
    state = {name: value.contiguous() for name, value in model().state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    images, labels = data().train_images[:COUNT].numpy(), data().train_labels[:COUNT].numpy()
    np.savez(tmp_path / "d.npz", train_images=images, train_labels=labels)
    np.save(tmp_path / "new.npy", data().test_images[:5].numpy())
    monkeypatch.chdir(tmp_path)
    return ["net.py:make", "npz:d.npz", "--weights", "w.safetensors"]


def api(**options):
    return effpath.build_class_paths(graph(), data().train_images[:COUNT], data().train_labels[:COUNT], **options)


def same(first, second) -> bool:
    return dict(first) == dict(second) and first.seen == second.seen


def test_an_output_without_an_ending_is_a_store_that_other_commands_read(digits, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "profile", *digits, "--shard-size", 50, "--counts", "-o", "classes")
    assert code == 0
    assert "of 120 images predicted correctly" in out
    assert "class paths: classes" in out
    opened = effpath.load_class_paths("classes", graph())
    assert same(opened, api())
    assert len(Store.open("classes").manifest.shards) == 3
    run(monkeypatch, capsys, "profile", *digits, "--counts", "-o", "c.safetensors")
    scored = [
        run(monkeypatch, capsys, "score", digits[0], paths, "new.npy", *digits[2:], "--json")[1]
        for paths in ("classes", "c.safetensors")
    ]
    assert scored[0] == scored[1]
    assert len(json.loads(scored[0])["images"]) == 5


def test_the_same_command_again_builds_nothing_and_more_images_are_added(digits, monkeypatch, capsys):
    assert run(monkeypatch, capsys, "profile", *digits, "--per-class", 5, "-o", "classes")[0] == 0
    few = effpath.load_class_paths("classes", graph())
    assert few.seen == 50
    with monkeypatch.context() as patched:
        patched.setattr("effpath.walk.recording.record", None)
        assert run(patched, capsys, "profile", *digits, "--per-class", 5, "-o", "classes")[0] == 0
    assert run(monkeypatch, capsys, "profile", *digits, "-o", "classes")[0] == 0
    assert same(effpath.load_class_paths("classes", graph()), api(options=effpath.BuildOptions(counts=False)))
    code, _, err = run(monkeypatch, capsys, "profile", *digits, "--per-class", 5, "-o", "classes")
    assert code == 1
    assert "it was made from 120 images, here are 50, and 70 of those are not among them" in err


def test_other_data_are_added_only_where_that_is_said(digits, tmp_path, monkeypatch, capsys):
    images, labels = data().train_images[COUNT:200].numpy(), data().train_labels[COUNT:200].numpy()
    np.savez(tmp_path / "more.npz", train_images=images, train_labels=labels)
    assert run(monkeypatch, capsys, "profile", *digits, "-o", "classes")[0] == 0
    more = ["profile", digits[0], "npz:more.npz", *digits[2:], "-o", "classes"]
    code, _, err = run(monkeypatch, capsys, *more)
    assert code == 1
    assert "it holds images of 'd train, seed 0', here are those of 'more train, seed 0'" in err
    assert "--add" in err
    assert run(monkeypatch, capsys, *more, "--add")[0] == 0
    wanted = effpath.build_class_paths(graph(), data().train_images[:200], data().train_labels[:200])
    assert same(effpath.load_class_paths("classes", graph()), wanted)


def test_stores_of_shards_merge_into_one_and_one_is_exported(digits, monkeypatch, capsys):
    for i in (1, 2, 3):
        arguments = ["profile", *digits, "--shard", f"{i}/3", "--allow-missing", "--counts", "-o", f"part{i}"]
        assert run(monkeypatch, capsys, *arguments)[0] == 0
    of = [digits[0], "--weights", "w.safetensors"]
    parts = ["part1", "part2", "part3"]
    assert run(monkeypatch, capsys, "merge", *of, *parts, "-o", "all")[0] == 0
    merged, whole = effpath.load_class_paths("all", graph()), api()
    assert same(merged, whole)
    assert np.array_equal(merged.counts[4]["synapses"]["fc1"], whole.counts[4]["synapses"]["fc1"])
    assert merged.data == "d train, seed 0, shard 1/3 | d train, seed 0, shard 2/3 | d train, seed 0, shard 3/3"
    for again in (["part1", "part1", "-o", "twice"], ["part1", "-o", "all"]):
        code, _, err = run(monkeypatch, capsys, "merge", *of, *again)
        assert code == 1
        assert "merge each shard once" in err
    assert run(monkeypatch, capsys, "merge", *of, "all", "-o", "c.safetensors")[0] == 0
    assert same(effpath.load_class_paths("c.safetensors", graph()), whole)
    assert run(monkeypatch, capsys, "merge", *of, *parts, "-o", "d.safetensors")[0] == 0
    assert same(effpath.load_class_paths("d.safetensors", graph()), whole)
    assert run(monkeypatch, capsys, "profile", *digits, "--levels", "neurons", "-o", "neurons")[0] == 0
    code, _, err = run(monkeypatch, capsys, "merge", *of, "part1", "neurons", "-o", "mixed")
    assert code == 1
    assert "cannot merge the store neurons: levels neurons, without counts; here levels synapses" in err


@pytest.mark.parametrize("finished", [0, 1], ids=["before its first shard", "after it"])
def test_a_store_whose_run_was_cut_off_does_not_merge(digits, monkeypatch, capsys, finished):
    assert run(monkeypatch, capsys, "profile", *digits, "--shard", "1/2", "--allow-missing", "-o", "whole")[0] == 0
    arguments = ["profile", *digits, "--shard", "2/2", "--allow-missing", "--shard-size", 20, "-o", "cut"]
    calls = []

    def accept(filling, store, shard):
        calls.append(shard)
        if len(calls) > finished:
            store.shard_file(shard.id).unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("effpath.class_paths.folder.filling.Filling._accept", accept)
        assert run(monkeypatch, capsys, *arguments)[0] == 130
    of = [digits[0], "--weights", "w.safetensors", "whole", "cut"]
    for output in ("all", "all.safetensors"):
        code, _, err = run(monkeypatch, capsys, "merge", *of, "-o", output)
        assert code == 1
        assert "cannot merge the store cut: " in err
        assert ("1 finished shards are not" if finished else "it has no images yet") in err
        assert not Path(output).exists()
    assert run(monkeypatch, capsys, *arguments)[0] == 0
    assert run(monkeypatch, capsys, "merge", *of, "-o", "all")[0] == 0
    assert same(effpath.load_class_paths("all", graph()), api())


def test_what_a_store_has_is_told_without_the_network(digits, monkeypatch, capsys):
    run(monkeypatch, capsys, "profile", *digits, "--shard-size", 50, "-o", "classes")
    code, out, _ = run(monkeypatch, capsys, "store", "classes")
    assert code == 0
    assert "10 classes of d train, seed 0, 120 images in 3 shards" in out
    assert "preset default, θ 0.5; synapses, neurons, weights of 5 layers, without use counts" in out
    code, out, _ = run(monkeypatch, capsys, "store", "classes", "--json", "--verify")
    assert code == 0
    told = json.loads(out)
    assert (told["wrong"], told["waiting"], told["damaged"]) == ([], [], {})
    assert sum(told["shards"].values()) == 120
    assert sum(each["used"] + each["wrong"] for each in told["classes"]) == 120


def test_a_changed_byte_is_told_by_verify(digits, monkeypatch, capsys):
    run(monkeypatch, capsys, "profile", *digits, "-o", "classes")
    assert run(monkeypatch, capsys, "store", "classes", "--verify")[1].endswith("every byte is what was written\n")
    file, _ = Store.open("classes").class_file(3)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    code, out, err = run(monkeypatch, capsys, "store", "classes", "--verify")
    assert code == 1
    assert "1 of the files of classes are not what was written" in err
    assert file.name in err
    code, out, _ = run(monkeypatch, capsys, "store", "classes", "--verify", "--json")
    assert code == 1
    assert len(json.loads(out)["wrong"]) == 1
    assert run(monkeypatch, capsys, "store", "net.py")[0] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "cluster"], "expected --engine inline, processes or ray, got 'cluster'"),
        (["--engine", "inline", "--workers", "2"], "--workers is for --engine processes and ray"),
        (["--engine", "processes", "--gpus", "1"], "--gpus is for --engine ray"),
        (["--gpus", "1"], "--gpus is for --engine ray"),
    ],
)
def test_an_engine_that_is_none_is_refused(digits, monkeypatch, capsys, options, message):
    code, _, err = run(monkeypatch, capsys, "profile", *digits, "-o", "classes", *options)
    assert code == 2
    assert message in " ".join(err.replace("│", " ").split())
