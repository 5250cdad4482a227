# SPDX-License-Identifier: Apache-2.0
"""A node that is configured, activated, deactivated and cleaned up over and over, with frames in each activation.

python -m benchmark.endurance.cycles COUNT
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import rclpy
from rclpy.logging import LoggingSeverity
from rclpy.signals import SignalHandlerOptions

from benchmark.endurance import readings, robot
from robocache_core.units import SECOND
from robocache_ros.message import Serialized
from robocache_ros.node import PreprocessNode

_NUM_READINGS = 100
_PATIENCE_S = 30.0
#: Gives back what malloc keeps of freed memory; with a collection before it, what grows is what is held.
_malloc_trim = ctypes.CDLL(None).malloc_trim


def run(count: int) -> dict[str, Any]:
    """Run ``count`` cycles; returns how long they took, what came out, and what the process held after each.

    Raises:
        RuntimeError: a transition failed, or no frame came.
    """
    with tempfile.TemporaryDirectory() as folder:
        params = Path(folder) / 'preprocess.yaml'
        robot.write_params(params)
        arguments = ['--ros-args', '--params-file', str(params)]
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        node = PreprocessNode()
    node.get_logger().set_level(LoggingSeverity.ERROR)
    messages, found, frames, begin = robot.Messages(), [], 0, time.monotonic()
    for cycle in range(count):
        _step(node, 'configure')
        _step(node, 'activate')
        frames += _frames_of_a_second(node, messages)
        device_bytes = readings.device_bytes(node.pipeline)
        _step(node, 'deactivate')
        _step(node, 'cleanup')
        if cycle % max(1, count // _NUM_READINGS) == 0:
            gc.collect()
            _malloc_trim(0)
            found.append(readings.read(device_bytes=device_bytes))
    wall_s = time.monotonic() - begin
    node.destroy_node()
    rclpy.shutdown()
    return {'cycles': count, 'wall_s': round(wall_s, 1), 'frames': frames, **readings.summary(found)}


def _step(node: PreprocessNode, name: str) -> None:
    result = getattr(node, f'trigger_{name}')()
    if result.name != 'SUCCESS':
        raise RuntimeError(f'{name}: {result.name}')


def _frames_of_a_second(node: PreprocessNode, messages: robot.Messages) -> int:
    """Put in a second of all sensors; returns the frames that it gave."""
    runtime, deadline = node.runtime, time.monotonic() + _PATIENCE_S
    for name, _, raw in messages.between(0, 1, 1_700_000_000 * SECOND):
        runtime.put(name, Serialized(raw))
        while len(runtime.inboxes):
            _wait(deadline)
    while not runtime.pipeline.targets.counts().used:
        _wait(deadline)
    return runtime.pipeline.targets.counts().used


def _wait(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise RuntimeError(f'the worker has given no frame within {_PATIENCE_S:.0f} s')
    time.sleep(0.0005)


if __name__ == '__main__':
    print(json.dumps(run(int(sys.argv[1]))))
