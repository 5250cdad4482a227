# SPDX-License-Identifier: Apache-2.0
"""Whether the node's subscriptions match the topics of a bag and the player's publishers, and if not, why."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSCompatibility, qos_check_compatible

from robocache_core.config import PipelineConfig
from robocache_core.text import shown
from robocache_ros.bags import Bag, BagError
from robocache_ros.sources import routes


class MatchError(RuntimeError):
    """Topics on which publisher and subscription did not find each other; one line each."""


def expected_types(config: PipelineConfig) -> dict[str, str]:
    """Message type of every topic that a node with ``config`` needs."""
    return {route.absolute_topic: route.type_name for route in routes(config)}


def absent_topics(bag: Bag, types: Mapping[str, str]) -> list[str]:
    """Topics in ``types`` that ``bag`` has no message of.

    Raises:
        BagError: it has none of them, or has one as another type.
    """
    absent = [topic for topic in types if topic not in bag.topics or bag.topics[topic].count == 0]
    if len(absent) == len(types):
        wanted, held = ', '.join(types), ', '.join(bag.topics)
        raise BagError(f'{bag.path}: has none of the configured topics: {wanted}; it has: {held}')
    for topic, kind in types.items():
        if topic not in absent and bag.topics[topic].msgtype != kind:
            raise BagError(f'{bag.path}: {topic} is {bag.topics[topic].msgtype}, but the configuration expects {kind}')
    return absent


def wait_matched(node: Node, publishers: Mapping[str, Publisher], timeout_s: float, check: Callable[[], None]) -> None:
    """Wait until each of ``publishers`` (by topic) has a subscription; ``check`` may raise to end the wait.

    Raises:
        MatchError: not all were matched in time.
    """
    deadline = time.monotonic() + timeout_s
    missing = set(publishers)
    while missing:
        check()
        missing = {topic for topic in missing if publishers[topic].get_subscription_count() == 0}
        if missing and time.monotonic() > deadline:
            lines = [f'    {topic}: {_reason(node, topic, publishers[topic])}' for topic in sorted(missing)]
            raise MatchError(f'after {timeout_s:.0f} s these topics are not connected:\n' + '\n'.join(lines))
        time.sleep(0.02)


def _reason(node: Node, topic: str, publisher: Publisher) -> str:
    subscriptions = node.get_subscriptions_info_by_topic(topic)
    if not subscriptions:
        return 'the node does not subscribe to it'
    ours = next(info for info in node.get_publishers_info_by_topic(topic) if info.node_name == node.get_name())
    for theirs in subscriptions:
        if theirs.topic_type != ours.topic_type:
            return f'type: the bag has {ours.topic_type}, {shown(theirs.node_name)} expects {shown(theirs.topic_type)}'
        compatibility, why = qos_check_compatible(publisher.qos_profile, theirs.qos_profile)
        if compatibility == QoSCompatibility.ERROR:
            return f'QoS: {why}'
    return f'type and QoS fit {shown(subscriptions[0].node_name)}; discovery has not joined them'
