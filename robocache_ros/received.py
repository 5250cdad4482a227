# SPDX-License-Identifier: Apache-2.0
"""A message as it came with the time of its arrival, and the stamp that counts of them."""

from __future__ import annotations

from typing import NamedTuple

from robocache_core.config import StreamConfig
from robocache_core.samples import EncodedImage
from robocache_core.streams.message_vector import ODOMETRY
from robocache_ros.message import Message


class Received(NamedTuple):
    """A message, and when it arrived: in ROS time, ns; of a bag, when it was recorded.

    ``image``: of a compressed image that was opened when it arrived, what it holds.
    """

    message: Message
    arrived_ns: int
    image: EncodedImage | None = None

    def stamp_ns(self, stream: StreamConfig) -> int | None:
        """Return the stamp of a message of ``stream``, its offset added, ns; None where it is too short to have one."""
        stamp_ns = self.arrived_ns if stream.stamped_by_arrival else self.message.stamp_ns()
        return None if stamp_ns is None else stream.corrected_ns(stamp_ns)

    def frames(self, stream: StreamConfig) -> tuple[bytes, ...]:
        """Return the frames that a message of ``stream`` names in its header, and of odometry behind it.

        Empty of one that is stamped by arrival, which may have no header, and of one that is too short.
        """
        if stream.stamped_by_arrival:
            return ()
        return self.message.frames(2 if stream.message_type == ODOMETRY else 1)
