# SPDX-License-Identifier: Apache-2.0
"""Writes a LeRobotDataset v3.0: tables of frames, videos, and what is said of features, episodes and tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robocache_core.config import PipelineConfig
from robocache_ros.export_config import LeRobotConfig
from robocache_ros.parameters import NodeConfig
from robocache_ros.tools.export.lerobot import stats
from robocache_ros.tools.export.lerobot.bag import LeRobotBag
from robocache_ros.tools.export.lerobot.data_file import PLACE, place_of, read_column, write_table, write_tasks
from robocache_ros.tools.export.lerobot.depth import DEPTH_INFO
from robocache_ros.tools.export.lerobot.features import INDICES, Feature, check_episodes, features_of
from robocache_ros.tools.export.lerobot.limits import DATA_MB, FILES_IN_CHUNK, VIDEO_MB
from robocache_ros.tools.export.lerobot.pictures import encoding_of, values_of_levels
from robocache_ros.tools.export.lerobot.video import check_encoder, video_info
from robocache_ros.tools.export.writer import BagWriter, NoFrameError, Part, SetWriter, State, UnusableError

_VERSION = 'v3.0'


class LeRobotWriter(SetWriter):
    """Writes the set; each bag begins files of its own."""

    def __init__(self, folder: Path, config: PipelineConfig, node: NodeConfig) -> None:
        self._wanted: LeRobotConfig = node.export.lerobot
        self._features = features_of(config, self._wanted)
        check_episodes(config, self._wanted)
        self._fps = _fps(config, self._wanted)
        for feature in self._features:
            if feature.dtype == 'video':
                height, width, _ = feature.shape
                check_encoder(feature.streams[0].name, width, height, self._fps, encoding_of(feature, self._wanted))
        super().__init__(folder, config, node)

    def begin(self, part: Part) -> BagWriter:
        return LeRobotBag(self.folder, part, self._features, self._fps, self._wanted, is_grid=not self.config.trigger)

    def finish(self, states: Sequence[State], manifest: Mapping[str, Any]) -> None:
        meta = self.folder / 'meta'
        episodes = [episode for state in states for episode in state['episodes']]
        if not episodes:
            raise NoFrameError(f'no frame is of an episode: {self._wanted.episode} is 0 or not valid in all of them')
        write_table(meta / 'episodes' / f'{place_of(0)}.parquet', episodes)
        write_tasks(meta / 'tasks.parquet', [self._wanted.task])
        _write_json(meta / 'stats.json', self._stats(states))
        _write_json(meta / 'info.json', self._info(episodes))
        ended = [row for state in states for row in state['ended']]
        _write_json(
            meta / 'robocache.json',
            {**manifest, 'episodes': ended, 'left_out': [state['left_out'] for state in states]},
        )

    def _info(self, episodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        has_videos = any(feature.dtype == 'video' for feature in self._features)
        return {
            'codebase_version': _VERSION,
            'fps': self._fps,
            'features': {feature.name: self._described(feature) for feature in (*self._features, *INDICES)},
            'total_episodes': len(episodes),
            'total_frames': sum(episode['length'] for episode in episodes),
            'total_tasks': 1,
            'chunks_size': FILES_IN_CHUNK,
            'data_files_size_in_mb': DATA_MB,
            'video_files_size_in_mb': VIDEO_MB,
            'data_path': f'data/{PLACE}.parquet',
            'video_path': f'videos/{{video_key}}/{PLACE}.mp4' if has_videos else None,
            'robot_type': self._wanted.robot_type or None,
            'splits': {'train': f'0:{len(episodes)}'},
        }

    def _described(self, feature: Feature) -> dict[str, Any]:
        if feature.dtype == 'video':
            height, width, _ = feature.shape
            return feature.described(info=video_info(width, height, self._fps, encoding_of(feature, self._wanted)))
        return feature.described(info=DEPTH_INFO) if feature.is_depth else feature.described()

    def _stats(self, states: Sequence[State]) -> dict[str, Any]:
        """Those of all frames; grids have none, which would be as large as they are."""
        found = {}
        for feature in (*self._features, *INDICES):
            if feature.is_image:
                counts = np.sum([state['pixels'][feature.name] for state in states], axis=0)
                num_images = sum(state['images'] for state in states)
                found[feature.name] = stats.of_pixels(counts, values_of_levels(feature), num_images)
            elif len(feature.shape) == 1:
                column = read_column(self.folder / 'data', feature.name)
                found[feature.name] = stats.of_numbers(column.reshape(-1, *feature.shape))
        return found


def _fps(config: PipelineConfig, wanted: LeRobotConfig) -> int:
    rate_hz = config.sync.rate_hz
    if rate_hz != int(rate_hz):
        raise UnusableError(f'export.lerobot.fps is a whole number: sync.rate_hz = {rate_hz:g} Hz must be one too')
    if wanted.fps and rate_hz and wanted.fps != rate_hz:
        raise UnusableError(f'export.lerobot.fps = {wanted.fps}: must be 0, or sync.rate_hz = {rate_hz:g} Hz')
    if not wanted.fps and not rate_hz:
        why = f'nominal frames a second, as the trigger {config.trigger} has none'
        raise UnusableError(f'export.lerobot.fps must be set to a whole number, {why}')
    return wanted.fps or int(rate_hz)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=4) + '\n', encoding='utf-8')
