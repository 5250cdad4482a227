# SPDX-License-Identifier: Apache-2.0
"""Sentences on what a whole recording lost: targets, messages of the trigger; and on targets that did not wait."""

from __future__ import annotations

from robocache_core.ledger import Reason
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


def describe_lost_triggers(name: str, num_messages: int, dropped: dict[str, int]) -> str:
    """Say how many messages of the trigger were lost, by reason; empty where they are few.

    One that was dropped by choice is no loss, and of one that was dropped with its target the target is.

    Args:
        name: the stream that is the trigger.
        num_messages: all its messages.
        dropped: those that were dropped, by reason.
    """
    own = {r: n for r, n in dropped.items() if ':' not in r and r not in (Reason.UNSELECTED, Reason.THINNED)}
    count = sum(own.values())
    lost = f'{count} of {num_messages} messages of {name}, the trigger, were lost: {listed(own)}'
    return lost if _many(count, num_messages) else ''


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
