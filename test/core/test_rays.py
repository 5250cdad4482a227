# SPDX-License-Identifier: Apache-2.0
"""Rays of calibrations that fold the image: found where the lens shows something, in a bounded number of steps."""

import dataclasses

import numpy as np
import pytest
from support.cameras import make_info

from robocache_core import rays
from robocache_core.rays import rays_of, undistorted

WIDTH, HEIGHT = 320, 240


def info_of(d, focal, model='plumb_bob'):
    k = (focal, 0.0, WIDTH / 2, 0.0, focal, HEIGHT / 2, 0.0, 0.0, 1.0)
    return dataclasses.replace(make_info(), width=WIDTH, height=HEIGHT, distortion_model=model, d=d, k=k)


#: Calibrations by which every pixel has a ray, and those that fold the image within it.
WHOLE = {
    'barrel': info_of((-0.3, 0.1, 0.001, -0.001, 0.0), 200.0),
    'pincushion': info_of((0.2, 0.0, 0.0, 0.0, 0.0), 200.0),
    'fisheye': info_of((0.1, 0.01, 0.0, 0.0), 120.0, 'equidistant'),
}
FOLDED = {
    'fold': info_of((-0.9, 0.0, 0.001, -0.001, 0.0), 100.0),
    'fold with rays beyond it': info_of((-2.0, 0.3, 0.01, -0.001, 0.0), 90.0),
    'fold off the axis': info_of((-0.5, 0.0, 0.05, 0.02, 0.0), 130.0),
}


def searched_alone(info):
    """The rays of all pixels, without looking where there is none."""
    x, y = rays._bent(info, np.arange(WIDTH)[None, :] * 1.0, np.arange(HEIGHT)[:, None] * 1.0)
    with np.errstate(all='ignore'):
        return np.stack(undistorted(info, x, y), axis=-1).astype(np.float32)


@pytest.mark.parametrize('info', WHOLE.values(), ids=WHOLE)
def test_every_pixel_that_has_a_ray_has_the_bits_of_a_search_of_its_own(info):
    found = rays_of(info, width=WIDTH, height=HEIGHT).numpy()
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[..., :2], searched_alone(info))


@pytest.mark.parametrize('info', FOLDED.values(), ids=FOLDED)
def test_a_fold_costs_no_more_than_an_image_without_one(info, monkeypatch):
    counts = []
    distorted = rays.distorted
    monkeypatch.setattr(rays, 'distorted', lambda info, x, y: counts.append(x.size) or distorted(info, x, y))
    found = rays_of(info, width=WIDTH, height=HEIGHT).numpy()[..., :2]
    num_folded, _ = sum(counts), counts.clear()
    rays_of(WHOLE['barrel'], width=WIDTH, height=HEIGHT)
    assert num_folded < 1.5 * sum(counts)
    alone = searched_alone(info)
    has_ray = np.isfinite(found).all(axis=-1)
    assert 0.01 < has_ray.mean() < 0.99
    np.testing.assert_array_equal(found[has_ray], alone[has_ray])
    # What a search of its own finds elsewhere is beyond the fold, so further out than all that the lens shows.
    beyond = np.isfinite(alone).all(axis=-1) & ~has_ray
    assert not beyond.any() or np.hypot(*alone[beyond].T).min() > np.median(np.hypot(*found[has_ray].T))


@pytest.mark.parametrize('size', [(1, 1), (1, 9), (8, 8), (9, 17), (16, 1), (17, 33)])
def test_images_of_any_size(size):
    width, height = size
    info = dataclasses.replace(
        WHOLE['barrel'], width=width, height=height, k=(50.0, 0.0, 0.0, 0.0, 50.0, 0.0, 0.0, 0.0, 1.0)
    )
    assert np.isfinite(rays_of(info, width=width, height=height).numpy()).all()
