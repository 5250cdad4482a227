# SPDX-License-Identifier: Apache-2.0
"""Start the node ``preprocess``: ``ros2 launch robocache_ros preprocess.launch.py params_file:=my_robot.yaml``.

The node gets the environment in which large messages travel fast (``robocache_ros.dds_environment``); variables that
the shell sets stay. Publishers of clouds and images need the same: the profile takes effect on the sending side.
"""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.conditions import IfCondition
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

from robocache_ros import dds_environment

SHARE = dds_environment.share_directory()

ARGUMENTS = [
    DeclareLaunchArgument(
        'params_file',
        default_value=str(SHARE / 'config' / 'preprocess.yaml'),
        description='YAML file with the parameters of the node',
    ),
    DeclareLaunchArgument('use_sim_time', default_value='false', description='follow /clock, for a bag that is played'),
    DeclareLaunchArgument('namespace', default_value='', description='namespace of the node'),
    DeclareLaunchArgument('log_level', default_value='info', description='debug, info, warn, error or fatal'),
    DeclareLaunchArgument(
        'autostart',
        default_value='true',
        description='configure and activate the node; false leaves it unconfigured, for a lifecycle manager',
    ),
    DeclareLaunchArgument(
        'device', default_value='', description='auto, cpu, cuda or cuda:<i>; empty: that of the params_file'
    ),
]


def start_node(context: LaunchContext) -> list[LifecycleNode | RegisterEventHandler | EmitEvent]:
    """Return the node, and the events that bring it to active."""
    # Only this file starts the node: if the node did it too, it would refuse the second transition.
    parameters = {
        'use_sim_time': ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool),
        'autostart': False,
    }
    if LaunchConfiguration('device').perform(context):
        parameters['compute.device'] = ParameterValue(LaunchConfiguration('device'), value_type=str)
    node = LifecycleNode(
        package=dds_environment.PACKAGE,
        executable='preprocess',
        name='preprocess',
        namespace=LaunchConfiguration('namespace'),
        parameters=[LaunchConfiguration('params_file'), parameters],
        ros_arguments=['--log-level', LaunchConfiguration('log_level')],
        additional_env=dds_environment.environment(
            dds_environment.distro(context.environment), SHARE, context.environment
        ),
        output='both',
        emulate_tty=True,
    )

    def change(transition: int) -> ChangeState:
        return ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition)

    # LifecycleNode(autostart=True) would do this from Kilted on; Jazzy does not have it.
    autostart = IfCondition(LaunchConfiguration('autostart'))
    configure = EmitEvent(event=change(Transition.TRANSITION_CONFIGURE), condition=autostart)
    activate = OnStateTransition(
        target_lifecycle_node=node,
        start_state='configuring',
        goal_state='inactive',
        entities=[EmitEvent(event=change(Transition.TRANSITION_ACTIVATE))],
        handle_once=True,
    )
    return [RegisterEventHandler(activate, condition=autostart), node, configure]


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and the node."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start_node)])
