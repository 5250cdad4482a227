# SPDX-License-Identifier: Apache-2.0
"""Diagnostics by a set clock: the one line that says why nothing comes out."""

import dataclasses

import pytest
from support.runtime import FRONT, IMU, LIDAR, assert_adds_up, cloud, image, imu, make
from support.statuses import ERROR, ONE, STALE, TWO, WARN, blocker, drive, summary, values

from robocache_core.config import DeskewConfig, PipelineConfig, SyncConfig, VoxelConfig
from robocache_core.units import MS
from robocache_ros import dds_environment


def test_a_clock_that_does_not_come_is_said():
    bench = make(ONE)
    bench.runtime.diagnostics._now_ns = lambda: 0
    assert blocker(bench) == 'use_sim_time is true and no /clock comes; lidar: no publisher on /lidar (PointCloud2)'
    drive(bench, 'lidar', cloud, range(0, 500, 100))
    assert summary(bench.report(), 'output') == (WARN, 'use_sim_time is true and no /clock comes')


def test_a_pose_that_is_unknown_names_both_frames():
    bench = make(dataclasses.replace(ONE, target_frame='base_link'))
    drive(bench, 'lidar', cloud, [0])
    assert values(bench.report()['input lidar'])['last.no_transform'] == 'lidar in base_link, or set lidar.extrinsics'


def without_z(ms):
    message = cloud(ms)
    message.fields = message.fields[:2]
    return message


#: What a cloud lacks, and what the blocker says of it.
UNUSABLE = {
    'pose': (
        dataclasses.replace(ONE, target_frame='base_link'),
        cloud,
        'lidar: dropped 2 no_transform (lidar in base_link, or set lidar.extrinsics)',
    ),
    'field': (
        PipelineConfig(lidars=(dataclasses.replace(LIDAR, voxel=VoxelConfig(channels=('count', 'max:ring'))),)),
        cloud,
        "lidar: dropped 2 missing_field (the cloud has no field 'ring' (it has: x, y, z); the channel max:ring needs "
        'it: set voxel.channels of lidar, or of the grid that it is in)',
    ),
    'coordinate': (
        ONE,
        without_z,
        "lidar: dropped 2 missing_field (the cloud has no field 'z' (it has: x, y); set lidar.topic to that of a cloud "
        'with x, y and z)',
    ),
}


@pytest.mark.parametrize(('config', 'make_message', 'said'), UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.parametrize('required', [True, False])
def test_what_the_configuration_lacks_is_named_with_what_to_set(config, make_message, said, required):
    lidar = dataclasses.replace(config.lidars[0], required=required)
    sync = SyncConfig(rate_hz=0.0 if required else 10.0)
    cameras = () if required else (FRONT,)
    bench = make(dataclasses.replace(config, lidars=(lidar,), cameras=cameras, sync=sync))
    drive(bench, 'lidar', make_message, [0, 100])
    assert said in blocker(bench)
    assert_adds_up(bench.runtime)


CLOUD, IMAGE, JPEG = (f'sensor_msgs/msg/{kind}' for kind in ('PointCloud2', 'Image', 'CompressedImage'))


@pytest.mark.parametrize(
    ('topic', 'published', 'said'),
    [
        ('/lidar', {}, ''),
        ('/lidar', {'/front': [CLOUD], '/odom': ['nav_msgs/msg/Odometry']}, ''),  # another stream's, and one unlike it
        ('/lidar', {'/ouster/points': [CLOUD], '/a': [IMAGE]}, '; there is /ouster/points (PointCloud2)'),
        ('/lidar/pionts', {'/lidar/points': [CLOUD], '/x': [CLOUD]}, '; there is /lidar/points (PointCloud2)'),
        (
            '/lidar/pionts',
            {'/lidar/points': [JPEG, IMAGE], '/x': [CLOUD], '/y': [IMAGE]},
            '; there is /lidar/points (CompressedImage, Image) and /x (PointCloud2)',
        ),
        ('/lidar', {'/lidar\n\x1b[2J': [CLOUD]}, r'; there is /lidar\n\x1b[2J (PointCloud2)'),
        ('/lidar', {'/lidar' + 'x' * 1000: [CLOUD]}, f'; there is /lidar{"x" * (400 - 17)}… (1031 characters)'),
    ],
)
def test_nobody_publishes_but_what_is_like_it_is_named(topic, published, said):
    bench = make(dataclasses.replace(TWO, lidars=(dataclasses.replace(LIDAR, topic=topic),)))
    bench.types |= published
    assert blocker(bench) == f'lidar: no publisher on {topic} (PointCloud2){said}'


def test_the_graph_is_asked_only_for_a_stream_without_a_publisher():
    bench, asked = make(ONE), []
    bench.runtime.diagnostics._blocker._published = lambda: asked.append(1) or {}
    bench.types['/lidar'] = [CLOUD]
    bench.report()
    drive(bench, 'lidar', cloud, [0, 100])
    bench.report()
    assert not asked


@pytest.mark.parametrize(
    ('others', 'said'),
    [
        (['sensor_msgs/msg/Imu'], 'sensor_msgs/msg/Imu, not PointCloud2'),
        (['sensor_msgs/msg/LaserScan'], 'sensor_msgs/msg/LaserScan, not PointCloud2; set lidar.message: LaserScan'),
        (['a/msg/A', 'sensor_msgs/msg/LaserScan'], 'a/msg/A, sensor_msgs/msg/LaserScan, not PointCloud2'),
    ],
)
def test_somebody_publishes_another_type(others, said):
    bench = make(ONE)
    bench.types['/lidar'] = ['sensor_msgs/msg/PointCloud2', *others]
    assert blocker(bench) == f'lidar: /lidar carries {said}'


def test_a_publisher_that_sends_nothing():
    bench = make(ONE)
    bench.types['/lidar'] = ['sensor_msgs/msg/PointCloud2']
    said = blocker(bench)
    assert said.startswith(
        'lidar: no message on /lidar, though it has 1 publisher(s) of PointCloud2; if large ones are sent and lost, '
        'start what publishes them with FAST'
    )
    assert said.endswith(str(dds_environment.PROFILE))


def test_a_target_that_waits():
    bench = make(TWO)
    drive(bench, 'lidar', cloud, [0])
    assert blocker(bench) == 'the oldest target waits for front (front: no publisher on /front (Image))'


def test_a_required_stream_that_is_missing_is_named_with_what_it_lacks():
    bench = make(TWO)
    drive(bench, 'front', image, [0])
    drive(bench, 'lidar', cloud, range(0, 1400, 100))
    bench.report()
    drive(bench, 'lidar', cloud, [1400])
    statuses = bench.report()
    text = values(statuses['sync'])['blocker']
    said = 'front: no message for 1.5 s; front.required: false goes on without it'
    assert text == f'targets dropped: 1 missing:front ({said})'
    assert statuses['output'].level == STALE
    assert_adds_up(bench.runtime)


def test_an_imu_that_scans_are_deskewed_by_cannot_be_gone_without():
    lidar = dataclasses.replace(LIDAR, deskew=DeskewConfig(source='imu', time_field='none'))
    body = dataclasses.replace(IMU, extrinsics=(0.0,) * 6 + (1.0,))
    bench = make(PipelineConfig(lidars=(lidar,), imus=(body,)))
    drive(bench, 'imu', imu, [0])
    drive(bench, 'lidar', cloud, range(0, 1400, 100))
    assert blocker(bench).endswith('1 missing:imu (imu: no message for 1.4 s)')


def test_a_clock_that_is_wrong():
    bench = make(TWO)
    for ms in range(5000, 5500, 100):
        drive(bench, 'lidar', cloud, [ms])
        drive(bench, 'front', image, [ms - 3500])
    assert 'the stamps of front are 3.5 s behind those of lidar: one clock is wrong' in blocker(bench)


def test_a_stream_that_is_behind():
    bench = make(TWO)
    drive(bench, 'front', image, [0])
    drive(bench, 'lidar', cloud, [150])
    assert blocker(bench) == 'the oldest target waits for front (front: is 150 ms behind)'


@pytest.mark.parametrize(
    ('then', 'said'),
    [([], ''), ([158], '; its newest message is 58 ms behind the newest of all streams')],
)
def test_a_stream_outside_its_tolerance(then, said):
    front = dataclasses.replace(FRONT, tolerance_ns=20 * MS)
    bench = make(PipelineConfig(lidars=(LIDAR,), cameras=(front,)))
    drive(bench, 'lidar', cloud, [50])
    drive(bench, 'front', image, [0, 100])
    drive(bench, 'lidar', cloud, then)
    assert blocker(bench) == f'targets dropped: 1 missing:front (front: nothing within its tolerance of 20 ms{said})'


def test_an_exception_is_the_blocker_and_an_error_of_its_period():
    bench = make(ONE)
    bench.runtime.inboxes.put_event(lambda: 1 // 0)
    bench.runtime.worker.step(0.0)
    statuses = bench.report()
    text = 'unforeseen exception: ZeroDivisionError: integer division or modulo by zero'
    assert summary(statuses, 'compute') == (ERROR, text)
    assert summary(statuses, 'sync') == (ERROR, text)
    assert values(statuses['compute'])['exceptions'] == '1'
    assert bench.report()['compute'].level != ERROR


def test_a_period_in_which_no_target_is_due_has_no_blocker():
    """Targets at half a hertz and reports at one: in every second period nothing is wrong."""
    bench = make(dataclasses.replace(ONE, sync=SyncConfig(rate_hz=0.5)))
    found = []
    for second in range(8):
        drive(bench, 'lidar', cloud, range(1000 * second, 1000 * second + 1000, 100))
        statuses = bench.report()
        found.append(values(statuses['sync'])['blocker'])
    assert found[2:] == [''] * 6
    assert int(values(statuses['output'])['frames']) >= 3


def test_a_slow_input_is_not_silent_between_its_messages():
    bench = make(ONE)
    for index in range(4):
        bench.put('lidar', cloud(3000 * index))
        bench.work()
        for _ in range(3):
            bench.clock.advance(1.0)
            blocker = values(bench.report()['sync'])['blocker']
            assert blocker == '' or index == 0, (index, blocker)
    bench.clock.advance(3.0)
    assert 'lidar: no message for 6.0 s' in values(bench.report()['sync'])['blocker']


def test_targets_that_wait_for_compute_are_the_blocker():
    bench = make(ONE)
    for ms in range(0, 300, 100):
        bench.put('lidar', cloud(ms))
    for _ in range(3):
        bench.runtime.ingest.take('lidar', bench.runtime.inboxes.take(0.0)[1].message)
    assert values(bench.report()['sync'])['blocker'] == '3 targets wait for compute'
