# SPDX-License-Identifier: Apache-2.0
"""A bag through the pipeline without ROS's network: the frames that the live node gives where nothing is dropped."""

from __future__ import annotations

import dataclasses
import logging
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo

from robocache_core.config import PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_core.pipeline import Pipeline
from robocache_core.rotation import pose_matrix
from robocache_core.samples import DataError, Sample
from robocache_ros.bags import open_bag
from robocache_ros.decode import decode_camera_info
from robocache_ros.static_tf import StaticTransforms
from robocache_ros.subscriptions import Stream, decoder, message_type

_UNBOUNDED = 1 << 62
_logger = logging.getLogger(__name__)


def make_pipeline(config: PipelineConfig) -> Pipeline:
    """Return the pipeline of ``config`` without a bound on ready targets: offline nobody waits, so none is dropped."""
    return Pipeline(
        dataclasses.replace(config, backpressure=dataclasses.replace(config.backpressure, max_ready=_UNBOUNDED))
    )


def fused_frames(bag: Path, config: PipelineConfig, pipeline: Pipeline | None = None) -> Iterator[FusedFrame]:
    """Yield the fused frames of a bag, in the order in which it was recorded.

    Their tensors are on the pipeline's device, which ``compute.device`` says.

    Poses of sensors come from the configuration, else from the bag's /tf_static. Relative topics are those of a node
    without a namespace.

    Args:
        bag: a rosbag2, mcap or sqlite3.
        config: the streams; topics that the bag lacks give nothing, and a warning.
        pipeline: ``make_pipeline(config)`` by default; give one to read its ledger afterwards.

    Raises:
        BagError: the bag cannot be read, or has no message.
        ValueError: a stream's topic has another type in the bag.
    """
    pipeline = pipeline or make_pipeline(config)
    by_topic: dict[str, list[Stream]] = defaultdict(list)
    for stream in config.streams():
        by_topic[_absolute(stream.topic)].append(stream)
    cameras = defaultdict(list)
    for camera in config.cameras:
        if camera.rectify:
            cameras[_absolute(camera.calibration_topic)].append(camera.name)
    decoders = {stream.name: decoder(stream) for stream in config.streams()}
    reader = open_bag(bag)
    tree = StaticTransforms.from_messages(
        reader.deserialize(topic, raw) for topic, _, raw in reader.messages({'/tf_static'})
    )
    topics = {*by_topic, *cameras}
    absent = sorted(topics - reader.topics.keys())
    if absent:
        _logger.warning('%s has no messages on %s; it has %s', bag, ', '.join(absent), ', '.join(reader.topics))
    for topic in sorted(topics & reader.topics.keys()):
        for stream in by_topic.get(topic, ()):
            _check_type(stream, reader.topics[topic].msgtype)
    for topic, _, raw in reader.messages(topics):
        for name in cameras.get(topic, ()):
            pipeline.set_camera_info(name, decode_camera_info(deserialize_message(raw, CameraInfo)))
        for stream in by_topic.get(topic, ()):
            pipeline.receive(stream.name)
            try:
                sample = decoders[stream.name](deserialize_message(raw, message_type(stream)))
            except DataError as error:
                pipeline.drop(stream.name, error.reason)
                continue
            _look_up(pipeline, stream, sample, tree)
            pipeline.push(stream.name, sample)
        yield from pipeline.poll()
    pipeline.give_up()
    while pipeline.num_ready:  # more may wait than there is room for at once
        yield from pipeline.poll()
        pipeline.give_up()


def _absolute(topic: str) -> str:
    return f'/{topic.lstrip("/")}'


def _check_type(stream: Stream, found: str) -> None:
    wanted = f'sensor_msgs/msg/{message_type(stream).__name__}'
    if found != wanted:
        raise ValueError(f'{stream.name}: {stream.topic} is {found} in the bag, must be {wanted}')


def _look_up(pipeline: Pipeline, stream: Stream, sample: Sample, tree: StaticTransforms) -> None:
    """Tell the pipeline the pose of a sensor's frame if it needs it and only the bag knows it."""
    if pipeline.needs_pose(stream.name) and not pipeline.has_pose(stream.name, sample.frame_id):
        pose = tree.pose(sample.frame_id, pipeline.config.target_frame)
        if pose is not None:
            pipeline.set_pose(stream.name, sample.frame_id, pose_matrix(pose))
