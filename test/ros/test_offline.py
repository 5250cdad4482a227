# SPDX-License-Identifier: Apache-2.0
"""Frames from bags that lack what most bags have."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support import bags

from robocache_core.config import CameraConfig, ImuConfig, LidarConfig, PipelineConfig, SyncConfig
from robocache_ros.offline import fused_frames, make_pipeline

CLOUDS = bags.every(100, '/points', lambda ms: bags.cloud(ms, names=('x', 'y', 'z', 'intensity')), 1000)
IMAGES = bags.every(100, '/image_raw', bags.image, 1000)
READINGS = bags.every(10, '/imu', bags.imu, 1000)
OTHERS = bags.every(50, '/chatter', bags.text, 1000)

LIDAR = PipelineConfig(lidars=(LidarConfig('lidar', topic='/points'),))
CAMERA = PipelineConfig(cameras=(CameraConfig('camera', topic='/image_raw'),))
IMU = PipelineConfig(imus=(ImuConfig('imu', topic='/imu'),), sync=SyncConfig(rate_hz=10.0))


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize(
    ('config', 'messages'), [(LIDAR, CLOUDS), (CAMERA, IMAGES), (IMU, READINGS)], ids=['lidar', 'camera', 'imu']
)
def test_a_bag_needs_no_static_transforms(
    tmp_path: Path, config: PipelineConfig, messages: list[tuple], storage: str
) -> None:
    bag = bags.write(tmp_path / 'bag', messages + OTHERS, storage)
    pipeline = make_pipeline(config)
    assert len(list(fused_frames(bag, config, pipeline))) >= 8
    (account,) = pipeline.ledger.values()
    assert account.counts().received == len(messages)


def test_a_bag_with_none_of_the_topics_gives_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bag = bags.write(tmp_path / 'bag', OTHERS)
    pipeline = make_pipeline(LIDAR)
    assert list(fused_frames(bag, LIDAR, pipeline)) == []
    assert pipeline.ledger['lidar'].counts().received == 0
    assert '/points' in caplog.text
    assert '/chatter' in caplog.text


def picture_or_depth(ms: float, encoding: str) -> object:
    """An image of 2 x 2 pixels; as 32FC1 it holds what a depth camera writes where it sees nothing."""
    pixels = {'bgr8': np.uint8([7] * 12), '16UC1': np.uint16([900] * 4), '32FC1': np.float32([1, np.inf, np.nan, 2])}
    data = pixels[encoding].view(np.uint8)
    return dataclasses.replace(bags.image(ms), encoding=encoding, step=len(data) // 2, data=data)


@pytest.mark.parametrize('dtype', ['float16', 'float32'])
@pytest.mark.parametrize(
    ('before', 'after', 'dropped'),
    [('bgr8', '32FC1', 5), ('bgr8', '16UC1', 5), ('16UC1', '16UC1', 0), ('16UC1', 'bgr8', 0)],
)
def test_a_camera_that_becomes_a_depth_camera_is_refused_by_both_encodings(
    tmp_path: Path, before: str, after: str, dropped: int, dtype: str
) -> None:
    images = bags.every(100, '/image_raw', lambda ms: picture_or_depth(ms, before if ms < 500 else after), 1000)
    camera = CameraConfig('camera', topic='/image_raw', dtype=dtype, scale=0.001)
    frames = fused_frames(bags.write(tmp_path / 'bag', images), PipelineConfig(cameras=(camera,)))
    tensors = [frame.tensors['camera'] for frame in frames]
    assert len(tensors) == 10 - dropped
    assert all(tensor.isfinite().all() for tensor in tensors)
    assert {key: why.count for key, why in frames.explanations.items()} == (
        {('camera', 'depth_image'): dropped} if dropped else {}
    )
    for why in frames.explanations.values():
        assert (
            why.message == f'an image of {after}, which is depth, in a stream of {before}: give it a topic of its own'
        )
