# SPDX-License-Identifier: Apache-2.0
"""Clocks of sensors that are wrong: stamps with an offset and a drift, while records are by the recorder's clock."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from robocache_core.units import SECOND
from robocache_ros.tools.recording import Recorded


@dataclass(frozen=True)
class SensorClock:
    """What a clock shows: it is ahead by ``offset_ns`` at the start, and gains ``ppm`` millionths from there on."""

    offset_ns: int = 0
    ppm: float = 0.0

    def shown_ns(self, true_ns: int, start_ns: int) -> int:
        """Return what it shows at ``true_ns``."""
        return true_ns + self.offset_ns + round((true_ns - start_ns) * self.ppm * 1e-6)


def with_clocks(messages: Iterable[Recorded], clocks: Mapping[str, SensorClock], start_ns: int) -> Iterator[Recorded]:
    """Yield messages, those of the sensors of ``clocks``, which are in a frame of that name, stamped by these."""
    for each in messages:
        header = getattr(each.message, 'header', None)
        clock = None if header is None else clocks.get(header.frame_id)
        yield each if clock is None else each._replace(message=_stamped(each.message, clock, start_ns))


def _stamped(message: Any, clock: SensorClock, start_ns: int) -> Any:
    stamp = message.header.stamp
    seconds, nanoseconds = divmod(clock.shown_ns(stamp.sec * SECOND + stamp.nanosec, start_ns), SECOND)
    stamp = dataclasses.replace(stamp, sec=seconds, nanosec=nanoseconds)
    return dataclasses.replace(message, header=dataclasses.replace(message.header, stamp=stamp))


def numbers_by_name(text: str) -> dict[str, float]:
    """Convert ``lidar=37,imu=-0.2``, an argument."""
    found = {}
    for part in text.split(','):
        name, separator, number = part.partition('=')
        try:
            found[name] = float(number)
        except ValueError:
            separator = ''
        if not separator or not abs(found[name]) <= 1e9:
            raise argparse.ArgumentTypeError(f'{part}: must be as lidar=37, a sensor and a number up to 1e9')
    return found


def clocks_of(
    sensors: Collection[str], offsets_s: Mapping[str, float], drifts_ppm: Mapping[str, float]
) -> dict[str, SensorClock]:
    """Return the clocks of ``sensors`` that are wrong.

    Raises:
        ValueError: one that is named is none of them.
    """
    names = sorted(offsets_s.keys() | drifts_ppm.keys())
    unknown = [name for name in names if name not in sensors]
    if unknown:
        raise ValueError(f'{", ".join(unknown)}: is no sensor of this robot, which has {", ".join(sorted(sensors))}')
    return {name: SensorClock(round(offsets_s.get(name, 0.0) * SECOND), drifts_ppm.get(name, 0.0)) for name in names}
