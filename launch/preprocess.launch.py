# SPDX-License-Identifier: Apache-2.0
"""Start the node ``preprocess``: ``ros2 launch robocache_ros preprocess.launch.py params_file:=my_robot.yaml``.

The node gets the environment in which large messages travel fast (``robocache_ros.dds_environment``); variables that
the shell sets stay. Publishers of clouds and images need the same: the profile takes effect on the sending side.

The node configures and activates itself. Launch ends with it, with an exit code that is not 0 where the node's is not:
where it refuses its configuration, dies, or another node has its name.
"""

from __future__ import annotations

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.utilities.namespace_utils import prefix_namespace

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


def start_node(context: LaunchContext) -> list[RegisterEventHandler | LifecycleNode]:
    """Return the node, and the event that ends launch with it."""
    node = make_node(context)
    if is_set(context, 'respawn'):
        return [node]
    return [RegisterEventHandler(OnProcessExit(target_action=node, on_exit=end)), node]


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
    # The node brings itself up: launch's own requests would go to whichever node of the name it finds first, and end
    # launch with an exception where Ctrl-C comes before it has found one.
    parameters = {'autostart': is_set(context, 'autostart')}
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
