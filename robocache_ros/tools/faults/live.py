# SPDX-License-Identifier: Apache-2.0
"""Faults between topics: a node that takes messages of one, and publishes what becomes of them on another."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TextIO

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy

from robocache_core.text import shown
from robocache_ros.bags import Topic
from robocache_ros.tools.faults.fault import Fault, Message
from robocache_ros.tools.faults.injector import Injector
from robocache_ros.tools.message_class import message_class
from robocache_ros.tools.topic_names import resolved

_NAME = 'fault_injector'
#: Messages that wait on a topic, here and for who takes them.
_DEPTH = 1000
#: Time between two looks at what is due, and at the topics that had no publisher, s.
_TICK_S, _LOOK_S = 0.005, 0.2


class FaultInjector(Node):  # type: ignore[misc]  # rclpy has no types
    """Joins topics by faults. A topic is joined when it has a publisher, whose type and QoS the other one gets.

    Times of faults count from the first message of all.

    Args:
        joined: by topic that is taken, the one on which is published.
        faults: each with the name of its kind, in the order in which they are applied.
        seed: of all that is random.
        log: receives a line of JSON for each message that was changed.
    """

    def __init__(self, joined: Mapping[str, str], faults: Sequence[tuple[str, Fault]], seed: int, log: TextIO) -> None:
        super().__init__(_NAME)
        self._injector, self._log = Injector(faults, seed), log
        self._waiting = {self.resolve_topic_name(source): target for source, target in joined.items()}
        self._outputs: dict[str, Publisher] = {}
        self._numbers: Counter[str] = Counter()
        self._began_ns = 0
        self.create_timer(_TICK_S, self._flush)
        self._looking = self.create_timer(_LOOK_S, self._look)

    def _look(self) -> None:
        """Join the topics that have a publisher by now."""
        for source, target in list(self._waiting.items()):
            publishers = self.get_publishers_info_by_topic(source)
            if publishers:
                self._join(source, target, publishers[0].topic_type, publishers[0].qos_profile)
                del self._waiting[source]
        if not self._waiting:
            self._looking.cancel()

    def _join(self, source: str, target: str, msgtype: str, offered: QoSProfile) -> None:
        message = message_class(msgtype)
        if message is None:
            self.get_logger().error(f'{source} is not joined: its type {shown(msgtype)} is not installed')
            return
        profile = QoSProfile(depth=_DEPTH, reliability=offered.reliability, durability=offered.durability)
        self._outputs[source] = self.create_publisher(message, target, profile)
        self.create_subscription(message, source, partial(self._take, Topic(source, msgtype, 0)), profile, raw=True)
        self.get_logger().info(f'{source} -> {target} ({msgtype}, {_named(offered)})')

    def _take(self, topic: Topic, raw: bytes) -> None:
        now_ns = time.monotonic_ns()
        self._began_ns = self._began_ns or now_ns
        number = self._numbers[topic.name]
        self._numbers[topic.name] += 1
        self._injector.put(Message(topic, now_ns, raw, number, elapsed_ns=now_ns - self._began_ns))
        for injection in self._injector.injections:
            self._log.write(json.dumps(dataclasses.asdict(injection)) + '\n')
        self._injector.injections.clear()
        self._flush()

    def _flush(self) -> None:
        for message in self._injector.due(time.monotonic_ns()):
            self._outputs[message.topic.name].publish(message.raw)


def _named(qos: QoSProfile) -> str:
    reliable = qos.reliability == QoSReliabilityPolicy.RELIABLE
    latched = qos.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL
    return f'{"reliable" if reliable else "best effort"}{", latched" if latched else ""}'


def check_topics(joined: Mapping[str, str]) -> None:
    """Check that topics can be joined.

    Raises:
        ConfigError: one cannot be a topic of ROS.
    """
    for topic in (*joined, *joined.values()):
        resolved(topic, _NAME, '/')


def run(joined: Mapping[str, str], faults: Sequence[tuple[str, Fault]], seed: int, log: TextIO) -> None:
    """Join topics, which are checked, until the process is interrupted."""
    rclpy.init(args=[])
    node = FaultInjector(joined, faults, seed, log)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass  # this is how it ends
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
