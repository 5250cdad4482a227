# SPDX-License-Identifier: Apache-2.0
"""QoS of the node's topics, and the explanation of an incompatible one."""

from __future__ import annotations

from typing import Any

from rclpy.qos import (
    QoSDurabilityPolicy,
    QoSHistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    QoSReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

# What to set an overridable policy to, so that it fits: (as a subscription, as a publisher).
_REMEDY = {'RELIABILITY': ('best_effort', 'reliable'), 'DURABILITY': ('volatile', 'transient_local')}


def sensor_data(depth: int) -> QoSProfile:
    """Return the QoS of subscriptions: best effort, volatile, keep last; every publisher fits (SensorDataQoS)."""
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=QoSReliabilityPolicy.BEST_EFFORT,
        durability=QoSDurabilityPolicy.VOLATILE,
    )


def reliable(depth: int = 5) -> QoSProfile:
    """Return the QoS of publishers: reliable, volatile, keep last; a subscriber may ask for either reliability."""
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=QoSReliabilityPolicy.RELIABLE,
        durability=QoSDurabilityPolicy.VOLATILE,
    )


def overridable() -> QoSOverridingOptions:
    """Let parameters ``qos_overrides.<topic>.<publisher|subscription>.<policy>`` change the QoS of an endpoint.

    The policies are history, depth, reliability and durability; they are read when the endpoint is made.
    """
    return QoSOverridingOptions(
        (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)
    )


def describe_incompatible(event: Any, topic: str, profile: QoSProfile, *, publisher: bool = False) -> str:
    """Describe an incompatible-QoS event in one line: what does not fit, what follows, and the remedy.

    Args:
        event: what the event callback got; ``last_policy_kind`` and ``total_count`` are read.
        topic: resolved name of the topic.
        profile: the QoS of our endpoint.
        publisher: whether our endpoint is a publisher.
    """
    policy = qos_policy_name_from_kind(event.last_policy_kind)
    ours = getattr(profile, policy.lower(), None)
    ours = getattr(ours, 'name', ours)
    if publisher:
        what = f'a subscriber asks for more than this node offers ({policy.lower()}: {ours}) and gets nothing'
    else:
        what = f'a publisher offers less than this node asks for ({policy.lower()}: {ours}), nothing arrives from it'
    remedy = 'change the QoS of the other side'
    if policy in _REMEDY:
        kind = 'publisher' if publisher else 'subscription'
        remedy += f', or set qos_overrides.{topic}.{kind}.{policy.lower()} to {_REMEDY[policy][publisher]}'
    return f'{topic}: {what} ({event.total_count} so far); {remedy}'
