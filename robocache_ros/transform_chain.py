# SPDX-License-Identifier: Apache-2.0
"""Poses between frames by the chains of transforms above each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from robocache_core import rotation

Matrix = npt.NDArray[np.float64]
#: By frame, ``frame_from_start [4, 4]`` of the frame at which a chain starts and of all above it, nearest first.
Chain = Mapping[str, Matrix]


def chain_above(frame: str, step: Callable[[str], tuple[str, Matrix] | None]) -> Chain:
    """Return the chain that starts at ``frame``; ``step`` gives the parent of a frame and ``parent_from_child``."""
    matrix = np.eye(4)
    chain = {frame: matrix}
    while (found := step(frame)) is not None and found[0] not in chain:  # a loop is no tree: what was reached is all
        frame, parent_from_child = found
        with np.errstate(over='ignore', invalid='ignore'):  # what is beyond a double is beyond every robot
            matrix = parent_from_child @ matrix
        chain[frame] = matrix
    return chain


def common_frame(first: Chain, second: Chain) -> str | None:
    """Return the nearest frame that is in both chains; None where none is."""
    return next((name for name in first if name in second), None)


def pose_by(common: str, from_frame: Chain, from_target: Chain) -> tuple[float, ...]:
    """Return the pose of a frame in a target frame, x y z qx qy qz qw, by a frame that is in the chains of both."""
    with np.errstate(over='ignore', invalid='ignore'):
        matrix = np.linalg.inv(from_target[common]) @ from_frame[common]
    return (*(float(v) for v in matrix[:3, 3]), *rotation.quaternion(matrix[:3, :3]).tolist())
