import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

import effpath
from cli_run import run
from digits_net import class_paths, data, graph, model, noisy
from effpath.detect.conformal import drift_evidence
from effpath.detect.explain import strongest_layers, strongest_signs
from guard_files import NETWORK, write_guard, write_network


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_network(tmp_path)
    return tmp_path


def detect(monkeypatch, capsys, *arguments):
    return run(monkeypatch, capsys, "detect", NETWORK[0], "guard.safetensors", *arguments, *NETWORK[1:])


@pytest.mark.parametrize("kind", ["linear", "clean", "surprise"])
def test_what_is_said_of_each_image_is_what_the_api_says(kind, folder, monkeypatch, capsys):
    detector = write_guard(folder, kind)
    images = torch.cat([data().test_images[200:215], noisy(data().test_images[215:230])])
    np.save("images.npy", images.numpy())
    code, out, err = detect(monkeypatch, capsys, "images.npy", "--batch-size", 7, "--json", "--quiet")
    assert (code, err) == (0, "")
    found = json.loads(out)
    verdicts = detector.detect(images)
    batches = 0 if kind != "surprise" else 1e-6  # log odds round differently in batches of another size
    assert [row["score"] for row in found["rows"]] == pytest.approx(verdicts.scores.tolist(), rel=batches, abs=0)
    assert [row["flagged"] for row in found["rows"]] == verdicts.flagged.tolist()
    assert [row["p_value"] for row in found["rows"]] == verdicts.p_values.tolist()
    assert [row["class"] for row in found["rows"]] == verdicts.predicted.tolist()
    assert [row["runner_up"] for row in found["rows"]] == verdicts.runner_up.tolist()
    assert [row["label"] for row in found["rows"]] == [None] * 30
    reasons, signs = strongest_layers(detector, verdicts.features), strongest_signs(detector, verdicts.features)
    assert [row.get("sign") for row in found["rows"]] == (signs or [None] * 30)
    assert [[r["layer"] for r in row["reasons"]] for row in found["rows"]] == [
        [r.layer for r in rs] for rs in reasons
    ]
    assert (found["threshold"], found["fpr"]) == (detector.threshold, 0.1)
    assert found["flagged"] == int(verdicts.flagged.sum()) > 0


def test_the_text_names_image_class_runner_up_score_and_reasons(folder, monkeypatch, capsys):
    detector = write_guard(folder)
    images = noisy(data().test_images[200:206])
    np.save("images.npy", images.numpy())
    code, out, _ = detect(monkeypatch, capsys, "images.npy")
    assert code == 0
    verdicts = detector.detect(images)
    lines = out.splitlines()
    row = int(verdicts.flagged.argmax())
    (line,) = [line for line in lines if f"images.npy[{row}]" in line]
    first, second = verdicts.predicted[row], verdicts.runner_up[row]
    assert line.split() == [
        "FLAGGED", f"{verdicts.scores[row]:.3f}", "p", f"{verdicts.p_values[row]:.2g}", f"images.npy[{row}]",
        "class", f"{first},", "then", str(second),
    ]  # fmt: skip
    assert lines[lines.index(line) + 1].strip() == str(strongest_layers(detector, verdicts.features)[row][0])
    assert lines[-1] == (
        f"{verdicts.flagged.sum()} of 6 images flagged: score above {detector.threshold:.4g}, "
        "fixed for 10 % of clean images"
    )


def test_it_says_once_whether_the_images_are_like_those_of_the_calibration(folder, monkeypatch, capsys):
    detector = write_guard(folder)
    digits = data().test_images[200:]
    rows = data().test_labels[200:].argsort(stable=True)  # as folders list them
    for name, images, like in (("own.npy", digits[rows], True), ("noisy.npy", noisy(digits), False)):
        np.save(name, images.numpy())
        code, out, _ = detect(monkeypatch, capsys, name, "--json")
        evidence = json.loads(out)["drift"]
        assert code == 0
        assert evidence == drift_evidence(detector.score(images), detector.calibration)
        assert (evidence < 100) == like
        said = "these images may well be like" if like else "these images are not like"
        said += f" those that the threshold was fixed on (evidence of a drift: {evidence:.3g}; 100 is as good as"
        text = " ".join(detect(monkeypatch, capsys, name)[1].split())
        assert text.count("evidence of a drift") == text.count(said) == 1
    np.save("few.npy", digits[:19].numpy())
    assert json.loads(detect(monkeypatch, capsys, "few.npy", "--json")[1])["drift"] is None
    assert "evidence" not in detect(monkeypatch, capsys, "few.npy")[1]
    detector.calibration = None
    effpath.save_detector(detector, folder / "guard.safetensors")
    assert json.loads(detect(monkeypatch, capsys, "own.npy", "--json")[1])["drift"] is None


def test_a_detector_of_an_earlier_version_says_which_images_its_threshold_is_for(folder, monkeypatch, capsys):
    detector = write_guard(folder)
    del detector.about["calibrated_mistakes"]
    effpath.save_detector(detector, folder / "guard.safetensors")
    np.save("images.npy", data().test_images[200:203].numpy())
    code, out, _ = detect(monkeypatch, capsys, "images.npy")
    assert code == 0
    assert out.splitlines()[-1].endswith("fixed for 10 % of clean images that the network gets right")


def test_channels_first_and_last_uint8_and_pictures_are_the_same_images(folder, monkeypatch, capsys):
    write_guard(folder)
    whole = (data().test_images[200:204] * 255).round().byte().numpy()
    np.save("first.npy", whole)
    np.save("last.npy", np.moveaxis(whole, 1, 3))
    np.savez("floats.npz", images=whole / np.float32(255), labels=np.arange(4))
    (folder / "pictures").mkdir()
    for i, image in enumerate(whole):
        Image.fromarray(image[0]).save(folder / "pictures" / f"{i}.png")
    scores = []
    for source in ("first.npy", "last.npy", "floats.npz", "pictures"):
        code, out, _ = detect(monkeypatch, capsys, source, "--json")
        assert code == 0
        scores.append([row["score"] for row in json.loads(out)["rows"]])
    assert scores[0] == scores[1] == scores[2] == scores[3]


def test_with_labels_and_clean_images_it_says_what_is_found(folder, monkeypatch, capsys):
    detector = write_guard(folder)
    images, labels = noisy(data().test_images[200:320]), data().test_labels[200:320]
    np.savez("bad.npz", images=images.numpy(), labels=labels.numpy())
    code, out, _ = detect(monkeypatch, capsys, "bad.npz", "--clean", "digits", "--held-out", "--json")
    assert code == 0
    found = json.loads(out)
    bad, good = detector.detect(images), detector.detect(data().test_images[200:])
    fooling = bad.predicted != labels.numpy()
    right = good.predicted == data().test_labels[200:].numpy()
    assert (found["labelled"], found["fooling"]) == (120, int(fooling.sum()))
    assert found["fooling_flagged"] == int((fooling & bad.flagged).sum())
    assert (found["clean"], found["clean_flagged"]) == (int(right.sum()), int(good.flagged[right].sum()))
    assert (found["clean_all"], found["clean_all_flagged"]) == (len(good), int(good.flagged.sum()))
    assert len(good) > right.sum()
    y = np.repeat([1, 0], [fooling.sum(), right.sum()])
    auc = roc_auc_score(y, np.r_[bad.scores[fooling], good.scores[right]])
    assert found["auc"]["ours"][0] == pytest.approx(auc)
    assert found["auc"]["ours"][1] < auc < found["auc"]["ours"][2]
    code, out, _ = detect(monkeypatch, capsys, "bad.npz", "--clean", "digits", "--held-out")
    assert f"{fooling.sum()} are put in another class" in out
    assert f"AUC against the clean images, ours: {auc:.3f}" in out
    said = f"clean images: {good.flagged[right].sum()} of {right.sum()} flagged"
    assert f"{said}; with those that the network gets wrong, {good.flagged.sum()} of {len(good)}\n" in out


def test_held_out_leaves_out_what_the_detector_was_made_from(folder, monkeypatch, capsys):
    write_guard(folder)
    code, out, _ = detect(monkeypatch, capsys, "digits", "--held-out", "--json")
    assert code == 0
    found = json.loads(out)
    assert [row["image"] for row in found["rows"]] == [f"digits[{i}]" for i in range(200, 719)]
    assert [row["label"] for row in found["rows"]] == data().test_labels[200:].tolist()
    with torch.no_grad():
        right = model()(data().test_images[200:]).argmax(1) == data().test_labels[200:]
    assert found["correct"] == int(right.sum())


def test_held_out_of_other_data_or_of_files_is_refused(folder, monkeypatch, capsys):
    write_guard(folder)
    code, _, err = detect(monkeypatch, capsys, "digits", "--part", "train", "--held-out")
    assert code == 1
    assert "expected the data that the detector was made from" in err
    np.save("images.npy", data().test_images[:3].numpy())
    code, _, err = detect(monkeypatch, capsys, "images.npy", "--held-out")
    assert code == 1
    assert "expected a data set for --held-out" in err


def test_data_of_other_classes_are_scored_without_labels(folder, monkeypatch, capsys):
    write_guard(folder)
    images = data().test_images[:4].numpy()
    np.savez("d.npz", images=images, labels=np.arange(4) % 2, classes=["cat", "dog"])
    code, out, err = detect(monkeypatch, capsys, "npz:d.npz", "--json")
    assert code == 0
    assert json.loads(out)["labelled"] == 0
    assert "scored without labels" in err


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.full((2, 1, 8, 8), 37.0)}, "expected images in [0, 1], or uint8, got 37 to 37"),
        (
            {"images": np.full((2, 1, 8, 8), np.nan)},
            "none of 2 images can be read: expected numbers as pixels, got NaN or infinity as 64 of the 64 values "
            "of images.npz[0]",
        ),
        ({"images": np.zeros((2, 1, 8, 8)), "labels": np.array([0, 10])}, "expected labels in 0 … 9"),
        ({"images": np.zeros((2, 1, 8, 8)), "labels": np.array([0.0, 1])}, "one integer label for each of 2"),
        ({"images": np.zeros((2, 3, 8, 8))}, "expected images of 1 channels"),
        ({"images": np.zeros((2, 8))}, "[N, C, H, W] or [N, H, W, C]"),
    ],
)
def test_arrays_that_are_no_images_are_refused(arrays, message, folder, monkeypatch, capsys):
    write_guard(folder)
    np.savez("images.npz", **arrays)
    code, _, err = detect(monkeypatch, capsys, "images.npz")
    assert code == 1
    assert message in err


def test_another_network_or_a_file_of_class_paths_is_refused(folder, monkeypatch, capsys):
    write_guard(folder)
    np.save("images.npy", data().test_images[:3].numpy())
    code, _, err = run(monkeypatch, capsys, "detect", NETWORK[0], "guard.safetensors", "images.npy")
    assert code == 1
    assert "FingerprintError" in err
    effpath.save_class_paths(class_paths(), "guard.safetensors")
    code, _, err = detect(monkeypatch, capsys, "images.npy")
    assert code == 1
    assert "make one with effpath fit" in err


def test_help_gives_examples_and_the_exit_code(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "detect", "--help")
    assert code == 0
    assert "effpath detect net.py:make guard.safetensors cat.jpg" in out
    assert "exit code is 0 whether or not an image is flagged" in " ".join(out.split())


def test_one_bad_image_costs_no_other_its_verdict(folder, monkeypatch, capsys):
    detector = write_guard(folder)
    images = data().test_images[200:208].clone()
    wanted = detector.score(images)
    images[3, 0, 2, 2] = torch.nan
    images[5] *= 255
    np.save("images.npy", images.numpy())
    (folder / "torn [1].png").write_bytes(b"no picture")
    Image.fromarray((data().test_images[208, 0] * 255).round().byte().numpy()).save("whole.png")
    sources = ["images.npy", "torn [1].png", "whole.png"]
    code, out, _ = detect(monkeypatch, capsys, *sources, "--batch-size", 4, "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["images"], found["not_read"], len(found["rows"])) == (7, 3, 10)
    bad = {row["image"]: row for row in found["rows"] if "error" in row}
    assert list(bad) == ["images.npy[3]", "images.npy[5]", "torn [1].png"]
    assert all(row["score"] is None and row["flagged"] is None for row in bad.values())
    assert "NaN" in bad["images.npy[3]"]["error"]
    assert "images in [0, 1]" in bad["images.npy[5]"]["error"]
    assert "cannot read the picture torn [1].png" in bad["torn [1].png"]["error"]
    scores = {row["image"]: row["score"] for row in found["rows"]}
    for i in (0, 1, 2, 4, 6, 7):
        assert scores[f"images.npy[{i}]"] == pytest.approx(wanted[i])
    code, out, _ = detect(monkeypatch, capsys, *sources)
    assert code == 0
    lines = out.splitlines()
    assert any(line.split() == ["not", "read", "torn", "[1].png"] for line in lines)
    assert "3 of 10 images could not be read and are not counted below" in lines
    assert lines[-1].startswith(f"{found['flagged']} of 7 images flagged")


def test_where_no_image_can_be_read_the_exit_code_is_one(folder, monkeypatch, capsys):
    write_guard(folder)
    (folder / "torn.png").write_bytes(b"no picture")
    code, out, err = detect(monkeypatch, capsys, "torn.png")
    assert (code, out) == (1, "")
    assert "none of 1 images can be read: cannot read the picture torn.png" in err


def test_held_out_uses_the_detectors_own_seed_and_refuses_another(folder, monkeypatch, capsys):
    from effpath.data import load_data

    arguments = ["--images", 60, "--kind", "clean", "--per-class", 10, "--batch-size", 64, "--seed", 3]
    fitted = run(
        monkeypatch, capsys, "fit", NETWORK[0], "digits", *NETWORK[1:], "-o", "guard.safetensors", *arguments
    )
    assert fitted[0] == 0, fitted[2]
    code, out, _ = detect(monkeypatch, capsys, "digits", "--held-out", "--json", "--batch-size", 64)
    assert code == 0
    about = effpath.load_detector("guard.safetensors", graph()).about
    drawn = {row for rows in about["rows"].values() for row in rows}
    own = load_data("digits", seed=3).part("test")
    left = [row for row in range(len(own)) if row not in drawn]
    rows = json.loads(out)["rows"]
    assert [row["image"] for row in rows] == [f"digits[{row}]" for row in left]
    assert [row["label"] for row in rows] == own.labels[left].tolist()
    code, _, err = detect(monkeypatch, capsys, "digits", "--held-out", "--seed", 4)
    assert code == 1
    assert "expected --seed 3, the detector's, for --held-out, got 4" in err


def test_held_out_of_another_folder_of_the_same_name_and_size_is_refused(folder, monkeypatch, capsys):
    write_guard(folder)
    detector = effpath.load_detector("guard.safetensors", graph())
    images, labels = data().test_images.clone(), data().test_labels
    detector.about["data"] = "d"
    effpath.save_detector(detector, "guard.safetensors")
    np.savez("d.npz", test_images=images.numpy(), test_labels=labels.numpy())
    assert detect(monkeypatch, capsys, "npz:d.npz", "--held-out", "--batch-size", 64)[0] == 0
    np.savez("d.npz", test_images=images.flip(0).numpy(), test_labels=labels.flip(0).numpy())
    code, _, err = detect(monkeypatch, capsys, "npz:d.npz", "--held-out")
    assert code == 1
    assert "got others in their place" in err


@pytest.mark.parametrize("kind", ["linear", "clean", "surprise"])
def test_what_is_taken_for_a_class_without_a_class_path_is_flagged_with_the_reason(
    kind, folder, monkeypatch, capsys
):
    images, labels = data().train_images[:400], data().train_labels[:400]
    few = labels < 3
    described = effpath.Description(names=["zero", "one", "two"])
    paths = effpath.build_class_paths(graph(), images[few], labels[few], description=described)
    own = data().test_images[data().test_labels < 3]
    detector = effpath.Detector(graph(), paths, kind=kind)
    detector.fit(own[:60], None if kind == "clean" else noisy(own[60:90])).calibrate(own[90:150], fpr=0.1)
    effpath.save_detector(detector, "guard.safetensors")
    asked = torch.cat([own[150:153], data().test_images[data().test_labels == 7][:2]])
    np.save("images.npy", asked.numpy())
    code, out, _ = detect(monkeypatch, capsys, "images.npy", "--json")
    assert code == 0
    rows = json.loads(out, parse_constant=pytest.fail)["rows"]
    assert [row["class"] for row in rows[3:]] == [7, 7]
    for row in rows[3:]:
        assert (row["flagged"], row["score"], row["reasons"]) == (True, None, [])
        assert row["note"].startswith("no class path for class 7: ")
    for row in rows[:3]:
        assert "note" not in row
        assert row["score"] == pytest.approx(detector.score(asked[:3])[rows.index(row)])
    assert rows[0]["class_name"] in ("zero", "one", "two")
    code, out, _ = detect(monkeypatch, capsys, "images.npy")
    (line,) = [line for line in out.splitlines() if "images.npy[3]" in line]
    assert line.split()[:6] == ["FLAGGED", "-", "images.npy[3]", "class", "7,", "then"]
    assert "no class path for class 7" in out


def test_classes_have_the_models_own_names(folder, monkeypatch, capsys):
    write_guard(folder)
    (folder / "net.py").write_text(
        (folder / "net.py")
        .read_text()
        .replace("    return net", "    net.classes = list('ABCDEFGHIJ')\n    return net")
    )
    np.save("images.npy", data().test_images[:1].numpy())
    code, out, _ = detect(monkeypatch, capsys, "images.npy")
    assert code == 0
    digit = int(data().test_labels[0])
    assert f"class {digit} ({'ABCDEFGHIJ'[digit]}), then" in out


def test_on_a_terminal_lines_are_folded_at_its_width_and_into_a_pipe_they_are_whole(folder, monkeypatch, capsys):
    write_guard(folder)
    name = "a long name of a picture with blanks that goes on and on and on, as names do.npy"
    np.save(name, noisy(data().test_images[:2]).numpy())
    assert f"  {name}[0]  class " in detect(monkeypatch, capsys, name)[1]
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    code, out, _ = detect(monkeypatch, capsys, name)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert name in " ".join(out.split())
