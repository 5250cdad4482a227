# SPDX-License-Identifier: Apache-2.0
"""Vectors: the readings of a sensor such as an IMU to a window of evenly spaced instants."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
import torch

from robocache_core import ops
from robocache_core.device import Device
from robocache_core.samples import Sample, VectorSample
from robocache_core.sensor_poses import SensorPoses
from robocache_core.streams.base import FrameDraft, Job, QueueConfig, Stream, StreamConfig, check_pose
from robocache_core.tunable import ConfigError, tunable
from robocache_core.units import MS, SECOND

if TYPE_CHECKING:
    from robocache_core.config import PipelineConfig
    from robocache_core.target import Target

#: Elements of a reading by field.
VECTOR_FIELDS = {'angular_velocity': 3, 'linear_acceleration': 3, 'orientation': 4}


@dataclass(frozen=True)
class VectorConfig(StreamConfig):
    """Readings, resampled to a window of ``window_size`` instants, the last at target + ``window_offset_ns``.

    A sensor whose readings are rows of numbers needs no more than its ``message_type`` and ``widths``.
    """

    reads_window: ClassVar[bool] = True

    interpolation: str = tunable(
        'linear',
        'between readings; orientation goes by slerp where others go linear',
        choices=('linear', 'nearest', 'previous'),
    )
    window_size: int = tunable(20, 'instants in the window', low=1, high=100_000)
    window_period_ns: int = tunable(5 * MS, 'time between instants', unit='s', low=1000)
    window_offset_ns: int = tunable(0, 'last instant minus target', unit='s')
    queue: QueueConfig = QueueConfig(depth=4096)

    @property
    def widths(self) -> tuple[int, ...]:
        """Elements of each field of a row."""
        raise NotImplementedError

    @property
    def parts(self) -> tuple[slice, ...]:
        """Where each field is in a row."""
        ends = tuple(itertools.accumulate(self.widths))
        return tuple(map(slice, (0, *ends), ends))

    @property
    def methods(self) -> tuple[str, ...]:
        """How each field of a row is resampled."""
        return (self.interpolation,) * len(self.widths)

    @property
    def values_dtype(self) -> torch.dtype:
        """Of readings and rows."""
        return torch.float32

    @property
    def quaternions(self) -> tuple[slice, ...]:
        """Where quaternions (x y z w) are in a row, whose sign is made continuous along a window."""
        return ()

    def instants(self, stamp_ns: int) -> tuple[int, int]:
        last = stamp_ns + self.window_offset_ns
        return last - (self.window_size - 1) * self.window_period_ns, last

    def check_within(self, pipeline: PipelineConfig) -> None:
        super().check_within(pipeline)
        wait, name = pipeline.sync.max_wait_ns, self.name
        span = (self.window_size - 1) * self.window_period_ns
        if span - min(0, self.window_offset_ns) + wait > self.buffer_ns:
            raise ConfigError(
                f'{name}.buffer = {self.buffer_ns / SECOND} s: must hold the window of {span / SECOND} s, its offset '
                f'and sync.max_wait'
            )
        if self.window_offset_ns > wait:
            raise ConfigError(
                f'{name}.window_offset = {self.window_offset_ns / SECOND} s: must be at most sync.max_wait = '
                f'{wait / SECOND} s'
            )


@dataclass(frozen=True)
class ImuConfig(VectorConfig):
    """An Imu stream: a window of the ``fields`` of its readings."""

    fields: tuple[str, ...] = tunable(
        ('angular_velocity', 'linear_acceleration'), 'what a row holds, in this order', choices=tuple(VECTOR_FIELDS)
    )
    extrinsics: tuple[float, ...] = tunable(
        (),
        "pose of the sensor in the target frame (the lidar's own where that is empty), x y z (m) qx qy qz qw; empty: "
        'from TF; needed where a lidar or a depth camera is deskewed with it',
        length=7,
    )

    def check(self, prefix: str) -> None:
        check_pose(f'{prefix}extrinsics', self.extrinsics)
        if not self.fields or len(set(self.fields)) != len(self.fields):
            raise ConfigError(f'{prefix}fields = {self.fields}: needs at least one, and none twice')

    @property
    def message_type(self) -> str:
        return 'sensor_msgs/msg/Imu'

    @property
    def known_pose(self) -> tuple[float, ...]:
        return self.extrinsics

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(VECTOR_FIELDS[name] for name in self.fields)

    @property
    def methods(self) -> tuple[str, ...]:
        is_linear = self.interpolation == 'linear'
        return tuple('slerp' if name == 'orientation' and is_linear else self.interpolation for name in self.fields)

    def columns_of(self, field: str) -> slice:
        """Where the elements of ``field``, which must be one of ``fields``, are in a row."""
        return self.parts[self.fields.index(field)]


class VectorStream(Stream[VectorConfig]):
    """Resamples a vector sensor's readings."""

    kinds = (VectorSample,)

    def __init__(self, config: VectorConfig, pipeline: PipelineConfig, poses: SensorPoses) -> None:
        super().__init__(config, pipeline, poses)
        self._shape = (sum(config.widths),)

    def admit(self, sample: Sample) -> Sample:
        assert isinstance(sample, VectorSample)
        values, dtype = sample.values, self.config.values_dtype
        if values.shape != self._shape or values.dtype != dtype:
            raise ValueError(
                f'{self.name}: values {list(values.shape)} {values.dtype}: must be {list(self._shape)} {dtype}'
            )
        return sample

    def job(self, target: Target, draft: FrameDraft) -> VectorJob:
        return VectorJob(self, target, draft)

    def lacks(self, target: Target) -> bool:
        _, valid = self.job(target, FrameDraft()).resample()
        return not bool(valid.all())

    def blank(self, device: Device) -> dict[str, torch.Tensor]:
        rows, where = self.config.window_size, device.torch_device
        values = torch.zeros(rows, sum(self.config.widths), dtype=self.config.values_dtype, device=where)
        return self.named(values, torch.zeros(rows, dtype=torch.bool, device=where))

    def named(self, values: torch.Tensor, valid: torch.Tensor) -> dict[str, torch.Tensor]:
        """The tensors of a window by their names in a frame."""
        return {self.name: values, f'{self.name}.valid': valid}


class VectorJob(Job):
    """Resamples the readings of one window."""

    stream: VectorStream
    _window: dict[str, torch.Tensor]

    @property
    def has_samples(self) -> bool:
        return True  # a window of no reading has its zeros from the operation too

    def _upload(self, device: Device) -> None:
        # Computed on the CPU whatever the device is: a few readings take less time there than a launch does.
        values, valid = self.resample()
        device.record_stage('resample')
        rows_valid = valid[0].numpy().all(axis=1)
        self.draft.valid[self.stream.name] = bool(rows_valid.all())
        for part in self.stream.config.quaternions:
            _make_continuous(values[0, :, part].numpy())
        window = self.stream.named(values[0], torch.from_numpy(rows_valid))
        self._window = {name: device.upload(tensor) for name, tensor in window.items()}

    def resample(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rows ``[1, K, D]``, and which of their fields are valid."""
        # By NumPy: each small operation of torch gives up the interpreter's lock, for which this thread then waits.
        config = self.stream.config
        _, last = config.instants(self.target_ns)
        targets = last + config.window_period_ns * np.arange(1 - config.window_size, 1)
        samples = [cast(VectorSample, entry.sample) for entry in self.pick.entries]
        stamps = torch.from_numpy(np.array([[sample.stamp_ns for sample in samples]], np.int64))
        rows = [sample.values.numpy() for sample in samples]
        values = np.stack(rows) if rows else torch.empty(0, sum(config.widths), dtype=config.values_dtype).numpy()
        return ops.fuse(
            [(torch.from_numpy(values[np.newaxis, :, part]), stamps) for part in config.parts],
            torch.from_numpy(targets[np.newaxis]),
            method=config.methods,
            tolerance_ns=config.tolerance_ns,
        )

    def _launch(self, device: Device) -> None:
        self.draft.tensors[self.stream.name] = {name: device.keep(tensor) for name, tensor in self._window.items()}


def _make_continuous(quaternions: np.ndarray) -> None:
    """Give quaternions ``[K, 4]`` (x y z w) the sign in which each is near the next, and w of the last is not negative.

    A rotation has two quaternions: so it always has the same one at the last instant, whatever the sender chose.
    """
    products = quaternions[:-1] * quaternions[1:]
    turns = ((products[:, 0] + products[:, 1]) + products[:, 2]) + products[:, 3] < 0
    x, y, z, w = quaternions[-1].tolist()
    last = next((part < 0 for part in (w, x, y, z) if part), False)
    is_negated = np.logical_xor.accumulate([last, *turns[::-1]])[::-1]
    quaternions[is_negated] = 0.0 - quaternions[is_negated]  # not -0.0 of 0.0
