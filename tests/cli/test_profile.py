import json
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

import effpath
from cli_run import run
from digits_net import data, graph, model
from effpath.errors import StoreError
from effpath.files.cache import kept_steps
from effpath.walk import recording


@pytest.fixture
def digits(tmp_path, monkeypatch):
    """LeNet-5 in a file, its weights, and 120 digits in an .npz file; the arguments that name them."""
    (tmp_path / "net.py").write_text(
        "from effpath.demo.lenet import LeNet5\ndef make():\n    net = LeNet5(8)\n    net.input_size = (1, 8, 8)\n"
        "    return net\n"
    )
    save_file(
        {name: value.contiguous() for name, value in model().state_dict().items()}, tmp_path / "w.safetensors"
    )
    np.savez(
        tmp_path / "d.npz",
        train_images=data().train_images[:120].numpy(),
        train_labels=data().train_labels[:120].numpy(),
    )
    monkeypatch.chdir(tmp_path)
    return ["net.py:make", "npz:d.npz", "--weights", "w.safetensors"]


def api(rows=slice(0, 120), **options):
    return effpath.build_class_paths(graph(), data().train_images[rows], data().train_labels[rows], **options)


def same(first, second):
    return first.classes == second.classes and all(first[label] == second[label] for label in first.classes)


def test_the_command_line_builds_the_class_paths_of_the_api(digits, tmp_path, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "profile", *digits, "-o", "c.safetensors", "--json")
    assert code == 0
    built = effpath.load_class_paths(tmp_path / "c.safetensors", graph())
    assert same(built, api())
    found = json.loads(out)
    assert found["images"] == 120
    assert found["classes"][3]["synapses_density"] == built[3].density()
    assert built.data == "d train, seed 0"
    assert not built.counts
    assert not list(tmp_path.glob("*.partial"))


def test_shards_of_the_images_unite_to_the_whole(digits, tmp_path, monkeypatch, capsys):
    for i in (1, 2, 3):
        arguments = [
            "profile",
            *digits,
            "--shard",
            f"{i}/3",
            "--allow-missing",
            "--counts",
            "-o",
            f"{i}.safetensors",
        ]
        assert run(monkeypatch, capsys, *arguments)[0] == 0
    files = [f"{i}.safetensors" for i in (1, 2, 3)]
    code, out, _ = run(
        monkeypatch, capsys, "merge", digits[0], *files, "--weights", "w.safetensors", "-o", "all.safetensors"
    )
    assert code == 0
    assert "of 120 images predicted correctly" in out
    merged = effpath.load_class_paths(tmp_path / "all.safetensors", graph())
    whole = api()
    assert same(merged, whole)
    assert np.array_equal(merged.counts[4]["synapses"]["fc1"], whole.counts[4]["synapses"]["fc1"])


def test_work_that_was_cut_off_goes_on_where_it_was(digits, tmp_path, monkeypatch, capsys):
    real, calls = recording.record, []

    def fail_late(graph, images, **options):
        calls.append(len(images))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(graph, images, **options)

    monkeypatch.setattr(recording, "record", fail_late)
    arguments = ["profile", *digits, "--batch-size", 40, "--shard-size", 40, "-o", "c.safetensors"]
    assert run(monkeypatch, capsys, *arguments)[0] == 130
    assert (tmp_path / "c.safetensors.partial").exists()
    assert not (tmp_path / "c.safetensors").exists()
    assert run(monkeypatch, capsys, *arguments)[0] == 0
    assert calls == [40, 40, 40, 40]
    assert same(effpath.load_class_paths(tmp_path / "c.safetensors", graph()), api())
    assert not (tmp_path / "c.safetensors.partial").exists()


def test_a_class_without_a_correct_image_is_an_error_unless_it_may_be_missing(
    digits, tmp_path, monkeypatch, capsys
):
    images, labels = data().train_images[:120], data().train_labels[:120]
    rows = (labels == 0) | (labels == 3)
    np.savez("d.npz", images=images[rows].numpy(), labels=labels[rows].where(labels[rows] == 0, 5).numpy())
    arguments = ["profile", *digits, "--levels", "neurons", "-o", "c.safetensors"]
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 1
    assert "no image of class 5" in err
    assert "--allow-missing" in err
    monkeypatch.setattr("effpath.walk.recording.record", None)  # the work is kept: nothing is extracted again
    assert run(monkeypatch, capsys, *arguments, "--allow-missing")[0] == 0
    assert effpath.load_class_paths(tmp_path / "c.safetensors", graph()).classes == [0]


def test_classes_of_a_folder_are_matched_with_the_outputs(digits, tmp_path, monkeypatch, capsys):
    for i in range(60):
        label = int(data().train_labels[i])
        if label in (3, 7):
            folder = tmp_path / "pictures/train" / {3: "three", 7: "seven"}[label]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = (data().train_images[i, 0].numpy() * 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i:03}.png")
    (folder / "broken.png").write_bytes(b"broken")
    arguments = ["profile", digits[0], "imagefolder:pictures", *digits[2:], "-o", "c.safetensors", "--layers", "2"]
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 1
    assert "--class-map" in err
    (tmp_path / "map.json").write_text('{"three": 3, "seven": 7}')
    arguments += ["--class-map", "map.json"]
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 1
    assert "broken.png" in err
    code, _, err = run(monkeypatch, capsys, *arguments, "--skip-damaged")
    assert code == 0
    assert "left out, cannot be read: train" in err
    built = effpath.load_class_paths(tmp_path / "c.safetensors", graph())
    assert built.classes == [3, 7]
    assert built.names[3] == "three"
    assert list(built[3].synapses) == ["fc2", "fc3"]


def test_paths_of_a_data_set_can_be_extracted(digits, tmp_path, monkeypatch, capsys):
    arguments = ["extract", *digits, "--part", "train", "--first", 5, "--batch-size", 2, "-o", "p.npz", "--json"]
    code, out, _ = run(monkeypatch, capsys, *arguments)
    assert code == 0
    rows = json.loads(out)["images"]
    assert [row["image"] for row in rows] == [f"d[{i}]" for i in range(5)]
    wanted = effpath.extract(graph(), data().train_images[:5])
    assert [row["class"] for row in rows] == wanted.classes.tolist()
    assert rows[4]["synapses_density"] == wanted[4].density()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--shard", "0/3"], 2, "i in 1 … n"),
        (["--shard", "x"], 2, "i in 1 … n"),
        (["--part", "test"], 1, "expected the part 'test' of d; it has train"),
        (["--levels", "atoms"], 1, "levels must be some of"),
        (["--layers", "conv9"], 1, "expected the name of a layer, got 'conv9'"),
        (["--input-size", "3,8,8"], 1, "the model cannot run"),
    ],
)
def test_bad_options_are_one_clear_message(digits, monkeypatch, capsys, options, code, message):
    found, _, err = run(monkeypatch, capsys, "profile", *digits, "-o", "c.safetensors", *options)
    assert found == code
    assert message in " ".join(err.replace("│", " ").split())


def cut_off(monkeypatch, capsys, *arguments) -> None:
    """Leave a .partial store of the first 40 images."""
    real, calls = recording.record, []

    def fail_late(graph, images, **options):
        calls.append(len(images))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(graph, images, **options)

    with monkeypatch.context() as patched:
        patched.setattr(recording, "record", fail_late)
        assert run(monkeypatch, capsys, *arguments)[0] == 130


def test_work_that_was_cut_off_is_not_taken_for_that_of_other_labels_or_images(
    digits, tmp_path, monkeypatch, capsys
):
    arguments = [
        "profile", *digits, "--levels", "neurons", "--batch-size", 20, "--shard-size", 20, "-o", "c.safetensors",
    ]  # fmt: skip
    cut_off(monkeypatch, capsys, *arguments)
    assert kept_steps()[-1].samefile("c.safetensors.partial")
    images, labels = data().train_images[:120].numpy(), data().train_labels[:120].numpy()
    corrected = labels.copy()
    corrected[30] = (corrected[30] + 1) % 10
    for name, pixels, own in (("corrected labels", images, corrected), ("others", images[::-1], labels)):
        np.savez("d.npz", train_images=pixels, train_labels=own)
        code, _, err = run(monkeypatch, capsys, *arguments)
        assert code == 1, name
        assert "the store c.safetensors.partial belongs to another run" in err
        assert "delete it" in err
    shutil.rmtree(tmp_path / "c.safetensors.partial")
    assert run(monkeypatch, capsys, *arguments, "--allow-missing")[0] == 0


def test_the_same_share_is_not_merged_twice(digits, tmp_path, monkeypatch, capsys):
    common = [*digits, "--allow-missing", "--levels", "neurons"]
    for i in (1, 2):
        arguments = ["profile", *common, "--shard", f"{i}/2", "-o", f"{i}.safetensors"]
        assert run(monkeypatch, capsys, *arguments)[0] == 0
    assert run(monkeypatch, capsys, "profile", *common, "--per-class", 3, "-o", "few.safetensors")[0] == 0
    merging = ["merge", digits[0], "--weights", "w.safetensors", "-o", "all.safetensors", "1.safetensors"]
    for files in (["1.safetensors"], ["2.safetensors", "1.safetensors"], ["few.safetensors"]):
        code, _, err = run(monkeypatch, capsys, *merging, *files)
        assert code == 1
        assert f"cannot merge {files[-1]} with the files before it" in err
        assert "images on both sides" in err
    assert not (tmp_path / "all.safetensors").exists()
    assert run(monkeypatch, capsys, *merging, "2.safetensors")[0] == 0


def test_an_output_that_cannot_be_written_is_an_error_before_the_work(digits, tmp_path, monkeypatch, capsys):
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr("effpath.walk.recording.record", None)
    for output in ("folder", "net.py/c.safetensors"):
        code, _, err = run(monkeypatch, capsys, "profile", *digits, "-o", output)
        assert code == 1
        assert f"StoreError: cannot write {output}" in err


def test_a_share_without_images_is_an_error_that_says_so(digits, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "profile", *digits, "--shard", "121/121", "-o", "c.safetensors")
    assert code == 1
    assert "got 121/121 of 120 images, which is empty" in err


def test_what_was_built_stays_where_its_file_cannot_be_written(digits, tmp_path, monkeypatch, capsys):
    arguments = ["profile", *digits, "--levels", "neurons", "-o", "c.safetensors"]

    def refuse(found, output):
        raise StoreError(f"cannot write {output}: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("effpath.class_paths.store.save_class_paths", refuse)
        code, _, err = run(patched, capsys, *arguments)
    assert code == 1
    assert "cannot write c.safetensors: No space left on device" in err
    assert not (tmp_path / "c.safetensors").exists()
    monkeypatch.setattr(recording, "record", None)  # nothing is built again
    assert run(monkeypatch, capsys, *arguments)[0] == 0
    assert effpath.load_class_paths(tmp_path / "c.safetensors", graph()).seen == 120
