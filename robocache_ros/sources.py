# SPDX-License-Identifier: Apache-2.0
"""The message types that streams take, one row each, and the topics on which a configuration expects them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu, LaserScan, MultiEchoLaserScan, PointCloud2

from robocache_core.config import GROUPS, MessageVectorConfig, PipelineConfig, StreamConfig
from robocache_core.samples import Sample
from robocache_core.streams.lidar import LIVOX
from robocache_ros.decode import decode_cloud, decode_imu, decode_laser_scan, decode_multi_echo
from robocache_ros.decode_depth import decode_compressed_depth, decode_depth
from robocache_ros.decode_image import decode_compressed, decode_image
from robocache_ros.decode_livox import check_livox, decode_livox
from robocache_ros.decode_vector import decode_vector
from robocache_ros.lidar_packets import PACKETS
from robocache_ros.message_paths import check_message_type
from robocache_ros.message_types import Types, installed


@dataclass(frozen=True)
class Source:
    """One message type.

    Attributes:
        type_name: full ROS name, as ``StreamConfig.message_type`` gives it.
        message: the class; None of a type that is not of ROS 2's own: its package may not be installed.
        decode: from a message and the configuration of its stream to a sample; raises ``DataError``.
        group: group of the streams that take it, as in ``robocache_core.config.GROUPS``.
        choice: what ``<stream>.message`` says of streams that take it; empty where the group takes no other type.
        check: refuses a class that lacks what ``decode`` reads, of a type that is not of ROS 2's own.
    """

    type_name: str
    message: Any
    decode: Callable[[Any, Any], Sample]
    group: str
    choice: str = ''
    check: Callable[[Any], None] = lambda message: None


#: By full ROS name.
SOURCES = {
    source.type_name: source
    for source in (
        Source('sensor_msgs/msg/PointCloud2', PointCloud2, decode_cloud, 'lidars', 'PointCloud2'),
        Source('sensor_msgs/msg/LaserScan', LaserScan, decode_laser_scan, 'lidars', 'LaserScan'),
        Source(
            'sensor_msgs/msg/MultiEchoLaserScan', MultiEchoLaserScan, decode_multi_echo, 'lidars', 'MultiEchoLaserScan'
        ),
        *(Source(name, None, decode_livox, 'lidars', name, check_livox) for name in LIVOX),
        Source('sensor_msgs/msg/Image', Image, decode_image, 'cameras', 'raw'),
        Source('sensor_msgs/msg/CompressedImage', CompressedImage, decode_compressed, 'cameras', 'compressed'),
        Source('sensor_msgs/msg/Imu', Imu, decode_imu, 'imus'),
    )
}

#: Types that streams of a second group take too: by that group and the type's full ROS name.
SHARED = {
    (source.group, source.type_name): source
    for source in (
        Source('sensor_msgs/msg/Image', Image, decode_depth, 'depths', 'raw'),
        Source('sensor_msgs/msg/CompressedImage', CompressedImage, decode_compressed_depth, 'depths', 'compressed'),
    )
}


def source_of(stream: StreamConfig, types: Types = installed) -> Source:
    """Return the row of the messages that ``stream`` takes; ``types`` gives the class of one that takes any type.

    Raises:
        ConfigError: there is no such type, or it lacks what the stream reads.
    """
    if stream.takes_any_type:
        message = types(stream.message_type)
        check_message_type(cast(MessageVectorConfig, stream), message)
        return Source(stream.message_type, message, decode_vector, 'vectors')
    if stream.message_type not in SOURCES:
        raise KeyError(f'{stream.message_type}, which {stream.name} takes, has no row in SOURCES')
    group = next(group for group, config in GROUPS.items() if isinstance(stream, config))
    source = SHARED.get((group, stream.message_type), SOURCES[stream.message_type])
    if source.message is None:
        source = dataclasses.replace(source, message=types(stream.message_type))
        source.check(source.message)
    return source


def choice(name: str, takes: str, comes: str) -> str:
    """Return what to set, or to run, so that stream ``name`` takes the type that comes; empty where nothing helps.

    Args:
        name: the stream.
        takes: full ROS name of the type that it takes as it is configured.
        comes: of the type that its topic has.
    """
    if comes in PACKETS:
        return PACKETS[comes]
    if comes not in SOURCES or takes not in SOURCES or SOURCES[comes].group != SOURCES[takes].group:
        return ''
    return f'set {name}.message: {SOURCES[comes].choice}'


@dataclass(frozen=True)
class Route:
    """A topic that a stream takes, as the stream's configuration names it.

    Attributes:
        stream: configuration of the stream.
        topic: relative or absolute.
        type_name: full ROS name of the message type.
        is_calibration: whether it carries the stream's calibration, not its samples.
    """

    stream: StreamConfig
    topic: str
    type_name: str
    is_calibration: bool = False

    @property
    def message(self) -> Any:
        """Class of the message type."""
        return CameraInfo if self.is_calibration else source_of(self.stream).message

    @property
    def absolute_topic(self) -> str:
        """The topic of a node without a namespace."""
        return f'/{self.topic.lstrip("/")}'


def routes(config: PipelineConfig, *, views: bool = False) -> Iterator[Route]:
    """Yield every topic that the streams of ``config`` take; with ``views``, what is shown of images too."""
    for stream in config.streams():
        yield Route(stream, stream.topic or stream.name, stream.message_type)
        if config.needs_calibration(stream) or (views and stream.calibration_topic):
            yield Route(stream, stream.calibration_topic, 'sensor_msgs/msg/CameraInfo', True)
