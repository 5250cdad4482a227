# SPDX-License-Identifier: Apache-2.0
"""Samples in, fused frames out: no ROS, no thread, and no clock but to measure how long a stage takes."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import numpy as np
import torch

from robocache_core import ops
from robocache_core.align import Aligner, Pick, Target
from robocache_core.buffer import Entry
from robocache_core.config import VECTOR_FIELDS, CameraConfig, ImuConfig, LidarConfig, PipelineConfig
from robocache_core.deskew import Deskewer, bracket, motion_from_gyro, pose_table
from robocache_core.device import Device, choose_device, on_host, one_line
from robocache_core.frame import FusedFrame
from robocache_core.ledger import Account, Reason
from robocache_core.ops import DenseVoxels, PoseTable, SparseVoxels
from robocache_core.rectify import Rectifier
from robocache_core.samples import CameraFrame, CameraInfo, DataError, EncodedImage, LidarScan, Sample, VectorSample

_DTYPES = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}


class Pipeline:
    """Aligns the streams of a robot and computes a frame at every target.

    Each message is announced by ``receive`` and then handed over by ``push`` or ended by ``drop``, so that for every
    stream ``received == used + held + sum(dropped)``, always.

    It computes on ``device``. When a GPU fails, the frame at hand is computed again on the CPU, and all that follow:
    samples are kept on the host until their frame is done, so nothing is lost.

    Args:
        config: streams, alignment and operations.
        on_host: bring a frame's tensors to the CPU while its samples are still there: who would do so anyway loses no
            frame to a GPU that fails in between.
    """

    def __init__(self, config: PipelineConfig, *, on_host: bool = False) -> None:
        self._on_host = on_host
        #: Where frames are computed, and why not where ``compute.device`` says (None: it is there).
        self.device, self.device_fault = choose_device(config.compute.device)
        #: Told once when the GPU fails: what it said.
        self.on_degraded: Callable[[str], None] = lambda fault: None
        ops.set_num_threads(config.compute.num_threads)  # of the process: its pipelines share one pool
        self.config = config
        self.streams = {stream.name: stream for stream in config.streams()}
        self.ledger = {name: Account() for name in self.streams}
        #: Counts targets: received when due, used when its frame left, dropped with a reason.
        self.targets = Account()
        #: Points of each lidar that no voxel took, by reason.
        self.points_dropped: dict[str, dict[str, int]] = {lidar.name: {} for lidar in config.lidars}
        #: Told of each sample that a frame could not use: stream, reason, and what is wrong with it.
        self.on_refused: Callable[[str, str, str], None] = lambda name, reason, message: None
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
        if self.needs_pose(name) and not self.has_pose(name, sample.frame_id):
            self.drop(name, Reason.NO_TRANSFORM)
            return
        if name in self._rectifiers:
            assert isinstance(sample, CameraFrame | EncodedImage)
            try:
                sample = self._rectifiers[name].apply(sample)
            except DataError as error:
                self.drop(name, error.reason)
                self.on_refused(name, error.reason, str(error))
                return
        self._aligner.push(name, sample)
        self._collect()

    def set_pose(self, name: str, frame_id: str, matrix: torch.Tensor) -> None:
        """State the pose ``[4, 4] float32`` of the sensor frame ``frame_id`` of stream ``name`` in the target frame."""
        self._transforms[name, frame_id] = matrix.to(torch.float32).contiguous()

    def set_camera_info(self, name: str, info: CameraInfo) -> None:
        """State the calibration of camera ``name`` from here on; it tells nothing where images are not rectified."""
        if name in self._rectifiers:
            self._rectifiers[name].info = info

    def needs_pose(self, name: str) -> bool:
        """Whether samples of stream ``name`` are brought into the target frame: a lidar's, and its deskewing IMU's."""
        return isinstance(self.streams[name], LidarConfig) or name in self._motion_sources

    def has_pose(self, name: str, frame_id: str) -> bool:
        """Whether samples of stream ``name`` in ``frame_id`` can be brought into the target frame."""
        if (name, frame_id) in self._transforms:
            return True
        stream, target = self.streams[name], self.config.target_frame
        if not isinstance(stream, CameraConfig) and stream.extrinsics:
            self.set_pose(name, frame_id, pose_matrix(stream.extrinsics))
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
                self._give_away(target, Reason.MISSING.of_stream(missing))
                continue
            self._ready.append(target)
            if len(self._ready) > self.config.backpressure.max_ready:
                self._give_away(self._ready.popleft(), Reason.OVERRUN)
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

    def behind(self) -> dict[str, int | None]:
        """Streams that the oldest target waits for, and how far each is behind what it needs, ns (None: no sample)."""
        oldest = self._aligner.waiting[:1]  # a copy: diagnostics ask from another thread
        behind: dict[str, int | None] = {}
        for stamp in oldest:
            for name in self._aligner.behind(stamp):
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
                frame = self._conclude(target, self._compute_somewhere(target))
            except Exception:
                self._give_away(target, Reason.INTERNAL_ERROR)
                raise
            if frame is not None:
                frames.append(frame)
        return frames

    def device_memory(self) -> dict[str, int]:
        """Return bytes of the device's memory (see ``Device.memory``); a GPU that cannot tell them has failed.

        To be called where ``poll`` is.
        """
        device = self.device
        try:
            return device.memory()
        except Exception as error:
            self._degrade(device, error)
        return self.device.memory()

    def _compute_somewhere(self, target: Target) -> _Draft:
        """Compute a target on the device; where that fails, on the CPU."""
        device = self.device
        try:
            return self._compute(target)
        except Exception as error:
            self._degrade(device, error)
        return self._compute(target)

    def _degrade(self, device: Device, error: Exception) -> None:
        """Leave a device that has failed, which is not computed on again; raises an error that is not the device's."""
        if not device.has_failed(error):
            raise error
        device.close()
        self.device_fault = f'{device} failed: {one_line(error)}'
        self.device = Device(self.device_fault)
        self.on_degraded(self.device_fault)

    def _compute(self, target: Target) -> _Draft:
        """Compute a target; it changes nothing but the draft, so that it can be done again."""
        draft, device = _Draft(), self.device
        works = {name: self._work(stream, target, draft) for name, stream in self.streams.items()}
        device.begin_frame()
        try:
            for name, work in works.items():  # one stream's operation runs while the next one's bytes are on their way
                self._advance(name, work, draft)  # what it needs goes to the device
                device.mark('upload')
                self._advance(name, work, draft)  # its operation is launched
                device.mark(name)
            device.synchronize(draft.voxels)
            for name, work in works.items():  # what they found out is read
                self._advance(name, work, draft)
            if self._on_host:
                draft.bring_to_host()
        except _TargetLost as lost:
            draft.lost = str(lost)
        else:
            draft.latency_ns.update(device.stage_ns())
        return draft

    def _work(self, stream: LidarConfig | CameraConfig | ImuConfig, target: Target, draft: _Draft) -> Iterator[None]:
        """What computes a stream: it yields after each stage but the last one it needs, and fills the draft."""
        if isinstance(stream, LidarConfig):
            return self._voxelize(stream, target, draft)
        if isinstance(stream, CameraConfig):
            return self._prepare_image(stream, target.picks[stream.name], draft)
        return self._resample(stream, target.picks[stream.name], target.stamp_ns, draft)

    def _advance(self, name: str, work: Iterator[None], draft: _Draft) -> None:
        """Take a stream through one stage.

        Raises:
            _TargetLost: it is required and has nothing that can be used.
        """
        stream, begin = self.streams[name], time.perf_counter_ns()
        try:
            next(work, None)
        except DataError as error:
            draft.refused[name] = error.reason, str(error)  # not the error, which would keep tensors alive
            if stream.required:
                raise _TargetLost(error.reason.of_stream(name)) from None
            if name not in draft.tensors:  # a cloud of NaN alone has given tensors that hold nothing
                self._put_blank(stream, draft)
            draft.valid[name] = False
        if stream.required and not draft.valid[name]:
            raise _TargetLost(Reason.MISSING.of_stream(name))
        draft.latency_ns[name] = draft.latency_ns.get(name, 0) + time.perf_counter_ns() - begin

    def _conclude(self, target: Target, draft: _Draft) -> FusedFrame | None:
        """Count what became of a target, and make its frame if it has one."""
        for name, (reason, message) in draft.refused.items():
            for entry in target.picks[name].entries:
                entry.drop(reason)
            self.on_refused(name, reason, message)
        if draft.lost is not None:
            self._give_away(target, draft.lost)
            return None
        for name, dropped in draft.points_dropped.items():
            totals = self.points_dropped[name]
            self.points_dropped[name] = {reason: totals.get(reason, 0) + n for reason, n in dropped.items()}
        picked = ((name, target.picks[name].entries) for name in self.streams)
        frame = FusedFrame(
            stamp_ns=target.stamp_ns,
            epoch=target.epoch,
            sequence=self._sequence,
            frame_id=self._frame_id(target),
            tensors={key: tensor for name in self.streams for key, tensor in draft.tensors[name].items()},
            valid=draft.valid,
            age_ns={name: target.stamp_ns - entries[-1].sample.stamp_ns for name, entries in picked if entries},
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

    # --- what computes a kind of stream, stage by stage

    def _voxelize(self, stream: LidarConfig, target: Target, draft: _Draft) -> Iterator[None]:
        pick = target.picks[stream.name]
        draft.valid[stream.name] = pick.valid
        if not pick.entries:
            return self._put_blank(stream, draft)
        scan = pick.entries[0].sample
        assert isinstance(scan, LidarScan)
        data = self.device.put(scan.data)
        transform = self._transforms.get((stream.name, scan.frame_id))
        voxel = stream.voxel
        voxelize: Callable[..., DenseVoxels | SparseVoxels] = ops.voxelize_dense
        if voxel.output == 'sparse':
            voxelize = partial(ops.voxelize_sparse, max_voxels=voxel.max_voxels)
        readings: list[Entry] = []
        if stream.deskew.is_on:
            readings, table = self._pose_table(stream, scan, target, transform)
            self.device.mark('deskew')
            voxelize = partial(voxelize, deskew=dataclasses.replace(table, poses=self.device.put(table.poses)))
        else:
            voxelize = partial(voxelize, transform=transform)
        yield
        result = voxelize(
            data,
            scan.layout,
            voxel.grid,
            voxel.channels,
            min_range=stream.min_range,
            max_range=stream.max_range,
            quantum=voxel.quantum,
        )
        draft.voxels.append(result)
        yield
        if isinstance(result, SparseVoxels):
            draft.tensors[stream.name] = _named_voxels(stream.name, result)
        else:
            draft.tensors[stream.name] = {stream.name: result.tensor}
        if result.dropped['non_finite'] == scan.layout.num_points:
            raise DataError(Reason.ALL_NON_FINITE, f'none of the {scan.layout.num_points} points is finite')
        draft.points_dropped[stream.name] = result.dropped
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
        table = pose_table(field, scan.stamp_ns, instants, poses, sensor)
        if not table.poses.isfinite().all():  # which nobody can tell any more when they are on a GPU
            raise DataError(Reason.NO_MOTION, 'the readings around the scan give poses that are not finite')
        return readings, table

    def _prepare_image(self, stream: CameraConfig, pick: Pick, draft: _Draft) -> Iterator[None]:
        draft.valid[stream.name] = pick.valid
        if not pick.entries:
            return self._put_blank(stream, draft)
        image = pick.entries[0].sample
        if isinstance(image, EncodedImage):
            image = image.decode()
            self.device.mark('decode')
        assert isinstance(image, CameraFrame)
        data = self.device.put(image.data)
        rectify = None if image.rectify is None else self.device.constant(image.rectify)
        yield
        tensor = ops.prepare_image(
            data,
            encoding=image.encoding,
            width=image.width,
            height=image.height,
            step=image.step,
            is_bigendian=image.is_bigendian,
            out_width=stream.width,
            out_height=stream.height,
            resize=stream.resize,
            letterbox=stream.letterbox,
            rectify=rectify,
            pad=stream.pad,
            scale=stream.scale,
            mean=stream.mean,
            std=stream.std,
            dtype=_DTYPES[stream.dtype],
        )
        draft.tensors[stream.name] = {stream.name: tensor}
        self._num_channels[stream.name] = tensor.shape[0]

    def _resample(self, stream: ImuConfig, pick: Pick, target_ns: int, draft: _Draft) -> Iterator[None]:
        # On the CPU whatever the device is: a few readings are done there before a GPU has been told of them.
        last = target_ns + stream.window_offset_ns
        steps = torch.arange(1 - stream.window_size, 1, dtype=torch.int64)
        instants = (last + steps * stream.window_period_ns).unsqueeze(0)
        samples = [cast(VectorSample, entry.sample) for entry in pick.entries]
        stamps = torch.tensor([[sample.stamp_ns for sample in samples]], dtype=torch.int64)
        widths = [VECTOR_FIELDS[name] for name in stream.fields]
        values = [sample.values for sample in samples]
        rows = torch.stack(values) if values else torch.empty(0, sum(widths), dtype=torch.float32)
        is_linear = stream.interpolation == 'linear'
        tensor, valid = ops.fuse(
            [(block, stamps) for block in rows.unsqueeze(0).split_with_sizes(widths, dim=2)],
            instants,
            method=['slerp' if name == 'orientation' and is_linear else stream.interpolation for name in stream.fields],
            tolerance_ns=stream.tolerance_ns,
        )
        self.device.mark('resample')
        draft.valid[stream.name] = bool(valid.all())
        window = {stream.name: tensor[0], f'{stream.name}.valid': valid[0].all(dim=1)}
        window = {name: self.device.put(tensor) for name, tensor in window.items()}
        yield
        draft.tensors[stream.name] = {name: self.device.own(tensor) for name, tensor in window.items()}

    def _put_blank(self, stream: LidarConfig | CameraConfig | ImuConfig, draft: _Draft) -> None:
        """Put tensors of the stream's shape that hold nothing: a frame has the same names whatever is missing.

        A camera's number of channels is that of its last image; 3 before the first.
        """
        where = self.device.torch_device
        if isinstance(stream, CameraConfig):
            shape = (self._num_channels[stream.name], stream.height, stream.width)
            draft.tensors[stream.name] = {stream.name: torch.zeros(shape, dtype=_DTYPES[stream.dtype], device=where)}
        elif isinstance(stream, LidarConfig):
            channels, (x, y, z) = len(stream.voxel.channels), stream.voxel.grid.shape
            if stream.voxel.output == 'dense':
                blank = torch.zeros(channels, z, y, x, dtype=torch.float32, device=where)
                draft.tensors[stream.name] = {stream.name: blank}
            else:
                no_coords = torch.zeros(0, 3, dtype=torch.int32, device=where)
                no_counts = torch.zeros(0, dtype=torch.int32, device=where)
                no_features = torch.zeros(0, channels, dtype=torch.float32, device=where)
                empty = SparseVoxels(no_coords, no_features, no_counts, [0])
                draft.tensors[stream.name] = _named_voxels(stream.name, empty)


class _TargetLost(Exception):
    """A required stream cannot be used; the message is the reason for which the target is dropped."""


@dataclass
class _Draft:
    """What computing a target gives, while its stages fill it.

    Attributes:
        tensors: by stream, those of the frame by name.
        valid, latency_ns: as in the frame.
        voxels: results whose numbers are to be read once the device is done.
        points_dropped: by lidar.
        motion: readings that deskewing used.
        refused: by stream, the reason for which its sample cannot be used, and what is wrong with it.
        lost: why there is no frame.
    """

    tensors: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)
    valid: dict[str, bool] = field(default_factory=dict)
    latency_ns: dict[str, int] = field(default_factory=dict)
    voxels: list[DenseVoxels | SparseVoxels] = field(default_factory=list)
    points_dropped: dict[str, dict[str, int]] = field(default_factory=dict)
    motion: list[Entry] = field(default_factory=list)
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)
    lost: str | None = None

    def bring_to_host(self) -> None:
        """Bring all tensors that are on a GPU to the CPU."""
        places = [(name, key) for name, tensors in self.tensors.items() for key in tensors]
        found = [self.tensors[name][key] for name, key in places]
        if any(tensor.is_cuda for tensor in found):
            begin = time.perf_counter_ns()
            for (name, key), tensor in zip(places, on_host(found), strict=True):
                self.tensors[name][key] = tensor
            self.latency_ns['download'] = time.perf_counter_ns() - begin


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
