# SPDX-License-Identifier: Apache-2.0
"""The part of a replay in which the node runs."""

from __future__ import annotations

import time
from collections.abc import Collection

from rclpy.node import Node

from robocache_ros.bags import Bag
from robocache_ros.tools import interruption
from robocache_ros.tools.progress import ProgressBar
from robocache_ros.tools.replay.collector import Collector
from robocache_ros.tools.replay.matching import MatchError, wait_matched
from robocache_ros.tools.replay.node_process import NodeProcess
from robocache_ros.tools.replay.player import Player
from robocache_ros.tools.replay.spinner import Spinner

_START_TIMEOUT_S = 60.0
_MATCH_TIMEOUT_S = 10.0
#: After the last message: how long no frame may come until none is expected any more. Longer than the node waits for
#: a late stream before it gives up.
_QUIET_S = 2.0


class Session:
    """The time in which the node runs: it starts, gets the bag, sends the last frames, and shuts down.

    Every wait ends with the error of a callback or of the child where there is one.
    """

    def __init__(self, node: Node, player: Player, collector: Collector, child: NodeProcess) -> None:
        self._node, self._player, self._collector, self._child = node, player, collector, child
        self._spinner = Spinner(node)

    def run(self, bag: Bag, topics: Collection[str], *, laps: int, diagnostics_s: float) -> tuple[int, int]:
        """Play ``bag`` ``laps`` times; ``topics`` are those on which the node must be connected.

        Returns:
            Steady time of the last message, ns, and the node's exit code.
        """
        with self._spinner, self._child:
            self._child.wait_active(_START_TIMEOUT_S)
            self._player.publish_clock(bag.start_ns)
            publishers = {topic: self._player.publishers[topic] for topic in sorted(topics)}
            wait_matched(self._node, publishers, _MATCH_TIMEOUT_S, self._check)
            self._wait_subscribed(_MATCH_TIMEOUT_S)
            self._play(bag, laps)
            ended_ns = time.monotonic_ns()
            self._drain(diagnostics_s)
            exit_code = self._child.shut_down()
            self._spinner.check()
        return ended_ns, exit_code

    def _check(self) -> None:
        interruption.check()
        self._spinner.check()
        self._child.check()

    def _wait_subscribed(self, timeout_s: float) -> None:
        """Wait until the node itself reports a subscriber of ~/fused: then no first frame is lost."""
        deadline = time.monotonic() + timeout_s
        while not any(d.num_subscribers for d in self._collector.diagnostics):
            self._check()
            if time.monotonic() > deadline:
                heard = bool(self._collector.diagnostics)
                state = 'sees no subscriber of /preprocess/fused' if heard else 'sends no /diagnostics'
                raise MatchError(f'after {timeout_s:.0f} s the node {state}')
            time.sleep(0.02)

    def _play(self, bag: Bag, laps: int) -> None:
        progress = ProgressBar(bag.duration_s * laps)
        for lap in range(laps):

            def on_progress(done_s: float, before_s: float = lap * bag.duration_s) -> None:
                self._check()
                progress.show(before_s + min(done_s, bag.duration_s), self._count())

            self._player.play(on_progress)
        progress.show(bag.duration_s * laps, self._count())
        progress.close()

    def _count(self) -> str:
        return f'{len(self._collector.frames)} frames'

    def _drain(self, diagnostics_s: float) -> None:
        """Wait until no frame comes any more, and for the diagnostics that count them all."""
        count, since = -1, time.monotonic()
        while time.monotonic() - since < _QUIET_S:
            self._idle()
            if len(self._collector.frames) != count:
                count, since = len(self._collector.frames), time.monotonic()
        quiet_ns, deadline = time.monotonic_ns(), time.monotonic() + diagnostics_s
        while time.monotonic() < deadline:
            self._idle()
            if self._collector.diagnostics and self._collector.diagnostics[-1].received_ns > quiet_ns:
                return

    def _idle(self) -> None:
        self._player.idle(0.05)
        self._check()
