# SPDX-License-Identifier: Apache-2.0
"""The node in a process of its own over DDS, with a robot and a consumer, looked at from outside.

python -m benchmark.endurance.live MINUTES
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmark.endurance import readings, robot
from benchmark.node.processes import ProcessError, Processes
from robocache_ros import dds_environment

NODE = 'robocache_ros.process'
_START_S = 60.0


class Stand:
    """Node, player and consumer; a context manager that ends them.

    Args:
        node: module that runs the node.
        environment: added to that of all.
    """

    def __init__(self, node: str = NODE, environment: dict[str, str] | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        robot.write_params(folder / 'preprocess.yaml')
        dds = dds_environment.environment(
            dds_environment.distro(os.environ), dds_environment.share_directory(), os.environ
        )
        isolated = {'ROS_DOMAIN_ID': str(1 + os.getpid() % 100), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
        self.environment = {**os.environ, **dds, **isolated, **(environment or {})}
        self._processes = Processes(folder / 'logs', self.environment)
        try:
            self._start(node, folder / 'preprocess.yaml')
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def _start(self, node: str, params: Path) -> None:
        start = self._processes.start
        arguments = ['--ros-args', '--params-file', str(params), '-p', 'autostart:=true']
        self.node = start('node', node, *arguments, by_signal=True)
        self.player = start('player', 'benchmark.endurance.player')
        self.consumer = start('consumer', 'benchmark.endurance.consumer', 'consumer')
        self._processes.wait(self.player, 'ready', _START_S)
        # The first report of the node, which says what its GPU holds, comes a second after the first frame.
        for _ in range(2):
            while not self._processes.wait(self.consumer, 'second', _START_S)['frames']:
                pass

    def seconds(self, count: int) -> Iterator[dict[str, Any]]:
        """Yield what the consumer says of each of the next seconds, with ``node``: what that process holds then."""
        for _ in range(count):
            said = self._processes.wait(self.consumer, 'second', _START_S)
            node = readings.read(self.node.pid, said['device_bytes'])
            yield {**said, 'node': node, 'consumer': readings.read(self.consumer.pid)}

    def end(self) -> None:
        """End all.

        Raises:
            ProcessError: one did not end well.
        """
        self._processes.end()

    def __enter__(self) -> Stand:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._processes.__exit__(kind, error, trace)
        self._folder.cleanup()


def run(minutes: float, node: str = NODE) -> dict[str, Any]:
    """Run; returns what came out, and what the processes of the node and of the consumer held.

    Raises:
        ProcessError: a process ended, or did not end well.
    """
    begin = time.monotonic()
    with Stand(node) as stand:
        seen = list(stand.seconds(max(4, round(minutes * 60))))
        stand.end()
    of_node, of_consumer = ([second[name] for second in seen] for name in ('node', 'consumer'))
    consumer = readings.summary(of_consumer)
    result = readings.summary(of_node)
    return {
        'minutes': round(len(seen) / 60, 2),
        'wall_s': round(time.monotonic() - begin, 1),
        'frames': sum(second['frames'] for second in seen),
        'missed': seen[-1]['missed'],
        'worst_ms': max(second['worst_ms'] or 0.0 for second in seen),
        'keep_every': max(second['keep_every'] for second in seen),
        **result,
        'growth_of_consumer': consumer['growth'],
        'leaks': result['leaks'] + [f'consumer: {leak}' for leak in consumer['leaks']],
    }


if __name__ == '__main__':
    try:
        print(json.dumps(run(float(sys.argv[1]))))
    except ProcessError as error:
        sys.exit(f'live: {error}')
