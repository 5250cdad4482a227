# SPDX-License-Identifier: Apache-2.0
"""The launch files, run for real: the node in its own process, its lifecycle and parameters asked over ROS."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip('launch_ros', reason='launch_ros is not installed: launch files are tested where it is')

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.parameter import Parameter

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
echo $$ > {folder}/preprocess.pid
exec {python} -m robocache_ros.process "$@"
"""

#: Stands for the command line of ROS 2: not every machine with launch_ros has it, or its `bag`.
ROS2 = """#!/bin/sh
env > {folder}/ros2.env
echo "$@" > {folder}/ros2.arguments
echo playing
exec {folder}/play
"""

#: What the player does once it plays; the first is the usual one.
PLAY, PLAY_ON, PLAY_FAILS = ('#!/bin/sh\n' + line for line in ('exit 0', 'exec sleep 60', 'exit 3'))


#: The index of installed packages, in a prefix.
PACKAGES = 'share/ament_index/resource_index/packages/'


@pytest.fixture
def folder(tmp_path):
    """An installation prefix with the package's executables, and ``ros2`` on the path beside it."""
    for path, text in {
        'lib/robocache_ros/preprocess': PREPROCESS,
        'bin/ros2': ROS2,
        'play': PLAY,
        PACKAGES + 'robocache_ros': '',
        PACKAGES + 'ros2bag': '',
    }.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
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
        interrupt(process)
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


def interrupt(process):
    """As a terminal's Ctrl-C, which reaches launch and the node alike."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)


def write(folder, parameters, section='/**'):
    path = folder / 'params.yaml'
    path.write_text(json.dumps({section: {'ros__parameters': parameters}}))
    return path


def said(folder):
    """What launch and all that it started have printed."""
    return (folder / 'output').read_text()


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
    params = write(folder, {'lidars': ['top'], 'top': {'topic': '/cloud'}})
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


#: What ends launch at once: its arguments (``{folder}`` is put in), what it says in a line, and what follows a node.
ENDS = {
    'no params file': (['params_file:=/nowhere.yaml'], 'params_file: there is no file /nowhere.yaml'),
    'a log level that is none': (['log_level:=loud'], 'Argument "log_level" provided value "loud" is not valid'),
    'a use_sim_time that is none': (['use_sim_time:=maybe'], 'Argument "use_sim_time" provided value "maybe"'),
    'broken YAML': (['params_file:={folder}/broken.yaml'], 'preprocess ended with exit code 2'),
    'a mixed array': (['params_file:={folder}/mixed.yaml'], 'preprocess ended with exit code 2'),
    'a refused configuration': (['params_file:={folder}/refused.yaml'], "refused: sync.trigger = 'none'"),
    'no stream': (['params_file:={folder}/none.yaml'], 'needs at least one stream'),
}


@pytest.mark.parametrize(('arguments', 'line'), ENDS.values(), ids=ENDS)
def test_launch_ends_with_a_node_that_does_not_start(launch, folder, arguments, line):
    (folder / 'broken.yaml').write_text('a: [')
    (folder / 'mixed.yaml').write_text('preprocess: {ros__parameters: {lidars: [a, 1]}}')
    (folder / 'refused.yaml').write_text('/**: {ros__parameters: {lidars: [top], sync: {trigger: none}}}')
    (folder / 'none.yaml').write_text('/**: {ros__parameters: {lidars: []}}')
    process = launch('preprocess.launch.py', *(argument.format(folder=folder) for argument in arguments))
    assert process.wait(timeout=60) == 1, said(folder)
    assert line in said(folder)
    assert 'Traceback' not in said(folder)


def test_launch_ends_where_another_node_has_the_name(launch, folder):
    params = write(folder, {'lidars': ['top']})
    with namesake('/twins'):
        process = launch('preprocess.launch.py', f'params_file:={params}', 'namespace:=twins')
        assert process.wait(timeout=60) == 1, said(folder)
    assert 'another node is called /twins/preprocess: this one ends' in said(folder)
    assert 'Traceback' not in said(folder)


@contextlib.contextmanager
def namesake(namespace):
    """A node called preprocess."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('preprocess', namespace=namespace, context=context)
    try:
        yield
    finally:
        node.destroy_node()
        context.shutdown()


@pytest.mark.parametrize('name', ['preprocess.launch.py', 'replay.launch.py'])
@pytest.mark.parametrize('delay_s', [0.0, 1.0, 2.0])
def test_launch_ends_cleanly_at_an_interrupt_while_the_node_starts(launch, folder, name, delay_s):
    params = write(folder, {'lidars': ['top']})
    bag = [f'bag:={folder}'] if name == 'replay.launch.py' else []
    process = launch(name, *bag, f'params_file:={params}', 'namespace:=early')
    wait_for(lambda: 'process started' in said(folder), 'the node', folder)
    time.sleep(delay_s)  # somewhere within the start
    interrupt(process)
    assert process.wait(timeout=30) == 0, said(folder)
    assert 'Caught exception' not in said(folder)


@pytest.mark.parametrize(('number', 'code'), [(signal.SIGKILL, 1), (signal.SIGTERM, 0)])
def test_launch_ends_with_a_node_that_dies(launch, folder, number, code):
    process = launch('preprocess.launch.py', f'params_file:={write(folder, {"lidars": ["top"]})}', 'namespace:=dies')
    wait_for(lambda: '[dies.preprocess]: active' in said(folder), 'active', folder)
    os.kill(node_pid(folder), number)
    assert process.wait(timeout=60) == code, said(folder)


def test_a_node_that_dies_is_started_again_where_that_is_wanted(launch, folder):
    arguments = (f'params_file:={write(folder, {"lidars": ["top"]})}', 'namespace:=again', 'respawn:=true')
    launch('preprocess.launch.py', *arguments)
    for times in (1, 2):
        wait_for(lambda times=times: said(folder).count('[again.preprocess]: active') == times, 'active', folder)
        os.kill(node_pid(folder), signal.SIGKILL)


def node_pid(folder):
    return int((folder / 'preprocess.pid').read_text())


def test_a_refused_change_later_does_not_end_launch(launch, ask, folder):
    arguments = (f'params_file:={write(folder, {"lidars": ["top"]})}', 'name:=other', 'namespace:=later')
    process = launch('preprocess.launch.py', *arguments)
    wait_for(lambda: '[later.other]: active' in said(folder), 'active', folder)
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        assert ask(ChangeState, '/later/other/change_state', transition=Transition(id=transition)).success
    bad = Parameter('sync.trigger', value='none').to_parameter_msg()
    assert ask(SetParameters, '/later/other/set_parameters', parameters=[bad]).results[0].successful
    configure = Transition(id=Transition.TRANSITION_CONFIGURE)
    assert not ask(ChangeState, '/later/other/change_state', transition=configure).success
    assert state(ask, '/later/other') == 'unconfigured'
    assert process.poll() is None


def test_the_file_states_use_sim_time_and_debug_is_the_node_s_alone(launch, ask, folder):
    params = write(folder, {'lidars': ['top'], 'use_sim_time': True})
    process = launch('preprocess.launch.py', f'params_file:={params}', 'namespace:=sim', 'log_level:=debug')
    wait_for(lambda: '[sim.preprocess]: active' in said(folder), 'active', folder)
    assert parameters(ask, '/sim/preprocess', 'use_sim_time') == [True]
    assert '[rcl' not in said(folder)
    interrupt(process)
    assert process.wait(timeout=30) == 0
    assert 'Traceback' not in said(folder)


def test_replay_plays_when_active_and_ends_after_the_bag(launch, folder):
    params = write(folder, {'lidars': ['top']})
    arguments = (f'bag:={folder}', 'rate:=2.0', 'start_offset:=1.5', 'loop:=true', 'remaps:=/a:=/b /c:=/d')
    process = launch('replay.launch.py', *arguments, 'namespace:=played', f'params_file:={params}')
    assert process.wait(timeout=60) == 0, said(folder)
    played = (folder / 'ros2.arguments').read_text()
    assert played.startswith(f'bag play {folder} --clock')
    for part in ('--rate 2.0', '--start-offset 1.5', '--loop', '--remap /a:=/b /c:=/d'):
        assert part in played
    assert set(dds_environment.ALLOCATOR) < set(environment_of(folder, 'ros2'))
    assert any(environment_of(folder, 'ros2').get(name) for name in PROFILES)


def test_bringup_starts_drivers_and_a_policy_beside_the_node_and_again_where_they_die(launch, folder):
    process = launch('bringup.launch.py', 'namespace:=robot')
    started = ('driver-lidar-', 'driver-imu-', 'driver-camera-', 'remote_policy-')
    wait_for(lambda: all(f'[{name}' in said(folder) for name in started), 'the drivers', folder)
    wait_for(lambda: '[robot.preprocess]: active' in said(folder), 'active', folder)
    wait_for(lambda: 'the first frame has come' in said(folder), 'frames for the policy', folder)
    (pid,) = re.findall(r'\[driver-imu-\d+\]: process started with pid \[(\d+)\]', said(folder))
    os.kill(int(pid), signal.SIGKILL)
    wait_for(lambda: said(folder).count('[driver-imu-') > 2 and 'exit code -9' in said(folder), 'the IMU', folder)
    wait_for(
        lambda: len(re.findall(r'\[driver-imu-\d+\]: process started', said(folder))) == 2, 'its next driver', folder
    )
    interrupt(process)
    assert process.wait(timeout=30) == 0, said(folder)
    assert 'Caught exception' not in said(folder)


#: What replay.launch.py refuses: its arguments, the player, and the line.
UNPLAYED = {
    'no bag': (['bag:=/nowhere'], PLAY, 'bag: there is no /nowhere'),
    'a player that fails': (['bag:={folder}'], PLAY_FAILS, '`ros2 bag play` ended with exit code 3'),
    'no player': (['bag:={folder}'], None, '`ros2 bag play` is not installed'),
    'another clock': (['bag:={folder}', 'use_sim_time:=false'], PLAY, 'Argument "use_sim_time" provided value "false"'),
    'a node that is started again': (['bag:={folder}', 'respawn:=true'], PLAY, 'Argument "respawn" provided value'),
    'a node that is not started': (['bag:={folder}', 'autostart:=false'], PLAY, 'Argument "autostart" provided value'),
}


@pytest.mark.parametrize(('arguments', 'play', 'line'), UNPLAYED.values(), ids=UNPLAYED)
def test_replay_fails_where_no_bag_is_played(launch, folder, arguments, play, line):
    environ = {}
    if play is None:
        (folder / PACKAGES / 'ros2bag').unlink()
        environ['AMENT_PREFIX_PATH'] = str(folder)  # the machine may have it
    else:
        (folder / 'play').write_text(play)
    arguments = [argument.format(folder=folder) for argument in arguments]
    params = write(folder, {'lidars': ['top']})
    process = launch('replay.launch.py', *arguments, f'params_file:={params}', 'namespace:=unplayed', **environ)
    assert process.wait(timeout=60) == 1, said(folder)
    assert line in said(folder)
    assert 'Traceback' not in said(folder)
    if play is None:
        assert 'process started' not in said(folder)


def test_replay_ends_cleanly_at_an_interrupt(launch, folder):
    (folder / 'play').write_text(PLAY_ON)
    params = write(folder, {'lidars': ['top']})
    process = launch('replay.launch.py', f'bag:={folder}', f'params_file:={params}', 'namespace:=interrupted')
    wait_for(lambda: 'playing' in said(folder), 'the player', folder)
    interrupt(process)
    assert process.wait(timeout=30) == 0, said(folder)
    assert 'Traceback' not in said(folder)
    assert 'Caught exception' not in said(folder)
