# SPDX-License-Identifier: Apache-2.0
"""Malformed and extreme messages, by the thousand: each is used, or dropped for a reason that the change explains."""

from __future__ import annotations

import pytest
from support.fuzz import COUNT, fuzzed, readings
from support.fuzz.driven import CASES, LIDAR, Driven, is_line
from support.runtime import assert_adds_up, cloud, make

from robocache_ros import parameters
from robocache_ros.poses import BagPoses
from robocache_ros.static_transforms import StaticTransforms
from robocache_ros.transform_buffer import TransformBuffer

pytestmark = pytest.mark.filterwarnings('error')


@pytest.mark.parametrize('name', CASES)
def test_every_message_is_used_or_dropped_for_its_own_reason(name: str) -> None:
    driven = Driven(CASES[name])
    for serial in range(COUNT):
        for stream, each in driven.case.messages(serial):
            driven.send(stream, each)
        if serial % 100 == 0:
            driven.check()
    driven.check()
    counts = driven.pipeline.ledger[driven.case.stream].counts()
    print(f'{name}: {counts}')
    assert counts.used > COUNT / 10


def test_any_static_transforms_give_poses_or_are_ignored_by_name() -> None:
    config, _ = parameters.from_dict(LIDAR | {'lidar.extrinsics': [], 'lidar.voxel.channels': ['count']})
    used = 0
    for serial in range(COUNT):
        each = fuzzed('TFMessage', serial)
        tree = StaticTransforms()
        tree.take(each.message)
        bench = make(config, lambda pipeline, tree=tree: BagPoses(TransformBuffer(tree)))
        for at, frame in enumerate(readings.FRAMES):
            bench.put('lidar', cloud(100 * at, frame))
            bench.work()
        counts = bench.runtime.pipeline.ledger['lidar'].counts()
        assert counts.dropped.keys() <= each.reasons, (serial, each.done, counts, bench.log.lines)
        assert bench.runtime.metrics.failures == 0, bench.log.lines
        assert_adds_up(bench.runtime)
        lines = [*tree.ignored.values(), *bench.log.of('warning')]
        assert all(map(is_line, lines)), (serial, each.done, lines)
        assert all(tensor.isfinite().all() for frame in bench.frames for tensor in frame.tensors.values())
        used += counts.used
    print(f'static transforms: {used} of {4 * COUNT} clouds used')
    assert used > COUNT
