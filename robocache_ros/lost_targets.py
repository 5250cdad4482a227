# SPDX-License-Identifier: Apache-2.0
"""Sentences on targets that were lost, and on those that did not wait, of a whole recording."""

from __future__ import annotations

from robocache_ros.period import listed

#: Share of the targets that may be lost, or not wait, without a sentence: the first windows of a bag are not full.
TOLERATED = 0.05


def describe_lost(num_targets: int, dropped: dict[str, int]) -> str:
    """Say how many targets became no frame, by reason; empty where they are few.

    Args:
        num_targets: all targets.
        dropped: targets that were dropped, by reason.
    """
    count = sum(dropped.values())
    return f'{count} of {num_targets} targets were lost: {listed(dropped)}' if _many(count, num_targets) else ''


def describe_not_waited(num_targets: int, given_up: dict[str, int]) -> str:
    """Say how many targets did not wait for a stream, by stream; empty where they are few.

    Args:
        num_targets: all targets.
        given_up: targets that did not wait for a stream, by stream.
    """
    often = {name: count for name, count in given_up.items() if _many(count, num_targets)}
    return f'of {num_targets} targets that did not wait: {listed(often)}' if often else ''


def _many(count: int, num_targets: int) -> bool:
    return count > TOLERATED * num_targets
