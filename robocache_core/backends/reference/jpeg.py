# SPDX-License-Identifier: Apache-2.0
"""The codes of a JPEG's scan, read one by one, and the planes that they give; see ``csrc/jpeg.hpp``."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from robocache_core.backends.reference.arrays import Array
from robocache_core.jpeg import ScanPlan
from robocache_core.jpeg_planes import PlanesPlan

_RESTART = re.compile(rb'\xff+([\xd0-\xd7])')
_END_OF_CODES = re.compile(rb'\xff(?!\x00)')  # of a part: fill bytes of a marker that does not come
_NO_CODE, _LONG_BLOCK, _LARGE_VALUE, _ENDS_EARLY, _LEFT_OVER, _NO_RESTART = range(1, 7)
_LARGEST = 1280  # what a DCT of 8-bit pixels gives, 1024, and what encoders that overshoot white add
_MOST_BETWEEN = 16383  # columns and rows of the transform: sums of two then have 16 bits
#: Places of coefficients, by rows, in the order in which they are coded: along the diagonals, in turn up and down.
_ZIGZAG = [
    8 * y + x
    for y, x in sorted(np.ndindex(8, 8), key=lambda place: (sum(place), place[0] if sum(place) % 2 else -place[0]))
]


class _Bits:
    """Bits of the data between two restart markers; beyond the end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self.data = data.replace(b'\xff\x00', b'\xff') + bytes(8)
        self.size = 8 * (len(self.data) - 8)
        self.at = 0

    def peek(self, count: int) -> int:
        begin = self.at >> 3
        window = int.from_bytes(self.data[begin : begin + 5], 'big')
        return window >> (40 - (self.at & 7) - count) & ((1 << count) - 1)

    @property
    def remain(self) -> int:
        return self.size - self.at


def jpeg_damage(plan: ScanPlan, data: npt.NDArray[np.uint8]) -> int:
    """Return the number in ``jpeg.DAMAGES`` of the first damage in a scan of ``data [nbytes] uint8``; 0: none."""
    return _read(plan, data, lambda block: None)


def jpeg_planes(plan: PlanesPlan, data: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8]) -> bool:
    """Write the planes of a JPEG ``data [nbytes] uint8`` to ``out [plan.nbytes]``, one behind the other.

    Return whether they are there: False where it is damaged, or where decoders may differ.
    """
    read: list[list[int]] = []
    if _read(plan.scan, data, read.append):
        return False
    across, down = plan.blocks
    mcus_across, mcus_down = plan.mcus
    blocks = np.array(read, np.int32).reshape(mcus_down, mcus_across, -1, 64)
    begin = 0
    for component, first in enumerate((0, *range(across * down, blocks.shape[2]))):
        down, across = (down, across) if component == 0 else (1, 1)
        of_component = blocks[:, :, first : first + down * across] * plan.scan.quanta[plan.scan.blocks[first, 3]]
        size = plan.sizes[min(component, 1)]
        pixels = _inverse_dct(of_component, size)
        if pixels is None:
            return False
        rows, step = plan.plane(component)
        plane = out[begin : begin + rows * step].reshape(rows, step)
        height, width = mcus_down * down * size, mcus_across * across * size
        in_blocks = pixels.reshape(mcus_down, mcus_across, down, across, size, size)
        plane[:height, :width] = in_blocks.transpose(0, 2, 4, 1, 3, 5).reshape(height, width)
        begin += plane.size
    return True


def _inverse_dct(coefficients: Array, size: int) -> Array | None:
    """Pixels ``[..., size, size] uint8`` of blocks ``[..., 64]`` in zigzag order; None where decoders may differ."""
    by_rows = np.empty_like(coefficients)
    by_rows[..., _ZIGZAG] = coefficients
    blocks = by_rows.reshape(*coefficients.shape[:-1], 8, 8)
    if size == 1:
        between, pixels = np.zeros(1), blocks[..., :1, :1] + 4 >> 3
    else:
        halves, shift = _HALVES[size]
        between = _transform(blocks.swapaxes(-1, -2), halves, shift).swapaxes(-1, -2)
        pixels = _transform(between, halves, shift + 7)
    if np.abs(between).max() > _MOST_BETWEEN or pixels.min() < -512 or pixels.max() > 511:
        return None
    result: Array = np.clip(pixels + 128, 0, 255).astype(np.uint8)
    return result


def _transform(values: Array, halves: Callable[[Array], tuple[Array, Array]], shift: int) -> Array:
    """Of the last axis, of eight; see ``csrc/jpeg_transform.cpp``."""
    even, odd = halves(np.moveaxis(values, -1, 0))
    found = np.concatenate((even + odd, (even - odd)[::-1])) + (1 << (shift - 1)) >> shift
    return np.moveaxis(found, 0, -1)


def _halves_8(v: Array) -> tuple[Array, Array]:
    shared = (v[2] + v[6]) * 4433
    low, high = shared - v[6] * 15137, shared + v[2] * 6270
    total, difference = (v[0] + v[4]) * (1 << 13), (v[0] - v[4]) * (1 << 13)
    even = np.stack((total + high, difference + low, difference - low, total - high))
    ends, middles = (v[7] + v[1]) * -7373, (v[5] + v[3]) * -20995
    crossed = (v[7] + v[3] + v[5] + v[1]) * 9633
    third, fourth = (v[7] + v[3]) * -16069 + crossed, (v[5] + v[1]) * -3196 + crossed
    odd = np.stack(
        (
            v[1] * 12299 + ends + fourth,
            v[3] * 25172 + middles + third,
            v[5] * 16819 + middles + fourth,
            v[7] * 2446 + ends + third,
        )
    )
    return even, odd


def _halves_4(v: Array) -> tuple[Array, Array]:
    first, even = v[0] * (1 << 14), v[2] * 15137 - v[6] * 6270
    odd = np.stack(
        (
            v[1] * 20995 + v[3] * 7373 - v[5] * 4926 - v[7] * 4176,
            v[1] * 8697 - v[3] * 17799 + v[5] * 11893 - v[7] * 1730,
        )
    )
    return np.stack((first + even, first - even)), odd


def _halves_2(v: Array) -> tuple[Array, Array]:
    return v[:1] * (1 << 15), (v[1] * 29692 - v[3] * 10426 + v[5] * 6967 - v[7] * 5906)[np.newaxis]


#: By the pixels that a block becomes along an axis: its sums, and by what those of columns are shifted.
_HALVES = {8: (_halves_8, 11), 4: (_halves_4, 12), 2: (_halves_2, 13)}


def _read(plan: ScanPlan, data: npt.NDArray[np.uint8], take: Callable[[list[int]], None]) -> int:
    """Return the first damage; ``take`` is called with the 64 values of every block before it."""
    parts = _RESTART.split(data[plan.begin : plan.end].tobytes())
    left = plan.num_mcus
    interval = plan.restart or left
    for number in range(-(-left // interval) if left else 0):
        if number and (len(parts) <= 2 * number or parts[2 * number - 1][0] != 0xD0 + (number - 1) % 8):
            return _NO_RESTART
        damage = _damage_in_part(plan, parts[2 * number], min(interval, left), take)
        if damage:
            return damage
        left -= interval
    return _LEFT_OVER if len(parts) > 2 * max(1, -(-plan.num_mcus // interval)) else 0


def _damage_in_part(plan: ScanPlan, part: bytes, num_mcus: int, take: Callable[[list[int]], None]) -> int:
    end = _END_OF_CODES.search(part)
    bits = _Bits(part if end is None else part[: end.start()])
    previous = [0] * 4
    for _ in range(num_mcus):
        for component, *tables, quantum in plan.blocks.tolist():
            block = [0] * 64
            damage = _read_block(bits, previous, component, plan.codes[tables], plan.quanta[quantum].tolist(), block)
            if damage:
                return damage
            take(block)
    padding = bits.remain % 8
    if bits.peek(padding) not in (0, (1 << padding) - 1):
        return _LEFT_OVER
    rest = bits.data[(bits.at + padding) // 8 : bits.size // 8]
    behind = b'' if end is None else part[end.start() :]
    return _LEFT_OVER if (rest + behind).strip(b'\x00\xff') else 0


def _read_block(
    bits: _Bits,
    previous: list[int],
    component: int,
    codes: npt.NDArray[np.uint16],
    quanta: list[int],
    block: list[int],
) -> int:
    k = 0
    while k < 64:
        found = int(codes[min(k, 1), bits.peek(16)])
        length, symbol = found >> 8, found & 0xFF
        run, size = (symbol >> 4, symbol & 15) if k else (0, symbol)
        if not length or size > 15:
            return _ENDS_EARLY if bits.remain < 16 else _NO_CODE
        bits.at += length
        value = bits.peek(size)
        bits.at += size
        if bits.remain < 0:
            return _ENDS_EARLY
        if size and value < 1 << (size - 1):
            value += 1 - (1 << size)
        if k == 0:
            previous[component] += value
            value = previous[component]
        elif size == 0 and run < 15:
            return 0
        k += run
        if k > 63:
            return _LONG_BLOCK
        if abs(value) * quanta[k] > _LARGEST + quanta[k]:
            return _LARGE_VALUE
        block[k] = value
        k += 1
    return 0
