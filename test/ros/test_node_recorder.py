# SPDX-License-Identifier: Apache-2.0
"""The node over a real ROS network: its flight recorder, by service and on an ERROR."""

import pytest
from std_srvs.srv import Trigger
from support.robot import LIDAR, SUCCESS, Robot, cloud, image

from robocache_ros import record_file
from robocache_ros.tools import explain

SERVICE = '/preprocess/dump_record'


def call(robot):
    client = robot.peer.create_client(Trigger, SERVICE)
    assert client.wait_for_service(10.0)
    future = client.call_async(Trigger.Request())
    robot.until(future.done, 'an answer')
    return future.result()


def test_the_service_writes_a_file_that_is_explained(tmp_path, capsys):
    with Robot(**LIDAR, recorder__folder=str(tmp_path)) as robot:
        robot.bring_up()
        for ms in (0, 100, 200):
            robot.deliver('lidar', cloud(ms))
        robot.until(lambda: len(robot.frames) == 3, 'the frames')
        answer = call(robot)
    (path,) = tmp_path.iterdir()
    assert (answer.success, answer.message) == (True, str(path))
    assert path.name.startswith('record_preprocess_')
    assert explain.main([answer.message]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('/preprocess: the ')
    assert lines[1] == '3 targets: 3 frames, 0 dropped'


def test_a_file_that_cannot_be_written_is_said_in_the_answer(tmp_path):
    (tmp_path / 'file').touch()
    with Robot(**LIDAR, recorder__folder=str(tmp_path / 'file' / 'folder')) as robot:
        assert robot.node.trigger_configure() == SUCCESS
        answer = call(robot)
    assert not answer.success
    assert answer.message.startswith('cannot be written: ')
    assert answer.message.endswith('; see recorder.folder')


def test_an_error_on_diagnostics_is_written(tmp_path):
    with Robot(**LIDAR, cameras=['front'], recorder__folder=str(tmp_path)) as robot:
        robot.bring_up()
        for ms in range(0, 2000, 100):
            robot.deliver('front', image(ms, encoding='cmyk'))
        robot.until(lambda: list(tmp_path.glob('*.jsonl')), 'a file')
        assert robot.node.trigger_deactivate() == SUCCESS
    causes = [record_file.read(path).header['cause'] for path in tmp_path.iterdir()]
    assert 'front' in causes[0]


@pytest.mark.parametrize('seconds', [0.0, 10.0])
def test_the_service_is_there_while_the_node_is_configured_and_records(seconds):
    def is_there():
        return (SERVICE, ['std_srvs/srv/Trigger']) in robot.peer.get_service_names_and_types()

    with Robot(**LIDAR, recorder__seconds=seconds) as robot:
        assert robot.node.trigger_configure() == SUCCESS
        robot.until(lambda: is_there() == (seconds > 0), 'the service')
        assert robot.node.trigger_cleanup() == SUCCESS
        robot.until(lambda: not is_there(), 'no service')
