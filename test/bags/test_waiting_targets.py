# SPDX-License-Identifier: Apache-2.0
"""Offline a ready target waits for the next one while its images are decoded: that changes nothing that is seen."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support import bags

from robocache_core import payload
from robocache_core.config import CameraConfig, LidarConfig, PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_ros import decode_image, offline
from robocache_ros.bags import Bag
from robocache_ros.offline import fused_frames, make_pipeline

CAMERA = CameraConfig('camera', topic='/image_raw/compressed', width=16, height=8, required=False)
LIDAR = LidarConfig('lidar', topic='/points')
CONFIG = PipelineConfig(lidars=(LIDAR,), cameras=(CAMERA,))
RECTIFIED = dataclasses.replace(CONFIG, cameras=(dataclasses.replace(CAMERA, rectify=True),))
#: Stamp of the image that is damaged, and of the one with which the calibration becomes another, ms.
DAMAGED, ZOOMED = 1500, 2500


def image(ms: float) -> Any:
    pixels = np.full((8, 16, 3), int(ms) // 100 % 256, np.uint8)
    data = cv2.imencode('.jpg', pixels)[1].reshape(-1)
    if ms == DAMAGED:
        data[-4:-2] = 0xFF, 0xFE  # a marker where none may be
    return dataclasses.replace(bags.compressed(ms), data=data)


def calibration(ms: float) -> Any:
    focal = 20.0 if ms < ZOOMED else 30.0
    k = np.array([focal, 0, 8, 0, focal, 4, 0, 0, 1])
    p = np.array([focal, 0, 8, 0, 0, focal, 4, 0, 0, 0, 1, 0])
    roi = bags.T['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    header = bags.header(ms, 'optical')
    return bags.T['sensor_msgs/msg/CameraInfo'](
        header, 8, 16, 'plumb_bob', np.zeros(5), k, np.eye(3).reshape(-1), p, 0, 0, roi
    )


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clouds = bags.every(100, '/points', lambda ms: bags.cloud(ms, names=('x', 'y', 'z', 'intensity')), 3500)
    images = bags.every(50, '/image_raw/compressed', image, 3500)
    calibrations = [(ms - 0.5, '/camera_info', calibration(ms)) for ms, _, _ in images]
    return bags.write(tmp_path_factory.mktemp('waiting') / 'bag', clouds + images + calibrations)


@pytest.fixture(scope='module')
def jumping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bag whose time jumps back while its last target waits, whose scan has no finite point."""

    def cloud(ms: float) -> Any:
        scan = bags.cloud(ms, names=('x', 'y', 'z', 'intensity'))
        return scan if ms < DAMAGED else dataclasses.replace(scan, data=np.full(4, np.nan, np.float32).view(np.uint8))

    def lap(end_ms: float) -> list[tuple[float, str, Any]]:
        return bags.every(100, '/points', cloud, end_ms) + bags.every(50, '/image_raw/compressed', image, end_ms)

    again = [(DAMAGED + 200 + ms, topic, message) for ms, topic, message in lap(1000)]
    return bags.write(tmp_path_factory.mktemp('jumping') / 'bag', lap(DAMAGED + 100) + again)


def seen(bag: Path, config: PipelineConfig) -> tuple[list[str], list[FusedFrame], Any]:
    """The digests of the frames, the frames, and all that is said of them."""
    with fused_frames(bag, config) as frames:
        found = list(frames)
        said = frames.counts, frames.outcome, frames.warnings, dict(frames.explanations)
    return [payload.digest(frame) for frame in found], found, said


@pytest.mark.parametrize('config', [CONFIG, RECTIFIED], ids=['as they are', 'rectified'])
def test_what_is_seen_is_that_of_targets_that_do_not_wait(
    bag: Path, config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests, frames, said = seen(bag, config)
    with monkeypatch.context() as patched:
        patched.setattr(offline._Reader, '_num_waiting', 0)
        alone = seen(bag, config)
    assert len(digests) >= 30
    assert digests == alone[0]
    assert [frame.views for frame in frames] == [frame.views for frame in alone[1]]
    assert said == alone[2]


def test_what_is_logged_of_each_second_has_the_frames_that_wait_in_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scans = bags.every(1100, '/points', lambda ms: bags.cloud(ms, names=('x', 'y', 'z', 'intensity')), 1200)
    bag = bags.write(tmp_path / 'bag', scans + bags.every(50, '/image_raw/compressed', image, 1200))
    assert len(seen(bag, CONFIG)[1]) == 2
    assert not caplog.messages


def test_a_sample_of_a_lost_target_bears_its_reason_though_time_jumps_while_it_waits(
    jumping: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, said = seen(jumping, CONFIG)
    assert said[0]['camera'].dropped['all_non_finite:lidar'] == 1
    monkeypatch.setattr(offline._Reader, '_num_waiting', 0)
    assert said == seen(jumping, CONFIG)[2]


def test_views_are_of_the_calibration_of_their_time(bag: Path) -> None:
    _, frames, _ = seen(bag, RECTIFIED)
    focals = {frame.stamp_ns: view.info.k[0] for frame in frames if (view := frame.views.get('camera')) and view.info}
    assert len(focals) >= 30
    # The target before is ready with the image after it, behind whose calibration the new one comes.
    last = bags.START_NS + (ZOOMED - 100) * bags.MS
    assert {focal for stamp, focal in focals.items() if stamp <= last} == {20.0}
    assert {focal for stamp, focal in focals.items() if stamp > last} == {30.0}


def most_waiting(bag: Path, config: PipelineConfig, **options: Any) -> int:
    """Targets that were ready as the next message was asked for, at most."""
    pipeline, most = make_pipeline(config), 0

    def messages(bag: Bag, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        nonlocal most
        for message in bag.messages(topics):
            most = max(most, pipeline.num_ready)
            yield message

    assert list(fused_frames(bag, config, pipeline, messages, **options)) or options
    return most


def test_one_target_waits_where_images_are_decoded_for_it(bag: Path) -> None:
    assert most_waiting(bag, CONFIG) == 1
    assert most_waiting(bag, dataclasses.replace(CONFIG, cameras=())) == 0
    assert most_waiting(bag, CONFIG, views=True) == 0
    assert most_waiting(bag, CONFIG, start_ns=1 << 62) == 0  # which computes nothing


def test_images_are_decoded_while_messages_are_read(bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not given the next message before the images of the ready target are decoded gets all frames."""
    pipeline, num_decoded = make_pipeline(CONFIG), 0
    real = decode_image._decode_pixels

    def counted(*args: Any) -> Any:
        nonlocal num_decoded
        num_decoded += 1
        return real(*args)

    monkeypatch.setattr(decode_image, '_decode_pixels', counted)

    def messages(bag: Bag, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        for message in bag.messages(topics):
            end = time.monotonic() + 60
            while pipeline.num_ready and num_decoded <= pipeline.targets.counts().used:
                assert time.monotonic() < end, 'no image is decoded for the target that waits'
                time.sleep(0.001)
            yield message

    assert len(list(fused_frames(bag, CONFIG, pipeline, messages))) >= 30


def test_a_shard_gives_the_target_that_waits_at_its_end(bag: Path) -> None:
    whole, _, _ = seen(bag, CONFIG)
    found = []
    for begin in range(0, 3600, 45):
        bounds = {'start_ns': bags.START_NS + begin * bags.MS, 'end_ns': bags.START_NS + (begin + 45) * bags.MS}
        with fused_frames(bag, CONFIG, **bounds) as frames:
            part = list(frames)
        found += [payload.digest(dataclasses.replace(frame, sequence=len(found) + i)) for i, frame in enumerate(part)]
    assert found == whole
