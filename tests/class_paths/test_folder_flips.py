"""Twenty thousand changed bytes of a store, and none unnoticed."""

from __future__ import annotations

from store_damage import damage
from tiny_store import build

DAMAGES = 20_000


def test_of_twenty_thousand_changed_bytes_none_is_unnoticed(tmp_path) -> None:
    build(tmp_path / "store")
    found = damage(tmp_path / "store", DAMAGES, quickly=True, seed=1)
    assert found.keys() == {"noticed"}, found
    assert found["noticed"] >= DAMAGES - 10
