# SPDX-License-Identifier: Apache-2.0
"""Play a bag through the node: ``ros2 launch robocache_ros replay.launch.py bag:=path params_file:=my_robot.yaml``.

Starts ``preprocess`` on the clock of the bag, then ``ros2 bag play --clock`` once the node is active, and ends with
the bag: with an exit code that is not 0 where the bag was not played. The tool ``replay`` does the same without
``ros2 bag``, makes the parameters from the bag, and reports.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.resources import has_resource
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
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.event_handlers import OnStateTransition

from robocache_ros import dds_environment

SHARE = dds_environment.share_directory()

ARGUMENTS = [
    DeclareLaunchArgument('bag', description='the bag: a folder or a file for `ros2 bag play`'),
    DeclareLaunchArgument('rate', default_value='1.0', description='speed: 1.0 as recorded, 2.0 twice as fast'),
    DeclareLaunchArgument(
        'loop',
        default_value='false',
        choices=['true', 'false', 'True', 'False'],
        description='play the bag over and over',
    ),
    DeclareLaunchArgument('start_offset', default_value='0.0', description='begin so many seconds into the bag'),
    DeclareLaunchArgument(
        'remaps', default_value='', description='topics under other names, as "/lidar/points:=/points /imu/data:=/imu"'
    ),
    # Declared here, before preprocess.launch.py declares them, as here they are not for the user to choose.
    DeclareLaunchArgument(
        'use_sim_time',
        default_value='true',
        choices=['true', 'True'],
        description='the clock is that of the bag',
    ),
    DeclareLaunchArgument(
        'respawn', default_value='false', choices=['false', 'False'], description='launch ends with the node'
    ),
    DeclareLaunchArgument(
        'autostart',
        default_value='true',
        choices=['true', 'True'],
        description='the bag waits for the node',
    ),
]

#: For the player's publishers to be matched before the first message, and for the node to send its last frames.
DELAY_S, DRAIN_S = 2.0, 2.0


def play_bag(context: LaunchContext) -> list[RegisterEventHandler]:
    """Return the handlers that play the bag when the node is active, and shut down after it."""
    play = ExecuteProcess(
        cmd=player(context),
        name='bag',
        additional_env=dds_environment.environment_here(context.environment),
        output='screen',
    )
    return [
        RegisterEventHandler(OnStateTransition(goal_state='active', entities=[play], handle_once=True)),
        RegisterEventHandler(OnProcessExit(target_action=play, on_exit=end)),
    ]


def player(context: LaunchContext) -> list[str]:
    """Return the command line that plays the bag."""

    def given(name: str) -> str:
        return str(LaunchConfiguration(name).perform(context))

    if not has_resource('packages', 'ros2bag'):
        raise RuntimeError('`ros2 bag play` is not installed; the tool `replay` plays a bag without it')
    if not Path(given('bag')).exists():
        raise RuntimeError(f'bag: there is no {given("bag")}')
    remaps = given('remaps').split()
    return [
        *('ros2', 'bag', 'play', given('bag'), '--clock', '--delay', str(DELAY_S)),
        *('--rate', given('rate'), '--start-offset', given('start_offset')),
        *(['--loop'] if given('loop').lower() == 'true' else []),
        *(['--remap', *remaps] if remaps else []),
    ]


def end(event: ProcessExited, context: LaunchContext) -> TimerAction | None:
    """End launch after the bag, with an exit code that is not 0 where the player's is not."""
    if context.is_shutdown:
        return None
    if event.returncode:
        raise RuntimeError(f'`ros2 bag play` ended with exit code {event.returncode}')
    return TimerAction(period=DRAIN_S, actions=[EmitEvent(event=Shutdown(reason='the bag has ended'))])


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, the node and the bag. The arguments of ``preprocess.launch.py`` are taken too."""
    node = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'preprocess.launch.py')))
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=play_bag), node])
