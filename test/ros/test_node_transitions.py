# SPDX-License-Identifier: Apache-2.0
"""The node over a real ROS network. Transitions of the lifecycle: again, refused, and failing."""

import json
import random
import threading

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.parameter import Parameter
from sensor_msgs.msg import PointCloud2
from support.robot import LIDAR, SUCCESS, Robot, cloud

from robocache_ros.rclpy_private import lifecycle_state


def test_every_transition_can_be_made_again():
    with Robot(**LIDAR) as robot:
        for _ in range(3):
            robot.bring_up()
            robot.publish('/lidar', cloud(0))
            robot.until(lambda: robot.frames, 'a frame')
            robot.frames.clear()
            assert robot.node.trigger_deactivate() == SUCCESS
            counts = robot.counts('lidar')
            assert counts.held == 0
            assert robot.node.trigger_cleanup() == SUCCESS
            assert robot.node.pipeline is None
        robot.until(lambda: robot.node.count_publishers('/preprocess/fused') == 0, 'the publisher to be gone')


def test_a_topic_of_the_node_itself_is_no_input():
    with Robot(**LIDAR, publish_voxels=True) as robot:
        robot.node.set_parameters([Parameter('lidar.topic', value='/preprocess/voxels')])
        assert robot.node.trigger_configure() != SUCCESS
        robot.until(lambda: robot.level('configuration') == DiagnosticStatus.ERROR, 'the refusal in diagnostics')
        assert "lidar.topic = '/preprocess/voxels': is a topic on which the node itself publishes" in (
            robot.statuses['configuration'].message
        )


def test_a_refused_configuration_leaves_the_node_unconfigured_and_says_why(capfd):
    with Robot(**LIDAR, sync__trigger='nothing') as robot:
        assert robot.node.trigger_configure() != SUCCESS
        assert lifecycle_state(robot.node) == 'unconfigured'
        robot.until(lambda: robot.level('configuration') == DiagnosticStatus.ERROR, 'the refusal in diagnostics')
        assert robot.statuses['configuration'].message.startswith("refused: sync.trigger = 'nothing'")
        robot.node.set_parameters([Parameter('sync.trigger', value='lidar')])
        assert robot.node.trigger_configure() == SUCCESS
    assert 'sync.trigger' in capfd.readouterr().err


@pytest.mark.parametrize(
    ('message', 'field', 'text'),
    [
        ('no_such_msgs/msg/Thing', 'x', 'no_such_msgs/msg/Thing: is not installed'),
        ('sensor_msgs/msg/Temperature', 'celsius', "state.fields has 'celsius': Temperature has no member celsius"),
    ],
)
def test_a_vector_that_no_message_can_give_is_refused_at_configure(message, field, text, capfd):
    with Robot(vectors=['state'], sync__rate_hz=10.0, state__message=message, state__fields=[field]) as robot:
        assert robot.node.trigger_configure() != SUCCESS
        assert lifecycle_state(robot.node) == 'unconfigured'
        robot.until(lambda: robot.level('configuration') == DiagnosticStatus.ERROR, 'the refusal in diagnostics')
        assert robot.statuses['configuration'].message.startswith(f'refused: {text}')
        robot.node.set_parameters([Parameter('state.message', value='sensor_msgs/msg/Temperature')])
        robot.node.set_parameters([Parameter('state.fields', value=['temperature'])])
        assert robot.node.trigger_configure() == SUCCESS
    assert 'Traceback' not in capfd.readouterr().err


def test_deactivated_while_messages_wait_adds_up():
    with Robot(**LIDAR) as robot:
        robot.bring_up()
        for ms in range(0, 2000, 100):
            robot.publish('/lidar', cloud(ms))
        robot.until(lambda: robot.counts('lidar').received > 0, 'a message')
        assert robot.node.trigger_deactivate() == SUCCESS
        counts = robot.counts('lidar')
        assert counts.held == 0
        assert counts.received == counts.used + sum(counts.dropped.values())


def test_each_state_that_is_left_and_what_was_processed_is_logged(capfd):
    with Robot(**LIDAR, cameras=['front']) as robot:
        robot.bring_up()
        for ms in (0, 100, 200):
            robot.deliver('lidar', cloud(ms))
        assert robot.node.trigger_deactivate() == SUCCESS
        assert robot.node.trigger_cleanup() == SUCCESS
        assert robot.node.trigger_shutdown() == SUCCESS
    text = capfd.readouterr().err
    states = [line.rpartition(']: ')[2] for line in text.splitlines() if 'INFO' in line]
    states = [line for line in states if line.startswith(('active', 'inactive', 'unconfigured', 'finalized'))]
    assert [state.partition(':')[0] for state in states] == ['active', 'inactive', 'unconfigured', 'finalized']
    assert states[1].startswith('inactive: 0 frames published, 3 targets dropped (')


def test_every_line_of_json_is_an_event(capfd):
    settings = {'log__format': 'json', 'log__timings': 0.01, 'metrics__prot': 1}
    malformed = cloud(100)
    malformed.fields[0].name = 'a"}\n' * 50
    with Robot(**LIDAR, cameras=['front'], **settings) as robot:
        robot.bring_up()
        robot.deliver('lidar', cloud(0))
        robot.deliver('lidar', malformed)
        robot.until(lambda: robot.level('sync') is not None, 'a report')
        assert robot.node.trigger_deactivate() == SUCCESS
        assert robot.node.trigger_cleanup() == SUCCESS
        robot.node.set_parameters([Parameter('sync.trigger', value='nothing')])
        assert robot.node.trigger_configure() != SUCCESS
    events = [json.loads(line.partition(']: ')[2]) for line in capfd.readouterr().err.splitlines()]
    assert all(each.keys() >= {'event', 'level', 'stamp_ns', 'text'} for each in events)
    assert {each['event'] for each in events} >= {
        *('parameter_unknown', 'configured', 'voxel_grid', 'active', 'message_dropped', 'inactive'),
        *('unconfigured', 'configuration_refused'),
    }


def test_a_transition_that_fails_leaves_nothing_behind(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError('injected')

    with Robot(**LIDAR, cameras=['front']) as robot:
        for target in ('robocache_ros.runtime.Reporter', 'robocache_ros.runtime.Diagnostics'):
            with monkeypatch.context() as patch:
                patch.setattr(target, fail)
                assert robot.node.trigger_configure() != SUCCESS
                assert robot.node.pipeline is None
                robot.until(lambda: not robot.node.count_publishers('/preprocess/fused'), 'no publisher')
        assert robot.node.trigger_configure() == SUCCESS
        with monkeypatch.context() as patch:
            patch.setattr('robocache_ros.subscriptions.routes', fail)
            worker = robot.node.runtime.worker
            assert robot.node.trigger_activate() != SUCCESS
        assert not worker.is_alive
        assert not [t for t in threading.enumerate() if t.name == 'robocache-worker']
        robot.bring_up()
        assert len([t for t in threading.enumerate() if t.name == 'robocache-worker']) == 1
        robot.until(lambda: robot.node.count_subscribers('/lidar') == 1, 'one subscription')


def test_a_transition_that_the_state_does_not_have_is_refused_and_the_node_goes_on(capfd):
    """As a second launch file asks for it, or a manager after ``autostart``; on Jazzy it would end the process."""
    with Robot(**LIDAR) as robot:
        client = robot.peer.create_client(ChangeState, '/preprocess/change_state')
        assert client.wait_for_service(10.0)

        def change(number=0, label=''):
            future = client.call_async(ChangeState.Request(transition=Transition(id=number, label=label)))
            robot.until(future.done, 'an answer')
            return future.result().success

        assert not change(Transition.TRANSITION_ACTIVATE)
        assert change(Transition.TRANSITION_CONFIGURE)
        assert not change(Transition.TRANSITION_CONFIGURE)
        assert change(label='activate')
        for wrong in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP, 99, 255):
            assert not change(wrong)
        assert not change(label='configure')
        assert not change(Transition.TRANSITION_DEACTIVATE, label='no such transition')
        lines = [line for line in capfd.readouterr().err.splitlines() if 'change_state refused' in line]
        assert len(lines) == 8
        assert 'transition 99 is not possible while active; possible: deactivate (4)' in lines[4]
        robot.deliver('lidar', cloud(10))
        robot.until(lambda: len(robot.frames) == 1, 'a frame of the node, which is active still')
        assert change(Transition.TRANSITION_DEACTIVATE)
        assert change(Transition.TRANSITION_CLEANUP)


def entities(node):
    """What a node holds of ROS, and the threads of the process, by name."""
    held = [list(getattr(node, kind)) for kind in ('subscriptions', 'publishers', 'services', 'timers', 'clients')]
    names = [thread.name for thread in threading.enumerate()]
    return [*map(len, held), sorted(name for name in names if name.startswith(('robocache', 'decode')))]


@pytest.mark.parametrize('seed', range(3))
def test_random_transitions_of_two_clients_are_answered_and_leave_nothing_behind(seed):
    choice = random.Random(seed).choice
    with Robot(**LIDAR, cameras=['front']) as robot:
        unconfigured = entities(robot.node)
        robot.bring_up()
        active = entities(robot.node)
        clients = [robot.peer.create_client(ChangeState, '/preprocess/change_state') for _ in range(2)]
        assert all(client.wait_for_service(10.0) for client in clients)
        lidar = robot.peer.create_publisher(PointCloud2, '/lidar', 10)
        for ms in range(0, 2500, 50):
            lidar.publish(cloud(ms))
            wanted = [Transition(id=choice(WANTED)) for _ in clients]
            answers = [c.call_async(ChangeState.Request(transition=t)) for c, t in zip(clients, wanted, strict=True)]
            robot.until(lambda answers=answers: all(answer.done() for answer in answers), 'both answers')
        while lifecycle_state(robot.node) != 'unconfigured':
            down = (
                robot.node.trigger_deactivate if lifecycle_state(robot.node) == 'active' else robot.node.trigger_cleanup
            )
            assert down() == SUCCESS
        assert entities(robot.node) == unconfigured
        robot.bring_up()
        assert entities(robot.node) == active


#: Transitions that a client may ask for in any state; a shutdown is final.
WANTED = (
    Transition.TRANSITION_CONFIGURE,
    Transition.TRANSITION_ACTIVATE,
    Transition.TRANSITION_DEACTIVATE,
    Transition.TRANSITION_CLEANUP,
)
