# SPDX-License-Identifier: Apache-2.0
"""The bits of every operation, and of a whole robot's frames, are those that they were."""

import pytest
from support import digests, whole_robot
from support.driving import T0

from robocache_core import backends
from robocache_core.backends import Backend
from robocache_core.pipeline import Pipeline
from robocache_core.units import MS


def test_every_operation_gives_the_bits_that_it_gave(each_backend: Backend) -> None:
    found = digests.operation_digests()
    expected = digests.EXPECTED['operations']
    assert found.keys() == expected.keys()
    assert {name for name in found if found[name] != expected[name]} == set(), each_backend.name
    assert len(set(found.values())) > 0.8 * len(found), 'the cases differ'


@pytest.mark.parametrize('name', backends.NAMES)
def test_a_robot_s_frames_have_the_bits_that_they_had(name: str) -> None:
    with backends.use(name):
        frames = whole_robot.frames(Pipeline(whole_robot.config()))
    assert len(frames) >= 6
    assert digests.digest_of_frames(frames) == digests.EXPECTED['robot']
    # The second camera is missing for a while.
    assert [(frame.stamp_ns - T0) // (100 * MS) for frame in frames if frame.given_up] == [8, 9]
    assert {name for frame in frames for name in frame.given_up} == {'back'}
