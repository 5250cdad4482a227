# SPDX-License-Identifier: Apache-2.0
"""The fused frames of whole bags, in four configurations, have the bits that they had."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore
from support import digests, on_gpu, recorded

from robocache_core.config import (
    CameraConfig,
    ComputeConfig,
    DeskewConfig,
    ImuConfig,
    LidarConfig,
    PipelineConfig,
    VoxelConfig,
)
from robocache_ros.offline import fused_frames, make_pipeline
from robocache_ros.tools import simulate

CONFIGURATIONS = ('sparse', 'dense', 'deskewed', 'area')
SENSOR = (0.1, 0.0, 1.3, 0.0, 0.0, 0.6, 0.8)
BOX = VoxelConfig(size=(0.4, 0.4, 0.4), lower=(-25.6, -25.6, -3.0), upper=(25.6, 25.6, 5.0))


def configuration(name: str, cameras: tuple[str, ...], imu_rate_hz: int, device: str) -> PipelineConfig:
    """What ``replay`` proposes for the bag's topics; dense; deskewed; or with images by area, in fp16."""
    lidar = LidarConfig('lidar', topic='/lidar/points', voxel=BOX, extrinsics=SENSOR)
    images = tuple(
        CameraConfig(name, topic=f'/camera/{name}/image_raw/compressed', width=320, height=192, dtype='float32')
        for name in cameras
    )
    if name == 'dense':
        lidar = dataclasses.replace(lidar, voxel=dataclasses.replace(BOX, output='dense'))
    if name == 'deskewed':
        lidar = dataclasses.replace(lidar, deskew=DeskewConfig(source='imu'))
    if name == 'area':
        images = tuple(dataclasses.replace(c, resize='area', letterbox=True, dtype='float16') for c in images)
    period_ns = 10**9 // imu_rate_hz
    imu = ImuConfig('imu', topic='/imu/data', window_size=10, window_period_ns=period_ns, extrinsics=SENSOR)
    return PipelineConfig((lidar,), images, (imu,), target_frame='base_link', compute=ComputeConfig(device=device))


def digest_of_bag(path: Path) -> str:
    """Digest of every message in the order of the record."""
    with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        return digests.sha256(
            part
            for connection, record_ns, raw in reader.messages()
            for part in (connection.topic.encode(), str(record_ns).encode(), raw)
        )


@pytest.fixture(scope='module')
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('simulated') / 'bag'
    assert simulate.main([str(path), '--seconds', '3']) == 0
    return path


@pytest.fixture(scope='module')
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded.bag(tmp_path_factory.mktemp('real') / 'bag', '--seconds', '2')


@pytest.fixture(params=['cpu', 'cuda'])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == 'cuda' and (why_not := on_gpu.why_not()) is not None:
        pytest.skip(why_not)
    return request.param


def frames_digest(bag: Path, config: PipelineConfig) -> str:
    pipeline = make_pipeline(config)
    frames = list(fused_frames(bag, config, pipeline))
    assert len(frames) >= 15
    assert str(pipeline.device).startswith(config.compute.device)
    return digests.digest_of_frames(frames)


@pytest.mark.parametrize('name', CONFIGURATIONS)
def test_the_simulated_robot(simulated: Path, name: str, device: str) -> None:
    """What NumPy computes for the simulator may depend on the CPU: the bag is known by its digest."""
    expected = digests.EXPECTED['simulated'].get(digest_of_bag(simulated))
    if expected is None:
        pytest.skip('the bag that NumPy makes on this CPU is none of those whose frames are written down')
    config = configuration(name, ('front', 'rear'), 200, device)
    assert frames_digest(simulated, config) == expected[name]


@pytest.mark.parametrize('name', CONFIGURATIONS)
def test_the_bag_of_real_payloads(real: Path, name: str, device: str) -> None:
    config = configuration(name, ('cam_front', 'cam_back', 'cam_front_left'), 100, device)
    assert frames_digest(real, config) == digests.EXPECTED['real'][name]
