"""An attack that no one named is as strong as the network needs; one that was named is left alone."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from digits_net import class_paths, data, model
from effpath.attacks import attack
from effpath.detect.fitting import FitOptions
from effpath.detect.fitting.options import ATTACKED_WITH, STRENGTHS
from effpath.detect.fitting.steps import attacked_images

pytest.importorskip("foolbox")


def attacked(options, steps=None, cache=None):
    """Return what is made of 60 test images, and write the names of the steps to a list."""

    def track(step):
        if steps is not None:
            steps.append(step)
        return nullcontext(lambda done, total: None)

    return attacked_images(model(), 10, class_paths(), part(), options, cache, track)


def part():
    return data().part("test").take(torch.arange(60))


def made(epsilon):
    how = {**ATTACKED_WITH["PGD"], "epsilon": epsilon}
    return attack(model(), part().images, part().labels, "PGD", settings=how, batch_size=8)


def test_the_least_strength_is_chosen_that_fools_half_of_the_images(tmp_path, monkeypatch):
    steps = []
    pixels, about = attacked(FitOptions(), steps, tmp_path)
    fooled = [made(epsilon).successes for epsilon in STRENGTHS["PGD"]]
    place = next(at for at, successes in enumerate(fooled) if 2 * successes >= about["PGD"]["tried"])
    assert 0 < place < len(fooled) - 1  # neither end
    epsilon = STRENGTHS["PGD"][place]
    assert about["PGD"]["settings"]["epsilon"] == epsilon
    assert about["PGD"]["succeeded"] == fooled[place]
    tried = list(zip(STRENGTHS["PGD"], fooled, strict=True))[: place + 1]
    assert about["PGD"]["chosen_from"] == [{"epsilon": each, "succeeded": count} for each, count in tried]
    assert steps[1:] == [f"PGD on 60 images, epsilon {each:.3g}" for each, _ in tried]
    assert "chosen_from" not in about["FGSM"]  # which finds the least ε of each image
    fgsm = about["FGSM"]["succeeded"]
    assert len(pixels) == fgsm + fooled[place]  # what weaker ones made teaches nothing
    assert torch.equal(pixels[fgsm:], made(epsilon).fooling)
    monkeypatch.setattr("effpath.attacks.runner._attack_batch", None)  # all that was tried is in the cache
    again, told = attacked(FitOptions(), cache=tmp_path)
    assert torch.equal(again, pixels)
    assert told == about


@pytest.mark.parametrize("settings", [{}, {"epsilon": 0.01}])
def test_an_attack_that_is_named_has_its_own_strength(settings):
    steps = []
    _, about = attacked(FitOptions(attacks={"PGD": {**ATTACKED_WITH["PGD"], **settings}}), steps)
    assert steps == ["PGD on 60 images"]
    own = made(settings.get("epsilon", 8 / 255))
    assert about == {"PGD": {"settings": own.settings, "tried": own.tried, "succeeded": own.successes}}


def test_where_no_strength_fools_half_of_the_images_the_last_is_taken(monkeypatch):
    monkeypatch.setattr("effpath.detect.fitting.options.STRENGTHS", {"PGD": (1e-7, 0.01, 0.02)})
    pixels, about = attacked(FitOptions())
    last = made(0.02)
    assert 2 * last.successes < last.tried
    assert [each["epsilon"] for each in about["PGD"]["chosen_from"]] == [1e-7, 0.01, 0.02]
    assert about["PGD"]["chosen_from"][0]["succeeded"] == 0
    assert about["PGD"]["succeeded"] == last.successes
    assert len(pixels) == about["FGSM"]["succeeded"] + last.successes
