# SPDX-License-Identifier: Apache-2.0
"""What the tool ``export`` writes beside the frames as they are: parameters ``export.*``, which the node ignores."""

from __future__ import annotations

from dataclasses import dataclass

from robocache_core.tunable import Checked, ConfigError, tunable

#: Codecs that are not videos: each image by itself, without loss.
IMAGES = 'png'


@dataclass(frozen=True)
class LeRobotConfig(Checked):
    """Which streams become which features of a LeRobotDataset."""

    fps: int = tunable(
        0, 'frames a second; 0: sync.rate_hz, which must be a whole number; needed with a trigger', low=0, high=1000
    )
    state: tuple[str, ...] = tunable(
        (), 'vectors and IMUs whose last rows, one behind the other, make observation.state'
    )
    action: tuple[str, ...] = tunable((), 'vectors whose last rows make action')
    images: tuple[str, ...] = tunable(
        (), 'cameras of dtype uint8, and depth cameras, that give observation.images.<camera>'
    )
    grids: tuple[str, ...] = tunable(
        (), 'lidars, grids and depth cameras of dense voxels that give observation.grids.<name> [C, Z, Y, X]'
    )
    episode: str = tunable(
        '',
        'vector whose last row numbers episodes: a change ends one, and frames where it is 0 or not valid are of none; '
        'empty: a bag is an episode',
    )
    task: str = tunable('', 'what the robot does, in words, the task of every episode')
    robot_type: str = tunable('', 'what the robot is')
    on_gap: str = tunable(
        'split', 'where a target was dropped: split, the episode ends; or refuse to export', choices=('split', 'refuse')
    )
    codec: str = tunable(
        'av1',
        'of the videos, with loss; distances are in hevc without, as codes of 12 bits; png: each image by itself, '
        'without loss',
        choices=('av1', 'h264', 'hevc', IMAGES),
    )
    crf: int = tunable(30, 'quality of the videos; less is better, and takes more space', low=0, high=63)

    def check(self, prefix: str) -> None:
        for field in ('state', 'action', 'images', 'grids'):
            names = getattr(self, field)
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ConfigError(f'{prefix}{field} has {twice!r} twice')


@dataclass(frozen=True)
class ExportConfig:
    """By format, how it is written."""

    lerobot: LeRobotConfig = LeRobotConfig()
