# SPDX-License-Identifier: Apache-2.0
"""Torch datasets over bags: the frames that the node gives, computed in the processes of a loader.

``FusedDataset`` gives all frames once, in the order of the bags or shuffled; ``FusedTargets`` any one by its number::

    loader = DataLoader(FusedDataset(bags, config, shuffle=True), batch_size=8, num_workers=4, collate_fn=collate)

On a GPU (``compute.device``) frames are computed and stay there: with ``num_workers=0``, as tensors of a GPU are of one
process.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from robocache_core.config import PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_core.observer import Observer
from robocache_core.target import Target
from robocache_ros.bags import Bag, open_bag
from robocache_ros.even_parts import Part, brought_to, even_parts
from robocache_ros.offline import fused_frames, make_pipeline
from robocache_ros.shards import Shard, shards_of
from robocache_ros.sources import routes

_SPARSE = ('coords', 'features', 'counts')


class FusedDataset(IterableDataset[FusedFrame]):
    """All frames of some bags, over all ranks and workers together.

    Bags are cut into as many shards as there are workers on all ranks, or more, which are dealt out to them.
    ``sequence`` counts the frames of a shard. Without ``shuffle`` a worker gives its frames in their order. With it
    shards are dealt out in another order in every epoch, and frames are drawn from ``buffer`` of them; ``seed``, the
    epoch and the numbers of ranks and workers decide which.

    With one rank each frame comes once. With several, every worker of every rank gives as many frames as the others, so
    that no rank waits for one that has ended: as of torch's DistributedSampler some frames come twice, or, with
    ``drop_last``, a few of them not at all. Bags are then passed over once as the dataset is made, to find their
    targets; a worker that has a target of which no frame can be computed, as of a damaged image, repeats another frame.

    Args:
        bags: rosbag2s, one at least.
        config: of the pipeline.
        shuffle: whether the order is random.
        seed: of that order; the same on all ranks.
        buffer: frames that are held to draw from.
        drop_last: whether workers that have more frames than others leave out their last ones, rather than others
            repeat their first ones; with several ranks.
        rank, world_size: of this process; by default those of ``torch.distributed``, where it is initialised.

    Raises:
        BagError: a bag cannot be read.
        ValueError: there is no bag, or no such rank.
    """

    def __init__(
        self,
        bags: Sequence[Path],
        config: PipelineConfig,
        *,
        shuffle: bool = False,
        seed: int = 0,
        buffer: int = 64,
        drop_last: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        if not bags:
            raise ValueError('bags is empty: must name at least one bag')
        types = {route.type_name for route in routes(config)}
        self._bags = [open_bag(Path(bag), types) for bag in bags]
        self._config, self._shuffle, self._seed, self._buffer = config, shuffle, seed, buffer
        is_distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self._rank = (torch.distributed.get_rank() if is_distributed else 0) if rank is None else rank
        self._world_size = (
            (torch.distributed.get_world_size() if is_distributed else 1) if world_size is None else world_size
        )
        if not 0 <= self._rank < self._world_size:
            raise ValueError(f'rank = {self._rank}: must be from 0 to {self._world_size - 1}, below world_size')
        self._drop_last = drop_last
        #: Of each bag, when its targets became ready, where ranks must get as many frames as others.
        self._recorded_ns = [
            (bag.path, [ref.recorded_ns for ref in _targets_of(bag.path, config)])
            for bag in (self._bags if self._world_size > 1 else ())
        ]
        #: In memory that workers which persist share.
        self._shared_epoch = torch.zeros((), dtype=torch.int64)
        self._shared_epoch.share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration; call before it on all ranks, as of a DistributedSampler."""
        self._shared_epoch.fill_(epoch)

    @property
    def _epoch(self) -> int:
        return int(self._shared_epoch)

    def __iter__(self) -> Iterator[FusedFrame]:
        worker = get_worker_info()
        number, count = (0, 1) if worker is None else (worker.id, worker.num_workers)
        own, all_ = self._rank * count + number, self._world_size * count
        parts = self._parts(all_)
        if self._shuffle:
            random.Random(f'{self._seed} {self._epoch}').shuffle(parts)
        frames = self._frames(parts[own::all_])
        if self._world_size > 1:
            sizes = [sum(part.num_targets for part in parts[at::all_]) for at in range(all_)]
            length = min(sizes) if self._drop_last else max(sizes)
            frames = brought_to(length, frames, self._frames(parts), length - sizes[own])
        return self._drawn(frames, random.Random(f'{self._seed} {self._epoch} {own}')) if self._shuffle else frames

    def _parts(self, at_least: int) -> list[Part]:
        """Parts of all bags, ``at_least`` so many; with one rank, where sizes do not matter, they say none."""
        if self._world_size > 1:
            return even_parts(self._recorded_ns, at_least * -(-len(self._bags) // at_least))
        per_bag = -(-at_least // len(self._bags))
        return [Part((shard,), 0) for bag in self._bags for shard in shards_of(bag, per_bag)]

    def _frames(self, parts: Sequence[Part]) -> Iterator[FusedFrame]:
        return (frame for part in parts for shard in part.shards for frame in shard.frames(self._config))

    def _drawn(self, frames: Iterator[FusedFrame], order: random.Random) -> Iterator[FusedFrame]:
        held: list[FusedFrame] = []
        for frame in frames:
            held.append(frame)
            if len(held) > self._buffer:
                yield _draw(held, order)
        while held:
            yield _draw(held, order)


def _draw(held: list[FusedFrame], order: random.Random) -> FusedFrame:
    at = order.randrange(len(held))
    held[at], held[-1] = held[-1], held[at]
    return held.pop()


@dataclass(frozen=True)
class TargetRef:
    """A target of a bag: its stamp and epoch, and when the message was recorded with which it became ready, ns."""

    bag: Path
    stamp_ns: int
    epoch: int
    recorded_ns: int


class FusedTargets(Dataset[FusedFrame | None]):
    """The targets of some bags, by number: ``targets[i]`` is the frame of ``targets.refs[i]``.

    It is None where no frame could be computed, as of a damaged image, which only shows then; ``collate`` leaves that
    out. Its ``sequence`` is 0: how many frames there are before it is unknown. All of a bag up to the target is aligned
    for each, without computing anything: to train on frames in any order, export them.

    Args:
        bags: rosbag2s; they are passed over once, to find the targets.
        config: of the pipeline.

    Raises:
        BagError: a bag cannot be read.
    """

    def __init__(self, bags: Sequence[Path], config: PipelineConfig) -> None:
        self._config = config
        self.refs = [ref for bag in bags for ref in _targets_of(Path(bag), config)]

    def __len__(self) -> int:
        return len(self.refs)

    def __getitem__(self, index: int) -> FusedFrame | None:
        ref = self.refs[index]
        shard = Shard(ref.bag, ref.recorded_ns, ref.recorded_ns + 1)
        with shard.frames(self._config) as frames:
            return next((frame for frame in frames if (frame.stamp_ns, frame.epoch) == (ref.stamp_ns, ref.epoch)), None)


class _Ready(Observer):
    """Takes note of the targets that become ready, without those of which it is known that no frame comes."""

    def __init__(self) -> None:
        self.targets: list[tuple[int, int]] = []

    def ready(self, target: Target) -> None:
        self.targets.append((target.stamp_ns, target.epoch))

    def dropped(self, stamp_ns: int, reason: str) -> None:
        self.targets = [target for target in self.targets if target[0] != stamp_ns]


def _targets_of(path: Path, config: PipelineConfig) -> list[TargetRef]:
    refs: list[TargetRef] = []
    observer = _Ready()
    pipeline = make_pipeline(config, observer)
    recorded_ns = 0

    def take() -> None:
        refs.extend(TargetRef(path, *target, recorded_ns) for target in observer.targets)
        observer.targets.clear()

    def messages(bag: Bag, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        nonlocal recorded_ns
        for message in bag.messages(topics):
            take()
            recorded_ns = max(recorded_ns, message[1])
            yield message

    with fused_frames(path, config, pipeline, messages, start_ns=1 << 62) as frames:
        assert list(frames) == []
    take()
    return refs


@dataclass(frozen=True)
class Batch:
    """B frames, put together by ``collate``.

    Attributes:
        tensors: by name, stacked ``[B, ...]``; of sparse voxels those of all frames one behind the other, ``coords
            [V, 4] int32 (frame, z, y, x)``, ``features [V, C]``, ``counts [V]``.
        stamp_ns: ``[B] int64``; likewise ``epoch``, ``sequence``.
        valid: by stream, ``[B] bool``.
        age_ns: by stream, ``[B] int64``; 0 where the stream had nothing, and is not valid.
    """

    tensors: dict[str, torch.Tensor]
    stamp_ns: torch.Tensor
    epoch: torch.Tensor
    sequence: torch.Tensor
    valid: dict[str, torch.Tensor]
    age_ns: dict[str, torch.Tensor]

    def __len__(self) -> int:
        return len(self.stamp_ns)


def collate(frames: Sequence[FusedFrame | None]) -> Batch:
    """Put frames together, without those that are None.

    Raises:
        ValueError: all are None, or a tensor has several shapes, as of a camera that sends grey and coloured images.
    """
    found = [frame for frame in frames if frame is not None]
    if not found:
        raise ValueError(f'none of {len(frames)} targets gave a frame')
    names = found[0].tensors
    return Batch(
        {name: _joined(name, [frame.tensors[name] for frame in found], names) for name in names},
        torch.tensor([frame.stamp_ns for frame in found]),
        torch.tensor([frame.epoch for frame in found]),
        torch.tensor([frame.sequence for frame in found]),
        {name: torch.tensor([frame.valid[name] for frame in found]) for name in found[0].valid},
        {name: torch.tensor([frame.age_ns.get(name, 0) for frame in found]) for name in found[0].valid},
    )


def _joined(name: str, tensors: Sequence[torch.Tensor], names: Mapping[str, torch.Tensor]) -> torch.Tensor:
    stream, _, part = name.rpartition('.')
    if part not in _SPARSE or not all(f'{stream}.{other}' in names for other in _SPARSE):
        shapes = {tuple(tensor.shape) for tensor in tensors}
        if len(shapes) > 1:
            raise ValueError(f'{name} has several shapes, which cannot be put together: {sorted(shapes)}')
        return torch.stack(list(tensors))
    if part == 'coords':
        tensors = [torch.nn.functional.pad(coords, (1, 0), value=frame) for frame, coords in enumerate(tensors)]
    return torch.cat(list(tensors))
