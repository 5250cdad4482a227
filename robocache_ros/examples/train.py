# SPDX-License-Identifier: Apache-2.0
"""Ten steps of a network on the frames of bags: as `export --format webdataset` wrote them, or computed on the way.

    python -m robocache_ros.examples.train --lidar lidar --vector imu --set DIR/webdataset
    python -m robocache_ros.examples.train --lidar lidar --vector imu --config preprocess.yaml BAG...

It learns the last reading of a vector or an IMU from the sparse voxels of a lidar: put your network in its place. A
frame in which either is not valid counts nothing. The same frames in the same order give the same losses both ways.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
import webdataset
from torch.utils.data import DataLoader

from robocache_core import payload
from robocache_core.config import PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_ros import parameters
from robocache_ros.dataset import Batch, FusedDataset, collate

_BATCH, _WIDTH = 4, 32


def batches_of_set(folder: Path, buffer: int) -> Iterable[Batch]:
    """The frames of a webdataset, each drawn from ``buffer`` of them, 0: in order; ValueError: it has no file."""
    urls = [str(path) for path in sorted(folder.glob('*.tar'))]
    if not urls:
        raise ValueError(f'{folder} has no .tar file: name the folder webdataset of an export')
    samples = webdataset.WebDataset(urls, shardshuffle=False).shuffle(buffer)
    found: Iterable[Batch] = samples.map(_frame_of).batched(_BATCH, collation_fn=collate)
    return found


def _frame_of(sample: Mapping[str, Any]) -> FusedFrame:
    return payload.decode(bytearray(sample['safetensors']))


def batches_of_bags(bags: Sequence[Path], config: PipelineConfig, buffer: int) -> Iterable[Batch]:
    """The frames of bags, each drawn from ``buffer`` of them, 0: in order."""
    dataset = FusedDataset(bags, config, shuffle=buffer > 0, buffer=buffer)
    return DataLoader(dataset, batch_size=_BATCH, collate_fn=collate)


class Network(torch.nn.Module):
    """A reading of ``vector`` from the voxels of ``lidar``."""

    def __init__(self, lidar: str, size: int) -> None:
        super().__init__()
        self._lidar = lidar
        self._voxel = torch.nn.LazyLinear(_WIDTH)
        self._head = torch.nn.Linear(_WIDTH, size)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return ``[B, size]``; the voxels of a frame, however many, become their greatest features."""
        features = torch.relu(self._voxel(batch.tensors[f'{self._lidar}.features']))
        frame = batch.tensors[f'{self._lidar}.coords'][:, :1].long().expand_as(features)
        scene = features.new_zeros(len(batch), _WIDTH).scatter_reduce(0, frame, features, 'amax')
        return self._head(scene)  # type: ignore[no-any-return]  # a module gives Any


def train(batches: Iterable[Batch], lidar: str, vector: str, steps: int = 10) -> list[float]:
    """Return the loss of each step; the frames are gone through as often as it takes. ValueError: there is none."""
    with closing(_endless(batches)) as stream:
        first = next(stream)
        torch.manual_seed(0)
        network = Network(lidar, first.tensors[vector].shape[-1])
        network(first)  # its first layer takes its width from the voxels
        return list(_steps(network, chain([first], islice(stream, steps - 1)), lidar, vector))


def _steps(network: Network, batches: Iterable[Batch], lidar: str, vector: str) -> Iterator[float]:
    """Yield the loss of a step on each batch."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for batch in batches:
        counts = (batch.valid[lidar] & batch.valid[vector]).float()
        error = (network(batch) - batch.tensors[vector][:, -1]).square().mean(dim=1)
        loss = (error * counts).sum() / counts.sum().clamp(min=1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def _endless(batches: Iterable[Batch]) -> Generator[Batch, None, None]:
    while True:
        is_empty = True
        for batch in batches:
            is_empty = False
            yield batch
        if is_empty:
            raise ValueError('no frame comes: `inspect BAG preprocess.yaml` says why')


def main(argv: list[str] | None = None) -> int:
    """Train, and print the loss of each step; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('bags', type=Path, metavar='BAG', nargs='*', help='rosbag2')
    parser.add_argument('--config', type=Path, metavar='YAML', help='parameter file, with bags')
    parser.add_argument('--set', type=Path, metavar='DIR', help='webdataset of an export, in place of bags')
    parser.add_argument('--lidar', required=True, help='a lidar or grid of sparse voxels')
    parser.add_argument('--vector', required=True, help='what is learned: a vector or an IMU')
    parser.add_argument('--buffer', type=int, default=64, help='frames to draw the next one from; 0: in order (64)')
    args = parser.parse_args(argv)
    if args.set is not None:
        batches = batches_of_set(args.set, args.buffer)
    elif args.bags and args.config is not None:
        config, _ = parameters.from_file(args.config)
        batches = batches_of_bags(args.bags, config, args.buffer)
    else:
        parser.error('give --set, or --config and bags')
    for step, loss in enumerate(train(batches, args.lidar, args.vector)):
        print(f'step {step}: loss {loss:.6f}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
