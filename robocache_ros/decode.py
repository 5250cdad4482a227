# SPDX-License-Identifier: Apache-2.0
"""Decode PointCloud2, LaserScan and Imu messages: every check that the bytes need, and views of them.

Each function raises ``DataError`` with the reason under which the drop is counted. Raw points are viewed, not copied: a
sample keeps its message's ``data`` alive.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Sequence

import numpy as np
import torch
from sensor_msgs.msg import Imu, LaserScan, MultiEchoLaserScan, PointCloud2
from sensor_msgs.msg import PointField as PointFieldMsg
from std_msgs.msg import Header

from robocache_core import rotation
from robocache_core.channels import parse_channel
from robocache_core.config import ImuConfig, LidarConfig, StreamConfig
from robocache_core.deskew_config import DeskewConfig
from robocache_core.ledger import Reason
from robocache_core.samples import (
    CloudLayout,
    DataError,
    LidarScan,
    PointField,
    VectorSample,
)
from robocache_core.text import shown
from robocache_core.units import SECOND
from robocache_ros.message_data import view_bytes

#: NumPy names of the datatypes of a sensor_msgs/PointField.
POINT_DTYPES = {
    PointFieldMsg.INT8: 'int8',
    PointFieldMsg.UINT8: 'uint8',
    PointFieldMsg.INT16: 'int16',
    PointFieldMsg.UINT16: 'uint16',
    PointFieldMsg.INT32: 'int32',
    PointFieldMsg.UINT32: 'uint32',
    PointFieldMsg.FLOAT32: 'float32',
    PointFieldMsg.FLOAT64: 'float64',
}

#: Most fields of a cloud, and most characters of a field's name or a frame's: they are kept, and compared.
MAX_FIELDS, MAX_NAME = 256, 256

#: Greatest number of a reading: twice as much, the difference of two, is finite in float32.
MAX_READING = float(np.finfo(np.float32).max) / 2

#: How far the length of a quaternion may be from 1 where it was rounded to float32.
ROUNDING = 1e-6


def stamp_ns(header: Header, config: StreamConfig) -> int:
    """Check a header and return its stamp, ns; of a stream that is stamped by arrival it may be any.

    Raises:
        DataError: ``bad_frame_id``: it is too long; ``zero_stamp``: the stamp was never set, or is before 1970;
            ``bad_stamp``: ``nanosec`` is no part of a second.
    """
    if len(header.frame_id) > MAX_NAME:
        raise DataError(
            Reason.BAD_FRAME_ID, f'header.frame_id {shown(header.frame_id)}: must have at most {MAX_NAME} characters'
        )
    stamp: int = header.stamp.sec * SECOND + header.stamp.nanosec
    if config.stamped_by_arrival:
        return stamp
    if header.stamp.nanosec >= SECOND:
        raise DataError(Reason.BAD_STAMP, f'header.stamp.nanosec is {header.stamp.nanosec}: must be below 10^9')
    if stamp <= 0:
        raise DataError(Reason.ZERO_STAMP, f'header.stamp is {stamp} ns: the sender did not set it')
    return stamp


def decode_cloud(msg: PointCloud2, config: LidarConfig) -> LidarScan:
    """Decode a cloud without reading its points: those that are not finite are found by the operation.

    Raises:
        DataError: as ``stamp_ns``; ``empty_cloud``, ``bad_layout``,
            ``field_beyond_point_step``, ``row_step_too_small``, ``data_too_short``, ``missing_field`` (x, y, z, or
            what a channel of the stream needs).
    """
    stamp = stamp_ns(msg.header, config)
    if len(msg.fields) > MAX_FIELDS:
        raise DataError(Reason.BAD_LAYOUT, f'the cloud has {len(msg.fields)} fields: must be at most {MAX_FIELDS}')
    layout = CloudLayout(
        tuple(_point_field(f) for f in msg.fields),
        width=msg.width,
        height=msg.height,
        point_step=msg.point_step,
        # In a cloud of one row nothing depends on it, and some drivers leave it at 0.
        row_step=msg.row_step or (msg.width * msg.point_step if msg.height == 1 else 0),
        is_bigendian=msg.is_bigendian,
    )
    if layout.num_points == 0:
        raise DataError(Reason.EMPTY_CLOUD, f'the cloud has no points (width {msg.width}, height {msg.height})')
    layout.validate(len(msg.data))
    for name in 'xyz':
        dtype = _field(layout, name, f'set {config.name}.topic to that of a cloud with x, y and z').dtype
        if dtype not in ('float32', 'float64'):
            raise DataError(Reason.BAD_LAYOUT, f"field '{name}' is {dtype}, not float32 or float64")
    check_channels(layout, config)
    return LidarScan(stamp, msg.header.frame_id, view_bytes(msg.data), layout)


def decode_laser_scan(msg: LaserScan, config: LidarConfig) -> LidarScan:
    """Decode a planar scan to the points of its returns, z = 0.

    Fields: ``x y z`` float32, m; ``t_ns`` int32, the time of the ray since the stamp, ns (which is that of the first
    ray, or of the last with ``deskew.time_reference`` ``end``); ``intensity`` float32, where
    the scan has intensities. A range that is not finite, or not in ``range_min..range_max``, is a missing return.

    Raises:
        DataError: as ``stamp_ns``; ``empty_cloud`` (no ranges), ``bad_layout`` (angles, times,
            limits or the number of intensities are impossible), ``missing_field`` (a channel of the stream needs one
            that the scan lacks), ``unknown_time_field`` (the scan is deskewed, and its ``time_increment`` is not set
            or does not fit the duration of a scan).
    """
    return _planar_scan(msg, np.asarray(msg.ranges, np.float32), np.asarray(msg.intensities, np.float32), config)


def decode_multi_echo(msg: MultiEchoLaserScan, config: LidarConfig) -> LidarScan:
    """Decode a planar scan of several echoes a ray to the points of one of them, as ``config.echo`` says.

    A ray without an echo is a missing return. All else is as of ``decode_laser_scan``.

    Raises:
        DataError: as ``decode_laser_scan``; ``missing_field``: the strongest echo of a scan without intensities;
            ``bad_layout``: an echo without an intensity, or the other way round.
    """
    ranges, intensities = ([each.echoes for each in rays] for rays in (msg.ranges, msg.intensities))
    if config.echo == 'strongest' and ranges and not intensities:
        raise DataError(
            Reason.MISSING_FIELD, f'the scan has no intensities, which show the strongest echo: set {config.name}.echo'
        )
    if intensities and list(map(len, ranges)) != list(map(len, intensities)):
        raise DataError(Reason.BAD_LAYOUT, 'the scan has not as many intensities as echoes, ray by ray')
    chosen = [_chosen_echo(config.echo, intensities[i] if intensities else each) for i, each in enumerate(ranges)]
    found = [
        np.array([each[at] if len(each) else np.nan for each, at in zip(rays, chosen, strict=True)], np.float32)
        for rays in (ranges, intensities or ranges)
    ]
    return _planar_scan(msg, found[0], found[1] if intensities else found[1][:0], config)


def _chosen_echo(echo: str, strengths: Sequence[float]) -> int:
    """Which echo of a ray counts; of those that are as strong the first."""
    if echo == 'strongest' and len(strengths):
        return int(np.argmax(strengths))
    return 0 if echo == 'first' else -1


def _planar_scan(
    msg: LaserScan | MultiEchoLaserScan, ranges: np.ndarray, intensities: np.ndarray, config: LidarConfig
) -> LidarScan:
    stamp = stamp_ns(msg.header, config)
    _check_laser_scan(msg, ranges.size, intensities.size)
    if config.deskew.is_on:
        _check_ray_times(msg, ranges.size, config.deskew)
    (returns,) = np.nonzero(np.isfinite(ranges) & (ranges >= msg.range_min) & (ranges <= msg.range_max))
    directions = _directions(msg.angle_min, msg.angle_increment, ranges.size)[returns]
    points = np.zeros(returns.size, _LASER_POINT)
    points['x'], points['y'] = (directions * ranges[returns, None].astype(np.float64)).T
    points['t_ns'] = np.rint(returns * (msg.time_increment * SECOND))
    if config.deskew.time_reference == 'end':
        points['t_ns'] -= np.int32(np.rint((ranges.size - 1) * (msg.time_increment * SECOND)))
    if intensities.size:
        points['intensity'] = intensities[returns]
    fields = tuple(
        PointField(name, 4 * i, _LASER_POINT[name].name)
        for i, name in enumerate(_LASER_POINT.names or ())
        if name != 'intensity' or intensities.size
    )
    step = _LASER_POINT.itemsize
    layout = CloudLayout(fields, points.size, 1, step, step * points.size, is_bigendian=sys.byteorder == 'big')
    check_channels(layout, config)
    data = torch.from_numpy(points.view(np.uint8).reshape(-1))
    return LidarScan(stamp, msg.header.frame_id, data, layout, times_ns_in='t_ns')


def decode_imu(msg: Imu, config: ImuConfig) -> VectorSample:
    """Decode the fields that the stream asks for, in its order; an orientation is brought to length 1.

    Raises:
        DataError: as ``stamp_ns``; ``non_finite``, ``no_orientation``, ``no_angular_velocity`` or
            ``no_linear_acceleration`` (a field whose covariance starts with -1: the sensor does not measure it; or a
            quaternion of length 0).
    """
    stamp = stamp_ns(msg.header, config)
    values: list[float] = []
    for name in config.fields:
        if getattr(msg, f'{name}_covariance')[0] == -1:
            raise DataError(
                Reason[f'NO_{name.upper()}'], f'{name}_covariance[0] is -1: the sensor does not give the {name}'
            )
        part = getattr(msg, name)
        if name == 'orientation':
            values += unit_quaternion((part.x, part.y, part.z, part.w), 'the orientation')
        else:
            values += (part.x, part.y, part.z)
    tensor = torch.tensor(values, dtype=torch.float32)
    if not all(abs(value) <= MAX_READING for value in tensor.tolist()):  # no comparison with NaN holds
        raise DataError(
            Reason.NON_FINITE, f'{", ".join(config.fields)}: {values}: must be finite, and at most {MAX_READING:.3g}'
        )
    return VectorSample(stamp, msg.header.frame_id, tensor)


def unit_quaternion(quaternion: tuple[float, ...], name: str) -> tuple[float, ...]:
    """Return a quaternion of length 1: slerp gives such ones, so a reading that is taken as it is must be one too.

    One that has length 1 but for rounding keeps its bits.

    Raises:
        DataError: ``no_orientation``: the quaternion, called ``name``, has length 0.
    """
    length = math.hypot(*quaternion)
    if length == 0:
        raise DataError(Reason.NO_ORIENTATION, f'{name} is a quaternion of length 0')
    if abs(length - 1) <= ROUNDING or not math.isfinite(length):
        return quaternion
    # Of the least numbers there are, length and quotients are rounded by so much that these need it once more.
    return unit_quaternion(tuple(part / length for part in quaternion), name)


def check_channels(layout: CloudLayout, config: LidarConfig) -> None:
    """Refuse a cloud that lacks a field which a channel of the stream needs."""
    for channel in config.voxel.channels:
        _, field = parse_channel(channel)
        if field:
            where = f'voxel.channels of {config.name}, or of the grid that it is in'
            _field(layout, field, f'the channel {channel} needs it: set {where}')


def _field(layout: CloudLayout, name: str, remedy: str) -> PointField:
    try:
        return layout.field(name)
    except DataError as error:
        raise DataError(error.reason, f'{error}; {remedy}') from error


#: A return of a LaserScan.
_LASER_POINT = np.dtype([(name, np.float32) for name in 'xyz'] + [('t_ns', np.int32), ('intensity', np.float32)])


def _check_laser_scan(msg: LaserScan | MultiEchoLaserScan, num_ranges: int, num_intensities: int) -> None:
    if not num_ranges:
        raise DataError(Reason.EMPTY_CLOUD, 'the scan has no ranges')
    if num_intensities not in (0, num_ranges):
        raise DataError(Reason.BAD_LAYOUT, f'{num_intensities} intensities for {num_ranges} ranges')
    steps = msg.angle_min, msg.angle_increment, msg.time_increment
    if not all(map(math.isfinite, steps)) or abs(msg.time_increment) * num_ranges * SECOND >= 1 << 31:
        raise DataError(
            Reason.BAD_LAYOUT,
            f'angle_min, angle_increment, time_increment = {steps}: must be finite, and the scan shorter than 2.1 s',
        )
    if not msg.range_min < msg.range_max:
        raise DataError(Reason.BAD_LAYOUT, f'range_min {msg.range_min} must be less than range_max {msg.range_max}')


def _check_ray_times(msg: LaserScan | MultiEchoLaserScan, num_ranges: int, deskew: DeskewConfig) -> None:
    """Refuse a scan whose message does not say when each ray was taken."""
    if msg.time_increment <= 0:
        raise DataError(
            Reason.UNKNOWN_TIME_FIELD,
            f'time_increment is {msg.time_increment:.6g} s: the driver does not say when each ray was taken, so the '
            'scan cannot be deskewed. Set it in the driver, or deskew.source to none.',
        )
    duration_s, longest_s = (num_ranges - 1) * msg.time_increment, deskew.scan_duration_ns / SECOND
    if duration_s > longest_s:
        raise DataError(
            Reason.UNKNOWN_TIME_FIELD,
            f'{num_ranges} rays with a time_increment of {msg.time_increment:.6g} s take {duration_s:.6g} s, more than '
            f'deskew.scan_duration = {longest_s:g} s: set it to the time that a scan takes.',
        )


@functools.lru_cache(maxsize=16)
def _directions(first: float, increment: float, num: int) -> np.ndarray:
    """Cosine and sine ``[num, 2]`` of evenly spaced angles, rad, with the same bits on every machine."""
    turns = np.zeros((num, 3))
    turns[:, 2] = np.remainder(first + increment * np.arange(num) + math.pi, 2 * math.pi) - math.pi
    cosines_and_sines: np.ndarray = rotation.matrix(rotation.exp(turns))[:, :2, 0]
    return cosines_and_sines


def _point_field(field: PointFieldMsg) -> PointField:
    if len(field.name) > MAX_NAME:
        raise DataError(
            Reason.BAD_LAYOUT, f'field {shown(field.name)}: its name must have at most {MAX_NAME} characters'
        )
    if field.datatype not in POINT_DTYPES:
        raise DataError(Reason.BAD_LAYOUT, f'field {shown(field.name)}: datatype {field.datatype} is not one of 1..8')
    # Some drivers leave count at 0 and mean 1; PCL reads it so.
    return PointField(field.name, field.offset, POINT_DTYPES[field.datatype], field.count or 1)
