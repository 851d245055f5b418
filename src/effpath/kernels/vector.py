"""Vector instructions that Numba has no words for, as LLVM IR: 16 float32 lanes on every machine.

LLVM splits the lanes where a machine's registers are narrower. Addresses are plain integers: the caller keeps
the arrays alive and in bounds. Row lengths are counted in vectors of 16; rows are padded with zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 16
_F32, _F64 = ir.FloatType(), ir.DoubleType()
_I1, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 16, 32, 64))
_V32, _V64 = ir.VectorType(_F32, LANES), ir.VectorType(_F64, LANES)
_VI32 = ir.VectorType(_I32, LANES)


def _at(builder: Any, base: Any, index: Any, kind: Any, bytes_each: int) -> Any:
    """Pointer to element ``index`` of ``bytes_each`` bytes behind an integer address."""
    address = builder.add(base, builder.mul(index, _I64(bytes_each)))
    return builder.inttoptr(address, kind.as_pointer())


def _load(builder: Any, base: Any, index: Any, kind: Any, bytes_each: int) -> Any:
    loaded = builder.load(_at(builder, base, index, kind, bytes_each))
    loaded.align = 4 if bytes_each >= 4 else bytes_each
    return loaded


def _splat(builder: Any, scalar: Any, lanes: int = LANES) -> Any:
    vector = ir.VectorType(scalar.type, lanes)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, _I32(0))
    zeros = ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)


def _constant(kind: Any, value: float) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _halve(builder: Any, vector: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """Combine lane i with lane i + half, until one is left: a fixed order."""
    lanes = vector.type.count
    undefined = ir.Constant(vector.type, ir.Undefined)
    while lanes > 1:
        lanes //= 2
        low = ir.Constant(ir.VectorType(_I32, lanes), list(range(lanes)))
        high = ir.Constant(ir.VectorType(_I32, lanes), list(range(lanes, 2 * lanes)))
        vector = combine(
            builder.shuffle_vector(vector, undefined, low), builder.shuffle_vector(vector, undefined, high)
        )
        undefined = ir.Constant(vector.type, ir.Undefined)
    return builder.extract_element(vector, _I32(0))


def _products(builder: Any, x: Any, w: Any, flip: Any) -> Any:
    """16 contributions, their signs flipped where ``flip`` (a vector of sign bits) says so."""
    product = builder.fmul(_load(builder, x, _I64(0), _V32, 64), _load(builder, w, _I64(0), _V32, 64))
    return builder.bitcast(builder.xor(builder.bitcast(product, _VI32), flip), _V32)


def _joined(builder: Any, one: Any, other: Any) -> Any:
    """Lay two vectors side by side."""
    lanes = list(range(2 * one.type.count))
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(_I32, len(lanes)), lanes))


def _variable(builder: Any, initial: Any) -> Any:
    place = cgutils.alloca_once(builder, initial.type)
    builder.store(initial, place)
    return place


def _sign_bits(builder: Any, flip: Any) -> Any:
    return _splat(builder, builder.shl(builder.trunc(flip, _I32), _I32(31)))


def _over_runs(
    builder: Any,
    row: Sequence[Any],
    step: Callable[[Any, Any, int], Any],
    keep: Callable[[Any, Sequence[Any]], None] | None = None,
) -> None:
    """Visit the vectors of a row: ``step(x address, w address, which of four)``, four at a time where there are.

    ``keep(index of the first, results)`` takes what one or four steps returned.

    ``row`` is x, w, and the runs that the inputs are read in: their address and number. A run is three int32:
    index of its first vector, offset of its inputs from x in floats, number of vectors.
    """
    x, w, runs, count = row
    with cgutils.for_range(builder, count) as run:
        at = builder.mul(run.index, _I64(3))
        first, offset, vectors = (
            builder.sext(_load(builder, runs, builder.add(at, _I64(j)), _I32, 4), _I64) for j in range(3)
        )
        inputs = builder.add(x, builder.shl(offset, _I64(2)))
        weights = builder.add(w, builder.shl(first, _I64(6)))

        def some(begin: Any, count: int) -> None:
            results = []
            for j in range(count):
                behind = builder.shl(builder.add(begin, _I64(j)), _I64(6))
                results.append(step(builder.add(inputs, behind), builder.add(weights, behind), j))
            if keep is not None:
                keep(builder.add(first, begin), results)

        fours = builder.lshr(vectors, _I64(2))
        with cgutils.for_range(builder, fours) as loop:
            some(builder.shl(loop.index, _I64(2)), 4)
        with cgutils.for_range(builder, vectors, start=builder.shl(fours, _I64(2))) as loop:
            some(loop.index, 1)


_ROW = (types.int64, types.int64, types.int64, types.int64)  # x, w, runs, their number


@intrinsic
def scan(typingctx, x, w, runs, count, flip, tau, masks):
    """Mark the contributions x·w above tau, one bit each, in uint16 ``masks``; return their float32 sum."""
    signature = types.float32(*_ROW, types.int64, types.float32, types.int64)

    def generate(context, builder, signature, args):
        flips, above = _sign_bits(builder, args[4]), _splat(builder, args[5])
        sums = [_variable(builder, _constant(_V32, 0.0)) for _ in range(4)]

        def step(x: Any, w: Any, which: int) -> Any:
            products = _products(builder, x, w, flips)
            marked = builder.fcmp_ordered(">", products, above)
            old = builder.load(sums[which])
            builder.store(builder.select(marked, builder.fadd(old, products), old), sums[which])
            return marked

        def keep(index: Any, marked: Sequence[Any]) -> None:
            joined = marked[0]
            if len(marked) == 4:  # in one piece, as it is read again at once
                joined = _joined(builder, _joined(builder, *marked[:2]), _joined(builder, *marked[2:]))
            kind = ir.IntType(joined.type.count)
            builder.store(builder.bitcast(joined, kind), _at(builder, args[6], index, kind, 2)).align = 2

        _over_runs(builder, args[:4], step, keep)
        a, b, c, d = (builder.load(place) for place in sums)
        return _halve(builder, builder.fadd(builder.fadd(a, b), builder.fadd(c, d)), builder.fadd)

    return signature, generate


def _reduction(name: str, kind: Any, result: Any, initial: float, add: Callable[..., Any], doc: str) -> Any:
    """Make an intrinsic that reduces a row's contributions: lane by lane in ascending order, then halves."""

    def reduce(typingctx, x, w, runs, count, flip):
        def generate(context, builder, signature, args):
            flips, place = _sign_bits(builder, args[4]), _variable(builder, _constant(kind, initial))

            def step(x: Any, w: Any, which: int) -> None:
                builder.store(add(builder, builder.load(place), _products(builder, x, w, flips)), place)

            _over_runs(builder, args[:4], step)
            return _halve(builder, builder.load(place), lambda one, other: add(builder, one, other))

        return result(*_ROW, types.int64), generate

    reduce.__name__, reduce.__doc__ = name, doc
    return intrinsic(reduce)


def _add(builder: Any, one: Any, other: Any) -> Any:
    wide = other.type == one.type
    return builder.fadd(one, other if wide else builder.fpext(other, one.type))


def _add_positive(builder: Any, one: Any, other: Any) -> Any:
    if other.type == one.type:
        return builder.fadd(one, other)
    kept = builder.select(builder.fcmp_ordered(">", other, _constant(_V32, 0.0)), other, _constant(_V32, 0.0))
    return builder.fadd(one, builder.fpext(kept, one.type))


def _larger(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", other, one), other, one)


total = _reduction(
    "total", _V64, types.float64, 0.0, _add,
    "Float64 sum of all contributions, in the order of `reference.ordered_sum`.",
)  # fmt: skip
positive_total = _reduction(
    "positive_total", _V64, types.float64, 0.0, _add_positive, "Float64 sum of the positive contributions."
)
largest = _reduction(
    "largest", _V32, types.float32, float("-inf"), _larger, "Largest contribution that lies in a run."
)


@intrinsic
def sum_above(typingctx, values, vectors, pivot):
    """Float64 sum of the values above a pivot, which is not negative; rows are padded with zeros."""
    signature = types.float64(types.int64, types.int64, types.float32)

    def generate(context, builder, signature, args):
        pivots, place = _splat(builder, args[2]), _variable(builder, _constant(_V64, 0.0))
        with cgutils.for_range(builder, args[1]) as loop:
            values = _load(builder, args[0], loop.index, _V32, 64)
            kept = builder.select(builder.fcmp_ordered(">", values, pivots), values, _constant(_V32, 0.0))
            builder.store(builder.fadd(builder.load(place), builder.fpext(kept, _V64)), place)
        return _halve(builder, builder.load(place), builder.fadd)

    return signature, generate


@intrinsic
def copy_floats(typingctx, source, target, count):
    """Copy float32 elements from one address to another."""
    signature = types.void(types.int64, types.int64, types.int64)

    def generate(context, builder, signature, args):
        whole = builder.lshr(args[2], _I64(4))
        with cgutils.for_range(builder, whole) as loop:
            stored = builder.store(
                _load(builder, args[0], loop.index, _V32, 64), _at(builder, args[1], loop.index, _V32, 64)
            )
            stored.align = 4
        with cgutils.for_range(builder, args[2], start=builder.shl(whole, _I64(4))) as loop:
            stored = builder.store(
                _load(builder, args[0], loop.index, _F32, 4), _at(builder, args[1], loop.index, _F32, 4)
            )
            stored.align = 4
        return context.get_dummy_value()

    return signature, generate


def _int_copier(name: str, kind: Any, bytes_each: int) -> Any:
    def copy(typingctx, source, target, count):
        def generate(context, builder, signature, args):
            whole = builder.lshr(builder.add(args[2], _I64(LANES - 1)), _I64(4))
            with cgutils.for_range(builder, whole) as loop:
                loaded = _load(builder, args[0], loop.index, _VI32, 64)
                short = loaded if bytes_each == 4 else builder.trunc(loaded, kind)
                stored = builder.store(short, _at(builder, args[1], loop.index, kind, LANES * bytes_each))
                stored.align = bytes_each
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), generate

    copy.__name__ = name
    copy.__doc__ = f"Copy int32 to {bytes_each}-byte elements by vectors: up to 15 behind the last are written."
    return intrinsic(copy)


copy_ints = _int_copier("copy_ints", _VI32, 4)
copy_halves = _int_copier("copy_halves", ir.VectorType(_I16, LANES), 2)


@intrinsic
def down_to(typingctx, values, count, limit, last):
    """Mark those of the first ``count`` of 16 values above a limit, or equal to it and not behind ``last``."""
    signature = types.int64(types.int64, types.int64, types.float32, types.int64)

    def generate(context, builder, signature, args):
        values, lanes = _load(builder, args[0], _I64(0), _V32, 64), ir.Constant(_VI32, list(range(LANES)))
        limits, lasts, counts = (
            _splat(builder, args[2]),
            *(_splat(builder, builder.trunc(args[j], _I32)) for j in (3, 1)),
        )
        equal = builder.and_(builder.fcmp_ordered("==", values, limits), builder.icmp_signed("<=", lanes, lasts))
        marked = builder.or_(builder.fcmp_ordered(">", values, limits), equal)
        marked = builder.and_(marked, builder.icmp_signed("<", lanes, counts))
        return builder.zext(builder.bitcast(marked, _I16), _I64)

    return signature, generate


@intrinsic
def square_sum(typingctx, x, vectors):
    """Float32 sum of squares: NaN or infinite where an element is, or where a square overflows."""
    signature = types.float32(types.int64, types.int64)

    def generate(context, builder, signature, args):
        x, vectors = args
        place = _variable(builder, _constant(_V32, 0.0))
        with cgutils.for_range(builder, vectors) as loop:
            loaded = _load(builder, x, loop.index, _V32, 64)
            builder.store(builder.fadd(builder.load(place), builder.fmul(loaded, loaded)), place)
        return _halve(builder, builder.load(place), builder.fadd)

    return signature, generate


@intrinsic
def cut(typingctx, values, count, wanted, base, bias):
    """Choose among at most 32 positive candidates by ranking: bit i is set where candidate i is chosen.

    Candidate i is chosen where ``base`` plus all before it (larger, or equal and earlier; the bias if it is
    larger) is below ``wanted``. Bit 62 is set where that was decided by less than the rounding of a sum
    could be. ``values`` must hold 32 floats, those behind ``count`` of any value.
    """
    signature = types.int64(types.int64, types.int64, types.float64, types.float64, types.float64)

    def generate(context, builder, signature, args):
        values, count, wanted, base, bias = args
        lanes = ir.Constant(_VI32, list(range(LANES)))
        found = _variable(builder, _I64(0))
        wants = _splat(builder, wanted)
        margin = builder.fmul(builder.fadd(wanted, base), ir.Constant(_F64, 1e-13))
        low, high = _splat(builder, builder.fsub(wanted, margin)), _splat(builder, builder.fadd(wanted, margin))
        groups = builder.lshr(builder.add(count, _I64(LANES - 1)), _I64(4))
        with cgutils.for_range(builder, groups) as group:
            mine = _load(builder, values, group.index, _V32, 64)
            first = builder.shl(group.index, _I64(4))
            at = builder.add(lanes, _splat(builder, builder.trunc(first, _I32)))
            wide = builder.fpext(mine, _V64)
            bias_first = builder.fcmp_ordered(">", _splat(builder, bias), wide)
            own = builder.select(bias_first, _splat(builder, bias), _constant(_V64, 0.0))
            before = _variable(builder, builder.fadd(own, _splat(builder, base)))
            with cgutils.for_range(builder, count) as loop:
                other = _load(builder, values, loop.index, _F32, 4)
                others = _splat(builder, other)
                earlier = builder.icmp_signed(">", at, _splat(builder, builder.trunc(loop.index, _I32)))
                ahead = builder.or_(
                    builder.fcmp_ordered(">", others, mine),
                    builder.and_(builder.fcmp_ordered("==", others, mine), earlier),
                )
                old = builder.load(before)
                grown = builder.fadd(old, _splat(builder, builder.fpext(other, _F64)))
                builder.store(builder.select(ahead, grown, old), before)
            sums = builder.load(before)
            real = builder.icmp_signed("<", at, _splat(builder, builder.trunc(count, _I32)))
            chosen = builder.and_(builder.fcmp_ordered("<", sums, wants), real)
            unsure = builder.and_(
                builder.and_(builder.fcmp_ordered(">", sums, low), builder.fcmp_ordered("<", sums, high)), real
            )
            bits = builder.shl(builder.zext(builder.bitcast(chosen, _I16), _I64), first)
            doubt = builder.icmp_unsigned("!=", builder.bitcast(unsure, _I16), _I16(0))
            flag = builder.select(doubt, _I64(1 << 62), _I64(0))
            builder.store(builder.or_(builder.load(found), builder.or_(bits, flag)), found)
        return builder.load(found)

    return signature, generate


@intrinsic
def trailing_zeros(typingctx, word):
    """Index of the lowest set bit of a non-zero 64-bit word."""
    signature = types.int64(types.int64)

    def generate(context, builder, signature, args):
        return builder.cttz(args[0], _I1(1))

    return signature, generate


@intrinsic
def float_bits(typingctx, value):
    """Bits of a float32 as an integer."""
    signature = types.int64(types.float32)

    def generate(context, builder, signature, args):
        return builder.zext(builder.bitcast(args[0], _I32), _I64)

    return signature, generate


@intrinsic
def prefetch(typingctx, address):
    """Ask for the cache line of an address that is read soon."""
    signature = types.void(types.int64)

    def generate(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, _I32(0), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def or_byte(typingctx, address, bits):
    """Set bits of a byte; threads that share it lose none."""
    signature = types.void(types.int64, types.int64)

    def generate(context, builder, signature, args):
        byte = ir.IntType(8)
        pointer = builder.inttoptr(args[0], byte.as_pointer())
        builder.atomic_rmw("or", pointer, builder.trunc(args[1], byte), "monotonic")
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def bits_float(typingctx, bits):
    """Float32 of an integer's low 32 bits."""
    signature = types.float32(types.int64)

    def generate(context, builder, signature, args):
        return builder.bitcast(builder.trunc(args[0], _I32), _F32)

    return signature, generate


def _reader(name: str, result: Any, kind: Any, bytes_each: int) -> Any:
    def read(typingctx, base, index):
        def generate(context, builder, signature, args):
            loaded = _load(builder, args[0], args[1], kind, bytes_each)
            loaded.align = 1
            return builder.sext(loaded, _I64) if isinstance(kind, ir.IntType) and kind.width < 64 else loaded

        return result(types.int64, types.int64), generate

    read.__name__ = name
    read.__doc__ = f"Element ``index`` of the {bytes_each}-byte elements behind an address."
    return intrinsic(read)


def _writer(name: str, source: Any, kind: Any, bytes_each: int) -> Any:
    def write(typingctx, base, index, value):
        def generate(context, builder, signature, args):
            value = args[2]
            if isinstance(kind, ir.IntType) and kind.width < 64:
                value = builder.trunc(value, kind)
            stored = builder.store(value, _at(builder, args[0], args[1], kind, bytes_each))
            stored.align = 1
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, source), generate

    write.__name__ = name
    write.__doc__ = f"Set element ``index`` of the {bytes_each}-byte elements behind an address."
    return intrinsic(write)


byte_at = _reader("byte_at", types.int64, ir.IntType(8), 1)
half_at = _reader("half_at", types.int64, _I16, 2)
float_at = _reader("float_at", types.float32, _F32, 4)
word_at = _reader("word_at", types.int64, _I64, 8)
int_at = _reader("int_at", types.int64, _I32, 4)
put_float = _writer("put_float", types.float32, _F32, 4)
put_int = _writer("put_int", types.int64, _I32, 4)
put_byte = _writer("put_byte", types.int64, ir.IntType(8), 1)
put_word = _writer("put_word", types.int64, _I64, 8)
