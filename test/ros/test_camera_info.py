# SPDX-License-Identifier: Apache-2.0
"""Calibrations from CameraInfo messages to the pipeline: decoded, and read from a bag."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from sensor_msgs.msg import CameraInfo as CameraInfoMsg
from sensor_msgs.msg import RegionOfInterest

from robocache_core.config import CameraConfig, PipelineConfig
from robocache_core.pipeline import Pipeline
from robocache_core.samples import CameraInfo
from robocache_ros.decode_image import decode_camera_info
from robocache_ros.offline import fused_frames
from robocache_ros.tools import simulate


def test_every_field_is_read() -> None:
    msg = CameraInfoMsg(width=640, height=480, distortion_model='plumb_bob', binning_x=1, binning_y=2)
    msg.d = [0.1, 0.2, 0.3, 0.4, 0.5]
    msg.k, msg.r, msg.p = ([float(start + i) for i in range(size)] for start, size in ((10, 9), (20, 9), (30, 12)))
    msg.roi = RegionOfInterest(x_offset=1, y_offset=2, width=3, height=4)
    info = decode_camera_info(msg)
    assert info == CameraInfo(
        width=640,
        height=480,
        distortion_model='plumb_bob',
        d=(0.1, 0.2, 0.3, 0.4, 0.5),
        k=tuple(map(float, range(10, 19))),
        r=tuple(map(float, range(20, 29))),
        p=tuple(map(float, range(30, 42))),
        binning=(1, 2),
        roi=(1, 2, 3, 4),
    )
    assert hash(info) == hash(decode_camera_info(msg))


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('bags') / 'bag'
    assert simulate.main([str(path), '--seconds', '1', '--lidar-rings', '8']) == 0
    return path


CAMERA = CameraConfig('front', topic='/camera/front/image_raw/compressed', width=320, height=240, dtype='float32')


def test_a_bag_s_calibration_is_read(bag: Path) -> None:
    """The simulated lens has no distortion, so that a rectified image is the image, but for the map's float32."""
    plain = {frame.stamp_ns: frame for frame in fused_frames(bag, PipelineConfig(cameras=(CAMERA,)))}
    config = PipelineConfig(cameras=(dataclasses.replace(CAMERA, rectify=True),))
    pipeline = Pipeline(config)
    rectified = list(fused_frames(bag, config, pipeline))
    counts = pipeline.ledger['front'].counts()
    # The simulator records a CameraInfo behind each image, so the first image has none yet.
    assert counts.dropped == {'no_camera_info': 1}
    assert len(rectified) == len(plain) - 1 == counts.used
    for frame in rectified:
        torch.testing.assert_close(frame.tensors['front'], plain[frame.stamp_ns].tensors['front'], atol=2e-3, rtol=0)


def test_a_bag_without_it_gives_nothing_and_says_so(bag: Path) -> None:
    config = PipelineConfig(cameras=(dataclasses.replace(CAMERA, rectify=True, camera_info_topic='/elsewhere'),))
    pipeline = Pipeline(config)
    assert list(fused_frames(bag, config, pipeline)) == []
    counts = pipeline.ledger['front'].counts()
    assert counts.dropped == {'no_camera_info': counts.received}
