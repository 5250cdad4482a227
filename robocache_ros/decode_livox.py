# SPDX-License-Identifier: Apache-2.0
"""Decode the CustomMsg of Livox's drivers: points with the time of each."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch

from robocache_core.config import LidarConfig
from robocache_core.deskew_config import DeskewConfig
from robocache_core.ledger import Reason
from robocache_core.samples import CloudLayout, DataError, LidarScan, PointField
from robocache_core.text import shown
from robocache_core.time_field import MOST_OUTSIDE, SLACK_NS
from robocache_core.tunable import ConfigError
from robocache_core.units import SECOND
from robocache_ros.decode import check_channels, stamp_ns
from robocache_ros.message_types import array_of, nested_type

#: What is read of a point, and of a message beside its header.
_MEMBERS = {
    'offset_time': 'uint32', 'x': 'float', 'y': 'float', 'z': 'float',
    'reflectivity': 'uint8', 'tag': 'uint8', 'line': 'uint8',
}  # fmt: skip
_OF_MESSAGE = {'header': 'std_msgs/Header', 'timebase': 'uint64', 'point_num': 'uint32'}
#: A point, as streams have it.
_POINT = np.dtype(
    [(axis, np.float32) for axis in 'xyz']
    + [('t_ns', np.int32), ('intensity', np.uint8), ('tag', np.uint8), ('line', np.uint8), ('', np.uint8)]
)
_FIELDS = tuple(
    PointField(name, offset, kind.name) for name, (kind, offset, *_) in (_POINT.fields or {}).items() if name != 'f7'
)
#: By how much the base of the times and the header's stamp may be apart where they are of one clock.
_ONE_CLOCK_NS = SECOND


def check_livox(message: Any) -> None:
    """Refuse a class, or ``Definition``, of a CustomMsg that lacks what is read of it.

    Raises:
        ConfigError: it does.
    """
    members = message.get_fields_and_field_types()
    array = array_of(members.get('points', ''))
    point = {} if array is None else nested_type(message, array[0]).get_fields_and_field_types()
    for where, needed, found in (('', _OF_MESSAGE, members), ('points[].', _MEMBERS, point)):
        for name, kind in needed.items():
            if found.get(name) != kind:
                raise ConfigError(
                    f"{message.__name__}: is not that of Livox's drivers: {where}{name} must be {kind}, is "
                    f'{shown(found.get(name))}'
                )


def decode_livox(msg: Any, config: LidarConfig) -> LidarScan:
    """Decode a CustomMsg, in one copy of its points.

    Fields: ``x y z`` float32, m; ``t_ns`` int32, the time of the point since the stamp, ns; ``intensity`` (the
    reflectivity), ``tag`` and ``line`` uint8. Times count from ``timebase`` where that is within a second of the stamp,
    else, being of another clock, from the stamp (or to it, with ``deskew.time_reference`` ``end``). Where the scan is
    deskewed, points whose time is not within it have x NaN, and are dropped ``non_finite``.

    Raises:
        DataError: as ``stamp_ns``; ``empty_cloud``, ``bad_layout`` (``point_num`` is not the number of points),
            ``missing_field`` (a channel of the stream needs one that there is not), ``unknown_time_field`` (the scan is
            deskewed, and more than one point in a hundred has no time within it).
    """
    stamp, num = stamp_ns(msg.header, config), len(msg.points)
    if msg.point_num != num:
        raise DataError(Reason.BAD_LAYOUT, f'point_num is {msg.point_num}, and the message has {num} points')
    if not num:
        raise DataError(Reason.EMPTY_CLOUD, 'the message has no points')
    points = np.zeros(num, _POINT)
    for name in (*'xyz', 'tag', 'line'):
        points[name] = msg.points[name]
    points['intensity'] = msg.points['reflectivity']
    times = _times_ns(msg, stamp, config.deskew)
    if config.deskew.is_on:
        points['x'][_outside(times, config.deskew)] = np.nan
    points['t_ns'] = np.clip(times, -(1 << 31), (1 << 31) - 1)
    step = _POINT.itemsize
    layout = CloudLayout(_FIELDS, num, 1, step, step * num, is_bigendian=sys.byteorder == 'big')
    check_channels(layout, config)
    data = torch.from_numpy(points.view(np.uint8).reshape(-1))
    return LidarScan(stamp, msg.header.frame_id, data, layout, times_ns_in='t_ns')


def _times_ns(msg: Any, stamp: int, deskew: DeskewConfig) -> np.ndarray:
    """Times ``[num]`` of the points since the stamp."""
    times: np.ndarray = msg.points['offset_time'].astype(np.int64)
    if abs(int(msg.timebase) - stamp) <= _ONE_CLOCK_NS:
        times += int(msg.timebase) - stamp
    elif deskew.time_reference == 'end':
        times -= times.max()
    return times


def _outside(times: np.ndarray, deskew: DeskewConfig) -> np.ndarray:
    """Which points have no time within the scan."""
    begin = -deskew.scan_duration_ns if deskew.time_reference == 'end' else 0
    outside: np.ndarray = (times < begin - SLACK_NS) | (times > begin + deskew.scan_duration_ns + SLACK_NS)
    if outside.sum() > MOST_OUTSIDE * times.size:
        raise DataError(
            Reason.UNKNOWN_TIME_FIELD,
            f'the points are {times.min() / SECOND:.6g} to {times.max() / SECOND:.6g} s from the stamp, must be from '
            f'{begin / SECOND:g} to {(begin + deskew.scan_duration_ns) / SECOND:g} s: set deskew.scan_duration to the '
            'time that a message takes, and time_reference to end where its stamp is that of its last point',
        )
    return outside
