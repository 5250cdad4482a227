# SPDX-License-Identifier: Apache-2.0
"""QoS of the node's topics, and the explanation of an incompatible one."""

from __future__ import annotations

import re
from collections.abc import Mapping
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

from robocache_core.text import shown
from robocache_core.tunable import ConfigError

#: Greatest depth of a queue of DDS.
MAX_DEPTH = 100_000

#: Values of the policies that parameters can set, beside the depth.
_CHOICES = {
    'history': ('keep_last', 'keep_all', 'system_default'),
    'reliability': ('reliable', 'best_effort', 'system_default', 'best_available'),
    'durability': ('volatile', 'transient_local', 'system_default', 'best_available'),
}

_OTHERS = {kind.name.lower() for kind in QoSPolicyKind} - _CHOICES.keys() - {'depth', 'invalid'}

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


def check_overrides(parameters: Mapping[str, Any]) -> None:
    """Check the ``qos_overrides`` among parameters: rclpy ignores a wrong name, and fails on a wrong value.

    Raises:
        ConfigError: names the parameter, its value and what is allowed.
    """
    for name, value in parameters.items():
        if not name.startswith('qos_overrides.'):
            continue
        match = re.fullmatch(r'qos_overrides\./[^.]+\.(?:publisher|subscription)(?:_\w+)?\.(\w+)', name)
        policy = match[1] if match else ''
        if policy == 'depth':
            if type(value) is not int or not 1 <= value <= MAX_DEPTH:
                raise ConfigError(f'{name} = {shown(value)}: must be an integer, 1 to {MAX_DEPTH}')
        elif policy in _OTHERS:
            continue  # of endpoints that rclpy makes itself, as in dumped parameters
        elif policy not in _CHOICES:
            raise ConfigError(
                f'{shown(name)}: must be qos_overrides.</topic>.<subscription|publisher>.<depth|{"|".join(_CHOICES)}>'
            )
        elif not isinstance(value, str) or value.lower() not in _CHOICES[policy]:
            raise ConfigError(f'{name} = {shown(value)}: must be one of {", ".join(_CHOICES[policy])}')


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
