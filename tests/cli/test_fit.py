import json
import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import effpath
from cli_run import run
from digits_net import data, graph, model, noisy
from effpath.attacks import attack
from effpath.detect import images_for, true_rate
from effpath.files.plain import percent
from effpath.models import load_model
from guard_files import NETWORK, write_network

SMALL = ["--per-class", 20, "--images", 120, "--batch-size", 64]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with the network, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EFFPATH_CACHE", str(tmp_path / "cache"))
    write_network(tmp_path)
    return tmp_path


def fit(monkeypatch, capsys, *arguments):
    return run(monkeypatch, capsys, "fit", *NETWORK[:1], "digits", *NETWORK[1:], *SMALL, *arguments)


def test_a_clean_detector_is_fitted_and_calibrated_as_the_api_does_it(monkeypatch, capsys):
    code, out, err = fit(
        monkeypatch, capsys, "-o", "g.safetensors", "--kind", "clean", "--fpr", 0.1, "--layers", 3, "--quiet"
    )
    assert code == 0
    assert err == ""
    loaded = effpath.load_detector("g.safetensors", graph())
    rows = loaded.about["rows"]
    test = data().part("test")
    train = data().part("train").first_of_each_class(20)
    kept = effpath.BuildOptions(levels=["synapses"])
    paths = effpath.build_class_paths(graph(), train.images, train.labels, layers=3, options=kept)
    again = effpath.Detector(graph(), paths, kind="clean").fit(test.images[rows["fit"]])
    again.calibrate(test.images[rows["calibrate"]], fpr=0.1)
    assert loaded.threshold == again.threshold
    images = noisy(test.images[:50])
    np.testing.assert_array_equal(loaded.score(images), again.score(images))
    assert f"threshold {loaded.threshold:.4g}" in out
    assert "on average at most 10 % of new ones lie above it" in out
    drawn = f"drawn for that: 60 images, of which the network gets {loaded.about['calibrated_mistakes']} wrong\n"
    assert drawn in out
    count, rate = len(rows["calibrate"]), again.true_rate
    assert loaded.true_rate == rate == true_rate(count, 0.1)
    said = f"one threshold of {count} images flags {percent(rate.low)} to {percent(rate.high)}, nine times in ten"
    assert f"{said}; {images_for(0.1, 0.15)} images would keep it below 15 %\n" in out


def test_the_images_are_disjoint_and_as_many_as_asked_and_all_of_one_half_calibrate(monkeypatch, capsys):
    code, out, _ = fit(monkeypatch, capsys, "-o", "g.safetensors", "--json")
    assert code == 0
    about = effpath.load_detector("g.safetensors", graph()).about
    fitted, calibrated, wrong = (set(about["rows"][name]) for name in ("fit", "calibrate", "wrong"))
    assert len(fitted) + len(calibrated) + len(wrong) == len(fitted | calibrated | wrong) == 120
    assert abs(len(fitted | wrong) - len(calibrated)) <= 1
    with torch.no_grad():
        right = model()(data().test_images).argmax(1) == data().test_labels
    assert all(right[row] for row in fitted)
    assert not any(right[row] for row in wrong)
    assert about["calibrated_mistakes"] == sum(not right[row] for row in calibrated)
    shown = json.loads(out)
    assert shown["calibrated_mistakes"] == about["calibrated_mistakes"]
    assert shown["images"] == {name: len(rows) for name, rows in about["rows"].items()}
    assert shown["class_paths"]["seen"] == 200
    assert "rows" not in shown
    assert shown["kind"] == "standard"  # what a detector is where no kind is named, with two cheap attacks
    assert {name: made["settings"].get("steps") for name, made in shown["attacks"].items()} == {
        "FGSM": None,
        "PGD": 10,
    }
    assert shown["attacks"]["FGSM"]["settings"]["epsilons"] == 100
    assert shown["attacks"] == about["attacks"]
    chosen = shown["attacks"]["PGD"]["chosen_from"]
    assert chosen[-1] == {"epsilon": 0.1, "succeeded": shown["attacks"]["PGD"]["succeeded"]}
    out = fit(monkeypatch, capsys, "-o", "g.safetensors")[1]
    assert f"images fool the network, at ε 0.1, as 0.0157 fools {chosen[0]['succeeded']}, 0.0314 fools" in out


def test_classes_with_enough_images_are_said_to_have_a_threshold_of_their_own(monkeypatch, capsys):
    monkeypatch.setattr("effpath.detect.conformal.LEAST", 11)
    arguments = ["-o", "g.safetensors", "--kind", "clean", "--fpr", 0.1, "--images", 200, "--quiet"]
    code, out, _ = fit(monkeypatch, capsys, *arguments)
    assert code == 0
    loaded = effpath.load_detector("g.safetensors", graph())
    classes = loaded.calibration_classes.tolist()
    sizes = {label: classes.count(label) for label in range(10) if classes.count(label) >= 11}
    assert 0 < len(sizes) < 10
    assert loaded.class_thresholds.keys() == sizes.keys()
    limits, few = loaded.class_thresholds.values(), min(sizes.values())
    said = (
        f"classes with a threshold of their own: {len(sizes)} of 10, {min(limits):.4g} to {max(limits):.4g}, fixed"
    )
    assert f"{said} on {few} to {max(sizes.values())} of these images; each keeps the rate on average" in out
    rate = true_rate(few, 0.1)
    assert f"one of {few} images flags {percent(rate.low)} to {percent(rate.high)}, nine times in ten" in out
    np.save("some.npy", data().test_images[:3].numpy())
    own = ["detect", NETWORK[0], "g.safetensors", "some.npy", *NETWORK[1:]]
    last = run(monkeypatch, capsys, *own)[1].splitlines()[-1]
    assert (
        f"{loaded.threshold:.4g} ({min(limits):.4g} to {max(limits):.4g} in {len(sizes)} of the classes)" in last
    )
    told = json.loads(run(monkeypatch, capsys, *own, "--json")[1])["class_thresholds"]
    assert told == {str(label): limit for label, limit in loaded.class_thresholds.items()}
    told = json.loads(fit(monkeypatch, capsys, *arguments, "--json")[1])["class_thresholds"]
    assert {label: one["images"] for label, one in told.items()} == {str(c): size for c, size in sizes.items()}
    assert told[str(min(sizes, key=sizes.get))]["true_rate"] == rate._asdict()


def test_a_linear_detector_learns_from_attacks_on_the_images_to_fit_alone(monkeypatch, capsys):
    arguments = ["--kind", "linear", "--attack", "FGSM:epsilons=50"]
    code, out, _ = fit(monkeypatch, capsys, "-o", "g.safetensors", *arguments)
    assert code == 0
    loaded = effpath.load_detector("g.safetensors", graph())
    images, made = attacked_again(loaded)
    assert loaded.about["attacks"]["FGSM"]["succeeded"] == made.successes > 50
    assert f"FGSM: {made.successes} of {made.tried} images fool the network" in out
    again = effpath.Detector(graph(), loaded.class_paths, kind="linear").fit(images, made.fooling)
    np.testing.assert_array_equal(loaded.score(data().test_images), again.score(data().test_images))


def attacked_again(loaded):
    """Return the images that a detector was fitted on, and what FGSM of 50 steps makes of them."""
    rows = loaded.about["rows"]["fit"]
    images, labels = data().test_images[rows], data().test_labels[rows]
    return images, attack(model(), images, labels, "FGSM", settings={"epsilons": 50}, batch_size=64)


def test_a_stopped_run_goes_on_from_its_class_paths_and_attacks(monkeypatch, capsys, folder):
    arguments = ["-o", "g.safetensors", "--kind", "linear", "--attack", "FGSM:epsilons=50"]
    with monkeypatch.context() as patched:
        patched.setattr("effpath.detect.store.write_class_paths", interrupted)
        code, _, err = fit(monkeypatch, capsys, *arguments)
    assert code == 130
    assert "interrupted; the same command goes on from g.safetensors.partial" in err
    assert not (folder / "g.safetensors").exists()
    assert (folder / "g.safetensors.partial").exists()
    monkeypatch.setattr("effpath.class_paths.build.Builder.add", None)
    monkeypatch.setattr("effpath.attacks.runner._attack_batch", None)
    assert fit(monkeypatch, capsys, *arguments)[0] == 0
    assert (folder / "g.safetensors").exists()
    assert not (folder / "g.safetensors.partial").exists()


def interrupted(*arguments):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "forest"], "expected a kind of linear, clean, surprise"),
        (["--kind", "clean", "--attack", "FGSM"], "leave out --attack"),
        (["--kind", "linear", "--attack", "none"], "learns from attacks: name one"),
        (["--attack", "none", "--attack", "FGSM"], "--attack none alone"),
        (["--kind", "linear", "--attack", "Magic"], "unknown attacks Magic"),
        (["--kind", "linear", "--attack", "FGSM", "--attack", "FGSM:epsilons=9"], "each attack once"),
        (["--kind", "linear", "--attack", "FGSM:epsilons"], "expected NAME or NAME:setting=value"),
        (["--kind", "linear", "--attack", "FGSM:speed=3"], "FGSM has no setting 'speed'"),
        (["--kind", "linear", "--attack", "PGD:steps=0"], "at least 1"),
        (["--kind", "linear", "--attack", "Universal:file=none.npy"], "cannot read none.npy"),
        (["--images", 3], "at least 19 clean images"),
        (["--images", 36], "36 test images that are drawn"),
        (["--images", 120, "--fpr", 0.01], "at least 99 clean images"),
        (["--fpr", 1], "expected fpr, a share of clean images, in (0, 1)"),
        (["--fpr", 0], "in (0, 1)"),
        (["--fpr", "nan"], "in (0, 1)"),
        (["--theta", 0], "theta must lie in (0, 1]"),
        (["--preset", "best"], "unknown preset 'best'"),
        (["--layers", 9], "layers as a whole number in 1 … 5"),
        (["--layers", "conv9"], "conv9"),
        (["--held-out-share", 1], "expected a share to hold out in (0, 1)"),
        (["--held-out-share", 0.2], "the part 'test' is held out"),
        (["-o", "."], "as a .safetensors file"),
        (["-o", "guard.json"], "as a .safetensors file"),
        (["-o", "folder.safetensors"], "got the folder"),
        (["-o", "net.py/guard.safetensors"], "not a writable folder"),
    ],
)
def test_what_cannot_be_fitted_says_why_before_the_first_image_is_read(
    arguments, message, monkeypatch, capsys, folder
):
    (folder / "folder.safetensors").mkdir()
    monkeypatch.setattr("effpath.detect.fitting.steps.build_store", None)
    monkeypatch.setattr("effpath.detect.fitting.sources.predict", None)
    code, _, err = fit(monkeypatch, capsys, "-o", "g.safetensors", *arguments)
    assert code != 0
    assert message in re.sub(r"[\s│]+", " ", err)
    assert not (folder / "g.safetensors").exists()


def test_attacks_that_all_fail_are_said_to_teach_nothing(monkeypatch, capsys):
    arguments = ["--kind", "linear", "--attack", "FGSM:max_epsilon=0.0", "--per-class", 2]
    code, _, err = fit(monkeypatch, capsys, "-o", "g.safetensors", *arguments)
    assert code == 1
    assert "nothing to learn from" in err


def test_a_missing_library_is_said_before_the_work(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "foolbox", None)
    code, _, err = fit(monkeypatch, capsys, "-o", "g.safetensors", "--kind", "linear", "--attack", "PGD")
    assert code == 1
    assert "pip install 'effpath[attacks]'" in err


def some_classes(file, count=3):
    """Write digits 0 … count − 1 as arrays for training and test."""
    arrays = {"classes": np.array(list(map(str, range(count))))}
    for part in ("train", "test"):
        own = data().part(part)
        rows = own.labels < count
        arrays |= {f"{part}_images": own.images[rows].numpy(), f"{part}_labels": own.labels[rows].numpy()}
    np.savez(file, **arrays)


def test_data_without_images_of_an_output_is_refused_with_what_to_do(monkeypatch, capsys):
    some_classes("d.npz")
    code, _, err = run(monkeypatch, capsys, "fit", *NETWORK, "npz:d.npz", "-o", "g.safetensors")
    assert code == 1
    assert "each of the network's 10 outputs" in err
    assert "got none of 3, 4, 5 and 4 more; give --allow-missing" in err


@pytest.mark.parametrize("kind", ["clean", "surprise"])
def test_a_network_with_more_outputs_than_the_data_have_classes_is_fitted_with_allow_missing(
    kind, monkeypatch, capsys
):
    some_classes("d.npz")
    options = ["-o", "g.safetensors", "--allow-missing", "--images", 90, "--batch-size", 64, "--kind", kind]
    attacks = ["--attack", "PGD:epsilon=0.4,steps=5,rel_stepsize=0.5"] if kind == "surprise" else []
    code, _, err = run(monkeypatch, capsys, "fit", *NETWORK[:1], "npz:d.npz", *NETWORK[1:], *options, *attacks)
    assert code == 0
    assert "no training images of 3, 4, 5 and 4 more" in err
    guard = effpath.load_detector("g.safetensors", graph())
    assert guard.class_paths.classes == [0, 1, 2]
    if kind == "surprise":
        assert 0 < guard.about["attacks"]["PGD"]["succeeded"] < guard.about["attacks"]["PGD"]["tried"]
    flagged = guard.detect(data().test_images[data().test_labels < 3]).flagged
    assert flagged.mean() < 0.3


def test_undivided_data_ask_for_a_share_to_hold_out_and_are_divided_by_it(monkeypatch, capsys):
    own = data().part("train")
    np.savez("d.npz", train_images=own.images.numpy(), train_labels=own.labels.numpy())
    arguments = ["fit", *NETWORK[:1], "npz:d.npz", *NETWORK[1:], "-o", "g.safetensors", "--batch-size", 64]
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 1
    assert "give --held-out-share 0.2" in err
    code, _, err = run(monkeypatch, capsys, *arguments, "--held-out-share", 0.2, "--kind", "clean", "--seed", 5)
    assert code == 0
    about = effpath.load_detector("g.safetensors", graph()).about
    held_out = set(about["held_out"])
    assert len(held_out) == sum(round(0.2 * int((own.labels == label).sum())) for label in range(10))
    assert about["class_paths"]["seen"] == len(own) - len(held_out)
    drawn = [row for rows in about["rows"].values() for row in rows]
    assert set(drawn) < held_out
    left = run(monkeypatch, capsys, "detect", NETWORK[0], "g.safetensors", "npz:d.npz", *NETWORK[1:], "--held-out",
               "--json", "--batch-size", 64)  # fmt: skip
    assert left[0] == 0, left[2]
    names = [row["image"] for row in json.loads(left[1])["rows"]]
    assert names == [f"d[{row}]" for row in sorted(held_out - set(drawn))]


def test_damaged_pictures_are_left_out_and_named_with_skip_damaged(folder, monkeypatch, capsys):
    for part, count in (("train", 200), ("test", 160)):
        own = data().part(part)
        for row in range(count):
            place = folder / "digits" / part / str(int(own.labels[row]))
            place.mkdir(parents=True, exist_ok=True)
            pixels = (own.images[row, 0] * 255).round().byte().numpy()
            Image.fromarray(pixels).save(place / f"{row:03}.png")
        (folder / "digits" / part / "3" / "000.png").write_bytes(b"no picture")
    arguments = ["fit", *NETWORK[:1], "imagefolder:digits", *NETWORK[1:], "-o", "g.safetensors", "--kind", "clean"]
    code, _, err = run(monkeypatch, capsys, *arguments, "--batch-size", 64)
    assert code == 1
    assert "cannot read the picture" in err
    code, _, err = run(monkeypatch, capsys, *arguments, "--batch-size", 64, "--skip-damaged")
    assert code == 0
    for part in ("train", "test"):
        assert f"left out, cannot be read: {part}/3/000.png" in err


def test_a_fine_tuned_library_network_is_fitted_and_used_with_classes(folder, monkeypatch, capsys):
    pytest.importorskip("torchvision")
    network = load_model("torchvision:squeezenet1_1", classes=3, seed=4)
    images = torch.rand(120, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images[:, 0] *= torch.rand(120, 1, 1, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        last = network.network.classifier[1]
        last.bias -= network(images).mean(0)
        for _ in range(20):  # so that every output is predicted for some images
            last.bias -= 0.02 * (torch.bincount(network(images).argmax(1), minlength=3) / 40 - 1)
        labels = network(images).argmax(1)
    assert labels.bincount(minlength=3).min() >= 6
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.network.state_dict().items()}}, "tuned.pth")
    np.savez("d.npz", images=images.numpy(), labels=labels.numpy())
    own = ["--weights", "tuned.pth", "--input-size", "3,32,32", "--classes", 3, "--batch-size", 32]
    options = ["--kind", "clean", "--layers", 2, "--held-out-share", 0.5, "--images", 60, "--fpr", 0.2]
    model = "torchvision:squeezenet1_1"
    code, _, err = run(monkeypatch, capsys, "fit", model, "npz:d.npz", "-o", "g.safetensors", *own, *options)
    assert code == 0, err
    np.save("some.npy", images[:2].numpy())
    code, out, err = run(monkeypatch, capsys, "detect", model, "g.safetensors", "some.npy", *own, "--json")
    assert code == 0, err
    assert [row["class"] for row in json.loads(out)["rows"]] == labels[:2].tolist()


def test_help_gives_examples(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "fit", "--help")
    assert code == 0
    assert "effpath fit net.py:make imagefolder:DIR" in out


@pytest.mark.parametrize("kind", ["fast", "standard"])
def test_a_profile_of_signs_is_fitted_on_clean_images_and_compares_with_those_of_the_class_paths(
    monkeypatch, capsys, kind
):
    arguments = ["--kind", kind, "--attack", "none", "--fpr", 0.1, "--quiet"]
    code, _, err = fit(monkeypatch, capsys, "-o", "g.safetensors", *arguments)
    assert (code, err) == (0, "")
    loaded = effpath.load_detector("g.safetensors", graph())
    assert not loaded.about["attacks"]
    np.testing.assert_allclose(*scores_of(loaded, fitted_again(loaded)), atol=1e-3)


@pytest.mark.parametrize("kind", ["fast", "standard"])
def test_attacks_weigh_the_signs_of_a_profile(monkeypatch, capsys, kind):
    arguments = ["--kind", kind, "--attack", "FGSM:epsilons=50"]
    code, out, _ = fit(monkeypatch, capsys, "-o", "g.safetensors", *arguments)
    assert code == 0
    loaded = effpath.load_detector("g.safetensors", graph())
    _, made = attacked_again(loaded)
    assert f"FGSM: {made.successes} of {made.tried} images fool the network" in out
    again = fitted_again(loaded, made.fooling)
    np.testing.assert_allclose(*scores_of(loaded, again), atol=1e-3)
    alone = fitted_again(loaded)
    assert not np.allclose(*scores_of(loaded, alone), atol=0.05)
    np.testing.assert_allclose(loaded.classifier[-1].weights_, again.classifier[-1].weights_, atol=1e-3)


def test_without_the_library_of_an_attack_the_others_weigh_the_signs_and_it_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "foolbox", None)
    code, out, err = fit(monkeypatch, capsys, "-o", "g.safetensors")
    assert code == 0
    assert "PGD left out of the attacks that weigh the signs: pip install 'effpath[attacks]'" in err
    assert "FGSM:" in out
    assert list(effpath.load_detector("g.safetensors", graph()).about["attacks"]) == ["FGSM"]


def test_attacks_that_all_fail_leave_the_signs_of_a_profile_as_clean_images_weigh_them(monkeypatch, capsys):
    code, out, _ = fit(monkeypatch, capsys, "-o", "g.safetensors", "--attack", "FGSM:max_epsilon=0.0")
    assert code == 0
    assert "FGSM: 0 of" in out
    loaded = effpath.load_detector("g.safetensors", graph())
    np.testing.assert_allclose(*scores_of(loaded, fitted_again(loaded)), atol=1e-3)


def fitted_again(loaded, fooling=None):
    """Return a detector that is fitted from Python as the command fits it."""
    test, train = data().part("test"), data().part("train").first_of_each_class(20)
    again = effpath.Detector(graph(), loaded.class_paths, kind=loaded.kind).collect(train.images, train.labels)
    return again.fit(test.images[loaded.about["rows"]["fit"]], fooling)


def scores_of(*detectors):
    images = noisy(data().test_images[:50])
    return [detector.score(images) for detector in detectors]
