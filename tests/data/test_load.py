"""Data sets by name: digits, the table of schemes, parts, and the size that a network takes."""

from __future__ import annotations

import pytest
import torch

from effpath.data import SCHEMES, Dataset, load_data
from effpath.errors import InputError


def _assert_sound(data: Dataset) -> None:
    halves = ((data.train_images, data.train_labels), (data.test_images, data.test_labels))
    for images, labels in halves:
        assert images.dtype == torch.float32
        assert images.ndim == 4
        assert labels.dtype == torch.int64
        assert labels.shape == (len(images),)
        assert 0 <= images.min() <= images.max() <= 1
        assert 0 <= labels.min() <= labels.max() < len(data.classes)


def test_digits_are_split_60_to_40_with_every_class_in_proportion() -> None:
    data = load_data("digits")
    _assert_sound(data)
    assert data.train_images.shape == (1078, 1, 8, 8)
    assert data.test_images.shape == (719, 1, 8, 8)
    assert data.train_images.max() == 1
    whole = torch.bincount(data.train_labels) + torch.bincount(data.test_labels)
    assert (torch.bincount(data.train_labels) - 0.6 * whole).abs().max() < 1


def test_no_digit_is_in_both_parts_and_none_is_lost() -> None:
    from sklearn.datasets import load_digits

    data = load_data("digits", seed=5)
    mine = torch.cat([data.train_images, data.test_images]).flatten(1) * 16
    theirs = load_digits().data
    assert sorted(map(tuple, mine.tolist())) == sorted(map(tuple, theirs.tolist()))


def test_the_seed_decides_the_split_of_digits() -> None:
    first, again, other = (
        load_data("digits", seed=1),
        load_data("digits", seed=1),
        load_data("digits", seed=2),
    )
    assert torch.equal(first.train_images, again.train_images)
    assert not torch.equal(first.train_labels, other.train_labels)


def test_digits_28_are_the_same_digits_larger() -> None:
    small, large = load_data("digits"), load_data("digits:28")
    _assert_sound(large)
    assert large.name == "digits:28"
    assert large.test_images.shape == (719, 1, 28, 28)
    assert torch.equal(small.test_labels, large.test_labels)
    torch.testing.assert_close(
        small.test_images.mean((1, 2, 3)), large.test_images.mean((1, 2, 3)), atol=0.02, rtol=0
    )


@pytest.mark.parametrize("spec", ["digits:", "digits:x", "digits:3", "digits:-8", "digits:²"])
def test_a_wrong_side_of_digits_is_refused(spec: str) -> None:
    if spec == "digits:":
        assert load_data(spec).name == "digits"
        return
    with pytest.raises(InputError, match="at least 4 pixels"):
        load_data(spec)


@pytest.mark.parametrize("spec", ["", "cifar", "Digits", ":x"])
def test_an_unknown_data_set_is_refused_with_the_known_ones(spec: str) -> None:
    with pytest.raises(InputError, match="cifar10, cifar100, digits, imagefolder, mnist, npz"):
        load_data(spec)


def test_a_new_scheme_is_one_line_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load_data("digits")
    monkeypatch.setitem(SCHEMES, "mine", lambda *given: digits if given == ("a:b", 7, None) else None)
    assert torch.equal(load_data("mine:a:b", seed=7).test_images, digits.test_images)
