# SPDX-License-Identifier: Apache-2.0
"""Transforms that tf2 would take by order of arrival, or for the latest: one rule, in the node as from a bag."""

from __future__ import annotations

import dataclasses
import logging
from contextlib import ExitStack
from pathlib import Path

import pytest
from geometry_msgs.msg import TransformStamped
from support import bags, tf2_stand_in
from support.runtime import BOX, START_NS, Lines, SetClock, cloud, make

from robocache_core.config import LidarConfig, PipelineConfig
from robocache_core.units import MS, SECOND
from robocache_ros.event_log import EventLog
from robocache_ros.offline import fused_frames
from robocache_ros.poses import TfPoses, streams_to_locate

LIDAR = LidarConfig('lidar', topic='/lidar', voxel=dataclasses.replace(BOX, channels=('count', 'mean:x')))
CONFIG = PipelineConfig(lidars=(LIDAR,), target_frame='base_link')
UPRIGHT = (0.0, 0.0, 0.0, 1.0)
SCANS_MS = range(50, 1000, 100)


def stamped(edge, stamp_ns):
    parent, child, translation, quaternion = edge
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, SECOND)
    t, q = message.transform.translation, message.transform.rotation
    (t.x, t.y, t.z), (q.x, q.y, q.z, q.w) = translation, quaternion
    return message


def edge(x):
    return 'base_link', 'lidar', (x, 0.0, 0.0), UPRIGHT


def run_live(monkeypatch, transforms, config=CONFIG):
    """Transforms are ``(ms, is static, edge, stamp ns)``; a scan comes before those of its instant."""
    tf2_stand_in.install(monkeypatch)
    lines = Lines()
    with ExitStack() as undo:
        bench = make(
            config, lambda pipeline: TfPoses(object(), EventLog(lines, SetClock()), streams_to_locate(pipeline), undo)
        )
        buffer = tf2_stand_in.Listener.buffers[-1]
        scans = [(ms + 40, None, ms, 0) for ms in SCANS_MS]
        for _, is_static, what, stamp_ns in sorted([*transforms, *scans], key=lambda each: each[0]):
            if is_static is None:
                bench.put('lidar', cloud(what))
                bench.work()
            else:
                fill = buffer.set_transform_static if is_static else buffer.set_transform
                fill(stamped(what, stamp_ns), 'test')
        bench.clock.advance(2.0)
        bench.work()
    return bench, lines.of('warning')


def run_offline(path, transforms, config=CONFIG):
    messages = [(ms + 40, '/lidar', bags.cloud(ms)) for ms in SCANS_MS]
    for ms, is_static, what, stamp_ns in transforms:
        message = bags.transforms(what)
        stamp = message.transforms[0].header.stamp
        message.transforms[0].header.stamp = dataclasses.replace(
            stamp, sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND
        )
        messages.append((ms, '/tf_static' if is_static else '/tf', message))
    frames = fused_frames(bags.write(path, messages), config)
    return list(frames), frames


def moving(first_ms=0):
    return [(ms, False, edge(ms / 1000), START_NS + ms * MS) for ms in range(first_ms, 1000, 20)]


STATIC = edge(3.0)
BOTH = "a transform from 'base_link' to 'lidar' on /tf is ignored: /tf_static has that frame, too, and holds"


@pytest.mark.parametrize('static_ms', [-2, 30], ids=['static first', 'static later'])
def test_of_a_frame_on_both_topics_the_static_transform_holds(static_ms, monkeypatch, tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.WARNING)
    transforms = [*moving(), (static_ms, True, STATIC, START_NS)]
    bench, warnings = run_live(monkeypatch, transforms)
    frames, _ = run_offline(tmp_path / 'bag', transforms)
    assert len(frames) == len(bench.frames) == len(SCANS_MS)
    for frame in (*bench.frames, *frames):
        assert frame.tensors['lidar.coords'].tolist()[0][2] == 8 + 4  # the point at 1 m, 3 m ahead
    (said,) = warnings
    assert said.startswith(BOTH)
    assert BOTH in caplog.text


def test_a_static_transform_that_tf2_ignores_does_not_hold(monkeypatch, tmp_path: Path) -> None:
    broken = 'base_link', 'lidar', (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.5)
    transforms = [(-2, True, broken, START_NS), *moving()]
    bench, warnings = run_live(monkeypatch, transforms)
    frames, _ = run_offline(tmp_path / 'bag', transforms)
    assert len(frames) == len(bench.frames) == len(SCANS_MS)
    assert warnings == []


def test_transforms_without_a_stamp_are_ignored(monkeypatch, tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.WARNING)
    transforms = [(ms, False, edge(1.0), 0) for ms in range(0, 1000, 20)]
    bench, (said,) = run_live(monkeypatch, transforms)
    frames, offline = run_offline(tmp_path / 'bag', transforms)
    assert frames == bench.frames == []
    live = bench.runtime.pipeline.ledger['lidar'].counts().dropped
    assert live == offline.counts['lidar'].dropped == {'no_transform': len(SCANS_MS)}
    assert said == "a transform from 'base_link' to 'lidar' on /tf is ignored: its stamp is not set"
    assert said in caplog.text


@pytest.mark.parametrize('at_ns', [0, -1], ids=['at 0', 'before 1970'])
def test_no_stamp_means_the_latest(at_ns, monkeypatch, tmp_path: Path) -> None:
    """A ``stamp_offset`` takes the first scan to 0, which to tf2 is the latest, or to what is no time of ROS at all."""
    offset_ns = at_ns - (START_NS + SCANS_MS[0] * MS)
    config = dataclasses.replace(CONFIG, lidars=(dataclasses.replace(LIDAR, stamp_offset_ns=offset_ns),))
    bench, _ = run_live(monkeypatch, moving(), config)
    _, offline = run_offline(tmp_path / 'bag', moving(), config)
    live = bench.runtime.pipeline.ledger['lidar'].counts().dropped
    assert live == offline.counts['lidar'].dropped == {'no_transform': len(SCANS_MS)}
