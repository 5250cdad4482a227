# SPDX-License-Identifier: Apache-2.0
"""Torch datasets over bags: each frame once and to the bit, in whichever process, in an order that a seed decides."""

from __future__ import annotations

import dataclasses
import gc
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from support import bags as hand
from support import hard_bag
from support.cameras import smooth_image
from torch.utils.data import DataLoader

from robocache_core import payload
from robocache_core.config import CameraConfig, PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_ros.dataset import Batch, FusedDataset, FusedTargets, collate
from robocache_ros.even_parts import brought_to
from robocache_ros.offline import fused_frames

CONFIG = hard_bag.config()


@pytest.fixture(scope='module')
def bags(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp('dataset')
    return [hard_bag.write(folder / 'one'), hard_bag.write(folder / 'two', 'sqlite3')]


@pytest.fixture(scope='module')
def frames(bags: list[Path]) -> list[FusedFrame]:
    """Those of one pass over one bag; both bags have the same."""
    return list(fused_frames(bags[0], CONFIG))


def facts(frame: FusedFrame) -> str:
    """All of a frame but its number, which a shard does not know."""
    return payload.digest(FusedFrame(**{**vars(frame), 'sequence': 0}))


def test_frames_come_in_the_order_of_the_bags(bags: list[Path], frames: list[FusedFrame]) -> None:
    found = list(FusedDataset(bags, CONFIG))
    assert list(map(facts, found)) == list(map(facts, frames)) * 2


def test_no_bag_is_refused() -> None:
    with pytest.raises(ValueError, match='bags is empty: must name at least one bag'):
        FusedDataset([], CONFIG)


@pytest.mark.parametrize('num_workers', [0, 2])
def test_ranks_and_workers_share_the_frames(bags: list[Path], frames: list[FusedFrame], num_workers: int) -> None:
    """A pipeline has run in this process before it is forked."""
    gc.collect()  # a node that an earlier test has left to be collected has no threads in a child, which it would end
    found = []
    for rank in range(2):
        dataset = FusedDataset(bags, CONFIG, shuffle=True, buffer=5, rank=rank, world_size=2)
        found += [*DataLoader(dataset, batch_size=None, num_workers=num_workers)]
    assert len(found) - 2 * len(frames) <= 2 * max(1, num_workers)
    assert Counter(map(facts, found)) >= Counter(map(facts, frames * 2))


def dealt(dataset: FusedDataset, num_workers: int) -> list[list[str]]:
    """The frames that each worker of a rank gives."""
    found = []
    for number in range(num_workers):
        worker = SimpleNamespace(id=number, num_workers=num_workers)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr('robocache_ros.dataset.get_worker_info', lambda worker=worker: worker)
            found.append(list(map(facts, dataset)))
    return found


@pytest.mark.parametrize(
    ('world_size', 'num_workers', 'drop_last'), [(2, 1, True), (3, 2, False), (3, 2, True), (5, 1, False)]
)
def test_all_ranks_get_as_many_frames_in_as_many_batches(
    bags: list[Path], frames: list[FusedFrame], world_size: int, num_workers: int, drop_last: bool
) -> None:
    settings = {'shuffle': True, 'buffer': 5, 'drop_last': drop_last, 'world_size': world_size}
    datasets = [FusedDataset(bags, CONFIG, rank=rank, **settings) for rank in range(world_size)]
    workers = [each for dataset in datasets for each in dealt(dataset, num_workers)]
    (length,) = set(map(len, workers))
    found = Counter(facts for each in workers for facts in each)
    own = Counter(map(facts, frames * 2))
    assert 0 <= (own - found if drop_last else found - own).total() <= 2 * len(workers)
    assert not (found - own if drop_last else own - found)
    assert length >= 2 * len(frames) // len(workers) - 1
    assert dealt(datasets[-1], num_workers) == workers[-num_workers:]


def test_a_worker_without_a_frame_repeats_that_of_another(tmp_path: Path) -> None:
    """There are more workers than targets, and images that are damaged, which only shows as they are decoded."""
    whole = cv2.imencode('.jpg', smooth_image(64, 48))[1].tobytes()
    hollow = whole[: len(whole) * 7 // 10] + whole[-2:]

    def image(ms: float) -> object:
        data = np.frombuffer(whole if ms % 300 else hollow, np.uint8)
        return dataclasses.replace(hand.compressed(ms), data=data)

    bag = hand.write(tmp_path / 'bag', hand.every(100, '/front', image, 800))
    config = PipelineConfig(cameras=(CameraConfig('front', topic='/front', message='compressed'),))
    targets = FusedTargets([bag], config)
    assert [index for index in range(len(targets)) if targets[index] is None] == [0, 3, 6]
    ranks = [[*FusedDataset([bag], config, rank=rank, world_size=10)] for rank in range(10)]
    assert [len(each) for each in ranks] == [1] * 10
    assert len({each.stamp_ns for (each,) in ranks}) == 5


def test_a_frame_that_is_repeated_is_a_copy(frames: list[FusedFrame]) -> None:
    """What a transform changes in place is changed once."""
    own = dataclasses.replace(frames[0], tensors={'imu': frames[0].tensors['imu'].clone()})
    first, *_, last = brought_to(3, iter([own]), iter(()), 2)
    first.tensors['imu'].zero_()
    assert last.tensors['imu'].any()


def test_the_order_is_that_of_the_seed_and_the_epoch(bags: list[Path]) -> None:
    def order(seed: int, epoch: int) -> list[tuple[int, int]]:
        dataset = FusedDataset(bags, CONFIG, shuffle=True, seed=seed, buffer=16)
        dataset.set_epoch(epoch)
        return [(frame.epoch, frame.stamp_ns) for frame in dataset]

    first = order(0, 0)
    assert first == order(0, 0)
    assert first != sorted(first)
    assert len({tuple(each) for each in (first, order(0, 1), order(1, 0))}) == 3


def test_workers_that_persist_take_the_next_epoch(bags: list[Path]) -> None:
    dataset = FusedDataset(bags, CONFIG, shuffle=True, buffer=16)
    loader = DataLoader(dataset, batch_size=None, num_workers=1, persistent_workers=True)
    orders = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        orders.append([(frame.epoch, frame.stamp_ns) for frame in loader])
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.parametrize(('rank', 'world_size'), [(1, None), (2, 2), (-1, 2)])
def test_a_rank_that_there_is_not_is_refused(bags: list[Path], rank: int, world_size: int | None) -> None:
    with pytest.raises(ValueError, match=f'rank = {rank}: must be from 0 to {(world_size or 1) - 1}'):
        FusedDataset(bags, CONFIG, rank=rank, world_size=world_size)


def test_a_dataset_has_a_bag() -> None:
    with pytest.raises(ValueError, match='bags is empty'):
        FusedDataset([], CONFIG)


def test_a_target_by_its_number_is_the_frame_of_one_pass(bags: list[Path], frames: list[FusedFrame]) -> None:
    targets = FusedTargets(bags, CONFIG)
    assert len(targets) == 2 * len(frames)
    computed = {(frame.stamp_ns, frame.epoch): facts(frame) for frame in frames}
    for index in (0, 7, len(targets) // 2 - 1, len(targets) // 2, len(targets) - 1, -3):
        ref = targets.refs[index]
        frame = targets[index]
        assert facts(frame) == computed[ref.stamp_ns, ref.epoch]


def test_frames_are_put_together_and_sparse_voxels_are_not_padded(frames: list[FusedFrame]) -> None:
    some = frames[:3]
    batch = collate([some[0], None, *some[1:]])
    assert isinstance(batch, Batch)
    assert len(batch) == 3
    assert batch.stamp_ns.tolist() == [frame.stamp_ns for frame in some]
    assert torch.equal(batch.tensors['imu'], torch.stack([frame.tensors['imu'] for frame in some]))
    assert batch.valid['lidar'].tolist() == [True] * 3
    assert batch.age_ns['imu'].tolist() == [frame.age_ns['imu'] for frame in some]
    coords = batch.tensors['lidar.coords']
    for number, frame in enumerate(some):
        own = coords[:, 0] == number
        assert torch.equal(coords[own, 1:], frame.tensors['lidar.coords'])
        assert torch.equal(batch.tensors['lidar.features'][own], frame.tensors['lidar.features'])
        assert torch.equal(batch.tensors['lidar.counts'][own], frame.tensors['lidar.counts'])
    assert coords.dtype == torch.int32
    with pytest.raises(ValueError, match='none of 2 targets gave a frame'):
        collate([None, None])
    with pytest.raises(ValueError, match=r'front has several shapes, .*1, 12, 16.*3, 12, 16'):
        collate([frames[0], frames[-1]])


def test_a_network_learns_from_a_loader(bags: list[Path]) -> None:
    """Ten steps of a linear map from readings to readings."""
    torch.manual_seed(0)
    net = torch.nn.Linear(24, 6)
    optimizer = torch.optim.SGD(net.parameters(), 1e-3)
    readings = dataclasses.replace(CONFIG, cameras=())
    loader = DataLoader(FusedDataset(bags, readings, shuffle=True), batch_size=4, collate_fn=collate)
    losses = []
    for _, batch in zip(range(10), loader, strict=False):
        loss = (net(batch.tensors['imu'].flatten(1)) - batch.tensors['imu'][:, -1]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
