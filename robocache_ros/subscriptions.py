# SPDX-License-Identifier: Apache-2.0
"""The node's subscriptions: a callback stamps and enqueues, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo as CameraInfoMsg
from sensor_msgs.msg import CompressedImage, Image, Imu, PointCloud2

from robocache_core.config import CameraConfig, LidarConfig
from robocache_core.pipeline import Pipeline
from robocache_core.samples import CameraInfo, Sample
from robocache_ros import decode, qos
from robocache_ros.inbox import Inboxes
from robocache_ros.metrics import Metrics

Stream = Any  # LidarConfig | CameraConfig | ImuConfig: rclpy's message types carry no static type to match them


def message_type(stream: Stream) -> Any:
    """Message type of a stream's topic."""
    if isinstance(stream, LidarConfig):
        return PointCloud2
    if isinstance(stream, CameraConfig):
        return CompressedImage if stream.is_compressed else Image
    return Imu


def decoder(stream: Stream) -> Callable[[Any], Sample]:
    """Function from a message of the stream to its sample; raises ``DataError``."""
    functions: dict[type, Callable[[Any, Any], Sample]] = {
        PointCloud2: decode.decode_cloud,
        CompressedImage: decode.decode_compressed,
        Image: decode.decode_image,
        Imu: decode.decode_imu,
    }
    function = functions[message_type(stream)]
    return lambda message: function(message, stream)


#: Messages of a topic that one callback takes at the most.
_AT_ONCE = 100


class Subscriptions:
    """Makes one subscription a stream, and one to the CameraInfo of a camera that is rectified.

    Args:
        node: owns the subscriptions.
        pipeline: names the streams.
        inboxes: take the messages.
        metrics: is told of arrivals and QoS events.
        undo: is told how to undo this.
    """

    def __init__(
        self, node: LifecycleNode, pipeline: Pipeline, inboxes: Inboxes, metrics: Metrics, undo: ExitStack
    ) -> None:
        self._node = node
        self._inboxes = inboxes
        self._metrics = metrics
        self._pipeline = pipeline
        self._infos: dict[str, CameraInfo] = {}
        self._subscriptions: dict[str, Any] = {}
        for name, stream in pipeline.streams.items():
            self._subscriptions[name] = self._subscribe(stream)
            undo.callback(node.destroy_subscription, self._subscriptions[name])
        for camera in pipeline.config.cameras:
            if camera.rectify:
                undo.callback(node.destroy_subscription, self._subscribe_info(camera))

    def _subscribe(self, stream: Stream) -> Any:
        # Small messages come in fast; the middleware overwrites the oldest without a word when its queue is full.
        profile = qos.sensor_data(min(stream.queue.depth, 1000))
        return self._node.create_subscription(
            message_type(stream),
            stream.topic,
            partial(self._take, stream.name),
            profile,
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda event: self._incompatible(stream, event, profile),
                message_lost=lambda event: self._metrics.lost(stream.name, event.total_count_change),
            ),
            qos_overriding_options=qos.overridable(),
        )

    def _take(self, name: str, message: Any) -> None:
        self._enqueue(name, message)
        # An executor takes one message of each topic in turn, so that under load a fast topic would fall behind a slow
        # one until targets give up on it. What has come by now is taken at once.
        subscription = self._subscriptions[name]
        try:
            for _ in range(_AT_ONCE):
                with subscription.handle:
                    taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
                if taken is None:
                    return
                self._enqueue(name, taken[0])
        except rclpy_implementation.InvalidHandle:
            return  # destroyed meanwhile by another thread: there is nothing to take from

    def _enqueue(self, name: str, message: Any) -> None:
        self._metrics.arrived(name)
        data = getattr(message, 'data', None)
        self._inboxes.put(name, message, 0 if data is None else len(data))

    def _subscribe_info(self, camera: CameraConfig) -> Any:
        # Volatile fits every publisher; where a CameraInfo is latched and sent once, set its durability to
        # transient_local by qos_overrides.
        return self._node.create_subscription(
            CameraInfoMsg,
            camera.calibration_topic,
            partial(self._take_info, camera.name),
            qos.sensor_data(1),
            qos_overriding_options=qos.overridable(),
        )

    def _take_info(self, name: str, message: Any) -> None:
        info = decode.decode_camera_info(message)
        if info != self._infos.get(name):
            self._infos[name] = info
            # On the worker, which alone may touch the pipeline.
            self._inboxes.put_event(partial(self._pipeline.set_camera_info, name, info))

    def _incompatible(self, stream: Stream, event: Any, profile: Any) -> None:
        text = qos.describe_incompatible(event, self._node.resolve_topic_name(stream.topic), profile)
        self._metrics.incompatible(stream.name, text)
        self._node.get_logger().warning(text)
