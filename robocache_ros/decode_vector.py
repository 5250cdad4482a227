# SPDX-License-Identifier: Apache-2.0
"""Decode messages of any type to the numbers that a vector stream reads of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch

from robocache_core.config import MessageVectorConfig
from robocache_core.field_paths import FieldPath
from robocache_core.ledger import Reason
from robocache_core.samples import DataError, VectorSample
from robocache_core.streams.message_vector import JOINT_STATE, ODOMETRY, RANGE
from robocache_core.text import shown
from robocache_ros.decode import MAX_NAME, stamp_ns, unit_quaternion

_NAV_SAT_FIX, _NO_FIX = 'sensor_msgs/msg/NavSatFix', -1


def decode_vector(msg: Any, config: MessageVectorConfig) -> VectorSample:
    """Decode the numbers of a row; quaternions among them are brought to length 1.

    Of a stream that is stamped by arrival no header is read: the stamp is 0 until it is set by who knows when that was.

    Raises:
        DataError: as ``stamp_ns``, of ``child_frame_id`` too; ``wrong_size`` (an array lacks an element, or is not of
            the size that the stream states), ``wrong_joints``, ``no_fix``, ``out_of_range``, ``no_orientation`` (a
            quaternion of length 0), ``non_finite``.
    """
    stamp, frame_id = (0, '') if config.stamped_by_arrival else (stamp_ns(msg.header, config), msg.header.frame_id)
    child_frame_id = msg.child_frame_id if config.message == ODOMETRY else ''
    if len(child_frame_id) > MAX_NAME:
        raise DataError(
            Reason.BAD_FRAME_ID, f'child_frame_id {shown(child_frame_id)}: must have at most {MAX_NAME} characters'
        )
    if config.message == _NAV_SAT_FIX and msg.status.status == _NO_FIX:
        raise DataError(Reason.NO_FIX, 'status.status is -1: the receiver has no fix')
    if config.message == RANGE:
        _check_range(msg)
    values = _joint_values(msg, config) if config.message == JOINT_STATE else _values(msg, config)
    for part in config.quaternions:
        values[part] = unit_quaternion(tuple(values[part]), ', '.join(config.columns[part]))
    tensor = torch.tensor(values, dtype=config.values_dtype)
    greatest = torch.finfo(tensor.dtype).max / 2  # the difference of two is finite
    if not bool((tensor.abs() <= greatest).all()):  # no comparison with NaN holds
        wrong = [f'{c} is {v}' for c, v in zip(config.columns, values, strict=True) if not abs(v) <= greatest]
        raise DataError(Reason.NON_FINITE, f'{", ".join(wrong)}: must be finite, and at most {greatest:.3g}')
    return VectorSample(stamp, frame_id, tensor, child_frame_id)


def _check_range(msg: Any) -> None:
    """Check that a Range has a distance. By REP 117 infinity says that there is none; NaN is no reading at all."""
    is_within = math.isfinite(msg.range) and msg.min_range <= msg.range <= msg.max_range
    if not is_within and not math.isnan(msg.range):
        raise DataError(
            Reason.OUT_OF_RANGE,
            f'range is {msg.range:.4g}: must be in min_range to max_range, {msg.min_range:.4g} to {msg.max_range:.4g}',
        )


def _joint_values(msg: Any, config: MessageVectorConfig) -> list[float]:
    """The numbers of the joints of ``config`` in its order, array by array, wherever they are in the message."""
    names = list(msg.name)
    at = {name: i for i, name in enumerate(names)}
    faults = {
        'lacks': [joint for joint in config.joints if joint not in at],
        'has twice': [name for name, count in Counter(names).items() if count > 1],
        'also has': at.keys() - set(config.joints) if config.other_joints == 'refuse' else [],
    }
    for fault, joints in faults.items():
        if joints:
            raise DataError(
                Reason.WRONG_JOINTS,
                f'the message {fault} {shown(sorted(joints))}: correct {config.name}.joints'
                + (f', or set {config.name}.other_joints to ignore' if fault == 'also has' else ''),
            )
    values: list[float] = []
    for path in config.paths:
        array = getattr(msg, path.text)
        if len(array) != len(names):
            raise DataError(
                Reason.WRONG_SIZE,
                f'{path.text} has {len(array)} elements for {len(names)} joints; where the sender gives none, leave '
                f'{path.text} out of {config.name}.fields',
            )
        values += (float(array[at[joint]]) for joint in config.joints)
    return values


def _values(msg: Any, config: MessageVectorConfig) -> list[float]:
    return [float(value) for path in config.paths for value in _read(msg, path, config.name)]


def _read(msg: Any, path: FieldPath, stream: str) -> Iterable[float]:
    value = msg
    try:
        for step in path.steps:
            value = value[step] if isinstance(step, int) else getattr(value, step)
    except IndexError as error:
        raise _wrong_size(path, len(value), stream) from error
    if path.size is None:
        return (value,)
    if len(value) != path.size:
        raise _wrong_size(path, len(value), stream)
    return value  # type: ignore[no-any-return]


def _wrong_size(path: FieldPath, found: int, stream: str) -> DataError:
    return DataError(Reason.WRONG_SIZE, f'{path.text}: the array has {found} elements; correct {stream}.fields')
