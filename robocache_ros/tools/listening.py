# SPDX-License-Identifier: Apache-2.0
"""What is published on a robot now, recorded for a few seconds as a bag, to propose a configuration from."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from robocache_core.tunable import ConfigError
from robocache_ros.bags import Bag, BagError, Topic, open_bag
from robocache_ros.message_types import installed
from robocache_ros.qos import sensor_data

#: What a recording of what is published now is called, in place of a path.
NAME = Path('the running system')
_STATIC, _TRANSFORMS = '/tf_static', 'tf2_msgs/msg/TFMessage'
_FUSED = 'std_msgs/msg/UInt8MultiArray'
#: Time between two looks at which topics there are, and the longest wait for a message, s.
_LOOK_S, _WAIT_S = 0.2, 0.05
_DEPTH = 100
#: Hash of a type that ROS 2 itself does not define: nobody compares it.
_NO_HASH = f'RIHS01_{"0" * 64}'
#: Messages that a topic is said to have whose type is not installed: none were counted.
_SOME = 1


def listen(folder: Path, types: Collection[str], seconds: float, check: Callable[[], None]) -> Bag:
    """Record the topics of some types that have a publisher, and /tf_static, and return the bag.

    A topic without a message, or whose type is not installed, is one of the bag without messages that can be read.
    What a preprocess node publishes is left out.

    Args:
        folder: where the bag is made.
        types: full ROS names.
        seconds: how long.
        check: is called all the time; what it raises ends the recording.

    Raises:
        BagError: no message came.
        OSError: the bag cannot be written.
    """
    context = Context()
    context.init(args=[])  # without handlers of signals: the tool has its own
    node = Node('init', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            recorder = _Recorder(node, writer, types)
            ends_at = time.monotonic() + seconds
            while time.monotonic() < ends_at:
                check()
                recorder.look()
                executor.spin_once(timeout_sec=_WAIT_S)
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()
    if not recorder.num_messages:
        raise BagError(f'no message came within {seconds:g} s: {recorder.found()}')
    bag = open_bag(folder, types)
    return dataclasses.replace(bag, path=NAME, topics={**bag.topics, **recorder.unreadable})


class _Recorder:
    """Subscribes to topics as they appear, and writes their messages.

    Attributes:
        num_messages: written so far.
        unreadable: by name, the topics whose type is not installed.
    """

    def __init__(self, node: Node, writer: Writer, types: Collection[str]) -> None:
        self._node, self._writer, self._types = node, writer, types
        self._store = get_typestore(Stores.ROS2_JAZZY)
        self._looked_at = 0.0
        self._taken: set[str] = set()
        self.num_messages = 0
        self.unreadable: dict[str, Topic] = {}

    def look(self) -> None:
        """Take the topics that are new, now and then."""
        if time.monotonic() < self._looked_at + _LOOK_S:
            return
        self._looked_at = time.monotonic()
        for topic, msgtypes in self._wanted().items():
            if topic not in self._taken and self._node.count_publishers(topic):
                self._taken.add(topic)
                self._take(topic, msgtypes[0])

    def found(self) -> str:
        """Which topics there are, as the end of a sentence on none that says anything."""
        if not self._taken:
            return 'no topic of a type that the node takes; is ROS_DOMAIN_ID right?'
        silent = sorted(self._taken - self.unreadable.keys())
        verb = 'is' if len(silent) == 1 else 'are'
        of_silent = [f'{", ".join(silent)} {verb} silent: give it longer with --seconds'] if silent else []
        return '; '.join([*of_silent, *(f'{name}: {topic.unreadable}' for name, topic in self.unreadable.items())])

    def _wanted(self) -> dict[str, list[str]]:
        """By topic, which of the types it has; without those of a preprocess node, all of which are beside ~/fused."""
        topics = dict(self._node.get_topic_names_and_types())
        fused = (name for name in topics if name.endswith('/fused') and name != '/fused' and _FUSED in topics[name])
        own = tuple(name.removesuffix('fused') for name in fused)
        wanted = {
            name: [
                msgtype for msgtype in msgtypes if msgtype in self._types or (name, msgtype) == (_STATIC, _TRANSFORMS)
            ]
            for name, msgtypes in topics.items()
            if not name.startswith(own)
        }
        return {name: msgtypes for name, msgtypes in wanted.items() if msgtypes}

    def _take(self, topic: str, msgtype: str) -> None:
        try:
            message = installed(msgtype)
        except ConfigError as error:
            self.unreadable[topic] = Topic(topic, msgtype, _SOME, unreadable=str(error))
            return
        is_known = msgtype in self._store.fielddefs
        described: dict[str, Any] = {'typestore': self._store} if is_known else {'msgdef': '', 'rihs01': _NO_HASH}
        connection = self._writer.add_connection(topic, msgtype, **described)
        profile = _latched() if topic == _STATIC else sensor_data(_DEPTH)
        self._node.create_subscription(message, topic, partial(self._write, connection), profile, raw=True)

    def _write(self, connection: Connection, raw: bytes) -> None:
        self._writer.write(connection, time.time_ns(), raw)
        self.num_messages += 1


def _latched() -> QoSProfile:
    return QoSProfile(
        depth=_DEPTH,
        reliability=QoSReliabilityPolicy.RELIABLE,
        durability=QoSDurabilityPolicy.TRANSIENT_LOCAL,
    )
