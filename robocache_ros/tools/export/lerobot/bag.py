# SPDX-License-Identifier: Apache-2.0
"""The episodes of one bag, written to tables and videos of their own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robocache_core.frame import FusedFrame
from robocache_ros.export_config import LeRobotConfig
from robocache_ros.tools.export.lerobot import stats
from robocache_ros.tools.export.lerobot.data_file import DataFile, numbered, place_of
from robocache_ros.tools.export.lerobot.episodes import End, Number, end_between, end_of, number_in
from robocache_ros.tools.export.lerobot.features import INDICES, Feature, values_of
from robocache_ros.tools.export.lerobot.limits import DATA_MB, MOST_HELD, VIDEO_MB
from robocache_ros.tools.export.lerobot.pictures import encoding_of, levels_of, values_of_levels
from robocache_ros.tools.export.lerobot.video import VideoFile
from robocache_ros.tools.export.writer import BagWriter, ExportError, Part, State

Array = npt.NDArray[Any]


class LeRobotBag(BagWriter):
    """Writes the frames of a bag as episodes.

    Args:
        folder: of the set.
        part: the bag, and what was noted of those before it.
        features: of a frame, without the indices.
        fps: nominal frames a second.
        wanted: how they are written.
        is_grid: whether targets are on the grid of a fixed rate.
    """

    def __init__(
        self, folder: Path, part: Part, features: Sequence[Feature], fps: int, wanted: LeRobotConfig, *, is_grid: bool
    ) -> None:
        self._folder, self._part, self._features = folder, part, features
        self._fps, self._wanted, self._is_grid = fps, wanted, is_grid
        last: State = part.before[-1] if part.before else {'index': 0, 'num_episodes': 0, 'files': 0}
        self._index, self._num_episodes, self._files = last['index'], last['num_episodes'], last['files']
        self._images = [feature for feature in features if feature.is_image]
        self._numbers = [f for f in (*features, *INDICES) if not f.is_image and len(f.shape) == 1]
        self._levels = {feature.name: values_of_levels(feature) for feature in self._images}
        self._pixels = {f.name: np.zeros((f.shape[2], len(self._levels[f.name])), np.int64) for f in self._images}
        self._episodes: list[dict[str, Any]] = []
        self._ended: list[dict[str, Any]] = []
        self._data: DataFile | None = None
        self._videos: dict[str, VideoFile] = {}
        self._before: FusedFrame | None = None
        self._number: Number = ()
        self._left_out = 0
        self._begin()

    def _begin(self) -> None:
        """Begin an episode."""
        self._first_ns = 0
        self._length = 0
        self._held: dict[str, list[Array]] = {}
        self._held_nbytes = 0
        self._kept: dict[str, list[Array]] = {feature.name: [] for feature in self._numbers}
        self._episode_pixels = {name: np.zeros_like(counts) for name, counts in self._pixels.items()}

    def add(self, frame: FusedFrame) -> None:
        number = number_in(frame, self._wanted.episode)
        if self._before is not None:
            end = end_of(self._number, number, self._wanted.episode) or end_between(
                self._before, frame, self._length, self._fps, self._is_grid
            )
            if end is not None:
                self._check(end, self._before)
                self._end(end.why)
        if number is None:
            self._before = None
            self._left_out += 1
            return
        self._number = number
        if self._length == 0:
            self._first_ns = frame.stamp_ns
        self._open()
        self._take(values_of(self._features, frame) | self._indices())
        self._before = frame
        self._length += 1
        self._index += 1

    def _check(self, end: End, before: FusedFrame) -> None:
        if end.is_gap and self._wanted.on_gap == 'refuse':
            where = f'{self._part.name}: behind frame {before.sequence}, at {before.stamp_ns} ns, is a gap'
            raise ExportError(f'{where}: {end.why}; export.lerobot.on_gap: split ends the episode there')

    def _indices(self) -> dict[str, Array]:
        numbers = (self._length, self._num_episodes, self._index, 0)
        whole = {f.name: np.array([number], np.int64) for f, number in zip(INDICES[1:], numbers, strict=True)}
        # Divided in double and rounded once: never a sum of periods.
        return {'timestamp': np.array([self._length / self._fps], np.float32), **whole}

    def _take(self, values: dict[str, Array]) -> None:
        for feature in self._images:
            name = feature.name
            levels = levels_of(feature, values[name])
            self._episode_pixels[name] += stats.histogram(levels, len(self._levels[name]))
            if name in self._videos:
                self._videos[name].add(levels)
                values.pop(name)
        for name, kept in self._kept.items():
            kept.append(values[name])
        for name, value in values.items():
            self._held.setdefault(name, []).append(value)
            self._held_nbytes += value.nbytes
        if self._held_nbytes > MOST_HELD:
            self._flush()

    def _flush(self) -> None:
        if self._held and self._data is not None:
            self._data.write(self._held)
        self._held, self._held_nbytes = {}, 0

    def _open(self) -> None:
        """Open the next files, where none are open."""
        if self._data is not None:
            return
        self._data = DataFile(self._folder / 'data' / f'{place_of(self._files)}.parquet', (*self._features, *INDICES))
        for feature in self._images:
            if feature.dtype == 'video':
                path = self._folder / 'videos' / feature.name / f'{place_of(self._files)}.mp4'
                height, width, _ = feature.shape
                encoding = encoding_of(feature, self._wanted)
                self._videos[feature.name] = VideoFile(path, width, height, self._fps, encoding)

    def _end(self, why: str) -> None:
        """End the episode, and the files where they are large."""
        assert self._before is not None
        assert self._data is not None
        self._flush()
        numbers = {name: np.stack(kept) for name, kept in self._kept.items()}
        found = {name: stats.of_numbers(values) for name, values in numbers.items()}
        for name, counts in self._episode_pixels.items():
            found[name] = stats.of_pixels(counts, self._levels[name], self._length)
        self._episodes.append({
            'episode_index': self._num_episodes,
            'tasks': [self._wanted.task],
            'length': self._length,
            **{f'data/{key}': value for key, value in numbered(self._files).items()},
            'dataset_from_index': self._index - self._length,
            'dataset_to_index': self._index,
            **self._in_videos(),
            **{f'meta/episodes/{key}': value for key, value in numbered(0).items()},
            **{f'stats/{name}/{key}': value for name, each in found.items() for key, value in each.items()},
        })  # fmt: skip
        self._ended.append({
            'episode_index': self._num_episodes,
            'bag': self._part.name,
            'epoch': self._before.epoch,
            'first_stamp_ns': self._first_ns,
            'last_stamp_ns': self._before.stamp_ns,
            'ended_because': why,
        })  # fmt: skip
        for name, counts in self._episode_pixels.items():
            self._pixels[name] += counts
        self._num_episodes += 1
        self._begin()
        if self._data.nbytes > DATA_MB << 20 or any(video.nbytes > VIDEO_MB << 20 for video in self._videos.values()):
            self._close_files()

    def _in_videos(self) -> dict[str, Any]:
        """Where the episode is in the videos, s: from whole numbers of frames."""
        found: dict[str, Any] = {}
        for name, video in self._videos.items():
            found |= {f'videos/{name}/{key}': value for key, value in numbered(self._files).items()}
            found[f'videos/{name}/from_timestamp'] = (video.length - self._length) / self._fps
            found[f'videos/{name}/to_timestamp'] = video.length / self._fps
        return found

    def _close_files(self) -> None:
        if self._data is None:
            return
        self._data.close()
        for video in self._videos.values():
            video.close()
        self._data, self._videos = None, {}
        self._files += 1

    def close(self) -> State:
        if self._before is not None:
            self._end('its bag ends')
        self._close_files()
        return {
            'index': self._index,
            'num_episodes': self._num_episodes,
            'files': self._files,
            'episodes': self._episodes,
            'ended': self._ended,
            'left_out': self._left_out,
            'pixels': {name: counts.tolist() for name, counts in self._pixels.items()},
            'images': sum(episode['length'] for episode in self._episodes),
        }

    def abort(self) -> None:
        with suppress(OSError):  # what is left may not fit on the disk either
            self._close_files()
