# SPDX-License-Identifier: Apache-2.0
"""Play a bag through the node: ``ros2 launch robocache_ros replay.launch.py bag:=path params_file:=my_robot.yaml``.

Starts ``preprocess`` on the clock of the bag, then ``ros2 bag play --clock`` once the node is active, and ends with
the bag. The tool ``replay`` does the same without ``ros2 bag``, makes the parameters from the bag, and reports.
"""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.event_handlers import OnStateTransition

from robocache_ros import dds_environment

SHARE = dds_environment.share_directory()

ARGUMENTS = [
    DeclareLaunchArgument('bag', description='the bag: a folder or a file for `ros2 bag play`'),
    DeclareLaunchArgument('rate', default_value='1.0', description='speed: 1.0 as recorded, 2.0 twice as fast'),
]

#: For the player's publishers to be matched before the first message, and for the node to send its last frames.
DELAY_S, DRAIN_S = 2.0, 2.0


def play_bag(context: LaunchContext) -> list[RegisterEventHandler]:
    """Return the handlers that play the bag when the node is active, and shut down after it."""
    play = ExecuteProcess(
        cmd=[
            *('ros2', 'bag', 'play', LaunchConfiguration('bag'), '--clock', '--delay', str(DELAY_S)),
            *('--rate', LaunchConfiguration('rate')),
        ],
        name='bag',
        additional_env=dds_environment.environment(
            dds_environment.distro(context.environment), SHARE, context.environment
        ),
        output='screen',
    )
    shutdown = TimerAction(period=DRAIN_S, actions=[EmitEvent(event=Shutdown(reason='the bag has ended'))])
    return [
        RegisterEventHandler(OnStateTransition(goal_state='active', entities=[play], handle_once=True)),
        RegisterEventHandler(OnProcessExit(target_action=play, on_exit=[shutdown])),
    ]


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, the node and the bag. The arguments of ``preprocess.launch.py`` are taken too."""
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'preprocess.launch.py')),
        launch_arguments={'use_sim_time': 'true', 'autostart': 'true'}.items(),
    )
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=play_bag), node])
