# SPDX-License-Identifier: Apache-2.0
"""Voxels against the libraries that others trust, beside our own reference.

Points are away from the faces of the voxels (``away_from_faces``), so that float32 here and float64 there put every
point in the same voxel; then voxels and counts must be equal, and only means may differ, by ``tolerance``.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement

from robocache_core import ops
from robocache_core.ops import VoxelGrid
from robocache_core.samples import CloudLayout

SIZE = 0.4
LOWER = (-20.0, -20.0, -2.0)
SHAPE = (100, 100, 10)
GRID = VoxelGrid(LOWER, (SIZE,) * 3, SHAPE)

#: The oracles of this file: module, and how it is installed.
ORACLES = {
    'small_gicp': 'pip install small_gicp',
    'open3d': 'pip install open3d-cpu; apt install libusb-1.0-0 libgl1 libx11-6 libgomp1',
    'kiss_icp.voxelization': 'pip install kiss-icp',
    'spconv.pytorch.utils': 'pip install spconv',
}
ran: set[str] = set()

#: What requirements/dev.txt pins for tests to ask, here and in other files, and the module that they import.
PINNED = {
    'safetensors': 'safetensors.torch',
    'scipy': 'scipy.spatial.transform',
    'pandas': 'pandas',
    'small_gicp': 'small_gicp',
    'kiss-icp': 'kiss_icp.voxelization',
    'spconv': 'spconv.pytorch.utils',
}
REQUIREMENTS = Path(__file__).parents[2] / 'requirements'


def oracle(name: str) -> Any:
    """The module, or a skip that says how to have it."""
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f'oracle {name} is missing ({error}): {ORACLES[name]}')
    ran.add(name)
    return module


def away_from_faces(points: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """The points that are at least 1/1000 voxel off every face: 16 times what float32 loses in 100 voxels."""
    u = (points.astype(np.float64) - lower) / SIZE
    return points[(np.abs(u - np.rint(u)) > 1e-3).all(axis=1)]


@pytest.fixture(scope='module')
def cloud() -> np.ndarray:
    """``[N, 3]`` float32, dense near the middle: voxels of one point and of hundreds."""
    random = np.random.default_rng(7)
    points = np.concatenate([random.uniform(-19, 19, (4000, 3)), random.normal(0, 1.5, (16000, 3))])
    points[:, 2] = np.clip(points[:, 2] * 0.1, -1.9, 1.9)
    return away_from_faces(points.astype(np.float32), np.array(LOWER))


def ours(points: np.ndarray, grid: VoxelGrid = GRID) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Linear index, mean position (m) and count of each voxel, in index order."""
    data = torch.from_numpy(np.ascontiguousarray(points).view(np.uint8).reshape(-1))
    layout = CloudLayout.packed(('x', 'y', 'z'), len(points))
    voxels = ops.voxelize_sparse(data, layout, grid, ('mean:x', 'mean:y', 'mean:z'))
    assert sum(voxels.dropped.values()) == 0
    cells = voxels.coords.numpy()[:, ::-1]
    centres = np.array(grid.lower) + (cells + 0.5) * SIZE
    return linear(cells), centres + voxels.features.double().numpy(), voxels.counts.numpy()


def linear(cells: np.ndarray) -> np.ndarray:
    """Linear index of cells ``[V, 3]`` (x y z), x fastest."""
    x, y, z = cells.astype(np.int64).T
    return (z * 1000 + y) * 1000 + x


def by_voxel(means: np.ndarray, lower: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An oracle's means with the index of their voxels, in index order; a mean is in the voxel of its points."""
    index = linear(np.floor((means - lower) / SIZE))
    order = np.argsort(index)
    return index[order], means[order]


#: A point is rounded to 2^-16 voxel, its middle taken: half a step off at most. Before that its place in the grid was
#: computed in float32: two roundings of up to 100 voxels, each half of 2^-17 voxel. A mean is no worse than its worst
#: point; the last term is what float32 loses of coordinates of 20 m.
tolerance = SIZE * (2.0**-17 + 2 * 2.0**-18) + 20 * 2.0**-24


def test_means_are_those_of_small_gicp(cloud):
    # With more threads it returns some voxels twice, as its documentation says.
    sampled = oracle('small_gicp').voxelgrid_sampling(cloud.astype(np.float64), SIZE, num_threads=1)
    # Its grid goes through the origin, which is a corner of GRID too.
    index, means = by_voxel(np.asarray(sampled.points())[:, :3], np.array(LOWER))
    our_index, our_means, _ = ours(cloud)
    np.testing.assert_array_equal(our_index, index)
    np.testing.assert_allclose(our_means, means, rtol=0, atol=tolerance)


def test_means_are_those_of_open3d(cloud):
    open3d = oracle('open3d')
    # Its grid starts half a voxel below the least coordinates: a corner point makes them known.
    corner = np.float32([[-19.8, -19.8, -1.96]])
    lower = corner[0].astype(np.float64) - SIZE / 2
    points = np.concatenate([corner, away_from_faces(cloud[(cloud > corner).all(axis=1)], lower)])
    pointcloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points.astype(np.float64)))
    index, means = by_voxel(np.asarray(pointcloud.voxel_down_sample(SIZE).points), lower)
    our_index, our_means, _ = ours(points, VoxelGrid(tuple(lower.tolist()), (SIZE,) * 3, (101, 101, 12)))
    np.testing.assert_array_equal(our_index, index)
    # Here the lower corner is no multiple of a power of two, so it is itself rounded to float32: 2^-20 m at 20 m.
    np.testing.assert_allclose(our_means, means, rtol=0, atol=tolerance + 2.0**-20)


def test_occupied_voxels_are_those_of_kiss_icp(cloud):
    # It keeps one point of each voxel.
    kept = oracle('kiss_icp.voxelization').voxel_down_sample(cloud.astype(np.float64), SIZE)
    index, _ = by_voxel(kept, np.array(LOWER))
    np.testing.assert_array_equal(ours(cloud)[0], index)


@pytest.mark.parametrize('max_points', [5, 400])
def test_hard_voxels_are_those_of_spconv(cloud, max_points):
    """Voxels, counts and, where none is full, the points in them; which points a full voxel keeps is our own rule."""
    upper = [low + n * SIZE for low, n in zip(LOWER, SHAPE, strict=True)]
    generator = oracle('spconv.pytorch.utils').PointToVoxel([SIZE] * 3, [*LOWER, *upper], 3, 20_000, max_points)
    voxels, coords, num_points = (tensor.numpy() for tensor in generator(torch.from_numpy(cloud)))
    order = np.argsort(linear(coords[:, ::-1]))

    data = torch.from_numpy(cloud.view(np.uint8).reshape(-1))
    layout = CloudLayout.packed(('x', 'y', 'z'), len(cloud))
    hard = ops.voxelize_hard(data, layout, GRID, ('x', 'y', 'z'), max_points=max_points, max_voxels=20_000)
    np.testing.assert_array_equal(hard.coords.numpy(), coords[order])
    np.testing.assert_array_equal(hard.num_points.numpy(), num_points[order])
    full = num_points[order] == max_points
    assert full.any() == (max_points == 5)
    np.testing.assert_array_equal(_sorted_rows(hard.voxels.numpy()[~full]), _sorted_rows(voxels[order][~full]))


def _sorted_rows(voxels: np.ndarray) -> np.ndarray:
    """The points of each voxel in one order."""
    return np.stack([points[np.lexsort(points.T)] for points in voxels])


def _requirements(file: str) -> list[Requirement]:
    lines = [line.partition('#')[0].strip() for line in (REQUIREMENTS / file).read_text().splitlines()]
    return [Requirement(line) for line in lines if line]


@pytest.mark.skipif('ROBOCACHE_INSTALL_PREFIX' in os.environ, reason='`colcon test` has not installed dev.txt')
@pytest.mark.parametrize('name', PINNED)
def test_an_oracle_that_is_pinned_can_be_imported(name: str) -> None:
    """The tests that ask it would be skipped without it, and all would be green."""
    pins = [requirement for requirement in _requirements('dev.txt') if requirement.name == name]
    assert pins
    if not any(pin.marker is None or pin.marker.evaluate() for pin in pins):
        pytest.skip(f'{name} is not pinned for this Python or machine')
    importlib.import_module(PINNED[name])


def test_a_library_has_one_version_for_tests_and_benchmark() -> None:
    files = ('dev.txt', 'bench.txt')
    tests, bench = ({(pin.name, str(pin.specifier)) for pin in _requirements(file)} for file in files)
    both = {name for name, _ in tests} & {name for name, _ in bench}
    assert both >= {'small_gicp', 'kiss-icp', 'scipy'}
    assert {pin for pin in tests if pin[0] in both} == {pin for pin in bench if pin[0] in both}


def test_every_installed_oracle_was_asked(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> None:
    """Says which oracles ran, and that none that is installed was passed over."""
    here = [item for item in request.session.items if item.path == request.path]
    if sum('cloud' in item.fixturenames for item in here) < 5:  # type: ignore[attr-defined]
        pytest.skip('only a part of this file was selected')
    missing = {name for name in ORACLES if not _installed(name)}
    with capsys.disabled():
        print(
            f'\noracles that ran: {", ".join(sorted(ran)) or "none"}; missing: {", ".join(sorted(missing)) or "none"}'
        )
    assert ran == ORACLES.keys() - missing


def _installed(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True
