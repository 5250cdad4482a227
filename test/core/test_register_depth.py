# SPDX-License-Identifier: Apache-2.0
"""Registration of depth images: the same bits on every backend, an oracle of loops and OpenCV, and what hides what."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cameras import HEIGHT, MODELS, WIDTH, K, P, R, make_info, straight_info
from support.images import INF, NAN, message, random_pixels

from robocache_core import ops
from robocache_core.camera_model import camera_model_of
from robocache_core.encodings import DEPTH_ENCODINGS
from robocache_core.rays import corner_rays_of
from robocache_core.rotation import pose_matrix

SAME = torch.eye(4)
BESIDE = pose_matrix((0.05, -0.01, 0.02, 0.0, 0.0, 0.0, 1.0))
TURNED = pose_matrix((0.06, -0.02, 0.01, 0.02, -0.03, 0.3, math.sqrt(1 - 0.02**2 - 0.03**2 - 0.3**2)))
AROUND = pose_matrix((0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0))


def register(pixels, info, camera_model, transform=SAME, encoding='32FC1', function=ops.register_depth, **settings):
    """Metres and validity ``[H, W]`` of an image of a straight camera, of which ``info`` is the calibration."""
    height, width = pixels.shape
    data, place = message(pixels[..., None])
    corners = corner_rays_of(info, width=width, height=height)
    depth, valid = function(
        data, encoding=encoding, corners=corners, transform=transform, camera_model=camera_model, **place, **settings
    )
    return depth[0].numpy(), valid[0].numpy()


# --- the bits


@st.composite
def registrations(draw):
    encoding = draw(st.sampled_from(DEPTH_ENCODINGS))
    width, height = draw(st.integers(1, 70)), draw(st.integers(1, 24))
    pixels = random_pixels(encoding, width, height, draw(st.integers(0, 2**32 - 1)), special=True)
    pixels[np.random.default_rng(0).random(pixels.shape) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = 0
    data, place = message(pixels, draw(st.integers(0, 7)), draw(st.booleans()))
    corners = corner_rays_of(
        straight_info(width, height, draw(st.sampled_from([10.0, 60.0]))), width=width, height=height
    )
    corners[:, draw(st.integers(0, height)), draw(st.integers(0, width))] = draw(st.sampled_from([0.1, NAN, INF]))
    model = draw(st.sampled_from(['', *MODELS]))
    camera_model = camera_model_of(
        make_info(model) if model else straight_info(WIDTH, HEIGHT, 150.0),
        out_width=draw(st.integers(1, 70)),
        out_height=draw(st.integers(1, 40)),
        letterbox=draw(st.booleans()),
        rectified=draw(st.booleans()),
        decode_scale=draw(st.sampled_from([1, 2, 8])),
    )
    return data, {'encoding': encoding, 'corners': corners, 'camera_model': camera_model, **place}


@given(
    registrations(),
    st.sampled_from([SAME, BESIDE, TURNED, AROUND, pose_matrix((1e6, 0, -1e6, 0, 0, 0, 1))]),
    st.sampled_from([(0.0, INF), (0.5, 20.0)]),
)
@settings(max_examples=200, deadline=None)
def test_parity(assert_parity, image, transform, limits):
    data, place = image
    transform = place['camera_model'].turned(transform)
    depth, valid = assert_parity(
        ops.register_depth, data, transform=transform, min_depth=limits[0], max_depth=limits[1], **place
    )
    assert torch.equal(valid, depth > 0)
    left, top, width, height = place['camera_model'].region
    valid[:, top : top + height, left : left + width] = False
    assert not valid.any(), 'in the padding'


def test_any_number_of_threads_gives_the_same_bits():
    """Many pixels of the image meet in each of the result."""
    pixels = np.random.default_rng(0).uniform(0.3, 9.0, (480, 640)).astype(np.float32)
    camera_model = camera_model_of(straight_info(320, 240, 150.0), out_width=320, out_height=240)
    found = []
    try:
        for threads in (1, 2, 3, 8):
            ops.set_num_threads(threads)
            found += [register(pixels, straight_info(640, 480, 300.0), camera_model, BESIDE)[0] for _ in range(3)]
    finally:
        ops.set_num_threads(0)
    assert all(np.array_equal(depth, found[0]) for depth in found)


# --- where points are seen


def oracle(pixels, focal, project, transform, size, region, inset):
    """Pixel by pixel, in double: the least distance of the patches that reach into each by more than ``inset`` px."""
    height, width = pixels.shape
    nearest = np.full((size[1], size[0]), INF)
    left, top, right, bottom = region[0], region[1], region[0] + region[2], region[1] + region[3]
    for y in range(height):
        for x in range(width):
            d = float(pixels[y, x])
            if not 0 < d < INF:
                continue
            at = [(u, v) for v in (y - 0.5, y + 0.5) for u in (x - 0.5, x + 0.5)]
            rays = [((u - (width - 1) / 2) / focal * d, (v - (height - 1) / 2) / focal * d, d, 1.0) for u, v in at]
            points = np.array(rays) @ transform.double().numpy().T
            if (points[:, 2] <= 0).any():
                continue
            u, v = (project(points[:, :3]) + 0.5).T  # pixel i is from i to i + 1
            for row in range(max(top, math.floor(v.min())), min(bottom, math.floor(v.max()) + 1)):
                for column in range(max(left, math.floor(u.min())), min(right, math.floor(u.max()) + 1)):
                    reach = [min(a.max(), i + 1) - max(a.min(), i) for a, i in ((u, column), (v, row))]
                    if min(reach) > inset:
                        nearest[row, column] = min(nearest[row, column], points[:, 2].mean())
    return nearest


def opencv(info, k):
    """Projects points to pixels by OpenCV."""
    project = cv2.fisheye.projectPoints if info.distortion_model == 'equidistant' else cv2.projectPoints
    zero = np.zeros(3)

    def pixels(points):
        points = np.ascontiguousarray(points).reshape(-1, 1, 3)  # fisheye misreads others
        return project(points, zero, zero, k, np.array(info.d))[0].reshape(-1, 2)

    return pixels


def resized(k, scale_x, scale_y, left=0, top=0):
    """The camera matrix of an image that was scaled, whose pixels have their centres at whole numbers."""
    change = [[scale_x, 0, left + 0.5 * scale_x - 0.5], [0, scale_y, top + 0.5 * scale_y - 0.5], [0, 0, 1]]
    return np.array(change) @ k


CASES = {
    'plumb_bob': (make_info('plumb_bob'), {'out_width': 64, 'out_height': 40}, K, (0.2, 0.2)),
    'rational_polynomial': (make_info('rational_polynomial'), {'out_width': 64, 'out_height': 40}, K, (0.2, 0.2)),
    'equidistant': (make_info('equidistant'), {'out_width': 64, 'out_height': 40}, K, (0.2, 0.2)),
    'stretched': (make_info(d=()), {'out_width': 80, 'out_height': 33}, K, (0.25, 33 / 200)),
    'letterbox': (make_info(), {'out_width': 64, 'out_height': 60, 'letterbox': True}, K, (0.2, 0.2, 0, 10)),
    'decoded at half its size': (make_info(), {'out_width': 64, 'out_height': 40, 'decode_scale': 2}, K, (0.2, 0.2)),
    'rectified': (make_info(), {'out_width': 64, 'out_height': 40, 'rectified': True}, P[:, :3], (0.2, 0.2)),
}


@pytest.mark.parametrize('transform', [BESIDE, TURNED], ids=['beside', 'turned'])
@pytest.mark.parametrize('case', CASES)
def test_distances_are_where_the_other_camera_sees_them(case, transform):
    info, size, k, scale = CASES[case]
    camera_model = camera_model_of(info, **size)
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:24, 0:32]
    pixels = (1.0 + 0.04 * y + 0.01 * x + 0.02 * rng.random(x.shape)).astype(np.float32)
    pixels[6:14, 8:20] = 0.6
    pixels[rng.random(pixels.shape) < 0.05] = NAN
    seen_from = dataclasses.replace(info, d=(), distortion_model='') if size.get('rectified') else info
    turn = torch.eye(4, dtype=torch.float64)
    if size.get('rectified'):
        turn[:3, :3] = torch.from_numpy(R)
    pose = camera_model.turned(transform)
    np.testing.assert_allclose(pose.numpy(), (turn @ transform.double()).numpy(), atol=1e-6)
    found, valid = register(pixels, straight_info(32, 24, 30.0), camera_model, pose)
    # What hardly reaches into a pixel, or by next to nothing too little, may do so or not.
    least, most = (
        oracle(
            pixels,
            30.0,
            opencv(seen_from, resized(k, *scale)),
            turn @ transform.double(),
            (size['out_width'], size['out_height']),
            camera_model.region,
            inset,
        )
        for inset in (0.249, 0.251)
    )
    found = np.where(valid, found, INF)
    assert (least - 1e-5 <= found).all()
    assert (found <= most + 1e-5).all()
    sure = least == most
    assert sure.mean() > 0.98
    assert valid[sure].sum() > 800
    assert (found[sure & valid] < 0.7).sum() > 150


@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize('rectified', [False, True])
def test_rays_of_corners_are_half_a_pixel_from_those_of_pixels(model, rectified):
    info = make_info(model)
    rays = corner_rays_of(info, width=WIDTH, height=HEIGHT, is_rectified=rectified).double().numpy()
    points = np.moveaxis(rays, 0, -1).reshape(-1, 3)
    straight = dataclasses.replace(info, d=(0.0,) * 4, distortion_model='plumb_bob')
    points = points @ R.T if rectified else points
    at = opencv(straight if rectified else info, P[:, :3] if rectified else K)(points)
    v, u = np.mgrid[0 : HEIGHT + 1, 0 : WIDTH + 1] - 0.5
    seen = ~np.isnan(at).any(axis=-1)
    assert (~seen).sum() < 40, 'the rational model turns the image over in its corner'
    np.testing.assert_allclose(at[seen], np.stack([u, v], axis=-1).reshape(-1, 2)[seen], atol=1e-3)


@pytest.mark.usefixtures('each_backend')
@pytest.mark.parametrize('encoding', DEPTH_ENCODINGS)
@pytest.mark.parametrize(('factor', 'letterbox'), [(1, False), (2, False), (3, False), (1, True), (2, True)])
def test_one_and_the_same_camera_gives_the_image_itself(encoding, factor, letterbox):
    pixels = random_pixels(encoding, 61, 47, special=True)[..., 0]
    pixels[::5] = 0
    info = straight_info(61, 47)
    size = {'out_width': 61 * factor, 'out_height': (60 if letterbox else 47) * factor}
    camera_model = camera_model_of(info, **size, letterbox=letterbox)
    limits = {'min_depth': 0.001, 'max_depth': 40.0}
    depth, valid = register(pixels, info, camera_model, encoding=encoding, **limits)
    data, place = message(pixels[..., None])
    expected = ops.prepare_depth(data, encoding=encoding, letterbox=letterbox, **limits, **size, **place)
    np.testing.assert_array_equal(depth.view(np.uint32), expected[0][0].numpy().view(np.uint32))
    np.testing.assert_array_equal(valid, expected[1][0].numpy())


@pytest.mark.usefixtures('each_backend')
def test_where_the_result_is_coarser_the_nearest_of_all_counts():
    pixels = random_pixels('32FC1', 64, 48)[..., 0]
    info = straight_info(64, 48)
    depth, _ = register(pixels, info, camera_model_of(info, out_width=16, out_height=16))
    np.testing.assert_array_equal(depth, pixels.reshape(16, 3, 16, 4).min(axis=(1, 3)))


# --- what hides what


@pytest.mark.usefixtures('each_backend')
def test_what_is_near_hides_what_is_behind_it():
    """A box 1 m from both cameras before a wall at 2 m: between them the distance of one or the other, and a shadow."""
    pixels = np.full((40, 60), 2.0, np.float32)
    pixels[10:30, 20:40] = 1.0
    info = straight_info(60, 40)
    depth, valid = register(pixels, info, camera_model_of(info, out_width=60, out_height=40), shifted(0.1))
    # The box moves by 6 px, the wall by 3.
    assert (depth[12:28, 26:46] == 1.0).all()
    assert (depth[12:28, 3:23] == 2.0).all()
    assert not valid[12:28, 23:26].any(), 'of the wall beside the box only the other camera sees this'
    assert (depth[12:28, 46:60] == 2.0).all()
    assert set(np.unique(depth)) == {0.0, 1.0, 2.0}


def shifted(metres):
    """The pose of a camera to the right of another one."""
    return pose_matrix((metres, 0, 0, 0, 0, 0, 1))


@pytest.mark.usefixtures('each_backend')
def test_patches_at_one_distance_give_that_distance_to_the_bit():
    pixels = np.full((40, 60), 1.2345678, np.float32)
    depth, valid = register(
        pixels,
        straight_info(60, 40),
        camera_model_of(straight_info(31, 21, 40.0), out_width=31, out_height=21),
        shifted(0.013),
    )
    assert set(depth[valid].tolist()) == {float(np.float32(1.2345678))}
    assert valid[2:-2, 2:-2].all()


@pytest.mark.usefixtures('each_backend')
@pytest.mark.parametrize('slope', [0.0, 1.0, -1.0])
def test_a_finer_image_has_no_gaps(slope):
    """A plane that is tilted about the vertical, seen from 5 cm beside, at three times the pixels."""
    info, fine = straight_info(80, 60), straight_info(240, 180, 180.0)
    x = (np.arange(80) - 39.5) / 60
    pixels = np.broadcast_to((1.5 / (1 - slope * x)).astype(np.float32), (60, 80))  # z = 1.5 + slope * X
    depth, valid = register(pixels, info, camera_model_of(fine, out_width=240, out_height=180), shifted(0.05))
    inside = slice(6, -6), slice(40, -20)
    assert valid[inside].all()
    u = (np.arange(240) - 119.5) / 180
    expected = (1.5 - 0.05 * slope) / (1 - slope * u)
    pixel = np.abs(np.gradient(expected)) * 3
    assert (np.abs(depth - expected)[inside] <= 1e-5 + pixel[inside[1]]).all()


@pytest.mark.usefixtures('each_backend')
@pytest.mark.parametrize(
    'transform',
    [
        AROUND,
        pose_matrix((0, 0, -2.0, 0, 0, 0, 1)),  # at z = 0
        pose_matrix((0, 0, -2.5, 0, 0, 0, 1)),
        pose_matrix((500.0, 0, 0, 0, 0, 0, 1)),
        pose_matrix((0, 1e6, 0, 0, 0, 0, 1)),
    ],
)
def test_what_the_camera_does_not_see_is_not_in_its_image(transform):
    pixels = np.full((12, 16), 2.0, np.float32)
    info = straight_info(16, 12)
    depth, valid = register(pixels, info, camera_model_of(info, out_width=16, out_height=12), transform)
    assert not valid.any()
    assert not depth.any()


@pytest.mark.usefixtures('each_backend')
def test_what_a_lens_bends_back_into_the_image_is_not_in_it():
    """Coefficients that turn the image over beyond its corners; a depth camera that looks much further around."""
    info = make_info('plumb_bob', d=(-0.31, 0.0, 0.0, 0.0))
    camera_model = camera_model_of(info, out_width=WIDTH, out_height=HEIGHT)
    assert 1.0 < camera_model.most_r2 < 1 / (3 * 0.31) + 0.01
    pixels = np.full((100, 100), 1.0, np.float32)
    pixels[20:80, 20:80] = 3.0
    depth, valid = register(pixels, straight_info(100, 100, 20.0), camera_model)
    assert valid.mean() > 0.8
    assert set(np.unique(depth)) == {0.0, 3.0}
    assert (depth[80:120, 140:180] == 3.0).all()
    beyond = np.full((100, 100), 0.0, np.float32)
    beyond[:, [0, -1]] = beyond[[0, -1]] = 1.0  # 68 degrees off the axis
    assert not register(beyond, straight_info(100, 100, 20.0), camera_model)[1].any()


@pytest.mark.usefixtures('each_backend')
def test_a_point_just_before_the_camera_is_drawn_no_larger_than_16_times():
    pixels = np.zeros((60, 80), np.float32)
    pixels[30, 40] = 2.0
    info = straight_info(80, 60)
    camera_model = camera_model_of(info, out_width=80, out_height=60)
    for metres, size in ((1.0, 2), (0.25, 8), (0.01, 16), (1e-4, 16)):
        _, valid = register(pixels, info, camera_model, pose_matrix((-2 / 120, -2 / 120, metres - 2.0, 0, 0, 0, 1)))
        rows, columns = valid.any(axis=1).sum(), valid.any(axis=0).sum()
        assert rows == pytest.approx(size, abs=1)
        assert columns == pytest.approx(size, abs=1)


@pytest.mark.usefixtures('each_backend')
def test_limits_are_of_the_depth_camera():
    pixels = np.float32([[0.4, 1.0, 3.0, 5.0]]).repeat(4, 0)
    info = straight_info(4, 4)
    depth, _ = register(
        pixels, info, camera_model_of(info, out_width=4, out_height=4), pose_matrix((0, 0, 2.0, 0, 0, 0, 1)),
        min_depth=0.5, max_depth=3.0,
    )  # fmt: skip
    assert set(np.unique(depth)) <= {0.0, 3.0, 5.0}
    assert {3.0, 5.0} <= set(np.unique(depth))
