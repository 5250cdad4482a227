# SPDX-License-Identifier: Apache-2.0
"""Play a bag through the node: ``ros2 launch robocache_ros replay.launch.py bag:=path params_file:=my_robot.yaml``.

Starts ``preprocess`` on the clock of the bag, then ``ros2 bag play --clock`` once the node is active, and ends with
the bag: with an exit code that is not 0 where the bag was not played. The tool ``replay`` does the same without
``ros2 bag``, makes the parameters from the bag, and reports.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from ament_index_python.resources import has_resource
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueCoroutine,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnExecutionComplete, OnProcessExit, OnProcessStart
from launch.events import Shutdown
from launch.events.process import ProcessExited, ProcessStarted
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.ros_adapters import get_ros_node
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.task import Future

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
#: Between two questions for the state of the node.
POLL_S = 0.2


def play_bag(context: LaunchContext) -> list[RegisterEventHandler]:
    """Return the handlers that play the bag when the node is active, and shut down after it."""
    play = ExecuteProcess(
        cmd=player(context),
        name='bag',
        additional_env=dds_environment.environment_here(context.environment),
        output='screen',
    )

    def on_start(event: ProcessStarted, context: LaunchContext) -> list[RegisterEventHandler | OpaqueCoroutine]:
        if not isinstance(event.action, LifecycleNode):
            return []
        wait = OpaqueCoroutine(coroutine=until_active, args=[event.action.node_name])
        return [RegisterEventHandler(OnExecutionComplete(target_action=wait, on_completion=[play])), wait]

    return [
        RegisterEventHandler(OnProcessStart(on_start=on_start)),
        RegisterEventHandler(OnProcessExit(target_action=play, on_exit=end)),
    ]


async def until_active(context: LaunchContext, node_name: str) -> None:
    """Return when the node is active, or launch shuts down: nothing is started then.

    The node is asked: the event of its transition is lost where it comes before launch has found the node.
    """
    client = get_ros_node(context).create_client(GetState, f'{node_name}/get_state')
    answer = None
    with suppress(asyncio.CancelledError):
        while not is_active(answer):
            if (answer is None or answer.done()) and client.service_is_ready():
                answer = client.call_async(GetState.Request())
            await asyncio.sleep(POLL_S)


def is_active(answer: Future | None) -> bool:
    """Return whether a node has answered that it is active."""
    return answer is not None and answer.done() and answer.result().current_state.id == State.PRIMARY_STATE_ACTIVE


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
