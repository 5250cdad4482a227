# SPDX-License-Identifier: Apache-2.0
"""Lidars: scans to voxels, deskewed by a gyroscope or by odometry where that is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from robocache_core import ops
from robocache_core.channels import MAX_CHANNELS, parse_channel
from robocache_core.deskew import Deskewer
from robocache_core.deskew_config import DeskewConfig
from robocache_core.device import Device
from robocache_core.gpu_bytes import to_host
from robocache_core.ledger import Reason
from robocache_core.motion_source import check_motion_source, motion_source
from robocache_core.ops import DenseVoxels, SparseVoxels, VoxelGrid
from robocache_core.ops.grid import box_plan
from robocache_core.samples import DataError, LidarScan
from robocache_core.sensor_poses import SensorPoses
from robocache_core.streams.base import MOST_METRES, FrameDraft, Job, Stream, check_extrinsics, check_pose
from robocache_core.streams.gpu_messages import GpuMessagesConfig
from robocache_core.streams.placed_cloud import PlacedCloud, place, scan_of
from robocache_core.streams.points_job import PointsJob
from robocache_core.streams.voxels import blank_voxels, check_overflow, named_voxels, voxelize
from robocache_core.time_field import TimeField
from robocache_core.tunable import Checked, ConfigError, check_bytes_of, tunable
from robocache_core.units import SECOND

if TYPE_CHECKING:
    from robocache_core.buffer import Entry
    from robocache_core.config import PipelineConfig
    from robocache_core.target import Pick, Target


#: Messages of Livox's drivers, the newer one first.
LIVOX = ('livox_ros_driver2/msg/CustomMsg', 'livox_ros_driver/msg/CustomMsg')


@dataclass(frozen=True)
class VoxelConfig(Checked):
    """The voxel grid of a lidar, in the target frame."""

    size: tuple[float, ...] = tunable(
        (0.4, 0.4, 0.4), 'edges of a voxel, x y z', unit='m', low=1e-3, high=MOST_METRES, length=3
    )
    lower: tuple[float, ...] = tunable(
        (-51.2, -51.2, -3.0), 'lower corner of the grid, x y z', unit='m', low=-MOST_METRES, high=MOST_METRES, length=3
    )
    upper: tuple[float, ...] = tunable(
        (51.2, 51.2, 5.0),
        'upper corner of the grid, x y z; where size does not divide the span, the last voxels, and their points, '
        'reach beyond it by less than a voxel: the log says how far',
        unit='m',
        low=-MOST_METRES,
        high=MOST_METRES,
        length=3,
    )
    channels: tuple[str, ...] = tunable(
        ('count', 'mean:x', 'mean:y', 'mean:z', 'max:intensity'),
        'count, occupancy, density, and mean:, max: or min:<field>; mean:x|y|z are relative to the centre of the voxel',
    )
    output: str = tunable(
        'sparse', 'sparse (coords, features, counts) or dense [C, Z, Y, X]', choices=('sparse', 'dense')
    )
    max_voxels: int = tunable(200_000, 'most voxels in a sparse result; beyond it points are dropped table_full', low=1)
    quantum: float = tunable(
        1 / 256, 'step to which the values of a mean are rounded before they are summed', low=1e-9, high=1e6
    )

    def check(self, prefix: str) -> None:
        if not 1 <= len(self.channels) <= MAX_CHANNELS:
            raise ConfigError(f'{prefix}channels = {self.channels}: needs 1 to {MAX_CHANNELS} channels')
        for channel in self.channels:
            try:
                parse_channel(channel)
            except ValueError as error:
                raise ConfigError(f'{prefix}{error}') from None
            if self.channels.count(channel) > 1:
                raise ConfigError(f'{prefix}channels has {channel!r} twice')
        for axis, low, high in zip('xyz', self.lower, self.upper, strict=True):
            if not low < high:
                raise ConfigError(f'{prefix}lower.{axis} = {low}: must be less than upper.{axis} = {high}')
        try:
            box_plan(self.grid)
        except ValueError as error:
            raise ConfigError(f'{prefix}size = {self.size}, lower, upper: {error}') from None
        if self.output == 'dense':
            check_bytes_of(f'{prefix}size = {self.size}', (len(self.channels), *reversed(self.grid.shape)), 4)

    @property
    def grid(self) -> VoxelGrid:
        """The grid: whole voxels from ``lower``, as many as reach ``upper``."""
        spans = zip(self.lower, self.upper, self.size, strict=True)
        x, y, z = (max(1, math.ceil((high - low) / size - 1e-6)) for low, high, size in spans)
        return VoxelGrid((*self.lower,), (*self.size,), (x, y, z))  # type: ignore[arg-type]


@dataclass(frozen=True)
class LidarConfig(GpuMessagesConfig):
    """A stream of scans, voxelized."""

    message: str = tunable(
        'PointCloud2',
        'what the topic carries: PointCloud2, LaserScan, MultiEchoLaserScan, or the CustomMsg of a Livox driver',
        choices=('PointCloud2', 'LaserScan', 'MultiEchoLaserScan', *LIVOX),
    )
    echo: str = tunable(
        'first',
        'of a MultiEchoLaserScan: the echo of each ray that is its point',
        choices=('first', 'last', 'strongest'),
    )
    voxel: VoxelConfig = VoxelConfig()
    deskew: DeskewConfig = DeskewConfig()
    read: str = tunable('nearest', 'which scan is taken at the target', choices=('nearest', 'previous'))
    min_range: float = tunable(0.5, 'nearer returns are dropped (missing ones are at 0)', unit='m', low=0.0)
    max_range: float = tunable(200.0, 'farther returns are dropped', unit='m', low=0.0)
    extrinsics: tuple[float, ...] = tunable(
        (), 'pose of the sensor in the target frame, x y z (m) qx qy qz qw; empty: from TF', length=7
    )

    def check(self, prefix: str) -> None:
        if not self.min_range < self.max_range:
            raise ConfigError(f'{prefix}min_range = {self.min_range}: must be less than max_range = {self.max_range}')
        check_pose(f'{prefix}extrinsics', self.extrinsics)

    @property
    def is_located(self) -> bool:
        return True

    @property
    def message_type(self) -> str:
        return self.message if '/' in self.message else f'sensor_msgs/msg/{self.message}'

    @property
    def known_pose(self) -> tuple[float, ...]:
        return self.extrinsics

    @property
    def dense_name(self) -> str:
        """Name of the tensor of its voxels in a frame, where they are dense."""
        return self.name

    @property
    def reads_previous(self) -> bool:
        return self.read == 'previous'

    @property
    def motion_source(self) -> str:
        return self.deskew.source if self.deskew.is_on else ''

    @property
    def motion_reach_ns(self) -> tuple[int, int]:
        return self.deskew.reach_ns

    def check_within(self, pipeline: PipelineConfig) -> None:
        super().check_within(pipeline)
        if self.deskew.is_on:
            self._check_deskew(pipeline)
        check_extrinsics(self, pipeline)

    def _check_deskew(self, pipeline: PipelineConfig) -> None:
        prefix = f'{self.name}.deskew'
        check_motion_source(self.deskew, self.name, pipeline)
        has_times, reference = self.deskew.time_field != 'none', self.deskew.time_reference
        if self.stamped_by_arrival and has_times and reference not in ('start', 'end'):
            raise ConfigError(
                f'{prefix}.time_reference = {reference!r}: must be end with {self.name}.stamp = arrival, as a scan '
                f'arrives behind its last point; or start, with {self.name}.stamp_offset back to its first one'
            )
        if pipeline.sync.max_wait_ns < self.deskew.reach_ns[1]:
            raise ConfigError(
                f'sync.max_wait = {pipeline.sync.max_wait_ns / SECOND} s: must be at least {prefix}.scan_duration = '
                f'{self.deskew.scan_duration_ns / SECOND} s, as readings are awaited to the end of the scan'
            )


class LidarStream(Stream[LidarConfig]):
    """Voxelizes a lidar's scans, or gives their points to the grid that it is in."""

    kinds = (LidarScan,)

    def __init__(self, config: LidarConfig, pipeline: PipelineConfig, poses: SensorPoses) -> None:
        super().__init__(config, pipeline, poses)
        self._poses = poses
        self._is_in_grid = any(config.name in grid.from_ for grid in pipeline.grids)
        self._deskewer: Deskewer | None = None
        if config.deskew.is_on:
            self._deskewer = Deskewer(config.deskew, motion_source(config.deskew, pipeline))
        #: What the deskewer has of the observed scan, or why it has nothing; None: it is not asked.
        self._timed: tuple[LidarScan, TimeField | None] | DataError | None = None

    def observe(self, pick: Pick) -> None:
        self._timed = None
        scan = pick.entries[0].sample if pick.entries else None
        if self._deskewer is not None and isinstance(scan, LidarScan) and scan.layout.num_points:
            try:
                self._timed = self._deskewer.timed(scan)
            except DataError as error:
                self._timed = DataError(error.reason, str(error))  # without a traceback, which keeps tensors alive

    def release(self) -> None:
        self._timed = None

    def motion_of(self, target: Target) -> list[Entry]:
        if self._deskewer is None or not isinstance(self._timed, tuple):
            return []
        scan, times = self._timed
        return self._deskewer.readings(scan, times, target.stamp_ns, target.motion.get(self.name, ()))

    def job(self, target: Target, draft: FrameDraft) -> LidarJob | ScanPointsJob:
        return (ScanPointsJob if self._is_in_grid else LidarJob)(self, target, draft)

    def blank(self, device: Device) -> dict[str, torch.Tensor]:
        return {} if self._is_in_grid else blank_voxels(self.name, self.config.voxel, device)

    def placed(self, scan: LidarScan, target_ns: int, around: Sequence[Entry], device: Device) -> PlacedCloud:
        """Upload the observed scan, and where its points are at the target time.

        Args:
            scan: as the target picked it.
            target_ns: the target time.
            around: readings of the source of motion around the scan and the target time.
            device: where to.

        Raises:
            DataError: ``unknown_time_field``, ``no_motion``, ``gpu_memory_lost``.
        """
        if isinstance(self._timed, DataError):
            raise DataError(self._timed.reason, str(self._timed))
        scan, times = (scan, None) if self._timed is None else self._timed
        sensor = self._poses.get(self.config, scan.frame_id) if scan.pose is None else scan.pose
        return place(scan, times, sensor, target_ns, self._deskewer, around, self._poses, device)


class LidarJob(Job):
    """Voxelizes one scan."""

    stream: LidarStream
    _placed: PlacedCloud
    _result: DenseVoxels | SparseVoxels

    def _upload(self, device: Device) -> None:
        self._placed = self.stream.placed(scan_of(self.pick), self.target_ns, self.around, device)

    def _launch(self, device: Device) -> None:
        config, placed = self.stream.config, self._placed
        self._result = voxelize(
            placed.data,
            placed.layout,
            config.voxel,
            transform=placed.transform,
            deskew=placed.deskew,
            min_range=config.min_range,
            max_range=config.max_range,
        )
        self.draft.voxels.append(self._result)

    def _collect(self, device: Device) -> None:
        name, dropped, num_points = self.stream.name, self._result.dropped, self._placed.layout.num_points
        check_overflow(name, self.stream.config.voxel, dropped, num_points)
        self.draft.tensors[name] = named_voxels(name, self._result)
        if num_points and dropped['non_finite'] == num_points:
            raise DataError(Reason.ALL_NON_FINITE, f'none of the {num_points} points is finite')
        self.draft.points_dropped[name] = dropped
        if num_points and sum(dropped.values()) == num_points:
            self.draft.without_voxels.append(name)
        self.draft.motion += self._placed.readings
        self.draft.scans[name] = self._placed


class ScanPointsJob(PointsJob):
    """Writes the points of one scan for the grid that the lidar is in."""

    stream: LidarStream

    def _upload(self, device: Device) -> None:
        self.draft.tensors[self.stream.name] = {}
        self.placed = self.stream.placed(scan_of(self.pick), self.target_ns, self.around, device)

    def _launch(self, device: Device) -> None:
        return  # by the grid, once all of its sources are uploaded

    @property
    def limits(self) -> dict[str, float]:
        return {'min_range': self.stream.config.min_range, 'max_range': self.stream.config.max_range}

    def _collect(self, device: Device) -> None:
        super()._collect(device)
        if self.placed is not None:
            self.draft.scans[self.stream.name] = self.placed

    def _has_measured(self) -> bool:
        scan = scan_of(self.pick)
        if not ops.deskew_points(to_host(scan.data), scan.layout)[1].any():
            raise DataError(Reason.ALL_NON_FINITE, f'none of the {self.num_points} points is finite')
        return True
