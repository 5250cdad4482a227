# SPDX-License-Identifier: Apache-2.0
"""Static transforms, composed along their tree."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import bags

from robocache_core import rotation
from robocache_ros.static_transforms import StaticTransforms

NONE = (0.0, 0.0, 0.0, 1.0)
QUARTER_Z = (0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5))


def tree(*edges):
    return StaticTransforms.from_messages([bags.transforms(edge) for edge in edges])


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


def test_a_slash_before_a_frame_and_a_quaternion_of_zeros_are_forgiven():
    old = tree(('/base_link', '/lidar', (1.0, 2.0, 3.0), (0.0, 0.0, 0.0, 0.0)))
    assert old.pose('lidar', 'base_link') == pytest.approx((1.0, 2.0, 3.0, *NONE))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 1e-3))
def test_a_rotation_gives_its_quaternion_back(values):
    q = np.asarray(values) / np.linalg.norm(values)
    back = rotation.quaternion(rotation.matrix(q))
    assert np.abs(q @ back) == pytest.approx(1.0)  # q and -q are one rotation
    assert back[3] >= 0
