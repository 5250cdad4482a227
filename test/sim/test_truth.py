# SPDX-License-Identifier: Apache-2.0
"""The files with the truth about a simulated drive."""

import json

import numpy as np

from robocache_sim.sensors import robot
from robocache_sim.truth import write_truth

LEAD_NS = 200_000_000


def test_the_files_have_the_settings_and_the_poses(tmp_path):
    write_truth(tmp_path, robot(seed=2), 1.0)
    truth = json.loads((tmp_path / 'truth.json').read_text())
    poses = np.load(tmp_path / 'truth.npz')
    stamps_ns = poses['stamp_ns']
    assert stamps_ns[0] <= truth['start_ns'] - LEAD_NS
    assert stamps_ns[-1] >= truth['start_ns'] + 10**9
    motion = robot().world.trajectory.at(stamps_ns)
    np.testing.assert_array_equal(poses['position'], motion.position)
    np.testing.assert_array_equal(poses['yaw'], motion.yaw)
    half = poses['yaw'] / 2
    np.testing.assert_allclose(poses['orientation'][:, 2:], np.stack([np.sin(half), np.cos(half)], -1), atol=1e-12)
    assert {box['name'] for box in truth['scene']['boxes']} > {'wall_east', 'wall_south', 'kiosk'}
    assert len(truth['imu']['gyro_bias']) == len(truth['imu']['accel_bias']) == 3
    assert truth['seed'] == 2
