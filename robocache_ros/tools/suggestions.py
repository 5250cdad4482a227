# SPDX-License-Identifier: Apache-2.0
"""What the data of a bag speak for beyond a configuration that runs: parameters to uncomment, each with its reason."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from robocache_core import ops
from robocache_core.config import CameraConfig, DeskewConfig, GridConfig, LidarConfig, PipelineConfig, VoxelConfig
from robocache_core.gpu_bytes import to_host
from robocache_core.motion_source import FURTHEST_FLOAT32
from robocache_core.rectify import check_info
from robocache_core.rotation import pose_matrix
from robocache_core.samples import DataError, EncodedImage, LidarScan
from robocache_core.streams.base import MOST_METRES
from robocache_core.text import shown
from robocache_core.time_field import UNITS_NS, TimeField, find_time_field
from robocache_core.units import SECOND
from robocache_ros.decode_image import decode_camera_info
from robocache_ros.sources import SOURCES
from robocache_ros.tools.mounting import Mounting
from robocache_ros.tools.sensor import Sensor

Array = npt.NDArray[np.float32]

_ODOMETRY = 'nav_msgs/msg/Odometry'
#: Share of the points that may be outside of a proposed box.
_OUTSIDE = 0.01


@dataclass(frozen=True)
class Suggestion:
    """Parameters that can be set, and why; without parameters a remark.

    Attributes:
        section: what they are in: a stream, a grid, ``sync``, or a part of one, as ``lidar.deskew``.
        why: a phrase in one line.
        parameters: by name, each right without the others.
    """

    section: str
    why: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def suggest(
    config: PipelineConfig, sensors: Sequence[Sensor], calibrations: Mapping[str, Any], mounting: Mounting
) -> list[Suggestion]:
    """Return what is suggested beside ``config``.

    Args:
        config: the configuration that was made of the bag.
        sensors: its streams.
        calibrations: by topic, the first CameraInfo.
        mounting: where the sensors are.
    """
    by_name = {sensor.name: sensor for sensor in sensors}
    return [
        *_fixed_rate(config, by_name),
        *_deskew(config, by_name, mounting),
        *_boxes(config, by_name),
        *_images(config, by_name, calibrations),
        *_depth_units(config, by_name),
    ]


def _fixed_rate(config: PipelineConfig, sensors: Mapping[str, Sensor]) -> Iterator[Suggestion]:
    period_s = sensors[config.sync.trigger].period_s if config.sync.trigger else 0.0
    if period_s > 0:
        rate_hz = 1 / period_s
        near = float(round(rate_hz)) if rate_hz >= 1 else float(f'{rate_hz:.2g}')
        yield Suggestion(
            'sync', f'{config.sync.trigger} has {rate_hz:.3g} Hz; for targets on an even grid: rate_hz: {near} in '
            'place of trigger'
        )  # fmt: skip


def _deskew(config: PipelineConfig, sensors: Mapping[str, Sensor], mounting: Mounting) -> Iterator[Suggestion]:
    """By odometry, else an IMU: of lidars whose points have times, and of depth cameras in a grid."""
    candidates = sorted(filter(_gives_motion, sensors.values()), key=lambda sensor: sensor.group == 'imus')
    sources = [sensor.name for sensor in candidates if mounting.joins(_moving_frame(sensor))]
    for lidar in config.lidars:
        settings = DeskewConfig(
            source=sources[0] if sources else 'none', scan_duration_ns=_duration_ns(sensors[lidar.name])
        )
        try:
            scan = _scan(dataclasses.replace(lidar, deskew=settings), sensors[lidar.name])
            times, _ = find_time_field(scan, settings)
        except DataError as error:
            if sources:
                yield Suggestion(lidar.name, f'not to be deskewed as it is: {error}')
            continue
        why = f'its points have times ({_meaning(times)})'
        if not sources:
            yield Suggestion(lidar.name, f'{why}; to deskew them, {_lacking_source(candidates, mounting)}')
        elif settings.scan_duration_ns > config.sync.max_wait_ns:
            needed = f'sync.max_wait and deskew.scan_duration of {settings.scan_duration_ns / SECOND:g} s'
            yield Suggestion(lidar.name, f'{why}; to deskew them by {sources[0]} takes {needed}')
        else:
            yield _motion(lidar.name, f'{why}; ', sources, settings)
    in_grids = {name for grid in config.grids for name in grid.from_}
    for depth in config.depths if sources else ():
        if depth.name in in_grids:
            yield _motion(depth.name, '', sources, DeskewConfig())


def _duration_ns(lidar: Sensor) -> int:
    """How long a scan can take: the default, or the period of a slower lidar in whole 10 ms."""
    default = DeskewConfig.scan_duration_ns
    if lidar.period_s * SECOND <= 1.05 * default:
        return default
    return min(SECOND, math.ceil(lidar.period_s * 100) * SECOND // 100)


def _motion(stream: str, why: str, sources: Sequence[str], settings: DeskewConfig) -> Suggestion:
    """By the first of the sources of motion."""
    is_longer = settings.scan_duration_ns != DeskewConfig.scan_duration_ns
    duration = {'scan_duration': settings.scan_duration_ns / SECOND} if is_longer else {}
    moves = f'{" or ".join(sources)} moves {"them" if why else "its points"} to the target'
    return Suggestion(f'{stream}.deskew', f'{why}{moves}', {'source': sources[0]} | duration)


def _gives_motion(sensor: Sensor) -> bool:
    """Whether a stream can say how the robot moves: odometry, or an IMU whose units are not in doubt."""
    if sensor.topic.msgtype == _ODOMETRY:
        position = sensor.first.pose.pose.position
        return bool(np.abs((position.x, position.y, position.z)).max() < FURTHEST_FLOAT32)
    has_gyro: bool = sensor.group == 'imus' and sensor.first.angular_velocity_covariance[0] != -1
    return has_gyro and not sensor.doubts


def _moving_frame(sensor: Sensor) -> str:
    """The frame whose motion it gives."""
    frame: str = sensor.first.child_frame_id if sensor.group == 'vectors' else sensor.first.header.frame_id
    return frame


def _lacking_source(candidates: Sequence[Sensor], mounting: Mounting) -> str:
    if not candidates:
        return 'record an IMU or odometry'
    frames = ' or '.join(f'{sensor.name} (frame {shown(_moving_frame(sensor))})' for sensor in candidates)
    if mounting.target_frame:
        return f'state extrinsics in {shown(mounting.target_frame)} of {frames}'
    return f'set target_frame, and extrinsics of the lidar and of {frames}'


def _meaning(times: TimeField) -> str:
    unit = next(unit for unit, ns in UNITS_NS.items() if ns == times.unit_ns)
    if times.is_absolute:
        return f'{shown(times.name)}, {unit}, absolute'
    return f"{shown(times.name)}, {unit} from the scan's {'end' if times.begin_ns else 'start'}"


def _scan(lidar: LidarConfig, sensor: Sensor) -> LidarScan:
    """The first scan; raises ``DataError`` where it is damaged."""
    scan = SOURCES[sensor.topic.msgtype].decode(sensor.first, lidar)
    assert isinstance(scan, LidarScan)
    return scan


def _boxes(config: PipelineConfig, sensors: Mapping[str, Sensor]) -> Iterator[Suggestion]:
    """For each voxel grid that has the points of lidars, the box of nearly all of them."""
    in_grids = {name for grid in config.grids for name in grid.from_}
    owners: list[GridConfig | LidarConfig] = [
        *config.grids,
        *(each for each in config.lidars if each.name not in in_grids),
    ]
    for owner in owners:
        names = owner.from_ if isinstance(owner, GridConfig) else (owner.name,)
        scans = [_points(lidar, sensors[lidar.name]) for lidar in config.lidars if lidar.name in names]
        points = np.concatenate([np.empty((0, 3), np.float32), *scans])
        if not len(points) or np.abs(points).max() > MOST_METRES - max(owner.voxel.size):
            continue
        box = _box(points, owner.voxel)
        within, default = (f'{_share(points, each):.3g} %' for each in (box, owner.voxel))
        yield Suggestion(
            f'{owner.name}.voxel',
            f'this box has {within} of the points of the first scan{"s" * (len(scans) > 1)}, the default one {default}',
            {'lower': list(box.lower), 'upper': list(box.upper)},
        )


def _points(lidar: LidarConfig, sensor: Sensor) -> Array:
    """The points ``[N, 3]`` of the first scan, m, in the target frame; none where it is damaged."""
    try:
        scan = _scan(lidar, sensor)
        points, valid = ops.deskew_points(
            to_host(scan.data),
            scan.layout,
            transform=pose_matrix(lidar.extrinsics) if lidar.extrinsics else None,
            min_range=lidar.min_range,
            max_range=lidar.max_range,
        )
    except DataError:  # the node drops it by that reason, and inspect says so
        return np.empty((0, 3), np.float32)
    found: Array = points[valid].numpy()
    return found


def _box(points: Array, voxel: VoxelConfig) -> VoxelConfig:
    """The grid of whole voxels, from 0, that leaves out at most ``_OUTSIDE`` of the points."""
    size = np.array(voxel.size)
    each = _OUTSIDE / 6  # on every side
    lower = np.floor(np.quantile(points, each, axis=0) / size) * size
    upper = (np.floor(np.quantile(points, 1 - each, axis=0) / size) + 1) * size
    rounded = [tuple(round(float(value), 3) for value in corner) for corner in (lower, upper)]
    return dataclasses.replace(voxel, lower=rounded[0], upper=rounded[1])


def _share(points: Array, voxel: VoxelConfig) -> float:
    """How much of the points is in a grid, %."""
    inside = (points >= np.array(voxel.lower)) & (points < np.array(voxel.upper))
    return 100 * float(inside.all(axis=1).mean())


def _images(
    config: PipelineConfig, sensors: Mapping[str, Sensor], calibrations: Mapping[str, Any]
) -> Iterator[Suggestion]:
    for camera in config.cameras:
        try:
            width, height = _size(camera, sensors[camera.name])
        except DataError:  # the node drops it by that reason, and inspect says so
            continue
        sizes = f'its images are {width} x {height} px, the tensor is {camera.width} x {camera.height} (width, height)'
        if abs(width * camera.height - height * camera.width) > 0.01 * width * camera.height:
            yield Suggestion(camera.name, f'{sizes}, which stretches them; this pads them', {'letterbox': True})
        elif (width, height) != (camera.width, camera.height):
            yield Suggestion(camera.name, sizes)
        if camera.calibration_topic in calibrations and not camera.comes_rectified:
            yield from _rectification(camera, calibrations[camera.calibration_topic], width, height)


def _rectification(camera: CameraConfig, message: Any, width: int, height: int) -> Iterator[Suggestion]:
    info = decode_camera_info(message)
    if not any(info.d):
        return
    try:
        check_info(info, width, height)
    except DataError as error:
        yield Suggestion(camera.name, f'not to be rectified as it is: {camera.calibration_topic}: {error}')
        return
    why = f'{camera.calibration_topic} is there, {info.distortion_model} with distortion'
    yield Suggestion(camera.name, why, {'rectify': True})


def _size(camera: CameraConfig, sensor: Sensor) -> tuple[int, int]:
    """Width and height of the first image, px; raises ``DataError`` where it is damaged."""
    image = SOURCES[sensor.topic.msgtype].decode(sensor.first, camera)
    frame: Any = image.decode() if isinstance(image, EncodedImage) else image
    return frame.width, frame.height


def _depth_units(config: PipelineConfig, sensors: Mapping[str, Sensor]) -> Iterator[Suggestion]:
    for depth in config.depths:
        for doubt in sensors[depth.name].doubts:
            yield Suggestion(depth.name, doubt, {'depth_unit': 0.001})
