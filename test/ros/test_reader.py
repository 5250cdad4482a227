# SPDX-License-Identifier: Apache-2.0
"""Messages by rcl's C interface, and the threads that take them."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import rclpy
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import UInt8MultiArray

from robocache_core import host_memory
from robocache_ros import rcl
from robocache_ros.reader import Reader, ReadOnThread

GIVE_UP_S = 20.0


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    rclpy.init()
    node = rclpy.create_node('reader')
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


def until(done) -> None:
    give_up = time.monotonic() + GIVE_UP_S
    while not done():
        assert time.monotonic() < give_up, 'nothing came'
        time.sleep(0.01)


def unexpected(message) -> None:
    raise AssertionError('the callback of a subscription that is read on a thread was called')


class Topic:
    """A publisher, a subscription that is matched with it, and what its reader took."""

    def __init__(self, node, name='/read', message=UInt8MultiArray, put=None):
        self.node, self.taken, self.failures, self.matched = node, [], [], []
        self.publisher = node.create_publisher(message, name, QoSProfile(depth=10))
        self.subscription = node.create_subscription(
            message,
            name,
            unexpected,
            QoSProfile(depth=10),
            callback_group=ReadOnThread(),
            event_callbacks=SubscriptionEventCallbacks(matched=self.matched.append),
            raw=True,
        )
        self._put = put or self.taken.append
        until(lambda: self.publisher.get_subscription_count() == 1)

    def read(self):
        return Reader(self.node.context, self.subscription, rcl.take, self._put, lambda: self.failures.append(1))

    def send(self, *values):
        self.publisher.publish(UInt8MultiArray(data=values))

    @property
    def values(self):
        return [deserialize_message(bytes(taken.message.raw), UInt8MultiArray).data.tolist() for taken in self.taken]


def test_a_message_is_taken_as_its_bytes(node):
    topic = Topic(node, message=Image)
    assert rcl.take(topic.subscription) is None
    sent = Image(width=3, encoding='mono8', data=bytes(range(200)))
    before_ns = time.time_ns()
    topic.publisher.publish(sent)
    found = []
    until(lambda: found or found.extend(filter(None, [rcl.take(topic.subscription)])))
    (taken,) = found
    assert deserialize_message(bytes(taken.message.raw), Image) == sent
    assert before_ns <= taken.source_ns <= taken.received_ns <= time.time_ns()
    assert rcl.take(topic.subscription) is None


def test_the_memory_of_no_bytes_has_an_address():
    """NumPy before 2.4 refuses an interface without one."""
    interface = rcl._Memory().__array_interface__
    assert interface['shape'] == (0,)
    assert interface['data'][0] != 0


def test_a_message_outlives_its_subscription(node):
    topic = Topic(node)
    reader = topic.read()
    topic.send(*range(256))
    until(lambda: topic.taken)
    reader.stop()
    node.destroy_subscription(topic.subscription)
    view = np.frombuffer(topic.taken.pop().message.raw, np.uint8)
    assert view[-256:].tolist() == list(range(256))
    view[:] = 0  # it is nobody else's


class Memory:
    """Hands out memory of the C library, and counts it."""

    def __init__(self) -> None:
        libc, pointer, size = ctypes.CDLL(None), ctypes.c_void_p, ctypes.c_size_t
        libc.realloc.restype, libc.realloc.argtypes, libc.free.argtypes = pointer, [pointer, size], [pointer]
        self.sizes, self.num_freed = [], 0

        def reallocate(block, nbytes, state):
            self.sizes.append(nbytes)
            return libc.realloc(block, nbytes)

        def free(block, state):
            self.num_freed += block is not None
            libc.free(block)

        self.kept = (
            ctypes.CFUNCTYPE(pointer, size, pointer)(lambda nbytes, state: reallocate(None, nbytes, state)),
            ctypes.CFUNCTYPE(None, pointer, pointer)(free),
            ctypes.CFUNCTYPE(pointer, pointer, size, pointer)(reallocate),
            ctypes.CFUNCTYPE(pointer, size, size, pointer)(lambda *_: None),
        )
        self.functions = host_memory.Functions(*(ctypes.cast(f, pointer).value for f in self.kept))


def test_messages_are_put_into_the_memory_that_a_pipeline_wants(node, monkeypatch):
    memory = Memory()
    monkeypatch.setattr(host_memory, 'functions', lambda: memory.functions)
    topic = Topic(node)
    topic.send(*range(256))
    found: list[rcl.Taken] = []
    until(lambda: found or found.extend(filter(None, [rcl.take(topic.subscription)])))
    raw = found.pop().message.raw
    assert deserialize_message(bytes(raw), UInt8MultiArray).data.tolist() == list(range(256))
    assert max(memory.sizes) >= len(raw)
    before = memory.num_freed
    del raw
    assert memory.num_freed == before + 1


def resident_bytes() -> int:
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE')


def test_the_memory_of_messages_is_freed_with_their_last_view(node):
    sizes = []
    topic = Topic(node, put=lambda taken: sizes.append(taken.message.nbytes))
    reader = topic.read()
    data = bytes(1 << 20)
    for number in range(200):
        if number == 20:  # what DDS keeps is there
            before = resident_bytes()
        topic.publisher.publish(UInt8MultiArray(data=data))
        until(lambda number=number: len(sizes) == number + 1)
    assert min(sizes) > len(data)
    assert resident_bytes() - before < 60 * len(data)
    reader.stop()


def test_what_is_published_serialized_comes_as_it_is(node):
    topic = Topic(node)
    reader = topic.read()
    raw = np.frombuffer(serialize_message(UInt8MultiArray(data=[7, 8, 9])), np.uint8).copy()
    rcl.publish(topic.publisher, raw.data)
    until(lambda: topic.values == [[7, 8, 9]])
    reader.stop()


def test_publishing_leaves_nothing_to_the_garbage_collector(node):
    topic = Topic(node)
    reader = topic.read()
    messages = [serialize_message(UInt8MultiArray(data=bytes(length))) for length in range(1000, 1016)]
    gc.collect()
    classes = set(ctypes.Array.__subclasses__())
    for number, raw in enumerate(messages):
        rcl.publish(topic.publisher, memoryview(raw))
        until(lambda number=number: len(topic.values) == number + 1)
    assert set(ctypes.Array.__subclasses__()) == classes
    reader.stop()


def test_what_rcl_refuses_is_an_error_with_its_text(node):
    topic = Topic(node)
    rclpy.shutdown()
    with pytest.raises(rcl.RclError, match=r'^rcl cannot publish a message: .*context is invalid'):
        rcl.publish(topic.publisher, memoryview(bytearray(8)))


def test_a_topic_does_not_wait_for_another_one(node):
    go_on = threading.Event()
    slow = Topic(node, '/slow', put=lambda taken: go_on.wait(GIVE_UP_S) and None)
    quick = Topic(node, '/quick')
    readers = [slow.read(), quick.read()]
    slow.send(1)
    quick.send(2)
    until(lambda: quick.values == [[2]])
    assert not go_on.is_set()
    go_on.set()
    for reader in readers:
        reader.stop()


def test_an_executor_leaves_messages_and_events_to_the_reader(node):
    topic = Topic(node)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    # Were one of them in its wait set, it would be woken over and over while a message waits.
    assert not any(map(executor.can_execute, (topic.subscription, *topic.subscription.event_handlers)))
    reader = topic.read()
    for value in range(20):
        topic.send(value)
        executor.spin_once(timeout_sec=0.01)
    until(lambda: topic.values == [[value] for value in range(20)])
    until(lambda: topic.matched)
    assert topic.matched[0].total_count == 1
    reader.stop()
    executor.shutdown()


def test_a_failure_is_reported_and_the_next_message_is_taken(node):
    taken = []

    def put(message):
        taken.append(message)
        if len(taken) == 1:
            raise RuntimeError('planted')

    topic = Topic(node, put=put)
    reader = topic.read()
    topic.send(1)
    until(lambda: topic.failures == [1])
    topic.send(2)
    until(lambda: len(taken) == 2)
    reader.stop()
    assert topic.failures == [1]


def test_an_image_is_decoded_here_only_where_no_message_waits_behind_it(node, monkeypatch):
    """A camera that is faster than its images are decoded does not leave them to the middleware's queue."""
    done = []

    class Decoding:
        def __init__(self, number):
            self.number = number

        def here(self):
            done.append((self.number, 'here'))

        def elsewhere(self):
            done.append((self.number, 'elsewhere'))

    # As they wait in the queue of the middleware; 0: of another kind, None: no message waits.
    waiting = iter([1, None, 2, 3, 0, 4, None, 5, 0, None])
    monkeypatch.setattr(rcl, 'take', lambda subscription: next(waiting, None))
    topic = Topic(node, put=lambda number: Decoding(number) if number else None)
    topic.send(1)
    reader = topic.read()
    until(lambda: len(done) == 5)
    reader.stop()
    assert done == [(1, 'here'), (2, 'elsewhere'), (3, 'elsewhere'), (4, 'here'), (5, 'elsewhere')]
    assert topic.failures == []


@pytest.mark.parametrize('end', ['stop', 'shutdown', 'destroy'])
def test_a_reader_ends(node, end):
    topic = Topic(node)
    before = threading.active_count()
    reader = topic.read()
    assert threading.active_count() == before + 1
    if end == 'shutdown':
        rclpy.shutdown()
        until(lambda: threading.active_count() == before)
    elif end == 'destroy':
        node.destroy_subscription(topic.subscription)
    reader.stop()
    assert threading.active_count() == before
    assert topic.failures == []
