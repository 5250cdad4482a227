# SPDX-License-Identifier: Apache-2.0
"""What every kind of stream has: its configuration, and a job that computes its part of a frame in three stages.

A kind is one file of this package: a ``StreamConfig`` with its tunables, a ``Stream``, and a ``Job``.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import torch

from robocache_core.device import Device, on_host
from robocache_core.ledger import Reason
from robocache_core.ops import DenseVoxels, SparseVoxels
from robocache_core.samples import CameraInfo, DataError, Sample
from robocache_core.sensor_poses import SensorPoses
from robocache_core.tunable import LONGEST_NS, Checked, ConfigError, tunable
from robocache_core.units import MIB, MS, SECOND

if TYPE_CHECKING:
    from robocache_core.buffer import Entry
    from robocache_core.config import PipelineConfig
    from robocache_core.frame import CameraView
    from robocache_core.streams.placed_cloud import PlacedCloud
    from robocache_core.streams.registration import Registration
    from robocache_core.target import Pick, Target

#: Greatest coordinate of a sensor or a grid, m: a float32 there still holds 6 cm.
MOST_METRES = 1e6


@dataclass(frozen=True)
class QueueConfig(Checked):
    """Bounds of a stream's inbox: what waits between the subscription and the worker."""

    depth: int = tunable(32, 'messages that may wait', low=1, high=100_000)
    max_bytes: int = tunable(256 * MIB, 'bytes that may wait', unit='bytes', low=1)
    max_age_ns: int = tunable(3 * SECOND, 'age at which a waiting message is dropped', unit='s', low=0)
    policy: str = tunable(
        'drop_oldest',
        'what gives way when the inbox is full; block holds the subscription back and is for replay alone',
        choices=('drop_oldest', 'drop_newest', 'latest', 'block'),
    )


@dataclass(frozen=True)
class StreamConfig(Checked):
    """What every sensor stream has."""

    #: Whether a target reads a window of samples; else one sample.
    reads_window: ClassVar[bool] = False
    #: Whether messages may be of any type: samples are numbers of them, by path.
    takes_any_type: ClassVar[bool] = False

    name: str
    topic: str = tunable('', 'topic to subscribe to; set when empty to /<name>')
    required: bool = tunable(True, 'a frame without this stream is dropped; else it is marked invalid in the frame')
    tolerance_ns: int = tunable(100 * MS, 'greatest distance of a valid sample to its instant', unit='s', low=0)
    expected_rate_hz: float = tunable(0.0, 'rate that diagnostics expect; 0 does not check', unit='Hz', low=0.0)
    rate_tolerance: float = tunable(
        10.0, 'how far a rate may be from expected_rate_hz before diagnostics warn', unit='%', low=0.0, high=100.0
    )
    stamp: str = tunable(
        'header',
        'time of a message: that of its header, or of its arrival (in a bag: its recording)',
        choices=('header', 'arrival'),
    )
    stamp_offset_ns: int = tunable(
        0,
        'added to the stamp of every message before all else: what its clock lacks; times of points move with it',
        unit='s',
        low=-2 * LONGEST_NS,
        high=2 * LONGEST_NS,
    )
    buffer_ns: int = tunable(2 * SECOND, 'time span kept for alignment', unit='s', low=MS)
    buffer_depth: int = tunable(4096, 'samples kept for alignment', low=2)
    queue: QueueConfig = QueueConfig()

    def corrected_ns(self, stamp_ns: int) -> int:
        """Return the time of a message of stamp ``stamp_ns``, ns: ``stamp_offset`` is added here and nowhere else."""
        return stamp_ns + self.stamp_offset_ns

    @property
    def message_type(self) -> str:
        """ROS name of the topic's message type."""
        raise NotImplementedError(f'{type(self).__name__}.message_type')

    @property
    def stamped_by_arrival(self) -> bool:
        """Whether the stamp of a sample is when its message arrived (in a bag: was recorded), not its header's."""
        return self.stamp == 'arrival'

    @property
    def is_located(self) -> bool:
        """Whether samples are brought into the target frame, for which the sensor's pose must be known."""
        return False

    @property
    def is_compressed(self) -> bool:
        """Whether samples come compressed, and are decoded when a frame uses them."""
        return False

    @property
    def may_be_on_gpu(self) -> bool:
        """Whether messages are asked for whose data are in the memory of a GPU."""
        return False

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of what a row of the stream's tensor holds, where the configuration names them one by one."""
        return ()

    @property
    def calibration_topic(self) -> str:
        """Topic of the stream's CameraInfo; empty where it has none."""
        return ''

    @property
    def needs_calibration(self) -> bool:
        """Whether samples cannot be used before a CameraInfo has come."""
        return False

    @property
    def known_pose(self) -> tuple[float, ...]:
        """Pose of the sensor in the target frame, x y z (m) qx qy qz qw; empty where no parameter states it."""
        return ()

    def mounted_frame(self, sample: Sample) -> str:
        """Frame of what gave a sample, whose pose in the target frame must be known where the stream needs it."""
        return sample.frame_id

    @property
    def registered_to(self) -> str:
        """Camera whose calibration and pose samples need, as they are brought into its image; empty: none."""
        return ''

    @property
    def reads_previous(self) -> bool:
        """Whether the target reads the newest sample at or before it; else the nearest one."""
        return False

    @property
    def motion_source(self) -> str:
        """Stream whose readings around a sample are needed to compute it; empty where there is none."""
        return ''

    @property
    def motion_reach_ns(self) -> tuple[int, int]:
        """How long before and after its stamp a sample needs the readings of ``motion_source``, ns."""
        return 0, 0

    def instants(self, stamp_ns: int) -> tuple[int, int]:
        """First and last instant at which the stream is read for the target ``stamp_ns``, ns."""
        return stamp_ns, stamp_ns

    def check_within(self, pipeline: PipelineConfig) -> None:
        """Raise ``ConfigError`` where the stream does not fit the rest of the pipeline, or could never give a frame."""
        wait = pipeline.sync.max_wait_ns
        if wait > self.buffer_ns:
            raise ConfigError(
                f'sync.max_wait = {wait / SECOND} s: must be at most {self.name}.buffer = {self.buffer_ns / SECOND} s'
            )


def check_extrinsics(stream: StreamConfig, pipeline: PipelineConfig) -> None:
    """Raise ``ConfigError`` where a stream states its pose in a target frame that there is not."""
    if stream.known_pose and not pipeline.target_frame:
        raise ConfigError(f'{stream.name}.extrinsics: needs target_frame, the frame that they lead to')


def check_pose(name: str, pose: tuple[float, ...]) -> None:
    """Raise ``ConfigError`` where a pose x y z qx qy qz qw, if not empty, is no unit quaternion, or too far away."""
    if pose and abs(math.hypot(*pose[3:]) - 1) > 1e-3:
        raise ConfigError(f'{name} = {pose}: the quaternion must have length 1')
    if pose and max(map(abs, pose[:3])) > MOST_METRES:
        raise ConfigError(f'{name} = {pose}: x, y and z must be within {MOST_METRES:g} m')


class RequiredStreamMissing(Exception):
    """A required stream has nothing that can be used; the draft says why there is no frame."""


@dataclass
class FrameDraft:
    """What the jobs of a target fill.

    Attributes:
        tensors: by stream, those of the frame by name.
        valid, latency_ns: as in the frame.
        voxels: results whose numbers are read when the device has finished.
        points_dropped: by stream, points that no voxel took, by reason.
        image_sizes: by camera, width and height of its image, as it was sent, px.
        without_voxels: streams of whose points no voxel took one.
        without_depth: by stream of whose depth image no pixel is valid, which distances it has.
        left_out: streams that had nothing for the grid that they are in, and so nothing for the frame.
        motion: readings that were used to undo motion.
        scans: by lidar, the scan in the frame, on the device.
        refused: by stream, the reason for which its sample cannot be used, and what is wrong with it.
        damaged: by stream whose sample is damaged and is shown, not valid, what is wrong with it.
        lost: why there is no frame.
    """

    tensors: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)
    valid: dict[str, bool] = field(default_factory=dict)
    latency_ns: dict[str, int] = field(default_factory=dict)
    voxels: list[DenseVoxels | SparseVoxels] = field(default_factory=list)
    points_dropped: dict[str, dict[str, int]] = field(default_factory=dict)
    image_sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    without_voxels: list[str] = field(default_factory=list)
    without_depth: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    motion: list[Entry] = field(default_factory=list)
    scans: dict[str, PlacedCloud] = field(default_factory=dict)
    refused: dict[str, tuple[Reason, str]] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    lost: str | None = None

    def bring_to_host(self) -> None:
        """Copy all tensors that are on a GPU to the CPU."""
        places = [(name, key) for name, tensors in self.tensors.items() for key in tensors]
        found = [self.tensors[name][key] for name, key in places]
        if any(tensor.is_cuda for tensor in found):
            begin = time.perf_counter_ns()
            for (name, key), tensor in zip(places, on_host(found), strict=True):
                self.tensors[name][key] = tensor
            self.latency_ns['download'] = time.perf_counter_ns() - begin


Config = TypeVar('Config', bound=StreamConfig)


class Stream(ABC, Generic[Config]):
    """One stream of a pipeline.

    Args:
        config: its configuration.
        pipeline: configuration of the whole pipeline.
        poses: of the sensors, as far as they are known; the pipeline adds to it.
    """

    #: Of the samples that it takes.
    kinds: ClassVar[tuple[type[Sample], ...]]

    def __init__(self, config: Config, pipeline: PipelineConfig, poses: SensorPoses) -> None:
        self.config = config
        self.name = config.name
        #: Of the last image, where the stream has images.
        self.view: CameraView | None = None
        #: What brings samples into the image of another camera, where that is asked for.
        self.registration: Registration | None = None

    @property
    def decodes(self) -> bool:
        """Whether samples are decoded when a frame uses them."""
        return False

    def admit(self, sample: Sample) -> Sample:
        """Return the sample, of one of ``kinds`` and checked, as it is kept until a frame uses it.

        Raises:
            DataError: it cannot be used.
        """
        return sample

    def calibrate(self, info: CameraInfo) -> None:
        """State the calibration of the stream's camera from here on; ignored where it is not needed."""

    def prepare(self, pick: Pick) -> None:
        """Begin what can be done before the frame that takes ``pick`` is computed."""

    def observe(self, pick: Pick) -> None:
        """Learn from the samples of a target what later ones need, whether or not its frame is, or can be, computed.

        Called for each target in order, before its job. So what a stream has learned depends on nothing but the samples
        that targets took, and a target can be passed over.
        """

    def release(self) -> None:
        """Let the samples go that were observed last: their target has been concluded."""

    def lacks(self, target: Target) -> bool:
        """Whether what ``target`` picked turns out not to be valid, as far as that is seen without much computing."""
        return False

    def motion_of(self, target: Target) -> list[Entry]:
        """Return the readings that the frame of ``target``, which was observed, is deskewed by."""
        return []

    @abstractmethod
    def job(self, target: Target, draft: FrameDraft) -> Job:
        """What computes the stream's part of the frame of ``target``."""

    @abstractmethod
    def blank(self, device: Device) -> dict[str, torch.Tensor]:
        """Tensors, by name, that hold nothing: a frame has the same names whatever is missing."""


class Job(ABC):
    """The stream's part of one frame: ``upload``, ``launch`` and ``collect``, in this order, fill the draft.

    A job changes nothing but the draft, so that a frame can be computed again on another device. A sample that turns
    out to be bad, and a stream that has none, become blank tensors that are not valid; each stage raises
    ``RequiredStreamMissing`` where the stream is required.
    """

    def __init__(self, stream: Stream[Any], target: Target, draft: FrameDraft) -> None:
        self.stream = stream
        self.target_ns = target.stamp_ns
        self.pick: Pick = target.picks[stream.name]
        #: Readings of the source of motion around the samples and the target time.
        self.around = target.motion.get(stream.name, ())
        self.draft = draft
        self._is_blank = False

    def upload(self, device: Device) -> None:
        """Prepare on the host what the operation needs, and queue its copies to the device."""
        self.draft.valid[self.stream.name] = self.pick.valid
        self._run(device, self._upload if self.has_samples else self._make_blank)
        device.record_stage('upload')

    def launch(self, device: Device) -> None:
        """Launch the operation on what was uploaded."""
        self._run(device, self._launch)
        device.record_stage(self.stream.name)

    def collect(self, device: Device) -> None:
        """Read what the operation found out, once the device has finished."""
        self._run(device, self._collect)

    @property
    def decodes(self) -> bool:
        """Whether samples are decoded before anything is computed."""
        return self.stream.decodes

    @property
    def has_samples(self) -> bool:
        """Whether there is anything to compute."""
        return bool(self.pick.entries)

    @abstractmethod
    def _upload(self, device: Device) -> None: ...

    @abstractmethod
    def _launch(self, device: Device) -> None: ...

    def _collect(self, device: Device) -> None:
        return  # most operations have put all tensors into the draft when they are launched

    def _run(self, device: Device, stage: Callable[[Device], None]) -> None:
        name, required = self.stream.name, self.stream.config.required
        begin = time.perf_counter_ns()
        if not self._is_blank:
            try:
                stage(device)
            except DataError as error:
                self.draft.refused[name] = error.reason, str(error)  # not the error, which would keep tensors alive
                if required:
                    self._lose(error.reason)
                self._make_blank(device)
                self.draft.valid[name] = False
        if required and not self.draft.valid[name]:
            self._lose(Reason.MISSING)
        self.draft.latency_ns[name] = self.draft.latency_ns.get(name, 0) + time.perf_counter_ns() - begin

    def _make_blank(self, device: Device) -> None:
        self._is_blank = True
        if self.stream.name not in self.draft.tensors:  # a cloud of NaN alone has given tensors that hold nothing
            self.draft.tensors[self.stream.name] = self.stream.blank(device)

    def _lose(self, reason: Reason) -> None:
        self.draft.lost = reason.of_stream(self.stream.name)
        raise RequiredStreamMissing(self.draft.lost)
