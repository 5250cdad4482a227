# SPDX-License-Identifier: Apache-2.0
"""A serialized message with the time of its arrival, and the stamp that counts of them."""

from __future__ import annotations

from typing import NamedTuple

from robocache_core.config import StreamConfig
from robocache_ros.cdr import Raw, header_stamp_ns


class Received(NamedTuple):
    """A serialized message, and when it arrived: in ROS time, ns; of a bag, when it was recorded."""

    raw: Raw
    arrived_ns: int

    def stamp_ns(self, stream: StreamConfig) -> int | None:
        """Return the stamp of a message of ``stream``, its offset added, ns; None where it is too short to have one."""
        stamp_ns = self.arrived_ns if stream.stamped_by_arrival else header_stamp_ns(self.raw)
        return None if stamp_ns is None else stamp_ns + stream.stamp_offset_ns
