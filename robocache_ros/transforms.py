# SPDX-License-Identifier: Apache-2.0
"""Poses of sensors in the target frame, from TF where tf2_ros is installed; parameters come first."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.time import Time

from robocache_core.pipeline import Pipeline
from robocache_core.rotation import pose_matrix
from robocache_core.samples import Sample


class Transforms:
    """Asks TF for the poses that no parameter states, once each: a sensor is fixed to the robot.

    Args:
        node: listens to TF, if a stream needs it.
        pipeline: is told the poses.
        undo: is told how to undo this.
    """

    def __init__(self, node: LifecycleNode, pipeline: Pipeline, undo: ExitStack) -> None:
        self._pipeline = pipeline
        self._logger = node.get_logger()
        self._target = pipeline.config.target_frame
        self._buffer: Any = None
        located = [s for s in pipeline.streams.values() if pipeline.needs_pose(s.name)] if self._target else []
        needed = [s.name for s in located if not s.known_pose]
        if not needed:
            return
        if importlib.util.find_spec('tf2_ros') is None:
            node.get_logger().warning(
                f'tf2_ros is not installed: samples of {", ".join(needed)} that are not in {self._target} '
                f'will be dropped (no_transform); set {needed[0]}.extrinsics'
            )
            return
        import tf2_ros

        self._buffer = tf2_ros.Buffer()
        undo.callback(tf2_ros.TransformListener(self._buffer, node).unregister)

    def before(self, name: str, decode: Callable[[Any], Sample]) -> Callable[[Any], Sample]:
        """Return ``decode`` preceded by what its stream needs: for a lidar, the pose of its frame."""
        if self._buffer is None or not self._pipeline.needs_pose(name):
            return decode

        def decode_after_lookup(message: Any) -> Sample:
            self._look_up(name, message.header.frame_id)
            return decode(message)

        return decode_after_lookup

    def _look_up(self, name: str, frame_id: str) -> None:
        if self._pipeline.has_pose(name, frame_id) or not self._buffer.can_transform(self._target, frame_id, Time()):
            return
        found = self._buffer.lookup_transform(self._target, frame_id, Time())
        if found.header.stamp.sec or found.header.stamp.nanosec:
            # tf2 gives a chain of static transforms the stamp 0; a pose that moves would stay that of the first scan.
            self._logger.warning(
                f'{name}: the pose of {frame_id} in {self._target} moves; target_frame must be fixed to the robot',
                throttle_duration_sec=1.0,
            )
            return
        t, q = found.transform.translation, found.transform.rotation
        self._pipeline.set_pose(name, frame_id, pose_matrix((t.x, t.y, t.z, q.x, q.y, q.z, q.w)))
