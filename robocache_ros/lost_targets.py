# SPDX-License-Identifier: Apache-2.0
"""Sentences on what a recording lost: targets, messages of the trigger; and on targets that did not wait."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from robocache_core.ledger import Reason
from robocache_core.pipeline import Pipeline
from robocache_ros.period import listed, span

#: Share of the targets that may be lost, or not wait, without a sentence: the first windows of a bag are not full.
TOLERATED = 0.05


def describe_lost(num_targets: int, dropped: dict[str, int]) -> str:
    """Say how many targets became no frame, by reason; empty where they are few.

    Args:
        num_targets: all targets.
        dropped: targets that were dropped, by reason.
    """
    count = sum(dropped.values())
    return f'{count} of {num_targets} targets were lost: {listed(dropped)}' if _are_lost(count, num_targets) else ''


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
    return lost if _are_lost(count, num_messages) else ''


def describe_slow(pipeline: Pipeline, given_up: Mapping[str, int]) -> dict[str, str]:
    """Say by stream that targets do not wait for it because its samples are too far apart, and what to set.

    Args:
        pipeline: takes the streams, or has taken them.
        given_up: targets that did not wait for a stream, by stream.
    """
    max_wait_ns = pipeline.config.sync.max_wait_ns
    slow = {
        name: period_ns
        for name in pipeline.clocks.alive()
        if given_up.get(name) and (period_ns := pipeline.clocks.period_ns(name)) >= max_wait_ns
    }
    return {
        name: f'{name} comes every {span(period_ns)}, and sync.max_wait is {span(max_wait_ns)}: targets take what has '
        f'come of it and do not wait for its next message; to wait, set sync.max_wait above {span(period_ns)}'
        for name, period_ns in slow.items()
    }


def describe_not_waited(num_targets: int, given_up: Mapping[str, int], slow: Collection[str]) -> str:
    """Say how many targets did not wait for a stream, by stream; empty where they are few.

    Args:
        num_targets: all targets.
        given_up: targets that did not wait for a stream, by stream.
        slow: streams that are too slow to be waited for, of which something else is said.
    """
    often = {name: count for name, count in given_up.items() if _are_lost(count, num_targets) and name not in slow}
    return f'of {num_targets} targets that did not wait: {listed(often)}' if often else ''


def describe_missing(name: str, num_received: int, num_missing: int, several: str = '') -> str:
    """Say how many messages of a stream never reached the recorder, as its stamps show; empty where they are few.

    The stamps of several publishers look like it, too.

    Args:
        name: the stream.
        num_received: its messages.
        num_missing: those that are missing between them.
        several: that its topic has several publishers, and what to do; empty where it has one.
    """
    lost = f'{num_missing} of {num_received + num_missing} messages of {name} were not recorded, as its stamps show'
    lost += f'; but {several}' if several else ''
    return lost if are_many(num_missing, num_received + num_missing) else ''


def _are_lost(count: int, num_targets: int) -> bool:
    """Whether so many are lost, and more than the one at the begin of a bag of few, of which the window is not full."""
    return are_many(count, num_targets) and (count > 1 or num_targets == 1)


def are_many(count: int, num_targets: int) -> bool:
    """Whether so many of the targets are worth a sentence."""
    return count > TOLERATED * num_targets
