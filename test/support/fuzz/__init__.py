# SPDX-License-Identifier: Apache-2.0
"""Messages made from a serial number: whole ones of every form, most with something done to them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from rclpy.serialization import serialize_message
from support.fuzz import images, lidars, numbers, readings
from support.fuzz.changes import HEADER, Changes

#: Messages of each kind that a test takes; `make fuzz` sets it.
COUNT = int(os.environ.get('ROBOCACHE_FUZZ', '300'))


class Kind(NamedTuple):
    """A message type: how a whole message is made, what can be done to one, and whether its header counts."""

    whole: Callable[[Random, int], Any]
    changes: Changes
    has_header: bool = True


#: By message type.
KINDS = {
    'PointCloud2': Kind(lidars.cloud, lidars.CLOUD),
    'LaserScan': Kind(lidars.scan, lidars.SCAN),
    'Image': Kind(images.image, images.IMAGE),
    'CompressedImage': Kind(images.compressed, images.COMPRESSED),
    'CameraInfo': Kind(images.info, images.INFO, False),
    'Imu': Kind(readings.imu, readings.IMU),
    'JointState': Kind(numbers.joints, numbers.JOINTS),
    'PoseStamped': Kind(numbers.pose, numbers.POSE),
    'NavSatFix': Kind(numbers.fix, numbers.FIX),
    'Joy': Kind(numbers.joy, numbers.JOY),
    'Range': Kind(numbers.distance, numbers.RANGE),
    'TFMessage': Kind(readings.transforms, readings.TRANSFORMS, False),
}


@dataclass(frozen=True)
class Fuzzed:
    """A message, what was done to it, and the reasons for which it may be dropped; one that is whole is used."""

    name: str
    message: Any
    done: tuple[str, ...]
    reasons: frozenset[str]


def fuzzed(name: str, serial: int) -> Fuzzed:
    """Message number ``serial`` of type ``name``: the same on every machine."""
    kind, rng = KINDS[name], Random(f'{name} {serial}')
    message = kind.whole(rng, serial)
    changes = rng.sample(kind.changes, min(rng.choice((0, 1, 1, 2, 3)), len(kind.changes)))
    if kind.has_header and rng.random() < 0.2:
        changes.append(rng.choice(HEADER))
    for change in changes:
        change.apply(rng, message)
    reasons = frozenset().union(*(change.reasons for change in changes))
    return Fuzzed(f'{name} {serial}', message, tuple(change.name for change in changes), reasons)


def on_the_wire(message: Any) -> bytes | None:
    """A message as it is sent; None where no sender can write it."""
    try:
        return serialize_message(message)
    except UnicodeEncodeError:  # a lone surrogate
        return None
