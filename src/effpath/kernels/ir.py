"""Words for LLVM IR that Numba intrinsics are built from: 16 float32 lanes on every machine.

LLVM splits the lanes where a machine's registers are narrower. Addresses are plain integers: the caller keeps
the arrays alive and in bounds. Row lengths are counted in vectors of 16; rows are padded with zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils

LANES = 16
F32, F64 = ir.FloatType(), ir.DoubleType()
I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
V32, V64 = ir.VectorType(F32, LANES), ir.VectorType(F64, LANES)
VI32 = ir.VectorType(I32, LANES)


def pointer(builder: Any, base: Any, index: Any, kind: Any, bytes_each: int) -> Any:
    """Pointer to element ``index`` of ``bytes_each`` bytes behind an integer address."""
    address = builder.add(base, builder.mul(index, I64(bytes_each)))
    return builder.inttoptr(address, kind.as_pointer())


def load(builder: Any, base: Any, index: Any, kind: Any, bytes_each: int) -> Any:
    """Element ``index``, which lies as floats do: a vector is not aligned as a whole."""
    loaded = builder.load(pointer(builder, base, index, kind, bytes_each))
    loaded.align = 4 if bytes_each >= 4 else bytes_each
    return loaded


def store(builder: Any, value: Any, base: Any, index: Any, bytes_each: int, align: int) -> None:
    """Set element ``index`` of ``bytes_each`` bytes behind an integer address."""
    builder.store(value, pointer(builder, base, index, value.type, bytes_each)).align = align


def splat(builder: Any, scalar: Any) -> Any:
    """Vector whose lanes all hold a scalar."""
    vector = ir.VectorType(scalar.type, LANES)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, I32(0))
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), ir.Constant(VI32, [0] * LANES))


def constant(kind: Any, value: float) -> Any:
    """Vector whose lanes all hold a number."""
    return ir.Constant(kind, [value] * kind.count)


def lane_numbers() -> Any:
    """Vector of 0 … 15."""
    return ir.Constant(VI32, list(range(LANES)))


def joined(builder: Any, one: Any, other: Any) -> Any:
    """Two vectors side by side."""
    lanes = list(range(2 * one.type.count))
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


def halve(builder: Any, vector: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """Combine lane i with lane i + half, until one is left: a fixed order."""
    lanes = vector.type.count
    undefined = ir.Constant(vector.type, ir.Undefined)
    while lanes > 1:
        lanes //= 2
        low = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
        high = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes, 2 * lanes)))
        vector = combine(
            builder.shuffle_vector(vector, undefined, low), builder.shuffle_vector(vector, undefined, high)
        )
        undefined = ir.Constant(vector.type, ir.Undefined)
    return builder.extract_element(vector, I32(0))


def variable(builder: Any, initial: Any) -> Any:
    """Place for a value that loops change."""
    place = cgutils.alloca_once(builder, initial.type)
    builder.store(initial, place)
    return place
