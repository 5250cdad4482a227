# SPDX-License-Identifier: Apache-2.0
"""Frames from bags that lack what most bags have."""

from pathlib import Path

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
