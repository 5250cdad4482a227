# SPDX-License-Identifier: Apache-2.0
"""What a bag holds, and its messages."""

import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from support import bags

from robocache_ros.bags import BagError, glimpse, open_bag
from robocache_ros.message_types import installed


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_bag_is_read_in_record_order_and_whole(tmp_path, storage):
    messages = [*bags.every(10, '/imu', bags.imu, 500), *bags.every(100, '/points', bags.cloud, 500)]
    bag = open_bag(bags.write(tmp_path / 'bag', messages, storage))
    assert bag.count == 55
    assert bag.topics['/imu'].msgtype == 'sensor_msgs/msg/Imu'
    assert bag.topics['/points'].count == 5
    assert bag.duration_s == pytest.approx(0.49, abs=0.02)
    read = list(bag.messages({'/imu', '/points'}))
    assert [record_ns for _, record_ns, _ in read] == sorted(bags.START_NS + int(ms * bags.MS) for ms, _, _ in messages)
    assert [topic for topic, _, _ in read].count('/points') == 5


def test_only_the_topics_asked_for_are_read(tmp_path):
    messages = [*bags.every(10, '/imu', bags.imu, 100), *bags.every(10, '/text', bags.text, 100)]
    bag = open_bag(bags.write(tmp_path / 'bag', messages))
    assert {topic for topic, _, _ in bag.messages({'/text', '/absent'})} == {'/text'}
    assert list(bag.messages(set())) == list(bag.messages({'/absent'})) == []


def test_a_message_is_deserialized_by_the_type_of_its_topic(tmp_path):
    bag = open_bag(bags.write(tmp_path / 'bag', bags.every(10, '/text', bags.text, 20)))
    assert [bag.deserialize(topic, raw).data for topic, _, raw in bag.messages({'/text'})] == ['at 0', 'at 10']
    with pytest.raises(BagError, match='/text: 4 bytes that are no std_msgs/msg/String'):
        bag.deserialize('/text', b'\x00\x01\x00\x00')


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_topic_has_the_definition_of_its_type(tmp_path, storage):
    bag = open_bag(bags.write(tmp_path / 'bag', [(0, '/text', bags.text(0))], storage))
    assert bag.topics['/text'].definition.strip() == 'string data'


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize(
    ('types', 'read', 'left_out'),
    [
        ((), 'std_msgs/msg/String', "1 of 'sensor_msgs/msg/Image'"),
        (('sensor_msgs/msg/Image', 'sensor_msgs/msg/Imu'), 'sensor_msgs/msg/Image', "2 of 'std_msgs/msg/String'"),
        (('sensor_msgs/msg/Imu',), 'std_msgs/msg/String', "1 of 'sensor_msgs/msg/Image'"),
    ],
)
def test_of_a_topic_of_two_types_one_is_read_and_the_other_is_named(tmp_path, storage, types, read, left_out):
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin[storage.upper()]) as writer:
        connections = {}
        for ms, message in enumerate((bags.text(0), bags.image(0), bags.text(0))):
            if (kind := message.__msgtype__) not in connections:
                connections[kind] = writer.add_connection('/both', kind, typestore=bags.STORE)
            writer.write(connections[kind], ms, bags.STORE.serialize_cdr(message, kind))
    bag = open_bag(tmp_path / 'bag', types)
    topic = bag.topics['/both']
    assert topic.msgtype == read
    assert topic.doubt == f"it has messages of several types: '{read}' is read, left out are {left_out}"
    members = [vars(bag.deserialize(*each[::2])).keys() for each in bag.messages({'/both'})]
    assert members == [installed(read).get_fields_and_field_types().keys()] * topic.count


def test_a_bag_that_breaks_off_is_an_error_on_one_line(tmp_path):
    bag = open_bag(bags.write(tmp_path / 'bag', bags.every(10, '/imu', bags.imu, 100)))
    for file in bag.path.glob('*.mcap'):
        file.write_bytes(b'no mcap at all')
    with pytest.raises(BagError, match='bag: cannot be read') as caught:
        list(bag.messages({'/imu'}))
    assert '\n' not in str(caught.value)


def swapped(ms):
    """The stamps of neighbours at 5 ms are exchanged."""
    return bags.imu(ms + (5 if ms % 10 == 0 else -5))


@pytest.mark.parametrize(
    ('imu', 'period_s'),
    [
        (bags.every(5, '/imu', bags.imu), 0.005),
        (bags.every(5, '/imu', swapped), 0.005),
        (bags.every(5, '/imu', lambda ms: bags.imu(ms // 10 * 10)), 0.01),  # each stamp twice
        ([item for item in bags.every(5, '/imu', bags.imu) if item[0] >= 1900], 0.005),  # it starts late
        (bags.every(700, '/imu', bags.imu), 0.7),
        (bags.every(5, '/imu', lambda ms: bags.imu(0)), 0.005),  # its stamps stand still
    ],
    ids=['regular', 'unsorted', 'twice', 'late', 'slow', 'one stamp'],
)
def test_the_period_is_that_of_the_topics_own_stamps(tmp_path, imu, period_s):
    bag = open_bag(bags.write(tmp_path / 'bag', [*bags.every(100, '/points', bags.cloud), *imu]))
    seen = glimpse(bag, {'/imu', '/points'}, seconds=1.0)
    assert seen['/imu'].period_s == pytest.approx(period_s, rel=0.01)
    assert seen['/points'].period_s == pytest.approx(0.1)
    assert seen['/points'].first.header.frame_id == 'lidar'


@pytest.mark.parametrize(
    ('make', 'expected'),
    [
        (lambda path: path / 'none', 'there is no such bag'),
        (lambda path: _touch(path / 'old.bag'), 'ROS 1'),
        (lambda path: _touch(path / 'bad.mcap'), 'cannot be read'),
        (lambda path: path, 'cannot be read'),
        (lambda path: bags.write(path / 'empty', []), 'no messages'),
    ],
)
def test_what_is_no_bag_is_refused_on_one_line(tmp_path, make, expected):
    with pytest.raises(BagError, match=expected) as caught:
        open_bag(make(tmp_path))
    assert '\n' not in str(caught.value)


def _touch(path):
    path.write_bytes(b'nothing')
    return path
