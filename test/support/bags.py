# SPDX-License-Identifier: Apache-2.0
"""Small bags written by hand."""

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_JAZZY)
T = STORE.types
START_NS = 1_700_000_000 * 10**9
MS = 10**6


def header(ms, frame='sensor'):
    sec, nanosec = divmod(START_NS + int(ms * MS), 10**9)
    return T['std_msgs/msg/Header'](T['builtin_interfaces/msg/Time'](sec, nanosec), frame)


def cloud(ms, frame='lidar', names=('x', 'y', 'z')):
    fields = [T['sensor_msgs/msg/PointField'](name, 4 * i, 7, 1) for i, name in enumerate(names)]
    step = 4 * len(names)
    data = np.ones(len(names), np.float32).view(np.uint8)
    return T['sensor_msgs/msg/PointCloud2'](header(ms, frame), 1, 1, fields, False, step, step, data, True)


def laser_scan(ms, frame='laser'):
    ranges = np.full(4, 2.0, np.float32)
    return T['sensor_msgs/msg/LaserScan'](
        header(ms, frame), 0.0, 0.3, 0.1, 0.01, 0.1, 0.1, 10.0, ranges, np.ones(4, np.float32)
    )


def imu(ms):
    vector, zeros = T['geometry_msgs/msg/Vector3'](0.0, 0.0, 9.8), np.zeros(9)
    none = T['geometry_msgs/msg/Quaternion'](0.0, 0.0, 0.0, 1.0)
    return T['sensor_msgs/msg/Imu'](header(ms), none, zeros, vector, zeros, vector, zeros)


def compressed(ms):
    return T['sensor_msgs/msg/CompressedImage'](header(ms), 'jpeg', np.zeros(8, np.uint8))


def image(ms):
    return T['sensor_msgs/msg/Image'](header(ms), 2, 2, 'bgr8', 0, 6, np.zeros(12, np.uint8))


def text(ms):
    return T['std_msgs/msg/String'](f'at {ms}')


def transforms(*edges, ms=0):
    """Edges: (parent, child, (x, y, z), (x, y, z, w)), of one stamp."""
    make = T['geometry_msgs/msg/Transform'], T['geometry_msgs/msg/Vector3'], T['geometry_msgs/msg/Quaternion']
    return T['tf2_msgs/msg/TFMessage'](
        [
            T['geometry_msgs/msg/TransformStamped'](header(ms, parent), child, make[0](make[1](*t), make[2](*q)))
            for parent, child, t, q in edges
        ]
    )


def write(path, messages, storage='mcap', qos=(), silent=()):
    """Write (ms, topic, message) in the order of ms; ``silent``: (topic, type) of topics without a message."""
    with Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()]) as writer:
        for topic, msgtype in silent:
            writer.add_connection(topic, msgtype, typestore=STORE)
        connections = {}
        for ms, topic, message in sorted(messages, key=lambda item: item[0]):
            if topic not in connections:
                connections[topic] = writer.add_connection(
                    topic, message.__msgtype__, typestore=STORE, offered_qos_profiles=list(qos)
                )
            raw = STORE.serialize_cdr(message, message.__msgtype__)
            writer.write(connections[topic], START_NS + int(ms * MS), raw)
    return path


def write_raw(path, records):
    """Write (topic, type, bytes) in their order, 1 ms apart."""
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {}
        for at, (topic, msgtype, raw) in enumerate(records):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, msgtype, typestore=STORE)
            writer.write(connections[topic], START_NS + at * MS, raw)
    return path


def every(period_ms, topic, make, end_ms=2000):
    """(ms, topic, message) at a fixed period."""
    return [(ms, topic, make(ms)) for ms in np.arange(0, end_ms, period_ms).tolist()]
