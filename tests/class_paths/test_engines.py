"""The engine of this process."""

from __future__ import annotations

from effpath.class_paths.folder.engines import Engine, Inline
from engine_contract import EngineContract


class TestInline(EngineContract):
    named = "inline"

    @classmethod
    def made(cls) -> Engine:
        return Inline()
