# SPDX-License-Identifier: Apache-2.0
"""Whether the node's subscriptions match the player's publishers, and if not, why."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSCompatibility, qos_check_compatible

from robocache_core.text import shown


class MatchError(RuntimeError):
    """Topics on which publisher and subscription did not find each other; one line each."""


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
