# SPDX-License-Identifier: Apache-2.0
"""Frames from bags that lack what most bags have."""

import dataclasses
import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from support import bags, played_gpu

from robocache_core import payload
from robocache_core.config import CameraConfig, ComputeConfig, ImuConfig, LidarConfig, PipelineConfig, SyncConfig
from robocache_ros.offline import BagFrames, fused_frames, make_pipeline

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


def test_a_gpu_that_is_missing_or_fails_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames come all the same, as the node's do; the node's events say so."""
    bag = bags.write(tmp_path / 'bag', CLOUDS)
    on_cpu = list(fused_frames(bag, LIDAR))
    assert 'on the CPU' not in caplog.text
    missing = list(fused_frames(bag, dataclasses.replace(LIDAR, compute=ComputeConfig('cuda:99'))))
    assert caplog.text.count('frames are computed on the CPU: compute.device = cuda:99: ') == 1
    pipeline = make_pipeline(LIDAR)
    pipeline.device = played_gpu.play(monkeypatch)
    monkeypatch.setattr(pipeline.device, 'begin_frame', fail)
    failed = list(fused_frames(bag, LIDAR, pipeline))
    assert 'out of order; frames are computed on the CPU from now on' in caplog.text
    digests = [[payload.digest(frame) for frame in frames] for frames in (on_cpu, missing, failed)]
    assert len(on_cpu) >= 8
    assert digests[0] == digests[1] == digests[2]


def fail() -> None:
    raise torch.cuda.OutOfMemoryError('out of order')


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


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Cycles of objects are not collected: what they hold stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def in_a_with(frames: BagFrames) -> None:
    with frames:
        next(frames)


def closed_twice(frames: BagFrames) -> None:
    next(frames)
    frames.close()
    frames.close()
    assert next(frames, None) is None


def abandoned(frames: BagFrames) -> None:
    next(frames)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('stop', [in_a_with, closed_twice, abandoned])
@pytest.mark.usefixtures('no_collection')
def test_a_bag_that_is_not_read_to_its_end_leaves_no_thread_and_no_open_file(
    tmp_path: Path, storage: str, stop
) -> None:
    jpeg = cv2.imencode('.jpg', np.full((16, 16, 3), 90, np.uint8))[1].ravel()
    images = bags.every(
        100, '/image_raw/compressed', lambda ms: dataclasses.replace(bags.compressed(ms), data=jpeg), 1000
    )
    bag = bags.write(tmp_path / 'bag', images, storage)
    camera = CameraConfig('camera', topic='/image_raw/compressed', message='compressed')
    before = decoder_threads()
    frames = fused_frames(bag, PipelineConfig(cameras=(camera,)))
    for _ in range(4):
        next(frames)
    assert open_files(bag)
    assert decoder_threads() > before
    stop(frames)
    del frames
    assert not open_files(bag)
    assert decoder_threads() == before


def decoder_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == 'robocache-decoder'}


def open_files(bag: Path) -> list[str]:
    links = (Path('/proc/self/fd') / name for name in os.listdir('/proc/self/fd'))
    return [target for link in links if link.is_symlink() and (target := os.readlink(link)).startswith(str(bag))]
