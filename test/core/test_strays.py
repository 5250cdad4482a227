# SPDX-License-Identifier: Apache-2.0
"""A stamp far from those before it: of a stream that is alone, and of one that is the last of a run."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.driving import IMU, T0, Robot, assert_ledger, image, lidar

from robocache_core.config import CameraConfig, PipelineConfig, SyncConfig
from robocache_core.pipeline import Pipeline
from robocache_core.samples import CloudLayout, LidarScan, VectorSample
from robocache_core.units import MS


def scan(stamp_ns: int) -> LidarScan:
    data = torch.tensor((1.5, 1.5, 1.5)).view(torch.uint8)
    return LidarScan(stamp_ns, 'lidar', data, CloudLayout.packed(('x', 'y', 'z'), 1))


def reading(stamp_ns: int) -> VectorSample:
    return VectorSample(stamp_ns, 'imu', torch.zeros(6))


ROBOT = Robot(lidar=scan, front=image, rear=image, imu=reading)
FRONT, REAR = (CameraConfig(name, width=4, height=2, required=False) for name in ('front', 'rear'))
RATE = SyncConfig(rate_hz=10.0)
#: Pipelines of one stream, and the time between its samples, ms.
ALONE = {
    'lidar': (PipelineConfig(lidars=(lidar(),)), 100),
    'front': (PipelineConfig(cameras=(FRONT,)), 67),
    'front at a rate': (PipelineConfig(cameras=(FRONT,), sync=RATE), 67),
    'imu': (PipelineConfig(imus=(IMU,), sync=RATE), 10),
}
FAR = st.sampled_from((1_500, 37_000, 1_000_000))


def run(config: PipelineConfig, events: list[tuple[str, int]], *, ends: bool = False) -> tuple[Pipeline, list]:
    """The pipeline after samples ``(stream, ms)``, and of its frames epoch, target and the ages of what they took."""
    pipeline = Pipeline(config)
    frames = ROBOT.feed(pipeline, *events)
    if ends:
        pipeline.give_up()
        frames += pipeline.poll()
    assert_ledger(pipeline)
    return pipeline, [(frame.epoch, (frame.stamp_ns - T0) // MS, frame.age_ns) for frame in frames]


def dropped(pipeline: Pipeline, name: str) -> dict[str, int]:
    return {reason: n for reason, n in pipeline.ledger[name].counts().dropped.items() if reason != 'unselected'}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(tuple(ALONE)), st.integers(1, 25), FAR, st.sampled_from((1, -1)))
def test_a_stray_of_a_stream_that_is_alone_costs_itself(case, at, far, side):
    config, period = ALONE[case]
    (name,) = (stream.name for stream in config.streams())
    events = [(name, ms) for ms in range(0, 30 * period, period)]
    pipeline, frames = run(config, [*events[:at], (name, at * period + side * far), *events[at:]])
    alone, whole = run(config, events)
    assert frames == whole
    assert dropped(pipeline, name) == {**dropped(alone, name), 'time_jump': 1}
    assert pipeline.jumps[name].count == 1


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(tuple(ALONE)), st.integers(1, 28), FAR)
def test_a_stream_that_is_alone_and_gets_ahead_for_good_is_followed(case, at, ahead):
    config, period = ALONE[case]
    (name,) = (stream.name for stream in config.streams())
    stamps = [ms + ahead * (ms >= at * period) for ms in range(0, 30 * period, period)]
    pipeline, frames = run(config, [(name, ms) for ms in stamps], ends=True)
    assert pipeline.epoch == 0
    assert 'time_jump' not in dropped(pipeline, name)
    assert pipeline.jumps == {}
    if pipeline.config.trigger:
        assert [stamp for _, stamp, _ in frames] == stamps


ROBOT_OF_TWO = PipelineConfig(lidars=(lidar(),), cameras=(FRONT,))
LIVE = [(name, ms) for ms in range(0, 1000, 100) for name in ('lidar', 'front')]


@pytest.mark.parametrize(
    ('config', 'events', 'end', 'refused', 'epoch'),
    [
        # Nothing contradicts the last sample of a stream that is alone.
        (ALONE['lidar'][0], [('lidar', 0), ('lidar', 100), ('lidar', 37_000)], 37_000, '', 0),
        (ALONE['lidar'][0], [('lidar', 37_000), ('lidar', 37_100), ('lidar', 100)], 100, '', 1),
        (ROBOT_OF_TWO, [('lidar', 0), ('lidar', 100), ('lidar', 37_000)], 37_000, '', 0),
        # The other stream does.
        (ROBOT_OF_TWO, [*LIVE, ('lidar', 37_000)], 900, 'lidar', 0),
        (ROBOT_OF_TWO, [*LIVE, ('front', 37_000)], 900, 'front', 0),
        (ROBOT_OF_TWO, [*LIVE, ('lidar', -37_000)], 900, 'lidar', 0),
        # Both go on far from where they were.
        (ROBOT_OF_TWO, [*LIVE, ('lidar', 37_000), ('front', 37_010)], 37_000, '', 0),
        (ROBOT_OF_TWO, [*LIVE, ('lidar', -37_000), ('front', -37_010)], -37_000, '', 1),
        # The other one has come as far since.
        (ROBOT_OF_TWO, [*LIVE, ('lidar', 37_000), ('front', 36_900), ('front', 37_000)], 37_000, '', 0),
    ],
)
def test_the_last_sample_of_a_run_is_used_or_dropped_by_name(config, events, end, refused, epoch):
    pipeline, frames = run(config, events, ends=True)
    assert frames[-1][:2] == (epoch, end)
    assert {name for name in pipeline.streams if 'time_jump' in dropped(pipeline, name)} == ({refused} - {''})
    assert pipeline.epoch == epoch
    pipeline.clear('deactivated')
    assert_ledger(pipeline)
    assert all(account.counts().held == 0 for account in pipeline.ledger.values())


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(('lidar', 'front', 'rear')), st.integers(-3000, 3000)), max_size=40),
    st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_nothing_is_set_aside_once_nothing_more_comes(events, pauses):
    pipeline = Pipeline(PipelineConfig(lidars=(lidar(),), cameras=(FRONT, REAR)))
    for event, pause in zip(events, pauses, strict=False):
        ROBOT.feed(pipeline, event)
        if pause:
            pipeline.give_up()
            assert not any(map(pipeline._aligner.num_aside, pipeline.streams))
        assert_ledger(pipeline)


@pytest.mark.parametrize('jump', [60_000, -60_000])
@pytest.mark.parametrize('shift', [10, 2500])
def test_slow_streams_that_jump_are_followed_over_pauses_in_which_nothing_comes(jump, shift):
    """Each of their samples is the last of a run, by the clock of a node that waits for a second."""
    pipeline, frames = Pipeline(ROBOT_OF_TWO), []
    for ms in range(100_000, 200_000, 5000):
        for name, own_ms in (('lidar', ms), ('front', ms + shift)):
            frames += ROBOT.feed(pipeline, (name, own_ms + jump * (ms >= 150_000)))
            pipeline.give_up()
            frames += pipeline.poll()
    assert_ledger(pipeline)
    assert pipeline.epoch == (jump < 0)
    assert len(frames) >= 17
    assert frames[-1].stamp_ns == T0 + (195_000 + jump) * MS
    assert sum(dropped(pipeline, name).get('time_jump', 0) for name in pipeline.streams) <= 4
