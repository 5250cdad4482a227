# SPDX-License-Identifier: Apache-2.0
"""The messages of a bag, read ahead by a thread."""

import threading

import pytest
from support import bags

from robocache_ros.bags import BagError, open_bag
from robocache_ros.tools.replay.read_ahead import ReadAhead


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('max_bytes', [500, 1 << 20])  # less than two messages, so that the thread must wait; all
def test_messages_come_as_the_bag_gives_them(tmp_path, storage, max_bytes):
    messages = [*bags.every(10, '/imu', bags.imu, 500), *bags.every(100, '/points', bags.cloud, 500)]
    bag = open_bag(bags.write(tmp_path / 'bag', messages, storage))
    with ReadAhead(bag, {'/imu', '/points'}, max_bytes) as ahead:
        read = list(ahead)
    assert len(read) == 55
    assert read == list(bag.messages({'/imu', '/points'}))


def test_reading_can_be_left_early(tmp_path):
    bag = open_bag(bags.write(tmp_path / 'bag', bags.every(1, '/imu', bags.imu)))
    with ReadAhead(bag, {'/imu'}, max_bytes=1000) as ahead:
        next(iter(ahead))
    assert 'read_ahead' not in {thread.name for thread in threading.enumerate()}


def test_an_error_of_the_reader_reaches_the_player(tmp_path):
    bag = open_bag(bags.write(tmp_path / 'bag', bags.every(10, '/imu', bags.imu, 100)))
    for file in bag.path.glob('*.mcap'):
        file.write_bytes(b'no mcap at all')
    with pytest.raises(BagError, match='bag'), ReadAhead(bag, {'/imu'}) as ahead:
        list(ahead)
