# SPDX-License-Identifier: Apache-2.0
"""Start the node ``preprocess``: ``ros2 launch robocache_ros preprocess.launch.py params_file:=my_robot.yaml``.

The node gets the environment in which large messages travel fast (``robocache_ros.dds_environment``); variables that
the shell sets stay. Publishers of clouds and images need the same: the profile takes effect on the sending side.

Launch ends with the node, and when the node refuses its configuration: with an exit code that is not 0, as the node's.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
    UnregisterEventHandler,
)
from launch.event_handlers import OnProcessExit, OnProcessStart
from launch.events import Shutdown, matches_action
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.utilities.namespace_utils import prefix_namespace
from lifecycle_msgs.msg import Transition

from robocache_ros import dds_environment

SHARE = dds_environment.share_directory()

BOOLEANS = ['true', 'false', 'True', 'False']

ARGUMENTS = [
    DeclareLaunchArgument(
        'params_file',
        default_value=str(SHARE / 'config' / 'preprocess.yaml'),
        description='YAML file with the parameters of the node',
    ),
    DeclareLaunchArgument(
        'use_sim_time',
        default_value='',
        choices=['', *BOOLEANS],
        description='follow /clock, for a bag that is played; empty: as the params_file states it',
    ),
    DeclareLaunchArgument('name', default_value='preprocess', description='name of the node'),
    DeclareLaunchArgument('namespace', default_value='', description='namespace of the node'),
    DeclareLaunchArgument(
        'log_level',
        default_value='info',
        choices=['debug', 'info', 'warn', 'error', 'fatal'],
        description="level of the node's own log; that of ROS stays at info",
    ),
    DeclareLaunchArgument(
        'autostart',
        default_value='true',
        choices=BOOLEANS,
        description='configure and activate the node; false leaves it unconfigured, for a lifecycle manager',
    ),
    DeclareLaunchArgument(
        'respawn',
        default_value='false',
        choices=BOOLEANS,
        description='start the node again when it dies; false ends launch then',
    ),
    DeclareLaunchArgument(
        'device', default_value='', description='auto, cpu, cuda or cuda:<i>; empty: that of the params_file'
    ),
]

#: State changes by which a node that is brought up shows that it does not want to.
REFUSALS = (('configuring', 'unconfigured'), ('activating', 'inactive'), ('errorprocessing', 'unconfigured'))


def start_node(context: LaunchContext) -> list[RegisterEventHandler | LifecycleNode]:
    """Return the node, and the events that bring it to active and end launch with it."""
    node = make_node(context)
    does_respawn = is_set(context, 'respawn')
    handlers = []
    if is_set(context, 'autostart') and not does_respawn:
        handlers.append(OnProcessStart(target_action=node, on_start=lambda event, context: bring_up(node)))
    if not does_respawn:
        handlers.append(OnProcessExit(target_action=node, on_exit=end))
    return [*map(RegisterEventHandler, handlers), node]


def given(context: LaunchContext, name: str) -> str:
    """Return the value of an argument."""
    return str(LaunchConfiguration(name).perform(context))


def is_set(context: LaunchContext, name: str) -> bool:
    """Return the value of an argument that is one of ``BOOLEANS``."""
    return given(context, name).lower() == 'true'


def make_node(context: LaunchContext) -> LifecycleNode:
    """Return the node with its parameters and its environment."""
    params_file, name, namespace = (given(context, each) for each in ('params_file', 'name', 'namespace'))
    if not Path(params_file).is_file():
        raise RuntimeError(f'params_file: there is no file {params_file}')
    # Either launch brings the node up, so that it knows when it is active, or the node does: a second request would be
    # refused. One that is started again does it itself, as launch still finds the services of the one that died.
    parameters = {'autostart': is_set(context, 'autostart') and is_set(context, 'respawn')}
    if given(context, 'use_sim_time'):
        parameters['use_sim_time'] = ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool)
    if given(context, 'device'):
        parameters['compute.device'] = ParameterValue(LaunchConfiguration('device'), value_type=str)
    full_namespace = prefix_namespace(context.launch_configurations.get('ros_namespace'), namespace) or ''
    logger = '.'.join(part for part in (*full_namespace.split('/'), name) if part)
    return LifecycleNode(
        package=dds_environment.PACKAGE,
        executable='preprocess',
        name=name,
        namespace=namespace,
        parameters=[params_file, parameters],
        ros_arguments=['--log-level', f'{logger}:={given(context, "log_level")}'],
        additional_env=dds_environment.environment_here(context.environment),
        output='both',
        emulate_tty=True,
        respawn=LaunchConfiguration('respawn'),
        respawn_delay=1.0,
    )


def bring_up(node: LifecycleNode) -> list[RegisterEventHandler | EmitEvent]:
    """Return the events that bring a node that has just started to active, or end launch where it refuses.

    LifecycleNode(autostart=True) does the former from Kilted on; Jazzy does not have it.
    """

    def change(transition: int) -> EmitEvent:
        return EmitEvent(event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition))

    activate = OnStateTransition(
        target_lifecycle_node=node,
        start_state='configuring',
        goal_state='inactive',
        entities=[change(Transition.TRANSITION_ACTIVATE)],
        handle_once=True,
    )
    refusals = [
        OnStateTransition(
            target_lifecycle_node=node,
            start_state=start,
            goal_state=goal,
            entities=[OpaqueFunction(function=refuse, args=[node])],
        )
        for start, goal in REFUSALS
    ]
    up = OnStateTransition(
        target_lifecycle_node=node,
        goal_state='active',
        entities=[UnregisterEventHandler(refusal) for refusal in refusals],
        handle_once=True,
    )
    return [*map(RegisterEventHandler, [activate, *refusals, up]), change(Transition.TRANSITION_CONFIGURE)]


def refuse(context: LaunchContext, node: LifecycleNode) -> NoReturn:
    """End launch with an exit code that is not 0: so it treats an exception, which it logs as one line."""
    raise RuntimeError(f'{node.node_name} did not become active; its log states why')


def end(event: ProcessExited, context: LaunchContext) -> EmitEvent | None:
    """End launch after the node, with an exit code that is not 0 where the node's is not."""
    if context.is_shutdown:
        return None
    if event.returncode:
        raise RuntimeError(f'preprocess ended with exit code {event.returncode}')
    return EmitEvent(event=Shutdown(reason='preprocess has ended'))


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and the node."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start_node)])
