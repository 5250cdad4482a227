# SPDX-License-Identifier: Apache-2.0
"""A faulty recording through the node over DDS, at the pace at which it was recorded."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from support.faults.cases import Case
from support.faults.recording import STREAMS
from support.faults.verdict import Outcome, parameters_of
from support.robot import Robot

from robocache_core.units import SECOND
from robocache_ros import parameters
from robocache_ros.bags import open_bag
from robocache_ros.rclpy_private import lifecycle_state
from robocache_ros.sources import routes

#: Messages that a publisher keeps for the node.
_DEPTH = 100


class Paced(Robot):
    """The node, a peer that plays a recording to it, and what comes back. A context manager."""

    def __init__(self, case: Case) -> None:
        #: Lines of /diagnostics, and those on why no frame came, from the first frame to the last message.
        self.sayings: list[str] = []
        self.blockers: list[str] = []
        self._listens = False
        gc.collect()  # a participant ends with the last object that knows its context: that of the case before
        super().__init__(**dict(parameters.flatten(parameters_of(case))))

    def play(self, path: Path) -> Outcome:
        """Play a recording, and return what came of it once no target waits any more."""
        self.bring_up()
        pipeline = self.node.pipeline
        publishers = {}
        for route in routes(pipeline.config):
            topic = route.absolute_topic
            publishers[topic] = self.peer.create_publisher(route.message, topic, _DEPTH)
            self.until(publishers[topic].get_subscription_count, f'a subscription on {topic}')
            self.until(lambda topic=topic: self.node.count_publishers(topic), f'the node to see who publishes {topic}')
        self.until(lambda: self.peer.count_publishers('/preprocess/fused'), 'the fused topic')
        self._publish(path, publishers)
        self._listens = False
        self.until(lambda: not pipeline.targets.counts().held, 'the last target')
        self.until(lambda: len(self.frames) == pipeline.targets.counts().used, 'the last frame')
        for name, account in pipeline.ledger.items():
            self.settled(name, account.counts().received)
        assert lifecycle_state(self.node) == 'active'
        return Outcome(
            list(self.frames),
            {name: account.counts() for name, account in pipeline.ledger.items()},
            {name: pipeline.num_held(name) for name in pipeline.ledger},
            pipeline.targets.counts(),
            self.blockers,
            self.sayings,
        )

    def _publish(self, path: Path, publishers: Mapping[str, Any]) -> None:
        """Publish each message when it is due, once the one before it has arrived: topics have no common order."""
        bag, names = open_bag(path), {topic: name for name, topic in STREAMS.items()}
        sent = dict.fromkeys(STREAMS, 0)
        began_s = time.monotonic()
        for topic, record_ns, raw in bag.messages(publishers):
            name = names[topic]
            time.sleep(max(0.0, began_s + (record_ns - bag.start_ns) / SECOND - time.monotonic()))
            publishers[topic].publish(bytes(raw))
            sent[name] += 1
            self.until(
                lambda n=name: self.node.pipeline.ledger[n].counts().received == sent[n], f'a message on {topic}'
            )
            self._listens = self._listens or bool(self.frames)

    def _diagnosed(self, message: DiagnosticArray) -> None:
        super()._diagnosed(message)
        if self._listens:
            self.sayings += [
                f'{status.name}: {status.message}'.removeprefix('preprocess: ') for status in message.status
            ]
            values = {pair.key: pair.value for status in message.status for pair in status.values}
            self.blockers += filter(None, [values.get('blocker', '')])
