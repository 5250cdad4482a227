# SPDX-License-Identifier: Apache-2.0
"""A configuration of the node for the topics of a bag: to run at once, and to start one's own from."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from robocache_core.config import SECOND, ImuConfig, StreamConfig, VoxelConfig
from robocache_ros.static_transforms import StaticTransforms
from robocache_ros.tools._bag import (
    CLOUD,
    COMPRESSED_IMAGE,
    IMAGE,
    IMU,
    TRANSFORMS,
    Bag,
    BagError,
    Topic,
    all_messages,
    glimpse,
)

#: The parameter that lists the streams of a message type.
GROUPS = {CLOUD: 'lidars', IMAGE: 'cameras', COMPRESSED_IMAGE: 'cameras', IMU: 'imus'}

#: Last parts of a topic that say what it carries, not which sensor it is.
_GENERIC = {
    'compressed', 'image', 'image_raw', 'image_color', 'image_mono', 'image_rect', 'image_rect_color', 'points',
    'points_raw', 'pointcloud', 'point_cloud', 'pointcloud2', 'cloud', 'scan', 'data', 'data_raw', 'raw',
}  # fmt: skip

_BASE_FRAMES = ('base_link', 'base_footprint')


@dataclass(frozen=True)
class BagConfig:
    """The node's ``parameters`` (nested, as in YAML), and ``notes`` on what was left out or could not be found."""

    parameters: dict[str, Any]
    notes: tuple[str, ...]

    def to_yaml(self, source: str) -> str:
        """A ROS parameter file, with the notes as comments; ``source`` names the bag."""
        head = [f'# Made from {source}. Every other parameter has its default.', *(f'# {note}' for note in self.notes)]
        tree = {'/**/preprocess': {'ros__parameters': self.parameters}}
        body: str = yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=110)
        return '\n'.join(head) + '\n' + body


def config_from_bag(bag: Bag) -> BagConfig:
    """Make the configuration: a stream for each PointCloud2, Image, CompressedImage and Imu topic of ``bag``.

    The first lidar is the trigger, else the first camera, else the targets come at 10 Hz. Where /tf_static joins every
    lidar to base_link, the voxels are in base_link and the extrinsics are written out.

    Raises:
        BagError: no topic of the bag can be a stream.
    """
    notes: list[str] = []
    topics = [topic for topic in bag.topics.values() if _is_usable(topic, notes)]
    if not topics:
        held = ', '.join(f'{t.name} ({t.msgtype})' for t in bag.topics.values())
        raise BagError(f'{bag.path}: no topic that the node can use; the bag has: {held}')
    names = stream_names(tuple(topic.name for topic in topics))
    topics.sort(key=lambda topic: names[topic.name])
    seen = glimpse(bag, {topic.name for topic in topics})
    lidar_frames = {t.name: seen[t.name].first.header.frame_id for t in topics if t.msgtype == CLOUD}
    extrinsics = _extrinsics(bag, lidar_frames, notes)
    if not extrinsics.target:
        # Without poses there is no common frame, and a frame's voxels have one.
        for topic in [t for t in topics if t.msgtype == CLOUD][1:]:
            topics.remove(topic)
            notes.append(f'left out: {topic.name}, as no common frame of the lidars is known')
    parameters: dict[str, Any] = {'target_frame': extrinsics.target}
    for topic in topics:
        parameters.setdefault(GROUPS[topic.msgtype], []).append(names[topic.name])
    trigger = next((t for t in topics if t.msgtype == CLOUD), next((t for t in topics if t.msgtype != IMU), None))
    parameters['sync'] = {'trigger': names[trigger.name]} if trigger else {'rate_hz': 10.0}
    target_period_s = seen[trigger.name].period_s if trigger else 0.1
    for topic in topics:
        name, period_s = names[topic.name], seen[topic.name].period_s
        stream: dict[str, Any] = {'topic': topic.name}
        if topic is not trigger and topic.msgtype != IMU:
            stream |= _tolerance(period_s)
        if topic.msgtype == CLOUD:
            stream |= _voxels(seen[topic.name].first)
            if topic.name in extrinsics.poses:
                stream['extrinsics'] = [round(v, 9) for v in extrinsics.poses[topic.name]]
        elif topic.msgtype == IMU:
            stream |= _window(period_s, target_period_s)
        else:
            stream['message'] = 'raw' if topic.msgtype == IMAGE else 'compressed'
        parameters[name] = stream
    return BagConfig(parameters, tuple(notes))


def stream_names(topics: tuple[str, ...]) -> dict[str, str]:
    """A short name for each topic: its last telling part, with as many parts before it as make the names differ."""
    parts = {topic: _telling_parts(topic) for topic in topics}
    lengths = dict.fromkeys(topics, 1)
    while True:
        names = {topic: _identifier('_'.join(parts[topic][-lengths[topic] :])) for topic in topics}
        taken = list(names.values())
        clashes = [topic for topic in topics if taken.count(names[topic]) > 1]
        if not clashes:
            return names
        for topic in clashes:
            if lengths[topic] < len(parts[topic]):
                lengths[topic] += 1
            else:  # nothing before it is left: what it carries tells the topics apart
                parts[topic] = topic.strip('/').split('/')
                lengths[topic] = len(parts[topic])


def _telling_parts(topic: str) -> list[str]:
    parts = topic.strip('/').split('/')
    kept = list(parts)
    while len(kept) > 1 and kept[-1].lower() in _GENERIC:
        kept.pop()
    return kept


def _identifier(text: str) -> str:
    name = re.sub(r'\W', '_', text, flags=re.ASCII)
    return name if not name[:1].isdigit() else f's_{name}'


def _is_usable(topic: Topic, notes: list[str]) -> bool:
    if topic.msgtype not in GROUPS:
        return False
    if topic.count == 0:
        notes.append(f'left out: {topic.name} has no messages')
        return False
    if topic.name.endswith('/compressedDepth'):
        notes.append(f'left out: {topic.name} is compressedDepth, which is no plain image file')
        return False
    return True


@dataclass(frozen=True)
class _Extrinsics:
    target: str
    poses: Mapping[str, tuple[float, ...]]


def _extrinsics(bag: Bag, frames: Mapping[str, str], notes: list[str]) -> _Extrinsics:
    """Poses of the lidars, by topic, in the first base frame that all of them are joined to."""
    messages = all_messages(bag, '/tf_static') if _type_of(bag, '/tf_static') == TRANSFORMS else []
    tree = StaticTransforms.from_messages(messages)
    for target in _BASE_FRAMES if frames else ():
        poses = {topic: tree.pose(frame, target) for topic, frame in frames.items()}
        found = {topic: pose for topic, pose in poses.items() if pose is not None}
        if target in tree and len(found) == len(frames):
            return _Extrinsics(target, found)
    if frames:
        notes.append(f'no /tf_static joins {", ".join(sorted(set(frames.values())))} to base_link: voxels are in the '
                     "lidar's own frame; set target_frame and extrinsics to change that")  # fmt: skip
    return _Extrinsics('', {})


def _type_of(bag: Bag, topic: str) -> str:
    return bag.topics[topic].msgtype if topic in bag.topics else ''


def _tolerance(period_s: float) -> dict[str, float]:
    """A tolerance that a slow sensor can keep; nothing where the default does."""
    needed_s = 1.5 * period_s
    default_s = StreamConfig.tolerance_ns / SECOND
    if needed_s <= default_s * 1.01:  # 15 Hz is just what the default allows
        return {}
    return {'tolerance': math.ceil(needed_s * 100) / 100}


def _voxels(cloud: Any) -> dict[str, Any]:
    """The default channels, less those of fields that the cloud does not have."""
    fields = {f.name for f in cloud.fields}
    default: tuple[str, ...] = VoxelConfig.channels
    channels = [c for c in default if ':' not in c or c.split(':', 1)[1] in fields]
    return {} if channels == list(default) else {'voxel': {'channels': channels}}


def _window(period_s: float, target_period_s: float) -> dict[str, Any]:
    """A window at the rate of the IMU that reaches from one target to the next."""
    step_ms = max(1, round(period_s * 1000))
    size = min(1000, max(2, round(target_period_s * 1000 / step_ms)))
    span_s = size * step_ms / 1000
    default: type[ImuConfig] = ImuConfig
    if span_s + 1 > default.buffer_ns / SECOND:
        return {'window_size': size, 'window_period': step_ms / 1000, 'buffer': span_s + 1}
    if (size, step_ms * 1_000_000) == (default.window_size, default.window_period_ns):
        return {}
    return {'window_size': size, 'window_period': step_ms / 1000}
