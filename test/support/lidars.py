# SPDX-License-Identifier: Apache-2.0
"""Messages of lidars beside PointCloud2: of Livox's drivers, of several echoes, and packets."""

import numpy as np
from rosbags.typesys import get_types_from_msg
from support import bags

from robocache_core.streams.lidar import LIVOX

POINT = 'uint32 offset_time\nfloat32 x\nfloat32 y\nfloat32 z\nuint8 reflectivity\nuint8 tag\nuint8 line\n'
CUSTOM = (
    'std_msgs/Header header\nuint64 timebase\nuint32 point_num\nuint8 lidar_id\nuint8[3] rsvd\nCustomPoint[] points\n'
)
PACKET = 'std_msgs/Header header\nuint8[] buf\n'
for name in LIVOX:
    package = name.partition('/')[0]
    point_type = f'{package}/msg/CustomPoint'
    bags.STORE.register(get_types_from_msg(POINT, point_type) | get_types_from_msg(CUSTOM, name))


def define_packet(type_name):
    """Make known a type of packets."""
    if type_name not in bags.T:
        bags.STORE.register(get_types_from_msg(PACKET, type_name))


def packet(type_name):
    """A maker of messages of a type of packets."""
    define_packet(type_name)
    return lambda ms: bags.T[type_name](bags.header(ms), np.zeros(16, np.uint8))


def livox(ms, points, times_ns, kind=LIVOX[0], base_ns=None, frame='base_link', **changes):
    """A CustomMsg of ``points [N, 3]``; ``base_ns``: what the times count from, by default the stamp."""
    make = bags.T[f'{kind.partition("/")[0]}/msg/CustomPoint']
    rows = zip(np.asarray(times_ns).tolist(), np.asarray(points, np.float32).tolist(), strict=True)
    made = [make(time, x, y, z, 7 + i % 3, i % 2, i % 4) for i, (time, (x, y, z)) in enumerate(rows)]
    values = {
        'header': bags.header(ms, frame), 'timebase': bags.START_NS + ms * bags.MS if base_ns is None else base_ns,
        'point_num': len(made), 'lidar_id': 1, 'rsvd': np.zeros(3, np.uint8), 'points': made,
    }  # fmt: skip
    return bags.T[kind](**values | changes)


def multi_echo(ms, ranges, intensities=(), frame='base_link', **changes):
    """A MultiEchoLaserScan of lists of echoes."""
    make = bags.T['sensor_msgs/msg/LaserEcho']
    echoes = ([make(np.array(each, np.float32)) for each in rays] for rays in (ranges, intensities))
    values = {
        'angle_min': -2.0, 'angle_max': 2.0, 'angle_increment': 0.01, 'time_increment': 1e-4, 'scan_time': 0.1,
        'range_min': 0.1, 'range_max': 30.0,
    }  # fmt: skip
    return bags.T['sensor_msgs/msg/MultiEchoLaserScan'](bags.header(ms, frame), *(values | changes).values(), *echoes)
