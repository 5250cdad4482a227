# SPDX-License-Identifier: Apache-2.0
"""When a target is ready and with what: stamps alone decide."""

import torch

from robocache_core.align import Aligner
from robocache_core.config import CameraConfig, ImuConfig, LidarConfig, PipelineConfig, SyncConfig
from robocache_core.ledger import Account
from robocache_core.samples import CameraFrame, CloudLayout, LidarScan, VectorSample
from robocache_core.units import MS, SECOND

T0 = 1_000 * SECOND


def scan(stamp_ns):
    data = torch.zeros(12, dtype=torch.uint8)
    return LidarScan(stamp_ns, 'lidar', data, CloudLayout.packed(('x', 'y', 'z'), 1))


def image(stamp_ns):
    return CameraFrame(stamp_ns, 'front', torch.zeros(3, dtype=torch.uint8), 'rgb8', 1, 1, 3)


def reading(stamp_ns):
    return VectorSample(stamp_ns, 'imu', torch.zeros(6))


class Rig:
    """An aligner over a lidar (trigger), a camera and an IMU."""

    def __init__(self, **sync):
        self.config = PipelineConfig(
            lidars=(LidarConfig('lidar'),),
            cameras=(CameraConfig('front', tolerance_ns=50 * MS),),
            imus=(ImuConfig('imu', window_size=3, window_period_ns=10 * MS),),
            sync=SyncConfig(**sync),
        )
        self.accounts = {s.name: Account() for s in self.config.streams()}
        self.targets = Account()
        self.aligner = Aligner(self.config, self.accounts, self.targets, self.refuse)

    def refuse(self, name, reason, message):
        self.accounts[name].drop(reason)

    def push(self, name, ms):
        kinds = {'lidar': scan, 'front': image, 'imu': reading}
        self.accounts[name].receive()
        self.aligner.push(name, kinds[name](T0 + round(ms * MS)))

    def pop(self, **kwargs):
        return self.aligner.pop_ready(**kwargs)


def picked_ms(target, name):
    return [(entry.sample.stamp_ns - T0) // MS for entry in target.picks[name].entries]


def test_target_waits_until_every_stream_is_at_or_past_it():
    rig = Rig()
    rig.push('imu', 90)
    rig.push('lidar', 100)
    assert rig.pop() is None
    rig.push('imu', 100)
    assert rig.pop() is None
    assert rig.aligner.behind(T0 + 100 * MS) == ['front']
    rig.push('front', 110)
    target = rig.pop()
    assert target.stamp_ns == T0 + 100 * MS
    assert picked_ms(target, 'front') == [110]
    assert target.picks['front'].valid


def test_target_gives_up_on_a_stream_after_max_wait():
    rig = Rig(max_wait_ns=200 * MS)
    for name, ms in (('lidar', 100), ('imu', 110), ('imu', 310), ('lidar', 299)):
        rig.push(name, ms)
        assert rig.pop() is None
    rig.push('lidar', 300)
    target = rig.pop()
    assert target.given_up == ('front',)
    assert target.picks['front'].entries == ()
    assert not target.picks['front'].valid


def test_a_sample_outside_its_tolerance_is_held_and_invalid():
    rig = Rig()
    rig.push('front', 40)
    rig.push('lidar', 100)
    rig.push('imu', 110)
    rig.push('imu', 509)
    assert rig.pop() is None
    rig.push('imu', 510)  # alone, it must show twice the wait
    target = rig.pop()
    assert picked_ms(target, 'front') == [40]
    assert not target.picks['front'].valid


def test_nearest_is_taken_on_either_side():
    rig = Rig()
    for ms in (80, 101):
        rig.push('front', ms)
    rig.push('imu', 120)
    rig.push('lidar', 100)
    assert picked_ms(rig.pop(), 'front') == [101]


def test_window_takes_the_neighbours_of_its_instants():
    rig = Rig()
    for ms in (60, 75, 85, 95, 105, 115):
        rig.push('imu', ms)
    rig.push('front', 100)
    rig.push('lidar', 100)
    assert picked_ms(rig.pop(), 'imu') == [75, 85, 95, 105]


def test_late_trigger_makes_no_target():
    rig = Rig()
    rig.push('lidar', 100)
    rig.push('imu', 110)
    rig.push('imu', 510)
    assert rig.pop() is not None
    rig.push('lidar', 90)
    assert rig.pop() is None
    assert rig.accounts['lidar'].counts().dropped == {'late': 1}
    assert rig.targets.counts().received == 1


def test_reordered_triggers_come_out_in_order():
    rig = Rig()
    rig.push('lidar', 200)
    rig.push('lidar', 100)
    for name in ('imu', 'front'):
        rig.push(name, 210)
    assert [rig.pop().stamp_ns - T0 for _ in range(2)] == [100 * MS, 200 * MS]


def test_stamp_that_goes_back_starts_an_epoch():
    rig = Rig()
    for name in ('front', 'imu', 'lidar'):
        rig.push(name, 5000)
    rig.push('lidar', 100)
    assert rig.aligner.epoch == 0  # a single one may be a stray
    rig.push('lidar', 200)
    assert rig.aligner.epoch == 1
    assert rig.accounts['front'].counts().dropped == {'time_jump': 1}
    assert rig.targets.counts().dropped == {'time_jump': 1}
    assert rig.aligner.waiting == [T0 + 100 * MS, T0 + 200 * MS]


def test_streams_that_jump_later_do_not_start_another_epoch():
    rig = Rig()
    for name in ('front', 'imu', 'lidar'):
        rig.push(name, 5000)
    rig.push('imu', 0)
    rig.push('lidar', 8)
    rig.push('imu', 5)
    assert rig.aligner.epoch == 1
    rig.push('front', 5010)  # still the lap before
    assert rig.accounts['front'].counts().dropped == {'time_jump': 2}
    rig.push('front', 5)
    rig.push('imu', 10)
    rig.push('front', 30)
    assert rig.aligner.epoch == 1
    assert rig.pop().stamp_ns == T0 + 8 * MS  # its scan was set aside, as it came before the second reading


def test_clock_jump_after_the_stamps_have_jumped_changes_nothing():
    rig = Rig()
    rig.push('imu', 5000)
    rig.push('imu', 100)
    rig.aligner.clock_jumped(T0 + 100 * MS)
    assert rig.aligner.epoch == 1
    rig.aligner.clock_jumped(T0 - 10 * SECOND)
    assert rig.aligner.epoch == 2


def test_fixed_rate_targets_lie_on_one_grid_whatever_comes_first():
    stamps = []
    for first in ('imu', 'lidar'):
        rig = Rig(rate_hz=20.0)
        rig.push(first, 3)
        for ms in range(10, 400, 10):
            for name in ('imu', 'lidar', 'front'):
                rig.push(name, ms)
        found = []
        while (target := rig.pop()) is not None:
            found.append(target.stamp_ns - T0)
        stamps.append(found)
    assert stamps[0] == stamps[1] == [ms * MS for ms in range(50, 400, 50)]


def test_fixed_rate_survives_a_long_gap():
    rig = Rig(rate_hz=100.0)
    rig.push('imu', 0)
    rig.push('imu', 3_600_000)
    rig.push('imu', 3_600_010)
    assert 0 < len(rig.aligner.waiting) < 100


def test_thinning_keeps_one_target_in_so_many():
    rig = Rig()
    rig.aligner.keep_every = 4
    for ms in range(0, 800, 100):
        rig.push('lidar', ms)
    counts = rig.targets.counts()
    assert counts.received == 8
    assert counts.dropped == {'thinned': 6}
    rig.aligner.clear('deactivated')
    assert rig.accounts['lidar'].counts().dropped == {'thinned': 6, 'deactivated': 2}


def test_no_more_targets_wait_than_the_trigger_has_samples():
    """However close its stamps are: others wait until time has gone by, and here hardly any does."""
    rig = Rig()
    depth = rig.config.lidars[0].buffer_depth
    for ns in range(depth + 100):
        rig.push('lidar', ns / MS)
    aligner = rig.aligner
    assert aligner.waiting == [entry.sample.stamp_ns for entry in aligner.buffers['lidar']]
    assert len(aligner.clocks._marks) == depth + 1
    assert rig.targets.counts().dropped == rig.accounts['lidar'].counts().dropped == {'buffer_full': 100}


def test_give_up_takes_what_there_is():
    rig = Rig()
    rig.push('lidar', 100)
    assert rig.pop() is None
    assert rig.pop(give_up=True) is not None


def test_a_stream_that_lags_behind_the_others_survives_a_loop():
    """Its stamps lie further behind than a jump is: that alone must not make it a straggler of the lap before."""
    rig = Rig(time_jump_ns=100 * MS, max_wait_ns=1000 * MS)
    for _ in range(2):
        for ms in range(0, 5000, 10):
            rig.push('imu', 600 + ms)
            if ms % 100 == 0:
                rig.push('lidar', ms)
                rig.push('front', ms)
            while rig.pop():
                pass
    assert rig.aligner.epoch == 1
    assert rig.accounts['imu'].counts().dropped.get('time_jump', 0) < 150
    assert rig.targets.counts().dropped.get('time_jump', 0) < 10


def test_stragglers_after_a_clock_jump_do_not_start_another_epoch():
    rig = Rig()
    for ms in range(0, 5000, 100):
        rig.push('imu', ms)
        rig.push('lidar', ms)
    rig.aligner.clock_jumped(T0)
    rig.push('lidar', 5000)
    rig.push('imu', 5000)
    rig.push('lidar', 0)
    rig.push('imu', 10)
    assert rig.aligner.epoch == 1
    assert [entry.sample.stamp_ns for entry in rig.aligner.buffers['lidar']] == [T0]
