# SPDX-License-Identifier: Apache-2.0
"""How a message comes in, live and offline: it is announced, decoded, located and pushed, or counted and explained."""

from __future__ import annotations

import dataclasses
from typing import Any

from sensor_msgs.msg import CameraInfo

from robocache_core.config import StreamConfig
from robocache_core.ledger import Reason
from robocache_core.pipeline import Pipeline
from robocache_core.rotation import pose_matrix
from robocache_core.samples import CameraFrame, DataError, EncodedImage, Sample, VectorSample, restamped
from robocache_core.streams.base import MOST_METRES
from robocache_core.text import shown
from robocache_ros.cdr import Raw
from robocache_ros.decode_image import decode_camera_info
from robocache_ros.decoders import Decoders, Decoding
from robocache_ros.drop_log import DropLog
from robocache_ros.frozen_poses import FrozenPoses
from robocache_ros.held_back import HeldBack
from robocache_ros.message import Serialized
from robocache_ros.message_types import Types, installed
from robocache_ros.poses import PoseSource, SensorPose
from robocache_ros.received import Received
from robocache_ros.sources import source_of


class Ingest:
    """Takes messages into a pipeline. All but ``announce`` and ``open`` belongs to the thread that runs the pipeline.

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
        #: By stream whose sensor may move, the newest stamp that two in a row have reached, and its last one, ns.
        self._newest: dict[str, tuple[int, int]] = {}
        self._held_back = HeldBack(
            pipeline.streams, pipeline.config.sync, self._located, self._push, self.refuse, self._fail
        )
        pipeline.num_held_back = self._held_back.num_waiting
        #: By stream, the row of its messages.
        self.sources = {name: source_of(stream, types) for name, stream in pipeline.streams.items()}
        #: What is wrong with odometry whose messages are of use nonetheless.
        self.frozen_poses = FrozenPoses(pipeline.streams.values())
        pipeline.on_refused = log.explain
        pipeline.on_damaged = log.explain_damage

    def announce(self, name: str) -> None:
        """Count a message of stream ``name`` that has arrived; may be called from any thread."""
        self._pipeline.receive(name)

    def open(self, name: str, received: Received) -> Decoding | None:
        """Return what decodes a compressed image that has come; None of other messages, and of one that is refused.

        On the thread on which the messages of the stream come.
        """
        stream = self._pipeline.streams[name]
        # Who decodes takes the next message later, whose arrival may be what counts.
        if not stream.is_compressed or stream.stamped_by_arrival:
            return None
        try:
            _, sample = self._sample(name, received, stream.topic)
            return self._decoders.take_in(name, sample) if isinstance(sample, EncodedImage) else None
        except Exception:  # `decode` comes to it again, and counts it
            return None

    def decode(self, name: str, received: Received, when: str = '') -> Sample | None:
        """Return the sample of a message that was announced; None where it was dropped.

        ``when`` is added to the topic in the explanation of one that cannot be deserialized.
        """
        stream = self._pipeline.streams[name]
        try:
            if received.image is not None:
                return received.image
            message, sample = self._sample(name, received, f'{stream.topic}{when}')
            sample = _stamped(sample, received, stream)
            self.frozen_poses.take(name, sample.stamp_ns, message)
            if isinstance(sample, EncodedImage):
                decoding = self._decoders.take_in(name, sample)
                decoding.elsewhere()
                sample = decoding.image
            return sample
        except DataError as error:
            self.refuse(name, error)
        except Exception:
            self._fail(name)
        return None

    def _sample(self, name: str, received: Received, topic: str) -> tuple[Any, Sample]:
        """Return a message of stream ``name`` and its sample; raises ``DataError``."""
        source = self.sources[name]
        message = received.message.open(source.message, topic)
        return message, source.decode(message, self._pipeline.streams[name])

    def push(self, name: str, sample: Sample) -> None:
        """Push a decoded sample, once the pose of its sensor is known, and those that have waited for theirs."""
        self._held_back.release_all()
        if not (self._pipeline.needs_pose(name) or self._pipeline.streams[name].registered_to):
            self._push(name, sample)
            return
        try:
            self._watch_time(name, sample.stamp_ns)
        except Exception:
            self._fail(name)
        else:
            self._held_back.put(name, sample)

    def _push(self, name: str, sample: Sample) -> None:
        """Push a sample; an exception is logged, so that it costs no other one."""
        try:
            self._pipeline.push(name, sample)
        except Exception:
            self._log.fail(name, f'{name}: the pipeline failed at a message and goes on')

    def give_up(self) -> None:
        """Refuse what waits for the pose of its sensor: nothing more comes."""
        self._held_back.release_all(give_up=True)

    def clear(self, reason: Reason) -> None:
        """Drop what waits for the pose of its sensor for ``reason``."""
        self._held_back.clear(lambda name: self._pipeline.drop(name, reason))

    def take(self, name: str, received: Received, when: str = '') -> None:
        """Decode a message that was announced, as ``decode`` does, and push it."""
        sample = self.decode(name, received, when)
        if sample is not None:
            self.push(name, sample)

    def refuse(self, name: str, error: DataError) -> None:
        """Drop a message that was announced, and explain why."""
        self._pipeline.drop(name, error.reason)
        self._log.explain(name, error.reason, str(error))

    def _fail(self, name: str) -> None:
        """Drop a message for the exception at hand, which nothing foresees."""
        self._pipeline.drop(name, Reason.INTERNAL_ERROR)
        self._log.fail(name, f'{name}: message dropped ({Reason.INTERNAL_ERROR})')

    def calibrate(self, name: str, raw: Raw, when: str = '') -> None:
        """Take in a serialized CameraInfo of camera ``name``, which holds until another one comes."""
        topic = f'{self._pipeline.streams[name].calibration_topic}{when}'
        try:
            message = Serialized(raw).open(CameraInfo, topic)
        except DataError as error:
            self._log.explain(name, error.reason, str(error))
        else:
            self._pipeline.set_camera_info(name, decode_camera_info(message))

    def _located(self, name: str, sample: Sample) -> Sample:
        """Return the sample with the poses of its sensor that move; state those that do not to the pipeline.

        Raises:
            PoseNotYet: ``no_transform``: transforms of its stamp may come yet.
            DataError: ``no_transform``: a pose is unknown, or of no use.
        """
        return self._in_camera(name, self._in_target(name, sample))

    def _in_camera(self, name: str, sample: Sample) -> Sample:
        """As ``_located``, in the frame of the camera that the stream is registered to."""
        stream = self._pipeline.streams[name]
        registration = self._pipeline.registrations.get(name)
        if registration is None or not (camera_frame := registration.frame_to_find(sample.frame_id)):
            return sample
        assert isinstance(sample, CameraFrame | EncodedImage)
        try:
            pose, moves = self._pose(sample.frame_id, camera_frame, stream.corrected_ns(sample.stamp_ns))
        except DataError as error:
            remedy = f'or set extrinsics of both {name} and {registration.camera}'
            raise type(error)(error.reason, f'{error}, {remedy}') from error
        if moves:
            return dataclasses.replace(sample, pose_in_camera=pose_matrix(pose))
        registration.set_pose(sample.frame_id, pose_matrix(pose))
        return sample

    def _in_target(self, name: str, sample: Sample) -> Sample:
        """As ``_located``, in the target frame.

        Raises:
            PoseNotYet: ``no_transform``: transforms of its stamp may come yet.
            DataError: ``no_transform``: it is unknown, or farther away than a parameter could state it; or it moves,
                and the stream gives the motion of the robot.
        """
        stream = self._pipeline.streams[name]
        frame_id, stamp_ns = stream.mounted_frame(sample), stream.corrected_ns(sample.stamp_ns)
        if not self._pipeline.needs_pose(name) or self._pipeline.has_pose(name, frame_id):
            return sample
        try:
            pose, moves = self._pose(frame_id, self._pipeline.config.target_frame, stamp_ns)
        except DataError as error:
            raise type(error)(error.reason, f'{error}, or set {name}.extrinsics') from error
        if not moves:
            self._pipeline.set_pose(name, frame_id, pose_matrix(pose))
            return sample
        if not isinstance(sample, VectorSample):
            return dataclasses.replace(sample, pose=pose_matrix(pose))
        target = self._pipeline.config.target_frame
        raise DataError(
            Reason.NO_TRANSFORM,
            f'the pose of {shown(frame_id)} in {target!r} moves: {name} does not give the motion of {target!r}; take a '
            'sensor that is fixed to it',
        )

    def _watch_time(self, name: str, stamp_ns: int) -> None:
        """Forget poses that move where two stamps of a stream in a row are of the time before a jump back of it.

        The pipeline may not see that jump: samples whose poses are those of another time, or none, do not reach it.
        """
        newest_ns, last_ns = self._newest.get(name, (0, 0))
        if max(last_ns, stamp_ns) < newest_ns - self._pipeline.config.sync.time_jump_ns:
            self._poses.clear()
            self._newest.clear()
        else:
            self._newest[name] = max(newest_ns, min(last_ns, stamp_ns)), stamp_ns

    def _pose(self, frame_id: str, target: str, stamp_ns: int) -> SensorPose:
        if not frame_id:
            raise DataError(
                Reason.NO_TRANSFORM,
                f'the frame of the sensor has no name, its pose in {shown(target)} is unknown: set header.frame_id, of '
                'odometry child_frame_id',
            )
        found = self._poses.pose(frame_id, target, stamp_ns)
        metres = found.pose[:3]
        if not all(abs(each) <= MOST_METRES for each in metres):  # no comparison with NaN holds
            raise DataError(
                Reason.NO_TRANSFORM,
                f'the pose of {shown(frame_id)} in {shown(target)} is x y z = {metres} m: must be within '
                f'{MOST_METRES:g} m; correct the transform',
            )
        return found


def _stamped(sample: Sample, received: Received, stream: StreamConfig) -> Sample:
    """Return the sample of a message with the stamp that counts of it."""
    return restamped(sample, _arrival_ns(received)) if stream.stamped_by_arrival else sample


def _arrival_ns(received: Received) -> int:
    if received.arrived_ns <= 0:
        raise DataError(Reason.ZERO_STAMP, 'it arrived at 0 ns of ROS time: no /clock had come yet')
    return received.arrived_ns
