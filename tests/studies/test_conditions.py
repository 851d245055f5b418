"""What deployment meets: corrupted images, other data sets, attacks that come from elsewhere."""

from __future__ import annotations

import colorsys
import copy
import io
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import digits_net
from detection import conditions as module
from detection import gather, page
from detection import making as making_module
from detection.cases import CASES, PATCHES, RETRAINED, Case, Planned
from detection.conditions import (
    KINDS,
    PHOTOGRAPHS,
    PREPARED_ANEW,
    SMALL_IMAGES,
    STRENGTHS,
    corrupted,
    dealt,
    disc,
    prepared_anew,
)
from detection.elsewhere import CIFAR10, CIFAR100, DIGITS, IMAGENETTE, Elsewhere, fitted, read
from detection.perturbations import trained
from detection.product import ALONE
from detection.seen import MISTAKES, Seen
from detection.signs import SAYS, SIGNS
from effpath.attacks.saving import rounded
from effpath.detect import make_classifier, split_sources, suspicion, threshold_at_fpr
from effpath.detect.signs.profiles import PROFILES
from effpath.detect.splits import split_rows
from effpath.errors import InputError
from figures import controls
from sources import write_result

FOREIGN = {"3": (0,), "5": (2, 3)}  # classes of the network, labels there


@pytest.fixture(scope="module")
def foreign(tmp_path_factory) -> str:
    """Forty coloured images, 12 × 10, of four classes in turn, as a data set."""
    file = tmp_path_factory.mktemp("foreign") / "images.npz"
    images = np.random.default_rng(0).random((40, 3, 12, 10), np.float32)
    np.savez(file, images=images, labels=np.arange(40) % 4)
    return f"npz:{file}"


@pytest.fixture(scope="module")
def case(foreign) -> Case:
    return Case(
        "digits", None,
        {
            "FGSM": Planned("FGSM", {"epsilons": 50}),
            "PGD": Planned("PGD", {"epsilon": 0.2, "steps": 10, "rel_stepsize": 0.25}),
            "Universal": Planned(
                "Universal", unseen=True, patches=3, training={"epsilon": 0.3, "steps": 30, "draws": 32}
            ),
            "Transfer": Planned("PGD", {"epsilon": 0.3}, unseen=True, made_on=RETRAINED),
        },
        sources=60, clean=80, per_class=20, batch=64, gates=False, corrupted=5, prepared_anew=7,
        elsewhere={
            "other classes": Elsewhere(foreign, FOREIGN, same=False, count=4),
            "another source": Elsewhere(foreign, FOREIGN, same=True, per_class=6),
        },
    )  # fmt: skip


def another() -> nn.Module:
    """A network that is not the judged one, and nearly so."""
    model = copy.deepcopy(digits_net.model())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * parameter.std() * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture(scope="module")
def making(case, tmp_path_factory) -> Iterator[making_module.Making]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EFFPATH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(making_module, "train_lenet", lambda data, seed: another() if seed else digits_net.model())
        yield making_module.Making(case, 0)


@pytest.fixture(scope="module")
def seen(making, case) -> Seen:
    return gather.gather("met", case, others=("log odds", SIGNS))


def said(images: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return digits_net.model()(images).argmax(1).numpy()


# ---------------------------------------------------------------- corruptions


def smooth(channels: int, side: int) -> torch.Tensor:
    coarse = torch.rand(3, channels, 6, 6, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, [side, side], mode="bilinear") * 0.6 + 0.2


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (1, 28), (3, 32), (3, 96)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stronger_corruption_departs_further(kind: str, channels: int, side: int) -> None:
    images = smooth(channels, side)
    made = [corrupted(images, kind, strength, 0) for strength in STRENGTHS]
    assert all(each.shape == images.shape and 0 <= each.min() <= each.max() <= 1 for each in made)
    distances = [float((each - images).norm()) for each in made]
    assert len(set(distances)) == 5
    if (kind, side) != ("JPEG", 8):  # one block
        assert distances == sorted(distances)
    assert torch.equal(made[2], corrupted(images, kind, 3, 0))


def test_photographs_and_small_images_have_strengths_of_their_own() -> None:
    assert list(SMALL_IMAGES) == list(PHOTOGRAPHS) == list(KINDS)
    assert all(len(table[kind]) == len(STRENGTHS) for table in (SMALL_IMAGES, PHOTOGRAPHS) for kind in KINDS)
    for side, table in ((64, SMALL_IMAGES), (65, PHOTOGRAPHS)):
        grey = torch.full((20, 1, side, side), 0.5)
        noise = corrupted(grey, "Gaussian noise", 1, 0) - grey
        assert float(noise.std()) == pytest.approx(table["Gaussian noise"][0], rel=0.02)


def test_brightness_raises_the_value_of_hue_saturation_value() -> None:
    images = smooth(3, 8)
    images[:, :, 0, 0] = 0
    made = corrupted(images, "brightness", 5, 0)
    for image, other in zip(images, made, strict=True):
        for pixel, found in zip(image.flatten(1).T.tolist(), other.flatten(1).T.tolist(), strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
            assert found == pytest.approx(colorsys.hsv_to_rgb(hue, saturation, min(1, value + 0.3)), abs=1e-5)


def test_contrast_is_lost_towards_the_mean_of_each_channel() -> None:
    images = smooth(3, 8)
    made = corrupted(images, "contrast", 2, 0)
    torch.testing.assert_close(made.mean((2, 3)), images.mean((2, 3)))
    torch.testing.assert_close(made.std((2, 3)), images.std((2, 3)) / 2)


def test_jpeg_is_what_pillow_writes_and_reads() -> None:
    for channels in (1, 3):
        images = rounded(smooth(channels, 32))
        pixels = (images[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(file, "JPEG", quality=40)
        expected = np.asarray(Image.open(file)).reshape(32, 32, channels)
        found = (corrupted(images, "JPEG", 5, 0)[0] * 255).round().permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(found, expected)


def test_a_blur_is_the_mean_over_a_disc() -> None:
    kernel = disc(3, 0.01)
    inside = kernel[kernel > 0]
    assert len(inside) == 29  # points of the grid within 3 of its origin
    np.testing.assert_allclose(inside, 1 / 29, rtol=1e-6)
    for radius, smoothing in SMALL_IMAGES["defocus blur"] + PHOTOGRAPHS["defocus blur"]:
        kernel = disc(radius, smoothing)
        assert float(kernel.sum()) == pytest.approx(1)
        torch.testing.assert_close(kernel, kernel.T)
        torch.testing.assert_close(kernel, kernel.flip(0))
    point = torch.zeros(1, 1, 65, 65)
    point[0, 0, 32, 32] = 1
    blurred = corrupted(point, "defocus blur", 1, 0)
    assert int((blurred > 0.03).sum()) == 29
    constant = torch.full((1, 3, 32, 32), 0.3)
    torch.testing.assert_close(corrupted(constant, "defocus blur", 5, 0), constant)


def test_every_kind_is_dealt_images_of_its_own() -> None:
    rows = np.arange(100, 400)
    found = [dealt(rows, 40, kind) for kind in range(len(KINDS))]
    assert [len(each) for each in found] == [40] * len(KINDS)
    assert len(set(np.concatenate(found))) == 200
    assert all(each.min() < 110 and each.max() > 390 for each in found)
    few = [dealt(rows[:20], 40, kind) for kind in range(len(KINDS))]
    assert all(set(each) == set(rows[:20]) for each in few)


def test_a_picture_that_is_prepared_anew_shows_its_middle() -> None:
    images = torch.zeros(2, 3, 64, 64)
    images[:, :, :4] = images[:, :, -4:] = 1  # bars at two borders, which are cut off
    made = prepared_anew(images)
    assert made.shape == images.shape
    assert float(made.max()) < 0.1
    assert torch.equal(made, rounded(made))


# ---------------------------------------------------------------- other data sets


def test_images_of_the_same_classes_are_labelled_by_the_network_and_others_have_no_label(foreign) -> None:
    classes = [str(digit) for digit in range(10)]
    images, labels = read(Elsewhere(foreign, FOREIGN, same=True), classes, (1, 8, 8))
    assert images.shape == (30, 1, 8, 8)
    assert labels.tolist() == [3, 5, 5] * 10
    _, some = read(Elsewhere(foreign, FOREIGN, same=True, per_class=4), classes, (1, 8, 8))
    assert sorted(some.tolist()) == [3] * 4 + [5] * 4
    others, none = read(Elsewhere(foreign, FOREIGN, same=False), classes, (3, 12, 10))
    assert none.tolist() == [-1] * 10
    raw = np.load(foreign.removeprefix("npz:"))
    np.testing.assert_allclose(others, raw["images"][raw["labels"] == 1], atol=0.5 / 255 + 1e-6)
    _, all_of_them = read(Elsewhere(foreign, {}, same=False, count=7), classes, (3, 12, 10))
    assert all_of_them.tolist() == [-1] * 7


def test_images_are_scaled_framed_cut_and_stepped() -> None:
    eight = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    framed = fitted(eight, (1, 28, 28), border=4)
    assert framed.shape == (2, 1, 28, 28)
    inner = framed[:, :, 4:24, 4:24]
    assert float(framed.sum()) == pytest.approx(float(inner.sum()))
    back = fitted(framed, (1, 8, 8), border=-4, levels=16)
    assert torch.equal(back * 16, (back * 16).round())
    assert float((back - eight).abs().mean()) < 0.15
    assert torch.equal(fitted(framed, (1, 28, 28)), framed)
    grey = fitted(torch.tensor([1.0, 0.5, 0.0])[None, :, None, None].expand(1, 3, 4, 4), (1, 4, 4))
    torch.testing.assert_close(grey, torch.full((1, 1, 4, 4), round(0.5925 * 255) / 255))
    assert fitted(eight, (3, 8, 8)).shape == (2, 3, 8, 8)


def test_numbers_of_imagenet_belong_to_one_class_at_most() -> None:
    for classes in (IMAGENETTE, CIFAR10, CIFAR100, DIGITS):
        numbers = [number for each in classes.values() for number in each]
        assert len(set(numbers)) == len(numbers)
        assert all(0 <= number < 1000 for number in numbers)


# ---------------------------------------------------------------- attacks from elsewhere


def test_every_network_has_universal_perturbations_and_all_but_one_an_attack_from_another() -> None:
    for name, case in CASES.items():
        if name == "resnet50_paper":  # the paper's minimal attacks alone
            continue
        universal = [each for each in case.attacks.values() if each.attack == "Universal"]
        transferred = [each for each in case.attacks.values() if each.made_on]
        assert [each.patches for each in universal] == [PATCHES]
        assert len(transferred) == (name not in ("resnet20_cifar100", "squeezenet_imagenet"))  # there is no other
        assert all(each.unseen for each in (*universal, *transferred))
        assert (case.corrupted > 0) == (name != "squeezenet_imagenet")


def test_universal_perturbations_draw_images_they_never_saw_to_their_targets(making, case) -> None:
    groups, _, about = making.made
    row, group = about["attacks"]["Universal"], groups["Universal"]
    assert len({each["target"] for each in row["patches"]}) == 3
    labels = making.chosen[0].labels[making.chosen[1].numpy()]
    for number, each in enumerate(row["patches"]):
        assert each["tried"] == int((labels[number::3] != each["target"]).sum())
        assert each["succeeded"] == int((group.clusters == number).sum())
    assert 0.3 * row["tried"] < row["succeeded"] == len(group.source)
    assert torch.equal(group.images, rounded(group.images))
    changes = group.images - groups["clean"].images[group.source]
    assert float(changes.abs().max()) <= 76 / 255 + 1e-6  # 0.3, in whole steps
    assert (said(group.images) != group.labels).all()
    aims = np.array([each["target"] for each in row["patches"]])[group.clusters]
    assert (said(group.images) == aims).mean() > 0.5
    known = {image.numpy().tobytes() for image in rounded(making.known.images[:])}
    assert not known & {image.numpy().tobytes() for image in groups["clean"].images[group.source]}


def test_a_perturbation_is_the_same_for_the_same_seed_and_trained_once(making, case, monkeypatch) -> None:
    images = digits_net.data().train_images[:50]
    how = {"epsilon": 20 / 255, "steps": 5, "draws": 8}
    one, again, other = (trained(digits_net.model(), images, 3, how, seed) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert float(one.abs().max()) <= 20 / 255 + 1e-7
    assert all(parameter.requires_grad for parameter in digits_net.model().parameters())
    found = making.attack(case.attacks["Universal"])[0]
    monkeypatch.setattr("detection.perturbations.trained", lambda *a: pytest.fail("trained again"))
    assert torch.equal(making_module.Making(case, 0).attack(case.attacks["Universal"])[0].images, found.images)


def test_an_attack_from_another_network_counts_where_it_fools_both(making) -> None:
    groups, _, about = making.made
    group, row = groups["Transfer"], about["attacks"]["Transfer"]
    assert row["made_on"] == RETRAINED
    with torch.no_grad():
        there = another()(group.images).argmax(1).numpy()
    assert (there != group.labels).all()
    assert (said(group.images) != group.labels).all()
    clean = groups["clean"]
    changes = group.images - clean.images[group.source]
    assert 0 < float(changes.abs().max()) <= 76 / 255 + 1e-6
    np.testing.assert_array_equal(group.labels, clean.labels[group.source])
    assert 0 < row["succeeded"] <= row["tried"] <= 60


def test_another_network_must_have_the_same_classes(making, tmp_path) -> None:
    (tmp_path / "other.py").write_text(
        "from effpath.demo.lenet import LeNet5\n"
        "def network():\n"
        "    model = LeNet5(image_size=8)\n"
        "    model.classes = list('abcdefghij')\n"
        "    return model\n"
    )
    with pytest.raises(InputError, match=r"expected the classes .*'0'.* of .*other\.py:network, got \['a'"):
        making.another(f"{tmp_path / 'other.py'}:network")


# ---------------------------------------------------------------- gathered and flagged


def test_conditions_are_controls_with_their_sources_and_true_classes(making, seen) -> None:
    clean, attacked = making.chosen[0], set(making.chosen[1].tolist())
    for kind in KINDS:
        groups = [seen.controls[f"{kind} {strength}"] for strength in STRENGTHS]
        assert {tuple(group.source) for group in groups} == {tuple(groups[0].source)}
        assert len(groups[0].source) == 5
        assert set(groups[0].source) <= attacked
        np.testing.assert_array_equal(seen.labels[f"{kind} 1"], clean.labels[groups[0].source])
    assert len(seen.controls[PREPARED_ANEW].source) == 7
    for name, count in (("other classes", 4), ("another source", 12)):
        assert (seen.controls[name].source == -1).all()
        assert len(seen.labels[name]) == count
    assert (seen.labels["other classes"] == -1).all()
    assert set(seen.labels["another source"]) == {3, 5}
    assert not {"noise as large as Transfer", "noise as large as Universal"} & set(seen.controls)
    for name, group in making.made[1].items():
        assert torch.equal(group.images, rounded(group.images)), name


def test_conditions_are_part_of_what_a_case_is_kept_by(seen, case, monkeypatch) -> None:
    monkeypatch.setattr(making_module.Making, "made", property(lambda making: pytest.fail("gathered again")))
    assert gather.gather("met", case, others=("log odds", SIGNS)).controls.keys() == seen.controls.keys()
    for changed in ({"corrupted": 4}, {"elsewhere": {}}, {"prepared_anew": 0}):
        with pytest.raises(pytest.fail.Exception, match="again"):
            gather.gather("met", replace(case, **changed), others=("log odds", SIGNS))


def test_a_network_that_meets_nothing_gathers_nothing(making, case) -> None:
    plain = Case("digits", None, {})
    clean, attacked, _, _ = making.chosen
    assert module.conditions(plain, clean, attacked, making.data.classes, 0) == {}


def test_tables_of_attacks_see_of_the_controls_natural_mistakes_alone(case, making, seen, monkeypatch) -> None:
    monkeypatch.setattr(making_module.Making, "made", property(lambda making: pytest.fail("gathered again")))
    found = gather.gather("met", case, others=("log odds", SIGNS), controls=())
    assert set(found.controls) == {MISTAKES}
    some = gather.gather("met", case, others=("log odds", SIGNS), controls=("another source",))
    assert set(some.controls) == {MISTAKES, "another source"}
    assert found.groups.keys() == seen.groups.keys()
    for name, group in found.groups.items():
        np.testing.assert_array_equal(group.arrays["log odds"], seen.groups[name].arrays["log odds"])


@pytest.fixture(scope="module")
def flagged(seen) -> dict:
    return controls.measure(seen, rate=0.1)


def test_conditions_are_flagged_beside_the_controls_by_what_users_get_too(flagged, seen) -> None:
    assert flagged["product"] == ALONE
    for detector in ("surprise", *ALONE, "max softmax", "log odds, both sides"):
        found = flagged["detectors"][detector]["flagged"]
        assert {*seen.controls, "clean"} == set(found)
        assert all(0 <= value <= 1 for value, _, _ in found.values())


def test_what_users_get_is_flagged_as_a_detector_fitted_here_flags(flagged, seen) -> None:
    clean, control = seen.groups["clean"], seen.controls["another source"]
    columns = [SAYS.index(title) for title in PROFILES["fast"].says]
    shares = []
    for seed in range(5):
        parts = split_sources(clean.source, fractions=(0.1, 0.2, 0.7), seed=seed)
        wrong = split_rows(len(seen.mistakes.source), fractions=(0.1, 0.2, 0.7), seed=seed)["calibrate"]
        rows = clean.arrays[SIGNS][:, columns]
        made = make_classifier("fast").fit(rows[parts["train"]])
        used = [group for group in seen.attacks if group.name not in seen.unseen]
        taught = [
            each.arrays[SIGNS][np.isin(each.source, clean.source[parts["train"]])][:, columns] for each in used
        ]
        both = np.concatenate([rows[parts["train"]], *taught])
        made[-1].reweigh(made[:-1].transform(both), np.arange(len(both)) >= len(parts["train"]))
        held = np.concatenate([rows[parts["calibrate"]], seen.mistakes.arrays[SIGNS][wrong][:, columns]])
        limit = threshold_at_fpr(suspicion(made, held), 0.1)
        shares.append((suspicion(made, control.arrays[SIGNS][:, columns]) > limit).mean())
    found = flagged["detectors"]["fast"]["flagged"]["another source"][0]
    assert found == pytest.approx(np.mean(shares), abs=1e-4)


def test_the_share_that_is_classified_correctly_stands_beside_it(flagged, seen, making) -> None:
    for name in (f"{KINDS[0]} 5", "another source", PREPARED_ANEW):
        images = making.made[1][name].images
        assert flagged["correct"][name] == pytest.approx((said(images) == seen.labels[name]).mean(), abs=1e-4)
    assert flagged["correct"]["other classes"] is None
    assert flagged["correct"][MISTAKES] == 0


def test_corruptions_have_a_table_of_their_own_by_kind_and_strength(flagged, seen, tmp_path) -> None:
    file = tmp_path / "detection" / "controls" / "lenet_digits.json"
    write_result({"network": "lenet_digits", **flagged}, file)

    def lines(table) -> list[list[str]]:
        return [line.strip("| ").split(" | ") for line in table(tmp_path).splitlines()]

    head, _, *rows = lines(page.corruptions)
    assert [row[1] for row in rows] == list(KINDS)
    shares = [flagged["detectors"]["fast"]["flagged"][f"{KINDS[1]} {strength}"][0] for strength in STRENGTHS]
    assert rows[1][head.index("fast")] == " · ".join(f"{100 * share:.0f}" for share in shares)
    right = [flagged["correct"][f"{KINDS[1]} {strength}"] for strength in STRENGTHS]
    assert rows[1][2] == " · ".join(f"{100 * share:.0f}" for share in right)
    head, _, *rows = lines(page.controls)
    assert [row[1] for row in rows] == [name for name in flagged["images"] if name.rpartition(" ")[0] not in KINDS]
    assert {"other classes", "another source"} <= {row[1] for row in rows}
    older = {key: value for key, value in flagged.items() if key not in ("product", "correct")}
    older["images"] = {"clean": 80}
    older["detectors"] = {name: row for name, row in flagged["detectors"].items() if name not in PROFILES}
    write_result({"network": "lenet_digits", **older}, file)
    assert lines(page.controls)[2][head.index("fast")] == "–"
    assert controls.panels("lenet_digits", older)
    assert len(lines(page.corruptions)) == 2
