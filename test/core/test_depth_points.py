# SPDX-License-Identifier: Apache-2.0
"""Depth images as clouds: rays against OpenCV and Open3D, the bits of the same points in a list, and the walls."""

from __future__ import annotations

import dataclasses
import importlib
import tracemalloc

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cameras import HEIGHT, MODELS, WIDTH, K, P, R, make_info, straight_info
from support.images import INF, NAN, message, random_pixels

from robocache_core import ops
from robocache_core.config import DepthConfig, LidarConfig, PipelineConfig
from robocache_core.ops import DepthLayout, VoxelGrid
from robocache_core.pipeline import Pipeline
from robocache_core.rays import rays_of
from robocache_core.rotation import pose_matrix
from robocache_core.samples import CameraFrame, CloudLayout, DataError
from robocache_core.streams.depth import DepthVoxelConfig
from robocache_core.tunable import ConfigError
from robocache_sim.samples import depth_frame
from robocache_sim.sensors import robot

GRID = VoxelGrid(lower=(-8.0, -6.0, 0.0), size=(0.25, 0.3, 0.5), shape=(64, 40, 60))
CHANNELS = ('count', 'occupancy', 'density', 'mean:x', 'mean:y', 'mean:z', 'max:x', 'min:z')
TURNED = pose_matrix((0.1, -0.2, 0.3, 0.1, 0.2, -0.3, 0.927))


@st.composite
def depth_clouds(draw):
    encoding = draw(st.sampled_from(['16UC1', '32FC1']))
    width, height = draw(st.integers(1, 70)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if encoding == '16UC1':
        pixels = rng.integers(0, 20_000, (height, width, 1)).astype(np.uint16)
    else:
        pixels = rng.uniform(-1, 20, (height, width, 1)).astype(np.float32)
        odd = rng.choice([NAN, INF, -INF, -0.0, 1e-42, 3e38], pixels.shape)
        pixels = np.where(rng.random(pixels.shape) < 0.2, odd, pixels).astype(np.float32)
    pixels[rng.random(pixels.shape) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = 0
    data, place = message(pixels, draw(st.integers(0, 7)), draw(st.booleans()))
    rays = rays_of(
        straight_info(width, height, draw(st.sampled_from([20.0, 60.0]))), width=width, height=height
    ).numpy()
    rays[rng.random((height, width)) < draw(st.sampled_from([0.0, 0.1]))] = NAN
    low, high = draw(st.sampled_from([(0.0, INF), (0.5, 12.0)]))
    return data, DepthLayout(encoding, rays=torch.from_numpy(rays), min_depth=low, max_depth=high, **place)


@given(depth_clouds(), st.sampled_from([None, TURNED]), st.sampled_from([(0.0, INF), (1.0, 9.0)]))
@settings(max_examples=100, deadline=None)
def test_parity(assert_parity, cloud, transform, limits):
    data, layout = cloud
    near = {'transform': transform, 'min_range': limits[0], 'max_range': limits[1]}
    assert_parity(ops.deskew_points, data, layout, **near)
    dense = assert_parity(ops.voxelize_dense, data, layout, GRID, CHANNELS, **near)
    assert_parity(ops.voxelize_dense, data, layout, GRID, ('count', 'occupancy'), **near)
    sparse = assert_parity(ops.voxelize_sparse, data, layout, GRID, CHANNELS, **near)
    hard = assert_parity(ops.voxelize_hard, data, layout, GRID, ('x', 'y', 'z'), max_points=4, **near)
    assert int(dense.tensor[0].sum()) == int(sparse.counts.sum()) == layout.num_points - sum(sparse.dropped.values())
    assert torch.equal(hard.coords, sparse.coords)


@given(depth_clouds(), st.sampled_from([None, TURNED]))
@settings(max_examples=50, deadline=None)
def test_voxels_are_those_of_a_list_of_the_points(cloud, transform):
    data, layout = cloud
    metres, valid = ops.prepare_depth(
        data, encoding=layout.encoding, width=layout.width, height=layout.height, step=layout.step,
        is_bigendian=layout.is_bigendian, out_width=layout.width, out_height=layout.height,
        min_depth=layout.min_depth, max_depth=layout.max_depth,
    )  # fmt: skip
    points = (metres[0, ..., None] * layout.rays)[valid[0]].contiguous()
    as_list = points.view(torch.uint8).reshape(-1), CloudLayout.packed(('x', 'y', 'z'), len(points))
    expected = ops.voxelize_sparse(*as_list, GRID, CHANNELS, transform=transform)
    found = ops.voxelize_sparse(data, layout, GRID, CHANNELS, transform=transform)
    for name in ('coords', 'features', 'counts'):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    assert found.dropped['outside'] == expected.dropped['outside']


# --- rays


@pytest.mark.parametrize('model', MODELS)
def test_rays_of_a_raw_image_are_opencv_s(model):
    info = make_info(model)
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    pixels, d = np.stack([u, v], axis=-1).reshape(-1, 1, 2), np.array(info.d)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 200, 1e-12)
    if model == 'equidistant':
        expected = cv2.fisheye.undistortPoints(pixels, K, d, criteria=criteria)
    else:
        expected = cv2.undistortPoints(pixels, K, d, criteria=criteria)
    rays = rays_of(info, width=WIDTH, height=HEIGHT).numpy()
    # OpenCV's search is slow to end in the corners, where the test below looks.
    inner = slice(20, HEIGHT - 20), slice(20, WIDTH - 20)
    expected = expected.reshape(HEIGHT, WIDTH, 2)
    np.testing.assert_allclose(rays[inner][..., :2], expected[inner], atol=2e-6)
    assert (rays[inner][..., 2] == 1).all()


@pytest.mark.parametrize('model', MODELS)
def test_the_lens_bends_rays_back_to_their_pixels(model):
    info = make_info(model)
    rays = rays_of(info, width=WIDTH, height=HEIGHT).double().numpy()
    project = cv2.fisheye.projectPoints if model == 'equidistant' else cv2.projectPoints
    zero = np.zeros(3)
    found = project(rays.reshape(-1, 1, 3), zero, zero, K, np.array(info.d))[0]
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH]
    seen = ~np.isnan(rays).any(axis=-1)
    assert (~seen).sum() < 20, 'the rational model turns the image over in its corner'
    np.testing.assert_allclose(found.reshape(HEIGHT, WIDTH, 2)[seen], np.stack([u, v], axis=-1)[seen], atol=1e-3)


def test_rays_of_a_rectified_image_are_those_of_p_and_r():
    rays = rays_of(make_info(), width=WIDTH, height=HEIGHT, is_rectified=True).double().numpy()
    in_rectified = rays @ R.T
    np.testing.assert_allclose(in_rectified[..., 2], 1, atol=1e-6)
    found = in_rectified @ P[:, :3].T
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH]
    np.testing.assert_allclose(found[..., :2], np.stack([u, v], axis=-1), atol=1e-3)


def test_rays_take_little_memory_beside_their_own():
    info = make_info('plumb_bob')
    tracemalloc.start()
    try:
        rays = rays_of(info, width=2 * WIDTH, height=2 * HEIGHT)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < rays.nbytes + (8 << 20)


def test_an_image_that_was_scaled_has_the_rays_of_its_pixels():
    whole = rays_of(straight_info(64, 48), width=64, height=48).numpy()
    half = rays_of(straight_info(64, 48), width=32, height=24).numpy()
    np.testing.assert_allclose(half, whole.reshape(24, 2, 32, 2, 3).mean(axis=(1, 3)), atol=1e-6)


def test_where_the_lens_shows_nothing_there_is_no_point():
    """Coefficients that turn the image over before its corners."""
    rays = rays_of(make_info('plumb_bob', d=(-0.9, 0.0, 0.0, 0.0)), width=WIDTH, height=HEIGHT)
    lost = rays.isnan().all(dim=-1)
    assert lost[0, 0]
    assert not lost[HEIGHT // 2, WIDTH // 2]
    data, place = message(np.full((HEIGHT, WIDTH, 1), 1000, np.uint16))
    _, valid = ops.deskew_points(data, DepthLayout('16UC1', rays=rays, **place))
    assert torch.equal(valid.view(HEIGHT, WIDTH), ~lost)


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'k': (0.0,) * 9}, 'not calibrated'),
        ({'width': 0}, 'not calibrated'),
        ({'d': (NAN,) * 5}, 'must be finite'),
        ({'distortion_model': 'fov'}, 'must be one of'),
    ],
)
def test_a_calibration_that_is_none_is_refused(changes, text):
    with pytest.raises(DataError, match=text) as error:
        rays_of(make_info(**changes), width=WIDTH, height=HEIGHT)
    assert error.value.reason == 'bad_camera_info'


def test_points_are_those_of_open3d():
    try:
        open3d = importlib.import_module('open3d')
    except ImportError as error:
        pytest.skip(f'oracle open3d is missing ({error}): pip install open3d-cpu')
    pixels = random_pixels('16UC1', 64, 48)[..., 0]
    pixels[::3] = 0
    info = straight_info(64, 48)
    intrinsic = open3d.camera.PinholeCameraIntrinsic(64, 48, 60.0, 60.0, info.k[2], info.k[5])
    cloud = open3d.geometry.PointCloud.create_from_depth_image(
        open3d.geometry.Image(pixels), intrinsic, depth_scale=1000.0, depth_trunc=20.0
    )
    data, place = message(pixels[..., None])
    layout = DepthLayout('16UC1', rays=rays_of(info, width=64, height=48), max_depth=20.0, **place)
    points, valid = ops.deskew_points(data, layout)
    np.testing.assert_allclose(points[valid].numpy(), np.asarray(cloud.points), rtol=0, atol=1e-5)


# --- the pipeline

VOXEL = DepthVoxelConfig(size=(0.1, 0.1, 0.1), lower=(-2.0, -6.0, -0.5), upper=(12.0, 6.0, 4.0), output='sparse')


def test_voxels_stand_where_the_scene_is():
    """Of a robot at rest: every voxel's mean is on a surface, but for the camera's noise and the edges of things."""
    sim = robot(seed=3, speed=0.0, yaw_rate=0.0, depth=True)
    camera = sim.depths[0]
    pose = (*camera.pose.translation.tolist(), *camera.pose.quaternion.tolist())
    config = DepthConfig('depth', topic='/depth/image_rect_raw', voxel=VOXEL, extrinsics=pose, width=80, height=60)
    pipeline = Pipeline(PipelineConfig(depths=(config,), target_frame='base_link'))
    pipeline.set_camera_info('depth', straight_info(camera.width, camera.height, camera.focal))
    pipeline.receive('depth')
    pipeline.push('depth', depth_frame(camera, 0))
    pipeline.give_up()
    (frame,) = pipeline.poll()
    assert frame.frame_id == 'base_link'
    counts, coords = frame.tensors['depth.counts'].cpu().numpy(), frame.tensors['depth.coords'].cpu().numpy()
    centres = np.array(VOXEL.lower) + (coords[:, ::-1] + 0.5) * np.array(VOXEL.size)
    points = centres + frame.tensors['depth.features'].cpu().numpy()[:, 1:4]
    body = sim.world.trajectory.at(np.array([frame.stamp_ns])).pose
    in_map = points @ body.rotation[0].T + body.translation[0]
    distance = sim.world.scene.distance_to_surface(in_map)
    assert len(counts) > 2000
    assert np.percentile(distance, 95) < 0.05
    assert np.median(distance) < 0.01
    dropped = pipeline.points_dropped['depth']
    assert counts.sum() + sum(dropped.values()) == camera.width * camera.height
    assert dropped['non_finite'] == (depth_frame(camera, 0).data.view(torch.int16) == 0).sum()


@pytest.mark.parametrize('output', ['sparse', 'dense'])
def test_an_image_that_is_missing_has_the_names_of_one_that_is_there(output):
    voxel = dataclasses.replace(VOXEL, output=output, size=(1.0, 1.0, 1.0))
    config = DepthConfig('depth', voxel=voxel, required=False, width=8, height=6)
    pipeline = Pipeline(PipelineConfig(depths=(config,)))
    stream = pipeline._streams['depth']
    data, place = message(np.full((6, 8, 1), 1000, np.uint16))
    pipeline.set_camera_info('depth', straight_info(8, 6))
    pipeline.receive('depth')
    pipeline.push('depth', CameraFrame(1, 'optical', data, '16UC1', **place))
    pipeline.give_up()
    (frame,) = pipeline.poll()
    assert frame.frame_id == 'optical'
    blank = stream.blank(pipeline.device)
    assert list(blank) == list(frame.tensors)
    assert [tensor.dtype for tensor in blank.values()] == [tensor.dtype for tensor in frame.tensors.values()]
    assert not any(tensor.any() for tensor in blank.values())


def test_points_wait_for_a_calibration():
    pipeline = Pipeline(PipelineConfig(depths=(DepthConfig('depth', topic='/d/image', voxel=VOXEL),)))
    data, place = message(np.full((6, 8, 1), 1000, np.uint16))
    pipeline.receive('depth')
    pipeline.push('depth', CameraFrame(1, 'optical', data, '16UC1', **place))
    assert pipeline.ledger['depth'].counts().dropped == {'no_camera_info': 1}


@pytest.mark.parametrize(
    ('topic', 'changes', 'rectified'),
    [
        ('/d/image_rect_raw', {}, True),
        ('/d/image_rect/compressedDepth', {}, True),
        ('/d/image_raw', {}, False),
        ('/d/image_rect', {'rectify': True}, False),
        ('/d/image_raw', {'image': 'rectified'}, True),
        ('/d/image_rect', {'image': 'raw'}, False),
    ],
)
def test_whether_images_are_rectified(topic, changes, rectified):
    config = DepthConfig('depth', topic=topic, **changes)
    assert config.comes_rectified == rectified
    assert config.calibration_topic == '/d/camera_info'


@pytest.mark.parametrize(
    ('make', 'text'),
    [
        (lambda: DepthConfig('d', max_depth=0.0), r'd.max_depth = 0.0: must be more than d.min_depth = 0.0'),
        (lambda: DepthConfig('d', rectify=True, resize='min'), "d.resize = 'min'"),
        (lambda: DepthConfig('d', rectify=True, image='rectified'), "d.image = 'rectified'"),
        (lambda: DepthConfig('d', extrinsics=(0.0,) * 7), 'd.extrinsics'),
        (lambda: DepthVoxelConfig(channels=('count', 'max:intensity')), 'have x, y, z alone'),
        (lambda: PipelineConfig(depths=(DepthConfig('d', extrinsics=(0.0,) * 6 + (1.0,)),)), 'needs target_frame'),
        (
            lambda: PipelineConfig((LidarConfig('l'),), depths=(DepthConfig('d', voxel=VOXEL),)),
            'target_frame: must be set',
        ),
    ],
)
def test_a_configuration_that_could_not_be_is_refused(make, text):
    with pytest.raises(ConfigError, match=text):
        make()
