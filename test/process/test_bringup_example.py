# SPDX-License-Identifier: Apache-2.0
"""The processes of launch/bringup.launch.py together: stubs of drivers, the node, a policy; launch is tested apart."""

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from support.statuses import values
from support.terminal import other_node

from robocache_ros.subscriber import FusedSubscriber

ROOT = Path(__file__).parents[2]
PARAMETERS = ['--ros-args', '--params-file', str(ROOT / 'config' / 'bringup.yaml'), '-p', 'autostart:=true']


@contextlib.contextmanager
def processes(*arguments):
    """Start modules with arguments; each must end with status 0 at SIGINT."""
    started = [subprocess.Popen([sys.executable, '-m', *each]) for each in arguments]
    try:
        yield
        for process in started:
            process.send_signal(signal.SIGINT)
        assert [process.wait(timeout=30) for process in started] == [0] * len(started)
    finally:
        for process in started:
            process.kill()


def test_stubs_of_drivers_give_frames_to_a_policy():
    start = str(time.time() + 3)
    drivers = [('robocache_ros.examples.driver', sensor, '--start', start) for sensor in ('lidar', 'imu', 'camera')]
    node, policy = ('robocache_ros.process', *PARAMETERS), ('robocache_ros.examples.remote_policy',)
    frames, statuses = [], {}

    def diagnosed(message):
        statuses.update({status.name: values(status) for status in message.status})

    def came():
        """A frame of lidar and IMU, one with an image of each camera, and one that the policy acted upon or refused."""
        whole = [frame for frame in frames if frame.valid['lidar'] and frame.valid['imu']]
        taken = statuses.get('policy: frames', {}).keys() - {'stopped.no_frame', 'skipped', 'missed', 'bad_payloads'}
        return whole and taken and all(any(frame.valid[name] for frame in whole) for name in ('front', 'rear'))

    with other_node('peer') as peer, processes(*drivers, node, policy):
        FusedSubscriber(peer, frames.append)
        peer.create_subscription(DiagnosticArray, '/diagnostics', diagnosed, 100)
        executor = rclpy.executors.SingleThreadedExecutor(context=peer.context)
        executor.add_node(peer)
        end = time.monotonic() + 150
        while not came():
            assert time.monotonic() < end, (len(frames), frames[-1:], statuses)
            executor.spin_once(timeout_sec=0.1)
        executor.shutdown()
    num_voxels = max(len(frame.tensors['lidar.coords']) for frame in frames)
    assert num_voxels > 500, num_voxels  # the walls of the courtyard and its ground
