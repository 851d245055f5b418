"""The plain sum of two tensors, the skip connection of a residual network, where nothing is kept; compiled."""

from __future__ import annotations

import numpy as np

from effpath.kernels.active import next_active
from effpath.kernels.compiling import inner, kernel
from effpath.kernels.memory import address, float_at, put_byte


@inner
def choose_of_two(a, b, v, criterion):
    """Tell which of two contributions, float32, explain a value v; see `effpath.kernels.decide.decide`."""
    c, d = (-np.float64(a), -np.float64(b)) if v < 0 else (np.float64(a), np.float64(b))
    theta = criterion.theta
    target = theta * ((c + d) if criterion.of_sum else abs(v))
    lone = criterion.lone and theta <= 0.5
    if lone or (not (target > 0 and max(c, d) > 0) and criterion.falls_to_largest):
        return c >= d, c < d
    if not target > 0:
        target = theta * (max(c, 0.0) + max(d, 0.0))
    wanted = target - 1e-12 * target
    if not wanted > 0:
        return False, False
    return c > 0 and (c >= d or d < wanted), d > 0 and (d > c or c < wanted)


@kernel
def add_two(operands, outputs, factors, criterion, first, last):
    """Choose between the two operands, for the active outputs of images first … last - 1.

    Args:
        operands, outputs, criterion: of these names in `effpath.kernels.arguments`; stored alike.
        factors: float32 [2], of the operands.

    Returns:
        Whether all is finite.
    """
    size, active, reached, finite = outputs.value.shape[1], outputs.active, operands.reached, True
    column, other_column = operands.columns[0], operands.columns[1]
    for image in range(first, last):
        base = address(active) + image * active.shape[1] + outputs.column
        goal = address(reached) + image * reached.shape[1]
        one, other = operands.addresses[0] + 4 * image * size, operands.addresses[1] + 4 * image * size
        values = address(outputs.value) + 4 * image * size
        i = next_active(base, 0, size)
        while i < size:
            a, b = float_at(one, i) * factors[0], float_at(other, i) * factors[1]
            v = np.float64(float_at(values, i))
            if np.isfinite(a) and np.isfinite(b) and np.isfinite(v):
                takes_one, takes_other = choose_of_two(a, b, v, criterion)
                if takes_one and column >= 0:
                    put_byte(goal, column + i, 1)
                if takes_other and other_column >= 0:
                    put_byte(goal, other_column + i, 1)
            else:
                finite = False
            i = next_active(base, i + 1, size)
    return finite
