# SPDX-License-Identifier: Apache-2.0
"""What signals leave of the node's states, of its shared memory, and of the processes around it."""

import contextlib
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from support.terminal import ACTIVE, FRONT, NODE, Terminal, assert_clean, other_node

#: States that transitions lead to, beside those that a start does: the node is configured, or has been.
STATES = {
    'inactive': ('configure',),
    'deactivated': ('configure', 'activate', 'deactivate'),
    'cleaned up': ('configure', 'cleanup'),
    'finalized': ('configure', 'activate', 'active_shutdown'),
}
#: A driver: images, 100 a second, until it is killed. It says when the node has subscribed.
PUBLISHER = """
import time, rclpy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node('camera')
publisher = node.create_publisher(Image, '/front', 10)
while not publisher.get_subscription_count():
    time.sleep(0.01)
print('matched', flush=True)
while rclpy.ok():
    stamp = node.get_clock().now().to_msg()
    image = Image(height=4, width=4, step=12, encoding='bgr8', data=bytes(48))
    image.header.stamp, image.header.frame_id = stamp, 'front'
    publisher.publish(image)
    time.sleep(0.01)
"""
#: A consumer, which says when frames come.
SUBSCRIBER = """
import rclpy
from rclpy.executors import ExternalShutdownException
from robocache_ros.subscriber import FusedSubscriber
rclpy.init()
node = rclpy.create_node('consumer')
FusedSubscriber(node, lambda frame: print('frame', flush=True))
try:
    rclpy.spin(node)
except (KeyboardInterrupt, ExternalShutdownException):
    pass
"""
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]


def change_state(node, names):
    client = node.create_client(ChangeState, '/preprocess/change_state')
    assert client.wait_for_service(20.0)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    for name in names:
        request = ChangeState.Request()
        request.transition.id = getattr(Transition, f'TRANSITION_{name.upper()}')
        for tries in range(10):  # noqa: B007  # an answer is lost where its reader is not matched yet
            answer = client.call_async(request)
            executor.spin_until_future_complete(answer, 2.0)
            if answer.done():
                break
        assert answer.result().success or tries, name  # asked again, what was done is refused
    executor.shutdown()


@pytest.mark.parametrize('number', SIGNALS[:2], ids=lambda number: number.name)
@pytest.mark.parametrize('transitions', STATES.values(), ids=STATES)
def test_a_signal_ends_the_node_behind_its_transitions(transitions, number):
    """Status 0 says that it was in time: what takes longer is cut off, with another status."""
    with Terminal(NODE, FRONT) as terminal, other_node('manager') as node:
        terminal.until('unconfigured')
        change_state(node, transitions)
        terminal.interrupt(number)
        assert terminal.ended() == 0, terminal.text
    assert_clean(terminal)


def shared_memory(pid):
    """Files of shared memory that a process has mapped, but lttng's, which every process of ROS shares."""
    mapped = re.findall(r'/dev/shm/\S+', Path(f'/proc/{pid}/maps').read_text())
    return {Path(file) for file in mapped if 'lttng' not in file}


def left(files):
    return {file.name for file in files if file.exists()}


@contextlib.contextmanager
def active_node(**environment):
    with Terminal(NODE, ACTIVE, **environment) as terminal:
        terminal.until('active')
        yield terminal


@contextlib.contextmanager
def lonely_node():
    """An active node in a domain where there is nobody, and the files of shared memory that it has made."""
    before = set(Path('/dev/shm').iterdir())  # such as the ports of processes that were killed
    with active_node(ROS_DOMAIN_ID=str(1 + (int(os.environ['ROS_DOMAIN_ID']) + 50) % 100)) as terminal:
        made = shared_memory(terminal.pid) - before
        # Fast DDS's ports from 7000 on are of all processes of the host together.
        yield terminal, {file for file in made if 'fastrtps_port70' not in file.name}


@pytest.mark.parametrize('number', SIGNALS[:2], ids=lambda number: number.name)
def test_a_clean_end_leaves_no_shared_memory(number):
    with lonely_node() as (terminal, files):
        assert files
        terminal.interrupt(number)
        assert terminal.ended() == 0, terminal.text
    assert left(files) == set()


def test_a_killed_node_leaves_its_segment_alone_and_the_next_one_starts_as_ever():
    """Of Fast DDS's files the next node takes over the port; the segment stays until `fastdds shm clean`."""
    with lonely_node() as (terminal, files):
        terminal.interrupt(signal.SIGKILL)
        assert terminal.ended() == -signal.SIGKILL
    with lonely_node() as (terminal, own):
        terminal.interrupt(signal.SIGINT)
        assert terminal.ended() == 0, terminal.text
    assert_clean(terminal)
    assert left(own) == set()
    stays = {file for file in files if re.fullmatch(r'fastrtps_[0-9a-f]{16}(_el)?', file.name)}
    assert left(files) <= left(stays)
    for file in stays:
        file.unlink(missing_ok=True)


def python(program):
    """A process with a terminal of its own that runs the program, and takes no arguments of ROS."""
    return Terminal([sys.executable, '-c', program], [])


def test_the_node_outlives_its_publishers():
    with active_node() as node, python(SUBSCRIBER) as subscriber:
        for number in SIGNALS:
            with python(PUBLISHER) as publisher:
                publisher.until('matched')
                count = subscriber.text.count('frame')
                subscriber.until('frame\r\n' * (count + 3))
                publisher.interrupt(number)
                publisher.ended()
        node.interrupt(signal.SIGTERM)
        assert node.ended() == 0, node.text
    assert_clean(node)


def test_the_node_outlives_its_subscribers():
    with active_node() as node, python(PUBLISHER):
        for number in SIGNALS:
            with python(SUBSCRIBER) as subscriber:
                subscriber.until('frame')
                subscriber.interrupt(number)
                subscriber.ended()  # rclpy's spin may end with an error when its context goes
        node.interrupt(signal.SIGTERM)
        assert node.ended() == 0, node.text
    assert_clean(node)
