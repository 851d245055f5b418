"""Intrinsics that read, write and copy behind addresses: against NumPy, at every length and alignment."""

from __future__ import annotations

import numpy as np
import pytest

from effpath.kernels import memory
from effpath.kernels.compiling import compiled_with

compiled = compiled_with()
LENGTHS = [0, 1, 2, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100]
NUMBERS = np.random.default_rng(0).integers(-(1 << 63), 1 << 63, 4, dtype=np.int64)
FLOATS = np.array([0.0, -0.0, 1.5, -3e38, 1e-45, np.inf, -np.inf, np.nan], np.float32)


@compiled
def read(data, shift, i):
    base = memory.address(data) + shift
    return (
        memory.byte_at(base, i),
        memory.half_at(base, i),
        memory.int_at(base, i),
        memory.word_at(base, i),
        memory.float_at(base, i),
    )


@compiled
def write(data, shift, i, number, value):
    base = memory.address(data[0]) + shift
    memory.put_byte(base, i, number)
    memory.put_int(memory.address(data[1]) + shift, i, number)
    memory.put_word(memory.address(data[2]) + shift, i, number)
    memory.put_float(memory.address(data[3]) + shift, i, value)


@compiled
def copy(floats, ints, at, count, to_floats, to_ints, to_halves):
    source, target = 4 * at, memory.address(to_ints)
    memory.copy_floats(memory.address(floats) + source, memory.address(to_floats) + 4, count)
    memory.copy_ints(memory.address(ints) + source, target + 4, count)
    memory.copy_halves(memory.address(ints) + source, memory.address(to_halves) + 2, count)


@compiled
def bits_of(value, word, number):
    return memory.float_bits(value), memory.trailing_zeros(word), memory.bits_float(number)


@compiled
def set_bits(data, at, bits):
    memory.or_byte(memory.address(data) + at, bits)
    memory.prefetch(memory.address(data) + at)


@compiled
def held(count):
    array = np.full(count, np.float32(2))
    base = memory.address(array)
    other = np.full(count, np.float32(3))  # takes the memory of what was freed
    found = other[0]
    for i in range(count):
        found += memory.float_at(base, i)
    memory.hold((array, other))
    return found


@pytest.mark.parametrize("shift", range(9))
def test_elements_are_read_at_any_alignment_and_keep_their_sign(shift: int) -> None:
    data = np.random.default_rng(shift).integers(0, 256, 64, dtype=np.uint8)
    data[-8:] = 0xFF
    for i in range(6):
        kinds = [np.int8, np.int16, np.int32, np.int64, np.float32]
        wanted = [data[shift:].tobytes()[i * np.dtype(kind).itemsize :] for kind in kinds]
        for found, rest, kind in zip(read(data, shift, i), wanted, kinds, strict=True):
            np.testing.assert_array_equal(kind(found), np.frombuffer(rest, kind, 1)[0])


@pytest.mark.parametrize("shift", range(9))
@pytest.mark.parametrize("number", [0, -1, 1 << 40, *NUMBERS.tolist()])
def test_elements_are_written_at_any_alignment_and_nothing_beside_them(shift: int, number: int) -> None:
    for i, value in enumerate(FLOATS):
        data = np.full((4, 96), 0x5A, np.uint8)
        write(data, shift, i, number, value)
        byte, word = (np.array([number], np.int64).astype(kind) for kind in (np.int8, np.int32))
        written = [byte, word, np.array([number], np.int64), np.array([value], np.float32)]
        for row, element in zip(data, written, strict=True):
            wanted = np.full(96, 0x5A, np.uint8)
            wanted[shift + i * element.itemsize :][: element.itemsize] = element.view(np.uint8)
            assert row.tolist() == wanted.tolist()


@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize("count", LENGTHS)
def test_copies_are_exact_and_write_at_most_fifteen_elements_behind_their_last(count: int, at: int) -> None:
    floats = np.resize(FLOATS, 160)
    ints = np.random.default_rng(count).integers(0, 1 << 16, 160, dtype=np.int32)
    copies = np.full(160, 7, np.float32), np.full(160, 7, np.int32), np.full(160, 7, np.uint16)
    copy(floats, ints, at, count, *copies)
    for target, source, behind in zip(copies, (floats, ints, ints), (0, 15, 15), strict=True):
        np.testing.assert_array_equal(target[1 : 1 + count], source[at : at + count].astype(target.dtype))
        assert target[0] == 7
        assert (target[1 + count + behind :] == 7).all()
    np.testing.assert_array_equal(np.signbit(copies[0][1 : 1 + count]), np.signbit(floats[at : at + count]))


@pytest.mark.parametrize("position", range(64))
def test_the_lowest_set_bit_is_found(position: int) -> None:
    for rest in (0, 1 << 63, -1):
        word = (((rest << position) | (1 << position)) & ((1 << 64) - 1)) ^ (1 << 63)
        word -= 1 << 63  # as int64
        if word:
            assert bits_of(np.float32(0), word, 0)[1] == (word & -word).bit_length() - 1


@pytest.mark.parametrize("value", FLOATS)
def test_a_float_is_its_bits_and_back(value: np.float32) -> None:
    bits = int(np.array([value]).view(np.uint32)[0])
    found, _, back = bits_of(value, 1, bits)
    assert found == bits
    assert np.array([back], np.float32).view(np.uint32)[0] == bits


def test_bits_of_a_byte_are_added_to_those_that_it_has() -> None:
    data = np.zeros(5, np.uint8)
    for at, bits in ((1, 1), (1, 128), (3, 255), (3, 1), (4, 0)):
        set_bits(data, at, bits)
    assert data.tolist() == [0, 129, 0, 255, 0]


@pytest.mark.parametrize("count", [1, 100, 10_000])
def test_an_array_lives_until_it_is_held_whoever_has_its_address(count: int) -> None:
    assert held(count) == 3 + 2 * count
