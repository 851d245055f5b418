"""Percentages have one form, in which nothing reads as all or as none that is not."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from effpath.files.plain import percent


@given(share=st.floats(0, 1, allow_subnormal=False))
def test_a_percentage_is_the_share_to_three_digits(share: float) -> None:
    value = float(percent(share).removesuffix(" %"))
    assert math.isclose(value, 100 * share, rel_tol=0.005)
    assert percent(share).endswith(" %")


def test_what_is_not_all_is_not_100_percent_and_what_is_not_nothing_is_not_0_percent() -> None:
    assert percent(1) == "100 %"
    assert percent(0) == "0 %"
    assert percent(0.9996) == "99.96 %"
    assert percent(3e-7) == "0.00003 %"
    assert percent(math.nan) == "–"
