# SPDX-License-Identifier: Apache-2.0
"""Bring up a whole robot: ``ros2 launch robocache_ros bringup.launch.py``; its drivers are stubs.

Put yours in their place, and your topics into a copy of ``config/bringup.yaml``.

Drivers, ``preprocess`` and a policy start together, and none waits for another: the node names in ``/diagnostics`` what
is not there yet, and the policy stops the robot until frames come. A driver or policy that dies is started again, the
node ends launch. All get the DDS profile and the allocator's settings of this package, on which large messages depend
on the sending side, too.
"""

from __future__ import annotations

import sys
import time

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource

from robocache_ros import dds_environment

SHARE = dds_environment.share_directory()

#: Of the stubs: they are on one robot, which sets out when all are up.
SENSORS, LEAD_S = ('lidar', 'imu', 'camera'), 3.0

ARGUMENTS = [
    DeclareLaunchArgument(
        'params_file',
        default_value=str(SHARE / 'config' / 'bringup.yaml'),
        description='YAML file with the parameters of the node',
    ),
    DeclareLaunchArgument(
        'use_sim_time', default_value='', choices=['', 'false', 'False'], description='the drivers have the time of day'
    ),
    DeclareLaunchArgument(
        'respawn', default_value='false', choices=['false', 'False'], description='launch ends with the node'
    ),
]


def start_processes(context: LaunchContext) -> list[ExecuteProcess]:
    """Return the drivers and the policy; yours are launch_ros Nodes, with the same ``additional_env``."""
    environment = dds_environment.environment_here(context.environment)

    def given(name: str) -> str:
        return context.launch_configurations.get(name, '')

    def process(name: str, *arguments: str) -> ExecuteProcess:
        command = [sys.executable, '-m', f'robocache_ros.examples.{name}', *arguments]
        return ExecuteProcess(
            cmd=command,
            name='-'.join((name, *(each for each in arguments[:1] if each in SENSORS))),
            additional_env=environment,
            output='screen',
            respawn=True,
            respawn_delay=1.0,
        )

    start = str(time.time() + LEAD_S)
    drivers = [process('driver', sensor, '--start', start) for sensor in SENSORS]
    node = '/'.join(['', *filter(None, given('namespace').split('/')), given('name') or 'preprocess'])
    return [*drivers, process('remote_policy', '--ros-args', '-p', f'frames:={node}/fused')]


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, the node, the drivers and the policy.

    The arguments of ``preprocess.launch.py`` are taken too, but for simulated time, which the drivers do not have.
    """
    node = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'preprocess.launch.py')))
    return LaunchDescription([*ARGUMENTS, node, OpaqueFunction(function=start_processes)])
