# SPDX-License-Identifier: Apache-2.0
"""A bag to what is trained on: voxels, images and IMU windows at each scan, beside a plain loop that does the same.

The loop is what people write: ``rosbags`` deserializes, NumPy makes the voxels and interpolates, OpenCV decodes and
resizes. It takes the nearest image and drops nothing, but has no ages, validity, gaps or ledger. Where a set has videos
it gives its images to the same encoder.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.images import HEIGHT, MEAN, STD, WIDTH
from benchmark.peers import Peers
from benchmark.row import Goal
from benchmark.runner import Call, Workload
from robocache_core.config import CameraConfig, ComputeConfig, ImuConfig, LidarConfig, PipelineConfig

_LOOP = 'rosbags + cv2 + NumPy'
_CAMERAS = ('front', 'rear')
_IMU_ROWS, _IMU_STEP_NS = 20, 5_000_000
_LIDAR, _IMU = '/lidar/points', '/imu/data'
#: Frames a second of a set with videos: that of the lidar.
_FPS = 10
_folders: list[tempfile.TemporaryDirectory[str]] = []


@dataclass(frozen=True)
class Way:
    """How a bag is computed: images ``scale`` times smaller as they are decoded; as they are, for a video, or not.

    ``times`` is the goal, how many times as fast as it was recorded; ``ahead`` how many times as fast as the loop.
    """

    times: float
    ahead: float = 4.0
    scale: int = 1
    is_video: bool = False


WAYS = {
    '': Way(times=5.0),
    ', decode_scale 2': Way(times=12.0, scale=2),
    ', to a LeRobot set of AV1': Way(times=2.0, ahead=1.0, is_video=True),
}


def workloads(peers: Peers, threads: int, quick: bool) -> dict[str, Callable[[], Workload]]:
    """By name."""
    seconds = 0.5 if quick else 3.0
    return {
        f'bag of {seconds:g} s{name}: lidar, 2 cameras, IMU': functools.partial(_workload, peers, seconds, threads, way)
        for name, way in WAYS.items()
    }


def config(threads: int, way: Way = WAYS['']) -> PipelineConfig:
    """Sparse voxels, two images and a window of readings at each scan."""
    image: dict[str, Any] = {'width': WIDTH // way.scale, 'height': HEIGHT // way.scale, 'decode_scale': way.scale}
    if way.is_video:
        image['dtype'] = 'uint8'
    return PipelineConfig(
        lidars=(LidarConfig('lidar', topic=_LIDAR),),
        cameras=tuple(CameraConfig(name, topic=_topic(name), required=False, **image) for name in _CAMERAS),
        imus=(ImuConfig('imu', topic=_IMU, window_size=_IMU_ROWS, window_period_ns=_IMU_STEP_NS, required=False),),
        compute=ComputeConfig(device='cpu', num_threads=threads),
    )


def _topic(camera: str) -> str:
    return f'/camera/{camera}/image_raw/compressed'


def _workload(peers: Peers, seconds: float, threads: int, way: Way) -> Workload:
    from robocache_ros.offline import fused_frames
    from robocache_ros.tools.simulation import write_bag
    from robocache_sim import sensors

    _folders.append(tempfile.TemporaryDirectory(prefix='robocache-bench-'))
    bag = Path(_folders[-1].name) / 'bag'
    write_bag(bag, sensors.robot(seed=0), seconds=seconds)
    settings = config(threads, way)

    def ours(number: int) -> tuple[torch.Tensor, ...]:
        *_, last = fused_frames(bag, settings)
        return tuple(last.tensors.values())

    cv2 = peers.get('opencv-python-headless')
    found: dict[str, Call] = {} if cv2 is None else {_LOOP: lambda number: list(plain_loop(cv2, bag, way))}
    call: Callable[[int], tuple[torch.Tensor, ...]] = ours
    if way.is_video:
        call = functools.partial(_export, bag, settings)
        found = {} if cv2 is None else {_LOOP: lambda number: _loop_to_videos(cv2, bag, way)}
    goal = Goal(max_ms=seconds * 1000 / way.times, at_least={_LOOP: way.ahead})
    return Workload(call, found, sum(file.stat().st_size for file in bag.iterdir()), goal)


def _export(bag: Path, settings: PipelineConfig, number: int) -> tuple[torch.Tensor, ...]:
    """Write the set, and return how many frames it has."""
    from robocache_ros.export_config import ExportConfig
    from robocache_ros.parameters import NodeConfig
    from robocache_ros.tools.export.run import Configuration, export

    node = NodeConfig(export=ExportConfig(_lerobot()))
    out = bag.with_name('set')
    manifest = export([bag], Configuration(settings, node, 'benchmark'), out, ['lerobot'])
    shutil.rmtree(out)
    return (torch.tensor(manifest['frames']),)


def _lerobot() -> Any:
    from robocache_ros.export_config import LeRobotConfig

    return LeRobotConfig(fps=_FPS, state=('imu',), images=_CAMERAS, codec='av1')


def _loop_to_videos(cv2: Any, bag: Path, way: Way) -> None:
    from robocache_ros.tools.export.lerobot.video import VideoFile, colour_encoding

    folder, encoding = bag.with_name('videos'), colour_encoding(_lerobot())
    videos = {name: VideoFile(folder / f'{name}.mp4', WIDTH, HEIGHT, _FPS, encoding) for name in _CAMERAS}
    for frame in plain_loop(cv2, bag, way):
        for name, video in videos.items():
            video.add(frame[name])
    for video in videos.values():
        video.close()
    shutil.rmtree(folder)


def plain_loop(cv2: Any, bag: Path, way: Way = WAYS['']) -> Iterator[dict[str, np.ndarray]]:
    """Yield, for each scan, its voxels, the nearest images, and the readings before it."""
    from rosbags.highlevel import AnyReader

    scans, images, readings = [], {name: [] for name in _CAMERAS}, []
    topics = {_LIDAR, _IMU, *map(_topic, _CAMERAS)}
    with AnyReader([bag]) as reader:
        for connection, _, raw in reader.messages([c for c in reader.connections if c.topic in topics]):
            message = reader.deserialize(raw, connection.msgtype)
            stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
            if connection.topic == _LIDAR:
                scans.append((stamp_ns, message))
            elif connection.topic == _IMU:
                w, a = message.angular_velocity, message.linear_acceleration
                readings.append((stamp_ns, w.x, w.y, w.z, a.x, a.y, a.z))
            else:
                images[connection.topic.split('/')[2]].append((stamp_ns, message.data))
    table = np.array(readings)
    for stamp_ns, message in scans:
        instants = stamp_ns - _IMU_STEP_NS * np.arange(_IMU_ROWS)[::-1]
        window = np.stack([np.interp(instants, table[:, 0], column) for column in table[:, 1:].T], axis=1)
        nearest = {name: min(found, key=lambda item: abs(item[0] - stamp_ns))[1] for name, found in images.items()}
        yield {'imu': window, **{name: _image(cv2, data, way) for name, data in nearest.items()}, **_voxels(message)}


def _image(cv2: Any, data: np.ndarray, way: Way) -> np.ndarray:
    flag = cv2.IMREAD_COLOR if way.scale == 1 else cv2.IMREAD_REDUCED_COLOR_2
    pixels = cv2.resize(cv2.imdecode(data, flag), (WIDTH // way.scale, HEIGHT // way.scale))[..., ::-1]
    if way.is_video:
        return np.ascontiguousarray(pixels)
    return ((pixels / np.float32(255) - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1).astype(np.float16)


def _voxels(message: Any) -> dict[str, np.ndarray]:
    """Count, mean position within the voxel and greatest intensity of each voxel."""
    fields = {field.name: field.offset for field in message.fields}
    points = np.ndarray((message.width * message.height,), _dtype(fields, message.point_step), message.data)
    xyz = np.stack([points[axis] for axis in 'xyz'], axis=1)
    distance = np.linalg.norm(xyz, axis=1)
    low, size, shape = np.float32([-51.2, -51.2, -3.0]), np.float32(0.4), np.array([256, 256, 20])
    cell = np.floor((xyz - low) / size)
    inside = np.isfinite(distance) & (distance >= 0.5) & (cell >= 0).all(axis=1) & (cell < shape).all(axis=1)
    cell, xyz, intensity = cell[inside].astype(np.int64), xyz[inside], points['intensity'][inside]
    key = (cell[:, 2] * shape[1] + cell[:, 1]) * shape[0] + cell[:, 0]
    unique, place, counts = np.unique(key, return_inverse=True, return_counts=True)
    offset = xyz - (low + (cell + np.float32(0.5)) * size)
    means = np.stack([np.bincount(place, offset[:, axis]) / counts for axis in range(3)], axis=1)
    highest = np.full(len(unique), -np.inf)
    np.maximum.at(highest, place, intensity)
    return {'voxels': unique, 'features': np.column_stack([counts, means, highest]).astype(np.float32)}


def _dtype(offsets: dict[str, int], step: int) -> np.dtype[Any]:
    names = ['x', 'y', 'z', 'intensity']
    return np.dtype({'names': names, 'formats': ['<f4'] * 4, 'offsets': [offsets[n] for n in names], 'itemsize': step})
