# SPDX-License-Identifier: Apache-2.0
"""The node's publishers, one row a topic. Nothing is encoded for a topic that has no subscriber."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Float64, UInt8MultiArray, UInt32

from robocache_core.config import PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_ros import encode, qos, rcl
from robocache_ros.clock import Clock
from robocache_ros.event_log import EventLog
from robocache_ros.events import Event
from robocache_ros.local_frames import LocalFrames
from robocache_ros.metrics import Metrics
from robocache_ros.parameters import NodeConfig
from robocache_ros.reporter import Load


@dataclass(frozen=True)
class Timing:
    """How long a frame took, ms: its computation with its publication, and from its stamp to its publication."""

    processing_ms: float
    latency_ms: float


@dataclass(frozen=True)
class Output:
    """One topic, or one for each stream of a group.

    Attributes:
        content: type of what is published there.
        message: its message type.
        topic: its name; ``{name}`` stands for the stream's.
        encode: from the content, and the stream where the topic has one, to the message, as it is or serialized; None:
            there is none to send.
        group: attribute of ``PipelineConfig`` that holds the streams, or grids, that have the topic; empty: there is
            none.
        only: name of the topic where the group has one stream alone; empty: as ``topic``.
        switch: field of ``NodeConfig`` that turns the topic off; empty: it is always there.
    """

    content: type
    message: Any
    topic: str
    encode: Callable[..., Any]
    group: str = ''
    only: str = ''
    switch: str = ''

    def topics(self, config: PipelineConfig, node_config: NodeConfig) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Yield the topics that are wanted, each with its stream if it has one."""
        if self.switch and not getattr(node_config, self.switch):
            return
        if not self.group:
            yield self.topic, ()
            return
        streams = getattr(config, self.group)
        for stream in streams:
            yield self.only if self.only and len(streams) == 1 else self.topic.format(name=stream.name), (stream,)


FUSED = Output(FusedFrame, UInt8MultiArray, '~/fused', encode.encode_fused)
OUTPUTS = (
    FUSED,
    Output(FusedFrame, PointCloud2, '~/voxels/{name}', encode.encode_voxels, 'voxelized', '~/voxels', 'publish_voxels'),
    Output(FusedFrame, Image, '~/image/{name}', encode.encode_image, 'cameras', switch='publish_images'),
    Output(FusedFrame, Image, '~/image/{name}', encode.encode_depth, 'depths', switch='publish_images'),
    *(
        Output(
            FusedFrame, CameraInfo, '~/image/{name}/camera_info', encode.encode_camera_info, group, '', 'publish_images'
        )
        for group in ('cameras', 'depths')
    ),
    Output(Timing, Float64, '~/debug/processing_time_ms', lambda timing: Float64(data=timing.processing_ms)),
    Output(Timing, Float64, '~/debug/pipeline_latency_ms', lambda timing: Float64(data=timing.latency_ms)),
    Output(DiagnosticArray, DiagnosticArray, '/diagnostics', lambda report: report),
    Output(Load, UInt32, '~/queue_depth', lambda load: UInt32(data=load.queue_depth)),
    Output(Load, DiagnosticStatus, '~/backpressure', lambda load: load.backpressure),
)


def own_topics(config: PipelineConfig, node_config: NodeConfig) -> list[str]:
    """Return the topics on which the node publishes, as they are before they are resolved."""
    return [topic for output in OUTPUTS for topic, _ in output.topics(config, node_config)]


class Publishers:
    """Makes the publishers, and sends to those that have a subscriber.

    They are plain publishers: frames come from the worker alone, and it runs only while the node is active.

    Args:
        node: owns the publishers.
        config: the streams.
        node_config: which views are wanted.
        log: receives which subscribers cannot be served.
        metrics: records every frame, and subscribers that cannot be served.
        clock: measures how long a frame took.
        local: consumers in this process, which count as subscribers.
        undo: is given what undoes this.
    """

    def __init__(
        self,
        node: LifecycleNode,
        config: PipelineConfig,
        node_config: NodeConfig,
        log: EventLog,
        metrics: Metrics,
        clock: Clock,
        local: LocalFrames,
        undo: ExitStack,
    ) -> None:
        self._node = node
        self._undo = undo
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._local = local

        self._outlets = [
            (output, streams, self._make(output.message, topic))
            for output in OUTPUTS
            for topic, streams in output.topics(config, node_config)
        ]
        self._fused = next(publisher for output, _, publisher in self._outlets if output is FUSED)

    def _make(self, message: Any, topic: str) -> Any:
        profile = qos.reliable()
        publisher = self._node.create_publisher(
            message,
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
        self._log.emit(Event.INCOMPATIBLE_QOS, topic=name, detail=text)

    @property
    def num_subscribers(self) -> int:
        """Subscribers of ``~/fused``, and consumers in this process."""
        return int(self._fused.get_subscription_count()) + len(self._local)

    @property
    def fused_topic(self) -> str:
        """Resolved name of ``~/fused``."""
        return str(self._fused.topic_name)

    def publish(self, frame: FusedFrame, began_ns: int) -> None:
        """Send ``frame``; ``began_ns`` is when its computation began, on the steady clock."""
        self.send(frame)
        latency_ns = self._node.get_clock().now().nanoseconds - frame.stamp_ns
        self._metrics.published(frame, latency_ns)
        self.send(Timing((self._clock.steady_ns() - began_ns) / 1e6, latency_ns / 1e6))

    def send(self, content: FusedFrame | Timing | DiagnosticArray | Load) -> None:
        """Send ``content`` on each of its topics that has a subscriber."""
        for output, streams, publisher in self._outlets:
            if isinstance(content, output.content) and publisher.get_subscription_count():
                message = output.encode(content, *streams)
                if isinstance(message, memoryview):
                    rcl.publish(publisher, message)
                elif message is not None:
                    publisher.publish(message)
