# SPDX-License-Identifier: Apache-2.0
"""Every tunable once: default, unit, range and meaning.

The node declares its parameters from these classes (``<name>_ns: int`` becomes the parameter ``<name>`` in float
seconds), ``config/preprocess.yaml`` documents them, offline use builds them directly. A bad value raises
``ConfigError``, which names the parameter, the value and what is allowed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from robocache_core.frame import WAITS
from robocache_core.plan import image_factors
from robocache_core.tunable import Checked, ConfigError, tunable
from robocache_core.types import VoxelGrid

MS = 1_000_000
SECOND = 1_000_000_000
MIB = 1 << 20


@dataclass(frozen=True)
class QueueConfig(Checked):
    """Bounds of a stream's inbox: what waits between the subscription and the worker."""

    depth: int = tunable(32, 'messages that may wait', low=1, high=100_000)
    max_bytes: int = tunable(256 * MIB, 'bytes that may wait', unit='bytes', low=1)
    max_age_ns: int = tunable(2 * SECOND, 'age at which a waiting message is dropped', unit='s', low=0)
    policy: str = tunable(
        'drop_oldest',
        'what gives way when the inbox is full; block holds the subscription back and is for replay alone',
        choices=('drop_oldest', 'drop_newest', 'latest', 'block'),
    )


@dataclass(frozen=True)
class StreamConfig(Checked):
    """What every sensor stream has."""

    name: str
    topic: str = tunable('', 'topic to subscribe to; set when empty to /<name>')
    required: bool = tunable(True, 'a frame without this stream is dropped; else it is marked invalid in the frame')
    tolerance_ns: int = tunable(100 * MS, 'greatest distance of a valid sample to its instant', unit='s', low=0)
    expected_rate_hz: float = tunable(0.0, 'rate below which diagnostics warn; 0 does not check', unit='Hz', low=0.0)
    buffer_ns: int = tunable(2 * SECOND, 'time span kept for alignment', unit='s', low=MS)
    buffer_depth: int = tunable(4096, 'samples kept for alignment', low=2)
    queue: QueueConfig = QueueConfig()

    @property
    def message_type(self) -> str:
        """Full ROS name of the topic's message type."""
        raise NotImplementedError

    @property
    def calibration_topic(self) -> str:
        """Topic of the CameraInfo that the stream needs; empty where it needs none."""
        return ''


_CHANNEL = re.compile('count|occupancy|density|(mean|max|min):.+')


@dataclass(frozen=True)
class VoxelConfig(Checked):
    """The voxel grid of a lidar, in the target frame."""

    size: tuple[float, ...] = tunable((0.4, 0.4, 0.4), 'edges of a voxel, x y z', unit='m', low=1e-3, length=3)
    lower: tuple[float, ...] = tunable((-51.2, -51.2, -3.0), 'lower corner of the grid, x y z', unit='m', length=3)
    upper: tuple[float, ...] = tunable((51.2, 51.2, 5.0), 'upper corner of the grid, x y z', unit='m', length=3)
    channels: tuple[str, ...] = tunable(
        ('count', 'mean:x', 'mean:y', 'mean:z', 'max:intensity'),
        'count, occupancy, density, and mean:, max: or min:<field>; mean:x|y|z are relative to the centre of the voxel',
    )
    output: str = tunable(
        'sparse', 'sparse (coords, features, counts) or dense [C, Z, Y, X]', choices=('sparse', 'dense')
    )
    max_voxels: int = tunable(200_000, 'most voxels in a sparse result; beyond it points are dropped table_full', low=1)
    quantum: float = tunable(1 / 256, 'step to which the values of a mean are rounded before they are summed', low=1e-9)

    def check(self, prefix: str) -> None:
        if not 1 <= len(self.channels) <= 32:
            raise ConfigError(f'{prefix}channels = {self.channels}: needs 1 to 32 channels')
        for channel in self.channels:
            if not _CHANNEL.fullmatch(channel) or self.channels.count(channel) > 1:
                raise ConfigError(
                    f'{prefix}channels has {channel!r}: each must be count, occupancy, density, mean:<field>, '
                    f'max:<field> or min:<field>, and none twice'
                )
        for axis, low, high in zip('xyz', self.lower, self.upper, strict=True):
            if not low < high:
                raise ConfigError(f'{prefix}lower.{axis} = {low}: must be less than upper.{axis} = {high}')
        if self.grid.num_voxels > 1 << 30:
            raise ConfigError(f'{prefix}size = {self.size}: the grid {self.grid.shape} has more than 2^30 voxels')

    @property
    def grid(self) -> VoxelGrid:
        """The grid: whole voxels from ``lower``, as many as reach ``upper``."""
        spans = zip(self.lower, self.upper, self.size, strict=True)
        x, y, z = (max(1, math.ceil((high - low) / size - 1e-6)) for low, high, size in spans)
        return VoxelGrid((*self.lower,), (*self.size,), (x, y, z))  # type: ignore[arg-type]


@dataclass(frozen=True)
class DeskewConfig(Checked):
    """Taking the sensor's motion during a scan out of it: which readings tell the motion, which field the times."""

    source: str = tunable('none', 'IMU stream whose angular velocity undoes the turning during a scan, or none')
    time_field: str = tunable('auto', "field of a point's time; auto: found by its name, and by the values of a scan")
    time_unit: str = tunable(
        'auto', 'unit of that field; auto: by its name or its values', choices=('auto', 's', 'ms', 'us', 'ns')
    )
    time_reference: str = tunable(
        'auto',
        'what the times count from: a stamp at the start of the scan, one at its end, or the origin of the stamps '
        '(absolute); auto: by their values',
        choices=('auto', 'start', 'end', 'absolute'),
    )
    scan_duration_ns: int = tunable(
        100 * MS, 'time that a scan takes, or more; readings are awaited so long', unit='s', low=MS, high=SECOND
    )
    gyro_bias: tuple[float, ...] = tunable(
        (0.0, 0.0, 0.0), "angular velocity of the IMU at rest, x y z in the IMU's frame", unit='rad/s', length=3
    )

    @property
    def is_on(self) -> bool:
        """Whether scans are deskewed."""
        return self.source != 'none'

    @property
    def reach_ns(self) -> tuple[int, int]:
        """How long before and after its stamp a scan may lie, ns, as far as settings tell."""
        before = 0 if self.time_reference == 'start' else self.scan_duration_ns
        after = 0 if self.time_reference == 'end' else self.scan_duration_ns
        return before, after


@dataclass(frozen=True)
class LidarConfig(StreamConfig):
    """A PointCloud2 stream, voxelized."""

    voxel: VoxelConfig = VoxelConfig()
    deskew: DeskewConfig = DeskewConfig()
    read: str = tunable('nearest', 'which scan is taken at the target', choices=('nearest', 'previous'))
    min_range: float = tunable(0.5, 'nearer returns are dropped (missing ones lie at 0)', unit='m', low=0.0)
    max_range: float = tunable(200.0, 'farther returns are dropped', unit='m', low=0.0)
    extrinsics: tuple[float, ...] = tunable(
        (), 'pose of the sensor in the target frame, x y z (m) qx qy qz qw; empty: from TF', length=7
    )

    def check(self, prefix: str) -> None:
        if not self.min_range < self.max_range:
            raise ConfigError(f'{prefix}min_range = {self.min_range}: must be less than max_range = {self.max_range}')
        _check_extrinsics(prefix, self.extrinsics)

    @property
    def message_type(self) -> str:
        return 'sensor_msgs/msg/PointCloud2'


def _check_extrinsics(prefix: str, extrinsics: tuple[float, ...]) -> None:
    if extrinsics and abs(math.hypot(*extrinsics[3:]) - 1) > 1e-3:
        raise ConfigError(f'{prefix}extrinsics = {extrinsics}: the quaternion must have length 1')


@dataclass(frozen=True)
class CameraConfig(StreamConfig):
    """An Image or CompressedImage stream, resized and normalised to ``[C, H, W]`` in RGB order (or one channel)."""

    message: str = tunable(
        'auto',
        'raw (Image), compressed (CompressedImage), or auto by the topic name',
        choices=('auto', 'raw', 'compressed'),
    )
    width: int = tunable(640, 'width of the result', unit='px', low=1, high=16384)
    height: int = tunable(384, 'height of the result', unit='px', low=1, high=16384)
    resize: str = tunable(
        'bilinear',
        'how pixels are resampled; area is the mean over what a pixel of the result covers',
        choices=('bilinear', 'nearest', 'area'),
    )
    rectify: bool = tunable(False, 'undo the distortion of the lens, as the CameraInfo says; not with resize area')
    camera_info_topic: str = tunable('', 'topic of the CameraInfo; empty: camera_info beside the image topic')
    letterbox: bool = tunable(False, 'keep the aspect ratio and pad; else stretch')
    pad: float = tunable(114.0, 'pixel value of the padding, before normalisation', low=0.0)
    scale: float = tunable(1 / 255, 'applied to a pixel first: (pixel * scale - mean) / std')
    mean: tuple[float, ...] = tunable(
        (0.485, 0.456, 0.406), 'mean of each channel, R G B; mono takes the first', length=3
    )
    std: tuple[float, ...] = tunable(
        (0.229, 0.224, 0.225), 'deviation of each channel, R G B; mono takes the first', low=1e-9, length=3
    )
    dtype: str = tunable('float16', 'type of the result', choices=('float32', 'float16', 'bfloat16'))
    read: str = tunable('nearest', 'which image is taken at the target', choices=('nearest', 'previous'))

    def check(self, prefix: str) -> None:
        if self.rectify and self.resize == 'area':
            raise ConfigError(f"{prefix}resize = 'area': must be bilinear or nearest with {prefix}rectify")
        try:
            image_factors(self.scale, self.mean, self.std, self.pad)
        except ValueError as error:
            raise ConfigError(f'{prefix}{error}') from None

    @property
    def message_type(self) -> str:
        return f'sensor_msgs/msg/{"CompressedImage" if self.is_compressed else "Image"}'

    @property
    def calibration_topic(self) -> str:
        return self.info_topic if self.rectify else ''

    @property
    def is_compressed(self) -> bool:
        """Whether the topic carries CompressedImage."""
        return self.message == 'compressed' or (self.message == 'auto' and self.topic.endswith('/compressed'))

    @property
    def info_topic(self) -> str:
        """Topic of the CameraInfo: as image_transport derives it where none is set."""
        if self.camera_info_topic:
            return self.camera_info_topic
        base = self.topic.removesuffix('/compressed') if self.is_compressed else self.topic
        return ''.join(base.rpartition('/')[:2]) + 'camera_info'


#: Elements of a reading by field.
VECTOR_FIELDS = {'angular_velocity': 3, 'linear_acceleration': 3, 'orientation': 4}


@dataclass(frozen=True)
class ImuConfig(StreamConfig):
    """An Imu stream, resampled to a window of ``window_size`` instants, the last at target + ``window_offset_ns``."""

    fields: tuple[str, ...] = tunable(
        ('angular_velocity', 'linear_acceleration'), 'what a row holds, in this order', choices=tuple(VECTOR_FIELDS)
    )
    interpolation: str = tunable(
        'linear',
        'between readings; orientation goes by slerp where others go linear',
        choices=('linear', 'nearest', 'previous'),
    )
    window_size: int = tunable(20, 'instants in the window', low=1, high=100_000)
    window_period_ns: int = tunable(5 * MS, 'time between instants', unit='s', low=1000)
    window_offset_ns: int = tunable(0, 'last instant minus target', unit='s')
    extrinsics: tuple[float, ...] = tunable(
        (),
        "pose of the sensor in the target frame (the lidar's own where that is empty), x y z (m) qx qy qz qw; empty: "
        'from TF; needed where a lidar is deskewed with it',
        length=7,
    )
    queue: QueueConfig = QueueConfig(depth=4096)

    def check(self, prefix: str) -> None:
        _check_extrinsics(prefix, self.extrinsics)
        if not self.fields or len(set(self.fields)) != len(self.fields):
            raise ConfigError(f'{prefix}fields = {self.fields}: needs at least one, and none twice')

    @property
    def message_type(self) -> str:
        return 'sensor_msgs/msg/Imu'


#: Class of the streams in each group of ``PipelineConfig``.
GROUPS: Mapping[str, type[StreamConfig]] = {'lidars': LidarConfig, 'cameras': CameraConfig, 'imus': ImuConfig}


@dataclass(frozen=True)
class SyncConfig(Checked):
    """When a frame is due, and how long it waits."""

    trigger: str = tunable('', 'stream whose stamps are the targets; empty: the first lidar, else the first camera')
    rate_hz: float = tunable(
        0.0, 'targets at this fixed rate instead of a trigger; 0: by trigger', unit='Hz', low=0.0, high=10_000.0
    )
    max_wait_ns: int = tunable(
        200 * MS, 'a target gives up on a stream once any stamp is this far past it', unit='s', low=0
    )
    time_jump_ns: int = tunable(500 * MS, 'a stamp that goes back by more starts a new epoch', unit='s', low=MS)


@dataclass(frozen=True)
class BackpressureConfig(Checked):
    """Targets that wait for compute, and when the trigger is thinned."""

    max_ready: int = tunable(16, 'ready targets that may wait; the oldest beyond it is dropped overrun', low=1)
    high_watermark: int = tunable(4, 'targets that wait from which the trigger is thinned', low=1)
    low_watermark: int = tunable(1, 'targets that wait at which thinning is taken back, step by step', low=0)
    max_keep_every: int = tunable(8, 'thinning stops at one target in this many (a power of two)', low=1, high=1024)

    def check(self, prefix: str) -> None:
        if not self.low_watermark < self.high_watermark <= self.max_ready:
            raise ConfigError(
                f'low_watermark = {self.low_watermark}: needs low_watermark < high_watermark '
                f'({self.high_watermark}) <= max_ready ({self.max_ready})'
            )
        if self.max_keep_every & (self.max_keep_every - 1):
            raise ConfigError(f'max_keep_every = {self.max_keep_every}: must be a power of two')


@dataclass(frozen=True)
class ComputeConfig(Checked):
    """Where the operations run."""

    device: str = tunable('auto', 'auto, cpu, cuda or cuda:<i>')
    num_threads: int = tunable(0, 'CPU threads of the operations; 0: as many as there are cores', low=0, high=1024)

    def check(self, prefix: str) -> None:
        if not re.fullmatch(r'auto|cpu|cuda(:\d+)?', self.device):
            raise ConfigError(f'{prefix}device = {self.device!r}: must be auto, cpu, cuda or cuda:<i>')


@dataclass(frozen=True)
class PipelineConfig(Checked):
    """A whole pipeline."""

    lidars: tuple[LidarConfig, ...] = ()
    cameras: tuple[CameraConfig, ...] = ()
    imus: tuple[ImuConfig, ...] = ()
    target_frame: str = tunable('', "frame of the voxels; empty: the lidar's own, no transform")
    sync: SyncConfig = SyncConfig()
    backpressure: BackpressureConfig = BackpressureConfig()
    compute: ComputeConfig = ComputeConfig()

    def check(self, prefix: str) -> None:
        names = [stream.name for stream in self.streams()]
        if not names:
            raise ConfigError('lidars, cameras, imus: needs at least one stream')
        for name in names:
            if not (name.isascii() and name.isidentifier()):
                raise ConfigError(f'stream name {name!r}: must be letters, digits and _, not starting with a digit')
            if name in WAITS:
                raise ConfigError(f'stream name {name!r}: is that of a stage ({", ".join(WAITS)})')
            if names.count(name) > 1:
                raise ConfigError(f'stream name {name!r}: is used more than once')
        if self.sync.rate_hz > 0 and self.sync.trigger:
            raise ConfigError(
                f'sync.trigger = {self.sync.trigger!r} and sync.rate_hz = {self.sync.rate_hz}: only one of them gives '
                "targets: set rate_hz to 0, or trigger to ''"
            )
        if self.sync.rate_hz == 0 and self.trigger not in names:
            raise ConfigError(
                f'sync.trigger = {self.sync.trigger!r}: must name a stream ({", ".join(names)}), or set sync.rate_hz'
            )
        for lidar in self.lidars:
            if lidar.deskew.is_on:
                self._check_deskew(lidar)
        if not self.target_frame and len(self.lidars) > 1:
            raise ConfigError('target_frame: must be set where there are several lidars, as their frames differ')
        for stream in self.streams():
            self._check_times(stream)
            if isinstance(stream, LidarConfig) and stream.extrinsics and not self.target_frame:
                raise ConfigError(f'{stream.name}.extrinsics: needs target_frame, the frame that they lead to')

    def _check_deskew(self, lidar: LidarConfig) -> None:
        source, prefix = lidar.deskew.source, f'{lidar.name}.deskew'
        imu = next((imu for imu in self.imus if imu.name == source), None)
        if imu is None:
            names = ', '.join(imu.name for imu in self.imus) or 'there is no IMU stream'
            raise ConfigError(f'{prefix}.source = {source!r}: must be none or name an IMU stream ({names})')
        if 'angular_velocity' not in imu.fields:
            raise ConfigError(f'{source}.fields = {imu.fields}: must have angular_velocity, for {prefix}.source')
        if not self.target_frame and not imu.extrinsics:
            raise ConfigError(
                f'{source}.extrinsics = (): must be the pose of the IMU in the frame of {lidar.name}, '
                f'for {prefix}.source, since target_frame is empty'
            )
        if self.sync.max_wait_ns < lidar.deskew.reach_ns[1]:
            raise ConfigError(
                f'sync.max_wait = {self.sync.max_wait_ns / SECOND} s: must be at least {prefix}.scan_duration = '
                f'{lidar.deskew.scan_duration_ns / SECOND} s, as readings are awaited to the end of the scan'
            )

    def _check_times(self, stream: StreamConfig) -> None:
        """Refuse what could never give a frame."""
        wait, name = self.sync.max_wait_ns, stream.name
        if wait > stream.buffer_ns:
            raise ConfigError(
                f'sync.max_wait = {wait / SECOND} s: must be at most {name}.buffer = {stream.buffer_ns / SECOND} s'
            )
        if not isinstance(stream, ImuConfig):
            return
        span = (stream.window_size - 1) * stream.window_period_ns
        if span - min(0, stream.window_offset_ns) + wait > stream.buffer_ns:
            raise ConfigError(
                f'{name}.buffer = {stream.buffer_ns / SECOND} s: must hold the window of {span / SECOND} s, its offset '
                f'and sync.max_wait'
            )
        if stream.window_offset_ns > wait:
            raise ConfigError(
                f'{name}.window_offset = {stream.window_offset_ns / SECOND} s: must be at most sync.max_wait = '
                f'{wait / SECOND} s'
            )

    def streams(self) -> Iterator[LidarConfig | CameraConfig | ImuConfig]:
        """All streams: lidars, cameras, IMUs."""
        yield from self.lidars
        yield from self.cameras
        yield from self.imus

    @property
    def trigger(self) -> str:
        """Name of the trigger stream; empty where targets come at a fixed rate."""
        if self.sync.rate_hz > 0:
            return ''
        if self.sync.trigger:
            return self.sync.trigger
        return next((stream.name for stream in (*self.lidars, *self.cameras)), '')
