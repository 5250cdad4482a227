# SPDX-License-Identifier: Apache-2.0
"""The stream that gives the motion of the target frame: an IMU, by its angular velocity, or odometry, by its poses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from robocache_core.buffer import Entry, bracket
from robocache_core.deskew_config import EgoMotionConfig
from robocache_core.ledger import Reason
from robocache_core.motion import Stamps, motion_from_gyro, motion_from_odometry, on_mount
from robocache_core.rotation import Array
from robocache_core.samples import DataError, VectorSample
from robocache_core.streams.message_vector import MessageVectorConfig
from robocache_core.streams.vector import ImuConfig
from robocache_core.tunable import ConfigError

if TYPE_CHECKING:
    from robocache_core.config import PipelineConfig
    from robocache_core.sensor_poses import SensorPoses

MotionConfig = ImuConfig | MessageVectorConfig

#: How far from its origin odometry may be in float32, m: there steps are of 8 mm already.
FURTHEST_FLOAT32 = 1e5


class MotionSource(ABC):
    """Gives poses of the target frame in itself at the target time, from readings around the instants asked for."""

    def poses(
        self, instants_ns: Stamps, target_ns: int, around: Sequence[Entry], mounts: SensorPoses
    ) -> tuple[Array, list[Entry]]:
        """Return the poses ``[P, 3, 4]`` at ``instants_ns [P]``, ascending, and the readings that they are made of.

        Args:
            instants_ns: at least one.
            target_ns: the target time.
            around: readings around the instants and the target time.
            mounts: poses of the frames of the readings in the target frame; the same where there is none.

        Raises:
            DataError: ``no_motion``.
        """
        used = _span(instants_ns, target_ns, around)
        readings = list(around[used])
        # The one before them shows how the robot moved when the scan began.
        samples = [cast(VectorSample, entry.sample) for entry in around[max(0, used.start - 1) : used.stop]]
        stamps_ns = np.array([sample.stamp_ns for sample in samples], dtype=np.int64)
        rows = [sample.values for sample in samples]
        values = torch.stack(rows).numpy().astype(np.float64) if rows else np.empty((0, sum(self._config.widths)))
        mount = mounts.get(self._config, self._config.mounted_frame(readings[0].sample)) if readings else None
        pose = None if mount is None else mount.numpy().astype(np.float64)
        try:
            return self._interpolate(stamps_ns, values, instants_ns, target_ns, pose), readings
        except DataError as error:
            raise DataError(error.reason, f'{self._config.name}: {error}') from error

    _config: MotionConfig

    @abstractmethod
    def _interpolate(
        self, stamps_ns: Stamps, values: Array, instants_ns: Stamps, target_ns: int, mount: Array | None
    ) -> Array: ...


class GyroMotion(MotionSource):
    """The turning about the origin of the target frame, by an IMU.

    Args:
        config: of its stream.
        bias: angular velocity that it gives at rest, rad/s.
    """

    def __init__(self, config: ImuConfig, bias: Sequence[float]) -> None:
        self._config: ImuConfig = config
        self._bias = bias

    def _interpolate(
        self, stamps_ns: Stamps, values: Array, instants_ns: Stamps, target_ns: int, mount: Array | None
    ) -> Array:
        return motion_from_gyro(
            stamps_ns,
            values[:, self._config.columns_of('angular_velocity')],
            instants_ns,
            target_ns,
            imu=None if mount is None else mount[:3, :3],
            bias=self._bias,
            tolerance_ns=self._config.tolerance_ns,
        )


class OdometryMotion(MotionSource):
    """Turning and driving, by the poses of a body that is fixed to the target frame.

    Args:
        config: of the stream, whose rows hold such a pose.
    """

    def __init__(self, config: MessageVectorConfig) -> None:
        self._config: MessageVectorConfig = config

    def _interpolate(
        self, stamps_ns: Stamps, values: Array, instants_ns: Stamps, target_ns: int, mount: Array | None
    ) -> Array:
        columns = self._config.pose_columns
        position, orientation = columns[:3], columns[3:]
        self._check_steps(values[:, position])
        motion = motion_from_odometry(
            stamps_ns,
            values[:, position],
            values[:, orientation],
            instants_ns,
            target_ns,
            tolerance_ns=self._config.tolerance_ns,
        )
        return motion if mount is None else on_mount(mount, motion)

    def _check_steps(self, positions: Array) -> None:
        """Refuse positions that float32, in steps, has made a motion of."""
        furthest = float(np.abs(positions).max(initial=0.0))
        if self._config.values_dtype == torch.float32 and furthest > FURTHEST_FLOAT32:
            name, step = self._config.name, np.spacing(np.float32(furthest))
            raise DataError(
                Reason.NO_MOTION,
                f'it is {furthest:.0f} m from its origin, where float32 has steps of {step:.2g} m: '
                f'set {name}.dtype: float64',
            )


def readings_of(instants_ns: Stamps, target_ns: int, around: Sequence[Entry]) -> list[Entry]:
    """Return those of the readings ``around`` that give the motion from ``instants_ns``, ascending, to the target."""
    return list(around[_span(instants_ns, target_ns, around)])


def _span(instants_ns: Stamps, target_ns: int, around: Sequence[Entry]) -> slice:
    first, last = min(target_ns, int(instants_ns[0])), max(target_ns, int(instants_ns[-1]))
    return bracket([entry.sample.stamp_ns for entry in around], first, last)


def motion_source(settings: EgoMotionConfig, pipeline: PipelineConfig) -> MotionSource:
    """Return the source of motion that ``settings`` name; ``check_motion_source`` has accepted it."""
    config = _stream(settings.source, pipeline)
    assert config is not None
    return GyroMotion(config, settings.gyro_bias) if isinstance(config, ImuConfig) else OdometryMotion(config)


def check_motion_source(settings: EgoMotionConfig, user: str, pipeline: PipelineConfig) -> None:
    """Check that the stream that ``settings`` name can give motion.

    Args:
        settings: what the configuration says.
        user: the stream whose samples are moved; its parameters ``deskew`` are named in an error.
        pipeline: configuration of the whole pipeline.

    Raises:
        ConfigError: it cannot.
    """
    name, prefix = settings.source, f'{user}.deskew.source'
    config = _stream(name, pipeline)
    if config is None:
        names = ', '.join(each.name for each in (*pipeline.imus, *pipeline.vectors)) or 'there is none'
        raise ConfigError(f'{prefix} = {name!r}: must be none or name an IMU stream, or a vector of odometry ({names})')
    if isinstance(config, ImuConfig):
        if 'angular_velocity' not in config.fields:
            raise ConfigError(f'{name}.fields = {config.fields}: must have angular_velocity, for {prefix}')
        what = 'IMU'
    else:
        _check_odometry(config, prefix)
        what = 'body whose pose the odometry gives'
    if not pipeline.target_frame and not config.extrinsics:
        raise ConfigError(
            f'{name}.extrinsics = (): must be the pose of the {what} in the frame of {user}, for {prefix}, since '
            'target_frame is empty'
        )
    if any(settings.gyro_bias) and not isinstance(config, ImuConfig):
        raise ConfigError(f'{user}.deskew.gyro_bias = {settings.gyro_bias}: is of an IMU, which {name} is not')


def _stream(name: str, pipeline: PipelineConfig) -> MotionConfig | None:
    streams: tuple[MotionConfig, ...] = (*pipeline.imus, *pipeline.vectors)
    return next((stream for stream in streams if stream.name == name), None)


def _check_odometry(config: MessageVectorConfig, prefix: str) -> None:
    if not config.pose_columns:
        raise ConfigError(
            f'{config.name}.fields = {list(config.fields)}: must have position.x y z and orientation.x y z w of one '
            f'pose, as those of nav_msgs/msg/Odometry, for {prefix}'
        )
    if config.stamped_by_arrival:
        raise ConfigError(f'{config.name}.stamp = {config.stamp!r}: must be header, for {prefix}')
