# SPDX-License-Identifier: Apache-2.0
"""Numbers of messages of any type, by their paths: joint states, odometry, commands."""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch

from robocache_core.dtypes import itemsize
from robocache_core.field_paths import GRAMMAR, FieldPath, parse_path, quaternions
from robocache_core.samples import Sample, VectorSample
from robocache_core.streams.base import check_pose
from robocache_core.streams.vector import VectorConfig
from robocache_core.text import shown
from robocache_core.tunable import ConfigError, check_bytes_of, tunable

if TYPE_CHECKING:
    from robocache_core.config import PipelineConfig

JOINT_STATE = 'sensor_msgs/msg/JointState'
ODOMETRY = 'nav_msgs/msg/Odometry'
RANGE = 'sensor_msgs/msg/Range'
#: Arrays of a JointState, with an element a joint each.
JOINT_ARRAYS = ('position', 'velocity', 'effort')

_IDENTITY = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
_DTYPES = {'float32': torch.float32, 'float64': torch.float64}


class Preset(NamedTuple):
    """What is known of a message type.

    Attributes:
        fields: those that a row holds where the configuration names none; empty: there are none that every message has.
        has_header: whether messages begin with a std_msgs/Header.
        dtype: of a row.
    """

    fields: tuple[str, ...]
    has_header: bool = True
    dtype: str = 'float32'


def _of(path: str, axes: str = 'xyz') -> tuple[str, ...]:
    return tuple(f'{path}.{axis}' for axis in axes)


def _twist(path: str) -> tuple[str, ...]:
    return _of(f'{path}linear') + _of(f'{path}angular')


def _pose(path: str) -> tuple[str, ...]:
    return _of(f'{path}position') + _of(f'{path}orientation', 'xyzw')


#: By full name of the message type.
PRESETS = {
    JOINT_STATE: Preset(('position',)),
    ODOMETRY: Preset(_pose('pose.pose.') + _twist('twist.twist.')),
    'geometry_msgs/msg/PoseStamped': Preset(_pose('pose.')),
    'geometry_msgs/msg/TwistStamped': Preset(_twist('twist.')),
    'geometry_msgs/msg/Twist': Preset(_twist(''), has_header=False),
    'geometry_msgs/msg/WrenchStamped': Preset(_of('wrench.force') + _of('wrench.torque')),
    'geometry_msgs/msg/AccelStamped': Preset(_twist('accel.')),
    'sensor_msgs/msg/NavSatFix': Preset(('latitude', 'longitude', 'altitude'), dtype='float64'),
    'sensor_msgs/msg/Joy': Preset(()),
    'sensor_msgs/msg/MagneticField': Preset(_of('magnetic_field')),
    'sensor_msgs/msg/FluidPressure': Preset(('fluid_pressure',)),
    'sensor_msgs/msg/Temperature': Preset(('temperature',)),
    RANGE: Preset(('range',)),
    'sensor_msgs/msg/BatteryState': Preset(('voltage',)),
    'std_msgs/msg/Float32MultiArray': Preset((), has_header=False),
    'std_msgs/msg/Float64MultiArray': Preset((), has_header=False, dtype='float64'),
}
_UNKNOWN = Preset(())


@dataclass(frozen=True)
class MessageVectorConfig(VectorConfig):
    """A window of numbers of messages of type ``message``; ``PRESETS`` has what is known of the common types."""

    takes_any_type: ClassVar[bool] = True

    message: str = tunable('', 'full name of the message type, as nav_msgs/msg/Odometry; must be set')
    fields: tuple[str, ...] = tunable(
        (), "what a row holds, in this order, by its path in the message; empty: the type's usual ones"
    )
    joints: tuple[str, ...] = tunable((), 'of a JointState: the joints, by name, in the order of the row')
    other_joints: str = tunable(
        'refuse',
        'of a JointState with joints that are not in joints: refuse it, or ignore those joints',
        choices=('refuse', 'ignore'),
    )
    stamp: str = tunable(
        'auto',
        'time of a message: that of its header, or of its arrival; auto: of its header where the type has one',
        choices=('auto', 'header', 'arrival'),
    )
    dtype: str = tunable(
        'auto',
        'type of the result; auto: float64 for NavSatFix and Float64MultiArray, else float32',
        choices=('auto', *_DTYPES),
    )
    window_size: int = tunable(1, 'instants in the window', low=1, high=100_000)
    extrinsics: tuple[float, ...] = tunable(
        (),
        'where a lidar or a depth camera is deskewed with it: pose of the body whose pose it gives in the target frame '
        '(where that is empty, in the frame of that one), x y z (m) qx qy qz qw; empty: of an Odometry from TF, by its '
        'child_frame_id; of other types the body is the target frame',
        length=7,
    )

    def check(self, prefix: str) -> None:
        if self.message and not re.fullmatch(r'[a-z]\w*/msg/[A-Z]\w*', self.message, re.ASCII):
            raise ConfigError(
                f'{prefix}message = {shown(self.message)}: must be the full name of a type, as nav_msgs/msg/Odometry'
            )
        for field in self.fields:
            if parse_path(field) is None:
                raise ConfigError(f'{prefix}fields has {shown(field)}: {GRAMMAR}')
        if self.message == JOINT_STATE:
            self._check_joints(prefix)
        elif self.joints:
            raise ConfigError(f'{prefix}joints = {shown(self.joints)}: is for {JOINT_STATE} alone, not {self.message}')
        check_pose(f'{prefix}extrinsics', self.extrinsics)
        check_bytes_of(self.name, (self.window_size, len(self.columns)), itemsize(self.values_dtype))
        twice = [column for column, count in Counter(self.columns).items() if count > 1]
        if twice:
            raise ConfigError(f'{prefix}fields = {shown(self.fields)}: name {shown(twice[0])} twice')

    def _check_joints(self, prefix: str) -> None:
        wrong = [field for field in self.fields if field not in JOINT_ARRAYS]
        if wrong:
            raise ConfigError(
                f'{prefix}fields has {shown(wrong[0])}: of a JointState must be of {", ".join(JOINT_ARRAYS)}'
            )
        if len(set(self.joints)) != len(self.joints) or '' in self.joints:
            raise ConfigError(f'{prefix}joints = {shown(self.joints)}: must be names, none twice')

    def check_within(self, pipeline: PipelineConfig) -> None:
        super().check_within(pipeline)
        if not self.message:
            raise ConfigError(f"{self.name}.message = '': must be the full name of a type, as nav_msgs/msg/Odometry")
        if self.message == JOINT_STATE and not self.joints:
            raise ConfigError(f'{self.name}.joints = []: must name the joints of a row, in its order')
        if not self.columns:
            raise ConfigError(
                f'{self.name}.fields = []: must be set, as {self.message} has no usual ones: paths such as '
                'pose.pose.position.x, axes[0], or data[:7] for a whole array of 7'
            )

    @property
    def preset(self) -> Preset:
        """What is known of the type."""
        return PRESETS.get(self.message, _UNKNOWN)

    @property
    def message_type(self) -> str:
        return self.message

    @property
    def known_pose(self) -> tuple[float, ...]:
        return self.extrinsics or (() if self.message == ODOMETRY else _IDENTITY)

    def mounted_frame(self, sample: Sample) -> str:
        assert isinstance(sample, VectorSample)
        return sample.child_frame_id

    @functools.cached_property
    def stamped_by_arrival(self) -> bool:
        return super().stamped_by_arrival or (self.stamp == 'auto' and not self.preset.has_header)

    @functools.cached_property
    def paths(self) -> tuple[FieldPath, ...]:
        """Those of the numbers of a row; of a JointState, of the arrays that hold them."""
        return tuple(path for field in self.fields or self.preset.fields if (path := parse_path(field)) is not None)

    @functools.cached_property
    def columns(self) -> tuple[str, ...]:
        if self.message == JOINT_STATE:
            return tuple(f'{path.text}[{joint}]' for path in self.paths for joint in self.joints)
        return tuple(column for path in self.paths for column in path.columns)

    @functools.cached_property
    def quaternions(self) -> tuple[slice, ...]:
        return tuple(slice(begin, begin + 4) for begin in quaternions(self.columns))

    @functools.cached_property
    def pose_columns(self) -> tuple[int, ...]:
        """Where the first pose of a row is: position x y z and orientation x y z w; empty where there is none."""
        at = {column: i for i, column in enumerate(self.columns)}
        for column in self.columns:
            pose = column.removesuffix('position.x') if column.endswith('position.x') else None
            if pose is not None and all(name in at for name in _pose(pose)):
                return tuple(at[name] for name in _pose(pose))
        return ()

    @functools.cached_property
    def widths(self) -> tuple[int, ...]:
        inner = (bound for part in self.quaternions for bound in (part.start, part.stop))
        bounds = sorted({0, len(self.columns), *inner})
        return tuple(end - begin for begin, end in itertools.pairwise(bounds))

    @property
    def methods(self) -> tuple[str, ...]:
        begins = {part.start for part in self.quaternions}
        starts = itertools.accumulate(self.widths, initial=0)
        is_linear = self.interpolation == 'linear'
        return tuple(
            'slerp' if is_linear and start in begins else self.interpolation
            for start, _ in zip(starts, self.widths, strict=False)
        )

    @functools.cached_property
    def values_dtype(self) -> torch.dtype:
        return _DTYPES[self.preset.dtype if self.dtype == 'auto' else self.dtype]
