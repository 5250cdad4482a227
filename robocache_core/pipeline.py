# SPDX-License-Identifier: Apache-2.0
"""Samples in, fused frames out: no ROS, no thread, and no clock but to measure how long a stage takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

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
from robocache_core.ledger import Account
from robocache_core.types import (
    CameraFrame,
    DataError,
    DenseVoxels,
    EncodedImage,
    FusedFrame,
    LidarScan,
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
        self.config = config
        self.streams = {stream.name: stream for stream in config.streams()}
        self.ledger = {name: Account() for name in self.streams}
        #: Counts targets: received when due, used when its frame left, dropped with a reason.
        self.targets = Account()
        #: Points of each lidar that no voxel took, by reason.
        self.points_dropped: dict[str, dict[str, int]] = {lidar.name: {} for lidar in config.lidars}
        self._aligner = Aligner(config, self.ledger, self.targets)
        self._ready: deque[Target] = deque()
        self._transforms: dict[tuple[str, str], torch.Tensor] = {}
        self._num_channels = dict.fromkeys((camera.name for camera in config.cameras), 3)
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
        stream = self.streams[name]
        if isinstance(stream, LidarConfig) and not self.has_transform(name, sample.frame_id):
            self.drop(name, 'no_transform')
            return
        self._aligner.push(name, sample)
        self._collect()

    def set_transform(self, name: str, frame_id: str, matrix: torch.Tensor) -> None:
        """State the pose ``[4, 4] float32`` of the sensor frame ``frame_id`` of stream ``name`` in the target frame."""
        self._transforms[name, frame_id] = matrix.to(torch.float32).contiguous()

    def has_transform(self, name: str, frame_id: str) -> bool:
        """Whether samples of stream ``name`` in ``frame_id`` can be brought into the target frame."""
        if (name, frame_id) in self._transforms:
            return True
        stream = self.streams[name]
        if isinstance(stream, LidarConfig) and stream.extrinsics:
            self.set_transform(name, frame_id, pose_matrix(stream.extrinsics))
            return True
        return self.config.target_frame in ('', frame_id)

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
        return sum(not entry.settled for entry in entries)

    def lagging(self) -> dict[str, int | None]:
        """Streams that the oldest waiting target waits for, and how far each is behind it, ns (None: has no sample)."""
        oldest = self._aligner.waiting[:1]  # a copy: diagnostics ask from another thread
        behind: dict[str, int | None] = {}
        for stamp in oldest:
            for name in self._aligner.lagging(stamp):
                newest = self._aligner.buffers[name].newest_ns
                behind[name] = None if newest is None else stamp - newest
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
                        self._voxelize(stream, pick, draft)
                    elif isinstance(stream, CameraConfig):
                        self._prepare_image(stream, pick, draft)
                    else:
                        self._resample(stream, pick, target.stamp_ns, draft)
            except DataError as error:
                for entry in pick.entries:
                    entry.drop(error.reason)
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
        target.close(used=True)
        self.targets.use()
        return frame

    def _frame_id(self, target: Target) -> str:
        if self.config.target_frame:
            return self.config.target_frame
        ids = (p.entries[0].sample.frame_id for n, p in target.picks.items() if p.entries)
        return next(ids, '')

    # --- one stage a kind of stream

    def _voxelize(self, stream: LidarConfig, pick: Pick, draft: _Draft) -> None:
        draft.valid[stream.name] = pick.valid
        if not pick.entries:
            return self._put_blank(stream, draft)
        scan = pick.entries[0].sample
        assert isinstance(scan, LidarScan)
        voxel = stream.voxel
        voxelize: Callable[..., DenseVoxels | SparseVoxels] = ops.voxelize_dense
        if voxel.output == 'sparse':
            voxelize = partial(ops.voxelize_sparse, max_voxels=voxel.max_voxels)
        result = voxelize(
            scan.data,
            scan.layout,
            voxel.grid,
            voxel.channels,
            transform=self._transforms.get((stream.name, scan.frame_id)),
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
        samples = [entry.sample for entry in pick.entries]
        stamps = torch.tensor([[sample.stamp_ns for sample in samples]], dtype=torch.int64)
        width = sum(VECTOR_FIELDS[f] for f in stream.fields)
        values = torch.empty(1, len(samples), width)
        for i, sample in enumerate(samples):
            assert isinstance(sample, VectorSample)
            values[0, i] = sample.values
        blocks, valid, column = [], torch.ones(1, stream.window_size, dtype=torch.bool), 0
        for name in stream.fields:
            block = values[..., column : column + VECTOR_FIELDS[name]]
            column += VECTOR_FIELDS[name]
            slerp = name == 'orientation' and stream.interpolation == 'linear'
            result, ok = ops.resample(
                block,
                stamps,
                instants,
                method='slerp' if slerp else stream.interpolation,
                tolerance_ns=stream.tolerance_ns,
            )
            blocks.append(result)
            valid &= ok
        draft.tensors[stream.name] = torch.cat(blocks, dim=-1)[0]
        draft.tensors[f'{stream.name}.valid'] = valid[0]
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
                empty = SparseVoxels(no_coords, torch.zeros(0, channels), torch.zeros(0, dtype=torch.int32), {})
                draft.tensors.update(_named_voxels(stream.name, empty))


@dataclass
class _Draft:
    """The parts of a frame, while its stages fill them."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    valid: dict[str, bool] = field(default_factory=dict)
    age_ns: dict[str, int] = field(default_factory=dict)
    latency_ns: dict[str, int] = field(default_factory=dict)

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
