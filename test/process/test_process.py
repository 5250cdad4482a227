# SPDX-License-Identifier: Apache-2.0
"""The node as a process at a terminal: the arguments it refuses, and the signals that end it."""

import contextlib
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from support.terminal import ACTIVE, NODE, Terminal, assert_clean, other_node

#: The node whose images take a minute each to decode.
SLOW_NODE = """
import dataclasses, sys, time
from robocache_ros.process import Signals
signals = Signals()
from robocache_ros import node, sources
kind = 'sensor_msgs/msg/Image'
def decode(message, config):
    print('decoding', flush=True)
    time.sleep(60)
sources.SOURCES[kind] = dataclasses.replace(sources.SOURCES[kind], decode=decode)
sys.exit(node.run(signals))
"""


@contextlib.contextmanager
def images():
    """Publish images on /front, 200 a second, as far as the machine keeps up."""
    over = threading.Event()

    def publish(publisher):
        stamp_ns = 1_700_000_000 * 10**9
        while not over.wait(0.005):
            stamp_ns += 5_000_000
            header = Header(frame_id='front')
            header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 10**9)
            publisher.publish(Image(header=header, height=4, width=4, step=12, encoding='bgr8', data=bytes(48)))

    with other_node('camera') as node:
        thread = threading.Thread(target=publish, args=[node.create_publisher(Image, '/front', 10)])
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


#: What is refused before the node is made: the arguments, the exit status, and what is said of them in one line.
REFUSED = {
    'missing params file': (['--params-file', '/nowhere.yaml'], 2, r"'--params-file /nowhere\.yaml'.*opening YAML"),
    'bad log level': (['--log-level', 'nonsense'], 2, r"'--log-level nonsense'.*severity"),
    'unknown option of ROS': (['--bogus'], 2, r'unknown arguments of ROS:.*--bogus'),
    'bad remap': (['-r', 'nonsense'], 2, r"remap rule: '-r nonsense'"),
    'bad enclave': (['--enclave', 'nonsense'], 2, 'Enclave name is not valid'),
    'bad parameter': (['-p', 'nonsense'], 2, r"'-p nonsense'"),
    'use_sim_time in words': (['-p', 'use_sim_time:="yes"'], 1, "refused: .*'use_sim_time' to 'yes'.*'BOOL'"),
    "another of rclpy's own": (
        ['-p', 'start_type_description_service:=3'], 1, "refused: .*'start_type_description_service' to '3'.*'BOOL'"
    ),
}  # fmt: skip


@pytest.mark.parametrize(('arguments', 'status', 'said'), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_before_the_node_is_made_is_one_line(arguments, status, said):
    with Terminal(NODE, arguments) as terminal:
        assert terminal.ended() == status
    (line,) = terminal.text.splitlines()
    assert re.match(f'preprocess: .*{said}', line), line
    assert not re.search(r'\.c(pp)?:', line)


def test_a_name_that_rcl_refuses_is_no_traceback():
    with Terminal(NODE, ['-r', '__node:=' + 'n' * 256]) as terminal:
        assert terminal.ended() == 1
    assert 'Traceback' not in terminal.text
    assert (
        'preprocess: configuration refused: error creating node: invalid node name: node name length' in terminal.text
    )


@pytest.mark.parametrize(
    'text', ['a: [', 'preprocess: {ros__parameters: {lidars: [a, 1]}}'], ids=['broken YAML', 'mixed array']
)
def test_a_params_file_that_rcl_refuses_is_one_line(tmp_path, text):
    path = tmp_path / 'params.yaml'
    path.write_text(text)
    with Terminal(NODE, ['--params-file', str(path)]) as terminal:
        assert terminal.ended() == 2
    (line,) = terminal.text.splitlines()
    assert str(path) in line


@pytest.mark.parametrize(('argument', 'status', 'said'), [('--help', 0, '--ros-args'), ('nonsense', 2, 'nonsense')])
def test_arguments_are_those_of_ros_alone(argument, status, said):
    with Terminal([*NODE, argument], ['-p', 'autostart:=true']) as terminal:
        assert terminal.ended() == status
    assert said in terminal.text


def test_a_params_file_for_another_node_is_a_warning_and_no_stream_is_refused(tmp_path):
    path = tmp_path / 'params.yaml'
    path.write_text('other: {ros__parameters: {lidars: [top]}}')
    with Terminal(NODE, ['--params-file', str(path), '-p', 'autostart:=true']) as terminal:
        assert terminal.ended() == 1
    assert f'{path} has no effect: it has no ros__parameters for /preprocess; its sections: /other' in terminal.text
    assert 'needs at least one stream; name one, as in lidars' in terminal.text
    assert_clean(terminal)


@pytest.mark.parametrize('arguments', [[], ACTIVE], ids=['unconfigured', 'active'])
def test_a_node_ends_where_another_has_its_name(arguments):
    with other_node('preprocess'), Terminal(NODE, arguments) as terminal:
        assert terminal.ended() == 1
    (line,) = [line for line in terminal.text.splitlines() if 'FATAL' in line]
    assert 'another node is called /preprocess: this one ends. Give it a name or a namespace of its own' in line
    assert_clean(terminal)


#: States in which a signal comes: the arguments, and what is printed once the state is reached.
STATES = {
    'importing': (ACTIVE, ''),
    'unconfigured': ([], 'unconfigured'),
    'active': (ACTIVE, 'active'),
}


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize('state', STATES)
def test_a_signal_ends_the_node_in_every_state(state, number):
    """Twice at once too, as a terminal and a launch file both send it, and as impatient people do.

    Status 0 says that it was in time: what takes longer is cut off, with another status.
    """
    arguments, printed = STATES[state]
    for delay_s, signals in ((0.2, 1), (0.8, 2)):
        with Terminal(NODE, arguments) as terminal:
            terminal.until(printed)
            terminal.until_it_takes(signal.SIGTERM)  # as Python begins, it does not
            time.sleep(delay_s)  # somewhere within the state
            for _ in range(signals):
                terminal.interrupt(number)
            assert terminal.ended() == 0, terminal.text
        assert_clean(terminal)


def test_a_hangup_that_is_ignored_stays_so():
    with Terminal(['sh', '-c', 'trap "" HUP; exec "$0" "$@"', *NODE], []) as terminal:
        terminal.until('unconfigured')
        terminal.interrupt(signal.SIGHUP)
        with other_node('asks') as node:
            client = node.create_client(GetState, '/preprocess/get_state')
            assert client.wait_for_service(20.0)
            executor = SingleThreadedExecutor(context=node.context)
            executor.add_node(node)
            for _ in range(10):  # an answer is lost where its reader is not matched yet
                answer = client.call_async(GetState.Request())
                executor.spin_until_future_complete(answer, 2.0)
                if answer.done():
                    break
            assert answer.result().current_state.label == 'unconfigured'
            executor.shutdown()
        terminal.interrupt(signal.SIGINT)
        assert terminal.ended() == 0
    assert_clean(terminal)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_while_frames_flow(number):
    with images():
        for i in range(5):
            with Terminal(NODE, ACTIVE) as terminal:
                terminal.until('active')
                time.sleep(0.15 * i)
                for _ in range(1 + i % 2):
                    terminal.interrupt(number)
                assert terminal.ended() == 0, terminal.text
            assert_clean(terminal)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_step_that_does_not_end_is_cut_off(number):
    with images(), Terminal([sys.executable, '-c', SLOW_NODE], ACTIVE) as terminal:
        terminal.until('decoding')
        terminal.interrupt(number)
        assert terminal.ended() == 128 + number
    assert f'ended by {number.name} within a step that took longer than 1.5 s' in terminal.text
    assert 'Traceback' not in terminal.text


#: A node that is refused, and whose end does not come to an end.
ENDING = """
import sys, time
from robocache_ros.process import Signals
signals = Signals()
from robocache_ros import node
def destroy_node(self):
    print('ending', flush=True)
    time.sleep(60)
node.PreprocessNode.destroy_node = destroy_node
sys.exit(node.run(signals))
"""


def test_a_signal_while_the_node_ends_by_itself_cuts_it_off():
    with Terminal([sys.executable, '-c', ENDING], ['-p', 'autostart:=true']) as terminal:
        terminal.until('ending')
        terminal.interrupt(signal.SIGINT)
        assert terminal.ended() == 128 + signal.SIGINT
    assert_clean(terminal)


#: A node whose step does not end.
STUCK = """
import time
from robocache_ros.process import Signals
Signals().end_by(lambda: None)
print('stuck', flush=True)
time.sleep(60)
"""


def test_a_step_is_cut_off_where_stderr_is_gone():
    process = subprocess.Popen([sys.executable, '-c', STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process.stdout:
        assert process.stdout.readline() == b'stuck\n'
        process.stderr.close()
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == 128 + signal.SIGHUP
