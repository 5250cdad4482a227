# SPDX-License-Identifier: Apache-2.0
"""Clouds and planar scans that are whole, and what is done to them."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import numpy as np
from sensor_msgs.msg import LaserScan, PointCloud2, PointField
from support.fuzz.changes import NOT_FINITE, Changes, bytes_changed, count, header, number, single, text

PERIOD_NS = 100_000_000
DTYPES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 8: 'f8'}

CLOUD = Changes()
SCAN = Changes()

#: What bytes of a cloud that are read in another way can hold: points that are not finite, or beyond all sums.
READ_ANOTHER_WAY = ('all_non_finite', 'sum_overflow', 'unknown_time_field')
SIZES = ('bad_layout', 'empty_cloud', 'row_step_too_small', 'data_too_short', 'field_beyond_point_step')


def cloud(rng: Random, serial: int) -> PointCloud2:
    """Points in any order of fields, types, gaps, rows and byte order; ``t``: ns since the stamp."""
    names = ['x', 'y', 'z', 'intensity', 't', *(['ring', ''][: rng.randrange(3)])]
    rng.shuffle(names)
    fields, end = [], 0
    for name in names:
        datatype = rng.choice((7, 8)) if name in 'xyz' and name else 6 if name == 't' else rng.randrange(1, 9)
        field = PointField(name=name, offset=end + rng.choice((0, 0, 0, 1, 4)), datatype=datatype)
        field.count = rng.choice((0, 1, 1, 1, 2)) if name not in ('', 'ring') else rng.randrange(4)
        end = field.offset + np.dtype(DTYPES[datatype]).itemsize * (field.count or 1)
        fields.append(field)
    width, height = rng.choice(((1, 1), (3, 1), (40, 1), (7, 5), (64, 1), (1, 9)))
    step, big = end + rng.choice((0, 0, 3, 17)), rng.random() < 0.2
    row_step = width * step + rng.choice((0, 0, 5))
    message = PointCloud2(
        header=header(serial, 'lidar', PERIOD_NS), width=width, height=height, point_step=step, row_step=row_step
    )
    message.fields, message.is_bigendian, message.is_dense = fields, big, rng.random() < 0.5
    message.data = _points(rng, message).tobytes() + rng.choice((b'', b'', b'behind'))
    if height == 1 and rng.random() < 0.2:
        message.row_step = 0
    return message


def _points(rng: Random, message: PointCloud2) -> np.ndarray:
    """Bytes in which every field holds numbers that a sensor gives, one point in five without a return."""
    numbers = np.random.default_rng(rng.randrange(1 << 32))
    shape = message.height, message.width
    data = numbers.integers(0, 256, message.row_step * message.height, np.uint8)
    missing = numbers.random(shape) < 0.2
    missing[0, 0] = False
    for field in message.fields:
        dtype = np.dtype(('>' if message.is_bigendian else '<') + DTYPES[field.datatype])
        view = np.ndarray(shape, dtype, data, field.offset, (message.row_step, message.point_step))
        if field.name in ('x', 'y', 'z'):
            view[...] = np.where(missing, rng.choice((np.nan, 0.0, np.inf)), numbers.normal(0, 5, shape))
        elif field.name == 't':
            view[...] = np.linspace(0, 0.9 * PERIOD_NS, message.width * message.height).reshape(shape)
        else:
            view[...] = numbers.integers(0, 100, shape)
    return data


@CLOUD('missing_field', 'bad_layout', *READ_ANOTHER_WAY)
def field_renamed(rng: Random, message: Any) -> None:
    if message.fields:
        rng.choice(message.fields).name = rng.choice((text(rng), 'x', 'intensity', 'X', 'x ', 't'))


@CLOUD('missing_field', 'unknown_time_field')
def field_left_out(rng: Random, message: Any) -> None:
    message.fields = [field for field in message.fields if rng.random() < 0.8]


@CLOUD('missing_field', 'bad_layout', 'field_beyond_point_step', *READ_ANOTHER_WAY)
def fields_many(rng: Random, message: Any) -> None:
    made = [PointField(name=text(rng), datatype=rng.randrange(1, 9), count=1) for _ in range(rng.choice((1, 9, 260)))]
    message.fields = [*made, *message.fields]


@CLOUD('field_beyond_point_step', *READ_ANOTHER_WAY)
def field_elsewhere(rng: Random, message: Any) -> None:
    if message.fields:
        rng.choice(message.fields).offset = count(rng)


@CLOUD('bad_layout', 'field_beyond_point_step', *READ_ANOTHER_WAY)
def field_of_another_type(rng: Random, message: Any) -> None:
    if message.fields:
        rng.choice(message.fields).datatype = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 255))


@CLOUD('field_beyond_point_step')
def field_repeated(rng: Random, message: Any) -> None:
    if message.fields:
        rng.choice(message.fields).count = count(rng)


@CLOUD(*SIZES, *READ_ANOTHER_WAY)
def size_changed(rng: Random, message: Any) -> None:
    for name in rng.sample(('width', 'height', 'point_step', 'row_step'), rng.choice((1, 1, 2))):
        setattr(message, name, count(rng))


@CLOUD(*READ_ANOTHER_WAY)
def bytes_in_another_order(rng: Random, message: Any) -> None:
    message.is_bigendian = not message.is_bigendian


@CLOUD('data_too_short', *READ_ANOTHER_WAY)
def points_changed(rng: Random, message: Any) -> None:
    message.data = bytes_changed(rng, bytes(message.data))


@CLOUD('data_too_short', *READ_ANOTHER_WAY)
def a_field_of_odd_numbers(rng: Random, message: Any) -> None:
    """One of any field, in every point or in some."""
    field = rng.choice(message.fields) if message.fields else PointField(datatype=7)
    dtype = np.dtype(('>' if message.is_bigendian else '<') + DTYPES.get(field.datatype, 'f4'))
    data = bytearray(message.data)
    share = rng.choice((0.1, 0.9, 1.0))
    for at in range(field.offset, len(data) - dtype.itemsize, max(message.point_step, 1)):
        if rng.random() < share:
            value = number(rng) if dtype.kind == 'f' else rng.choice((np.iinfo(dtype).min, np.iinfo(dtype).max))
            with np.errstate(over='ignore'):
                data[at : at + dtype.itemsize] = np.array(value).astype(dtype).tobytes()
    message.data = bytes(data)


def scan(rng: Random, serial: int) -> LaserScan:
    """A planar scan, clockwise or not, with or without intensities, one ray in five without a return."""
    num = rng.choice((1, 2, 16, 64))
    way = rng.choice((-1, 1))
    message = LaserScan(header=header(serial, 'lidar', PERIOD_NS), angle_min=rng.uniform(-math.pi, math.pi))
    message.angle_increment, message.angle_max = way * 0.05, message.angle_min + way * 0.05 * (num - 1)
    message.time_increment, message.scan_time = rng.choice((0.0, 1e-4, 0.001)), 0.1
    message.range_min, message.range_max = 0.1, rng.choice((30.0, math.inf))
    ranges = (rng.choice((*NOT_FINITE, 0.0, 1e9)) if rng.random() < 0.2 else rng.uniform(1, 20) for _ in range(num))
    message.ranges = list(ranges)
    message.intensities = [rng.uniform(0, 255) for _ in range(num)]
    return message


@SCAN('bad_layout', 'unknown_time_field', 'no_motion')
def angles_or_times_changed(rng: Random, message: Any) -> None:
    names = ('angle_min', 'angle_increment', 'time_increment', 'range_min', 'range_max', 'angle_max', 'scan_time')
    for name in rng.sample(names, rng.choice((1, 2))):
        setattr(message, name, single(rng))


@SCAN('bad_layout', 'unknown_time_field', 'no_motion')
def turned_the_other_way(rng: Random, message: Any) -> None:
    message.angle_increment, message.time_increment = -message.angle_increment, -message.time_increment


@SCAN('empty_cloud', 'bad_layout', 'all_non_finite')
def ranges_changed(rng: Random, message: Any) -> None:
    message.ranges = [single(rng) for _ in range(rng.choice((0, 1, len(message.ranges), 64)))]


@SCAN('bad_layout', 'missing_field', *READ_ANOTHER_WAY)
def intensities_changed(rng: Random, message: Any) -> None:
    message.intensities = [single(rng) for _ in range(rng.choice((0, 1, len(message.ranges), 64)))]
