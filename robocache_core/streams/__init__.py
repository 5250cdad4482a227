# SPDX-License-Identifier: Apache-2.0
"""The kinds of streams; each is one file here, and one row below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from robocache_core.sensor_poses import SensorPoses
from robocache_core.streams.base import Stream, StreamConfig
from robocache_core.streams.camera import CameraConfig, CameraStream
from robocache_core.streams.depth import DepthConfig, DepthStream
from robocache_core.streams.lidar import LidarConfig, LidarStream
from robocache_core.streams.message_vector import MessageVectorConfig
from robocache_core.streams.vector import ImuConfig, VectorStream

if TYPE_CHECKING:
    from robocache_core.config import PipelineConfig
    from robocache_core.target import Target


class Kind(NamedTuple):
    """A kind of stream: its configuration, and what computes it."""

    config: type[StreamConfig]
    stream: type[Stream[Any]]


#: By the parameter that names the streams of the kind.
KINDS = {
    'lidars': Kind(LidarConfig, LidarStream),
    'cameras': Kind(CameraConfig, CameraStream),
    'imus': Kind(ImuConfig, VectorStream),
    'vectors': Kind(MessageVectorConfig, VectorStream),
    'depths': Kind(DepthConfig, DepthStream),
}


def make_streams(pipeline: PipelineConfig, poses: SensorPoses) -> dict[str, Stream[Any]]:
    """Return all streams of a pipeline, by name.

    Args:
        pipeline: its configuration.
        poses: of the sensors, as far as they are known; the pipeline adds to it.
    """
    return {
        config.name: kind.stream(config, pipeline, poses)
        for group, kind in KINDS.items()
        for config in getattr(pipeline, group)
    }


@contextmanager
def observed(streams: Mapping[str, Stream[Any]], target: Target) -> Iterator[None]:
    """Let streams observe what a target took, for as long as it is concluded within the context."""
    try:
        for name, stream in streams.items():
            stream.observe(target.picks[name])
        yield
    finally:
        for stream in streams.values():
            stream.release()
