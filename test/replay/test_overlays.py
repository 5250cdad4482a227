# SPDX-License-Identifier: Apache-2.0
"""Points of the lidar in the images of a simulated robot, against rays cast into its scene."""

import dataclasses
import itertools

import cv2
import numpy as np
import pytest

from robocache_core import rotation
from robocache_core.config import CameraConfig, GridConfig, LidarConfig, PipelineConfig
from robocache_ros.bags import open_bag
from robocache_ros.offline import fused_frames, make_pipeline
from robocache_ros.poses import BagPoses, SensorPose
from robocache_ros.static_transforms import StaticTransforms
from robocache_ros.tools import overlays
from robocache_ros.tools.overlays import overlay, overlays_of_bag
from robocache_ros.tools.presentation.overlay_section import overlay_section
from robocache_ros.tools.scan_points import ScanPoints
from robocache_ros.tools.simulation import write_bag
from robocache_ros.transform_buffer import TransformBuffer
from robocache_sim.sensors import robot

#: It stands, so that the age of an image moves nothing.
ROBOT = robot(seed=1, speed=0.0, yaw_rate=0.0)
LIDAR = LidarConfig('lidar', topic='/lidar/points')
CAMERAS = tuple(
    CameraConfig(name, topic=f'/camera/{name}/image_raw/compressed', width=640, height=480)
    for name in ('front', 'rear')
)
CONFIG = PipelineConfig(lidars=(LIDAR,), cameras=CAMERAS, target_frame='base_link')


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp('overlays') / 'bag'
    write_bag(path, ROBOT, seconds=1.0)
    return path


@pytest.fixture(scope='module')
def seen(bag):
    """A frame, the points of its scan, and the poses of the bag."""
    observer = ScanPoints(CONFIG.lidars)
    with fused_frames(bag, CONFIG, make_pipeline(CONFIG, observer), views=True) as frames:
        frame = next(frame for frame in frames if all(frame.valid.values()))
        observer.take(frame)
        frame = next(frames)
        yield frame, observer.take(frame), frames.poses


def share_on_surfaces(frame, points, poses, camera, number):
    """Part of the points in an image that are at the distance at which a ray through their pixel meets the scene."""
    found = overlay(frame, camera, points, poses).projections['lidar']
    assert len(found.index) > 5000
    _, origin, direction = ROBOT.cameras[number].rays(0)
    distance = ROBOT.world.scene.cast(origin, direction).distance
    x, y = found.pixels.round().astype(int).T
    return (np.abs(distance[y, x] - found.depth) < 0.1).mean()


@pytest.mark.parametrize(('number', 'camera'), enumerate(CAMERAS), ids=['front', 'rear'])
def test_points_are_on_the_surfaces_that_their_pixels_see(seen, number, camera):
    frame, points, poses = seen
    assert share_on_surfaces(frame, points, poses, camera, number) > 0.97

    class Turned:
        """Poses of a camera that was mounted two degrees askew."""

        def pose(self, frame_id, target, stamp_ns):
            pose = poses.pose(frame_id, target, stamp_ns).pose
            turn = rotation.product(np.array(pose[3:]), rotation.exp(np.array([0.0, np.radians(2.0), 0.0])))
            return SensorPose((*pose[:3], *turn.tolist()))

    assert share_on_surfaces(frame, points, Turned(), camera, number) < 0.9


def test_the_points_of_a_frame_are_those_in_its_voxels(bag, seen):
    """Also where they are in a grid of several lidars."""
    frame, points, _ = seen
    grid = LIDAR.voxel.grid
    cell = np.floor((points['lidar'] - np.float32(grid.lower)) * (1 / np.float32(grid.size))).astype(int)
    inside = ((cell >= 0) & (cell < grid.shape)).all(axis=1)
    coords, counts = np.unique(cell[inside][:, ::-1], axis=0, return_counts=True)
    np.testing.assert_array_equal(coords, frame.tensors['lidar.coords'].numpy())
    np.testing.assert_array_equal(counts, frame.tensors['lidar.counts'].numpy())
    config = dataclasses.replace(CONFIG, grids=(GridConfig('all', from_=('lidar',)),))
    observer = ScanPoints(config.lidars)
    with fused_frames(bag, config, make_pipeline(config, observer)) as frames:
        for other in itertools.islice(frames, frame.sequence + 1):
            in_grid = observer.take(other)
    np.testing.assert_array_equal(in_grid['lidar'], points['lidar'])


def test_what_is_missing_is_said(bag, seen, tmp_path):
    frame, points, poses = seen
    front = CAMERAS[0]

    def missing(points=points, camera=front, **changes):
        return overlay(dataclasses.replace(frame, **changes), camera, points, poses).missing

    assert missing() == ''
    assert missing(points={}) == 'no lidar has a scan in this frame'
    assert missing(views={}) == 'no image of it could be used until then'
    without = {'front': dataclasses.replace(frame.views['front'], info=None)}
    assert missing(views=without) == 'no calibration of its images on /camera/front/camera_info'
    assert missing(frame_id='map') == (
        "the pose of 'front' in 'map' is unknown: neither /tf nor /tf_static of the bag joins them; "
        'record them with the bag'
    )


def test_a_pose_that_is_stated_needs_no_transforms(seen):
    frame, points, poses = seen
    by_transforms = overlay(frame, CAMERAS[0], points, poses).projections['lidar']
    stated = dataclasses.replace(CAMERAS[0], extrinsics=poses.pose('front', 'base_link', frame.stamp_ns).pose)
    found = overlay(frame, stated, points, BagPoses(TransformBuffer(StaticTransforms())))
    assert found.missing == ''
    np.testing.assert_array_equal(found.projections['lidar'].pixels, by_transforms.pixels)


def test_a_report_shows_the_middle_of_the_bag(bag, tmp_path):
    opened = open_bag(bag)
    found = overlays_of_bag(opened, CONFIG)
    assert opened.start_ns < found['stamp_ns'] < opened.end_ns
    assert overlays.overlays_of_bag(opened, CONFIG) == found
    overlays.save(found, tmp_path)
    loaded = overlays.load(tmp_path)
    assert loaded == found
    page = overlay_section(loaded)
    assert page.count('<img') == 2
    for name, each in found['cameras'].items():
        assert f'{each["points"]["lidar"]:,} points of lidar' in page
        assert cv2.imdecode(np.frombuffer(each['picture'], np.uint8), cv2.IMREAD_COLOR).shape == (960, 1280, 3), name
    assert overlays_of_bag(opened, dataclasses.replace(CONFIG, cameras=())) == {}
    overlays.save({}, tmp_path)
    assert overlay_section(overlays.load(tmp_path)) == ''


def test_a_section_says_what_is_missing(bag, tmp_path):
    """Without /tf_static, and a lidar whose pose is stated."""
    path = tmp_path / 'bag'
    write_bag(path, ROBOT, seconds=0.5, without=['tf'])
    lidar = dataclasses.replace(LIDAR, extrinsics=(0.1, 0.0, 1.3, 0.0, 0.0, 0.6, 0.8))
    page = overlay_section(overlays_of_bag(open_bag(path), dataclasses.replace(CONFIG, lidars=(lidar,))))
    assert page.count('no points: the pose of &#x27;front&#x27; in &#x27;base_link&#x27; is unknown') == 1
