# SPDX-License-Identifier: Apache-2.0
"""The SROS 2 policy of the node allows what the node's own graph has, and no more."""

import importlib.util
import time
import xml.etree.ElementTree as ElementTree
from contextlib import ExitStack

import pytest
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn

from robocache_ros.node import PreprocessNode
from robocache_ros.tools import security_policy
from robocache_ros.twins import MARK, look_out

SUCCESS = TransitionCallbackReturn.SUCCESS
CONFIG = """
/robot/sensing:
  ros__parameters:
    use_sim_time: true
    target_frame: base_link
    publish_images: true
    lidars: [top, rear]
    cameras: [front, back]
    depths: [front_depth]
    imus: [imu]
    vectors: [odom, joints]
    grids: [all]
    all: {from: [top, front_depth], voxel: {channels: [count]}}
    top: {topic: points, deskew: {source: imu, time_field: t, time_unit: ns, time_reference: start}}
    rear: {topic: /rear/scan, message: LaserScan, extrinsics: [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]}
    front: {topic: '~/front', message: raw, rectify: true, camera_info_topic: /front/info}
    back: {topic: /back/image_raw/compressed}
    front_depth: {topic: /depth/image_rect_raw, registered: front, max_depth: 10.0}
    imu: {topic: /imu/data, window_size: 4}
    odom: {topic: /odom, message: nav_msgs/msg/Odometry}
    joints: {topic: /joint_states, message: sensor_msgs/msg/JointState, joints: [arm]}
"""
ARGUMENTS = ['--name', 'sensing', '--namespace', '/robot']


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp('policy') / 'robot.yaml'
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope='module')
def graph(config):
    """Names that the active node publishes, subscribes to and offers, and of whose services it is a client."""
    arguments = ['--ros-args', '-r', '__node:=sensing', '-r', '__ns:=/robot', '--params-file', str(config)]
    with ExitStack() as undo:
        rclpy.init()
        undo.callback(rclpy.shutdown)
        node = PreprocessNode(cli_args=arguments)
        undo.callback(node.destroy_node)
        look_out(node, pytest.fail)
        assert node.trigger_configure() == node.trigger_activate() == SUCCESS

        def names(of):
            return {name for name, _ in of('sensing', '/robot')}

        end = time.monotonic() + 60
        while f'/robot/sensing/{MARK}' not in ' '.join(names(node.get_publisher_names_and_types_by_node)):
            assert time.monotonic() < end, 'the node is not in its own graph'
            time.sleep(0.01)
        return {
            'publish': names(node.get_publisher_names_and_types_by_node),
            'subscribe': names(node.get_subscriber_names_and_types_by_node),
            'reply': names(node.get_service_names_and_types_by_node),
            'request': names(node.get_client_names_and_types_by_node),
        }


@pytest.fixture(scope='module')
def policy(config, tmp_path_factory):
    out = tmp_path_factory.mktemp('policy') / 'policy.xml'
    assert security_policy.main([str(config), *ARGUMENTS, '--out', str(out)]) == 0
    return ElementTree.parse(out).getroot()


def allowed(policy, rule):
    """Names in the lists of a policy that have a rule."""
    return {element.text for group in policy.iter() if group.get(rule) == 'ALLOW' for element in group}


def test_it_has_the_form_of_a_policy(policy):
    """As sros2's policy.xsd has it: one profile in one enclave, with lists of names, none of them empty."""
    assert (policy.tag, policy.attrib) == ('policy', {'version': '0.2.0'})
    element = policy
    for tag, attributes in [
        ('enclaves', {}),
        ('enclave', {'path': '/robot/sensing'}),
        ('profiles', {}),
        ('profile', {'ns': '/robot', 'node': 'sensing'}),
    ]:
        (element,) = element
        assert (element.tag, element.attrib) == (tag, attributes)
    assert [(group.tag, group.attrib) for group in element] == [
        ('topics', {'publish': 'ALLOW'}),
        ('topics', {'subscribe': 'ALLOW'}),
        ('services', {'reply': 'ALLOW'}),
    ]
    for group in element:
        assert {expression.tag for expression in group} == {group.tag.removesuffix('s')}
        assert all(expression.text.startswith('/') for expression in group)


def test_it_allows_what_the_node_publishes_and_no_more(policy, graph):
    mark = f'/robot/sensing/{MARK}'
    published = {f'{mark}*' if name.startswith(mark) else name for name in graph['publish']}
    assert allowed(policy, 'publish') == published
    assert {'/robot/sensing/fused', '/robot/sensing/image/front_depth/camera_info', f'{mark}*'} <= published


def test_it_allows_what_the_node_subscribes_to_and_no_more(policy, graph):
    without_tf2 = set() if importlib.util.find_spec('tf2_ros') else {'/tf', '/tf_static'}
    assert allowed(policy, 'subscribe') == graph['subscribe'] | without_tf2
    assert {'/robot/points', '/robot/sensing/front', '/front/info', '/rear/scan', '/clock'} <= graph['subscribe']


def test_it_allows_the_services_of_the_node_and_no_more(policy, graph):
    assert allowed(policy, 'reply') == graph['reply']
    assert allowed(policy, 'request') == graph['request'] == set()


@pytest.mark.parametrize(
    ('text', 'arguments', 'said'),
    [
        (CONFIG.replace('/imu/data', "'/imu/*'"), ARGUMENTS, "'/imu/*' is no topic of ROS"),
        (CONFIG, ['--name', 'sensing', '--namespace', '/'], 'has no ros__parameters for /sensing'),
        (CONFIG, ['--name', 'a b'], 'Invalid node name'),
        (CONFIG.replace('max_depth: 10.0', 'max_depth: -1.0'), ARGUMENTS, 'front_depth.max_depth = -1.0'),
    ],
    ids=['topic', 'section', 'name', 'value'],
)
def test_what_cannot_be_used_is_one_line(tmp_path, capsys, text, arguments, said):
    path, out = tmp_path / 'robot.yaml', tmp_path / 'policy.xml'
    path.write_text(text)
    assert security_policy.main([str(path), *arguments, '--out', str(out)]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith('security_policy: ')
    assert said in line
    assert not out.exists()


def test_transforms_are_allowed_where_a_pose_is_needed(tmp_path, capsys):
    path = tmp_path / 'robot.yaml'
    path.write_text('/**:\n  ros__parameters: {lidars: [top], top: {topic: /points}, recorder: {seconds: 0.0}}')
    assert security_policy.main([str(path)]) == 0
    policy = ElementTree.fromstring(capsys.readouterr().out.partition('\n')[2])
    assert allowed(policy, 'subscribe') == {'/points', '/clock'}
    assert '/preprocess/dump_record' not in allowed(policy, 'reply')
