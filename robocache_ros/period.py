# SPDX-License-Identifier: Apache-2.0
"""What happened between two reports."""

from __future__ import annotations

from dataclasses import dataclass

from robocache_core.align import Jumps
from robocache_core.ledger import Counts
from robocache_core.pipeline import Pipeline
from robocache_core.units import MS, SECOND
from robocache_ros.metrics import Metrics


@dataclass(frozen=True)
class Snapshot:
    """All counters as of one instant.

    Attributes:
        streams: by stream, its messages.
        targets: all targets.
        lost: by stream, messages that were lost on the way here: those that the middleware reports, or that the stamps
            show to be missing where these are more.
        slowdowns: by stream, how often it went on at a lower rate.
        frames: frames that were published.
        failures: unforeseen exceptions.
        given_up: by stream, targets that did not wait for it.
        damaged: by stream, messages that were used though they are damaged.
        without_voxels: by stream, frames with points of it, and no voxel.
        without_depth: by stream, frames with a depth image of it in which no pixel is valid.
        left_out: by stream in a grid, frames that are without its points.
        jumps: by stream and of the ROS clock, jumps of time.
    """

    streams: dict[str, Counts]
    targets: Counts
    lost: dict[str, int]
    slowdowns: dict[str, int]
    frames: int
    failures: int
    given_up: dict[str, int]
    damaged: dict[str, int]
    without_voxels: dict[str, int]
    without_depth: dict[str, int]
    left_out: dict[str, int]
    jumps: dict[str, Jumps]

    @classmethod
    def take(cls, pipeline: Pipeline, metrics: Metrics) -> Snapshot:
        """Read the counters; the caller holds ``metrics.lock``."""
        return cls(
            streams={name: account.counts() for name, account in pipeline.ledger.items()},
            targets=pipeline.targets.counts(),
            lost={name: max(record.lost, record.gaps.missing) for name, record in metrics.inputs.items()},
            slowdowns={name: record.gaps.num_slowdowns for name, record in metrics.inputs.items()},
            frames=metrics.frames,
            failures=metrics.failures,
            given_up=pipeline.given_up.copy(),
            damaged=pipeline.damaged.copy(),
            without_voxels=pipeline.without_voxels.copy(),
            without_depth=pipeline.without_depth.counts.copy(),
            left_out=pipeline.left_out.copy(),
            jumps=pipeline.jumps.copy(),
        )


@dataclass(frozen=True)
class Period:
    """The time from one snapshot to the next, which was taken at ``now_ns`` of the steady clock."""

    before: Snapshot
    after: Snapshot
    now_ns: int

    @property
    def num_frames(self) -> int:
        """Frames that were published."""
        return self.after.frames - self.before.frames

    @property
    def num_failures(self) -> int:
        """Unforeseen exceptions."""
        return self.after.failures - self.before.failures

    @property
    def target_drops(self) -> dict[str, int]:
        """Targets that were dropped, by reason."""
        return _new_drops(self.before.targets, self.after.targets)

    @property
    def given_up(self) -> dict[str, int]:
        """Targets that did not wait for a stream, by stream."""
        before = self.before.given_up
        return {name: n - before[name] for name, n in self.after.given_up.items() if n > before[name]}

    @property
    def jumps(self) -> dict[str, Jumps]:
        """Streams whose stamps jumped, and the ROS clock."""
        return {
            name: Jumps(jumps.count - earlier, jumps.last_ns)
            for name, jumps in self.after.jumps.items()
            if jumps.count > (earlier := self.before.jumps.get(name, Jumps()).count)
        }

    def num_received(self, name: str) -> int:
        """Messages of a stream that arrived."""
        return self.after.streams[name].received - self.before.streams[name].received

    def num_used(self, name: str) -> int:
        """Messages of a stream that were used."""
        return self.after.streams[name].used - self.before.streams[name].used

    def num_lost(self, name: str) -> int:
        """Messages of a stream that were lost on the way here."""
        return self.after.lost[name] - self.before.lost[name]

    def has_slowed_down(self, name: str) -> bool:
        """Whether a stream went on at a lower rate."""
        return self.after.slowdowns[name] > self.before.slowdowns[name]

    def num_damaged(self, name: str) -> int:
        """Messages of a stream that were used though they are damaged."""
        return self.after.damaged[name] - self.before.damaged[name]

    def num_without_voxels(self, name: str) -> int:
        """Frames with points of a stream, and no voxel."""
        return self.after.without_voxels[name] - self.before.without_voxels[name]

    def num_without_depth(self, name: str) -> int:
        """Frames with a depth image of a stream in which no pixel is valid."""
        return self.after.without_depth[name] - self.before.without_depth[name]

    def num_left_out(self, name: str) -> int:
        """Frames whose grid is without the points of a stream; 0 of one that is in none."""
        return self.after.left_out.get(name, 0) - self.before.left_out.get(name, 0)

    def drops(self, name: str) -> dict[str, int]:
        """Messages of a stream that were dropped, by reason."""
        return _new_drops(self.before.streams[name], self.after.streams[name])


def listed(drops: dict[str, int]) -> str:
    """Drops in one line, the most frequent reason first."""
    return ', '.join(f'{n} {reason}' for reason, n in sorted(drops.items(), key=lambda item: -item[1]))


def span(duration_ns: int) -> str:
    """A duration in the unit in which it is read best."""
    return f'{duration_ns / SECOND:.1f} s' if duration_ns >= SECOND else f'{duration_ns / MS:.0f} ms'


def _new_drops(before: Counts, after: Counts) -> dict[str, int]:
    return {r: n - before.dropped.get(r, 0) for r, n in after.dropped.items() if n > before.dropped.get(r, 0)}
