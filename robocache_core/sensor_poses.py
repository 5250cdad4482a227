# SPDX-License-Identifier: Apache-2.0
"""The poses of the sensors in the target frame, as far as they are known."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch

from robocache_core.ledger import Reason
from robocache_core.ops.points import check_transform
from robocache_core.rotation import pose_matrix
from robocache_core.samples import DataError
from robocache_core.text import shown
from robocache_core.validation import check_kind

if TYPE_CHECKING:
    from robocache_core.streams.base import StreamConfig

#: Most sensor frames of a stream whose poses are kept: a sender can write any name.
MAX_FRAMES = 64


class SensorPoses:
    """By stream and sensor frame, poses ``[4, 4] float32``; one that a parameter states is that of every frame."""

    def __init__(self) -> None:
        self._poses: dict[str, dict[str, torch.Tensor]] = {}

    def set(self, stream: str, frame_id: str, pose: torch.Tensor) -> None:
        """Keep the pose of a sensor frame.

        Raises:
            DataError: ``no_transform``: the stream has come in too many frames.
            TypeError, ValueError: ``pose`` is none.
        """
        check_kind('pose', pose, torch.Tensor)
        poses = self._poses.setdefault(stream, {})
        if len(poses) == MAX_FRAMES and frame_id not in poses:
            raise DataError(
                Reason.NO_TRANSFORM, f'frame {shown(frame_id)}: {stream} has come in {MAX_FRAMES} other frames already'
            )
        poses[frame_id] = check_transform(pose.to(torch.float32), 'pose')

    def get(self, stream: StreamConfig, frame_id: str) -> torch.Tensor | None:
        """Return the pose of a sensor frame; None: it is not known, or is the target frame."""
        if stream.known_pose:
            return _stated(stream.known_pose)
        return self.found(stream.name, frame_id)

    def found(self, stream: str, frame_id: str) -> torch.Tensor | None:
        """Return the pose of a sensor frame that was set; None: none was."""
        return self._poses.get(stream, {}).get(frame_id)


def unknown_pose(stream: str, frame_id: str, target_frame: str) -> DataError:
    """Return why a sample of a stream cannot be brought into the target frame, and the remedy."""
    pose = f"the pose of frame {shown(frame_id)} in target_frame '{target_frame}'"
    remedy = f'state it by set_pose, or set {stream}.extrinsics'
    return DataError(Reason.NO_TRANSFORM, f'{pose} is not known; {remedy}')


@functools.lru_cache(maxsize=64)
def _stated(pose: tuple[float, ...]) -> torch.Tensor:
    return pose_matrix(pose)
