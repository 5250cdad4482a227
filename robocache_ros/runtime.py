# SPDX-License-Identifier: Apache-2.0
"""What the node is made of while it is configured, without rclpy, so that it can be run by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray

from robocache_core.config import PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_core.ledger import Reason
from robocache_core.pipeline import Pipeline
from robocache_ros.cdr import Raw
from robocache_ros.clock import Clock
from robocache_ros.decoders import Decoders, Decoding
from robocache_ros.diagnostics import Diagnostics
from robocache_ros.drop_log import DropLog
from robocache_ros.dumps import Dumps
from robocache_ros.event_log import EventLog
from robocache_ros.events import Event
from robocache_ros.inbox import Inboxes
from robocache_ros.ingest import Ingest
from robocache_ros.message import Message
from robocache_ros.metrics import Metrics
from robocache_ros.pixels import JPEG_DECODER
from robocache_ros.poses import PoseSource
from robocache_ros.received import Received
from robocache_ros.recorder import Recorder
from robocache_ros.reporter import Load, Reporter
from robocache_ros.timings_log import TimingsLog
from robocache_ros.worker import Worker


@dataclass(frozen=True)
class Surroundings:
    """What the runtime needs of the node.

    Attributes:
        name: the node's full name, with its namespace.
        log: the node's.
        record_ns: how far back the flight recorder goes; 0: nothing is recorded.
        record_folder: where its files go.
        timings_ns: time between two lines of the log with how long the stages take; 0: none.
        now_ns: returns ROS time, ns.
        poses: makes the source of the poses that no parameter states, for a pipeline.
        topics: by stream, its resolved topic.
        types_on: returns the full message types of a topic's publishers.
        published: returns the full message types of every topic that another node publishes.
        num_subscribers: returns how many subscribers the fused topic has.
        find_twin: returns who else publishes on the fused topic; empty where nobody does.
        hand_over: gives a frame to who takes it in this process, on the thread that computed it.
        publish: sends a frame, on another thread; the other argument is when its computation began, steady clock, ns.
        stays_on_device: returns whether somebody takes frames where they were computed; else they are brought to the
            host while their samples are there, so that a GPU which fails meanwhile loses none.
        send: publishes a DiagnosticArray or a ``Load``.
    """

    name: str
    log: EventLog
    timings_ns: int
    record_ns: int
    record_folder: Path
    now_ns: Callable[[], int]
    poses: Callable[[Pipeline], PoseSource]
    topics: Mapping[str, str]
    types_on: Callable[[str], list[str]]
    published: Callable[[], Mapping[str, Sequence[str]]]
    num_subscribers: Callable[[], int]
    find_twin: Callable[[], str]
    hand_over: Callable[[FusedFrame], None]
    publish: Callable[[FusedFrame, int], None]
    stays_on_device: Callable[[], bool]
    send: Callable[[DiagnosticArray | Load], None]


class Runtime:
    """Pipeline, inboxes, worker and reports, wired together.

    A message goes through ``put`` into an inbox, from there by the worker through ``ingest`` into the pipeline, and its
    frame out through ``surroundings.publish``.

    Args:
        config: streams, alignment and operations.
        metrics: records what the node observes of itself.
        clock: the clock of ``metrics``, and of all else here.
        surroundings: what the node gives.
    """

    def __init__(self, config: PipelineConfig, metrics: Metrics, clock: Clock, surroundings: Surroundings) -> None:
        self.log = surroundings.log
        self._now_ns = surroundings.now_ns
        self._topics = {
            stream.name: (surroundings.topics[stream.name], stream.message_type.rpartition('/')[2])
            for stream in config.streams()
        }
        self.metrics = metrics
        self.recorder = Recorder(clock, surroundings.record_ns)
        self.pipeline = Pipeline(config, on_host=lambda: not surroundings.stays_on_device(), observer=self.recorder)
        self.pipeline.on_degraded = self._log_fault
        self.drops = DropLog(self.log, on_failure=self.failed, on_drop=self.recorder.refused)
        self.decoders = Decoders.of(config)
        self.ingest = Ingest(self.pipeline, surroundings.poses(self.pipeline), self.drops, self.decoders)
        queues = {name: stream.queue for name, stream in self.pipeline.streams.items()}
        self.inboxes = Inboxes(queues, self.ingest.announce, self._drop_unread, clock)
        self.worker = Worker(
            self.pipeline,
            self.inboxes,
            self.ingest,
            surroundings.hand_over,
            surroundings.publish,
            metrics,
            self.drops,
            clock,
            self.recorder,
        )
        self.diagnostics = Diagnostics(
            surroundings.name,
            self.pipeline,
            self.inboxes,
            self.worker,
            metrics,
            self._topics,
            surroundings.types_on,
            surroundings.published,
            surroundings.num_subscribers,
            surroundings.find_twin,
            surroundings.now_ns,
            self.drops.explanations,
            self.ingest.frozen_poses,
            clock,
        )
        self.dumps = Dumps(
            self.recorder, surroundings.record_folder, surroundings.name, self._record_header, self.log, clock
        )
        self.reporter = Reporter(
            self.diagnostics,
            self.inboxes,
            self.worker,
            surroundings.send,
            surroundings.now_ns,
            self.log,
            TimingsLog(self.log, clock, metrics, surroundings.timings_ns),
            self.dumps,
            clock,
        )

    def close(self) -> None:
        """End what goes on beside the worker, which has been stopped."""
        self.decoders.close()
        self.dumps.close()

    def put(self, name: str, message: Message) -> Decoding | None:
        """Take in a message of stream ``name``, on the thread on which it arrives.

        Return what decodes a compressed image ahead: on that thread no other one has to wake up for it.
        """
        received = Received(message, self._now_ns())
        stream = self.pipeline.streams[name]
        stamp_ns = received.stamp_ns(stream)
        self.metrics.arrived(name, stamp_ns, received.arrived_ns, received.frames(stream))
        self.recorder.arrived(name, stamp_ns, message.nbytes)
        decoding = self.ingest.open(name, received)
        if decoding is not None:
            received = received._replace(image=decoding.image)
        self.inboxes.put(name, received, message.nbytes)
        return decoding

    def put_calibration(self, name: str, raw: Raw) -> None:
        """Take in a serialized CameraInfo of camera ``name``, on the thread on which it arrives."""
        self.inboxes.put_event(lambda: self.ingest.calibrate(name, raw))

    def clock_jumped(self) -> None:
        """Take notice that ROS time went back, on any thread."""
        now_ns = self._now_ns()
        # On the worker, which alone may touch the pipeline, and in the order of arrival.
        self.inboxes.put_event(lambda: self.pipeline.clock_jumped(now_ns))

    def failed(self, trace: str) -> None:
        """Take notice of an exception that nothing foresees, on any thread."""
        self.metrics.failed(trace)
        self.dumps.write_for([f'exception: {trace.strip().splitlines()[-1].partition(":")[0]}'])

    def _drop_unread(self, name: str, reason: Reason) -> None:
        self.pipeline.drop(name, reason)
        self.recorder.refused(name, reason)

    def _record_header(self) -> dict[str, Any]:
        """What a reader of a flight record must know of the node."""
        config = self.pipeline.config
        accounts = {name: vars(account.counts()) for name, account in self.pipeline.ledger.items()}
        return {
            'ros_time_ns': self._now_ns(),
            'blocker': self.diagnostics.blocker,
            'trigger': config.trigger,
            'rate_hz': config.sync.rate_hz,
            'max_wait_ns': config.sync.max_wait_ns,
            'streams': {
                name: {
                    'topic': self._topics[name][0],
                    'required': stream.required,
                    'tolerance_ns': stream.tolerance_ns,
                    'window_ns': stream.instants(0) if stream.reads_window else None,
                }
                for name, stream in self.pipeline.streams.items()
            },
            'messages': accounts,
            'targets': vars(self.pipeline.targets.counts()),
        }

    def log_configuration(self) -> None:
        """Log what is computed, from which topics and where."""
        pipeline, config = self.pipeline, self.pipeline.config
        device, backend = pipeline.device, pipeline.device.backend
        if pipeline.device_fault is not None:
            self.log.emit(Event.ON_CPU, fault=pipeline.device_fault)
        inputs = ', '.join(f'{name} from {topic} ({kind})' for name, (topic, kind) in self._topics.items())
        self.log.emit(
            Event.CONFIGURED,
            inputs=inputs,
            trigger=config.trigger or f'{config.sync.rate_hz} Hz',
            device=str(device),
            device_reason=device.reason,
            backend=backend.name,
            backend_reason=backend.reason,
        )
        if any(camera.is_compressed for camera in config.cameras):
            self.log.emit(Event.JPEG_DECODER, decoder=JPEG_DECODER)
        for each in config.voxelized:
            grid = each.voxel.grid
            spans = zip('xyz', grid.lower, grid.upper, strict=True)
            box = ', '.join(f'{axis} {low:g} to {high:g}' for axis, low, high in spans)
            self.log.emit(Event.VOXEL_GRID, stream=each.name, shape=' x '.join(map(str, grid.shape)), box=box)

    def _log_fault(self, fault: str) -> None:
        self.log.emit(Event.DEVICE_FAILED, fault=fault)
