# SPDX-License-Identifier: Apache-2.0
"""Static transforms, composed along their tree."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robocache_core import rotation
from robocache_ros.static_transforms import StaticTransforms

NONE = (0.0, 0.0, 0.0, 1.0)
QUARTER_Z = (0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5))


def tree(*edges):
    transforms = StaticTransforms()
    for edge in edges:
        transforms.add(*edge)
    return transforms


def test_a_chain_is_composed_to_the_target():
    chain = tree(('base_link', 'mast', (1.0, 0.0, 2.0), QUARTER_Z), ('mast', 'lidar', (0.5, 0.0, 0.1), NONE))
    # The mast is turned to the left, so half a metre ahead of it is half a metre to the left of the base.
    assert chain.pose('lidar', 'base_link') == pytest.approx((1.0, 0.5, 2.1, *QUARTER_Z))


def test_siblings_and_ancestors_are_joined_over_the_common_frame():
    fork = tree(('base', 'a', (1.0, 0.0, 0.0), QUARTER_Z), ('base', 'b', (0.0, 2.0, 0.0), NONE))
    assert fork.pose('b', 'a') == pytest.approx((2.0, 1.0, 0.0, 0.0, 0.0, -QUARTER_Z[2], QUARTER_Z[3]))
    assert fork.pose('base', 'b') == pytest.approx((0.0, -2.0, 0.0, *NONE))
    assert fork.pose('a', 'a') == pytest.approx((0.0, 0.0, 0.0, *NONE))


def test_frames_that_nothing_joins_have_no_pose():
    apart = tree(('base', 'a', (0.0, 0.0, 0.0), NONE), ('map', 'b', (0.0, 0.0, 0.0), NONE))
    assert apart.pose('a', 'b') is None
    assert apart.pose('unknown', 'base') is None
    assert 'base' in apart
    assert 'unknown' not in apart


def test_a_loop_ends():
    loop = tree(('a', 'b', (0.0, 0.0, 0.0), NONE), ('b', 'a', (0.0, 0.0, 0.0), NONE))
    assert loop.pose('a', 'c') is None


def test_a_slash_before_a_frame_is_forgiven():
    old = tree(('/base_link', '/lidar', (1.0, 2.0, 3.0), NONE))
    assert old.pose('lidar', 'base_link') == pytest.approx((1.0, 2.0, 3.0, *NONE))


@pytest.mark.parametrize(
    ('parent', 'child', 'translation', 'quaternion', 'why'),
    [
        ('base', 'lidar', (9.0, 9.0, np.nan), NONE, 'not finite'),
        ('base', 'lidar', (9.0, 9.0, np.inf), NONE, 'not finite'),
        ('base', 'lidar', (9.0, 9.0, 9.0), (0.0, 0.0, np.nan, 1.0), 'not finite'),
        ('base', 'lidar', (9.0, 9.0, 9.0), (0.0, 0.0, 0.0, 0.0), 'has length 0, not 1'),
        ('base', 'lidar', (9.0, 9.0, 9.0), (0.0, 0.0, 0.0, 2.0), 'has length 2, not 1'),
        ('lidar', 'lidar', (9.0, 9.0, 9.0), NONE, 'no pose in itself'),
        ('', 'lidar', (9.0, 9.0, 9.0), NONE, 'no name'),
        ('base', '', (9.0, 9.0, 9.0), NONE, 'no name'),
    ],
)
def test_what_tf2_ignores_is_ignored_by_name_and_a_good_one_before_it_stays(
    parent, child, translation, quaternion, why
):
    both = tree(('base', 'lidar', (1.0, 2.0, 3.0), NONE), (parent, child, translation, quaternion))
    assert both.pose('lidar', 'base') == pytest.approx((1.0, 2.0, 3.0, *NONE))
    assert list(both.ignored) == [child]
    assert why in both.ignored[child]
    alone = tree((parent, child, translation, quaternion))
    assert alone.pose('lidar', 'base') is None


def test_a_quaternion_that_is_nearly_of_length_1_is_normalized():
    near = tree(('base', 'lidar', (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.004)))
    assert near.pose('lidar', 'base') == pytest.approx((0.0, 0.0, 0.0, *NONE))
    assert near.ignored == {}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 1e-3))
def test_a_rotation_gives_its_quaternion_back(values):
    q = np.asarray(values) / np.linalg.norm(values)
    back = rotation.quaternion(rotation.matrix(q))
    assert np.abs(q @ back) == pytest.approx(1.0)  # q and -q are one rotation
    assert back[3] >= 0


@pytest.mark.parametrize(
    'name', ['\x1b[2J' * 100, 'n' * 1_000_000, '\udc80' * 300], ids=['escape codes', 'a megabyte', 'surrogates']
)
def test_names_of_any_length_give_a_short_line(name):
    (line,) = tree(('', name, (0.0, 0.0, 0.0), NONE)).ignored.values()
    assert line.isprintable()
    assert len(line) < 300
