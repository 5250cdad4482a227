# SPDX-License-Identifier: Apache-2.0
"""A configuration of the node for the topics of a bag: it runs as it is, and is a start for one's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robocache_core.config import DepthConfig, ImuConfig, StreamConfig, SyncConfig, VoxelConfig
from robocache_core.streams.lidar import LIVOX
from robocache_core.streams.message_vector import PRESETS
from robocache_core.tunable import ConfigError
from robocache_core.units import MS, SECOND
from robocache_ros.bags import Bag, BagError, Topic, glimpse
from robocache_ros.lidar_packets import PACKETS
from robocache_ros.message_types import Types, installed
from robocache_ros.parameters import from_dict
from robocache_ros.sources import SOURCES
from robocache_ros.tools.commented_yaml import commented_yaml
from robocache_ros.tools.mounting import Mounting, find_mounting, without_unmounted
from robocache_ros.tools.plausibility import (
    doubts_on_depth,
    doubts_on_imu,
    is_depth,
    size_of_depth,
    why_no_camera,
    why_no_depth,
)
from robocache_ros.tools.propose_vector import numbers_of, why_no_vector
from robocache_ros.tools.remarks import LeftOut, Remarks
from robocache_ros.tools.sensor import Sensor
from robocache_ros.tools.stream_names import stream_names
from robocache_ros.tools.suggestions import Suggestion, suggest

#: Types of the topics for which a stream is proposed.
TYPES = (*SOURCES, *PRESETS)
_PLANAR = ('sensor_msgs/msg/LaserScan', 'sensor_msgs/msg/MultiEchoLaserScan')
_CLOUD = 'sensor_msgs/msg/PointCloud2'
#: Types that carry a camera as a stream of packets, none of which is an image by itself.
_VIDEOS = (
    'theora_image_transport/msg/Packet',
    'ffmpeg_image_transport_msgs/msg/FFMPEGPacket',
    'foxglove_msgs/msg/CompressedVideo',
)
#: Types of the topics of which something is said.
CANDIDATES = (*TYPES, *_VIDEOS, *PACKETS)
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
_DRIVER = 'run the driver on them, and record its PointCloud2'
_RECORD_AGAIN = 'record it again, as CDR of the type that the topic has'
_FIXED_RATE_HZ = 10.0
_GRID = 'all_points'


@dataclass(frozen=True)
class BagConfig:
    """The node's ``parameters`` (nested, as in YAML), ``remarks`` on them, and ``suggestions`` beside them."""

    parameters: dict[str, Any]
    remarks: Remarks
    suggestions: Sequence[Suggestion] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for each remark."""
        return self.remarks.lines

    def to_yaml(self, source: str) -> str:
        """A ROS parameter file, with meanings and notes as comments; ``source`` names the bag."""
        head = [f'Made from {source}. Every other parameter has its default.', *self.notes]
        sources = [*self.parameters.get('lidars', ()), *self.parameters.get('depths', ())]
        if len(sources) > 1 and 'grids' not in self.parameters:
            head.append(f'init --grid and replay --grid propose one grid of voxels of {", ".join(sources)}.')
        return commented_yaml(self.parameters, head, self.suggestions)


class NoStreamError(BagError):
    """No topic of a bag can be a stream.

    Attributes:
        found: the topics, with their types, and why none of them can be one.
    """

    def __init__(self, bag: Bag, remarks: Remarks) -> None:
        topics = ', '.join(f'{topic.name} ({topic.msgtype})' for topic in bag.topics.values())
        self.found = '; '.join((topics, *remarks.lines))
        super().__init__(f'{bag.path}: no topic that the node can use; the bag has: {self.found}')


def config_from_bag(bag: Bag, types: Types = installed, *, grid: bool = False) -> BagConfig:
    """Make the configuration: a stream for each topic of ``bag`` whose type is one of ``TYPES``.

    The first lidar is the trigger, else the first camera, else depth camera; without them, targets come at 10 Hz. The
    voxels are in the frame to which /tf_static joins most lidars, base_link where it is one, and the extrinsics are
    written out; lidars that it does not join are left out. With ``grid`` depth cameras count as lidars, but for being
    left out.

    Args:
        bag: is read at its beginning.
        types: gives the message types that the reader of the bag will have.
        grid: whether all lidars, and the depth cameras that are calibrated and joined to them, are in one grid.

    Raises:
        NoStreamError: no topic of the bag can be a stream.
        BagError: the bag cannot be read.
    """
    remarks = Remarks()
    sensors, calibrations = _find_sensors(bag, types, remarks)
    located = [s for s in sensors if s.group == 'lidars' or (grid and s.group == 'depths' and _is_calibrated(s, bag))]
    mounting = find_mounting(bag, located, remarks)
    sensors = without_unmounted(sensors, mounting, remarks)
    trigger = _find_trigger(sensors)
    setting = _Setting(trigger, trigger.period_s if trigger else 1 / _FIXED_RATE_HZ, mounting)
    parameters: dict[str, Any] = {'target_frame': mounting.target_frame}
    for sensor in sensors:
        parameters.setdefault(sensor.group, []).append(sensor.name)
    parameters['sync'] = {'trigger': trigger.name} if trigger else {'rate_hz': _FIXED_RATE_HZ}
    for sensor in sensors:
        parameters[sensor.name] = {'topic': sensor.topic.name} | _PROPOSALS[sensor.group](sensor, setting)
    if grid:
        _put_in_grid(parameters, [s for s in sensors if s.group == 'lidars' or s.name in mounting.poses], remarks)
    config, _ = from_dict(parameters)
    return BagConfig(parameters, remarks, suggest(config, sensors, calibrations, mounting))


@dataclass(frozen=True)
class _Setting:
    """What the parameters of a stream depend on beside its sensor; ``target_period_s`` is that of the targets."""

    trigger: Sensor | None
    target_period_s: float
    mounting: Mounting


def _find_sensors(bag: Bag, types: Types, remarks: Remarks) -> tuple[list[Sensor], dict[str, Any]]:
    """The topics that can be streams, by name, and the first CameraInfo of each topic that has some.

    A note is made for each topic that its type allows and something else forbids.
    """
    candidates = [topic for topic in bag.topics.values() if topic.msgtype in CANDIDATES]
    usable = {topic.name: topic for topic in candidates if not _left_out(topic, types, remarks)}
    infos = {t.name for t in bag.topics.values() if t.msgtype == CAMERA_INFO and t.count and not t.unreadable}
    seen = glimpse(bag, {*usable, *infos}, types=types)
    for name in list(usable):
        why = _why_no_stream(usable[name], seen[name].first) if name in seen else ''
        if name not in seen or why:
            unreadable = LeftOut(f'none of its {usable[name].count} messages can be read', _RECORD_AGAIN)
            remarks.left_out[name] = LeftOut(why) if why else unreadable
            del usable[name]
    topics = _without_twins(usable, remarks)
    if not topics:
        raise NoStreamError(bag, remarks)
    names = stream_names(topics)
    doubts = {topic: _doubts(bag, topics[topic], seen[topic].first) for topic in topics}
    remarks.doubts.extend(f'{topic.name}: {topic.doubt}' for topic in topics.values() if topic.doubt)
    remarks.doubts.extend(f'{topic}: {line}' for topic, lines in doubts.items() for line in lines)
    sensors = [
        Sensor(names[topic], topics[topic], _group_of(topics[topic], first), first, seen[topic].period_s, doubts[topic])
        # Planar scans last: the first lidar is the trigger, and the only one where no frame joins them.
        for topic in sorted(topics, key=lambda topic: (topics[topic].msgtype in _PLANAR, names[topic]))
        for first in (seen[topic].first,)
    ]
    return sensors, {topic: seen[topic].first for topic in infos & seen.keys()}


def _doubts(bag: Bag, topic: Topic, first: Any) -> tuple[str, ...]:
    """What looks wrong in the values of a stream's topic."""
    group = _group_of(topic, first)
    if group == 'imus':
        return tuple(doubts_on_imu(bag, topic.name))
    return tuple(doubts_on_depth(first)) if group == 'depths' else ()


def _left_out(topic: Topic, types: Types, remarks: Remarks) -> bool:
    """Whether a topic cannot be a stream by what the bag says of it, which a note then names."""
    why, remedy = topic.unreadable, _RECORD_AGAIN if topic.unreadable else ''
    if topic.count == 0:
        why = 'it has no messages'
    elif topic.msgtype in _VIDEOS:
        why = f'it is a video ({topic.msgtype}); the node decodes JPEG and PNG: record the raw or compressed topic'
    elif topic.msgtype in PACKETS:
        why, remedy = PACKETS[topic.msgtype], _DRIVER
    elif not why and _type_group(topic) == 'vectors':
        why, remedy = why_no_vector(topic, types)
    elif not why:
        why, remedy = _why_no_type(topic, types)
    if why:
        remarks.left_out[topic.name] = LeftOut(why, remedy)
    return bool(why)


def _why_no_type(topic: Topic, types: Types) -> tuple[str, str]:
    """Why the type of a topic cannot be read, and what would help; empty where it can."""
    source = SOURCES[topic.msgtype]
    try:
        if source.message is None:
            source.check(types(topic.msgtype))
    except ConfigError as error:
        return str(error), f'install {topic.msgtype.partition("/")[0]}'
    return '', ''


def _why_no_stream(topic: Topic, first: Any) -> str:
    """Why a topic is no stream by its first message; empty where it is one."""
    group = _group_of(topic, first)
    if group == 'cameras':
        return why_no_camera(first)
    if group == 'depths':
        return why_no_depth(first)
    if group == 'vectors' and not numbers_of(topic.msgtype, first):
        return 'its first message has no number'
    return ''


def _group_of(topic: Topic, first: Any) -> str:
    """The group of the streams that take a topic whose first message is ``first``."""
    group = _type_group(topic)
    return 'depths' if group == 'cameras' and is_depth(first) else group


def _type_group(topic: Topic) -> str:
    """The group that takes a topic by its type alone: of images, which may hold depth, the cameras."""
    return SOURCES[topic.msgtype].group if topic.msgtype in SOURCES else 'vectors'


def _has_images(topic: Topic) -> bool:
    return _type_group(topic) == 'cameras'


def _without_twins(topics: Mapping[str, Topic], remarks: Remarks) -> dict[str, Topic]:
    """Leave out, of an image's topic and that of its compressed form, the one with fewer messages, else the latter."""
    kept = dict(topics)
    for name, topic in topics.items():
        raw = topics.get(name.rpartition('/')[0])
        if raw is not None and _has_images(topic) and _has_images(raw):
            taken, left = (raw, topic) if raw.count >= topic.count else (topic, raw)
            remarks.left_out[left.name] = LeftOut(f'it is the camera of {taken.name}, which is taken')
            kept.pop(left.name, None)
    return kept


def _is_calibrated(depth: Sensor, bag: Bag) -> bool:
    """Whether the bag has the CameraInfo of a depth camera, without which its images have no points."""
    message = 'compressed' if depth.topic.msgtype.endswith('/CompressedImage') else 'raw'
    return DepthConfig(depth.name, topic=depth.topic.name, message=message).calibration_topic in bag.topics


def _find_trigger(sensors: Sequence[Sensor]) -> Sensor | None:
    """The first lidar, else the first camera, else the first depth camera."""
    return next(
        (sensor for group in ('lidars', 'cameras', 'depths') for sensor in sensors if sensor.group == group), None
    )


def _propose_lidar(sensor: Sensor, setting: _Setting) -> dict[str, Any]:
    stream = _tolerance(sensor, setting) | _voxels(_fields(sensor))
    if sensor.topic.msgtype != _CLOUD:
        stream['message'] = SOURCES[sensor.topic.msgtype].choice
    return stream | _extrinsics(sensor, setting)


def _propose_camera(sensor: Sensor, setting: _Setting) -> dict[str, Any]:
    is_compressed = sensor.topic.msgtype.endswith('/CompressedImage')
    return _tolerance(sensor, setting) | {'message': 'compressed' if is_compressed else 'raw'}


def _propose_depth(sensor: Sensor, setting: _Setting) -> dict[str, Any]:
    """At the size that it has: a distance is that of one pixel, so another size has no more of them."""
    width, height = size_of_depth(sensor.first)
    return _propose_camera(sensor, setting) | {'width': width, 'height': height} | _extrinsics(sensor, setting)


def _propose_imu(sensor: Sensor, setting: _Setting) -> dict[str, Any]:
    """A window at the rate of the IMU that reaches from one target to the next.

    Of an IMU that is slower than the targets, and whose next reading comes later than they wait: its last reading.
    """
    if _is_slow(sensor, setting):
        return _tolerance(sensor, setting) | {'interpolation': 'previous', 'window_size': 1}
    step_ms = max(1, round(sensor.period_s * 1000))
    size = min(1000, max(2, round(setting.target_period_s * 1000 / step_ms)))
    span_s = size * step_ms / 1000
    default: type[ImuConfig] = ImuConfig
    stream = _tolerance(sensor, setting)
    if (size, step_ms * MS) != (default.window_size, default.window_period_ns):
        stream |= {'window_size': size, 'window_period': step_ms / 1000}
    if span_s + 1 > default.buffer_ns / SECOND:
        stream['buffer'] = span_s + 1
    return stream


def _propose_vector(sensor: Sensor, setting: _Setting) -> dict[str, Any]:
    """The numbers of its first message at the target; they are not what a robot needs to have frames at all."""
    stream = numbers_of(sensor.topic.msgtype, sensor.first) | _tolerance(sensor, setting) | {'required': False}
    return stream | ({'interpolation': 'previous'} if _is_slow(sensor, setting) else {})


def _put_in_grid(parameters: dict[str, Any], sensors: Sequence[Sensor], remarks: Remarks) -> None:
    """Put all sensors in one grid, with the channels that each of them can give."""
    if not sensors:
        return
    for sensor in sensors:
        parameters[sensor.name].pop('voxel', None)
        parameters[sensor.name]['required'] = False
    fields = set.intersection(*(_fields(sensor) for sensor in sensors))
    parameters['grids'] = [_GRID]
    parameters[_GRID] = {'from': [sensor.name for sensor in sensors]} | _voxels(fields)
    remarks.doubts.append(
        f'the points in {_GRID} are of different times: set deskew.source of each of its sensors to an IMU or an '
        'odometry, by which they are moved to the target'
    )


#: By group of streams, the function that proposes a stream's parameters.
_PROPOSALS: dict[str, Callable[[Sensor, _Setting], dict[str, Any]]] = {
    'lidars': _propose_lidar,
    'cameras': _propose_camera,
    'depths': _propose_depth,
    'imus': _propose_imu,
    'vectors': _propose_vector,
}


def _is_slow(sensor: Sensor, setting: _Setting) -> bool:
    """Whether the next message comes later than the targets, and than they wait."""
    return sensor.period_s > max(setting.target_period_s, SyncConfig.max_wait_ns / SECOND)


def _tolerance(sensor: Sensor, setting: _Setting) -> dict[str, Any]:
    """A tolerance that a slow sensor can keep; nothing where the default suffices."""
    needed_s = 1.5 * sensor.period_s
    default_s = StreamConfig.tolerance_ns / SECOND
    if sensor is setting.trigger or needed_s <= default_s * 1.01:  # 15 Hz is just what the default allows
        return {}
    return {'tolerance': math.ceil(needed_s * 100) / 100}


def _extrinsics(sensor: Sensor, setting: _Setting) -> dict[str, Any]:
    """Its pose where it is known and needed."""
    pose = setting.mounting.poses.get(sensor.name)
    return {'extrinsics': [round(value, 9) for value in pose]} if pose else {}


def _fields(sensor: Sensor) -> set[str]:
    """Names of the fields that the points of a lidar or a depth camera have."""
    if sensor.group == 'depths':
        return set('xyz')
    if sensor.topic.msgtype in LIVOX:
        return {*'xyz', 'intensity'}
    if sensor.topic.msgtype in _PLANAR:
        return {*'xyz', 'intensity'} if len(sensor.first.intensities) else set('xyz')
    return {field.name for field in sensor.first.fields}


def _voxels(fields: set[str]) -> dict[str, Any]:
    """The default channels, less those of fields that a scan does not have."""
    default: tuple[str, ...] = VoxelConfig.channels
    channels = [c for c in default if ':' not in c or c.split(':', 1)[1] in fields]
    return {} if channels == list(default) else {'voxel': {'channels': channels}}
