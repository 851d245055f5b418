"""Intrinsics that read, write and copy behind addresses, and look at the bits of a word.

Addresses are int64. The caller keeps the arrays behind them alive, see `hold`, and in bounds.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from effpath.kernels.ir import F32, I1, I8, I16, I32, I64, LANES, V32, VI32, load, pointer, store


@intrinsic
def address(typingctx, array):
    """Address of an array's first element."""

    def generate(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, I64)

    return types.int64(array), generate


@intrinsic
def hold(typingctx, arrays):
    """Keep a tuple of arrays until here: Numba frees an array after its last mention, whoever has its address."""

    def generate(context, builder, signature, args):
        return context.get_dummy_value()

    return types.void(arrays), generate


def _reader(name: str, result: Any, kind: Any, bytes_each: int) -> Any:
    def read(typingctx, base, index):
        def generate(context, builder, signature, args):
            loaded = load(builder, args[0], args[1], kind, bytes_each)
            loaded.align = 1
            return builder.sext(loaded, I64) if isinstance(kind, ir.IntType) and kind.width < 64 else loaded

        return result(types.int64, types.int64), generate

    read.__name__ = name
    read.__doc__ = f"Element ``index`` of the {bytes_each}-byte elements behind an address, sign extended."
    return intrinsic(read)


def _writer(name: str, source: Any, kind: Any, bytes_each: int) -> Any:
    def write(typingctx, base, index, value):
        def generate(context, builder, signature, args):
            value = args[2]
            if isinstance(kind, ir.IntType) and kind.width < 64:
                value = builder.trunc(value, kind)
            store(builder, value, args[0], args[1], bytes_each, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, source), generate

    write.__name__ = name
    write.__doc__ = f"Set element ``index`` of the {bytes_each}-byte elements behind an address."
    return intrinsic(write)


byte_at = _reader("byte_at", types.int64, I8, 1)
half_at = _reader("half_at", types.int64, I16, 2)
float_at = _reader("float_at", types.float32, F32, 4)
int_at = _reader("int_at", types.int64, I32, 4)
word_at = _reader("word_at", types.int64, I64, 8)
put_byte = _writer("put_byte", types.int64, I8, 1)
put_float = _writer("put_float", types.float32, F32, 4)
put_int = _writer("put_int", types.int64, I32, 4)
put_word = _writer("put_word", types.int64, I64, 8)


@intrinsic
def copy_floats(typingctx, source, target, count):
    """Copy float32 elements from one address to another."""
    signature = types.void(types.int64, types.int64, types.int64)

    def generate(context, builder, signature, args):
        source, target, count = args
        whole = builder.lshr(count, I64(4))
        with cgutils.for_range(builder, whole) as loop:
            store(builder, load(builder, source, loop.index, V32, 64), target, loop.index, 64, align=4)
        with cgutils.for_range(builder, count, start=builder.shl(whole, I64(4))) as loop:
            store(builder, load(builder, source, loop.index, F32, 4), target, loop.index, 4, align=4)
        return context.get_dummy_value()

    return signature, generate


def _int_copier(name: str, kind: Any, bytes_each: int) -> Any:
    def copy(typingctx, source, target, count):
        def generate(context, builder, signature, args):
            whole = builder.lshr(builder.add(args[2], I64(LANES - 1)), I64(4))
            with cgutils.for_range(builder, whole) as loop:
                loaded = load(builder, args[0], loop.index, VI32, 64)
                short = loaded if bytes_each == 4 else builder.trunc(loaded, kind)
                store(builder, short, args[1], loop.index, LANES * bytes_each, align=bytes_each)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), generate

    copy.__name__ = name
    copy.__doc__ = f"Copy int32 to {bytes_each}-byte elements by vectors: up to 15 behind the last are written."
    return intrinsic(copy)


copy_ints = _int_copier("copy_ints", VI32, 4)
copy_halves = _int_copier("copy_halves", ir.VectorType(I16, LANES), 2)


@intrinsic
def prefetch(typingctx, address):
    """Ask for the cache line of an address that is read soon."""
    signature = types.void(types.int64)

    def generate(context, builder, signature, args):
        place = builder.inttoptr(args[0], I8.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type, I32, I32, I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [place, I32(0), I32(3), I32(1)])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def or_byte(typingctx, address, bits):
    """Set bits of a byte; threads that share it lose none."""
    signature = types.void(types.int64, types.int64)

    def generate(context, builder, signature, args):
        place = pointer(builder, args[0], I64(0), I8, 1)
        builder.atomic_rmw("or", place, builder.trunc(args[1], I8), "monotonic")
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def trailing_zeros(typingctx, word):
    """Index of the lowest set bit of a 64-bit word; 64 where none is set."""
    signature = types.int64(types.int64)

    def generate(context, builder, signature, args):
        return builder.cttz(args[0], I1(0))

    return signature, generate


@intrinsic
def float_bits(typingctx, value):
    """Bits of a float32 as an integer."""
    signature = types.int64(types.float32)

    def generate(context, builder, signature, args):
        return builder.zext(builder.bitcast(args[0], I32), I64)

    return signature, generate


@intrinsic
def bits_float(typingctx, bits):
    """Float32 of an integer's low 32 bits."""
    signature = types.float32(types.int64)

    def generate(context, builder, signature, args):
        return builder.bitcast(builder.trunc(args[0], I32), F32)

    return signature, generate
