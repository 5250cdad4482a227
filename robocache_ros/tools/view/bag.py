# SPDX-License-Identifier: Apache-2.0
"""The frames of a bag, with what the pipeline says of them meanwhile."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

from robocache_core.config import PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_core.pipeline import Pipeline
from robocache_core.streams.placed_cloud import PlacedCloud
from robocache_core.text import printable
from robocache_ros import parameters
from robocache_ros.bag_types import types_in
from robocache_ros.bags import Bag, open_bag
from robocache_ros.offline import counts_of, fused_frames, make_pipeline
from robocache_ros.tools.config_from_bag import TYPES, config_from_bag
from robocache_ros.tools.configuration import absent_topics, expected_types, read_config
from robocache_ros.tools.overlays import overlay
from robocache_ros.tools.progress import ProgressBar
from robocache_ros.tools.scan_points import ScanPoints
from robocache_ros.tools.view.scene import Scene

Totals = Mapping[str, Mapping[str, int]]


class _Notes(NamedTuple):
    """What the pipeline had dropped when it had computed a frame, by stream and reason."""

    points: Totals
    messages: Totals


class _Observer(ScanPoints):
    """Notes what was dropped by the time of each frame: several are computed before the first of them is seen."""

    pipeline: Pipeline

    def __init__(self, config: PipelineConfig) -> None:
        super().__init__(config.lidars)
        self._notes: dict[int, _Notes] = {}

    def used(self, frame: FusedFrame, scans: Mapping[str, PlacedCloud]) -> None:
        super().used(frame, scans)
        self._notes[frame.sequence] = self.now()

    def now(self) -> _Notes:
        """What was dropped until now."""
        messages = {name: dict(counts.dropped) for name, counts in counts_of(self.pipeline).items()}
        return _Notes(dict(self.pipeline.points_dropped), messages)

    def notes(self, frame: FusedFrame) -> _Notes:
        """What was dropped until a frame, once."""
        return self._notes.pop(frame.sequence)


def show(args: argparse.Namespace, open_scene: Callable[[PipelineConfig], Scene]) -> int:
    """Show the frames of a bag; returns how many there were.

    Raises:
        BagError, ConfigError: the bag or the configuration cannot be used.
    """
    bag, config = _opened(args)
    scene, observer = open_scene(config), _Observer(config)
    pipeline = observer.pipeline = make_pipeline(config, observer, on_host=True)
    bar, num_frames, last_ns = ProgressBar(bag.duration_s), 0, bag.end_ns
    try:
        with fused_frames(bag.path, config, pipeline, views=True) as frames:
            for frame in frames:
                assert frames.poses is not None
                notes, points = observer.notes(frame), observer.take(frame)
                scene.dropped(frame.stamp_ns, notes.points, notes.messages)
                scene.frame(frame)
                scene.points(frame, points)
                for camera in config.cameras:
                    scene.camera(frame, camera, frames.poses)
                    scene.overlay(frame, camera, overlay(frame, camera, points, frames.poses))
                for depth in config.depths:
                    scene.camera(frame, depth, frames.poses)
                num_frames, last_ns = num_frames + 1, frame.stamp_ns
                bar.show((frame.stamp_ns - bag.start_ns) / 1e9, f'{num_frames} frames')
            scene.dropped(last_ns, *observer.now())
            scene.blocker(last_ns, '\n'.join(frames.warnings))
    finally:
        bar.close()
    return num_frames


def _opened(args: argparse.Namespace) -> tuple[Bag, PipelineConfig]:
    if args.config is None:
        bag = open_bag(args.bag, TYPES)
        made = config_from_bag(bag, types_in(bag))
        for note in made.notes:
            print(f'note: {printable(note)}', file=sys.stderr)
        return bag, parameters.from_dict(made.parameters)[0]
    config = read_config(args.config, lambda line: print(f'warning: {line}', file=sys.stderr)).pipeline
    types = expected_types(config)
    bag = open_bag(args.bag, types.values())
    absent_topics(bag, types)
    return bag, config
