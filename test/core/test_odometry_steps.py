# SPDX-License-Identifier: Apache-2.0
"""Odometry that jumps: what every vehicle does passes, and a pose that was corrected within a scan is no motion."""

from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.driving import T0

from robocache_core import rotation
from robocache_core.buffer import bracket
from robocache_core.ledger import Reason
from robocache_core.motion import motion_from_odometry
from robocache_core.samples import DataError
from robocache_core.units import MS, SECOND

SCAN_NS = 100 * MS
RATES_HZ = (10, 20, 50, 100, 200)


def stamps_of(rate_hz, jitter, seed=0):
    """Stamps around a scan that begins at ``T0``, each off by up to ``jitter`` of a period, and when they were due."""
    period = SECOND // rate_hz
    due = T0 + period * np.arange(-2, SCAN_NS // period + 3)
    off = np.random.default_rng(seed).uniform(-jitter, jitter, len(due)) * period
    return due + off.astype(np.int64), (due - T0) / SECOND


def given_to_the_scan(stamps):
    """Indices of the readings that it is moved by, and the one before them."""
    needed = bracket(stamps, T0, T0 + SCAN_NS)
    return np.arange(len(stamps))[needed.start - 1 : needed.stop]


def check(stamps, positions, orientations):
    instants = np.linspace(T0, T0 + SCAN_NS, 16).astype(np.int64)
    motion_from_odometry(stamps, positions, orientations, instants, T0, tolerance_ns=SECOND)


def check_scan(stamps, positions, orientations):
    """Move a scan as the pipeline does."""
    given = given_to_the_scan(stamps)
    check(stamps[given], positions[given], orientations[given])


def level(yaw):
    return rotation.exp(np.stack([0 * yaw, 0 * yaw, yaw], -1))


@settings(max_examples=60, deadline=None)
@given(
    rate_hz=st.sampled_from(RATES_HZ),
    jitter=st.floats(0.0, 0.3),
    speed=st.floats(0.0, 50.0),
    acceleration=st.floats(0.0, 98.0),
    shake_hz=st.floats(0.1, 20.0),
    phase=st.floats(0.0, 6.28),
    turning=st.floats(-4.0, 4.0),
    held=st.sampled_from((1, 2, 4)),
    seed=st.integers(0, 99),
)
def test_what_a_vehicle_does_is_never_a_jump(
    rate_hz, jitter, speed, acceleration, shake_hz, phase, turning, held, seed
):
    """At up to 50 m/s along and across, and 10 g; turning; with poses that are sent several times, too."""
    stamps, seconds = stamps_of(rate_hz, jitter, seed)
    held = held if rate_hz >= 100 else 1
    seconds = seconds[np.arange(len(seconds)) // held * held]
    omega = 2 * np.pi * shake_hz
    acceleration = min(acceleration, 50.0 * omega)
    along = speed * seconds
    across = acceleration / omega**2 * np.sin(omega * seconds + phase)
    positions = np.stack([along, across, 0.3 * np.cos(seconds)], -1)
    check_scan(stamps, positions, level(turning * seconds + 0.1 * np.sin(10 * seconds + phase)))


@pytest.mark.parametrize('rate_hz', RATES_HZ)
@pytest.mark.parametrize('brake', [98.0, -98.0])
def test_ten_g_from_one_reading_to_the_next_are_no_jump(rate_hz, brake):
    stamps, seconds = stamps_of(rate_hz, 0.0)
    since = np.maximum(seconds - 0.031, 0.0)
    zero = np.zeros_like(seconds)
    check_scan(stamps, np.stack([20 * seconds + brake / 2 * since**2, zero, zero], -1), level(zero))


#: By rate of odometry, jumps of a robot at 2 m/s and 0.5 rad/s that are found, m and rad; at low rates 10 g explain
#: smaller ones.
LEAST = {10: (2.0, 0.9), 20: (0.8, 0.3), 50: (0.5, 0.12), 100: (0.4, 0.1), 200: (0.3, 0.08)}


@pytest.mark.parametrize('rate_hz', RATES_HZ)
@pytest.mark.parametrize('at', [2, 3, -1], ids=['first step', 'second', 'last'])
@pytest.mark.parametrize('moves', [0.0, 1.0], ids=['standing', 'driving'])
@pytest.mark.parametrize('times', [1.0, 3.0])
@pytest.mark.parametrize('angle', [0.0, 2.0, 4.0])
@pytest.mark.parametrize('what', ['position', 'yaw'])
def test_a_pose_that_is_corrected_within_a_scan_is_a_jump(rate_hz, at, moves, times, angle, what):
    stamps, seconds = stamps_of(rate_hz, 0.1)
    positions = np.stack([2.0 * moves * seconds, 0 * seconds, 0 * seconds], -1)
    yaw = 0.5 * moves * seconds
    size, turn = (times * least for least in LEAST[rate_hz])
    at = given_to_the_scan(stamps)[at]
    if what == 'position':
        positions[at:] += size * np.array([np.cos(angle), np.sin(angle), 0.0])
    else:
        yaw[at:] += np.copysign(turn, np.cos(angle))
    with pytest.raises(DataError, match=r'(the odometry was reset|faster than)') as error:
        check_scan(stamps, positions, level(yaw))
    assert error.value.reason == Reason.NO_MOTION


def test_a_jump_beyond_the_readings_of_a_scan_does_not_concern_it():
    stamps, seconds = stamps_of(50, 0.0)
    positions = np.stack([seconds, 0 * seconds, 0 * seconds], -1)
    given = given_to_the_scan(stamps)
    for elsewhere in (given[:1], np.arange(given[-1] + 1, len(stamps))):
        jumped = positions.copy()
        jumped[elsewhere] += 3.0
        check_scan(stamps, jumped, level(0 * seconds))


def test_poses_that_change_between_two_places_jump():
    """As those of two nodes on one topic."""
    stamps, seconds = stamps_of(50, 0.0)
    positions = np.stack([seconds, np.arange(len(stamps)) % 2 * 0.5, 0 * seconds], -1)
    with pytest.raises(DataError, match=r'the robot would move by 0\.5 m in 0\.02 s'):
        check_scan(stamps, positions, level(0 * seconds))


@pytest.mark.parametrize(('way', 'fault'), [(9.0, None), (11.0, 'faster than 100 m/s')])
def test_a_single_step_is_judged_by_its_speed(way, fault):
    stamps, positions = T0 + np.array([0, 100], np.int64) * MS, np.array([[0.0, 0.0, 0.0], [way, 0.0, 0.0]])
    with pytest.raises(DataError, match=fault) if fault else nullcontext():
        check(stamps, positions, level(np.zeros(2)))
