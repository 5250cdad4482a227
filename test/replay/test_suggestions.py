# SPDX-License-Identifier: Apache-2.0
"""What the data of a bag speak for beyond the configuration that is made: lines to uncomment, each with its reason."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from support import bags, depths, vectors

from robocache_ros import parameters
from robocache_ros.bags import open_bag
from robocache_ros.offline import fused_frames
from robocache_ros.tools import simulate
from robocache_ros.tools.config_from_bag import config_from_bag

#: A proposed line: a parameter behind the sign of a comment.
LINE = re.compile(r'^( *)# ((?:deskew|voxel|lower|upper|rectify|letterbox|depth_unit): .*)$')
NONE = (0.0, 0.0, 0.0, 1.0)


@pytest.fixture(scope='module')
def robot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('robot') / 'bag'
    options = ['--seconds', '1.2', '--lidar-rings', '8', '--rear-lidar', '--depth', 'raw', '--odometry']
    assert simulate.main([str(path), *options]) == 0
    return path


def uncommented(text: str, which: set[int] | None = None) -> str:
    """The file with the proposed lines of these numbers, or all of them, as parameters."""
    lines = text.splitlines()
    chosen = {number for number, line in enumerate(lines) if LINE.match(line)} if which is None else which
    return '\n'.join(LINE.sub(r'\1\2', line) if number in chosen else line for number, line in enumerate(lines))


@pytest.mark.parametrize(('grid', 'num_lines'), [(False, 6), (True, 7)], ids=['streams', 'grid'])
def test_a_robot_runs_with_each_line_that_is_proposed(robot: Path, tmp_path: Path, grid: bool, num_lines: int) -> None:
    text = config_from_bag(open_bag(robot), grid=grid).to_yaml('bag')
    proposed = [number for number, line in enumerate(text.splitlines()) if LINE.match(line)]
    assert len(proposed) == num_lines
    file = tmp_path / 'robot.yaml'
    for number in proposed:
        file.write_text(uncommented(text, {number}))
        alone, _ = parameters.from_file(file, warn=pytest.fail)
    file.write_text(uncommented(text))
    config, _ = parameters.from_file(file, warn=pytest.fail)
    assert config != alone
    assert {lidar.deskew.source for lidar in config.lidars} == {'odom'}
    assert all(camera.letterbox for camera in config.cameras)
    frames = list(fused_frames(robot, config))
    assert len(frames) >= 8
    assert all(frame.valid[name] for frame in frames[1:-1] for name in ('lidar', 'lidar_rear', 'front', 'rear'))


def cloud(ms: float, t_ms: float = 100.0):
    """A scan of 2000 points on a ring of 60 m about its sensor, a third of them in the default box, with times."""
    turns = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    rows = np.zeros((2000, 4), np.float32)
    rows[:, 0], rows[:, 1] = 60.1 * np.cos(turns), 60.1 * np.sin(turns)
    rows[:, 3] = np.linspace(0, t_ms / 1000, 2000)
    fields = [bags.T['sensor_msgs/msg/PointField'](name, 4 * i, 7, 1) for i, name in enumerate(('x', 'y', 'z', 't'))]
    data = rows.view(np.uint8).reshape(-1)
    return bags.T['sensor_msgs/msg/PointCloud2'](
        bags.header(ms, 'lidar'), 1, 2000, fields, False, 16, 32000, data, True
    )


def image(ms: float, width: int = 64, height: int = 48):
    pixels = np.zeros(3 * width * height, np.uint8)
    return bags.T['sensor_msgs/msg/Image'](bags.header(ms), height, width, 'bgr8', 0, 3 * width, pixels)


def camera(d: float, width: int = 64) -> list:
    """A camera of 64 x 48 px whose calibration is of another width perhaps."""
    return [
        *bags.every(100, '/front/image_raw', image, 500),
        (0, '/front/camera_info', depths.camera_info(0, width, 48, 60.0, d=(d, 0, 0, 0, 0))),
    ]


def metres_in_mm(ms: float):
    return depths.depth_image(ms, np.full((4, 6), 1500, np.float32))


LIDAR = bags.every(100, '/lidar/points', cloud, 500)
IMU = bags.every(10, '/imu/data', bags.imu, 500)
LIDAR_EDGE, IMU_EDGE = ('base_link', 'lidar', (0, 0, 1.0), NONE), ('base_link', 'sensor', (0, 0, 0), NONE)
LIDAR_MOUNT = [(0, '/tf_static', bags.transforms(LIDAR_EDGE))]
MOUNT = [(0, '/tf_static', bags.transforms(LIDAR_EDGE, IMU_EDGE))]


@pytest.mark.parametrize(
    ('messages', 'line'),
    [
        (camera(-0.2), '# rectify: true  # /front/camera_info is there, plumb_bob with distortion'),
        (camera(-0.2, width=200), 'not to be rectified as it is: /front/camera_info: CameraInfo is of 200 x 48 pixels'),
        (camera(0.0), '# its images are 64 x 48 px, the tensor is 640 x 384 (width, height), which stretches them'),
        (LIDAR, "# its points have times ('t', s from the scan's start); to deskew them, record an IMU or odometry"),
        (LIDAR + IMU, "set target_frame, and extrinsics of the lidar and of imu (frame 'sensor')"),
        (LIDAR + IMU + LIDAR_MOUNT,
         "state extrinsics in 'base_link' of imu (frame 'sensor')"),
        (LIDAR + IMU + MOUNT, '# deskew: {source: imu}'),
        (bags.every(200, '/lidar/points', lambda ms: cloud(ms, 190), 900) + IMU + MOUNT,
         '# deskew: {scan_duration: 0.2, source: imu}'),
        (bags.every(400, '/lidar/points', lambda ms: cloud(ms, 390), 1700) + IMU + MOUNT,
         'by imu takes sync.max_wait and deskew.scan_duration of 0.4 s'),
        (bags.every(100, '/lidar/points', bags.cloud, 500) + IMU + MOUNT,
         'not to be deskewed as it is: the times of the points are not known: no field has the name of a time'),
        (LIDAR, '# lidar has 10 Hz; for targets on an even grid: rate_hz: 10.0 in place of trigger'),
        (LIDAR, '# this box has 100 % of the points of the first scan, the default one 29.8 %'),
        (bags.every(100, '/depth/image_rect_raw', metres_in_mm, 500), '# depth_unit: 0.001'),
    ],
)  # fmt: skip
def test_what_the_data_speak_for_is_proposed_with_its_reason(messages: list, line: str, tmp_path: Path) -> None:
    text = config_from_bag(open_bag(bags.write(tmp_path / 'bag', messages))).to_yaml('bag')
    assert line in text or line in ' '.join(re.sub(r'^ *# ', '', text, flags=re.MULTILINE).split())
    file = tmp_path / 'robot.yaml'
    file.write_text(uncommented(text))
    parameters.from_file(file, warn=pytest.fail)


@pytest.mark.parametrize(
    ('messages', 'word'),
    [
        (camera(0.0), 'rectif'),
        (bags.every(100, '/front/image_raw', image, 500), 'rectif'),
        (bags.every(100, '/front/image_raw', lambda ms: image(ms, 640, 384), 500), 'its images'),
        (bags.every(20, '/odom', vectors.odometry, 500), 'deskew'),
    ],
    ids=['no distortion', 'no calibration', 'size as it is', 'no points'],
)
def test_nothing_is_proposed_that_the_data_do_not_show(messages: list, word: str, tmp_path: Path) -> None:
    assert word not in config_from_bag(open_bag(bags.write(tmp_path / 'bag', messages))).to_yaml('bag')
