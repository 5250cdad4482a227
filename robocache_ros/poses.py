# SPDX-License-Identifier: Apache-2.0
"""Where a sensor is, if no parameter states it: from TF in the node, from /tf and /tf_static in a bag."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

import numpy as np

from robocache_core import rotation
from robocache_core.ledger import Reason
from robocache_core.pipeline import Pipeline
from robocache_core.samples import DataError
from robocache_core.text import shown
from robocache_core.units import SECOND
from robocache_ros.event_log import EventLog
from robocache_ros.events import Event
from robocache_ros.held_back import PoseNotYet
from robocache_ros.live_transforms import LiveTransforms

if TYPE_CHECKING:  # it reads bags, and so needs rosbags, which a robot's installation may lack
    from robocache_ros.transform_buffer import TransformBuffer

Pose = tuple[float, ...]

_REMEDY = (
    'publish the static transform between them (tf2_ros static_transform_publisher), or of a sensor that moves its '
    'transforms up to the stamp before the message comes'
)


class SensorPose(NamedTuple):
    """A pose x y z, m, and a unit quaternion qx qy qz qw; whether it moves, or holds for every stamp."""

    pose: Pose
    moves: bool = False


class PoseSource(Protocol):
    """Gives the poses of sensors."""

    def pose(self, frame_id: str, target: str, stamp_ns: int) -> SensorPose:
        """Return the pose of ``frame_id`` in ``target`` at a stamp.

        Raises:
            PoseNotYet: ``no_transform``: the stamp is beyond the newest transforms.
            DataError: ``no_transform``: it is unknown.
        """
        ...

    def clear(self) -> None:
        """Forget all poses that move: time has jumped."""


class BagPoses:
    """Poses from the transforms of a bag."""

    def __init__(self, transforms: TransformBuffer) -> None:
        self._transforms = transforms

    def pose(self, frame_id: str, target: str, stamp_ns: int) -> SensorPose:
        return self._transforms.pose(frame_id, target, stamp_ns)

    def clear(self) -> None:
        self._transforms.clear()


class TfPoses:
    """Poses from TF, where tf2_ros is installed and a stream needs it.

    Args:
        node: listens to TF.
        log: receives that TF is needed and not there.
        streams: names of the streams that need TF; where there is none, nothing is made.
        undo: is given what undoes this.
    """

    def __init__(self, node: Any, log: EventLog, streams: Sequence[str], undo: ExitStack) -> None:
        self._tf: Any = None
        self._fault = ''
        if not streams:
            return
        try:
            tf2_ros = importlib.import_module('tf2_ros')
        except Exception as error:  # a broken installation may raise anything
            absent = isinstance(error, ModuleNotFoundError) and error.name == 'tf2_ros'
            self._fault = 'is not installed' if absent else f'cannot be imported ({" ".join(str(error).split())})'
            log.emit(Event.NO_TF, fault=self._fault, streams=', '.join(streams), stream=streams[0])
            return
        self._tf, self._transforms = tf2_ros, LiveTransforms(tf2_ros.Buffer, log)
        undo.callback(tf2_ros.TransformListener(self._transforms, node).unregister)

    def pose(self, frame_id: str, target: str, stamp_ns: int) -> SensorPose:
        if self._tf is None:
            _unknown(frame_id, target, f'tf2_ros {self._fault}', 'install it')
        from rclpy.time import Time

        newest_ns, buffer = 0, self._transforms.buffer
        try:
            found = buffer.lookup_transform(target, frame_id, Time())
            # That of the newest ones; tf2 gives a chain of static transforms 0.
            newest_ns = Time.from_msg(found.header.stamp).nanoseconds
            if newest_ns:
                _check_stamp(frame_id, target, stamp_ns)
                found = buffer.lookup_transform(target, frame_id, Time(nanoseconds=stamp_ns))
        except self._tf.TransformException as error:  # of a stamp that is not there it says how far the buffer reaches
            kind = PoseNotYet if 0 < newest_ns < stamp_ns else DataError
            _unknown(frame_id, target, str(error).rstrip(' .'), _REMEDY, kind)
        t, q = found.transform.translation, found.transform.rotation
        unit = rotation.normalized(np.array([q.x, q.y, q.z, q.w]))
        return SensorPose((t.x, t.y, t.z, *unit.tolist()), moves=newest_ns > 0)

    def clear(self) -> None:
        if self._tf is not None:
            self._transforms.clear()


def _check_stamp(frame_id: str, target: str, stamp_ns: int) -> None:
    """Refuse a stamp that no transform has; to tf2, 0 means the latest, and there is none before it."""
    if stamp_ns <= 0:
        _unknown(frame_id, target, f'at {stamp_ns / SECOND:.3f} s nothing has a pose', 'correct stamp_offset')


def streams_to_locate(pipeline: Pipeline) -> list[str]:
    """Return the names of the streams whose sensors' poses are needed and not stated by a parameter."""
    has_target = bool(pipeline.config.target_frame)
    streams = (stream for stream in pipeline.streams.values() if not stream.known_pose)
    return [s.name for s in streams if s.registered_to or (has_target and pipeline.needs_pose(s.name))]


def _unknown(frame_id: str, target: str, why: str, remedy: str, kind: type[DataError] = DataError) -> NoReturn:
    raise kind(Reason.NO_TRANSFORM, f'the pose of {shown(frame_id)} in {shown(target)} is unknown: {why}; {remedy}')
