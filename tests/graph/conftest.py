"""Tests of graphs capture every network anew."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def anew(exported_anew: None) -> None:
    pass
