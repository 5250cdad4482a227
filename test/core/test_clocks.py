# SPDX-License-Identifier: Apache-2.0
"""No single clock decides: streams whose clocks differ, lag, stray, die and come in bursts."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.driving import IMU, T0, Robot, assert_ledger, image, lidar

from robocache_core.align import ROS_CLOCK
from robocache_core.clocks import odd_clocks
from robocache_core.config import CameraConfig, PipelineConfig, SyncConfig
from robocache_core.pipeline import Pipeline
from robocache_core.samples import CloudLayout, LidarScan, VectorSample
from robocache_core.units import MS, SECOND

#: Time between samples of each stream, ms; the lidar is the trigger.
PERIODS = {'lidar': 100, 'front': 67, 'rear': 50, 'imu': 10}
WAIT = 200
CAMERA = {'width': 4, 'height': 2, 'required': False}


def config(**sync):
    return PipelineConfig(
        lidars=(lidar(),),
        cameras=(CameraConfig('front', **CAMERA), CameraConfig('rear', **CAMERA)),
        imus=(IMU,),
        sync=SyncConfig(**sync),
    )


def scan(stamp_ns):
    data = torch.tensor((1.5, 1.5, 1.5)).view(torch.uint8)
    return LidarScan(stamp_ns, 'lidar', data, CloudLayout.packed(('x', 'y', 'z'), 1))


def reading(stamp_ns):
    return VectorSample(stamp_ns, 'imu', torch.zeros(6))


ROBOT = Robot(lidar=scan, front=image, rear=image, imu=reading)


def samples(until=3000, offsets=(), delays=(), bursts=(), dead=(), begin=0):
    """``(arrival, stream, stamp)`` in the order of arrival, ms.

    A stream's clock is ahead by its offset, its samples come late by its delay, all those of a burst at once, and none
    comes from when it is dead.
    """
    offsets, delays, bursts, dead = dict(offsets), dict(delays), dict(bursts), dict(dead)
    found = []
    for name, period in PERIODS.items():
        for ms in range(begin, min(until, dead.get(name, until)), period):
            burst = bursts.get(name, 1)
            arrival = -(-ms // burst) * burst + delays.get(name, 0)
            found.append((arrival, name, ms + offsets.get(name, 0)))
    return sorted(found, key=lambda event: event[0])


class Recorded(Pipeline):
    """A pipeline that keeps its targets, computes nothing, and counts that nothing is lost."""

    def __init__(self, **sync):
        super().__init__(config(**sync))
        self.found = []

    def run(self, events):
        for _, name, ms in events:
            ROBOT.push(self, name, ms)
            self.found += [self._outline(target) for target in self._ready]
            while self._ready:
                self._drop_target(self._ready.popleft(), 'unselected')
        assert_ledger(self)
        return self.found

    @staticmethod
    def _outline(target):
        """Target and the stamps that it takes, ms, and the streams that it gave up on."""
        picks = {
            name: [(entry.sample.stamp_ns - T0) // MS for entry in pick.entries] for name, pick in target.picks.items()
        }
        return (target.stamp_ns - T0) // MS, picks, target.given_up


def wrong(found, events):
    """Targets, and streams of theirs that have another sample than the nearest, though the target does not say so."""
    stamps = {name: [ms for _, each, ms in events if each == name] for name in PERIODS}
    silent = []
    for target, picks, given_up in found:
        for name in ('front', 'rear'):
            least = min((abs(ms - target) for ms in stamps[name]), default=None)
            if name not in given_up and (not picks[name] or abs(picks[name][0] - target) != least):
                silent.append((target, name))
        if 'imu' not in given_up and not (picks['imu'] and picks['imu'][-1] >= target):
            silent.append((target, 'imu'))
    return silent


def whole_frames(**sync):
    """A pipeline whose cameras and IMU need not be there: every target is kept."""
    pipeline = Recorded(**sync)
    pipeline._missing = lambda target: None
    return pipeline


by_name = st.fixed_dictionaries
OFFSETS = by_name({name: st.integers(-400, 400) for name in PERIODS})
DELAYS = by_name({name: st.integers(0, WAIT - 1) for name in PERIODS})
BURSTS = by_name({name: st.sampled_from((1, 1, 150, 300)) for name in PERIODS})
DEATHS = st.dictionaries(st.sampled_from(('front', 'rear', 'imu')), st.integers(0, 2500))
SYNC = st.sampled_from(({}, {'rate_hz': 20.0}))


@settings(max_examples=60, deadline=None)
@given(OFFSETS, DELAYS, BURSTS, DEATHS, SYNC)
def test_a_frame_holds_the_nearest_samples_or_says_which_it_does_not(offsets, delays, bursts, dead, sync):
    events = samples(offsets=offsets, delays=delays, bursts=bursts, dead=dead)
    found = whole_frames(**sync).run(events)
    assert wrong(found, events) == []


@settings(max_examples=60, deadline=None)
@given(OFFSETS, DELAYS)
def test_no_offset_makes_a_target_give_up_on_what_comes_within_the_wait(offsets, delays):
    events = samples(offsets=offsets, delays=delays)
    lateness = {name: delays[name] - offsets[name] for name in PERIODS}
    for target, _, given_up in whole_frames().run(events):
        if 500 < target < 2300:  # all have begun, and none has ended
            for name in given_up:
                assert lateness[name] + PERIODS[name] - lateness['lidar'] >= WAIT, (target, name)


@settings(max_examples=60, deadline=None)
@given(OFFSETS, DELAYS, DEATHS, st.booleans())
def test_no_dead_subset_stalls_the_targets(offsets, delays, dead, is_grid):
    sync = {'rate_hz': 10.0} if is_grid else {}
    found = whole_frames(**sync).run(samples(until=6000, offsets=offsets, delays=delays, dead=dead))
    stamps = [target - (0 if is_grid else offsets['lidar']) for target, _, _ in found]
    steps = [after - before for before, after in itertools.pairwise(stamps)]
    assert steps.count(100) >= len(steps) - (len(dead) if is_grid else 0)  # the grid goes over to clocks that live on
    assert all(0 < step <= 1000 for step in steps)
    assert stamps[0] <= 1500
    assert stamps[-1] > 4000


def index_at(events, at):
    """Of the first event that arrives at ``at`` ms or later."""
    return next(i for i, event in enumerate(events) if event[0] >= at)


def with_strays(events, at, name, *stamps):
    """The events, and samples of a stream with other stamps that arrive at ``at``, ms, before those that do too."""
    place = index_at(events, at)
    return [*events[:place], *((at, name, ms) for ms in stamps), *events[place:]]


@settings(max_examples=60, deadline=None)
@given(
    OFFSETS,
    DELAYS,
    st.sampled_from(tuple(PERIODS)),
    st.integers(1200, 2500),
    st.sampled_from((1_500, 37_000, 1_000_000)),
    st.booleans(),
    SYNC,
)
def test_a_stray_stamp_far_ahead_changes_nothing(offsets, delays, name, at, ahead, dies, sync):
    events = samples(offsets=offsets, delays=delays, dead={name: at} if dies else {})
    strayed = with_strays(events, at, name, at + offsets[name] + ahead)
    pipeline = whole_frames(**sync)
    assert pipeline.run(strayed) == whole_frames(**sync).run(events)
    assert pipeline.epoch == 0
    after = any(each == name for _, each, _ in events[index_at(events, at) :])
    assert pipeline.ledger[name].counts().dropped.get('time_jump', 0) == after  # else it is held, until
    pipeline.give_up()
    # Of a stream that has died it is taken where the others have come as far meanwhile: nothing shows that it strays.
    caught_up = not after and ahead < 2_000
    assert pipeline.ledger[name].counts().dropped.get('time_jump', 0) == 1 or caught_up
    assert pipeline.epoch == 0


@settings(max_examples=60, deadline=None)
@given(
    OFFSETS,
    DELAYS,
    st.sampled_from(tuple(PERIODS)),
    st.integers(1200, 2500),
    st.sampled_from((1_600, 37_000, 1_000_000)),
    SYNC,
)
def test_a_stray_stamp_far_back_changes_nothing(offsets, delays, name, at, back, sync):
    events = samples(offsets=offsets, delays=delays)
    strayed = with_strays(events, at, name, at + offsets[name] - back)
    pipeline = whole_frames(**sync)
    assert pipeline.run(strayed) == whole_frames(**sync).run(events)
    assert pipeline.epoch == 0
    assert pipeline.ledger[name].counts().dropped['time_jump'] == 1
    assert pipeline.jumps[name].count == 1


def test_strays_far_back_that_do_not_go_on_from_each_other_change_nothing():
    events = samples()
    strayed = with_strays(events, 2500, 'lidar', -40_000, -20_000)
    pipeline = whole_frames()
    assert pipeline.run(strayed) == whole_frames().run(events)
    assert pipeline.epoch == 0
    assert pipeline.ledger['lidar'].counts().dropped['time_jump'] == 2


def test_a_stray_where_a_dead_stream_ended_changes_nothing():
    events = samples(until=8000, dead={'rear': 500})
    pipeline = whole_frames()
    assert pipeline.run(with_strays(events, 6000, 'lidar', 460)) == whole_frames().run(events)
    assert pipeline.epoch == 0


@pytest.mark.parametrize('period', [1000, 3000])
def test_a_slow_stream_jumps_back_too(period):
    lap = [(at, 'lidar', at) for at in range(0, 30_000, period)]
    pipeline = whole_frames()
    pipeline.run(lap)
    pipeline.run([(at + 30_000, name, ms) for at, name, ms in lap])
    assert pipeline.epoch == 1


@settings(max_examples=60, deadline=None)
@given(OFFSETS, DELAYS, st.integers(1500, 60_000), SYNC)
def test_of_a_lap_after_a_jump_back_nothing_is_lost(offsets, delays, back, sync):
    events = samples(offsets=offsets, delays=delays)
    again = [(at + 10_000, name, ms - back) for at, name, ms in events]
    alone, pipeline = whole_frames(**sync).run(again), whole_frames(**sync)
    lap = len(pipeline.run(events))
    assert pipeline.run(again)[lap:] == alone
    assert pipeline.epoch == 1


@pytest.mark.parametrize(
    ('case', 'nearest'),
    [
        ({'offsets': {'imu': 250}, 'delays': {'front': 40, 'rear': 40}}, ('front', 'rear', 'imu')),
        ({'offsets': {'lidar': -250}}, ('front', 'rear', 'imu')),
        ({'delays': dict.fromkeys(PERIODS, 150) | {'lidar': 0}}, ('front', 'rear', 'imu')),
        ({'dead': {'rear': 1000}}, ('front', 'imu')),
        ({'bursts': {'imu': 300}}, ('front', 'rear')),
        ({'offsets': {'imu': 250}, 'dead': {'imu': 1000}, 'delays': {'front': 40}}, ('front', 'rear')),
    ],
)
@pytest.mark.parametrize('sync', [{}, {'rate_hz': 20.0}])
def test_what_comes_in_time_is_waited_for(case, nearest, sync):
    events = samples(**case)
    pipeline = whole_frames(**sync)
    found = pipeline.run(events)
    assert len(found) > 20
    assert wrong(found, events) == []
    late = {name for target, _, given_up in found if target > 300 for name in given_up}
    assert late.isdisjoint(nearest)
    assert {name: sum(name in given_up for _, _, given_up in found) for name in PERIODS} == pipeline.given_up


def test_a_stray_that_comes_twice_is_a_stray():
    events = samples(until=2000)
    pipeline = Recorded()
    assert pipeline.run(with_strays(events, 1000, 'lidar', 61_000, 61_000)) == Recorded().run(events)
    assert pipeline.ledger['lidar'].counts().dropped.items() >= {'duplicate': 1, 'time_jump': 1}.items()


def test_a_stream_that_gets_ahead_for_good_is_followed():
    """One stray is refused; a second one in a row is a jump, of which nothing is lost."""
    pipeline = Recorded()
    pipeline.run(samples(until=1000))
    pipeline.run([(0, name, ms + 60_000) for _, name, ms in samples(until=1000)])
    assert pipeline.epoch == 0
    assert all('time_jump' not in account.counts().dropped for account in pipeline.ledger.values())
    assert pipeline.jumps == {}


def test_two_clocks_on_one_topic_the_first_is_followed_and_the_jumps_are_counted():
    events = samples(until=3000)
    doubled = [(at, name, ms + jump) for at, name, ms in events for jump in ((0, 37_000) if name == 'lidar' else (0,))]
    pipeline = Recorded()
    refused = []
    pipeline.on_refused = lambda *args: refused.append(args)
    assert [target for target, _, _ in pipeline.run(doubled)] == [target for target, _, _ in Recorded().run(events)]
    assert pipeline.epoch == 0
    jumps = pipeline.jumps['lidar']
    assert jumps.count >= 28
    assert 36_800 * MS < jumps.last_ns <= 37_000 * MS
    assert refused[0][:2] == ('lidar', 'time_jump')
    assert '36.9' in refused[0][2]


def test_a_jump_of_the_ros_clock_is_counted_as_its_own():
    pipeline = Recorded()
    pipeline.run(samples(until=1000))
    pipeline.clock_jumped(T0 - 100 * SECOND)
    assert pipeline.epoch == 1
    assert pipeline.jumps[ROS_CLOCK].count == 1
    assert pipeline.jumps[ROS_CLOCK].last_ns == pytest.approx(101 * SECOND, abs=100 * MS)


def test_one_stream_ahead_of_the_ros_clock_is_no_jump():
    pipeline = Recorded()
    pipeline.run(samples(until=1000, offsets={'imu': 5000}))
    pipeline.clock_jumped(T0 + 900 * MS)
    assert pipeline.epoch == 0


def test_a_first_stamp_that_is_a_stray_holds_nothing_up():
    """An optional stream's only sample, a thousand seconds ahead: it is past every target, and shows no time."""
    events = [(0, 'rear', 1_000_000), *samples(dead={'rear': 0, 'front': 1500})]
    for sync in ({}, {'rate_hz': 10.0}):
        found = whole_frames(**sync).run(events)
        targets = [target for target, _, _ in found]
        assert targets == list(range(0, targets[-1] + 1, 100))
        assert targets[-1] >= 2500
        assert wrong(found, events) == []


def test_a_slow_stream_is_not_taken_for_one_that_is_behind():
    pipeline = Recorded()
    for event in samples(until=6000):
        if event[1] != 'rear' or event[0] % 1000 == 0:
            pipeline.run([event])
            assert event[0] < 2100 or pipeline.odd_clocks() == {}, event
    readings = pipeline.clocks.readings()
    assert readings.keys() == PERIODS.keys()
    assert max(readings.values()) - min(readings.values()) <= 200 * MS


@pytest.mark.parametrize(
    ('newest', 'odd'),
    [
        ({'a': 0, 'b': 10}, {}),  # of two nobody knows
        ({'a': 5000, 'b': 10, 'c': 20}, {'a': 4990}),
        ({'a': -37_000, 'b': 10, 'c': 20}, {'a': -37_010}),
        ({'a': 300, 'b': 0, 'c': 200}, {}),  # the others differ by as much
        ({'a': 150, 'b': 0, 'c': 0}, {}),  # too little
        ({'a': 5000, 'b': 0, 'c': 20, 'd': 5000}, {}),  # two against two
    ],
)
def test_the_odd_one_out(newest, odd):
    assert odd_clocks(newest, 200) == odd
