# SPDX-License-Identifier: Apache-2.0
"""The launch files, run for real: the node in its own process, its lifecycle and parameters asked over ROS."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip('launch_ros', reason='launch_ros is not installed: launch files are tested where it is')

import rclpy
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters

from robocache_ros import dds_environment

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / 'launch'
PROFILES = (dds_environment.FASTDDS_2, dds_environment.FASTDDS_3)

#: What `ros2 launch FILE name:=value ...` does.
ROS2_LAUNCH = """
import sys
from launch import LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [argument.split(':=', 1) for argument in sys.argv[2:]]
service = LaunchService()
service.include_launch_description(
    IncludeLaunchDescription(PythonLaunchDescriptionSource(sys.argv[1]), launch_arguments=arguments)
)
sys.exit(service.run())
"""

#: Stands where an installation has its executables: says what environment it was given, then is the node.
PREPROCESS = """#!/bin/sh
env > {folder}/preprocess.env
exec {python} -m robocache_ros.process "$@"
"""

#: Stands for the command line of ROS 2, which not every machine with launch_ros has.
ROS2 = """#!/bin/sh
env > {folder}/ros2.env
echo "$@" > {folder}/ros2.arguments
"""


@pytest.fixture
def folder(tmp_path):
    """An installation prefix with the package's executables, and ``ros2`` on the path beside it."""
    for path, text in {
        'lib/robocache_ros/preprocess': PREPROCESS,
        'bin/ros2': ROS2,
        'share/ament_index/resource_index/packages/robocache_ros': '',
    }.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True)
        target.write_text(text.format(folder=tmp_path, python=sys.executable))
        target.chmod(0o755)
    return tmp_path


@pytest.fixture
def launch(folder):
    """Start launch files; those that still run are ended as by Ctrl-C."""
    started = []

    def start(name, *arguments, **environ):
        prefixes = [str(folder), *filter(None, [os.environ.get('AMENT_PREFIX_PATH')])]
        env = {name: value for name, value in os.environ.items() if name not in {*PROFILES, *dds_environment.ALLOCATOR}}
        env |= {
            'AMENT_PREFIX_PATH': os.pathsep.join(prefixes),
            'PATH': f'{folder / "bin"}{os.pathsep}{os.environ["PATH"]}',
            'PYTHONPATH': os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')])),
            'ROS_LOG_DIR': str(folder / 'log'),
            **environ,
        }
        command = [sys.executable, '-c', ROS2_LAUNCH, str(LAUNCH / name), *arguments]
        with (folder / 'output').open('w') as output:
            process = subprocess.Popen(
                command, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches launch and the node alike
        process.wait(timeout=30)


@pytest.fixture
def ask():
    """Call a service and return its reply, waiting for the service as long as a slow start takes."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('test_launch_files', context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def call(kind, name, **request):
        client = node.create_client(kind, name)
        assert client.wait_for_service(timeout_sec=40), f'{name} did not come up'
        future = client.call_async(kind.Request(**request))
        executor.spin_until_future_complete(future, timeout_sec=20)
        assert future.done(), f'{name} did not answer'
        node.destroy_client(client)
        return future.result()

    yield call
    executor.shutdown()
    node.destroy_node()
    context.shutdown()


def wait_for(condition, what, folder):
    deadline = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline, f'{what} did not come:\n{(folder / "output").read_text()}'
        time.sleep(0.1)


def state(ask, name):
    return ask(GetState, f'{name}/get_state').current_state.label


def environment_of(folder, process):
    lines = (folder / f'{process}.env').read_text().splitlines()
    return dict(line.split('=', 1) for line in lines if '=' in line)


def parameters(ask, name, *names):
    values = ask(GetParameters, f'{name}/get_parameters', names=list(names)).values
    return [rclpy.parameter.parameter_value_to_python(value) for value in values]


def test_preprocess_comes_up_active_with_its_arguments(launch, ask, folder):
    params = folder / 'params.yaml'
    params.write_text(json.dumps({'/**': {'ros__parameters': {'lidars': ['top'], 'top': {'topic': '/cloud'}}}}))
    launch('preprocess.launch.py', f'params_file:={params}', 'namespace:=robot', 'use_sim_time:=true', 'device:=cpu')
    wait_for(lambda: state(ask, '/robot/preprocess') == 'active', 'active', folder)
    names = ('lidars', 'top.topic', 'use_sim_time', 'compute.device')
    assert parameters(ask, '/robot/preprocess', *names) == [['top'], '/cloud', True, 'cpu']
    given = environment_of(folder, 'preprocess')
    wanted = dds_environment.environment(dds_environment.distro(os.environ), ROOT, {})
    assert {name: given.get(name) for name in wanted} == wanted


def test_autostart_false_leaves_it_unconfigured(launch, ask, folder):
    launch('preprocess.launch.py', 'autostart:=false', 'namespace:=waiting')
    assert state(ask, '/waiting/preprocess') == 'unconfigured'
    time.sleep(2)  # a transition that launch asked for would have come by now
    assert state(ask, '/waiting/preprocess') == 'unconfigured'


def test_settings_of_the_users_stay(launch, ask, folder):
    profile = folder / 'own.xml'
    profile.write_text((ROOT / dds_environment.PROFILE).read_text())
    mine = {
        dds_environment.profile_variable(dds_environment.distro(os.environ)): str(profile),
        'MALLOC_TOP_PAD_': '1048576',
    }
    launch('preprocess.launch.py', 'autostart:=false', 'namespace:=own', **mine)
    assert state(ask, '/own/preprocess') == 'unconfigured'
    given = environment_of(folder, 'preprocess')
    assert {name: given[name] for name in mine} == mine


def test_replay_plays_when_active_and_ends_after_the_bag(launch, folder):
    process = launch('replay.launch.py', 'bag:=/bags/one', 'rate:=2.0', 'namespace:=played')
    assert process.wait(timeout=60) == 0, (folder / 'output').read_text()
    arguments = (folder / 'ros2.arguments').read_text().split()
    assert arguments[:3] == ['bag', 'play', '/bags/one']
    assert '--clock' in arguments
    assert arguments[arguments.index('--rate') + 1] == '2.0'
    assert set(dds_environment.ALLOCATOR) < set(environment_of(folder, 'ros2'))
    assert any(environment_of(folder, 'ros2').get(name) for name in PROFILES)
