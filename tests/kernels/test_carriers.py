"""Half of what a layer's outputs carry: against plain Python, and the compiled loop against the reference."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from effpath.errors import NumericalError
from effpath.kernels.carriers import add_rows, mark_carriers
from effpath.kernels.reference import carriers
from rubbish import rubbish as rubbish

EIGHTHS = st.integers(-8, 24).map(lambda n: n / 8)  # sums of few of them are exact, and many are equal
ANY = st.floats(width=32, allow_nan=False, allow_infinity=False)


def compiled(values: np.ndarray) -> np.ndarray:
    marks = np.zeros(values.shape, np.uint8)
    mark_carriers(values, values.view(np.uint32), marks)
    return marks.view(bool)


def by_hand(row: list[float]) -> list[bool]:
    """Take the largest, one after the other, until they are half."""
    total = sum((Fraction(value) for value in row if value > 0), Fraction(0))
    chosen, reached = [False] * len(row), Fraction(0)
    for at in sorted(range(len(row)), key=lambda at: -row[at]):  # stable: lower index first
        if row[at] <= 0 or 2 * reached >= total:
            break
        chosen[at] = True
        reached += Fraction(row[at])
    return chosen


@given(st.lists(EIGHTHS, min_size=1, max_size=12))
def test_it_is_the_shortest_list_of_the_largest_that_reaches_half(row: list[float]) -> None:
    values = np.array([row], np.float32)
    assert carriers(torch.from_numpy(values))[0].tolist() == by_hand(row)
    assert compiled(values)[0].tolist() == by_hand(row)


@given(st.lists(st.lists(ANY, min_size=7, max_size=7), min_size=1, max_size=4))
def test_the_compiled_loop_chooses_what_the_reference_does_of_any_floats(rows: list[list[float]]) -> None:
    values = np.array(rows, np.float32)
    assert compiled(values).tolist() == carriers(torch.from_numpy(values)).tolist()


@pytest.mark.parametrize("kind", ["normal", "few levels", "flat", "wide", "tiny", "sparse", "none"])
@pytest.mark.parametrize("size", [1, 5, 1000, 70_000])
def test_the_compiled_loop_chooses_what_the_reference_does_of_whole_layers(
    kind: str, size: int, rubbish: int
) -> None:
    rng = np.random.default_rng(size)
    normal = rng.normal(size=(3, size))
    values = {
        "normal": normal,
        "few levels": np.round(normal),
        "flat": np.full((3, size), 0.1),
        "wide": np.exp(12 * normal),
        "tiny": 1e-40 * normal,
        "sparse": np.where(rng.random((3, size)) < 0.01, normal, 0),
        "none": -np.abs(normal),
    }[kind].astype(np.float32)
    found = compiled(values)
    assert np.array_equal(found, carriers(torch.from_numpy(values)).numpy())
    carried = np.where(found, values, 0).astype(np.float64).sum(1)
    np.testing.assert_array_less(0.4999 * np.maximum(values, 0).astype(np.float64).sum(1), carried + 1e-300)


def test_of_equal_values_the_first_are_chosen() -> None:
    values = np.array([[1, 2, 1, 1, 1, 2]], np.float32)
    assert compiled(values)[0].tolist() == [False, True, False, False, False, True]
    assert compiled(np.ones((1, 5), np.float32))[0].tolist() == [True, True, True, False, False]


def test_a_row_does_not_depend_on_the_others_nor_on_its_scale() -> None:
    values = np.random.default_rng(0).normal(size=(6, 300)).astype(np.float32)
    whole = compiled(values)
    for row in range(6):
        assert np.array_equal(compiled(values[row : row + 1]), whole[row : row + 1])
    assert np.array_equal(compiled(8 * values), whole)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_the_reference_takes_other_floats(dtype: torch.dtype) -> None:
    values = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 50))).to(dtype)
    assert carriers(values).tolist() == [by_hand(row) for row in values.double().tolist()]
    assert carriers(torch.full((1, 3), 5e-324, dtype=torch.float64)).tolist() == [[True, True, False]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_an_error(value: float) -> None:
    with pytest.raises(NumericalError, match="NaN or infinity"):
        carriers(torch.tensor([[1.0, value]]))


@pytest.mark.parametrize("rows", [1, 8, 13, 64, 1001])
def test_the_rows_that_sets_name_are_added_up_and_counted(rows: int) -> None:
    rng = np.random.default_rng(rows)
    marks = rng.random((4, rows)) < np.array([[0], [0.1], [0.5], [1]])
    table = rng.normal(size=(rows, 3)).astype(np.float32)
    sums, counts = np.zeros((4, 3)), np.zeros(4, np.int64)
    add_rows(np.packbits(marks, axis=1, bitorder="little"), table, sums, counts)
    assert counts.tolist() == marks.sum(1).tolist()
    np.testing.assert_allclose(sums, marks.astype(float) @ table.astype(float), rtol=1e-12, atol=1e-12)
