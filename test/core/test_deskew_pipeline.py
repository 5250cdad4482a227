# SPDX-License-Identifier: Apache-2.0
"""Deskew in the pipeline: which readings a scan waits for, what they do to it, and how they are counted."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import driving
from support.driving import T0, Robot, assert_ledger, image

from robocache_core.config import (
    CameraConfig,
    DeskewConfig,
    ImuConfig,
    LidarConfig,
    PipelineConfig,
    SyncConfig,
    VoxelConfig,
)
from robocache_core.pipeline import Pipeline
from robocache_core.samples import CloudLayout, LidarScan, PointField, VectorSample
from robocache_core.tunable import ConfigError
from robocache_core.units import MS, SECOND
from robocache_sim.samples import imu_sample, lidar_scan
from robocache_sim.sensors import robot

IDENTITY = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
DESKEW = DeskewConfig(source='imu', time_unit='ns', time_reference='start')
IMU = dataclasses.replace(driving.IMU, extrinsics=IDENTITY)
LAYOUT = CloudLayout(
    (*(PointField(axis, 4 * i, 'float32') for i, axis in enumerate('xyz')), PointField('t', 12, 'uint32')), 2, 1, 16, 32
)


def lidar(deskew=DESKEW, **changes):
    return driving.lidar(deskew=deskew, **changes)


def config(**changes):
    return PipelineConfig(**{'lidars': (lidar(),), 'imus': (IMU,)} | changes)


def scan(stamp_ns, times=(0, 99 * MS), layout=LAYOUT):
    points = np.zeros(2, [('xyz', '<f4', 3), ('t', '<u4')])
    points['xyz'], points['t'] = (2.5, 0.5, 0.5), times
    return LidarScan(stamp_ns, 'lidar', torch.from_numpy(points.view(np.uint8)), layout)


def reading(stamp_ns):
    """The robot turns by 90 degrees in 100 ms."""
    return VectorSample(stamp_ns, 'imu', torch.tensor([0.0, 0.0, 10 * np.pi / 2, 0.0, 0.0, (stamp_ns - T0) / SECOND]))


ROBOT = Robot(lidar=scan, front=image, imu=reading)
push, feed = ROBOT.push, ROBOT.feed


def readings(first, last):
    return [('imu', ms) for ms in range(first, last + 1, 5)]


# ---- which readings --------------------------------------------------------------------------------------------------


def test_a_scan_waits_for_the_readings_to_its_end():
    pipeline = Pipeline(config())
    assert feed(pipeline, *readings(0, 100), ('lidar', 100), *readings(105, 195)) == []
    assert pipeline.behind() == {'imu': 5 * MS}
    (frame,) = feed(pipeline, ('imu', 200))
    assert frame.stamp_ns == T0 + 100 * MS
    assert frame.age_ns['imu'] == 0  # of its own window
    assert pipeline.behind() == {}


def test_the_end_of_the_scan_is_turned_to_where_its_start_is():
    """A point ahead at the end of a scan in which the robot turned left by 90 degrees is on its left at the start."""
    pipeline = Pipeline(config())
    (frame,) = feed(pipeline, *readings(0, 100), ('lidar', 100), *readings(105, 200))
    assert sorted(frame.tensors['lidar.coords'].tolist()) == [[4, 4, 6], [4, 6, 3]]  # z y x: ahead, and on the left
    (frame,) = feed(Pipeline(config(lidars=(lidar(DeskewConfig()),))), *readings(0, 100), ('lidar', 100))
    assert frame.tensors['lidar.coords'].tolist() == [[4, 4, 6]]


def test_the_imu_s_tensor_is_the_same_with_and_without():
    tensors = []
    for deskew in (DESKEW, DeskewConfig()):
        pipeline = Pipeline(config(lidars=(lidar(deskew),)))
        (frame,) = feed(pipeline, *readings(0, 100), ('lidar', 100), *readings(105, 200))
        tensors.append((frame.tensors['imu'], frame.tensors['imu.valid']))
    assert torch.equal(tensors[0][0], tensors[1][0])
    assert torch.equal(tensors[0][1], tensors[1][1])


def test_a_reading_that_deskewing_used_counts_as_used():
    pipeline = Pipeline(config(lidars=(lidar(dataclasses.replace(DESKEW, scan_duration_ns=50 * MS)),)))
    times = (0, 49 * MS)
    assert len(feed(pipeline, *readings(0, 100), ('lidar', 100, times), *readings(105, 300))) == 1
    # The window's [80, 100] ms and the scan's (100, 150] ms, one every 5 ms.
    assert pipeline.ledger['imu'].counts().used == 5 + 10
    assert_ledger(pipeline)
    feed(pipeline, ('lidar', 300, times), *readings(305, 355))
    counts = pipeline.ledger['imu'].counts()
    assert counts.used == 2 * (5 + 10)
    assert counts.dropped == {'unselected': counts.received - counts.used - pipeline.num_held('imu')}
    assert_ledger(pipeline)


def test_times_that_count_to_the_end_need_not_be_waited_for():
    deskew = dataclasses.replace(DESKEW, time_reference='end')
    pipeline = Pipeline(config(lidars=(lidar(deskew),)))
    (frame,) = feed(pipeline, *readings(0, 150), ('lidar', 150))
    # The target is the end of the scan: there the first point is turned back, to the right.
    assert sorted(frame.tensors['lidar.coords'].tolist()) == [[4, 1, 4], [4, 4, 6]]


def test_a_lidar_that_is_no_trigger_waits_for_its_own_scan_s_end():
    cameras = (CameraConfig('front', width=1, height=1),)
    pipeline = Pipeline(config(cameras=cameras, sync=SyncConfig(trigger='front')))
    events = (*readings(0, 100), ('front', 100), ('lidar', 30), ('lidar', 130))
    assert feed(pipeline, *events, *readings(105, 225)) == []
    assert pipeline.behind() == {'imu': 5 * MS}
    (frame,) = feed(pipeline, ('imu', 230))
    assert frame.age_ns['lidar'] == -30 * MS
    assert_ledger(pipeline)


def test_readings_of_a_scan_that_lies_before_the_target_are_kept():
    cameras = (CameraConfig('front', width=1, height=1),)
    imu = dataclasses.replace(IMU, window_size=1)
    sync = SyncConfig(trigger='front')
    pipeline = Pipeline(config(lidars=(lidar(read='previous'),), cameras=cameras, imus=(imu,), sync=sync))
    frames = feed(
        pipeline, *readings(0, 90), ('lidar', 40), ('front', 90), ('front', 110), *readings(95, 145), ('lidar', 140)
    )
    assert [frame.stamp_ns - T0 for frame in frames] == [90 * MS, 110 * MS]
    assert_ledger(pipeline)


def test_early_or_late_polls_give_the_same_frames():
    events = sorted([*readings(0, 1000), *(('lidar', ms) for ms in range(0, 1000, 100))], key=lambda event: event[1])
    eager, lazy = Pipeline(config()), Pipeline(config())
    frames = feed(eager, *events)
    assert len(frames) == 9  # the first scan has no window behind it
    for name, ms in events:
        push(lazy, name, ms)
    for one, two in zip(frames, lazy.poll(), strict=True):
        assert one.stamp_ns == two.stamp_ns
        assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(('lidar', 'front', 'imu', 'imu', 'imu')), st.integers(0, 1500)), max_size=120),
    st.sampled_from(({}, {'rate_hz': 30.0}, {'max_wait_ns': 100 * MS}, {'trigger': 'front'})),
    st.sampled_from(('start', 'end', 'auto')),
    st.booleans(),
)
def test_ledger_adds_up_whatever_arrives_in_whatever_order(events, sync, reference, required):
    pipeline = Pipeline(
        config(
            lidars=(lidar(dataclasses.replace(DESKEW, time_reference=reference), required=required),),
            cameras=(CameraConfig('front', width=1, height=1, required=required),),
            imus=(dataclasses.replace(IMU, required=required),),
            sync=SyncConfig(**sync),
        )
    )
    for i, (name, ms) in enumerate(events):
        push(pipeline, name, ms)
        if i % 3 == 0:
            pipeline.poll(limit=1)
        assert_ledger(pipeline)
    pipeline.give_up()
    while pipeline.num_ready:  # more may wait than there is room for at once
        pipeline.poll()
        pipeline.give_up()
    assert_ledger(pipeline)
    assert pipeline.targets.counts().held == 0


# ---- what cannot be done is dropped with its reason, never left skewed -----------------------------------------------


def test_a_scan_without_readings_to_its_end_is_dropped():
    pipeline = Pipeline(config())
    assert feed(pipeline, *readings(0, 150), ('lidar', 100), ('lidar', 300)) == []
    assert pipeline.targets.counts().dropped == {'no_motion:lidar': 1}
    assert pipeline.ledger['lidar'].counts().dropped == {'no_motion': 1}
    assert pipeline.ledger['imu'].counts().used == 0
    assert_ledger(pipeline)


def test_a_gap_in_the_readings_is_not_bridged():
    imu = dataclasses.replace(IMU, tolerance_ns=20 * MS)
    pipeline = Pipeline(config(imus=(imu,)))
    assert feed(pipeline, *readings(0, 120), ('lidar', 100), *readings(150, 200)) == []
    assert pipeline.targets.counts().dropped == {'no_motion:lidar': 1}


def test_an_optional_lidar_that_cannot_be_deskewed_does_not_cost_the_frame():
    pipeline = Pipeline(config(lidars=(lidar(required=False),)))
    (frame,) = feed(pipeline, *readings(0, 150), ('lidar', 100), ('lidar', 300))
    assert frame.valid == {'lidar': False, 'imu': True}
    assert frame.tensors['lidar.coords'].shape == (0, 3)
    assert pipeline.ledger['imu'].counts().used == 5  # those of the window alone
    assert_ledger(pipeline)


def test_an_unknown_time_field_is_refused_with_an_explanation():
    refusals = []
    pipeline = Pipeline(config(lidars=(lidar(DeskewConfig(source='imu', time_field='stamp')),)))
    pipeline.on_refused = lambda *refusal: refusals.append(refusal)
    assert feed(pipeline, *readings(0, 100), ('lidar', 100), *readings(105, 200)) == []
    ((name, reason, message),) = refusals
    assert (name, reason) == ('lidar', 'unknown_time_field')
    assert "there is no field 'stamp'" in message
    assert pipeline.targets.counts().dropped == {'unknown_time_field:lidar': 1}
    assert pipeline.ledger['lidar'].counts().dropped == {'unknown_time_field': 1}
    assert_ledger(pipeline)


def test_readings_whose_mount_is_unknown_are_dropped_never_taken_as_they_are():
    imu = dataclasses.replace(IMU, extrinsics=())
    pipeline = Pipeline(config(lidars=(lidar(extrinsics=IDENTITY),), imus=(imu,), target_frame='base_link'))
    feed(pipeline, *readings(0, 10))
    assert pipeline.ledger['imu'].counts().dropped == {'no_transform': 3}
    pipeline.set_pose('imu', 'imu', torch.eye(4))
    assert len(feed(pipeline, *readings(15, 100), ('lidar', 100), *readings(105, 200))) == 1


def test_the_mount_of_the_imu_is_applied():
    upside_down = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    pipeline = Pipeline(config(imus=(dataclasses.replace(IMU, extrinsics=upside_down),)))
    (frame,) = feed(pipeline, *readings(0, 100), ('lidar', 100), *readings(105, 200))
    assert sorted(frame.tensors['lidar.coords'].tolist()) == [[4, 1, 4], [4, 4, 6]]  # it turned to the right


def test_the_bias_of_the_gyro_is_taken_off():
    deskew = dataclasses.replace(DESKEW, gyro_bias=(0.0, 0.0, 10 * np.pi / 2))
    pipeline = Pipeline(config(lidars=(lidar(deskew),)))
    (frame,) = feed(pipeline, *readings(0, 100), ('lidar', 100), *readings(105, 200))
    assert frame.tensors['lidar.coords'].tolist() == [[4, 4, 6]]  # it did not turn at all


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'imus': ()}, r"lidar.deskew.source = 'imu': must be none or name an IMU stream, or .* \(there is none\)"),
        ({'imus': (ImuConfig('other'),)}, r'name an IMU stream, .* \(other\)'),
        ({'imus': (dataclasses.replace(IMU, fields=('orientation',)),)}, 'imu.fields = .* must have angular_velocity'),
        ({'imus': (dataclasses.replace(IMU, extrinsics=()),)}, r'imu.extrinsics = \(\): must be the pose of the IMU'),
        ({'sync': SyncConfig(max_wait_ns=99 * MS)}, 'sync.max_wait = 0.099 s: must be .*scan_duration = 0.1 s'),
        (
            {'lidars': (lidar(dataclasses.replace(DESKEW, time_reference='auto'), stamp='arrival'),)},
            "lidar.deskew.time_reference = 'auto': must be end with lidar.stamp = arrival",
        ),
    ],
)
def test_settings_that_do_not_fit_each_other(changes, message):
    with pytest.raises(ConfigError, match=message):
        config(**changes)


@pytest.mark.parametrize(
    'change',
    [
        {'time_reference': 'end'},
        {'time_reference': 'start'},
        {'time_field': 'none', 'time_unit': 'auto', 'time_reference': 'auto'},
        {'source': 'none'},
    ],
)
def test_a_scan_by_arrival_is_deskewed_where_it_is_known_what_its_times_count_from(change):
    config(lidars=(lidar(dataclasses.replace(DESKEW, **change), stamp='arrival'),))


@pytest.mark.parametrize('change', [{'time_unit': 'min'}, {'time_reference': 'mid'}, {'scan_duration_ns': 0}])
def test_settings_out_of_range(change):
    with pytest.raises(ConfigError, match=next(iter(change)).removesuffix('_ns')):
        dataclasses.replace(DESKEW, **change)


# ---- simulated robot -------------------------------------------------------------------------------------------------


def test_simulated_walls_stand_in_their_voxels_only_after_deskew():
    """The whole way: a robot that turns on the spot at 2 rad/s, its voxels' means against the scene."""
    turning = robot(speed=0.0, yaw_rate=2.0, lidar_rings=32)

    def pose(sensor):
        return (*sensor.pose.translation.tolist(), *sensor.pose.quaternion.tolist())

    size, lower = 0.2, (-15.1, -15.1, -1.1)
    channels = ('count', 'mean:x', 'mean:y', 'mean:z')
    voxel = VoxelConfig(size=(size,) * 3, lower=lower, upper=(15.1, 15.1, 5.1), channels=channels)
    errors = {}
    for source in ('imu', 'none'):
        deskew = DeskewConfig(source=source, gyro_bias=tuple(turning.imu.gyro_bias.tolist()))
        cloud = LidarConfig('lidar', voxel=voxel, extrinsics=pose(turning.lidar), deskew=deskew)
        imu = ImuConfig('imu', extrinsics=pose(turning.imu))
        pipeline = Pipeline(
            PipelineConfig(lidars=(cloud,), imus=(imu,), target_frame='base_link'), on_host=lambda: True
        )
        target = turning.world.trajectory.start_ns + 13 * turning.lidar.period_ns
        for i in (j for j in range(400) if -150 * MS < turning.imu.stamp_ns(j) - target < 110 * MS):
            pipeline.receive('imu')
            pipeline.push('imu', imu_sample(turning.imu, i))
        pipeline.receive('lidar')
        pipeline.push('lidar', lidar_scan(turning.lidar, 13))
        (frame,) = pipeline.poll()
        tensors = frame.tensors
        centres = (tensors['lidar.coords'].flip(1).double() + 0.5) * size + torch.tensor(lower)
        means = (centres + tensors['lidar.features'][:, 1:4]).numpy()[tensors['lidar.features'][:, 0].numpy() >= 5]
        in_map = turning.world.trajectory.at(np.array([target])).pose.apply(means)
        errors[source] = np.quantile(turning.world.scene.distance_to_surface(in_map), 0.98)
    assert errors['imu'] < 0.03
    assert errors['none'] > 0.3
