# SPDX-License-Identifier: Apache-2.0
"""Where the sensors of a bag are on the robot, by its static transforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from robocache_core.text import shown
from robocache_ros.bags import Bag
from robocache_ros.static_transforms import StaticTransforms, why_unread
from robocache_ros.tools.remarks import LeftOut, Remarks
from robocache_ros.tools.sensor import Sensor

_BASE_FRAMES = ('base_link', 'base_footprint')
_STATIC = '/tf_static'


@dataclass(frozen=True)
class Mounting:
    """The poses of sensors, x y z qx qy qz qw by stream, in ``target_frame``; empty where no frame joins them.

    Attributes:
        unread: why /tf_static cannot be read; empty where it can, or there is none.
    """

    target_frame: str = ''
    poses: dict[str, tuple[float, ...]] = field(default_factory=dict)
    tree: StaticTransforms = field(default_factory=StaticTransforms)
    unread: str = ''

    def joins(self, frame: str) -> bool:
        """Whether the pose of a frame in the target frame is known."""
        return bool(self.target_frame and frame) and self.tree.pose(frame, self.target_frame) is not None


def find_mounting(bag: Bag, sensors: Sequence[Sensor], remarks: Remarks) -> Mounting:
    """The poses of ``sensors`` in the frame that joins most of them; of those that join as many, base_link comes first.

    That is a base frame, or the root of a sensor's tree of static transforms.
    """
    tree = StaticTransforms.from_bag(bag) if sensors else StaticTransforms()
    topic = bag.topics.get(_STATIC)
    unread = '' if topic is None else why_unread(topic)
    remarks.doubts.extend(tree.ignored.values())
    frames = {sensor.name: sensor.first.header.frame_id for sensor in sensors if sensor.first.header.frame_id}
    mountings = [
        Mounting(target, {name: pose for name, frame in frames.items() if (pose := tree.pose(frame, target))}, tree)
        for target in (*_BASE_FRAMES, *map(tree.root, frames.values()))
    ]
    best = max(mountings, key=lambda mounting: len(mounting.poses))
    if len(best.poses) > 1 or (best.poses and best.target_frame in tree):
        return best
    if any(sensor.group == 'lidars' for sensor in sensors):
        named = ', '.join(map(shown, sorted(set(frames.values())))) or 'the lidars, whose frames have no name,'
        why = f'without {_STATIC} nothing joins' if unread else f'no {_STATIC} joins'
        remarks.doubts.append(f'{why} {named} to base_link: voxels are in the '
                     "lidar's own frame; set target_frame and extrinsics to change that")  # fmt: skip
    return Mounting(unread=unread)


def without_unmounted(sensors: Sequence[Sensor], mounting: Mounting, remarks: Remarks) -> list[Sensor]:
    """All but the lidars that have no pose in the target frame; where there is none, all but the first lidar."""
    lidars = [sensor for sensor in sensors if sensor.group == 'lidars']
    if mounting.target_frame:
        left_out = [lidar for lidar in lidars if lidar.name not in mounting.poses]
        target = f'{shown(mounting.target_frame)}, the frame of most lidars'
    else:
        left_out = lidars[1:]
        target = shown(lidars[0].first.header.frame_id) if lidars else ''
    for lidar in left_out:
        frame = shown(lidar.first.header.frame_id)
        why, remedy = f'no {_STATIC} joins its frame {frame} to {target}', f'record {_STATIC}'
        if mounting.unread:
            why = f'{_STATIC}, which may join its frame {frame} to {target}, cannot be read'
            remedy = f'make {_STATIC} readable'
        remarks.left_out[lidar.topic.name] = LeftOut(why, f'{remedy}, or configure it with its extrinsics')
    return [sensor for sensor in sensors if sensor not in left_out]
