# SPDX-License-Identifier: Apache-2.0
"""Sensors that move on the robot: their poses at the stamps of their samples, from TF and from /tf of a bag."""

import dataclasses
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from geometry_msgs.msg import TransformStamped
from hypothesis import given, settings
from hypothesis import strategies as st
from support import bags, tf2_stand_in
from support.runtime import BOX, START_NS, SetClock, assert_adds_up, cloud, imu, make

from robocache_core import rotation
from robocache_core.config import DeskewConfig, ImuConfig, LidarConfig, PipelineConfig
from robocache_core.samples import DataError
from robocache_core.units import MS, SECOND
from robocache_ros.event_log import EventLog
from robocache_ros.offline import fused_frames
from robocache_ros.poses import TfPoses, streams_to_locate
from robocache_ros.static_transforms import StaticTransforms
from robocache_ros.transform_buffer import KEPT_NS, MAX_FRAMES, MAX_IGNORED, TransformBuffer

VOXEL = dataclasses.replace(BOX, channels=('count', 'mean:x', 'mean:y', 'mean:z'))
LIDAR = LidarConfig('lidar', topic='/lidar', voxel=VOXEL)
CONFIG = PipelineConfig(lidars=(LIDAR,), target_frame='base_link')
#: The lidar looks along an arm of the mast; the mast turns by RATE rad/s about an axis that is not quite upright.
ARM = ((0.3, 0.0, 0.1), (0.0, 0.0, 0.0, 1.0))
FOOT, AXIS, RATE = (1.0, -0.5, 1.2), np.array([0.1, 0.0, 1.0]) / np.hypot(0.1, 1.0), 1.3
TF_MS, SCAN_MS = 37, 50


def mast(ms):
    """Pose of the mast on the robot."""
    angle = (RATE * ms / 1000 + np.pi) % (2 * np.pi) - np.pi
    return FOOT, tuple(rotation.exp(AXIS * angle).tolist())


def stamped(parent, child, pose, ms=0):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(START_NS + round(ms * MS), SECOND)
    t, q = message.transform.translation, message.transform.rotation
    (t.x, t.y, t.z), (q.x, q.y, q.z, q.w) = pose
    return message


@pytest.fixture
def live(monkeypatch):
    """A bench whose poses come from TF, and the buffer of TF."""
    tf2_stand_in.install(monkeypatch)
    with ExitStack() as undo:

        def bench(config=CONFIG):
            def poses(pipeline):
                return TfPoses(object(), EventLog([], SetClock()), streams_to_locate(pipeline), undo)

            made = make(config, poses)
            return made, tf2_stand_in.Listener.buffers[-1]

        yield bench


def placed(frame):
    """The one point of a frame, x y z, m."""
    centre = frame.tensors['lidar.coords'][0].flip(0).double() + 0.5 - 8
    return (centre + frame.tensors['lidar.features'][0, 1:]).numpy()


def on_mast(ms):
    """Where the point of ``cloud`` is on the robot."""
    turn = rotation.matrix(np.array(mast(ms)[1]))
    return np.array(FOOT) + turn @ np.add(ARM[0], (1.0, 2.0, 0.5))


def events(begin_ms, end_ms):
    """Transforms and scans in the order in which a robot sends them: a scan comes 40 ms after its stamp."""
    turns = [(ms, 'tf', ms) for ms in range(begin_ms, end_ms, TF_MS)]
    scans = [(ms + 40, 'lidar', ms) for ms in range(begin_ms, end_ms - 40, SCAN_MS)]
    return sorted([*turns, *scans])


def run_live(live, drive):
    bench, buffer = live()
    buffer.set_transform_static(stamped('mast', 'lidar', ARM), 'test')
    for _, kind, ms in drive:
        if kind == 'tf':
            buffer.set_transform(stamped('base_link', 'mast', mast(ms), ms), 'test')
        else:
            bench.put('lidar', cloud(ms))
            bench.work()
            assert_adds_up(bench.runtime)
    bench.clock.advance(2.0)  # nothing more comes
    bench.work()
    assert bench.runtime.pipeline.ledger['lidar'].counts().held == 0
    assert_adds_up(bench.runtime)
    return bench


def bag_of(path, drive, *more):
    return bags.write(path, [*of_drive(drive), *more])


def of_drive(drive):
    yield 0, '/tf_static', bags.transforms(('mast', 'lidar', *ARM))
    for at, kind, ms in drive:
        if kind == 'tf':
            yield at, '/tf', bags.transforms(('base_link', 'mast', *mast(ms)), ms=ms)
        else:
            yield at, '/lidar', of_two_halves(ms)


def of_two_halves(ms):
    message = bags.cloud(ms)
    message.data = np.array([1.0, 2.0, 0.5], np.float32).view(np.uint8)
    return message


def test_a_sensor_on_a_turning_mast_lands_where_it_should_live_as_from_a_bag(live, tmp_path):
    drive = events(0, 3000)
    bench = run_live(live, drive)
    offline = fused_frames(bag_of(tmp_path / 'bag', drive), CONFIG)
    frames = list(offline)
    assert len(frames) == len(bench.frames) == 60
    for ours, theirs in zip(bench.frames, frames, strict=True):
        assert ours.stamp_ns == theirs.stamp_ns
        assert ours.tensors.keys() == theirs.tensors.keys()
        assert all(torch.equal(ours.tensors[name], theirs.tensors[name]) for name in ours.tensors)
        # Between two transforms the mast turns evenly: slerp is exact.
        assert placed(ours) == pytest.approx(on_mast((ours.stamp_ns - START_NS) / MS), abs=2e-5)


def test_a_scan_that_comes_before_the_transforms_of_its_time_waits_for_them(live, tmp_path):
    """Scans of 10 Hz come 10 ms after their stamps, and transforms 60 ms after theirs: all are used, in their order."""
    turns = [(ms + 60, 'tf', ms) for ms in range(0, 3000, TF_MS)]
    drive = sorted([*turns, *((ms + 10, 'lidar', ms) for ms in range(0, 2900, 100))])
    bench = run_live(live, drive)
    frames = list(fused_frames(bag_of(tmp_path / 'bag', drive), CONFIG))
    assert [frame.stamp_ns for frame in frames] == [
        START_NS + ms * MS for ms in range(100, 2900, 100)
    ]  # 0: no /tf at all
    for ours, theirs in zip(bench.frames, frames, strict=True):
        assert all(torch.equal(ours.tensors[name], theirs.tensors[name]) for name in ours.tensors)
        assert placed(ours) == pytest.approx(on_mast((ours.stamp_ns - START_NS) / MS), abs=2e-5)


def test_what_waits_is_held_and_let_go_when_the_node_is_deactivated(live):
    bench, buffer = live()
    buffer.set_transform_static(stamped('mast', 'lidar', ARM), 'test')
    buffer.set_transform(stamped('base_link', 'mast', mast(0), 0), 'test')
    bench.put('lidar', cloud(100), cloud(200))
    bench.work()
    assert bench.runtime.pipeline.num_held('lidar') == 2
    assert_adds_up(bench.runtime)
    bench.runtime.worker.stop()
    assert bench.runtime.pipeline.ledger['lidar'].counts().dropped == {'deactivated': 2}
    assert_adds_up(bench.runtime)


def test_a_scan_waits_no_longer_than_max_wait_by_the_stamps_of_its_stream(live):
    bench, buffer = live()
    buffer.set_transform_static(stamped('mast', 'lidar', ARM), 'test')
    buffer.set_transform(stamped('base_link', 'mast', mast(0), 0), 'test')
    dropped = bench.runtime.pipeline.ledger['lidar'].counts
    for ms, num_dropped in ((100, 0), (300, 0), (301, 1), (499, 1), (600, 3)):
        bench.put('lidar', cloud(ms))
        bench.work()
        assert dropped().dropped.get('no_transform', 0) == num_dropped


def refusals(found):
    return {reason: (each.message, each.count) for (_, reason), each in found.items()}


def test_a_stamp_outside_of_the_buffer_is_dropped_with_how_far_it_reaches(live, tmp_path):
    """Before the first transform, beyond the last one, and between them; the same ones live and from a bag."""
    drive = [(at, kind, ms + (50 if kind == 'tf' else 0)) for at, kind, ms in events(0, 1000)]
    drive = [event for event in drive if event[1] == 'lidar' or event[0] < 600]
    bench = run_live(live, drive)
    offline = fused_frames(bag_of(tmp_path / 'bag', drive), CONFIG)
    frames = list(offline)
    assert [frame.stamp_ns for frame in frames] == [frame.stamp_ns for frame in bench.frames]
    dropped = bench.runtime.pipeline.ledger['lidar'].counts().dropped
    assert offline.pipeline.ledger['lidar'].counts().dropped == dropped
    assert set(dropped) == {'no_transform'}
    first, last = (START_NS + ms * MS for ms in (50, 50 + 16 * TF_MS))
    kept = [ms for _, kind, ms in drive if kind == 'lidar' and first <= START_NS + ms * MS <= last]
    assert len(frames) == len(kept)
    (text, count), (of_tf, _) = (refusals(each)['no_transform'] for each in (
        offline.explanations, bench.runtime.drops.explanations))  # fmt: skip
    assert count == sum(dropped.values()) == 20 - len(kept)
    assert text == (
        "the pose of 'lidar' in 'base_link' is unknown at 1700000000.950 s: /tf has that of 'mast' from 1700000000.050 "
        'to 1700000000.642 s; it must be there, for the stamp, at the latest sync.max_wait after the message, or set '
        'lidar.extrinsics'
    )
    assert 'the latest data is at time 1700000000.642' in of_tf


def test_a_jump_of_time_empties_the_buffer_so_that_a_loop_needs_no_setting(live, tmp_path):
    """Of a bag that is played twice the second lap gives the frames of the first, though tf2 refuses old transforms."""
    lap = [(at, kind, ms) for at, kind, ms in events(0, 11_500) if kind == 'tf' or ms % 200 == 0]
    again = [(at + 11_500, kind, ms) for at, kind, ms in lap]
    bench = run_live(live, [*lap, *again])
    offline = fused_frames(bag_of(tmp_path / 'bag', [*lap, *again]), CONFIG)
    frames = list(offline)
    assert [frame.stamp_ns for frame in frames] == [frame.stamp_ns for frame in bench.frames]
    laps = [[placed(frame) for frame in frames if frame.epoch == epoch] for epoch in (0, 1)]
    assert len(laps[0]) - len(laps[1]) <= 3  # until transforms of the new time have come
    assert np.abs(np.array(laps[0][-len(laps[1]) :]) - np.array(laps[1])).max() < 1e-6


@pytest.mark.parametrize('late_ms', [0, 60])
@pytest.mark.parametrize('off_ms', [3_600_000, 100_000, -3_600_000])
def test_a_stamp_that_strays_costs_its_scan_alone(live, tmp_path, off_ms, late_ms):
    """Transforms come before the scans of their time, or after them."""
    turns = [(ms + late_ms, 'tf', ms) for ms in range(-200, 3000, TF_MS)]
    scans = [(ms + 40, 'lidar', ms + off_ms * (ms == 1000)) for ms in range(0, 2900, 100)]
    drive = sorted([*turns, *scans])
    bench = run_live(live, drive)
    offline = fused_frames(bag_of(tmp_path / 'bag', drive), CONFIG)
    expected = [START_NS + ms * MS for ms in range(0, 2900, 100) if ms != 1000]
    assert [frame.stamp_ns for frame in offline] == [frame.stamp_ns for frame in bench.frames] == expected
    for pipeline in (offline.pipeline, bench.runtime.pipeline):
        assert pipeline.ledger['lidar'].counts().dropped == {'no_transform': 1}
        assert pipeline.epoch == 0


def test_a_gyro_that_moves_on_the_robot_gives_no_motion_of_it(live):
    deskew = dataclasses.replace(LIDAR, deskew=DeskewConfig(source='imu'), extrinsics=(0.0,) * 6 + (1.0,))
    bench, buffer = live(dataclasses.replace(CONFIG, lidars=(deskew,), imus=(ImuConfig('imu', topic='/imu'),)))
    for ms in range(0, 100, 10):
        buffer.set_transform(stamped('base_link', 'imu', mast(ms), ms), 'test')
    bench.put('imu', imu(50))
    bench.work()
    ((text, count),) = refusals(bench.runtime.drops.explanations).values()
    assert count == 1
    assert text.startswith("the pose of 'imu' in 'base_link' moves: imu does not give the motion of 'base_link'")


# ---- the buffer of a bag ------------------------------------------------------------------------------------------


def history(*transforms):
    """A buffer with poses of ``mast`` in ``base_link`` at some ms."""
    buffer = TransformBuffer(StaticTransforms())
    for ms, pose in transforms:
        buffer.take(bags.transforms(('base_link', 'mast', *pose), ms=ms))
    return buffer


QUATERNIONS = st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 1e-3)
PLACES = st.tuples(*[st.floats(-50, 50)] * 3)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(PLACES, QUATERNIONS), min_size=2, max_size=2), st.integers(0, 20), st.sampled_from((1, 1e-7)))
def test_between_two_transforms_it_goes_as_tf2_does(poses, ms, apart):
    (t0, q0), (t1, q1) = poses
    q0 = np.array(q0) / np.linalg.norm(q0)
    q1 = q0 + (np.array(q1) / np.linalg.norm(q1) - q0) * apart  # also some that are next to each other
    if np.linalg.norm(q1) < 1e-3:
        return
    q1 = q1 / np.linalg.norm(q1)
    ends = [(0, (t0, tuple(q0.tolist()))), (20, (t1, tuple(q1.tolist())))]
    found, moves = history(*ends).pose('mast', 'base_link', START_NS + ms * MS)
    tf2 = tf2_stand_in.Buffer()
    for at, pose in ends:
        tf2.set_transform(stamped('base_link', 'mast', pose, at), 'test')
    (_, translation, quaternion) = tf2._at('mast', START_NS + ms * MS)
    assert moves
    expected, ours = (rotation.pose_matrix(pose) for pose in ((*translation, *quaternion), found))
    # A half-turn has two ways that are as short.
    if abs(q0 @ q1) > 1e-6:
        assert torch.allclose(ours, expected, rtol=0, atol=1e-7)


def test_memory_is_that_of_ten_seconds_by_stamps():
    buffer = history(*((ms, mast(ms)) for ms in range(0, 30_000, 10)))
    stamps = buffer._histories['mast'].stamps_ns
    assert len(stamps) == KEPT_NS // (10 * MS) + 1
    buffer.take(bags.transforms(('base_link', 'mast', *mast(0)), ms=0))  # too old
    assert stamps[0] == START_NS + 19_990 * MS
    with pytest.raises(DataError, match=r'from 1700000019\.990 to 1700000029\.990 s'):
        buffer.pose('mast', 'base_link', START_NS + 19_989 * MS)


def test_names_of_frames_fill_no_memory():
    buffer = history((0, mast(0)))
    buffer.take(bags.transforms(*(('base_link', f'f{i}', *ARM) for i in range(2 * MAX_FRAMES))))
    buffer.take(bags.transforms(('base_link', 'mast', *mast(100)), ms=100))
    assert len(buffer._histories) == MAX_FRAMES
    assert len(buffer.ignored) == MAX_IGNORED
    assert buffer.ignored[f'f{MAX_FRAMES}'].endswith(f'is ignored: /tf has {MAX_FRAMES} other frames already')
    assert buffer.pose('mast', 'base_link', START_NS + 50 * MS).moves


def test_what_is_missing_above_the_common_frame_does_not_matter():
    static = StaticTransforms()
    static.add('base_link', 'imu', (0.0, 0.0, 1.0), (0.0, 0.0, 0.0, 1.0))
    static.add('mast', 'lidar', *ARM)
    buffer = TransformBuffer(static)
    buffer.take(bags.transforms(('odom', 'base_link', *mast(0)), ms=0))
    for ms in (100, 200):
        buffer.take(bags.transforms(('base_link', 'mast', *mast(ms)), ms=ms))
    pose, moves = buffer.pose('imu', 'base_link', START_NS + 150 * MS)
    assert (pose[2], moves) == (1.0, False)
    assert buffer.pose('lidar', 'imu', START_NS + 150 * MS).moves
    with pytest.raises(DataError, match=r"'base_link' from 1700000000\.000 to 1700000000\.000 s"):
        buffer.pose('lidar', 'odom', START_NS + 150 * MS)
    with pytest.raises(DataError, match='neither /tf nor /tf_static of the bag joins them'):
        buffer.pose('lidar', 'camera', START_NS + 150 * MS)


def test_a_transform_that_comes_late_is_put_in_its_place_and_one_of_a_stamp_replaces_another():
    buffer = history((0, mast(0)), (200, mast(200)), (100, mast(150)), (100, mast(100)))
    matrix = rotation.pose_matrix(buffer.pose('mast', 'base_link', START_NS + 50 * MS).pose)
    assert torch.allclose(matrix, rotation.pose_matrix((*FOOT, *mast(50)[1])), rtol=0, atol=1e-6)


def test_what_tf2_ignores_on_tf_is_named_and_costs_itself_alone(tmp_path, caplog):
    drive = events(0, 500)
    bad = bags.transforms(('base_link', 'mast', (np.nan, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)), ms=250)
    frames = list(fused_frames(bag_of(tmp_path / 'bag', drive, (250, '/tf', bad)), CONFIG))
    assert len(frames) == len([event for event in drive if event[1] == 'lidar'])
    assert "a transform from 'base_link' to 'mast' on /tf is ignored: translation (nan" in caplog.text


def test_a_pose_that_is_unknown_since_its_transforms_are_ignored_names_why(tmp_path):
    scans = [event for event in events(0, 500) if event[1] == 'lidar']
    turns = [(ms, '/tf', bags.transforms(('base_link', 'mast', FOOT, (0.0, 0.0, 0.0, 0.5)), ms=ms)) for ms in (0, 250)]
    found = fused_frames(bag_of(tmp_path / 'bag', scans, *turns), CONFIG)
    assert list(found) == []
    ((text, _),) = refusals(found.explanations).values()
    assert "a transform from 'base_link' to 'mast' on /tf is ignored: the quaternion (0.0, 0.0, 0.0, 0.5)" in text
