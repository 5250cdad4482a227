# SPDX-License-Identifier: Apache-2.0
"""Samples in, frames out, and a ledger that adds up whatever arrives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.driving import IMU, T0, VOXEL, Robot, assert_ledger, image, lidar

from robocache_core import ops
from robocache_core.config import (
    BackpressureConfig,
    CameraConfig,
    ComputeConfig,
    ImuConfig,
    LidarConfig,
    PipelineConfig,
    SyncConfig,
    VoxelConfig,
)
from robocache_core.ledger import Reason
from robocache_core.pipeline import Pipeline
from robocache_core.samples import CloudLayout, DataError, EncodedImage, LidarScan, VectorSample
from robocache_core.tunable import ConfigError
from robocache_core.units import MS, SECOND

CAMERA = CameraConfig('front', width=4, height=2, tolerance_ns=50 * MS)


def config(**changes):
    return PipelineConfig(**{'lidars': (lidar(),), 'cameras': (CAMERA,), 'imus': (IMU,)} | changes)


def scan(stamp_ns, points=((1.5, 1.5, 1.5), (1.5, 1.5, 1.75)), frame_id='lidar'):
    data = torch.tensor(points, dtype=torch.float32).view(torch.uint8).flatten()
    return LidarScan(stamp_ns, frame_id, data, CloudLayout.packed(('x', 'y', 'z'), len(points)))


def reading(stamp_ns):
    return VectorSample(stamp_ns, 'imu', torch.full((6,), (stamp_ns - T0) / SECOND))


ROBOT = Robot(lidar=scan, front=image, imu=reading)
push, feed = ROBOT.push, ROBOT.feed


def drive(milliseconds, start=0):
    """Events of a robot: lidar 10 Hz, camera 15 Hz, IMU 100 Hz, in the order of stamps."""
    events = [('lidar', ms) for ms in range(start, start + milliseconds, 100)]
    events += [('front', ms) for ms in range(start, start + milliseconds, 67)]
    events += [('imu', ms) for ms in range(start, start + milliseconds, 10)]
    return sorted(events, key=lambda event: event[1])


def test_a_frame_holds_every_stream():
    pipeline = Pipeline(config())
    frames = feed(pipeline, *drive(1000))
    assert [frame.stamp_ns - T0 for frame in frames] == [ms * MS for ms in range(100, 1000, 100)]
    assert [frame.sequence for frame in frames] == list(range(9))
    frame = frames[3]
    assert frame.valid == {'lidar': True, 'front': True, 'imu': True}
    assert frame.frame_id == 'lidar'
    assert frame.tensors['lidar.coords'].tolist() == [[5, 5, 5]]
    assert frame.tensors['lidar.counts'].tolist() == [2]
    assert frame.tensors['lidar.features'][0].tolist() == pytest.approx([2.0, 0.125], abs=1e-4)
    assert frame.tensors['front'].shape == (3, 2, 4)
    assert frame.tensors['front'].dtype == torch.float16
    assert frame.tensors['imu'][:, 0].tolist() == pytest.approx([0.38, 0.39, 0.4])
    assert frame.tensors['imu.valid'].all()
    assert frame.age_ns['lidar'] == 0
    assert abs(frame.age_ns['front']) <= 34 * MS
    # The first target lies before the IMU's window can be filled.
    assert pipeline.targets.counts().dropped == {'missing:imu': 1}
    assert_ledger(pipeline)


def test_dense_and_sparse_hold_the_same():
    results = {}
    for output in ('dense', 'sparse'):
        voxel = VoxelConfig(**{**VOXEL.__dict__, 'output': output})
        pipeline = Pipeline(PipelineConfig(lidars=(LidarConfig('lidar', voxel=voxel, min_range=0.0),)))
        results[output] = feed(pipeline, ('lidar', 0))[0].tensors
    dense = results['dense']['lidar']
    z, y, x = results['sparse']['lidar.coords'][0].tolist()
    assert dense.shape == (2, 8, 8, 8)
    assert torch.equal(dense[:, z, y, x], results['sparse']['lidar.features'][0])
    assert dense.count_nonzero() == 2


def test_optional_stream_that_is_missing_is_marked_and_the_frame_keeps_its_names():
    camera = CameraConfig('front', width=4, height=2, required=False)
    pipeline = Pipeline(config(cameras=(camera,)))
    frames = feed(pipeline, *(event for event in drive(1000) if event[0] != 'front'))
    assert frames
    assert all(frame.valid['front'] is False for frame in frames)
    assert frames[0].tensors['front'].shape == (3, 2, 4)
    assert not frames[0].tensors['front'].any()
    assert 'front' not in frames[0].age_ns


def test_required_stream_that_is_missing_drops_the_frame_by_name():
    pipeline = Pipeline(config())
    assert feed(pipeline, *(event for event in drive(1000) if event[0] != 'front')) == []
    dropped = pipeline.targets.counts().dropped
    assert dropped['missing:front'] >= 7
    assert pipeline.ledger['lidar'].counts().used == 0
    assert pipeline.behind() == {'front': None}
    assert_ledger(pipeline)


def test_cloud_of_nan_is_dropped_with_its_reason_and_the_next_frame_comes():
    nan = float('nan')
    pipeline = Pipeline(PipelineConfig(lidars=(lidar(),)))
    frames = feed(pipeline, ('lidar', 0), ('lidar', 100, ((nan, nan, nan),)), ('lidar', 200))
    assert [frame.stamp_ns - T0 for frame in frames] == [0, 200 * MS]
    assert pipeline.ledger['lidar'].counts().dropped == {'all_non_finite': 1}
    assert pipeline.targets.counts().dropped == {'all_non_finite:lidar': 1}
    assert_ledger(pipeline)


def test_unknown_encoding_of_an_optional_camera_does_not_cost_the_frame():
    camera = CameraConfig('front', width=4, height=2, required=False)
    pipeline = Pipeline(PipelineConfig(lidars=(lidar(),), cameras=(camera,)))
    frames = feed(pipeline, ('front', 0, 'what'), ('lidar', 0))
    assert frames[0].valid == {'lidar': True, 'front': False}
    assert pipeline.ledger['front'].counts().dropped == {'unknown_encoding': 1}


def test_missing_transform_drops_the_scan_never_identity():
    pipeline = Pipeline(PipelineConfig(lidars=(lidar(),), target_frame='base_link'))
    assert feed(pipeline, ('lidar', 0)) == []
    assert pipeline.ledger['lidar'].counts().dropped == {'no_transform': 1}
    pipeline.set_pose('lidar', 'lidar', torch.eye(4))
    assert feed(pipeline, ('lidar', 100))[0].frame_id == 'base_link'


def test_extrinsics_move_the_points():
    half = 2**-0.5
    moved = lidar(extrinsics=(0.0, 0.0, 1.0, 0.0, 0.0, half, half))  # 90 degrees about z, 1 m up
    pipeline = Pipeline(PipelineConfig(lidars=(moved,), target_frame='base_link'))
    frame = feed(pipeline, ('lidar', 0, ((2.5, 0.5, 0.5),)))[0]
    assert frame.tensors['lidar.coords'].tolist() == [[5, 6, 3]]  # z 1.5, y 2.5, x -0.5


def test_a_bag_loop_starts_an_epoch_and_frames_go_on():
    pipeline = Pipeline(config())
    first = feed(pipeline, *drive(2000))
    assert len(first) > 10
    second = feed(pipeline, *drive(2000))
    assert [frame.epoch for frame in first + second] == [0] * len(first) + [1] * len(second)
    assert [f.stamp_ns for f in first] == [f.stamp_ns for f in second]
    for one, two in zip(first, second, strict=True):
        assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)
    assert [frame.sequence for frame in first + second] == list(range(len(first) + len(second)))
    assert_ledger(pipeline)


def test_poll_late_or_early_gives_the_same_frames():
    events = drive(1000)
    eager, lazy = Pipeline(config()), Pipeline(config())
    frames = feed(eager, *events)
    for name, ms in events:
        push(lazy, name, ms)
    late = lazy.poll()
    assert len(frames) >= 8
    assert [f.stamp_ns for f in late] == [f.stamp_ns for f in frames]
    for one, two in zip(frames, late, strict=True):
        assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)


def test_ready_targets_are_bounded_and_overruns_counted():
    limits = BackpressureConfig(max_ready=4, high_watermark=3)
    pipeline = Pipeline(config(backpressure=limits))
    for name, ms in drive(1000):
        push(pipeline, name, ms)
    assert pipeline.num_ready == 4
    assert pipeline.targets.counts().dropped['overrun'] == 6
    assert_ledger(pipeline)
    assert [frame.stamp_ns - T0 for frame in pipeline.poll()] == [ms * MS for ms in (600, 700, 800, 900)]
    assert_ledger(pipeline)


def test_clear_drops_everything_that_is_held():
    pipeline = Pipeline(config())
    for name, ms in drive(500):
        push(pipeline, name, ms)
    pipeline.clear('deactivated')
    for name, account in pipeline.ledger.items():
        counts = account.counts()
        assert counts.held == pipeline.num_held(name) == 0
        assert counts.dropped['deactivated'] > 0
    assert pipeline.targets.counts().held == 0


def test_give_up_ends_the_wait():
    camera = CameraConfig('front', width=4, height=2, required=False)
    pipeline = Pipeline(PipelineConfig(lidars=(lidar(),), cameras=(camera,)))
    assert feed(pipeline, ('lidar', 0)) == []
    pipeline.give_up()
    assert [frame.valid['front'] for frame in pipeline.poll()] == [False]


def test_the_number_of_threads_reaches_the_operations(each_backend):
    before = ops.num_threads()
    try:
        for wanted in (1, 3):
            Pipeline(config(compute=ComputeConfig(num_threads=wanted)))
            assert ops.num_threads() == (1 if each_backend.name == 'reference' else wanted)
    finally:
        ops.set_num_threads(before)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(('lidar', 'front', 'imu')), st.integers(0, 3000)), max_size=80),
    st.sampled_from(({}, {'rate_hz': 30.0}, {'max_wait_ns': 0}, {'trigger': 'front'})),
    st.integers(1, 4),
)
def test_ledger_adds_up_whatever_arrives_in_whatever_order(events, sync, keep_every):
    pipeline = Pipeline(config(sync=SyncConfig(**sync), backpressure=BackpressureConfig(max_ready=5, high_watermark=4)))
    pipeline.keep_every = keep_every
    last = None
    for i, (name, ms) in enumerate(events):
        push(pipeline, name, ms)
        for frame in pipeline.poll(limit=1) if i % 3 == 0 else []:
            assert last is None or (frame.epoch, frame.stamp_ns) > last
            last = frame.epoch, frame.stamp_ns
        assert_ledger(pipeline)
    pipeline.give_up()
    pipeline.poll()
    assert_ledger(pipeline)
    assert pipeline.targets.counts().held == 0


def test_encoded_image_is_decoded_only_when_a_frame_uses_it():
    decoded = []

    def encoded(stamp_ns, error=None):
        def decode():
            decoded.append(stamp_ns - T0)
            if error:
                raise error
            return image(stamp_ns)

        return EncodedImage(stamp_ns, 'front', 10, decode)

    pipeline = Pipeline(PipelineConfig(lidars=(lidar(),), cameras=(CAMERA,)))
    events = [('front', 10), ('front', 30), ('front', 101), ('lidar', 100)]
    for event in (*events, ('front', 201, DataError(Reason.DECODE_FAILED, 'damaged')), ('lidar', 200)):
        Robot(lidar=scan, front=encoded).push(pipeline, *event)
    assert [frame.stamp_ns - T0 for frame in pipeline.poll()] == [100 * MS]
    assert decoded == [101 * MS, 201 * MS]
    assert pipeline.ledger['front'].counts().dropped == {'unselected': 2, 'decode_failed': 1}
    assert pipeline.targets.counts().dropped == {'decode_failed:front': 1}
    assert_ledger(pipeline)


def test_a_fault_in_compute_is_counted_once_and_leaks_nothing(monkeypatch):
    pipeline = Pipeline(PipelineConfig(lidars=(lidar(),)))
    with monkeypatch.context() as patch:
        patch.setattr('robocache_core.ops.voxelize_sparse', lambda *args, **kwargs: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            feed(pipeline, ('lidar', 0))
    assert len(feed(pipeline, ('lidar', 100))) == 1
    assert pipeline.targets.counts().dropped == {'internal_error': 1}
    pipeline.clear('deactivated')
    assert pipeline.ledger['lidar'].counts().dropped == {'internal_error': 1}
    assert_ledger(pipeline)


def test_frames_that_are_done_are_not_lost_to_a_fault_behind_them(monkeypatch):
    pipeline = Pipeline(PipelineConfig(lidars=(lidar(),)))
    for ms in (0, 100, 200, 300):
        push(pipeline, 'lidar', ms)
    calls, voxelize = [], ops.voxelize_sparse
    with monkeypatch.context() as patch:
        patch.setattr(
            ops,
            'voxelize_sparse',
            lambda *a, **k: calls.append(0) or (voxelize(*a, **k) if len(calls) != 3 else 1 // 0),
        )
        frames = pipeline.poll()
        assert [frame.stamp_ns - T0 for frame in frames] == [0, 100 * MS]
        with pytest.raises(ZeroDivisionError):
            pipeline.poll()
        frames += pipeline.poll()
    assert [frame.sequence for frame in frames] == [0, 1, 2]
    assert pipeline.targets.counts().used == 3
    assert pipeline.targets.counts().dropped == {'internal_error': 1}
    assert_ledger(pipeline)


def test_the_frame_is_that_of_the_voxels_whatever_is_missing():
    config = PipelineConfig(
        lidars=(lidar(required=False),),
        cameras=(CameraConfig('front', width=4, height=2),),
        sync=SyncConfig(trigger='front'),
    )
    pipeline = Pipeline(config)
    without = feed(pipeline, *(('front', ms) for ms in range(0, 600, 100)))
    assert without
    assert {frame.frame_id for frame in without} == {''}
    both = feed(pipeline, *((name, ms) for ms in range(600, 1200, 100) for name in ('lidar', 'front')))
    assert both[-1].frame_id == 'lidar'


def test_samples_of_a_dropped_target_bear_its_reason():
    pipeline = Pipeline(config())
    feed(pipeline, *(event for event in drive(1000) if event[0] != 'front'))
    dropped = pipeline.ledger['lidar'].counts().dropped
    assert dropped['missing:front'] >= 6
    assert 'unselected' not in dropped


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        ({'lidars': (lidar(extrinsics=(0.0,) * 6 + (1.0,)),)}, 'lidar.extrinsics'),
        ({'lidars': (lidar(), LidarConfig('rear'))}, 'target_frame'),
        ({'sync': SyncConfig(max_wait_ns=3 * SECOND)}, 'sync.max_wait'),
        ({'cameras': (CameraConfig('decode'),)}, "stream name 'decode': is that of a stage"),
        ({'sync': SyncConfig(trigger='lidar', rate_hz=10.0)}, "sync.trigger = 'lidar' and sync.rate_hz = 10.0"),
        ({'imus': (ImuConfig('imu', window_size=1000),)}, 'imu.buffer'),
        ({'imus': (ImuConfig('imu', window_offset_ns=SECOND),)}, 'imu.window_offset'),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused_by_name(change, named):
    with pytest.raises(ConfigError, match=named):
        config(**change)


@pytest.mark.parametrize('setting', [{'scale': 1e39}, {'pad': 1e39}, {'mean': (1e38,) * 3, 'std': (1e-3,) * 3}])
def test_normalisation_beyond_float32_is_refused_by_name(setting):
    with pytest.raises(ConfigError, match=f'front.{next(iter(setting))} = '):
        CameraConfig('front', **setting)


@pytest.mark.parametrize('channels', [('cuont',), ('mean',), ('mean:',), ('max:z', 'max:z'), (), ('count',) * 40])
def test_bad_channels_are_refused_by_name(channels):
    with pytest.raises(ConfigError, match='channels'):
        VoxelConfig(channels=channels)
