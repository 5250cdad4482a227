# SPDX-License-Identifier: Apache-2.0
"""The robot's motion and poses, against arithmetic that is written down by hand."""

from __future__ import annotations

import math

import numpy as np

from robocache_sim.sensors import OPTICAL, START_NS
from robocache_sim.trajectory import Pose, Trajectory


def test_motion_is_its_own_derivative():
    trajectory = Trajectory(START_NS, 2.0, -0.7)
    step_ns = 1000
    at = np.arange(-1, 20, dtype=np.int64) * 731_000_000 + START_NS
    before, now, after = (trajectory.at(at + shift) for shift in (-step_ns, 0, step_ns))
    for value, derivative in (
        ('position', 'velocity'),
        ('velocity', 'acceleration'),
        ('yaw', 'yaw_rate'),
        ('yaw_rate', 'yaw_acceleration'),
    ):
        slope = (getattr(after, value) - getattr(before, value)) / (2 * step_ns * 1e-9)
        np.testing.assert_allclose(slope, getattr(now, derivative), atol=1e-6, err_msg=value)


def test_robot_looks_along_its_path_when_the_rates_fit():
    trajectory = Trajectory(START_NS, 1.8, 1.8 / Trajectory.radius)
    motion = trajectory.at(START_NS + np.arange(100, dtype=np.int64) * 100_000_000)
    heading = np.stack([np.cos(motion.yaw), np.sin(motion.yaw)], -1)
    speed = np.linalg.norm(motion.velocity, axis=-1)
    np.testing.assert_allclose(np.sum(heading * motion.velocity[:, :2], -1), speed)


def test_standing_robot_stands():
    motion = Trajectory(START_NS, 0.0, 0.0).at(START_NS + np.arange(5, dtype=np.int64) * 10**9)
    np.testing.assert_allclose(motion.position, np.tile([0.0, -4.5, 0.0], (5, 1)), atol=1e-12)
    assert not np.any(motion.yaw)
    assert not np.any(motion.velocity)
    assert not np.any(motion.acceleration)


def test_pose_chain_and_quaternion():
    a, b = Pose.planar(np.array([1.0, 2.0, 3.0]), 0.3), Pose(np.array([0.5, 0.0, 0.0]), OPTICAL)
    point = np.array([0.1, -0.2, 0.7])
    np.testing.assert_allclose((a @ b).apply(point), a.apply(b.apply(point)))
    # An optical frame's z (forward) is its parent's x; x (right) is -y.
    np.testing.assert_allclose(b.apply(np.array([0.0, 0.0, 1.0])), [1.5, 0.0, 0.0])
    np.testing.assert_allclose(b.quaternion, [-0.5, 0.5, -0.5, 0.5])
    np.testing.assert_allclose(a.quaternion, [0, 0, math.sin(0.15), math.cos(0.15)])


def test_quaternion_turns_as_its_matrix_does():
    rng = np.random.default_rng(3)
    rotation = np.linalg.qr(rng.normal(size=(200, 3, 3)))[0]
    rotation *= np.linalg.det(rotation)[:, None, None]
    turns = np.stack([np.diag([1, -1, -1]), np.diag([-1, 1, -1]), np.diag([-1, -1, 1]), np.eye(3)])  # w = 0, and w = 1
    rotation = np.concatenate([rotation, turns])
    quaternion = Pose(np.zeros((len(rotation), 3)), rotation).quaternion
    np.testing.assert_allclose(np.linalg.norm(quaternion, axis=-1), 1)
    assert quaternion[:, 3].min() >= 0
    vector, w = quaternion[:, :3], quaternion[:, 3:]
    point = rng.normal(size=3)
    turned = point + 2 * np.cross(vector, np.cross(vector, point) + w * point)
    np.testing.assert_allclose(turned, rotation @ point, atol=1e-12)
