# SPDX-License-Identifier: Apache-2.0
"""The whole robot, of which two lidars and a camera have their data on a GPU, by a stand-in of ROS 2 Lyrical."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from support import cuda_buffers, whole_robot
from support.driving import Robot, assert_ledger

from robocache_core import payload
from robocache_core.ledger import Counts
from robocache_core.pipeline import Pipeline
from robocache_core.samples import Sample
from robocache_ros.message_data import view_bytes

#: Digests of the frames, and what became of the messages, by stream.
Outcome = tuple[list[str], dict[str, Counts]]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda_buffers.install(monkeypatch)


@pytest.fixture(scope='module')
def expected() -> Outcome:
    """What comes of the robot where all of its data are on the host, and so does the CPU compute."""
    pipeline = Pipeline(whole_robot.config())
    digests = [payload.digest(frame) for frame in whole_robot.frames(pipeline)]
    assert len(digests) == 10
    return digests, counts_of(pipeline)


def counts_of(pipeline: Pipeline) -> dict[str, Counts]:
    assert_ledger(pipeline)
    return {name: account.counts() for name, account in pipeline.ledger.items()}


class Lent:
    """The whole robot, with what its drivers have left on a GPU.

    Attributes:
        buffers: by stream, in the order in which they came.
    """

    def __init__(self, device: str = 'cpu') -> None:
        self._device = device
        self.buffers: dict[str, list[cuda_buffers.Buffer]] = {'top': [], 'rear': [], 'front': []}
        made = {'top': whole_robot.scan, 'rear': whole_robot.scan, 'front': whole_robot.image}
        rest = {'back': whole_robot.compressed, 'imu': whole_robot.reading}
        self.samples = Robot(**{name: self._lending(name, make) for name, make in made.items()}, **rest)

    def _lending(self, name: str, make: Callable[..., Sample]) -> Callable[..., Sample]:
        def lend(stamp_ns: int, *args: object) -> Sample:
            sample = make(stamp_ns, *args)
            self.buffers[name].append(cuda_buffers.filled(sample.data.numpy(), self._device))
            return dataclasses.replace(sample, data=view_bytes(self.buffers[name][-1]))

        return lend

    @property
    def all(self) -> list[cuda_buffers.Buffer]:
        return [buffer for buffers in self.buffers.values() for buffer in buffers]

    def outcome(self, pipeline: Pipeline) -> Outcome:
        """What a pipeline makes of it; the drivers take back at once what it does not read any more."""
        pipeline.set_camera_info('front', whole_robot.INFO)
        frames = []
        for event in whole_robot.events():
            self.samples.push(pipeline, *event)
            frames += pipeline.poll()
        pipeline.give_up()
        frames += pipeline.poll()
        digests = [payload.digest(frame) for frame in frames]
        for buffer in self.all:
            buffer.recycle()
        assert [payload.digest(frame) for frame in frames] == digests, 'a frame holds what was lent'
        return digests, counts_of(pipeline)


def fail_at_frame(device, number: int, then: Callable[[], None] = lambda: None):
    """Let a device fail as it waits for a frame."""
    synchronize, frames = device.synchronize, iter(range(100))

    def fail(voxels=()):
        if next(frames) == number:
            then()
            raise torch.cuda.OutOfMemoryError('out of order')
        synchronize(voxels)

    device.synchronize = fail
    return device
