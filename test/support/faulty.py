# SPDX-License-Identifier: Apache-2.0
"""Recordings of the simulated robot with known faults: each fault changes a list of recorded messages."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from robocache_ros.tools.recording import TYPESTORE, Recorded, recorded_messages
from robocache_sim.sensors import robot

SECOND = 10**9
SECONDS = 4.0
LIDAR, IMU, FRONT = '/lidar/points', '/imu/data', '/camera/front/image_raw/compressed'
INFO = '/camera/front/camera_info'

Messages = list[Recorded]
Fault = Callable[[Messages], Messages]


@functools.cache
def robot_messages() -> tuple[Recorded, ...]:
    """All messages but those of the rear camera, in record order."""
    recorded = recorded_messages(robot(lidar_rings=8), SECONDS)
    return tuple(each for each in recorded if not each.topic.startswith('/camera/rear'))


def write(path: Path, messages: Messages) -> Path:
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections: dict[str, Any] = {}
        for record_ns, topic, message in sorted(messages, key=lambda each: each.record_ns):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message.__msgtype__, typestore=TYPESTORE)
            writer.write(connections[topic], record_ns, TYPESTORE.serialize_cdr(message, message.__msgtype__))
    return path


def faulty_bag(path: Path, fault: Fault) -> Path:
    return write(path, fault(list(robot_messages())))


def none() -> Fault:
    return lambda messages: messages


def without(topic: str, begin_s: float = 0.0, end_s: float = 1e9) -> Fault:
    """No message of a topic that was recorded within a span."""

    def apply(messages: Messages) -> Messages:
        start_ns = messages[0].record_ns
        gone = range(round(start_ns + begin_s * SECOND), round(start_ns + end_s * SECOND))
        return [each for each in messages if each.topic != topic or each.record_ns not in gone]

    return apply


def every(topic: str, number: int, change: Callable[[Any, Any], Any]) -> Fault:
    """``change(message, previous)`` for every so many-th message of a topic; None leaves it out."""

    def apply(messages: Messages) -> Messages:
        count, previous, changed = 0, None, []
        for each in messages:
            if each.topic == topic:
                count += 1
                message = change(each.message, previous) if count % number == 0 else each.message
                previous = each.message
                changed += [] if message is None else [each._replace(message=message)]
            else:
                changed.append(each)
        return changed

    return apply


def restamped(topic: str, stamp: Callable[[int, float], int]) -> Fault:
    """Stamps of ``stamp(ns, seconds since the first)``."""
    first_ns: list[int] = []

    def change(message: Any, previous: Any) -> Any:
        now_ns = stamp_ns(message)
        first_ns.append(now_ns)
        return with_stamp(message, stamp(now_ns, (now_ns - first_ns[0]) / SECOND))

    return every(topic, 1, change)


def stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * SECOND + message.header.stamp.nanosec


def with_stamp(message: Any, ns: int) -> Any:
    sec, nanosec = divmod(ns, SECOND)
    stamp = dataclasses.replace(message.header.stamp, sec=sec, nanosec=nanosec)
    return dataclasses.replace(message, header=dataclasses.replace(message.header, stamp=stamp))


def scaled(field: str, factor: float) -> Fault:
    """A vector of the IMU in another unit."""

    def change(message: Any, previous: Any) -> Any:
        vector = getattr(message, field)
        values = {axis: getattr(vector, axis) * factor for axis in 'xyz'}
        return dataclasses.replace(message, **{field: dataclasses.replace(vector, **values)})

    return every(IMU, 1, change)


def cut(message: Any, previous: Any) -> Any:
    return dataclasses.replace(message, data=message.data[:-100])


def of_one_time(message: Any, previous: Any) -> Any:
    """A cloud whose points all have the same time."""
    data = message.data.copy().reshape(-1, message.point_step)
    offset = next(field.offset for field in message.fields if field.name == 't')
    data[:, offset : offset + 4] = np.frombuffer(np.uint32(7).tobytes(), np.uint8)
    return dataclasses.replace(message, data=data.reshape(-1))


def in_frame(frame: str) -> Callable[[Any, Any], Any]:
    return lambda message, _: dataclasses.replace(message, header=dataclasses.replace(message.header, frame_id=frame))
