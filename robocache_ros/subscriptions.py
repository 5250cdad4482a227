# SPDX-License-Identifier: Apache-2.0
"""The node's subscriptions: a callback stamps and enqueues serialized messages, nothing else.

Of a message that rclpy cannot deserialize it leaves no trace, so this is done where drops are counted (``ingest.py``).
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode

from robocache_ros import qos
from robocache_ros.rclpy_private import take_message
from robocache_ros.runtime import Runtime
from robocache_ros.sources import Route, routes

#: Messages of a topic that one callback takes at the most.
_AT_ONCE = 100


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
        self._subscriptions: dict[str, Any] = {}
        for route in routes(runtime.pipeline.config, views=views):
            subscription = self._subscribe_info(route) if route.is_calibration else self._subscribe(route)
            undo.callback(node.destroy_subscription, subscription)

    def _subscribe(self, route: Route) -> Any:
        stream = route.stream
        # Small messages come in fast; the middleware overwrites the oldest silently when its queue is full.
        profile = qos.sensor_data(min(stream.queue.depth, 1000))
        subscription = self._node.create_subscription(
            route.message,
            route.topic,
            partial(self._take, stream.name),
            profile,
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda event: self._incompatible(route, event, profile),
                message_lost=lambda event: self._runtime.metrics.lost(stream.name, event.total_count_change),
            ),
            qos_overriding_options=qos.overridable(),
            raw=True,
        )
        self._subscriptions[stream.name] = subscription
        return subscription

    def _take(self, name: str, raw: bytes) -> None:
        self._runtime.put(name, raw)
        # An executor takes one message of each topic in turn, so that under load a fast topic would fall behind a slow
        # one until targets give up on it. What has come by now is taken at once.
        for _ in range(_AT_ONCE):
            another = take_message(self._subscriptions[name])
            if another is None:
                return
            self._runtime.put(name, another)

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
        text = qos.describe_incompatible(event, self._node.resolve_topic_name(route.topic), profile)
        self._runtime.metrics.incompatible(route.stream.name, text)
        self._node.get_logger().warning(text)
