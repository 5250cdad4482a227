# SPDX-License-Identifier: Apache-2.0
"""The node's publishers of frames. Nothing is encoded for a topic that has no subscriber."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from rclpy.event_handler import PublisherEventCallbacks
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Float64, UInt8MultiArray

from robocache_core.config import PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_ros import encode, qos
from robocache_ros.metrics import Metrics
from robocache_ros.parameters import NodeConfig


class Publishers:
    """Makes the publishers; ``publish`` sends one frame to whoever listens.

    They are plain publishers: only the worker publishes, and it runs only while the node is active.

    ``~/voxels`` is the view of the only lidar; with several lidars each has ``~/voxels/<lidar>``.

    Args:
        node: owns the publishers.
        config: the streams.
        node_config: which views are wanted.
        metrics: is told of every frame, and of subscribers that cannot be served.
        undo: is told how to undo this.
    """

    def __init__(
        self,
        node: LifecycleNode,
        config: PipelineConfig,
        node_config: NodeConfig,
        metrics: Metrics,
        undo: ExitStack,
    ) -> None:
        self._node = node
        self._undo = undo
        self._metrics = metrics
        self._fused = self._make(UInt8MultiArray, '~/fused')
        self._processing = self._make(Float64, '~/debug/processing_time_ms')
        self._latency = self._make(Float64, '~/debug/pipeline_latency_ms')
        lidars = config.lidars if node_config.publish_voxels else ()
        self._voxels = [
            (lidar, self._make(PointCloud2, '~/voxels' if len(lidars) == 1 else f'~/voxels/{lidar.name}'))
            for lidar in lidars
        ]
        cameras = config.cameras if node_config.publish_images else ()
        self._images = [(camera, self._make(Image, f'~/image/{camera.name}')) for camera in cameras]

    def _make(self, kind: type, topic: str) -> Any:
        profile = qos.reliable()
        publisher = self._node.create_publisher(
            kind,
            topic,
            profile,
            event_callbacks=PublisherEventCallbacks(
                incompatible_qos=lambda event: self._incompatible(event, topic, profile)
            ),
            qos_overriding_options=qos.overridable(),
        )
        self._undo.callback(self._node.destroy_publisher, publisher)
        return publisher

    def _incompatible(self, event: Any, topic: str, profile: Any) -> None:
        name = self._node.resolve_topic_name(topic)
        text = qos.describe_incompatible(event, name, profile, publisher=True)
        self._metrics.subscriber_incompatible(text)
        self._node.get_logger().warning(text)

    @property
    def num_subscribers(self) -> int:
        """Subscribers of ``~/fused``."""
        return int(self._fused.get_subscription_count())

    def publish(self, frame: FusedFrame, began_ns: int) -> None:
        """Send ``frame``; ``began_ns`` is when its computation began, on the steady clock."""
        if self.num_subscribers:
            self._fused.publish(encode.encode_fused(frame))
        for lidar, publisher in self._voxels:
            if publisher.get_subscription_count():
                publisher.publish(encode.encode_voxels(frame, lidar))
        for camera, publisher in self._images:
            if publisher.get_subscription_count():
                publisher.publish(encode.encode_image(frame, camera))
        latency_ns = self._node.get_clock().now().nanoseconds - frame.stamp_ns
        self._metrics.published(frame, latency_ns)
        if self._processing.get_subscription_count():
            self._processing.publish(Float64(data=(time.monotonic_ns() - began_ns) / 1e6))
        if self._latency.get_subscription_count():
            self._latency.publish(Float64(data=latency_ns / 1e6))
