# SPDX-License-Identifier: Apache-2.0
"""Vectors: every usual message type, live and from a bag."""

import importlib.util
import math

import numpy as np
import pytest
import torch
from geometry_msgs.msg import Twist, TwistStamped
from support import bags, vectors
from support.live import Live
from support.runtime import START_NS, assert_adds_up, header, make

from robocache_core import MessageVectorConfig, PipelineConfig, SyncConfig, payload
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
    'sensor_msgs/msg/Range': (vectors.range_, {}, lambda ms: [1 + ms / 1000]),
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


def steady(make_message):
    return [(ms, make_message(ms)) for ms in range(0, END_MS, PERIOD_MS)]


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
    make_message, stream, expected = TYPES[message]
    bag = bag_of(tmp_path, steady(make_message), storage=storage)
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
    make_message, stream, _ = TYPES[message]
    bag, values = bag_of(tmp_path, steady(make_message)), with_scans(message, **stream)
    live, (offline, _) = Live(bag, values), frames_of(bag, values)
    assert len(live.frames) >= END_MS / 100 - 1
    assert digests(live.frames) == digests(offline[: len(live.frames)])


def test_a_sonar_that_sees_nothing_is_dropped_live_as_from_a_bag(tmp_path):
    messages = [(ms, vectors.range_(ms, math.inf if 200 < ms < 450 else None)) for ms in range(0, END_MS, PERIOD_MS)]
    bag, values = bag_of(tmp_path, messages), with_scans('sensor_msgs/msg/Range', required=False, tolerance=0.03)
    live, (offline, dropped) = Live(bag, values), frames_of(bag, values)
    nothing = sum(200 < ms < 450 for ms, _ in messages)
    assert live.counts['state'].dropped['out_of_range'] == dropped['state']['out_of_range'] == nothing
    assert [ms_of(frame) for frame in offline if not frame.valid['state']] == [200, 300, 400]
    assert len(live.frames) >= END_MS / 100 - 1
    assert digests(live.frames) == digests(offline[: len(live.frames)])


@pytest.mark.parametrize('message', [name for name, preset in PRESETS.items() if not preset.has_header])
def test_a_message_without_a_header_has_the_time_of_its_arrival(tmp_path, message):
    make_message, stream, expected = TYPES[message]
    values = {'vectors': ['state'], 'sync.trigger': 'state', 'state.topic': '/state', 'state.message': message}
    values |= {f'state.{name}': value for name, value in stream.items()}
    bag = bags.write(tmp_path / 'bag', [(ms, '/state', make_message(ms)) for ms in range(0, 100, 10)])
    live, (offline, _) = Live(bag, values), frames_of(bag, values)
    assert [frame.stamp_ns for frame in offline] == [bags.START_NS + ms * bags.MS for ms in range(0, 100, 10)]
    assert len(live.frames) >= 9
    for ms, frame, recorded in zip(range(0, 100, 10), live.frames, offline, strict=False):
        assert frame.stamp_ns > bags.START_NS + 10**9, 'now, not when the bag was recorded'
        assert frame.tensors['state'].tolist() == recorded.tensors['state'].tolist() == [expected(ms)]
        assert frame.stamped_by_arrival == ('state',)


@pytest.mark.parametrize(('stamp', 'is_by_arrival'), [('auto', False), ('header', False), ('arrival', True)])
def test_a_header_s_stamp_need_not_count(stamp, is_by_arrival):
    """Messages whose stamps are all the same, taken 10 ms apart."""
    config = MessageVectorConfig('state', topic='/state', message='geometry_msgs/msg/TwistStamped', stamp=stamp)
    bench = make(PipelineConfig(vectors=(config,), sync=SyncConfig(trigger='state')))
    message = TwistStamped(header=header(0))
    for _ in range(4):
        bench.put('state', message)
        bench.work()
        bench.clock.advance(0.01)
    assert bench.runtime.pipeline.ledger['state'].counts().dropped == ({} if is_by_arrival else {'late': 3})
    assert_adds_up(bench.runtime)
    stamps = [START_NS + ms * bags.MS for ms in range(0, 40, 10)] if is_by_arrival else [START_NS]
    assert [frame.stamp_ns for frame in bench.frames] == stamps


def test_what_arrives_before_ros_time_begins_is_refused():
    config = MessageVectorConfig('state', topic='/state', message='geometry_msgs/msg/Twist')
    bench = make(PipelineConfig(vectors=(config,), sync=SyncConfig(trigger='state')))
    bench.clock.advance(-1e10)
    bench.put('state', Twist())
    bench.work()
    assert bench.runtime.pipeline.ledger['state'].counts().dropped == {'zero_stamp': 1}
    assert 'no /clock had come yet' in next(iter(bench.runtime.drops.explanations.values())).message
