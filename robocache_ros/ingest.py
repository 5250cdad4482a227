# SPDX-License-Identifier: Apache-2.0
"""How a message comes in, live and offline: it is announced, decoded, located and pushed, or counted and explained."""

from __future__ import annotations

from typing import Any

from sensor_msgs.msg import CameraInfo

from robocache_core.ledger import Reason
from robocache_core.pipeline import Pipeline
from robocache_core.rotation import pose_matrix
from robocache_core.samples import DataError, EncodedImage, Sample, restamped
from robocache_core.streams.base import MOST_METRES
from robocache_core.text import shown
from robocache_ros.cdr import Raw, deserialize
from robocache_ros.decode_image import decode_camera_info
from robocache_ros.decoders import Decoders
from robocache_ros.drop_log import DropLog
from robocache_ros.message_types import Types, installed
from robocache_ros.poses import Pose, PoseSource
from robocache_ros.received import Received
from robocache_ros.sources import source_of


class Ingest:
    """Takes messages into a pipeline. All but ``announce`` belongs to the thread that runs the pipeline.

    Args:
        pipeline: receives the samples; the samples that its frames cannot use are explained too.
        poses: gives the poses of sensors that the configuration does not state.
        log: explains every drop.
        decoders: decode compressed images ahead.
        types: gives the message types of streams that take any type.

    Raises:
        ConfigError: a stream's message type is not known, or lacks what the stream reads.
    """

    def __init__(
        self, pipeline: Pipeline, poses: PoseSource, log: DropLog, decoders: Decoders, types: Types = installed
    ) -> None:
        self._pipeline = pipeline
        self._decoders = decoders
        self._poses = poses
        self._log = log
        #: By stream, the row of its messages.
        self.sources = {name: source_of(stream, types) for name, stream in pipeline.streams.items()}
        pipeline.on_refused = log.explain
        pipeline.on_damaged = log.explain_damage

    def announce(self, name: str) -> None:
        """Count a message of stream ``name`` that has arrived; may be called from any thread."""
        self._pipeline.receive(name)

    def decode(self, name: str, received: Received, when: str = '') -> Sample | None:
        """Return the sample of a message that was announced; None where it was dropped.

        ``when`` is added to the topic in the explanation of one that cannot be deserialized.
        """
        stream, source = self._pipeline.streams[name], self.sources[name]
        try:
            message = _deserialized(received.raw, source.message, f'{stream.topic}{when}')
            sample = source.decode(message, stream)
            if stream.stamped_by_arrival:
                sample = restamped(sample, _arrival_ns(received))
            return self._decoders.take_in(name, sample) if isinstance(sample, EncodedImage) else sample
        except DataError as error:
            self.refuse(name, error)
        except Exception:
            self._pipeline.drop(name, Reason.INTERNAL_ERROR)
            self._log.fail(name, f'{name}: message dropped ({Reason.INTERNAL_ERROR})')
        return None

    def push(self, name: str, sample: Sample) -> None:
        """Push a decoded sample, once the pose of its sensor is known."""
        try:
            self._locate(name, sample.frame_id)
        except DataError as error:
            self.refuse(name, error)
            return
        self._pipeline.push(name, sample)

    def take(self, name: str, received: Received, when: str = '') -> None:
        """Decode a message that was announced, as ``decode`` does, and push it."""
        sample = self.decode(name, received, when)
        if sample is not None:
            self.push(name, sample)

    def refuse(self, name: str, error: DataError) -> None:
        """Drop a message that was announced, and explain why."""
        self._pipeline.drop(name, error.reason)
        self._log.explain(name, error.reason, str(error))

    def calibrate(self, name: str, raw: Raw, when: str = '') -> None:
        """Take in a serialized CameraInfo of camera ``name``, which holds until another one comes."""
        topic = f'{self._pipeline.streams[name].calibration_topic}{when}'
        try:
            message = _deserialized(raw, CameraInfo, topic)
        except DataError as error:
            self._log.explain(name, error.reason, str(error))
        else:
            self._pipeline.set_camera_info(name, decode_camera_info(message))

    def _locate(self, name: str, frame_id: str) -> None:
        """State the pose of the sensor frame ``frame_id`` to the pipeline if it needs it and has none.

        Raises:
            DataError: ``no_transform``: it is unknown, or farther away than a parameter could state it.
        """
        if self._pipeline.needs_pose(name) and not self._pipeline.has_pose(name, frame_id):
            try:
                pose = self._pose(frame_id)
            except DataError as error:
                raise DataError(error.reason, f'{error}, or set {name}.extrinsics') from error
            self._pipeline.set_pose(name, frame_id, pose_matrix(pose))

    def _pose(self, frame_id: str) -> Pose:
        target = self._pipeline.config.target_frame
        if not frame_id:
            raise DataError(Reason.NO_TRANSFORM, f'header.frame_id is empty, its pose in {target!r} unknown: set it')
        pose = self._poses.pose(frame_id, target)
        if not all(abs(metres) <= MOST_METRES for metres in pose[:3]):  # no comparison with NaN holds
            raise DataError(
                Reason.NO_TRANSFORM,
                f'the pose of {shown(frame_id)} in {target!r} is x y z = {pose[:3]} m: must be within '
                f'{MOST_METRES:g} m; correct the transform',
            )
        return pose


def _arrival_ns(received: Received) -> int:
    if received.arrived_ns <= 0:
        raise DataError(Reason.ZERO_STAMP, 'it arrived at 0 ns of ROS time: no /clock had come yet')
    return received.arrived_ns


def _deserialized(raw: Raw, message: type, topic: str) -> Any:
    """Return the message of class ``message`` in ``raw``.

    Raises:
        DataError: ``undeserializable``.
    """
    try:
        return deserialize(raw, message)
    except ValueError as error:
        text = f'{topic}: {len(raw)} bytes that are no {message.__name__}: {error}'
        raise DataError(Reason.UNDESERIALIZABLE, text) from error
