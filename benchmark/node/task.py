# SPDX-License-Identifier: Apache-2.0
"""The work of a frame, stated once for the node and for the usual way: voxels, three images, an IMU window."""

from __future__ import annotations

from pathlib import Path

import yaml

from benchmark.node.payloads import Messages
from benchmark.node.topics import CAMERA_TOPICS, CAMERAS, FRAME_TOPICS, IMU_TOPIC, LIDAR_TOPIC
from robocache_core import payload
from robocache_core.pipeline import Pipeline
from robocache_ros import parameters
from robocache_ros.encode import to_stamp
from robocache_ros.sources import routes, source_of

#: Of a voxel, m; corners of the grid, m.
SIZE, LOWER, UPPER = 0.4, (-51.2, -51.2, -3.0), (51.2, 51.2, 5.0)
CHANNELS = ('count', 'mean:x', 'mean:y', 'mean:z', 'max:intensity')
#: Of a return that counts, m.
MIN_RANGE, MAX_RANGE = 0.5, 200.0
WIDTH, HEIGHT = 640, 384
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WINDOW_SIZE, WINDOW_PERIOD_NS = 20, 5_000_000
#: Between two messages on /diagnostics: after the last frame, one is waited for.
DIAGNOSTICS_S = 0.5


def write_params(file: Path, device: str) -> None:
    """Write the node's parameters."""
    wanted = {
        'lidars': ['lidar'],
        'cameras': list(CAMERAS),
        'imus': ['imu'],
        'diagnostics_period': DIAGNOSTICS_S,
        'compute': {'device': device},
        'lidar': {
            'topic': LIDAR_TOPIC,
            'min_range': MIN_RANGE,
            'max_range': MAX_RANGE,
            'voxel': {
                'size': [SIZE] * 3,
                'lower': list(LOWER),
                'upper': list(UPPER),
                'channels': list(CHANNELS),
                'output': 'sparse',
            },
        },
        **{name: _camera(topic) for name, topic in zip(CAMERAS, CAMERA_TOPICS, strict=True)},
        'imu': {'topic': IMU_TOPIC, 'window_size': WINDOW_SIZE, 'window_period': WINDOW_PERIOD_NS * 1e-9},
    }
    file.write_text(yaml.safe_dump({'/**/preprocess': {'ros__parameters': wanted}}, sort_keys=False))


def _camera(topic: str) -> dict[str, object]:
    """Of each camera its own, as ROS takes no aliases in a file."""
    return {
        'topic': topic,
        'width': WIDTH,
        'height': HEIGHT,
        'mean': list(MEAN),
        'std': list(STD),
        'dtype': 'float16',
    }


def fused_sizes(params: Path, messages: Messages) -> list[int]:
    """Bytes of the fused frame of each scan: what the relay has to publish too."""
    config, _ = parameters.from_file(params)
    pipeline = Pipeline(config)
    streams = {route.absolute_topic: route.stream for route in routes(config)}
    sizes = []
    for number in range(len(messages[LIDAR_TOPIC])):
        target_ns = 1_000_000_000 + WINDOW_SIZE * WINDOW_PERIOD_NS * number  # one window after the other
        readings = [(IMU_TOPIC, target_ns - WINDOW_PERIOD_NS * age) for age in reversed(range(WINDOW_SIZE))]
        for topic, stamp_ns in [*readings, *((topic, target_ns) for topic in FRAME_TOPICS)]:
            message, stream = messages[topic][number % len(messages[topic])], streams[topic]
            message.header.stamp = to_stamp(stamp_ns)
            pipeline.receive(stream.name)
            pipeline.push(stream.name, source_of(stream).decode(message, stream))
        sizes += [len(payload.encode(frame)) for frame in pipeline.poll()]
    return sizes
