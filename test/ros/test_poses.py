# SPDX-License-Identifier: Apache-2.0
"""Where a sensor is, from TF (of a stand-in for tf2_ros) and from static transforms."""

import sys
import types
from contextlib import ExitStack
from typing import ClassVar

import numpy as np
import pytest
import torch
from geometry_msgs.msg import TransformStamped
from support.runtime import LIDAR, Lines, SetClock, assert_adds_up, cloud, make

from robocache_core import rotation
from robocache_core.config import DeskewConfig, ImuConfig, PipelineConfig
from robocache_core.pipeline import Pipeline
from robocache_core.samples import DataError
from robocache_ros.event_log import EventLog
from robocache_ros.poses import BagPoses, TfPoses, streams_to_locate
from robocache_ros.static_transforms import StaticTransforms
from robocache_ros.transform_buffer import TransformBuffer

POSE = (1.0, 2.0, 3.0, 0.0, 0.0, 0.6, 0.8)


class TransformException(Exception):
    """As tf2_ros has it."""


class Buffer:
    """A buffer of tf2_ros: what it knows is set by the test."""

    made: ClassVar[list['Buffer']] = []

    def __init__(self):
        self.known = {}
        Buffer.made.append(self)

    def lookup_transform(self, target, source, time):
        found = self.known.get((target, source))
        if found is None:
            raise TransformException(f'"{source}" passed to lookupTransform argument source_frame does not exist. ')
        if isinstance(found, Exception):
            raise found
        return found


class TransformListener:
    """Notes whether it listens."""

    listening: ClassVar[list[object]] = []

    def __init__(self, buffer, node):
        self.listening.append(node)
        self.node = node

    def unregister(self):
        self.listening.remove(self.node)


class FakeNode:
    pass


def log(lines=None):
    return EventLog(Lines() if lines is None else lines, SetClock())


@pytest.fixture
def tf2(monkeypatch):
    """A stand-in for tf2_ros, which is not there where only wheels are installed."""
    module = types.ModuleType('tf2_ros')
    module.Buffer, module.TransformListener = Buffer, TransformListener
    module.TransformException = TransformException
    module.__spec__ = types.SimpleNamespace(name='tf2_ros')
    monkeypatch.setitem(sys.modules, 'tf2_ros', module)
    monkeypatch.setattr(Buffer, 'made', [])
    monkeypatch.setattr(TransformListener, 'listening', [])
    return module


def transform(stamp_s=0):
    message = TransformStamped()
    message.header.stamp.sec = stamp_s
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z, q.x, q.y, q.z, q.w = POSE
    return message


@pytest.fixture
def poses(tf2):
    with ExitStack() as undo:
        yield TfPoses(FakeNode(), log(), ['lidar'], undo)


def test_a_static_transform_is_a_pose(poses):
    Buffer.made[0].known['base_link', 'lidar'] = transform()
    assert poses.pose('lidar', 'base_link', 7) == (POSE, False)


def refusal(poses, frame_id='lidar'):
    with pytest.raises(DataError) as refused:
        poses.pose(frame_id, 'base_link', 7)
    assert refused.value.reason == 'no_transform'
    return str(refused.value)


def test_a_pose_that_moves_is_marked(poses):
    Buffer.made[0].known['base_link', 'lidar'] = transform(stamp_s=1)
    assert poses.pose('lidar', 'base_link', 7) == (POSE, True)


def test_a_frame_that_tf_does_not_have_is_refused_in_its_words(poses):
    text = refusal(poses, 'mast')
    assert 'does not exist; publish' in text
    assert text.startswith("the pose of 'mast' in 'base_link' is unknown: \"mast\" passed to lookupTransform")
    assert 'publish the static transform between them (tf2_ros static_transform_publisher), or of a sensor' in text


def test_a_look_up_that_fails_is_refused(poses):
    Buffer.made[0].known['base_link', 'lidar'] = TransformException('not part of the same tree')
    assert 'not part of the same tree' in refusal(poses)


def test_tf_is_listened_to_until_it_is_undone(tf2):
    node = FakeNode()
    with ExitStack() as undo:
        TfPoses(node, log(), ['lidar'], undo)
        assert TransformListener.listening == [node]
    assert TransformListener.listening == []


def test_nothing_is_made_where_no_stream_needs_it(tf2):
    with ExitStack() as undo:
        TfPoses(FakeNode(), log(), [], undo)
        assert TransformListener.listening == Buffer.made == []


#: Text of a module tf2_ros that cannot be used, None for none, and what is said of it.
UNUSABLE = {
    'not installed': (None, 'tf2_ros is not installed'),
    'needs what is not there': (
        'import nowhere',
        "tf2_ros cannot be imported (No module named 'nowhere')",
    ),
    'broken': (
        'raise ImportError("libtf2.so:\\n  missing")',
        'tf2_ros cannot be imported (libtf2.so: missing)',
    ),
}


@pytest.mark.parametrize(('text', 'said'), UNUSABLE.values(), ids=UNUSABLE)
def test_without_tf2_ros_there_is_a_warning_and_every_sample_is_refused(monkeypatch, tmp_path, text, said):
    monkeypatch.delitem(sys.modules, 'tf2_ros', raising=False)
    if text is None:
        monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    else:
        (tmp_path / 'tf2_ros.py').write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
    lines = Lines()
    with ExitStack() as undo:
        poses = TfPoses(FakeNode(), log(lines), ['lidar', 'imu'], undo)
        assert said in refusal(poses)
    (line,) = lines.of('warning')
    assert line.startswith(f'{said}: samples of lidar, imu that are not in target_frame')
    assert line.endswith('set lidar.extrinsics')


def test_a_robot_that_learns_where_its_lidar_is(tf2):
    """From the first message on which TF knows it; those before it are counted, not lost."""
    with ExitStack() as undo:
        config = PipelineConfig(lidars=(LIDAR,), target_frame='base_link')
        bench = make(config, lambda pipeline: TfPoses(FakeNode(), log(), streams_to_locate(pipeline), undo))
        bench.put('lidar', cloud(0))
        bench.work()
        assert bench.runtime.pipeline.ledger['lidar'].counts().dropped == {'no_transform': 1}
        (buffer,) = Buffer.made
        buffer.known['base_link', 'lidar'] = transform()
        bench.put('lidar', cloud(100))
        bench.work()
        buffer.known.clear()  # asked once: a sensor is fixed to the robot
        bench.put('lidar', cloud(200))
        bench.work()
        assert [frame.frame_id for frame in bench.frames] == ['base_link'] * 2
        assert_adds_up(bench.runtime)


EXTRINSICS = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ('target', 'lidar_pose', 'imu_pose', 'source', 'expected'),
    [
        ('base_link', (), (), 'imu', ['lidar', 'imu']),
        ('base_link', EXTRINSICS, (), 'imu', ['imu']),
        ('base_link', (), (), 'none', ['lidar']),
        ('', (), EXTRINSICS, 'imu', []),
    ],
)
def test_which_streams_need_tf(target, lidar_pose, imu_pose, source, expected):
    lidar = type(LIDAR)('lidar', extrinsics=lidar_pose, deskew=DeskewConfig(source=source))
    imu = ImuConfig('imu', extrinsics=imu_pose)
    assert streams_to_locate(Pipeline(PipelineConfig((lidar,), (), (imu,), target_frame=target))) == expected


def test_poses_of_a_bag():
    transforms = StaticTransforms()
    transforms.add('base_link', 'lidar', POSE[:3], POSE[3:])
    poses = BagPoses(TransformBuffer(transforms))
    pose, moves = poses.pose('lidar', 'base_link', 7)
    assert (pose, moves) == (pytest.approx(POSE), False)
    assert 'neither /tf nor /tf_static of the bag joins them' in refusal(poses, 'mast')


def by_quaternions(edges):
    """Compose as tf2 does: quaternions are multiplied, and rotate the translations."""
    t, q = np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0])
    for _, _, translation, quaternion in edges:
        moved = rotation.product(rotation.product(q, np.array([*translation, 0.0])), rotation.inverse(q))
        t, q = t + moved[:3], rotation.product(q, np.array(quaternion))
    return (*t, *q)


def by_tf2(edges):
    tf2_py = pytest.importorskip('tf2_py', reason='tf2_py is not installed: poses are composed by tf2 where it is')
    from rclpy.time import Time

    buffer = tf2_py.BufferCore()
    for parent, child, translation, quaternion in edges:
        edge = TransformStamped(child_frame_id=child)
        edge.header.frame_id = parent
        t, q = edge.transform.translation, edge.transform.rotation
        t.x, t.y, t.z, q.x, q.y, q.z, q.w = (*translation, *quaternion)
        buffer.set_transform_static(edge, 'test')
    found = buffer.lookup_transform_core(edges[0][0], edges[-1][1], Time()).transform
    t, q = found.translation, found.rotation
    return t.x, t.y, t.z, q.x, q.y, q.z, q.w


@pytest.mark.parametrize('compose', [by_quaternions, by_tf2])
@pytest.mark.parametrize('step_deg', [90.0, 15.0, 0.1])
def test_the_pose_of_a_sensor_has_the_same_bits_live_and_of_a_bag(compose, step_deg):
    """However the chain is composed: mounts at right angles have zeros, of which one bit in a double would be seen."""
    random = np.random.default_rng(3)
    names = ('base_link', 'mast', 'plate', 'lidar')
    for _ in range(100):
        steps = random.integers(-int(180 / step_deg), int(180 / step_deg), (3, 3), endpoint=True)
        turns = rotation.exp(np.radians(steps * step_deg)[..., None] * np.eye(3))
        quaternions = [rotation.product(rotation.product(z, y), x).tolist() for x, y, z in turns]
        translations = (random.integers(-40, 41, (3, 3)) * 0.05).tolist()
        edges = list(zip(names, names[1:], translations, quaternions, strict=False))
        tree = StaticTransforms()
        for edge in edges:
            tree.add(*edge)
        offline = tree.pose('lidar', 'base_link')
        live, of_bag = rotation.pose_matrix(compose(edges)), rotation.pose_matrix(offline)
        assert torch.equal(live.view(torch.int32), of_bag.view(torch.int32))
