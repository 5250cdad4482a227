# SPDX-License-Identifier: Apache-2.0
"""Publishes a bag's messages as raw CDR bytes at their recorded times, and /clock."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from robocache_ros.bags import Bag, Topic, has_header
from robocache_ros.cdr import header_stamp_ns
from robocache_ros.tools.message_class import message_class
from robocache_ros.tools.replay.read_ahead import ReadAhead

CLOCK_PERIOD_NS = 5_000_000
_MAX_DEPTH = 10  # of a publisher: enough for a burst, and no gigabytes of clouds for a bag with keep_all


@dataclass
class SentLog:
    """What was published on a topic: header stamps, ns, and steady times of publication, ns."""

    stamp_ns: array[int] = field(default_factory=lambda: array('q'))
    sent_ns: array[int] = field(default_factory=lambda: array('q'))


class Player:
    """Publishes a bag's messages at ``rate`` times the recorded speed, and the recorded time on /clock.

    Nothing in a message is rewritten.

    Args:
        node: makes the publishers.
        bag: what to play.
        stamped: topics whose header stamps are logged in ``sent``.
        rate: recorded seconds a real second.

    Attributes:
        publishers: by topic of the bag.
        skipped: by topic, why it is not played.
        unsent: by topic of ``stamped``, messages that are too short to have a header, and were not sent.
        unread: a line for each topic of which a lap has not read as many messages as the bag had when it was opened.
        sent: by topic of ``stamped``.
        late_ns: for every message, how long after its due time it was published: the player's own delay.
    """

    def __init__(self, node: Node, bag: Bag, stamped: set[str], rate: float = 1.0) -> None:
        self._bag, self._rate = bag, rate
        self.skipped: dict[str, str] = {}
        self.publishers: dict[str, Publisher] = {}
        self._latched: set[str] = set()
        for topic in bag.topics.values():
            if topic.count and topic.name != '/clock':
                self._make_publisher(node, topic)
        self._clock = node.create_publisher(Clock, '/clock', QoSProfile(depth=1))
        self.sent = {topic: SentLog() for topic in stamped if topic in self.publishers}
        self.unsent: Counter[str] = Counter()
        self.unread: list[str] = []
        self.late_ns = array('q')
        self._origin_ns = self._next_tick_ns = 0

    def _make_publisher(self, node: Node, topic: Topic) -> None:
        message = message_class(topic.msgtype)
        if topic.unreadable or message is None:
            self.skipped[topic.name] = topic.unreadable or f'{topic.msgtype or "its type"} is not installed'
            return
        profile = publisher_qos(topic)
        try:
            self.publishers[topic.name] = node.create_publisher(message, topic.name, profile)
        except (InvalidTopicNameException, ValueError) as error:
            self.skipped[topic.name] = ' '.join(str(error).split())
            return
        if profile.durability == DurabilityPolicy.TRANSIENT_LOCAL:
            self._latched.add(topic.name)

    def publish_clock(self, now_ns: int) -> None:
        """Publish ``now_ns`` on /clock."""
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(now_ns, 1_000_000_000)
        self._clock.publish(message)

    def play(self, on_progress: Callable[[float], None]) -> None:
        """Play the bag once; ``on_progress`` gets the recorded seconds played at each tick of the clock.

        Raises:
            BagError: the bag cannot be read to its end.
        """
        read = dict.fromkeys(self.publishers, 0)
        with ReadAhead(self._bag, set(self.publishers)) as messages:
            self._origin_ns = self._next_tick_ns = time.monotonic_ns()
            for topic, record_ns, raw in messages:
                read[topic] += 1
                due_ns = self._origin_ns + int((record_ns - self._bag.start_ns) / self._rate)
                self._wait_until(due_ns, on_progress)
                self.late_ns.append(time.monotonic_ns() - due_ns)
                self._publish(topic, record_ns, raw)
        self.unread += [line for line in self._bag.unread(read) if line not in self.unread]

    def idle(self, seconds: float) -> None:
        """Let /clock go on without messages for ``seconds``: if it stood still, so would the node's ROS timers."""
        self._wait_until(time.monotonic_ns() + int(seconds * 1e9), lambda _: None)

    def _publish(self, topic: str, record_ns: int, raw: bytes) -> None:
        publisher = self.publishers[topic]
        log = self.sent.get(topic)
        if log is not None:
            stamp_ns = header_stamp_ns(raw) if has_header(self._bag.topics[topic].msgtype) else record_ns
            if stamp_ns is None:
                self.unsent[topic] += 1
                return
            log.stamp_ns.append(stamp_ns)
            log.sent_ns.append(time.monotonic_ns())
        elif topic not in self._latched and publisher.get_subscription_count() == 0:
            return
        publisher.publish(raw)

    def _wait_until(self, due_ns: int, on_progress: Callable[[float], None]) -> None:
        """Sleep until the steady clock shows ``due_ns``; publish /clock every ``CLOCK_PERIOD_NS`` on the way."""
        while True:
            now_ns = time.monotonic_ns()
            if now_ns >= self._next_tick_ns:
                elapsed_ns = int((now_ns - self._origin_ns) * self._rate)
                self.publish_clock(self._bag.start_ns + elapsed_ns)
                on_progress(elapsed_ns / 1e9)
                self._next_tick_ns = now_ns + CLOCK_PERIOD_NS
            if now_ns >= due_ns:
                return
            time.sleep(max(0, min(due_ns, self._next_tick_ns) - time.monotonic_ns()) / 1e9)


def publisher_qos(topic: Topic) -> QoSProfile:
    """The reliability and durability that the bag's publisher offered, else reliable and volatile, at a small depth.

    Deadline, lifespan and liveliness are left at their defaults: a scaled or paused replay could not keep them.
    """
    profile = QoSProfile(depth=_MAX_DEPTH)
    if topic.qos:
        offered = topic.qos[0]
        profile.depth = min(max(offered.depth, 1), _MAX_DEPTH) if offered.depth else _MAX_DEPTH
        if all(qos.is_best_effort for qos in topic.qos):
            profile.reliability = ReliabilityPolicy.BEST_EFFORT
        if any(qos.is_latched for qos in topic.qos):
            profile.durability = DurabilityPolicy.TRANSIENT_LOCAL
    elif topic.name == '/tf_static':  # late joiners need it, and tf2 asks for it
        profile.durability = DurabilityPolicy.TRANSIENT_LOCAL
    return profile
