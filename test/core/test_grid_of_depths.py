# SPDX-License-Identifier: Apache-2.0
"""Depth cameras in a grid, beside lidars and alone; their points are moved from the image's stamp to the target."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import driving, moving_walls, on_gpu
from support.cameras import straight_info
from support.driving import T0, assert_ledger
from support.images import message

from robocache_core import backends
from robocache_core.config import (
    ComputeConfig,
    DepthConfig,
    DepthVoxelConfig,
    EgoMotionConfig,
    GridConfig,
    ImuConfig,
    LidarConfig,
    MessageVectorConfig,
    PipelineConfig,
    SyncConfig,
    VoxelConfig,
)
from robocache_core.pipeline import Pipeline
from robocache_core.samples import CameraFrame, CloudLayout, EncodedImage, LidarScan, VectorSample
from robocache_core.tunable import ConfigError
from robocache_core.units import MS
from robocache_sim.sensors import robot

IDENTITY = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
TURNED = (0.1, -0.2, 0.3, 0.0, 0.0, math.sin(0.2), math.cos(0.2))
CHANNELS = ('count', 'mean:x', 'mean:z', 'max:y', 'min:z')
VOXEL = dataclasses.replace(driving.VOXEL, channels=CHANNELS)
WIDTH, HEIGHT = 24, 16
INFO = straight_info(WIDTH, HEIGHT, 12.0)
LAYOUT = CloudLayout.packed(('x', 'y', 'z', 'intensity'), 40)
GRID = ('all.coords', 'all.features', 'all.counts')


@pytest.fixture(params=['cpu', 'cuda'])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == 'cuda' and (why_not := on_gpu.why_not()) is not None:
        pytest.skip(why_not)
    return request.param


def lidar(name, **changes):
    return LidarConfig(name, **{'extrinsics': IDENTITY, 'min_range': 0.0, 'required': False} | changes)


def depth(name, **changes):
    own = {'extrinsics': IDENTITY, 'width': 12, 'height': 8, 'required': False, 'topic': f'/{name}/image_rect'}
    return DepthConfig(name, **own | changes)


def config(*names, order=None, voxel=VOXEL, device='cpu', **changes):
    """Lidars (a, b, …) and depth cameras (d, e, …) in one grid; ``a`` is the trigger where it is there."""
    own = {
        'lidars': tuple(lidar(name) for name in names if name < 'd'),
        'depths': tuple(depth(name) for name in names if name >= 'd'),
        'grids': (GridConfig('all', order or names, voxel),),
        'target_frame': 'base_link',
        'sync': SyncConfig(trigger=names[0]),
        'compute': ComputeConfig(device=device),
    }
    return PipelineConfig(**own | changes)


def pixels(name, ms=0):
    """Counts of an image, the same for the same name and time: some 0, some nearer or farther than the grid reaches."""
    random = np.random.default_rng([*map(ord, name), ms, 1])
    found = random.integers(200, 6000, (HEIGHT, WIDTH, 1))
    found[random.random(found.shape) < 0.2] = 0
    return found.astype(np.uint16)


def rows(name, ms=0):
    random = np.random.default_rng([*map(ord, name), ms])
    return random.uniform(-4.5, 4.5, (40, 4)).astype(np.float32)


def sample(name, ms, changed=None):
    stamp_ns = T0 + ms * MS
    if name < 'd':
        return LidarScan(stamp_ns, name, torch.from_numpy(rows(name, ms).view(np.uint8).reshape(-1)), LAYOUT)
    data, place = message(pixels(name, ms) if changed is None else changed)
    return CameraFrame(stamp_ns, f'{name}_optical', data, '16UC1', **place)


def make(made, info=INFO):
    pipeline = Pipeline(made, on_host=lambda: True)
    for camera in made.depths:
        pipeline.set_camera_info(camera.name, info)
    return pipeline


def feed(pipeline, *events):
    """Push ``(name, ms, ...)``, or ``(name, sample)``; return the frames."""
    frames = []
    for name, what, *args in events:
        pipeline.receive(name)
        pipeline.push(name, sample(name, what, *args) if isinstance(what, int) else what)
        frames += pipeline.poll()
    pipeline.give_up()
    return [*frames, *pipeline.poll()]


def bits(frame, names=GRID):
    return [(name, frame.tensors[name].cpu().numpy().tobytes()) for name in names]


OUTPUTS = pytest.mark.parametrize('output', ['sparse', 'dense'])


def by_output(output):
    return dataclasses.replace(VOXEL, output=output), (GRID if output == 'sparse' else ('all',))


@OUTPUTS
@pytest.mark.parametrize('pose', [IDENTITY, TURNED])
def test_a_grid_of_one_depth_camera_has_the_bits_of_its_own_voxels(output, pose):
    voxel, names = by_output(output)
    (frame,) = feed(make(config('d', voxel=voxel, depths=(depth('d', extrinsics=pose),))), ('d', 0))
    own = depth('d', extrinsics=pose, voxel=DepthVoxelConfig(**vars(voxel)))
    (alone,) = feed(make(config('d', depths=(own,), grids=())), ('d', 0))
    of_own = {'all.coords': 'd.coords', 'all.features': 'd.features', 'all.counts': 'd.counts', 'all': 'd.voxels'}
    assert all(torch.equal(frame.tensors[name], alone.tensors[of_own[name]]) for name in names)
    assert list(frame.tensors) == ['d', 'd.valid', *names]
    assert all(torch.equal(frame.tensors[name], alone.tensors[name]) for name in ('d', 'd.valid'))
    assert frame.valid == {'d': True, 'all': True}


@OUTPUTS
def test_a_grid_has_the_bits_of_the_union_of_all_points(device, output):
    """Those of a lidar and of two depth cameras, as NumPy unprojects them, in one cloud."""
    voxel, names = by_output(output)
    pipeline = make(config('a', 'd', 'e', voxel=voxel, device=device))
    (frame,) = feed(pipeline, ('e', 0), ('d', 0), ('a', 0))
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    ray = np.stack([(u - INFO.k[2]) / INFO.k[0], (v - INFO.k[5]) / INFO.k[4], np.ones_like(u)], axis=-1)
    clouds = [rows('a')[:, :3]]
    for name in ('d', 'e'):
        metres = (pixels(name) * 0.001).astype(np.float32)
        clouds.append((metres * ray.astype(np.float32))[metres[..., 0] > 0])
    union = np.concatenate(clouds)
    layout = CloudLayout.packed(('x', 'y', 'z'), len(union))
    whole = LidarScan(T0, 'a', torch.from_numpy(np.ascontiguousarray(union).view(np.uint8).reshape(-1)), layout)
    (expected,) = feed(make(config('a', voxel=voxel)), ('a', whole))
    assert bits(frame, names) == bits(expected, names)
    assert pipeline.points_dropped['d'] == {'invalid': int((pixels('d') == 0).sum())}
    kept = sum(map(len, clouds)) - pipeline.points_dropped['all']['outside']
    assert 0 < kept == (frame.tensors['all.counts'].sum() if output == 'sparse' else frame.tensors['all'][0].sum())


@settings(max_examples=25, deadline=None)
@given(st.permutations('abde'), st.permutations('abde'), st.sampled_from(backends.NAMES))
def test_the_order_of_the_sources_and_of_arrival_does_not_show(order, arrival, backend):
    moments = {'a': 50, 'b': 20, 'd': 70, 'e': 41}
    with backends.use(backend):
        pipeline = make(config('a', 'b', 'd', 'e', order=tuple(order)))
        (frame,) = feed(pipeline, *((name, moments[name]) for name in arrival))
    assert all(frame.valid.values())
    assert_ledger(pipeline)
    assert bits(frame) == of_that_order()


def of_that_order():
    (frame,) = feed(make(config('a', 'b', 'd', 'e')), ('b', 20), ('e', 41), ('a', 50), ('d', 70))
    return bits(frame)


def test_a_compressed_image_gives_the_bits_of_a_raw_one():
    raw = sample('d', 0)
    encoded = EncodedImage(raw.stamp_ns, raw.frame_id, 100, lambda: raw, encoding='16UC1')
    (expected,) = feed(make(config('a', 'd')), ('a', 0), ('d', 0))
    packed = depth('d', topic='/d/image_rect/compressedDepth')
    (frame,) = feed(make(config('a', 'd', depths=(packed,))), ('a', 0), ('d', encoded))
    assert bits(frame) == bits(expected)


def test_a_depth_camera_that_is_late_costs_its_share_and_nothing_else():
    """It ends after the first frame: it is blank from where it is too far from the target, and it is counted."""
    pipeline = make(config('a', 'd'))
    frames = feed(pipeline, ('d', 0), *(('a', ms) for ms in range(0, 500, 100)))
    expected = feed(make(config('a')), *(('a', ms) for ms in range(0, 500, 100)))
    assert [frame.valid['d'] for frame in frames] == [True, True, False, False, False]  # 100 ms are tolerated
    assert [bits(frame) for frame in frames[2:]] == [bits(frame) for frame in expected[2:]]
    assert all(frame.valid['all'] and list(frame.tensors) == ['d', 'd.valid', *GRID] for frame in frames)
    assert not any(frame.tensors['d.valid'].any() or 'd' in frame.age_ns for frame in frames[2:])
    assert pipeline.left_out == {'a': 0, 'd': 3}
    assert_ledger(pipeline)


def test_images_that_cannot_be_used_cost_their_share():
    """One before a calibration is there, and one that turns out to be damaged."""
    pipeline = Pipeline(config('a', 'd'), on_host=lambda: True)
    (frame,) = feed(pipeline, ('d', 0), ('a', 0))
    (expected,) = feed(make(config('a')), ('a', 0))
    assert pipeline.ledger['d'].counts().dropped == {'no_camera_info': 1}
    pipeline = make(config('a', 'd'))
    (damaged,) = feed(pipeline, ('d', dataclasses.replace(sample('d', 0), height=HEIGHT + 1)), ('a', 0))
    assert bits(frame) == bits(damaged) == bits(expected)
    assert damaged.valid == frame.valid == {'a': True, 'd': False, 'all': True}
    assert pipeline.left_out['d'] == 1
    assert_ledger(pipeline)


@pytest.mark.parametrize(('counts', 'without'), [(0, 0), (2000, 0), (20_000, 1), (7000, 1)])
def test_distances_of_which_none_is_in_the_grid_are_a_warning(counts, without):
    """But not an image without a distance: beyond the camera's reach (8 m), or the grid's (4 m)."""
    pipeline = make(config('d', depths=(depth('d', max_depth=8.0),)))
    (frame,) = feed(pipeline, ('d', 0, np.full((HEIGHT, WIDTH, 1), counts, np.uint16)))
    assert frame.valid == {'d': True, 'all': True}
    assert (len(frame.tensors['all.coords']) > 0) == (counts == 2000)
    assert pipeline.without_voxels['d'] == without


# ---- ego motion ------------------------------------------------------------------------------------------------------

ODOM = MessageVectorConfig('odom', message='nav_msgs/msg/Odometry')


def odometry(ms):
    """The robot drives to its left, by 1 m in 100 ms."""
    row = [7.0, -3.0 + ms / 100, 0.0, 0.0, 0.0, 0.0, 1.0, *(0.0,) * 6]
    return VectorSample(T0 + ms * MS, 'odom', torch.tensor(row), 'base_link')


def gyro(ms):
    """The robot turns to its left, by 90 degrees in 100 ms."""
    return VectorSample(T0 + ms * MS, 'imu', torch.tensor([0.0, 0.0, 5 * math.pi, 0.0, 0.0, 9.81]))


#: A point 2.5 m ahead and 0.5 m to the left and above, of the camera that looks along x: the pixel beside the middle.
AHEAD = (0.0, 0.0, 0.0, -0.5, 0.5, -0.5, 0.5)
POINT = np.zeros((2, 2, 1), np.uint16)
POINT[0, 0] = 2500
SOURCES = {'odom': (odometry, {'vectors': (ODOM,)}), 'imu': (gyro, {'imus': (ImuConfig('imu', extrinsics=IDENTITY),)})}


def moved(source, camera, **changes):
    """A pipeline whose targets are 100 ms apart, and the readings of its source of motion; of none, of an odometry."""
    name = 'odom' if source == 'none' else source
    reading, streams = SOURCES[name]
    own = {'depths': (camera,), 'lidars': (), 'sync': SyncConfig(rate_hz=10.0), **streams}
    pipeline = make(config('d', **own | changes), straight_info(2, 2, 2.5))
    return pipeline, [(name, reading(ms)) for ms in range(0, 410, 10)]


@pytest.mark.parametrize(
    ('source', 'coords'), [('none', [4, 4, 6]), ('odom', [4, 3, 6]), ('imu', [4, 1, 4])], ids=['none', 'odom', 'imu']
)
@pytest.mark.parametrize('in_grid', [True, False])
def test_motion_from_the_image_to_the_target_is_undone(device, source, coords, in_grid):
    """Of the image 100 ms before the target: the robot was a metre to the right, or looked 90 degrees to the right."""
    own = DepthVoxelConfig() if in_grid else DepthVoxelConfig(**vars(VOXEL))
    camera = depth('d', extrinsics=AHEAD, voxel=own, deskew=EgoMotionConfig(source=source))
    grids = {} if in_grid else {'grids': ()}
    pipeline, readings = moved(source, camera, compute=ComputeConfig(device=device), **grids)
    images = ('d', 100, POINT), ('d', 301, POINT)  # the first is the nearer one to the target of 200 ms
    frames = feed(pipeline, *readings[:12], images[0], *readings[12:31], images[1], *readings[31:])
    found = {(frame.stamp_ns - T0) // MS: frame for frame in frames if frame.valid['d']}
    tensor = 'all.coords' if in_grid else 'd.coords'
    assert found[100].tensors[tensor].tolist() == [[4, 4, 6]]
    assert found[200].tensors[tensor].tolist() == [coords]
    assert_ledger(pipeline)


def test_motion_that_does_not_cover_the_way_to_the_target_is_a_reason():
    """The odometry is silent from 80 to 320 ms."""
    camera = depth('d', extrinsics=AHEAD, deskew=EgoMotionConfig(source='odom'))
    odom = dataclasses.replace(ODOM, required=False)
    pipeline, refused = make(config('a', 'd', depths=(camera,), vectors=(odom,))), []
    pipeline.on_refused = lambda *refusal: refused.append(refusal)
    readings = [('odom', odometry(ms)) for ms in (*range(0, 90, 10), *range(320, 420, 10))]
    (frame,) = feed(pipeline, *readings[:9], ('d', 105), ('a', 200), *readings[9:])
    (expected,) = feed(make(config('a')), ('a', 200))
    assert frame.valid == {'a': True, 'd': False, 'odom': False, 'all': True}
    assert bits(frame) == bits(expected)
    ((name, reason, said),) = refused
    assert (name, reason) == ('d', 'no_motion')
    assert 'apart' in said
    assert pipeline.ledger['d'].counts().dropped == {'no_motion': 1}
    assert_ledger(pipeline)


def test_targets_that_are_passed_over_count_as_those_that_are_computed():
    counts = []
    for computes in (True, False):
        pipeline, readings = moved('odom', depth('d', extrinsics=AHEAD, deskew=EgoMotionConfig(source='odom')))
        pipeline.computes = computes
        feed(pipeline, *readings[:12], ('d', 103, POINT), *readings[12:31], ('d', 305, POINT), *readings[31:])
        counts.append({name: account.counts() for name, account in pipeline.ledger.items()})
        assert_ledger(pipeline)
    assert counts[0] == counts[1]


def test_walls_of_a_lidar_and_a_depth_camera_are_one_voxel_thick():
    """At 5 m/s and 1.1 rad/s, with an image 44 ms before the target and odometry that slips; not without ego motion.

    Nor where the depth camera, one without noise, alone is not moved.
    """
    moving = robot(speed=5.0, yaw_rate=5.0 / 4.5, lidar_rings=32, depth=True)
    moving = dataclasses.replace(moving, depths=(dataclasses.replace(moving.depths[0], range_noise=0.0),))
    names = ('lidar', 'front_depth')
    measured = moving_walls.samples(moving, names)

    def walls(source, **changes):
        frame = moving_walls.frame_at(moving, moving_walls.settings(moving, names, source, **changes), 1400, measured)
        assert all(frame.valid.values())
        assert frame.age_ns['front_depth'] > 43 * MS
        return moving_walls.error_and_stray(moving, frame)

    standing = moving_walls.settings(moving, names, 'none').depths
    error, stray = walls('odom')
    assert error < 0.025, (error, stray)
    assert stray < 0.002, (error, stray)
    for each in (walls('none'), walls('odom', depths=standing)):
        assert each[0] > 0.2, each
        assert each[1] > 0.03, each


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        (
            {'grids': (GridConfig('all', ('a', 'd'), VoxelConfig()),)},
            "all.voxel.channels has 'max:intensity': the points of d, a depth camera, have x, y, z alone",
        ),
        ({'order': ('a', 'x')}, r"all.from = \['a', 'x'\]: must name lidars or depth cameras, of a, d"),
        (
            {'grids': (GridConfig('p', ('a', 'd'), VOXEL), GridConfig('q', ('d',), VOXEL))},
            r"q.from = \['d'\]: d is in p; name another",
        ),
        (
            {'depths': (depth('d', voxel=DepthVoxelConfig(output='dense')),)},
            'd.voxel: has no effect, as it is in all; set all.voxel instead',
        ),
        (
            {'target_frame': ''},
            'target_frame: must be set where there are several lidars, or depth cameras with voxels',
        ),
        (
            {'depths': (depth('d', deskew=EgoMotionConfig(source='odom')),)},
            r"d.deskew.source = 'odom': must be none or name an IMU stream, or a vector of odometry \(there is none\)",
        ),
        (
            {
                'depths': (depth('d', deskew=EgoMotionConfig(source='odom', gyro_bias=(0.1, 0.0, 0.0))),),
                'vectors': (ODOM,),
            },
            r'd.deskew.gyro_bias = .*: is of an IMU, which odom is not',
        ),
        (
            {
                'depths': (depth('d', deskew=EgoMotionConfig(source='odom')),),
                'vectors': (ODOM,),
                'order': ('a',),
            },
            "d.deskew.source = 'odom': has no effect, as there are no voxels of its points; set d.voxel.output, or",
        ),
    ],
)
def test_settings_that_do_not_fit_each_other(changes, text):
    with pytest.raises(ConfigError, match=text):
        config('a', 'd', **changes)


def test_a_depth_camera_in_a_grid_has_its_voxel_settings_and_no_voxels():
    made = config('a', 'd', 'e', order=('a', 'd'))
    assert [vars(each.voxel) for each in made.depths] == [vars(VOXEL), vars(DepthVoxelConfig())]
    assert [each.name for each in made.voxelized] == ['all']
    assert dataclasses.replace(made, target_frame='odom').depths == made.depths
