# SPDX-License-Identifier: Apache-2.0
"""Vectors of a configuration made from a bag: which topics of numbers become one, and how it is read."""

import numpy as np
import pytest
from support import bags, vectors
from support.bags import T

from robocache_ros import parameters
from robocache_ros.bags import open_bag
from robocache_ros.offline import fused_frames
from robocache_ros.tools.config_from_bag import config_from_bag


def proposed(tmp_path, make, period_ms=20):
    """What is proposed for a topic of numbers beside a camera, and the notes."""
    images, messages = bags.every(100, '/cam/image_raw', bags.image), bags.every(period_ms, '/state', make)
    made = config_from_bag(open_bag(bags.write(tmp_path / 'bag', [*images, *messages])))
    config, _ = parameters.from_dict(made.parameters, warn=pytest.fail)
    frames = list(fused_frames(tmp_path / 'bag', config))
    assert len(frames) >= 10
    return made.parameters.get('state'), made.notes, frames


@pytest.mark.parametrize(
    ('make', 'parameters_of_it', 'row'),
    [
        (vectors.twist_stamped, {'message': 'geometry_msgs/msg/TwistStamped'}, [500, 0, -500, 0, 1, 2]),
        (vectors.fix, {'message': 'sensor_msgs/msg/NavSatFix'}, [48 + 500e-9, 11, 500]),
        (vectors.range_, {'message': 'sensor_msgs/msg/Range'}, [1.5]),
        (
            vectors.joint_state,
            {
                'message': 'sensor_msgs/msg/JointState',
                'joints': ['shoulder', 'elbow'],
                'fields': ['position', 'velocity', 'effort'],
            },
            [0, 500, 10, 510, 20, 520],
        ),
        (
            lambda ms: vectors.joint_state(ms, arrays=('position',)),
            {'message': 'sensor_msgs/msg/JointState', 'joints': ['shoulder', 'elbow'], 'fields': ['position']},
            [0, 500],
        ),
        (vectors.joy, {'message': 'sensor_msgs/msg/Joy', 'fields': ['axes[:2]', 'buttons[:2]']}, [500, 500, 0, 1]),
    ],
    ids=['twist', 'fix', 'range', 'joints', 'positions', 'joy'],
)
def test_numbers_become_a_vector(tmp_path, make, parameters_of_it, row):
    found, _, frames = proposed(tmp_path, make)
    assert found == {'topic': '/state', 'required': False} | parameters_of_it
    (frame,) = (frame for frame in frames if frame.stamp_ns == bags.START_NS + 500 * bags.MS)
    np.testing.assert_allclose(frame.tensors['state'].numpy(), [row], rtol=1e-6)
    assert frame.valid['state']


@pytest.mark.parametrize(
    ('make', 'period_ms', 'why'),
    [
        (vectors.twist, 20, 'its messages have no header'),
        (vectors.fix, 900, 'it has 3 messages, too few'),
        (lambda ms: vectors.joint_state(ms, ()), 20, 'its first message has no number'),
        (lambda ms: vectors.joint_state(ms, ('elbow', 'elbow')), 20, 'its first message has no number'),
        (lambda ms: vectors.joint_state(ms, arrays=()), 20, 'its first message has no number'),
        (
            lambda ms: T['sensor_msgs/msg/Joy'](bags.header(ms), np.zeros(0, np.float32), np.zeros(0, np.int32)),
            20,
            'no number',
        ),
    ],
)
def test_what_is_no_vector_is_named(tmp_path, make, period_ms, why):
    found, notes, _ = proposed(tmp_path, make, period_ms)
    assert found is None
    assert any(note.startswith('left out: /state: ') and why in note for note in notes)


def test_of_a_slow_topic_the_last_message_is_read(tmp_path):
    found, _, frames = proposed(tmp_path, vectors.fix, period_ms=500)
    assert (found['interpolation'], found['tolerance']) == ('previous', 0.75)
    assert all(frame.valid['state'] for frame in frames)
