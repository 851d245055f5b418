"""Full float32 in the forward pass, whatever the process allows.

A walk adds up contributions in full float32 and compares them with the output that the forward pass gave. On a
graphics processor torch rounds the factors of convolutions to 10 bits unless told otherwise (TF32), and
`torch.set_float32_matmul_precision` allows as much for matrix products, on a processor too (bfloat16). Outputs
would then lie a thousandth away from the sums of their contributions, and sets would depend on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch


class FullFloat32:
    """Multiplies and adds float32 numbers in full inside a block; afterwards all is allowed that was before."""

    def __enter__(self) -> None:
        """Allow nothing less."""
        self._undo: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        try:
            matmul = torch.get_float32_matmul_precision()
            on_gpu: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
            tf32 = on_gpu and torch.backends.cudnn.allow_tf32
        except RuntimeError:  # the process has set them one by one, and there is no word for all
            self._set_one_by_one()
            return
        if matmul != "highest":
            torch.set_float32_matmul_precision("highest")
            self._undo.append((torch.set_float32_matmul_precision, (matmul,)))
        if tf32:
            torch.backends.cudnn.allow_tf32 = False
            self._undo.append((setattr, (torch.backends.cudnn, "allow_tf32", True)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Allow again what was allowed."""
        for undo, arguments in reversed(self._undo):
            undo(*arguments)

    def _set_one_by_one(self) -> None:
        """Set the precision of single operators, which torch has since 2.9."""
        backends: Any = torch.backends
        for place in (
            backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn,
            backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn,
        ):  # fmt: skip
            self._undo.append((setattr, (place, "fp32_precision", place.fp32_precision)))
            place.fp32_precision = "ieee"
