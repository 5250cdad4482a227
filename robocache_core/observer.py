# SPDX-License-Identifier: Apache-2.0
"""What a pipeline says of its decisions while it makes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from robocache_core.frame import FusedFrame
from robocache_core.target import Target

if TYPE_CHECKING:
    from robocache_core.streams.placed_cloud import PlacedCloud


class Observer:
    """Is called at each decision, on the thread that makes it, and ignores it; one that does more must not raise."""

    def began_epoch(self, epoch: int, stamp_ns: int) -> None:
        """Take note that time jumped, and now goes on from ``stamp_ns``."""

    def ready(self, target: Target) -> None:
        """Take note that ``target`` has what it takes: its picks are final. It is not to be kept: it holds samples."""

    def used(self, frame: FusedFrame, scans: Mapping[str, PlacedCloud]) -> None:
        """Take note that the target of ``frame`` became this frame, and of the scans in it by lidar; keep neither."""

    def dropped(self, stamp_ns: int, reason: str) -> None:
        """Take note that the target at ``stamp_ns`` was dropped, ready or not."""
