# SPDX-License-Identifier: Apache-2.0
"""What is in the sets of each format, read by the libraries that are made for it."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from sensor_msgs.msg import PointCloud2
from support import exports, hard_bag

from robocache_core import payload
from robocache_core.frame import FusedFrame
from robocache_ros.bags import open_bag
from robocache_ros.tools.export import run, webdataset


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hard_bag.write(tmp_path_factory.mktemp('formats') / 'bag.1')


@pytest.fixture(scope='module')
def frames(bag: Path) -> list[FusedFrame]:
    return exports.frames_of(bag)


@pytest.fixture(scope='module')
def out(bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tar files of 100 kB."""
    out = tmp_path_factory.mktemp('set') / 'out'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(webdataset, 'SHARD_BYTES', 100_000)
        run.export([bag], exports.configuration(), out, ('webdataset', 'mcap'))
    return out


def test_webdataset_has_the_payload_of_each_frame_and_a_json(out: Path, frames: list[FusedFrame]) -> None:
    shards = sorted((out / 'webdataset').glob('*.tar'))
    assert len(shards) > 1
    members = []
    for shard in shards:
        with tarfile.open(shard) as tar:
            members += [(member.name, tar.extractfile(member).read()) for member in tar]
    assert [name for name, _ in members[:2]] == ['000-00000000.safetensors', '000-00000000.json']
    for frame, (_, data), (_, text) in zip(frames, members[::2], members[1::2], strict=True):
        assert payload.digest(payload.decode(bytearray(data))) == payload.digest(frame)
        described = json.loads(text)
        assert (described['stamp_ns'], described['bag']) == (frame.stamp_ns, 'bag.1')
        assert (described['valid'], described['age_ns']) == (frame.valid, frame.age_ns)
        assert {name: each['shape'] for name, each in described['tensors'].items()} == {
            name: list(tensor.shape) for name, tensor in frame.tensors.items()
        }


def test_the_index_of_webdataset_finds_each_frame(out: Path, frames: list[FusedFrame]) -> None:
    index = json.loads((out / 'webdataset' / 'index.json').read_text())
    found = []
    for shard in index['shardlist']:
        data = (out / 'webdataset' / shard['url']).read_bytes()
        assert (len(data), len(shard['frames'])) == (shard['filesize'], shard['nsamples'])
        found += [payload.decode(bytearray(data[at : at + size])) for at, size in shard['frames']]
    assert [frame.stamp_ns for frame in found] == [frame.stamp_ns for frame in frames]


def test_the_library_webdataset_reads_it(out: Path, frames: list[FusedFrame]) -> None:
    library = pytest.importorskip('webdataset', reason='webdataset is not installed: requirements/export.txt')
    urls = [str(path) for path in sorted((out / 'webdataset').glob('*.tar'))]
    samples = list(library.WebDataset(urls, shardshuffle=False))
    decoded = [payload.decode(bytearray(sample['safetensors'])) for sample in samples]
    assert list(map(payload.digest, decoded)) == list(map(payload.digest, frames))


def test_mcap_is_a_bag_that_plays_in_the_order_of_the_frames(out: Path, frames: list[FusedFrame]) -> None:
    bag = open_bag(out / 'mcap' / '000')
    assert {topic.name: topic.msgtype.rpartition('/')[2] for topic in bag.topics.values()} == {
        '/preprocess/fused': 'UInt8MultiArray',
        '/preprocess/voxels': 'PointCloud2',
        **{f'/preprocess/image/{name}': 'Image' for name in ('front', 'depth')},
        **{f'/preprocess/image/{name}/camera_info': 'CameraInfo' for name in ('front', 'depth')},
    }
    records = list(bag.messages({'/preprocess/fused'}))
    messages = [bag.deserialize('/preprocess/fused', raw) for _, _, raw in records]
    decoded = [payload.decode(bytearray(message.data)) for message in messages]
    assert list(map(payload.digest, decoded)) == list(map(payload.digest, frames))
    times = [record_ns for _, record_ns, _ in records]
    assert times == sorted(times)
    assert [time - frame.stamp_ns for time, frame in zip(times, frames, strict=True) if not frame.epoch] == [0] * 16
    _, _, raw = next(iter(bag.messages({'/preprocess/voxels'})))
    voxels = bag.deserialize('/preprocess/voxels', raw)
    assert voxels.width == len(frames[0].tensors['lidar.coords'])
    assert vars(voxels).keys() == PointCloud2.get_fields_and_field_types().keys()
