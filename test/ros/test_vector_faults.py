# SPDX-License-Identifier: Apache-2.0
"""Vectors: what a sender does amiss is a reason, never another number; and what no configuration may ask."""

import math

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from support import bags, vectors

from robocache_core import DataError, MessageVectorConfig
from robocache_core.tunable import ConfigError
from robocache_ros import parameters
from robocache_ros.decode_vector import decode_vector
from robocache_ros.offline import fused_frames, make_pipeline
from robocache_ros.sources import source_of

JOINTS = MessageVectorConfig(
    'joints', message='sensor_msgs/msg/JointState', joints=('shoulder', 'elbow'), fields=('position', 'velocity')
)
LOOSE = MessageVectorConfig(
    'joints', message='sensor_msgs/msg/JointState', joints=('elbow', 'shoulder'), other_joints='ignore'
)


def of(message, *fields, **settings):
    return MessageVectorConfig('state', message=message, fields=fields, **settings)


JOY, FIX = of('sensor_msgs/msg/Joy', 'axes[:2]'), of('sensor_msgs/msg/NavSatFix')
RANGE = of('sensor_msgs/msg/Range')
POSE, TWIST = of('geometry_msgs/msg/PoseStamped'), of('geometry_msgs/msg/TwistStamped')


def changed(message, **members):
    """A message with members, by dotted path, set; `__` stands for a dot."""
    for path, value in members.items():
        *owners, last = path.split('__')
        owner = message
        for name in owners:
            owner = getattr(owner, name)
        object.__setattr__(owner, last, value)
    return message


def joints(*names, **how):
    return vectors.joint_state(100, names, **how)


@pytest.mark.parametrize('names', [('shoulder', 'elbow'), ('elbow', 'shoulder')])
def test_joints_are_found_by_name(names):
    assert JOINTS.columns == ('position[shoulder]', 'position[elbow]', 'velocity[shoulder]', 'velocity[elbow]')
    assert decode_vector(joints(*names), JOINTS).values.tolist() == [0, 100, 10, 110]


def test_other_joints_can_be_ignored():
    assert decode_vector(joints('wrist', 'shoulder', 'elbow'), LOOSE).values.tolist() == [100, 0]


@pytest.mark.parametrize(
    ('message', 'config', 'reason', 'text'),
    [
        (joints('shoulder'), JOINTS, 'wrong_joints', r"lacks \['elbow'\]: correct joints.joints"),
        (joints(), JOINTS, 'wrong_joints', 'lacks'),
        (joints('shoulder', 'wrist'), LOOSE, 'wrong_joints', r"lacks \['elbow'\]"),
        (joints('shoulder', 'elbow', 'wrist'), JOINTS, 'wrong_joints', r"also has \['wrist'\].*other_joints to ignore"),
        (joints('shoulder', 'elbow', 'elbow'), JOINTS, 'wrong_joints', r"has twice \['elbow'\]"),
        (
            joints('shoulder', 'elbow', arrays=('position',)),
            JOINTS,
            'wrong_size',
            'velocity has 0 elements for 2 joints',
        ),
        (changed(joints('shoulder', 'elbow'), position=np.zeros(3)), JOINTS, 'wrong_size', 'position has 3 elements'),
        (
            changed(joints('shoulder', 'elbow'), position=np.array([0, math.nan])),
            JOINTS,
            'non_finite',
            r'n\[elbow\] is nan',
        ),
        (vectors.joy(0, 1), JOY, 'wrong_size', r'axes\[:2\]: the array has 1 element'),
        (vectors.joy(0, 3), JOY, 'wrong_size', r'axes\[:2\]: the array has 3 element'),
        (vectors.joy(0, 1), of('sensor_msgs/msg/Joy', 'axes[1]'), 'wrong_size', r'axes\[1\]: the array has 1 element'),
        (changed(vectors.twist_stamped(0), twist__linear__x=math.inf), TWIST, 'non_finite', 'twist.linear.x is inf'),
        (changed(vectors.twist_stamped(0), twist__linear__x=3e38), TWIST, 'non_finite', 'at most 1.7e'),
        (
            changed(vectors.pose_stamped(0), pose__orientation__w=0.0),
            POSE,
            'no_orientation',
            'is a quaternion of length 0',
        ),
        (
            changed(vectors.pose_stamped(0), pose__orientation__w=math.nan),
            POSE,
            'non_finite',
            'pose.orientation.w is nan',
        ),
        (
            changed(vectors.pose_stamped(0), header__stamp__sec=0, header__stamp__nanosec=0),
            POSE,
            'zero_stamp',
            'did not set',
        ),
        (vectors.fix(0, status=-1), FIX, 'no_fix', 'no fix'),
        (vectors.fix(0, latitude=math.nan), FIX, 'non_finite', 'latitude is nan'),
        (vectors.range_(0, math.inf), RANGE, 'out_of_range', 'range is inf: .* 0.1 to 4'),
        (vectors.range_(0, -math.inf), RANGE, 'out_of_range', 'range is -inf'),
        (vectors.range_(0, math.inf, (0.1, math.inf)), RANGE, 'out_of_range', 'range is inf'),
        (vectors.range_(0, 4.01), RANGE, 'out_of_range', r'range is 4\.01'),
        (vectors.range_(0, 0.09), RANGE, 'out_of_range', r'range is 0\.09'),
        (vectors.range_(0, 1.0, (0.0, 0.0)), RANGE, 'out_of_range', 'must be in min_range to max_range, 0 to 0'),
        (vectors.range_(0, 1.0, (math.nan, 4.0)), RANGE, 'out_of_range', 'nan to 4'),
        (vectors.range_(0, math.nan), RANGE, 'non_finite', 'range is nan'),
    ],
)
def test_what_cannot_be_a_row_is_refused_by_name(message, config, reason, text):
    with pytest.raises(DataError, match=text) as error:
        decode_vector(message, config)
    assert error.value.reason == reason


@pytest.mark.parametrize('metres', [0.1, 1.0, 4.0])
def test_the_limits_of_a_range_are_distances(metres):
    assert decode_vector(vectors.range_(0, metres), RANGE).values.tolist() == [pytest.approx(metres)]


def test_a_quaternion_is_brought_to_length_1():
    message = changed(vectors.pose_stamped(0), pose__orientation__w=2.0)
    assert decode_vector(message, POSE).values.tolist()[3:] == [0, 0, 0, 1]


def test_an_unset_stamp_does_not_matter_where_the_arrival_counts():
    message = changed(vectors.pose_stamped(0), header__stamp__sec=0, header__stamp__nanosec=0)
    assert decode_vector(message, of('geometry_msgs/msg/PoseStamped', stamp='arrival')).stamp_ns == 0


# ---- in a bag -------------------------------------------------------------------------------------------------------


def run(path, messages, **stream):
    """Frames at 10 Hz of messages ``(ms, message)``, and what was dropped of them."""
    bag = bags.write(path / 'bag', [(ms, '/state', message) for ms, message in messages])
    values = {'vectors': ['state'], 'state.topic': '/state', 'sync.rate_hz': 10.0, 'state.required': False}
    config, _ = parameters.from_dict(values | {f'state.{k}': v for k, v in stream.items()}, warn=pytest.fail)
    with fused_frames(bag, config, make_pipeline(config)) as frames:
        return list(frames), frames.pipeline.ledger['state'].counts().dropped


def at(frames, ms):
    (frame,) = (frame for frame in frames if frame.stamp_ns == bags.START_NS + ms * bags.MS)
    return frame.tensors['state'], frame.tensors['state.valid'].tolist()


def test_messages_of_other_joints_are_dropped_and_shift_nothing(tmp_path):
    """As where two drivers publish on one topic, in any order of their joints."""
    orders = [('shoulder', 'elbow'), ('elbow', 'shoulder'), ('wrist',), ('elbow', 'wrist', 'shoulder')]
    messages = [(ms, vectors.joint_state(ms, orders[ms // 10 % 4])) for ms in range(0, 600, 10)]
    frames, dropped = run(
        tmp_path, messages, message='sensor_msgs/msg/JointState', joints=['elbow', 'shoulder'], other_joints='refuse'
    )
    assert dropped['wrong_joints'] == 30
    assert len(frames) >= 5
    for frame in frames:
        ms = (frame.stamp_ns - bags.START_NS) / bags.MS
        np.testing.assert_allclose(frame.tensors['state'].numpy(), [[ms, 0]], rtol=1e-6)


@pytest.mark.parametrize('interpolation', ['linear', 'nearest', 'previous'])
def test_a_quaternion_whose_sign_jumps_is_continuous(tmp_path, interpolation):
    """Each message has the other sign than the one before it; rows turn by 10 ms of 1 rad/s, and never jump."""
    messages = [(ms, vectors.pose_stamped(ms, (-1) ** (ms // 10))) for ms in range(0, 9000, 10)]
    fields = [f'pose.orientation.{axis}' for axis in 'xyzw']
    frames, _ = run(
        tmp_path, messages, message='geometry_msgs/msg/PoseStamped', fields=fields, interpolation=interpolation,
        window_size=20, window_period=0.0101, buffer=3.0,
    )  # fmt: skip
    full = [frame for frame in frames if frame.stamp_ns > bags.START_NS + 200 * bags.MS and frame.valid['state']]
    assert len(full) >= 80
    for frame in full:
        rows = frame.tensors['state'].double().numpy()
        assert (np.einsum('ij,ij->i', rows[1:], rows[:-1]) > 0.9999).all()
        assert rows[-1, 3] >= 0
        last_s = (frame.stamp_ns - bags.START_NS) / 1e9
        half = (last_s - 0.0101 * np.arange(19, -1, -1)) / 2
        expected = np.stack([np.sin(half), np.cos(half)], axis=1)
        assert np.abs(np.einsum('ij,ij->i', rows[:, 2:], expected)).min() > np.cos(0.006)


def test_a_position_on_the_globe_is_kept_to_less_than_a_millimetre(tmp_path):
    """1e-9 degrees are 0.1 mm; in float32, latitudes are 0.4 m apart."""
    messages = [(ms, vectors.fix(ms, latitude=48.123456789)) for ms in range(0, 500, 20)]
    frames, _ = run(tmp_path, messages, message='sensor_msgs/msg/NavSatFix', window_size=2, window_period=0.01)
    for ms in (100, 200, 300, 400):
        values, valid = at(frames, ms)
        assert valid == [True, True]
        expected = 48.123456789 + (ms - np.array([10, 0])) * 1e-9
        np.testing.assert_allclose(values[:, 0].numpy(), expected, rtol=0, atol=1.5e-14)


def test_while_a_sonar_sees_nothing_its_row_is_not_valid(tmp_path):
    messages = [(ms, vectors.range_(ms, math.inf if 300 < ms < 700 else None)) for ms in range(0, 1000, 20)]
    frames, dropped = run(tmp_path, messages, message='sensor_msgs/msg/Range', tolerance=0.05)
    assert dropped['out_of_range'] == 19
    valid = {(frame.stamp_ns - bags.START_NS) // bags.MS: frame.valid['state'] for frame in frames}
    assert [ms for ms, is_valid in valid.items() if not is_valid] == [400, 500, 600]
    for ms in (300, 700):
        values, _ = at(frames, ms)
        assert values.tolist() == [[pytest.approx(1 + ms / 1000)]]


def test_a_row_without_a_message_near_enough_is_not_valid(tmp_path):
    messages = [(ms, vectors.twist_stamped(ms)) for ms in range(0, 1000, 20) if not 300 < ms < 700]
    frames, _ = run(
        tmp_path, messages, message='geometry_msgs/msg/TwistStamped', fields=['twist.linear.x'], tolerance=0.03,
        window_size=3, window_period=0.04,
    )  # fmt: skip
    assert at(frames, 300)[1] == [True, True, True]
    assert at(frames, 400)[1] == [False, False, False]
    assert at(frames, 700)[1] == [False, False, True]
    assert [frame.valid['state'] for frame in frames if frame.stamp_ns == bags.START_NS + 700 * bags.MS] == [False]


# ---- types that are not installed ------------------------------------------------------------------------------------

COMMAND = """std_msgs/Header header
uint8 ON=1
bool is_on
Wheel[] wheels
string<=9 name
float64[2] limits
================================================================================
MSG: rover_msgs/Wheel
std_msgs/Empty nothing
float32 rate
byte flags
"""


def bag_of_commands(path, storage, text=COMMAND):
    """A bag of a type of its own, ten messages with the time in ms as the rate of the second wheel."""
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(COMMAND, 'rover_msgs/msg/Command'))
    make, wheel, empty = (
        store.types[n] for n in ('rover_msgs/msg/Command', 'rover_msgs/msg/Wheel', 'std_msgs/msg/Empty')
    )
    with Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()]) as writer:
        kind = make.__msgtype__
        topic = writer.add_connection('/state', kind, typestore=store, msgdef=text, rihs01=store.hash_rihs01(kind))
        for ms in range(0, 500, 50):
            wheels = [wheel(empty(), 1.0, 2), wheel(empty(), float(ms), 3)]
            message = make(bags.header(ms), True, wheels, 'rover', np.array([0.5, ms]))
            writer.write(topic, bags.START_NS + ms * bags.MS, store.serialize_cdr(message, kind))
    return path


FIELDS = ('is_on', 'wheels[1].rate', 'wheels[1].flags', 'limits[:2]')


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_type_that_is_not_installed_is_read_by_its_definition_in_the_bag(tmp_path, storage):
    bag = bag_of_commands(tmp_path / 'bag', storage)
    values = {'vectors': ['state'], 'sync.rate_hz': 10.0}
    values |= {'state.message': 'rover_msgs/msg/Command', 'state.fields': list(FIELDS)}
    config, _ = parameters.from_dict(values, warn=pytest.fail)
    frames = list(fused_frames(bag, config))
    assert len(frames) == 5
    for frame in frames:
        ms = (frame.stamp_ns - bags.START_NS) / bags.MS
        assert frame.tensors['state'].tolist() == [[1, ms, 3, 0.5, ms]]


@pytest.mark.parametrize(
    ('text', 'complaint'),
    [
        ('', 'is not installed .* does not define it'),
        ('float64[ x', 'is not installed .* its definition cannot be read'),
        ('std_msgs/Header header\nOther o', 'rover_msgs/msg/Other: is neither installed nor defined in the bag'),
        ('std_msgs/Header header\nCommand c', 'nested more than 50 deep'),
        ('std_msgs/Header header\nwstring w', 'wstring: is neither installed nor defined in the bag'),
        (
            'std_msgs/Header header\nbool is_on',
            "has 'wheels.1..rate': Command has no member wheels; it has header, is_on",
        ),
    ],
)
def test_a_definition_that_cannot_be_used_is_named(tmp_path, text, complaint):
    bag = bag_of_commands(tmp_path / 'bag', 'mcap', text)
    values = {'vectors': ['state'], 'sync.rate_hz': 10.0}
    values |= {'state.message': 'rover_msgs/msg/Command', 'state.fields': list(FIELDS)}
    config, _ = parameters.from_dict(values, warn=pytest.fail)
    with pytest.raises(ConfigError, match=complaint):
        next(fused_frames(bag, config))


# ---- what no configuration may ask -----------------------------------------------------------------------------------

POINT = 'geometry_msgs/msg/PointStamped'


@pytest.mark.parametrize(
    ('settings', 'text'),
    [
        ({}, "state.message = '': must be the full name of a type, as nav_msgs/msg/Odometry"),
        ({'message': 'geometry_msgs/Twist'}, 'must be the full name of a type'),
        (
            {'message': 'sensor_msgs/msg/Joy'},
            r'state.fields = \[\]: must be set, as sensor_msgs/msg/Joy has no usual ones',
        ),
        ({'message': 'sensor_msgs/msg/JointState'}, r'state.joints = \[\]: must name the joints'),
        ({'message': 'sensor_msgs/msg/JointState', 'joints': ['a', 'a']}, 'none twice'),
        ({'message': 'sensor_msgs/msg/JointState', 'joints': ['a'], 'fields': ['name']}, 'position, velocity, effort'),
        ({'message': POINT, 'fields': ['point.x'], 'joints': ['a']}, 'is for sensor_msgs/msg/JointState alone'),
        ({'message': POINT, 'fields': ['point.x', 'point.x']}, "name 'point.x' twice"),
        ({'message': POINT, 'fields': ['point..x']}, 'must be a path of members'),
        ({'message': POINT, 'fields': ['__class__']}, 'must be a path of members'),
        (
            {'message': 'sensor_msgs/msg/Joy', 'fields': ['axes[:999999]'], 'window_size': 100_000},
            'must be at most 2 GiB',
        ),
    ],
)
def test_a_configuration_that_could_give_no_row_is_refused(settings, text):
    values = {'vectors': ['state'], 'sync.rate_hz': 10.0} | {f'state.{name}': value for name, value in settings.items()}
    with pytest.raises(ConfigError, match=text):
        parameters.from_dict(values)


@pytest.mark.parametrize(
    ('config', 'text'),
    [
        (
            of('no_such_msgs/msg/Thing', 'x'),
            'is not installed .*: install the package no_such_msgs, as by apt install ros-',
        ),
        (of('sensor_msgs/msg/Thing', 'x'), 'sensor_msgs/msg/Thing: is not installed'),
        (
            of('geometry_msgs/msg/Twist', stamp='header'),
            "state.stamp = 'header': .* does not begin with a header: set it",
        ),
        (of('geometry_msgs/msg/Point', 'x'), 'does not begin with a header: set it to arrival'),
        (of(POINT, 'point.q'), "has 'point.q': point has no member q; it has x, y, z"),
        (of(POINT, 'position.x'), 'PointStamped has no member position; it has header, point'),
        (of(POINT, 'point'), "has 'point': is geometry_msgs/Point: name one of its members x, y, z"),
        (of(POINT, 'point.x.y'), 'point.x is double, which has no member y'),
        (of(POINT, 'point[0]'), 'point is geometry_msgs/Point, no array'),
        (of(POINT, 'point[:3]'), 'is geometry_msgs/Point, no array of numbers'),
        (of(POINT, 'header.frame_id'), "is 'string', no number"),
        (of('sensor_msgs/msg/Joy', 'axes'), r'name an element, axes\[0\], or all of them, axes\[:n\]'),
        (of('sensor_msgs/msg/NavSatFix', 'position_covariance[9]'), 'position_covariance has 9 elements'),
        (of('sensor_msgs/msg/NavSatFix', 'position_covariance[:8]'), 'has 9 elements'),
        (of('geometry_msgs/msg/PoseStamped', 'pose.orientation.w'), 'is a part of a quaternion'),
        (
            of('geometry_msgs/msg/PoseStamped', *(f'pose.orientation.{axis}' for axis in 'wxyz')),
            'is a part of a quaternion',
        ),
    ],
)
def test_fields_that_a_type_lacks_are_refused_before_a_message_comes(config, text):
    with pytest.raises(ConfigError, match=text):
        source_of(config)


def test_a_part_of_a_quaternion_may_be_read_where_nothing_is_mixed():
    assert source_of(of('geometry_msgs/msg/PoseStamped', 'pose.orientation.w', interpolation='previous'))


def test_a_member_within_an_array_of_messages():
    config = of('geometry_msgs/msg/PoseArray', 'poses[1].position.y')
    poses = [vectors.pose(0), changed(vectors.pose(0), position__y=7.0)]
    message = bags.T['geometry_msgs/msg/PoseArray'](bags.header(0), poses)
    assert source_of(config).decode(message, config).values.tolist() == [7]
