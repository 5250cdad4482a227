# SPDX-License-Identifier: Apache-2.0
"""LeRobot sets of a simulated robot, and what must be read of them; ``python lerobot_set.py FOLDER`` writes some."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from robocache_core.config import (
    CameraConfig,
    DepthConfig,
    ImuConfig,
    LidarConfig,
    PipelineConfig,
    SyncConfig,
    VoxelConfig,
)
from robocache_core.frame import FusedFrame
from robocache_core.units import MS
from robocache_ros.export_config import ExportConfig, LeRobotConfig
from robocache_ros.offline import fused_frames
from robocache_ros.parameters import NodeConfig
from robocache_ros.tools.export import run
from robocache_ros.tools.export.lerobot.features import INDICES, features_of, values_of
from robocache_ros.tools.export.lerobot.writer import LeRobotWriter
from robocache_ros.tools.export.writer import Part
from robocache_ros.tools.simulate import main as simulate


def pipeline(rate_hz: float = 10.0) -> PipelineConfig:
    image = {'width': 96, 'height': 64, 'dtype': 'uint8'}
    box = VoxelConfig((4.0, 4.0, 4.0), (-16.0, -16.0, -4.0), (16.0, 16.0, 4.0), ('count',), 'dense')
    return PipelineConfig(
        lidars=(LidarConfig('lidar', topic='/lidar/points', voxel=box),),
        cameras=tuple(
            CameraConfig(name, topic=f'/camera/{name}/image_raw/compressed', **image) for name in ('front', 'rear')
        ),
        depths=(DepthConfig('depth', topic='/camera/front_depth/image_rect_raw', width=95, height=63, max_depth=6.0),),
        imus=(ImuConfig('imu', topic='/imu/data', window_size=4, window_period_ns=5 * MS),),
        target_frame='base_link',
        sync=SyncConfig(rate_hz=rate_hz),
    )


def node(**fields: object) -> NodeConfig:
    wanted = {'state': ('imu',), 'images': ('front', 'rear', 'depth'), 'grids': ('lidar',), 'task': 'drive', **fields}
    return NodeConfig(export=ExportConfig(LeRobotConfig(**wanted)))


def expected(bags: list[Path], config: PipelineConfig, wanted: NodeConfig) -> dict[str, np.ndarray]:
    """Of each feature, its values in all frames, where each bag is an episode."""
    features = features_of(config, wanted.export.lerobot)
    rows = []
    for episode, bag in enumerate(bags):
        for number, frame in enumerate(fused_frames(bag, config)):
            counts = [number, episode, len(rows), 0]
            indices = {feature.name: np.array([count]) for feature, count in zip(INDICES[1:], counts, strict=True)}
            time = {'timestamp': np.array([number / 10], np.float32)}
            rows.append(values_of(features, frame) | indices | time)
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def write_long(folder: Path) -> dict[str, np.ndarray]:
    """Write 20 minutes of small images to ``folder/lerobot``, and return what must be read: two episodes."""
    config = PipelineConfig(
        cameras=(CameraConfig('front', width=64, height=64, dtype='uint8'),), sync=SyncConfig(rate_hz=30.0)
    )
    wanted = NodeConfig(export=ExportConfig(LeRobotConfig(images=('front',), codec='h264', crf=18)))
    writer = LeRobotWriter(folder / 'lerobot', config, wanted)
    bag, rows = writer.begin(Part(0, 'long', ())), []
    features = features_of(config, wanted.export.lerobot)
    for index in range(1200 * 30):
        image = torch.full((3, 64, 64), index * 7 % 256, dtype=torch.uint8)
        frame = FusedFrame(10**18 + index * 10**9 // 30, 0, index, '', {'front': image}, {'front': True}, {'front': 0})
        bag.add(frame)
        episode, number = divmod(index, 30_000)
        counts = zip(INDICES[1:], (number, episode, index, 0), strict=True)
        indices = {feature.name: np.array([count]) for feature, count in counts}
        time = {'timestamp': np.array([number / 30], np.float32)}
        rows.append(values_of(features, frame) | indices | time)
    writer.finish([bag.close()], {})
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def main(folder: str) -> None:
    """Write two bags, a set of them in each codec, and what is expected of it."""
    root = Path(folder)
    bags = [root / 'first', root / 'second']
    for seed, bag in enumerate(bags):
        if not bag.exists():
            assert (
                simulate([str(bag), '--seconds', '3', '--seed', str(seed), '--lidar-rings', '8', '--depth', 'raw']) == 0
            )
    for codec in ('av1', 'h264', 'hevc', 'png'):
        wanted = node(codec=codec, crf=18)
        configuration = run.Configuration(pipeline(), wanted, repr(wanted))
        run.export(bags, configuration, root / codec, ('lerobot',))
        np.savez(root / f'{codec}.npz', **expected(bags, pipeline(), wanted))
    np.savez(root / 'long.npz', **write_long(root / 'long'))


if __name__ == '__main__':
    main(sys.argv[1])
