# SPDX-License-Identifier: Apache-2.0
"""A configuration of the node for the topics of a bag: it runs as it is, and is a start for one's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robocache_core.config import ImuConfig, StreamConfig, SyncConfig, VoxelConfig
from robocache_core.streams.lidar import LIVOX
from robocache_core.streams.message_vector import PRESETS
from robocache_core.text import shown
from robocache_core.tunable import ConfigError
from robocache_core.units import MS, SECOND
from robocache_ros.bags import Bag, BagError, Topic, glimpse
from robocache_ros.lidar_packets import PACKETS
from robocache_ros.message_types import Types, installed
from robocache_ros.sources import SOURCES
from robocache_ros.static_transforms import StaticTransforms
from robocache_ros.tools.commented_yaml import commented_yaml
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
from robocache_ros.tools.stream_names import stream_names

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
_DRIVER = 'run the driver on them, and record its PointCloud2'
_RECORD_AGAIN = 'record it again, as CDR of the type that the topic has'
_BASE_FRAMES = ('base_link', 'base_footprint')
_FIXED_RATE_HZ = 10.0
_GRID = 'all_lidars'


@dataclass(frozen=True)
class BagConfig:
    """The node's ``parameters`` (nested, as in YAML), and ``remarks`` on them."""

    parameters: dict[str, Any]
    remarks: Remarks

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for each remark."""
        return self.remarks.lines

    def to_yaml(self, source: str) -> str:
        """A ROS parameter file, with meanings and notes as comments; ``source`` names the bag."""
        head = [f'Made from {source}. Every other parameter has its default.', *self.notes]
        return commented_yaml(self.parameters, head)


def config_from_bag(bag: Bag, types: Types = installed, *, grid: bool = False) -> BagConfig:
    """Make the configuration: a stream for each topic of ``bag`` whose type is one of ``TYPES``.

    The first lidar is the trigger, else the first camera, else depth camera; without them, targets come at 10 Hz. The
    voxels are in the frame to which /tf_static joins most lidars, base_link where it is one, and the extrinsics are
    written out; lidars that it does not join are left out.

    Args:
        bag: is read at its beginning.
        types: gives the message types that the reader of the bag will have.
        grid: whether all lidars are in one grid.

    Raises:
        BagError: no topic of the bag can be a stream, or the bag cannot be read.
    """
    remarks = Remarks()
    sensors = _find_sensors(bag, types, remarks)
    mounting = _find_mounting(bag, [sensor for sensor in sensors if sensor.group == 'lidars'], remarks)
    sensors = _without_unmounted(sensors, mounting, remarks)
    trigger = _find_trigger(sensors)
    setting = _Setting(trigger, trigger.period_s if trigger else 1 / _FIXED_RATE_HZ, mounting)
    parameters: dict[str, Any] = {'target_frame': mounting.target_frame}
    for sensor in sensors:
        parameters.setdefault(sensor.group, []).append(sensor.name)
    parameters['sync'] = {'trigger': trigger.name} if trigger else {'rate_hz': _FIXED_RATE_HZ}
    for sensor in sensors:
        parameters[sensor.name] = {'topic': sensor.topic.name} | _PROPOSALS[sensor.group](sensor, setting)
    if grid:
        _put_in_grid(parameters, [sensor for sensor in sensors if sensor.group == 'lidars'], remarks)
    return BagConfig(parameters, remarks)


@dataclass(frozen=True)
class _Sensor:
    """A topic that becomes the stream ``name``: its first message, and the period of its messages, s."""

    name: str
    topic: Topic
    first: Any
    period_s: float

    @property
    def group(self) -> str:
        """The parameter that lists the streams of its kind."""
        return _group_of(self.topic, self.first)


@dataclass(frozen=True)
class _Mounting:
    """The poses of the lidars, x y z qx qy qz qw by stream, in ``target_frame``; empty where no frame joins them."""

    target_frame: str = ''
    poses: dict[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Setting:
    """What the parameters of a stream depend on beside its sensor; ``target_period_s`` is that of the targets."""

    trigger: _Sensor | None
    target_period_s: float
    mounting: _Mounting


def _find_sensors(bag: Bag, types: Types, remarks: Remarks) -> list[_Sensor]:
    """The topics that can be streams, by name; a note for each that its type allows and something else forbids."""
    candidates = [topic for topic in bag.topics.values() if topic.msgtype in (*TYPES, *_VIDEOS, *PACKETS)]
    usable = {topic.name: topic for topic in candidates if not _left_out(topic, types, remarks)}
    seen = glimpse(bag, usable, types=types)
    for name in list(usable):
        why = _why_no_stream(usable[name], seen[name].first) if name in seen else ''
        if name not in seen or why:
            unreadable = LeftOut(f'none of its {usable[name].count} messages can be read', _RECORD_AGAIN)
            remarks.left_out[name] = LeftOut(why) if why else unreadable
            del usable[name]
    topics = _without_twins(usable, remarks)
    if not topics:
        held = ', '.join(f'{t.name} ({t.msgtype})' for t in bag.topics.values())
        raise BagError('; '.join((f'{bag.path}: no topic that the node can use; the bag has: {held}', *remarks.lines)))
    remarks.doubts.extend(f'{topic.name}: {topic.doubt}' for topic in topics.values() if topic.doubt)
    for topic in topics.values():
        group = _group_of(topic, seen[topic.name].first)
        if group == 'imus':
            remarks.doubts.extend(doubts_on_imu(bag, topic.name))
        elif group == 'depths':
            remarks.doubts.extend(f'{topic.name}: {line}' for line in doubts_on_depth(seen[topic.name].first))
    names = stream_names(topics)
    return [
        _Sensor(names[topic], topics[topic], seen[topic].first, seen[topic].period_s)
        # Planar scans last: the first lidar is the trigger, and the only one where no frame joins them.
        for topic in sorted(topics, key=lambda topic: (topics[topic].msgtype in _PLANAR, names[topic]))
    ]


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


def _find_mounting(bag: Bag, lidars: Sequence[_Sensor], remarks: Remarks) -> _Mounting:
    """The poses of ``lidars`` in the frame that joins most of them; of those that join as many, base_link comes first.

    That is a base frame, or the root of a lidar's tree of static transforms.
    """
    tree = StaticTransforms.from_bag(bag) if lidars else StaticTransforms()
    remarks.doubts.extend(tree.ignored.values())
    frames = {lidar.name: lidar.first.header.frame_id for lidar in lidars if lidar.first.header.frame_id}
    mountings = [
        _Mounting(target, {name: pose for name, frame in frames.items() if (pose := tree.pose(frame, target))})
        for target in (*_BASE_FRAMES, *map(tree.root, frames.values()))
    ]
    best = max(mountings, key=lambda mounting: len(mounting.poses))
    if len(best.poses) > 1 or (best.poses and best.target_frame in tree):
        return best
    if lidars:
        named = ', '.join(map(shown, sorted(set(frames.values())))) or 'the lidars, whose frames have no name,'
        remarks.doubts.append(f'no /tf_static joins {named} to base_link: voxels are in the '
                     "lidar's own frame; set target_frame and extrinsics to change that")  # fmt: skip
    return _Mounting()


def _without_unmounted(sensors: Sequence[_Sensor], mounting: _Mounting, remarks: Remarks) -> list[_Sensor]:
    """All but the lidars that have no pose in the target frame; where there is none, all but the first lidar."""
    lidars = [sensor for sensor in sensors if sensor.group == 'lidars']
    if mounting.target_frame:
        left_out = [lidar for lidar in lidars if lidar.name not in mounting.poses]
        why = f'to {shown(mounting.target_frame)}, the frame of most lidars'
    else:
        left_out, why = lidars[1:], f'to {shown(lidars[0].first.header.frame_id)}' if lidars else ''
    for lidar in left_out:
        frame = shown(lidar.first.header.frame_id)
        remedy = 'record /tf_static, or configure it with its extrinsics'
        remarks.left_out[lidar.topic.name] = LeftOut(f'no /tf_static joins its frame {frame} {why}', remedy)
    return [sensor for sensor in sensors if sensor not in left_out]


def _find_trigger(sensors: Sequence[_Sensor]) -> _Sensor | None:
    """The first lidar, else the first camera, else the first depth camera."""
    return next(
        (sensor for group in ('lidars', 'cameras', 'depths') for sensor in sensors if sensor.group == group), None
    )


def _propose_lidar(sensor: _Sensor, setting: _Setting) -> dict[str, Any]:
    stream = _tolerance(sensor, setting) | _voxels(_fields(sensor))
    if sensor.topic.msgtype != _CLOUD:
        stream['message'] = SOURCES[sensor.topic.msgtype].choice
    if sensor.name in setting.mounting.poses:
        stream['extrinsics'] = [round(value, 9) for value in setting.mounting.poses[sensor.name]]
    return stream


def _propose_camera(sensor: _Sensor, setting: _Setting) -> dict[str, Any]:
    is_compressed = sensor.topic.msgtype.endswith('/CompressedImage')
    return _tolerance(sensor, setting) | {'message': 'compressed' if is_compressed else 'raw'}


def _propose_depth(sensor: _Sensor, setting: _Setting) -> dict[str, Any]:
    """At the size that it has: a distance is that of one pixel, so another size has no more of them."""
    width, height = size_of_depth(sensor.first)
    return _propose_camera(sensor, setting) | {'width': width, 'height': height}


def _propose_imu(sensor: _Sensor, setting: _Setting) -> dict[str, Any]:
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


def _propose_vector(sensor: _Sensor, setting: _Setting) -> dict[str, Any]:
    """The numbers of its first message at the target; they are not what a robot needs to have frames at all."""
    stream = numbers_of(sensor.topic.msgtype, sensor.first) | _tolerance(sensor, setting) | {'required': False}
    return stream | ({'interpolation': 'previous'} if _is_slow(sensor, setting) else {})


def _put_in_grid(parameters: dict[str, Any], lidars: Sequence[_Sensor], remarks: Remarks) -> None:
    """Put all lidars in one grid, with the channels that each of them can give."""
    if not lidars:
        return
    for lidar in lidars:
        parameters[lidar.name].pop('voxel', None)
        parameters[lidar.name]['required'] = False
    fields = set.intersection(*(_fields(lidar) for lidar in lidars))
    parameters['grids'] = [_GRID]
    parameters[_GRID] = {'from': [lidar.name for lidar in lidars]} | _voxels(fields)
    remarks.doubts.append(
        f'the scans in {_GRID} are of different times: set deskew.source of each lidar to an IMU or an odometry, by '
        'which they are moved to the target'
    )


#: By group of streams, the function that proposes a stream's parameters.
_PROPOSALS: dict[str, Callable[[_Sensor, _Setting], dict[str, Any]]] = {
    'lidars': _propose_lidar,
    'cameras': _propose_camera,
    'depths': _propose_depth,
    'imus': _propose_imu,
    'vectors': _propose_vector,
}


def _is_slow(sensor: _Sensor, setting: _Setting) -> bool:
    """Whether the next message comes later than the targets, and than they wait."""
    return sensor.period_s > max(setting.target_period_s, SyncConfig.max_wait_ns / SECOND)


def _tolerance(sensor: _Sensor, setting: _Setting) -> dict[str, Any]:
    """A tolerance that a slow sensor can keep; nothing where the default suffices."""
    needed_s = 1.5 * sensor.period_s
    default_s = StreamConfig.tolerance_ns / SECOND
    if sensor is setting.trigger or needed_s <= default_s * 1.01:  # 15 Hz is just what the default allows
        return {}
    return {'tolerance': math.ceil(needed_s * 100) / 100}


def _fields(sensor: _Sensor) -> set[str]:
    """Names of the fields that a lidar's points have."""
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
