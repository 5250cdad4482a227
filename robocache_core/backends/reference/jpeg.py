# SPDX-License-Identifier: Apache-2.0
"""The codes of a JPEG's scan, read one by one; see ``csrc/jpeg.hpp``."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from robocache_core.jpeg import ScanPlan

_RESTART = re.compile(rb'\xff+([\xd0-\xd7])')
_END_OF_CODES = re.compile(rb'\xff(?!\x00)')  # of a part: fill bytes of a marker that does not come
_NO_CODE, _LONG_BLOCK, _LARGE_VALUE, _ENDS_EARLY, _LEFT_OVER, _NO_RESTART = range(1, 7)
_LARGEST = 1280  # what a DCT of 8-bit pixels gives, 1024, and what encoders that overshoot white add


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
    parts = _RESTART.split(data[plan.begin : plan.end].tobytes())
    left = plan.num_mcus
    interval = plan.restart or left
    for number in range(-(-left // interval) if left else 0):
        if number and (len(parts) <= 2 * number or parts[2 * number - 1][0] != 0xD0 + (number - 1) % 8):
            return _NO_RESTART
        damage = _damage_in_part(plan, parts[2 * number], min(interval, left))
        if damage:
            return damage
        left -= interval
    return _LEFT_OVER if len(parts) > 2 * max(1, -(-plan.num_mcus // interval)) else 0


def _damage_in_part(plan: ScanPlan, part: bytes, num_mcus: int) -> int:
    end = _END_OF_CODES.search(part)
    bits = _Bits(part if end is None else part[: end.start()])
    previous = [0] * 4
    for _ in range(num_mcus):
        for component, *tables, quantum in plan.blocks.tolist():
            damage = _read_block(bits, previous, component, plan.codes[tables], plan.quanta[quantum].tolist())
            if damage:
                return damage
    padding = bits.remain % 8
    if bits.peek(padding) not in (0, (1 << padding) - 1):
        return _LEFT_OVER
    rest = bits.data[(bits.at + padding) // 8 : bits.size // 8]
    behind = b'' if end is None else part[end.start() :]
    return _LEFT_OVER if (rest + behind).strip(b'\x00\xff') else 0


def _read_block(
    bits: _Bits, previous: list[int], component: int, codes: npt.NDArray[np.uint16], quanta: list[int]
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
        k += 1
    return 0
