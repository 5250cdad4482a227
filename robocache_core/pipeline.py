# SPDX-License-Identifier: Apache-2.0
"""Samples in, fused frames out: no ROS, no thread, and no clock but to measure how long a stage takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import numpy as np
import torch

from robocache_core import ops
from robocache_core.align import Aligner, Pick, Target
from robocache_core.config import (
    VECTOR_FIELDS,
    CameraConfig,
    ConfigError,
    ImuConfig,
    LidarConfig,
    PipelineConfig,
)
from robocache_core.deskew import Deskewer, bracket, motion_from_gyro, pose_table
from robocache_core.ledger import Account
from robocache_core.rectify import Rectifier
from robocache_core.stream import Entry
from robocache_core.types import (
    CameraFrame,
    CameraInfo,
    DataError,
    DenseVoxels,
    EncodedImage,
    FusedFrame,
    LidarScan,
    PoseTable,
    Sample,
    SparseVoxels,
    VectorSample,
)

_DTYPES = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}


class Pipeline:
    """Aligns the streams of a robot and computes a frame at every target.

    Each message is announced by ``receive`` and then handed over by ``push`` or ended by ``drop``, so that for every
    stream ``received == used + held + sum(dropped)``, always.

    Args:
        config: streams, alignment and operations.

    Raises:
        ConfigError: the configuration asks for a device that this build does not have.
    """

    def __init__(self, config: PipelineConfig) -> None:
        if config.compute.device not in ('auto', 'cpu'):
            raise ConfigError(f'compute.device = {config.compute.device!r}: this build runs on auto or cpu')
        ops.set_num_threads(config.compute.num_threads)  # of the process: its pipelines share one pool
        self.config = config
        self.streams = {stream.name: stream for stream in config.streams()}
        self.ledger = {name: Account() for name in self.streams}
        #: Counts targets: received when due, used when its frame left, dropped with a reason.
        self.targets = Account()
        #: Points of each lidar that no voxel took, by reason.
        self.points_dropped: dict[str, dict[str, int]] = {lidar.name: {} for lidar in config.lidars}
        #: Told of each sample that a frame could not use: stream, reason, and what is wrong with it.
        self.refused: Callable[[str, str, str], None] = lambda name, reason, message: None
        self._aligner = Aligner(config, self.ledger, self.targets)
        self._ready: deque[Target] = deque()
        self._transforms: dict[tuple[str, str], torch.Tensor] = {}
        self._num_channels = dict.fromkeys((camera.name for camera in config.cameras), 3)
        self._deskewers = {lidar.name: Deskewer(lidar.deskew) for lidar in config.lidars if lidar.deskew.is_on}
        self._motion_sources = {lidar.deskew.source for lidar in config.lidars if lidar.deskew.is_on}
        self._rectifiers = {camera.name: Rectifier(camera) for camera in config.cameras if camera.rectify}
        self._sequence = 0

    # --- what goes in

    def receive(self, name: str) -> None:
        """Announce a message of stream ``name``."""
        self.ledger[name].receive()

    def drop(self, name: str, reason: str) -> None:
        """End a message that was announced and cannot be pushed."""
        self.ledger[name].drop(reason)

    def push(self, name: str, sample: Sample) -> None:
        """Hand over the sample of a message that was announced; what cannot be used is counted as dropped."""
        if self.needs_transform(name) and not self.has_transform(name, sample.frame_id):
            self.drop(name, 'no_transform')
            return
        if name in self._rectifiers:
            assert isinstance(sample, CameraFrame | EncodedImage)
            try:
                sample = self._rectifiers[name].apply(sample)
            except DataError as error:
                self.drop(name, error.reason)
                self.refused(name, error.reason, str(error))
                return
        self._aligner.push(name, sample)
        self._collect()

    def set_transform(self, name: str, frame_id: str, matrix: torch.Tensor) -> None:
        """State the pose ``[4, 4] float32`` of the sensor frame ``frame_id`` of stream ``name`` in the target frame."""
        self._transforms[name, frame_id] = matrix.to(torch.float32).contiguous()

    def set_camera_info(self, name: str, info: CameraInfo) -> None:
        """State the calibration of camera ``name`` from here on; it tells nothing where images are not rectified."""
        if name in self._rectifiers:
            self._rectifiers[name].info = info

    def needs_transform(self, name: str) -> bool:
        """Whether samples of stream ``name`` are brought into the target frame: a lidar's, and its deskewing IMU's."""
        return isinstance(self.streams[name], LidarConfig) or name in self._motion_sources

    def has_transform(self, name: str, frame_id: str) -> bool:
        """Whether samples of stream ``name`` in ``frame_id`` can be brought into the target frame."""
        if (name, frame_id) in self._transforms:
            return True
        stream, target = self.streams[name], self.config.target_frame
        if not isinstance(stream, CameraConfig) and stream.extrinsics:
            self.set_transform(name, frame_id, pose_matrix(stream.extrinsics))
            return True
        return target == frame_id != '' or (target == '' and isinstance(stream, LidarConfig))

    def clock_jumped(self, now_ns: int) -> None:
        """Tell that the ROS clock was set to ``now_ns``; starts a new epoch if that lies behind the stamps."""
        self._aligner.clock_jumped(now_ns)

    def give_up(self) -> None:
        """Stop waiting: nothing more comes. As many waiting targets as there is room for are taken as they are."""
        self._collect(give_up=True)

    def clear(self, reason: str) -> None:
        """Drop everything that is held, samples and targets alike, for ``reason``."""
        while self._ready:
            self._give_away(self._ready.popleft(), reason)
        self._aligner.clear(reason)

    def _collect(self, *, give_up: bool = False) -> None:
        """Move targets that became ready to the bounded queue, at once: what they pick must not depend on ``poll``."""
        while (target := self._aligner.pop_ready(give_up=give_up)) is not None:
            missing = self._missing(target)
            if missing is not None:
                self._give_away(target, f'missing:{missing}')
                continue
            self._ready.append(target)
            if len(self._ready) > self.config.backpressure.max_ready:
                self._give_away(self._ready.popleft(), 'overrun')
            elif give_up and len(self._ready) == self.config.backpressure.max_ready:
                return

    def _missing(self, target: Target) -> str | None:
        return next((n for n, s in self.streams.items() if s.required and not target.picks[n].valid), None)

    def _give_away(self, target: Target, reason: str) -> None:
        target.close(reason)
        self.targets.drop(reason)

    # --- what can be seen

    @property
    def num_ready(self) -> int:
        """Ready targets that wait for ``poll``."""
        return len(self._ready)

    @property
    def epoch(self) -> int:
        """Number of jumps of time so far."""
        return self._aligner.epoch

    @property
    def keep_every(self) -> int:
        """One target in this many is kept, the others are dropped ``thinned``."""
        return self._aligner.keep_every

    @keep_every.setter
    def keep_every(self, value: int) -> None:
        self._aligner.keep_every = value

    def num_held(self, name: str) -> int:
        """Samples of a stream that are really held, unused: counted one by one, to check the ledger against."""
        entries = set(self._aligner.buffers[name])
        for target in self._ready:
            entries.update(target.picks[name].entries)
            for lidar in self.config.lidars:
                entries.update(target.motion.get(lidar.name, ()) if lidar.deskew.source == name else ())
        return sum(not entry.settled for entry in entries)

    def newest_ns(self, name: str | None = None) -> int | None:
        """Newest stamp in this epoch of a stream, or of all, ns."""
        return self._aligner.newest_ns if name is None else self._aligner.buffers[name].newest_ns

    def lagging(self) -> dict[str, int | None]:
        """Streams that the oldest target waits for, and how far each is behind what it needs, ns (None: no sample)."""
        oldest = self._aligner.waiting[:1]  # a copy: diagnostics ask from another thread
        behind: dict[str, int | None] = {}
        for stamp in oldest:
            for name in self._aligner.lagging(stamp):
                newest = self._aligner.buffers[name].newest_ns
                behind[name] = None if newest is None else self._aligner.needed_ns(self.streams[name], stamp) - newest
        return behind

    # --- what comes out

    def poll(self, limit: int | None = None) -> list[FusedFrame]:
        """Compute the frames of ready targets, oldest first, ``limit`` targets at the most."""
        frames = []
        for _ in range(len(self._ready) if limit is None else min(limit, len(self._ready))):
            target = self._ready.popleft()
            try:
                frame = self._compute(target)
            except Exception:
                self._give_away(target, 'internal_error')
                raise
            if frame is not None:
                frames.append(frame)
        return frames

    def _compute(self, target: Target) -> FusedFrame | None:
        draft = _Draft()
        for name, stream in self.streams.items():
            pick = target.picks[name]
            try:
                with draft.timed(name):
                    if isinstance(stream, LidarConfig):
                        self._voxelize(stream, target, draft)
                    elif isinstance(stream, CameraConfig):
                        self._prepare_image(stream, pick, draft)
                    else:
                        self._resample(stream, pick, target.stamp_ns, draft)
            except DataError as error:
                for entry in pick.entries:
                    entry.drop(error.reason)
                self.refused(name, error.reason, str(error))
                if stream.required:
                    self._give_away(target, f'{error.reason}:{name}')
                    return None
                self._put_blank(stream, draft)
                draft.valid[name] = False
            if stream.required and not draft.valid[name]:
                self._give_away(target, f'missing:{name}')
                return None
            if pick.entries:
                draft.age_ns[name] = target.stamp_ns - pick.entries[-1].sample.stamp_ns
        frame = FusedFrame(
            stamp_ns=target.stamp_ns,
            epoch=target.epoch,
            sequence=self._sequence,
            frame_id=self._frame_id(target),
            tensors=draft.tensors,
            valid=draft.valid,
            age_ns=draft.age_ns,
            latency_ns=draft.latency_ns,
        )
        self._sequence += 1
        target.close(used=True, motion=draft.motion)
        self.targets.use()
        return frame

    def _frame_id(self, target: Target) -> str:
        if self.config.target_frame:
            return self.config.target_frame
        ids = (p.entries[0].sample.frame_id for n, p in target.picks.items() if p.entries)
        return next(ids, '')

    # --- one stage a kind of stream

    def _voxelize(self, stream: LidarConfig, target: Target, draft: _Draft) -> None:
        pick = target.picks[stream.name]
        draft.valid[stream.name] = pick.valid
        if not pick.entries:
            return self._put_blank(stream, draft)
        scan = pick.entries[0].sample
        assert isinstance(scan, LidarScan)
        voxel = stream.voxel
        voxelize: Callable[..., DenseVoxels | SparseVoxels] = ops.voxelize_dense
        if voxel.output == 'sparse':
            voxelize = partial(ops.voxelize_sparse, max_voxels=voxel.max_voxels)
        transform = self._transforms.get((stream.name, scan.frame_id))
        readings: list[Entry] = []
        if stream.deskew.is_on:
            readings, table = self._pose_table(stream, scan, target, transform)
            voxelize = partial(voxelize, deskew=table)
        else:
            voxelize = partial(voxelize, transform=transform)
        result = voxelize(
            scan.data,
            scan.layout,
            voxel.grid,
            voxel.channels,
            min_range=stream.min_range,
            max_range=stream.max_range,
            quantum=voxel.quantum,
        )
        if result.dropped['non_finite'] == scan.layout.num_points:
            raise DataError('all_non_finite', f'none of the {scan.layout.num_points} points is finite')
        if isinstance(result, SparseVoxels):
            draft.tensors.update(_named_voxels(stream.name, result))
        else:
            draft.tensors[stream.name] = result.tensor
        totals = self.points_dropped[stream.name]
        self.points_dropped[stream.name] = {r: totals.get(r, 0) + n for r, n in result.dropped.items()}
        draft.motion += readings

    def _pose_table(
        self, stream: LidarConfig, scan: LidarScan, target: Target, sensor: torch.Tensor | None
    ) -> tuple[list[Entry], PoseTable]:
        """Readings that tell how the robot turned around ``scan``, and the table that they make."""
        config, deskewer = stream.deskew, self._deskewers[stream.name]
        field = deskewer.time_field(scan)
        instants = deskewer.instants_ns(field, scan.stamp_ns)
        first, last = min(target.stamp_ns, int(instants[0])), max(target.stamp_ns, int(instants[-1]))
        entries = target.motion[stream.name]
        readings = list(entries[bracket([entry.sample.stamp_ns for entry in entries], first, last)])
        imu = self.streams[config.source]
        assert isinstance(imu, ImuConfig)
        column = sum(VECTOR_FIELDS[f] for f in imu.fields[: imu.fields.index('angular_velocity')])
        samples = [entry.sample for entry in readings if isinstance(entry.sample, VectorSample)]
        rates = [sample.values[column : column + 3].tolist() for sample in samples]
        mount = self._transforms.get((imu.name, samples[0].frame_id)) if samples else None
        poses = motion_from_gyro(
            np.array([sample.stamp_ns for sample in samples], dtype=np.int64),
            np.array(rates, dtype=np.float64).reshape(-1, 3),
            instants,
            target.stamp_ns,
            imu=None if mount is None else mount[:3, :3].numpy().astype(np.float64),
            bias=config.gyro_bias,
            tolerance_ns=imu.tolerance_ns,
        )
        return readings, pose_table(field, scan.stamp_ns, instants, poses, sensor)

    def _prepare_image(self, stream: CameraConfig, pick: Pick, draft: _Draft) -> None:
        draft.valid[stream.name] = pick.valid
        if not pick.entries:
            return self._put_blank(stream, draft)
        image = pick.entries[0].sample
        if isinstance(image, EncodedImage):
            image = image.decode()
        assert isinstance(image, CameraFrame)
        tensor = ops.prepare_image(
            image.data,
            encoding=image.encoding,
            width=image.width,
            height=image.height,
            step=image.step,
            is_bigendian=image.is_bigendian,
            out_width=stream.width,
            out_height=stream.height,
            resize=stream.resize,
            letterbox=stream.letterbox,
            rectify=image.rectify,
            pad=stream.pad,
            scale=stream.scale,
            mean=stream.mean,
            std=stream.std,
            dtype=_DTYPES[stream.dtype],
        )
        draft.tensors[stream.name] = tensor
        self._num_channels[stream.name] = tensor.shape[0]

    def _resample(self, stream: ImuConfig, pick: Pick, target_ns: int, draft: _Draft) -> None:
        last = target_ns + stream.window_offset_ns
        steps = torch.arange(1 - stream.window_size, 1, dtype=torch.int64)
        instants = (last + steps * stream.window_period_ns).unsqueeze(0)
        samples = [cast(VectorSample, entry.sample) for entry in pick.entries]
        stamps = torch.tensor([[sample.stamp_ns for sample in samples]], dtype=torch.int64)
        widths = [VECTOR_FIELDS[name] for name in stream.fields]
        rows = torch.stack([sample.values for sample in samples]) if samples else torch.empty(0, sum(widths))
        is_linear = stream.interpolation == 'linear'
        tensor, valid = ops.fuse(
            [(block, stamps) for block in rows.unsqueeze(0).split_with_sizes(widths, dim=2)],
            instants,
            method=['slerp' if name == 'orientation' and is_linear else stream.interpolation for name in stream.fields],
            tolerance_ns=stream.tolerance_ns,
        )
        draft.tensors[stream.name] = tensor[0]
        draft.tensors[f'{stream.name}.valid'] = valid[0].all(dim=1)
        draft.valid[stream.name] = bool(valid.all())

    def _put_blank(self, stream: LidarConfig | CameraConfig | ImuConfig, draft: _Draft) -> None:
        """Put tensors of the stream's shape that hold nothing: a frame has the same names whatever is missing.

        A camera's number of channels is that of its last image; 3 before the first.
        """
        if isinstance(stream, CameraConfig):
            shape = (self._num_channels[stream.name], stream.height, stream.width)
            draft.tensors[stream.name] = torch.zeros(shape, dtype=_DTYPES[stream.dtype])
        elif isinstance(stream, LidarConfig):
            channels, (x, y, z) = len(stream.voxel.channels), stream.voxel.grid.shape
            if stream.voxel.output == 'dense':
                draft.tensors[stream.name] = torch.zeros(channels, z, y, x)
            else:
                no_coords = torch.zeros(0, 3, dtype=torch.int32)
                empty = SparseVoxels(no_coords, torch.zeros(0, channels), torch.zeros(0, dtype=torch.int32), [0])
                draft.tensors.update(_named_voxels(stream.name, empty))


@dataclass
class _Draft:
    """The parts of a frame, while its stages fill them; ``motion``: readings that deskewing used."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    valid: dict[str, bool] = field(default_factory=dict)
    age_ns: dict[str, int] = field(default_factory=dict)
    latency_ns: dict[str, int] = field(default_factory=dict)
    motion: list[Entry] = field(default_factory=list)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Measure a stage."""
        begin = time.perf_counter_ns()
        yield
        self.latency_ns[stage] = time.perf_counter_ns() - begin


def _named_voxels(name: str, voxels: SparseVoxels) -> dict[str, torch.Tensor]:
    return {
        f'{name}.coords': voxels.coords,
        f'{name}.features': voxels.features,
        f'{name}.counts': voxels.counts,
    }


def pose_matrix(pose: tuple[float, ...]) -> torch.Tensor:
    """Return ``[4, 4] float32`` of a pose x y z (m) and unit quaternion qx qy qz qw."""
    x, y, z, qx, qy, qz, qw = pose
    return torch.tensor(
        [
            [1 - 2 * (qy * qy + qz * qz), 2 * (qx * qy - qz * qw), 2 * (qx * qz + qy * qw), x],
            [2 * (qx * qy + qz * qw), 1 - 2 * (qx * qx + qz * qz), 2 * (qy * qz - qx * qw), y],
            [2 * (qx * qz - qy * qw), 2 * (qy * qz + qx * qw), 1 - 2 * (qx * qx + qy * qy), z],
            [0, 0, 0, 1],
        ],
        dtype=torch.float32,
    )
