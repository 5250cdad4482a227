# SPDX-License-Identifier: Apache-2.0
"""A policy in the process of the node: it gets each frame's tensors where they were computed, and nothing is copied.

It is run as the node is::

    python -m robocache_ros.examples.policy --ros-args --params-file preprocess.yaml

It publishes ``~/cmd_vel`` (geometry_msgs/Twist), which an untrained network makes of the occupied voxels of the first
lidar and the last reading of the first IMU: put yours in its place. A frame in which a stream is not valid stops the
robot. The parameters must name a lidar with sparse voxels and an IMU.
"""

from __future__ import annotations

import sys

import rclpy
import torch
from geometry_msgs.msg import Twist
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from robocache_core.frame import FusedFrame
from robocache_ros.examples.ending import set_by_signals
from robocache_ros.examples.network import Network
from robocache_ros.node import PreprocessNode
from robocache_ros.subscriber import InProcessSubscriber


class PolicyNode(Node):  # type: ignore[misc]  # rclpy has no types
    """Drives by the frames of ``preprocess``, which is configured."""

    def __init__(self, preprocess: PreprocessNode, lidar: str, imu: str) -> None:
        super().__init__('policy')
        self._network = Network(lidar, imu)
        self._publisher = self.create_publisher(Twist, '~/cmd_vel', 1)
        # The newest frame is the one to act on.
        self._subscriber = InProcessSubscriber(self, self._drive, preprocess, depth=1)

    def destroy_node(self) -> None:
        """Take no more frames, and end."""
        self._subscriber.destroy()
        super().destroy_node()

    def _drive(self, frame: FusedFrame) -> None:
        command = Twist()  # stop
        if all(frame.valid.values()):
            with torch.inference_mode():
                network = self._network.to(next(iter(frame.tensors.values())).device)
                command.linear.x, command.angular.z = network(frame.tensors).tolist()
        self._publisher.publish(command)


def main() -> int:
    """Run both nodes on one executor until a signal ends them; returns the exit status."""
    ending = set_by_signals()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # its own would end rclpy within a transition
    executor = SingleThreadedExecutor()
    preprocess = PreprocessNode()
    try:
        success = TransitionCallbackReturn.SUCCESS
        if preprocess.trigger_configure() != success or preprocess.trigger_activate() != success:
            return 1
        assert preprocess.pipeline is not None
        config = preprocess.pipeline.config
        if not config.imus or not config.voxelized or config.voxelized[0].voxel.output != 'sparse':
            print('policy: the parameters must name a lidar with voxel.output sparse, and an IMU', file=sys.stderr)
            return 2
        for node in (preprocess, PolicyNode(preprocess, config.voxelized[0].name, config.imus[0].name)):
            executor.add_node(node)
        while not ending.is_set():
            executor.spin_once(timeout_sec=0.1)
    finally:
        preprocess.release()
        executor.shutdown()
        rclpy.shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
