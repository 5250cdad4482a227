# SPDX-License-Identifier: Apache-2.0
"""The node's subscriptions: serialized messages are stamped and enqueued, images decoded where no message waits.

Of a message that rclpy cannot deserialize it leaves no trace, so this is done where drops are counted (``ingest.py``).
Where a stream asks for data on the GPU, rclpy does it: serialized they would be on the host.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode

from robocache_core.config import PipelineConfig, StreamConfig
from robocache_core.tunable import ConfigError
from robocache_ros import qos, rcl, rclpy_private
from robocache_ros.decoders import Decoding
from robocache_ros.events import Event
from robocache_ros.message import Deserialized, Serialized
from robocache_ros.message_data import ON_GPU, refused_on_gpu
from robocache_ros.reader import Reader, ReadOnThread
from robocache_ros.runtime import Runtime
from robocache_ros.sources import Route, routes

#: Messages that the middleware keeps for a reader: small ones come in fast, and others come while it
#: decodes an image. When there are more, it overwrites the oldest silently.
_LEAST_HISTORY, _MOST_HISTORY = 32, 1000


def check_gpu_messages(node: LifecycleNode, config: PipelineConfig) -> None:
    """Raise ``ConfigError`` where a stream asks for data on the GPU, and this ROS has none there."""
    if refused := refused_on_gpu(node, config):
        raise ConfigError(refused)


class Subscriptions:
    """Makes one subscription for each topic that a stream takes: its messages, and its CameraInfo if it needs one.

    Args:
        node: owns the subscriptions.
        runtime: takes the messages, and records QoS events.
        views: whether CameraInfo is taken where it is only shown, too.
        undo: is given what undoes this.
    """

    def __init__(self, node: LifecycleNode, runtime: Runtime, undo: ExitStack, *, views: bool) -> None:
        self._node = node
        self._runtime = runtime
        self._group = ReadOnThread()
        for route in routes(runtime.pipeline.config, views=views):
            subscription = self._subscribe_info(route) if route.is_calibration else self._subscribe(route)
            undo.callback(node.destroy_subscription, subscription)
            if not route.is_calibration:
                undo.callback(self._read(route.stream.name, subscription).stop)

    def _subscribe(self, route: Route) -> Any:
        stream = route.stream
        takes_objects = self._takes_from_gpu(stream)
        wrap = Deserialized if takes_objects else Serialized
        profile = qos.sensor_data(min(max(stream.queue.depth, _LEAST_HISTORY), _MOST_HISTORY))
        return self._node.create_subscription(
            route.message,
            route.topic,
            # A reader takes them, but an executor that knows no callback groups may come first.
            lambda message: self._runtime.put(stream.name, wrap(message)),
            profile,
            callback_group=self._group,
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda event: self._incompatible(route, event, profile),
                message_lost=lambda event: self._runtime.metrics.lost(stream.name, event.total_count_change),
            ),
            qos_overriding_options=qos.overridable(),
            **(ON_GPU if takes_objects else {'raw': True}),
        )

    def _takes_from_gpu(self, stream: StreamConfig) -> bool:
        """Whether messages are objects whose data may be on the GPU; where the CPU computes, they are serialized."""
        return stream.may_be_on_gpu and self._runtime.pipeline.device.reads_gpu_bytes

    def _read(self, name: str, subscription: Any) -> Reader:
        runtime = self._runtime
        return Reader(
            self._node.context,
            subscription,
            take=rcl.take if subscription.raw else rclpy_private.take_message,
            put=lambda taken: self._put(name, taken),
            on_failure=lambda: runtime.drops.fail(name, f'{name}: a message cannot be taken'),
        )

    def _put(self, name: str, taken: rcl.Taken) -> Decoding | None:
        if taken.source_ns > 0:  # DDS stamps by the wall clock
            self._runtime.metrics.transported(name, time.time_ns() - taken.source_ns)
        return self._runtime.put(name, taken.message)

    def _subscribe_info(self, route: Route) -> Any:
        # Volatile fits every publisher; where a CameraInfo is latched and sent once, set its durability to
        # transient_local by qos_overrides.
        return self._node.create_subscription(
            route.message,
            route.topic,
            partial(self._runtime.put_calibration, route.stream.name),
            qos.sensor_data(1),
            qos_overriding_options=qos.overridable(),
            raw=True,
        )

    def _incompatible(self, route: Route, event: Any, profile: Any) -> None:
        topic = self._node.resolve_topic_name(route.topic)
        text = qos.describe_incompatible(event, topic, profile)
        self._runtime.metrics.incompatible(route.stream.name, text)
        self._runtime.log.emit(Event.INCOMPATIBLE_QOS, topic=topic, detail=text)
