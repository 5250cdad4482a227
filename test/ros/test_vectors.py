# SPDX-License-Identifier: Apache-2.0
"""Vectors: every usual message type, live and from a bag."""

import importlib.util

import numpy as np
import pytest
import torch
from support import bags, vectors
from support.live import Live

from robocache_core import payload
from robocache_core.streams.message_vector import PRESETS
from robocache_ros import parameters
from robocache_ros.offline import fused_frames, make_pipeline

#: By type: what makes its messages, its parameters, and the row that is expected at a time, ms.
TYPES = {
    'sensor_msgs/msg/JointState': (
        vectors.joint_state,
        {'joints': ['elbow', 'shoulder'], 'fields': ['velocity', 'position']},
        lambda ms: [ms + 10, 10, ms, 0],
    ),
    'nav_msgs/msg/Odometry': (
        vectors.odometry,
        {},
        lambda ms: [ms, 0, 1, 0, 0, np.sin(ms / 2000), np.cos(ms / 2000), ms, 0, -ms, 0, 1, 2],
    ),
    'geometry_msgs/msg/PoseStamped': (
        vectors.pose_stamped, {}, lambda ms: [ms, 0, 1, 0, 0, np.sin(ms / 2000), np.cos(ms / 2000)],
    ),
    'geometry_msgs/msg/TwistStamped': (vectors.twist_stamped, {}, lambda ms: [ms, 0, -ms, 0, 1, 2]),
    'geometry_msgs/msg/Twist': (vectors.twist, {}, lambda ms: [ms, 0, -ms, 0, 1, 2]),
    'geometry_msgs/msg/WrenchStamped': (vectors.wrench, {}, lambda ms: [ms, 1, 2, 3, 4, -ms]),
    'geometry_msgs/msg/AccelStamped': (vectors.accel, {}, lambda ms: [ms, 0, 9.8, 0, 0, ms]),
    'sensor_msgs/msg/NavSatFix': (vectors.fix, {}, lambda ms: [48 + ms * 1e-9, 11, 500]),
    'sensor_msgs/msg/Joy': (vectors.joy, {'fields': ['axes[:2]', 'buttons[1]']}, lambda ms: [ms, ms, 1]),
    'sensor_msgs/msg/MagneticField': (vectors.magnetic_field, {}, lambda ms: [ms, 0, 1]),
    'sensor_msgs/msg/FluidPressure': (vectors.fluid_pressure, {}, lambda ms: [101_325 + ms]),
    'sensor_msgs/msg/Temperature': (vectors.temperature, {}, lambda ms: [20 + ms]),
    'sensor_msgs/msg/Range': (vectors.range_, {}, lambda ms: [ms]),
    'sensor_msgs/msg/BatteryState': (vectors.battery, {}, lambda ms: [ms]),
    'std_msgs/msg/Float32MultiArray': (vectors.multi_array, {'fields': ['data[:3]']}, lambda ms: [ms] * 3),
    'std_msgs/msg/Float64MultiArray': (
        lambda ms: vectors.multi_array(ms, 64), {'fields': ['data[2]', 'data[0]']}, lambda ms: [ms] * 2,
    ),
}  # fmt: skip
PERIOD_MS, END_MS = 14, 600


def with_scans(message, **stream):
    """Parameters of a lidar, the trigger, and a vector stream beside it."""
    return {
        'lidars': ['lidar'],
        'lidar.topic': '/points',
        'lidar.voxel.channels': ['count'],
        'vectors': ['state'],
        'state.topic': '/state',
        'state.message': message,
    } | {f'state.{name}': value for name, value in stream.items()}


def bag_of(path, messages, **how):
    """A bag of scans, and of ``(ms, message)`` on /state."""
    scans = bags.every(100, '/points', bags.cloud, END_MS)
    return bags.write(path / 'bag', scans + [(ms, '/state', message) for ms, message in messages], **how)


def steady(make):
    return [(ms, make(ms)) for ms in range(0, END_MS, PERIOD_MS)]


def frames_of(bag, values):
    config, _ = parameters.from_dict(values, warn=pytest.fail)
    with fused_frames(bag, config, make_pipeline(config)) as frames:
        return list(frames), {name: account.counts().dropped for name, account in frames.pipeline.ledger.items()}


def digests(frames):
    return [payload.digest(frame) for frame in frames]


def ms_of(frame):
    return (frame.stamp_ns - bags.START_NS) / bags.MS


def test_every_usual_type_is_tried():
    assert set(TYPES) == set(PRESETS)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('message', TYPES)
def test_the_numbers_of_a_message_at_the_stamps_of_scans(tmp_path, message, storage):
    make, stream, expected = TYPES[message]
    bag = bag_of(tmp_path, steady(make), storage=storage)
    frames, dropped = frames_of(bag, with_scans(message, **stream))
    assert dropped['state'].keys() <= {'unselected'}
    assert len(frames) == END_MS / 100
    (tensors,) = {frame.tensors['state'].dtype for frame in frames}
    assert tensors == (torch.float64 if PRESETS[message].dtype == 'float64' else torch.float32)
    for frame in frames:
        (row,) = frame.tensors['state'].tolist()
        np.testing.assert_allclose(row, expected(ms_of(frame)), rtol=1e-6, atol=1e-6)
        assert frame.tensors['state.valid'].tolist() == [True]
        assert len(frame.columns['state']) == len(row)
        assert frame.stamped_by_arrival == (() if PRESETS[message].has_header else ('state',))
        assert payload.decode(payload.encode(frame)).columns == frame.columns
    again, _ = frames_of(bag, with_scans(message, **stream))
    assert digests(again) == digests(frames)


@pytest.mark.parametrize('message', [name for name, preset in PRESETS.items() if preset.has_header])
def test_live_and_offline_give_the_same_bits(tmp_path, message):
    package = message.partition('/')[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f'{package} is not installed')
    make, stream, _ = TYPES[message]
    bag, values = bag_of(tmp_path, steady(make)), with_scans(message, **stream)
    live, (offline, _) = Live(bag, values), frames_of(bag, values)
    assert len(live.frames) >= END_MS / 100 - 1
    assert digests(live.frames) == digests(offline[: len(live.frames)])


@pytest.mark.parametrize('message', [name for name, preset in PRESETS.items() if not preset.has_header])
def test_a_message_without_a_header_has_the_time_of_its_arrival(tmp_path, message):
    make, stream, _ = TYPES[message]
    values = {'vectors': ['state'], 'sync.rate_hz': 1000.0, 'state.interpolation': 'previous', 'state.tolerance': 100.0}
    values |= {name: value for name, value in with_scans(message, **stream).items() if name.startswith('state.')}
    bag = bags.write(tmp_path / 'bag', [(ms, '/state', make(ms)) for ms in range(0, 100, 10)])
    live = Live(bag, values)
    assert live.counts['state'].received == 10
    assert live.counts['state'].dropped.keys() <= {'unselected'}
    assert live.frames[0].stamped_by_arrival == ('state',)
    assert live.frames[0].stamp_ns > bags.START_NS + bags.MS * END_MS  # today, not when the bag was recorded
