# SPDX-License-Identifier: Apache-2.0
"""A policy in the process of the node: it gets each frame's tensors where they were computed, and nothing is copied.

    python -m robocache_ros.examples.policy --ros-args --params-file preprocess.yaml

It publishes ``~/cmd_vel`` (geometry_msgs/Twist), which an untrained network makes of the occupied voxels and the last
reading of the IMU: put yours in its place.
"""

from __future__ import annotations

import rclpy
import torch
from geometry_msgs.msg import Twist
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node

from robocache_core.frame import FusedFrame
from robocache_ros.node import PreprocessNode
from robocache_ros.subscriber import InProcessSubscriber


class Policy(torch.nn.Module):
    """A speed, m/s, and a turn, rad/s, from the tensors of a frame, on any device."""

    def __init__(self, lidar: str, imu: str) -> None:
        super().__init__()
        self._lidar, self._imu = lidar, imu
        self._voxel = torch.nn.LazyLinear(16)
        self._head = torch.nn.LazyLinear(2)

    def forward(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return ``[2]``, each from -1 to 1; a frame without a point is one of zeros."""
        features = self._voxel(tensors[f'{self._lidar}.features'])
        scene = torch.cat([features, features.new_zeros(1, 16)]).amax(dim=0)
        return torch.tanh(self._head(torch.cat([scene, tensors[self._imu][-1]])))


class PolicyNode(Node):  # type: ignore[misc]  # rclpy has no types
    """Drives by the frames of ``preprocess``."""

    def __init__(self, preprocess: PreprocessNode) -> None:
        super().__init__('policy')
        assert preprocess.pipeline is not None, 'preprocess must be configured'
        config = preprocess.pipeline.config
        self._policy = Policy(config.lidars[0].name, config.imus[0].name)
        self._publisher = self.create_publisher(Twist, '~/cmd_vel', 1)
        InProcessSubscriber(self, self._drive, preprocess, depth=1)  # the newest frame is the one to act on

    def _drive(self, frame: FusedFrame) -> None:
        with torch.inference_mode():
            speed, turn = self._policy.to(next(iter(frame.tensors.values())).device)(frame.tensors).tolist()
        command = Twist()
        command.linear.x, command.angular.z = speed, turn
        self._publisher.publish(command)


def main() -> int:
    """Run both nodes on one executor."""
    rclpy.init()
    preprocess = PreprocessNode()
    success = TransitionCallbackReturn.SUCCESS
    if preprocess.trigger_configure() != success or preprocess.trigger_activate() != success:
        return 1
    executor = SingleThreadedExecutor()
    for node in (preprocess, PolicyNode(preprocess)):
        executor.add_node(node)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        preprocess.release()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
