# SPDX-License-Identifier: Apache-2.0
"""A bag through the pipeline without ROS's network: the frames that the live node gives where nothing is dropped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from rclpy.serialization import deserialize_message
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from robocache_core.config import PipelineConfig
from robocache_core.pipeline import Pipeline
from robocache_core.types import DataError, FusedFrame
from robocache_ros.inputs import decoder, message_type


def fused_frames(bag: Path, config: PipelineConfig, pipeline: Pipeline | None = None) -> Iterator[FusedFrame]:
    """Yield the fused frames of a bag, in the order in which it was recorded.

    Args:
        bag: a rosbag2, mcap or sqlite3.
        config: the streams; topics that the bag lacks give nothing.
        pipeline: made from ``config`` by default; give one to read its ledger afterwards.
    """
    pipeline = pipeline or Pipeline(config)
    by_topic = defaultdict(list)
    for stream in config.streams():
        by_topic[stream.topic].append(stream)
    decoders = {stream.name: decoder(stream) for stream in config.streams()}
    with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        connections = [c for c in reader.connections if c.topic in by_topic]
        for connection, _, raw in reader.messages(connections):
            for stream in by_topic[connection.topic]:
                pipeline.receive(stream.name)
                try:
                    sample = decoders[stream.name](deserialize_message(raw, message_type(stream)))
                except DataError as error:
                    pipeline.drop(stream.name, error.reason)
                    continue
                pipeline.push(stream.name, sample)
            yield from pipeline.poll()
    pipeline.give_up()
    yield from pipeline.poll()
