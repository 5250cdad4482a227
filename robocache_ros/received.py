# SPDX-License-Identifier: Apache-2.0
"""A message as it came with the time of its arrival, and the stamp that counts of them."""

from __future__ import annotations

from typing import Any, NamedTuple

from robocache_core.config import StreamConfig
from robocache_core.samples import EncodedImage
from robocache_core.streams.message_vector import ODOMETRY
from robocache_core.units import SECOND
from robocache_ros.cdr import Raw, header_frame, header_frames, header_stamp_ns


class Received(NamedTuple):
    """A message, and when it arrived: in ROS time, ns; of a bag, when it was recorded.

    ``message``: the message, serialized; where its data may be on a GPU an object of its class.
    ``image``: of a compressed image that was opened when it arrived, what it holds.
    """

    message: Any
    arrived_ns: int
    image: EncodedImage | None = None

    @property
    def is_serialized(self) -> bool:
        """Whether the message is bytes, not an object."""
        return isinstance(self.message, Raw)

    @property
    def nbytes(self) -> int:
        """Bytes that the message keeps: all of one that is serialized, else its data, wherever they are."""
        return len(self.message if self.is_serialized else self.message.data)

    def stamp_ns(self, stream: StreamConfig) -> int | None:
        """Return the stamp of a message of ``stream``, its offset added, ns; None where it is too short to have one."""
        stamp_ns = self.arrived_ns if stream.stamped_by_arrival else self._header_stamp_ns()
        return None if stamp_ns is None else stream.corrected_ns(stamp_ns)

    def _header_stamp_ns(self) -> int | None:
        if self.is_serialized:
            return header_stamp_ns(self.message)
        stamp = self.message.header.stamp
        return int(stamp.sec) * SECOND + int(stamp.nanosec)

    def frames(self, stream: StreamConfig) -> tuple[bytes, ...]:
        """Return the frames that a message of ``stream`` names in its header, and of odometry behind it.

        Empty of one that is stamped by arrival, which may have no header, and of one that is too short.
        """
        if stream.stamped_by_arrival:
            return ()
        if not self.is_serialized:
            return (header_frame(self.message.header.frame_id.encode()),)
        return header_frames(self.message, 2 if stream.message_type == ODOMETRY else 1)
