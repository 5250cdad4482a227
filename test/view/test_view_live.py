# SPDX-License-Identifier: Apache-2.0
"""What ``view --live`` shows of a node: its frames, its drops and why no frame comes."""

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from support import rrd
from support.robot import MS, START_NS, Robot, cloud, imu

rerun = pytest.importorskip('rerun', reason='rerun is not installed: requirements/view.txt')

from robocache_ros.tools.view.live import LiveView, config_of  # noqa: E402  # only now: they import it
from robocache_ros.tools.view.scene import Scene  # noqa: E402

PARAMETERS = {
    'lidars': ['lidar'],
    'imus': ['imu'],
    'imu__window_size': 1,
    'imu__required': False,
    'lidar__voxel__size': [0.5, 0.5, 0.5],
    'lidar__max_range': 3.0,
    'diagnostics_period': 0.1,
    'sync__max_wait': 0.05,
}


def test_a_node_is_shown_as_it_is_configured(tmp_path):
    stream = rerun.RecordingStream('test')
    stream.save(tmp_path / 'file.rrd')
    with Robot(**PARAMETERS) as robot:
        robot.bring_up()
        node = rclpy.create_node('view')
        config = config_of(node, '/preprocess')
        assert config == robot.node.pipeline.config
        view = LiveView(node, '/preprocess', Scene(stream, config))
        robot.executor.add_node(node)
        robot.until(lambda: view._scene._blocker, 'why no frame comes')
        for ms in range(0, 500, 100):
            robot.deliver('imu', imu(ms))
            robot.deliver('lidar', cloud(ms))
        unstamped = cloud(0)
        unstamped.header.stamp.sec = unstamped.header.stamp.nanosec = 0
        robot.deliver('lidar', unstamped)
        robot.until(lambda: view.num_frames >= 4, 'frames')
        robot.until(lambda: view._scene._before['messages lidar'].get('zero_stamp'), 'a drop')
        frames = list(robot.frames)
        robot.executor.remove_node(node)
        node.destroy_node()
    stream.disconnect()
    shown = rrd.read(tmp_path / 'file.rrd')
    voxels = shown['/world/voxels/lidar']
    assert voxels.stamp_ns[:4] == [START_NS + ms * MS for ms in range(0, 400, 100)]
    (centre,) = voxels.column('Boxes3D:centers')[0]  # the other point is out of range
    coords = frames[0].tensors['lidar.coords'].numpy()[0, ::-1]
    np.testing.assert_allclose(centre, np.array(config.lidars[0].voxel.lower) + (coords + 0.5) * 0.5)
    assert shown['/vectors/imu'].stamp_ns[:4] == voxels.stamp_ns[:4]
    assert sum(map(sum, shown['/points_dropped/lidar/range'].column('Scalars:scalars'))) >= 4
    assert ['lidar: 1 dropped: zero_stamp'] in shown['/events'].values['TextLog:text']
    # Its first report may be of before it looked.
    assert any('no publisher' in text for (text,) in shown['/blocker'].values['TextDocument:text'])


def test_what_others_publish_as_its_diagnostics_is_shown_as_far_as_it_can_be(tmp_path):
    stream = rerun.RecordingStream('test')
    stream.save(tmp_path / 'file.rrd')
    rerun.set_strict_mode(True)
    with Robot(**PARAMETERS) as robot:
        robot.bring_up()
        view = LiveView(robot.node, '/preprocess', Scene(stream, robot.node.pipeline.config))
        foreign = {'points.a/b\n': '3', 'points.range': 'many', 'dropped.late': '9' * 30, 'dropped.\x1b[31m': '2'}
        view._on_diagnostics(
            DiagnosticArray(
                status=[
                    DiagnosticStatus(name='preprocess: sync'),
                    DiagnosticStatus(
                        name='preprocess: input lidar',
                        values=[KeyValue(key=key, value=value) for key, value in foreign.items()],
                    ),
                ]
            )
        )
    stream.disconnect()
    shown = rrd.read(tmp_path / 'file.rrd')
    (path,) = (path for path in shown if path.startswith('/points_dropped/'))
    assert path.count('/') - path.count('\\/') == 3, 'a reason is one part of it'
    assert shown['/events'].values['TextLog:text'] == [['lidar: 2 dropped: \\x1b[31m']]
