# SPDX-License-Identifier: Apache-2.0
"""Motion from gyro and odometry against closed forms and SciPy, and the table that is made of it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robocache_core import rotation
from robocache_core.buffer import bracket
from robocache_core.config import DeskewConfig, ImuConfig
from robocache_core.deskew import Deskewer, pose_table
from robocache_core.motion import motion_from_gyro, motion_from_odometry
from robocache_core.motion_source import GyroMotion
from robocache_core.samples import DataError
from robocache_core.time_field import TimeField
from robocache_core.units import MS, SECOND

T0 = 1_760_000_000 * SECOND
INSTANTS = T0 + np.arange(1024, dtype=np.int64) * 97_752
STAMPS = T0 + np.arange(-20, 140, 5, dtype=np.int64) * MS


def seconds(stamps_ns):
    return (np.asarray(stamps_ns) - T0) / SECOND


def turned_about_z(angle):
    cos, sin, zero, one = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    rows = ((cos, -sin, zero), (sin, cos, zero), (zero, zero, one))
    return np.stack([np.stack(row, -1) for row in rows], -2)


def constant_rates(*rate):
    return np.tile(np.array(rate, float), (len(STAMPS), 1))


# ---- rotations ------------------------------------------------------------------------------------------------------

VECTORS = arrays(np.float64, (5, 3), elements=st.floats(-2.0, 2.0))


@settings(max_examples=100, deadline=None)
@given(VECTORS)
def test_exp_is_scipy_s(vectors):
    scipy = pytest.importorskip('scipy.spatial.transform', reason='SciPy is the oracle here')
    expected = scipy.Rotation.from_rotvec(vectors)
    assert np.abs(rotation.matrix(rotation.exp(vectors)) - expected.as_matrix()).max() < 1e-12


@settings(max_examples=100, deadline=None)
@given(arrays(np.float64, (5, 4), elements=st.floats(-1, 1)).filter(lambda q: (np.linalg.norm(q, axis=1) > 0.1).all()))
def test_log_is_scipy_s(quaternions):
    scipy = pytest.importorskip('scipy.spatial.transform', reason='SciPy is the oracle here')
    unit = rotation.normalized(quaternions)
    expected = scipy.Rotation.from_quat(unit).as_matrix()
    vectors = rotation.log(unit)
    assert (np.linalg.norm(vectors, axis=1) <= np.pi + 1e-12).all()
    assert np.abs(scipy.Rotation.from_rotvec(vectors).as_matrix() - expected).max() < 1e-12


def test_running_product_is_the_product_of_all_before():
    quaternions = rotation.exp(np.random.default_rng(0).normal(size=(37, 3)))
    total = np.array([0.0, 0.0, 0.0, 1.0])
    for row, quaternion in zip(rotation.running_product(quaternions), quaternions, strict=True):
        total = rotation.product(total, quaternion)
        assert np.abs(row - total).max() < 1e-14


# ---- gyro -----------------------------------------------------------------------------------------------------------


def test_a_constant_turn():
    poses = motion_from_gyro(STAMPS, constant_rates(0, 0, 2.0), INSTANTS, T0)
    assert np.abs(poses[:, :, :3] - turned_about_z(2.0 * seconds(INSTANTS))).max() < 1e-12
    assert not poses[:, :, 3].any()


@pytest.mark.parametrize('target_ms', [-15, 0, 50.37, 100, 118])
def test_poses_are_seen_from_the_target_time(target_ms):
    target = T0 + round(target_ms * MS)
    poses = motion_from_gyro(STAMPS, constant_rates(0, 0, 2.0), INSTANTS, target)
    assert np.abs(poses[:, :, :3] - turned_about_z(2.0 * (seconds(INSTANTS) - seconds(target)))).max() < 1e-12


def test_a_turn_that_speeds_up_is_integrated_exactly():
    """Rates go linearly between readings, so a linear rate about one axis has no error at all."""
    rates = np.stack([np.zeros(len(STAMPS)), np.zeros(len(STAMPS)), 1 + 30 * seconds(STAMPS)], -1)
    poses = motion_from_gyro(STAMPS, rates, INSTANTS, T0)
    t = seconds(INSTANTS)
    assert np.abs(poses[:, :, :3] - turned_about_z(t + 15 * t * t)).max() < 1e-9


def test_a_tumble_about_changing_axes():
    """Precession: a turn about z of a turn about x, whose angular velocity in the body is known in closed form."""
    spin, precession = 8.0, 3.0

    def orientation(t):
        zero = np.zeros_like(t)
        about_z = rotation.exp(np.stack([zero, zero, precession * t], -1))
        return rotation.product(about_z, rotation.exp(np.stack([spin * t, zero, zero], -1)))

    stamps = T0 + np.arange(-10, 112, 5, dtype=np.int64) * MS
    t = seconds(stamps)
    rates = np.stack([np.full_like(t, spin), precession * np.sin(spin * t), precession * np.cos(spin * t)], -1)
    poses = motion_from_gyro(stamps, rates, INSTANTS, T0)
    expected = rotation.matrix(orientation(seconds(INSTANTS)))
    assert np.abs(poses[:, :, :3] - expected).max() < 5e-5  # without what a turning axis adds: 8e-5


def test_the_imu_s_mount_and_bias():
    mount = rotation.matrix(rotation.exp(np.array([[0.3, -1.1, 0.7]])))[0]
    in_imu = constant_rates(0, 0, 2.0) @ mount + np.array([0.1, -0.2, 0.3])
    poses = motion_from_gyro(STAMPS, in_imu, INSTANTS, T0, imu=mount, bias=(0.1, -0.2, 0.3))
    assert np.abs(poses - motion_from_gyro(STAMPS, constant_rates(0, 0, 2.0), INSTANTS, T0)).max() < 1e-12


@pytest.mark.parametrize('each', [False, True])
def test_velocity_makes_an_arc(each):
    """Forward at 5 m/s and turning at 2 rad/s is a circle of 2.5 m."""
    velocity = np.array([5.0, 0.0, 0.0])
    given_velocity = np.tile(velocity, (len(STAMPS), 1)) if each else velocity
    poses = motion_from_gyro(STAMPS, constant_rates(0, 0, 2.0), INSTANTS, T0, velocity=given_velocity)
    angle = 2.0 * seconds(INSTANTS)
    expected = 2.5 * np.stack([np.sin(angle), 1 - np.cos(angle), np.zeros_like(angle)], -1)
    assert np.abs(poses[:, :, 3] - expected).max() < 1e-7


@pytest.mark.parametrize(
    ('stamps', 'message'),
    [
        (STAMPS[:0], 'there are none'),
        (STAMPS[STAMPS > T0], 'needs readings from'),
        (STAMPS[STAMPS < T0 + 100 * MS], 'needs readings from'),
        (np.delete(STAMPS, range(10, 20)), '0.055 s apart, more than 0.05 s: have them sent more often, or raise the'),
    ],
)
def test_what_no_reading_tells_is_refused(stamps, message):
    for motion, values in (
        (motion_from_gyro, (np.zeros((len(stamps), 3)),)),
        (motion_from_odometry, (np.zeros((len(stamps), 3)), np.tile([0.0, 0.0, 0.0, 1.0], (len(stamps), 1)))),
    ):
        with pytest.raises(DataError, match=message) as refusal:
            motion(stamps, *values, INSTANTS, T0, tolerance_ns=50 * MS)
        assert refusal.value.reason == 'no_motion'


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('rate', [640.0, 5000.0, 1.7e38])
def test_more_than_half_a_turn_from_a_reading_to_the_next_is_refused(rate):
    """A damaged reading gave poses that stretch a scan: the series of a rotation holds up to half a turn."""
    poses = motion_from_gyro(STAMPS, constant_rates(0, 0, 620.0), INSTANTS, T0)
    assert np.abs(poses[:, :, :3] @ poses[:, :, :3].transpose(0, 2, 1) - np.eye(3)).max() < 1e-9
    rates = constant_rates(0, 0, 0.1)
    rates[len(STAMPS) // 2 - 1 : len(STAMPS) // 2 + 1, 0] = rate
    with pytest.raises(DataError, match=r'more than half a turn: angular velocities are up to') as refusal:
        motion_from_gyro(STAMPS, rates, INSTANTS, T0)
    assert refusal.value.reason == 'no_motion'


def test_a_gap_elsewhere_does_no_harm():
    stamps = np.concatenate([[T0 - 900 * MS], STAMPS, [T0 + 900 * MS]])
    poses = motion_from_gyro(stamps, np.zeros((len(stamps), 3)), INSTANTS, T0, tolerance_ns=10 * MS)
    assert np.array_equal(poses, np.broadcast_to(np.eye(3, 4), poses.shape))


# ---- odometry -------------------------------------------------------------------------------------------------------


def test_odometry_is_slerp_and_linear_and_seen_from_the_target():
    scipy = pytest.importorskip('scipy.spatial.transform', reason='SciPy is the oracle here')
    rng = np.random.default_rng(1)
    positions = np.array([4e5, 5.7e6, 100.0]) + rng.normal(size=(len(STAMPS), 3)) / 20  # UTM: beyond float32
    turns = np.cumsum(rng.normal(size=(len(STAMPS), 3)) / 80, axis=0)
    orientations = rotation.exp(turns) * rng.choice([-2, 3], (32, 1))
    target = T0 + 33_333_333
    poses = motion_from_odometry(STAMPS, positions, orientations, INSTANTS, target)

    at = np.append(INSTANTS, target)
    turned = scipy.Slerp(seconds(STAMPS), scipy.Rotation.from_quat(orientations))(seconds(at))
    moved = np.stack([np.interp(seconds(at), seconds(STAMPS), positions[:, i]) for i in range(3)], -1)
    back = turned[-1].inv()
    assert np.abs(poses[:, :, :3] - (back * turned[:-1]).as_matrix()).max() < 1e-6
    assert np.abs(poses[:, :, 3] - back.apply(moved[:-1] - moved[-1])).max() < 1e-6


def test_odometry_and_gyro_agree():
    angle = 2.0 * seconds(STAMPS)
    positions = 2.5 * np.stack([np.sin(angle), 1 - np.cos(angle), np.zeros_like(angle)], -1)
    orientations = rotation.exp(np.stack([np.zeros_like(angle), np.zeros_like(angle), angle], -1))
    by_odometry = motion_from_odometry(STAMPS, positions, orientations, INSTANTS, T0)
    by_gyro = motion_from_gyro(STAMPS, constant_rates(0, 0, 2.0), INSTANTS, T0, velocity=np.array([5.0, 0, 0]))
    assert np.abs(by_odometry - by_gyro).max() < 1e-4  # the chords of 5 ms of a circle of 2.5 m


# ---- the table ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('duration_ms', [1, 50, 100, 512, 1000])
def test_instants_are_even_reach_the_end_and_are_dense(duration_ms):
    deskewer = Deskewer(DeskewConfig(scan_duration_ns=duration_ms * MS), GyroMotion(ImuConfig('imu'), (0.0, 0.0, 0.0)))
    instants = deskewer.instants_ns(TimeField('t', 1, False, 0, -duration_ms * MS), T0)
    steps = np.diff(instants)
    assert len(instants) >= 1024
    assert (steps == steps[0]).all()
    assert 0 < steps[0] <= MS // 2
    assert instants[0] == T0 - duration_ms * MS
    assert T0 - 2000 < instants[-1] <= T0


@pytest.mark.parametrize(
    ('field', 'raw'),
    [
        (TimeField('t', 1, False, 0, 0), INSTANTS - T0),
        (TimeField('t', SECOND, False, 0, 0), (INSTANTS - T0) / SECOND),
        (TimeField('t', 1000, False, -100 * MS, -100 * MS), (INSTANTS - T0 + 100 * MS) / 1000),
        (TimeField('t', SECOND, True, 0, 0), INSTANTS / SECOND),
        (TimeField('t', 1, True, 0, 0), INSTANTS.astype(float)),
    ],
)
def test_a_point_finds_the_pose_of_its_instant(field, raw):
    poses = np.zeros((len(INSTANTS), 3, 4))
    table = pose_table(field, T0, INSTANTS, poses)
    index = np.floor((raw - table.first) * table.inverse_step + 0.5)
    assert np.array_equal(index, np.arange(len(INSTANTS)))
    assert table.field == 't'
    assert table.poses.shape == (1024, 3, 4)
    assert table.poses.dtype == torch.float32
    assert table.poses.is_contiguous()


def test_the_sensor_s_place_comes_behind_the_motion():
    sensor = np.eye(4)
    sensor[:3, :3] = rotation.matrix(rotation.exp(np.array([[0.2, 0.5, -1.0]])))[0]
    sensor[:3, 3] = 1.0, 2.0, 3.0
    poses = motion_from_gyro(STAMPS, constant_rates(0.5, 0, 2.0), INSTANTS, T0, velocity=np.array([5.0, 0, 0]))
    table = pose_table(TimeField('t', 1, False, 0, 0), T0, INSTANTS, poses, torch.from_numpy(sensor).float())
    whole = np.concatenate([poses, np.broadcast_to([[0.0, 0.0, 0.0, 1.0]], (1024, 1, 4))], axis=1)
    assert np.abs(table.poses.numpy() - (whole @ sensor)[:, :3]).max() < 1e-6


def test_bracket_has_the_neighbours():
    stamps = [10, 20, 30, 40, 50]
    assert stamps[bracket(stamps, 25, 35)] == [20, 30, 40]
    assert stamps[bracket(stamps, 20, 40)] == [20, 30, 40]
    assert stamps[bracket(stamps, 0, 99)] == stamps
    assert [][bracket([], 0, 1)] == []
