# SPDX-License-Identifier: Apache-2.0
"""A small robot's recording, into which faults are put: every kind of stream, and what else a robot publishes."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from support.bags import MS, START_NS, STORE, T, header, text, transforms

from robocache_ros.bags import open_bag
from robocache_ros.tools.faults.bag import LIST, write_faulty
from robocache_ros.tools.faults.kinds import fault_of

LATCHED = Qos(
    QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL,
    QosTime(0, 0), QosTime(0, 0), QosLiveliness.AUTOMATIC, QosTime(0, 0), False,
)  # fmt: skip
POINT = np.dtype([(name, '<f4') for name in ('x', 'y', 'z', 'intensity')] + [('t', '<u4')])
RINGS, COLUMNS = 8, 64
POSE = (0.5, 0.0, 1.0, 0.0, 0.0, 0.6, 0.8)

#: By topic, its period and the delay from the stamp to the recorder, ms.
TIMING = {'/points': (100, 103), '/image_raw': (50, 12), '/rear/compressed': (50, 20), '/imu': (10, 1)}
STREAMS = {'lidar': '/points', 'front': '/image_raw', 'rear': '/rear/compressed', 'imu': '/imu'}


def rng(ms: int) -> np.random.Generator:
    return np.random.default_rng(ms)


def cloud(ms: int) -> Any:
    points = np.zeros((RINGS, COLUMNS), POINT)
    for axis, high in (('x', 8), ('y', 8), ('z', 2)):
        points[axis] = rng(ms).uniform(-high, high, points.shape)
    points['intensity'] = rng(ms).uniform(0, 100, points.shape)
    points['t'] = np.linspace(0, 99 * MS, COLUMNS).astype(np.uint32)
    fields = [
        T['sensor_msgs/msg/PointField'](name, kind[1], 6 if name == 't' else 7, 1)
        for name, kind in (POINT.fields or {}).items()
    ]
    size = POINT.itemsize
    return T['sensor_msgs/msg/PointCloud2'](
        header(ms, 'lidar'),
        RINGS,
        COLUMNS,
        fields,
        False,
        size,
        size * COLUMNS,
        points.reshape(-1).view(np.uint8),
        True,
    )


def image(ms: int) -> Any:
    pixels = rng(ms).integers(0, 256, 12 * 16 * 3, np.uint8)
    return T['sensor_msgs/msg/Image'](header(ms, 'front'), 12, 16, 'rgb8', 0, 48, pixels)


def jpeg(ms: int) -> Any:
    # Smooth, as pictures are: of noise a flipped bit would go unseen.
    y, x = np.mgrid[:48, :64]
    pixels = np.stack([(3 * x + ms) % 256, (4 * y + ms) % 256, np.full(x.shape, 90)], axis=2).astype(np.uint8)
    _, data = cv2.imencode('.jpg', pixels)
    return T['sensor_msgs/msg/CompressedImage'](header(ms, 'rear'), 'bgr8; jpeg compressed bgr8', data.reshape(-1))


def imu(ms: int) -> Any:
    vector, certain = T['geometry_msgs/msg/Vector3'], np.zeros(9)
    angle = 0.3 * ms / 1000
    return T['sensor_msgs/msg/Imu'](
        header(ms, 'imu'),
        T['geometry_msgs/msg/Quaternion'](0.0, 0.0, float(np.sin(angle / 2)), float(np.cos(angle / 2))),
        certain,
        vector(0.0, 0.0, 0.3),
        certain,
        vector(0.1 * np.sin(angle), 0.0, 9.81),
        certain,
    )


MAKERS = {'/points': cloud, '/image_raw': image, '/rear/compressed': jpeg, '/imu': imu}


@functools.cache
def recorded(seconds: float) -> tuple[tuple[int, str, str, bytes], ...]:
    """(record time, topic, type, bytes) of everything, in the order of record times."""
    messages = [
        (ms + delay, topic, MAKERS[topic](ms))
        for topic, (period, delay) in TIMING.items()
        for ms in range(0, int(1000 * seconds) - delay, period)
    ]
    messages += [(0, '/tf_static', transforms(*(('base_link', name, POSE[:3], POSE[3:]) for name in ('lidar', 'imu'))))]
    messages += [(ms, '/chatter', text(ms)) for ms in range(0, int(1000 * seconds), 200)]
    return tuple(
        (START_NS + ms * MS, topic, message.__msgtype__, bytes(STORE.serialize_cdr(message, message.__msgtype__)))
        for ms, topic, message in sorted(messages, key=lambda each: each[0])
    )


def write(path: Path, seconds: float, storage: str = 'mcap') -> Path:
    """Write the recording."""
    with Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()]) as writer:
        connections: dict[str, Any] = {}
        for record_ns, topic, kind, raw in recorded(seconds):
            if topic not in connections:
                qos = [LATCHED] if topic == '/tf_static' else []
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE, offered_qos_profiles=qos)
            writer.write(connections[topic], record_ns, raw)
    return path


def inject(bag: Path, out: Path, faults: Sequence[str], seed: int = 0) -> list[dict[str, Any]]:
    """Write ``out``, the bag with faults as the command line has them; return the injections."""
    write_faulty(open_bag(bag), out, [(text.partition(':')[0], fault_of(text)) for text in faults], seed=seed)
    return injections(out)


def injections(bag: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (bag / LIST).read_text().splitlines()]
