# SPDX-License-Identifier: Apache-2.0
"""QoS profiles, their overrides by parameter, and incompatible QoS in words: with real endpoints."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import rclpy
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.parameter import Parameter
from rclpy.qos import (
    QoSCompatibility,
    QoSDurabilityPolicy,
    QoSHistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    QoSReliabilityPolicy,
    qos_check_compatible,
)
from std_msgs.msg import Empty

from robocache_core.tunable import ConfigError
from robocache_ros import qos

GIVE_UP_S = 20.0


@pytest.fixture
def make_node(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    rclpy.init(domain_id=61)
    nodes = []

    def make(**overrides: object):
        given = [Parameter(name, value=value) for name, value in overrides.items()]
        nodes.append(rclpy.create_node('preprocess', parameter_overrides=given))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()


def spin_until(node, done) -> None:
    give_up = time.monotonic() + GIVE_UP_S
    while not done():
        assert time.monotonic() < give_up, 'nothing came'
        rclpy.spin_once(node, timeout_sec=0.1)


def test_inputs_take_what_any_publisher_offers() -> None:
    profile = qos.sensor_data(7)
    assert (profile.history, profile.depth) == (QoSHistoryPolicy.KEEP_LAST, 7)
    for reliability in (QoSReliabilityPolicy.RELIABLE, QoSReliabilityPolicy.BEST_EFFORT):
        for durability in (QoSDurabilityPolicy.VOLATILE, QoSDurabilityPolicy.TRANSIENT_LOCAL):
            offered = QoSProfile(depth=1, reliability=reliability, durability=durability)
            assert qos_check_compatible(offered, profile)[0] != QoSCompatibility.ERROR


def test_outputs_serve_either_reliability() -> None:
    profile = qos.reliable()
    assert (profile.history, profile.depth) == (QoSHistoryPolicy.KEEP_LAST, 5)
    for asked in (qos.reliable(), qos.sensor_data(5)):
        assert qos_check_compatible(profile, asked)[0] != QoSCompatibility.ERROR
    assert qos_check_compatible(qos.sensor_data(5), profile)[0] == QoSCompatibility.ERROR  # the check can fail


def test_every_policy_of_ours_can_be_overridden(make_node) -> None:
    prefix = 'qos_overrides./points.subscription.'
    policies = {'depth': 3, 'reliability': 'reliable', 'durability': 'transient_local'}
    node = make_node(**{f'{prefix}{policy}': value for policy, value in policies.items()})
    profile = qos.sensor_data(7)
    node.create_subscription(Empty, '/points', lambda _: None, profile, qos_overriding_options=qos.overridable())
    assert profile.depth == 3
    assert profile.reliability == QoSReliabilityPolicy.RELIABLE
    assert profile.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL


def test_an_incompatible_publisher_is_described(make_node) -> None:
    node = make_node(**{'qos_overrides./points.subscription.reliability': 'reliable'})
    profile = qos.sensor_data(5)
    texts: list[str] = []
    events = SubscriptionEventCallbacks(
        incompatible_qos=lambda event: texts.append(qos.describe_incompatible(event, '/points', profile))
    )
    node.create_subscription(
        Empty, '/points', lambda _: None, profile, event_callbacks=events, qos_overriding_options=qos.overridable()
    )
    node.create_publisher(Empty, '/points', qos.sensor_data(5))
    spin_until(node, lambda: texts)
    assert texts[0] == (
        '/points: a publisher offers less than this node asks for (reliability: RELIABLE), nothing arrives from it '
        '(1 so far); change the QoS of the other side, or set qos_overrides./points.subscription.reliability to '
        'best_effort'
    )


def test_an_incompatible_subscriber_is_described(make_node) -> None:
    node = make_node()
    profile = qos.reliable()
    texts: list[str] = []
    events = PublisherEventCallbacks(
        incompatible_qos=lambda event: texts.append(qos.describe_incompatible(event, '/fused', profile, publisher=True))
    )
    node.create_publisher(Empty, '/fused', profile, event_callbacks=events)
    asked = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    node.create_subscription(Empty, '/fused', lambda _: None, asked)
    spin_until(node, lambda: texts)
    assert texts[0].startswith('/fused: a subscriber asks for more than this node offers (durability: VOLATILE)')
    assert texts[0].endswith('qos_overrides./fused.publisher.durability to transient_local')


def test_a_policy_without_an_override_gets_no_such_advice() -> None:
    event = SimpleNamespace(last_policy_kind=QoSPolicyKind.DEADLINE, total_count=2)
    text = qos.describe_incompatible(event, '/points', qos.sensor_data(5))
    assert 'deadline' in text
    assert 'qos_overrides' not in text


@pytest.mark.parametrize(
    ('name', 'value', 'text'),
    [
        ('/imu.subscription.reliabilty', 'reliable', '<depth|history|reliability|durability>'),
        ('/imu.subscriptions.reliability', 'reliable', '<subscription|publisher>'),
        ('imu.subscription.reliability', 'reliable', '</topic>'),
        ('/imu.reliability', 'reliable', '</topic>'),
        ('/imu.subscription.reliability', 'relaible', 'must be one of reliable, best_effort'),
        ('/imu.subscription.reliability', 1, '= 1: must be one of reliable, best_effort'),
        ('/imu.subscription.history', 'last', 'must be one of keep_last'),
        ('/imu.subscription.durability', '', 'must be one of volatile'),
        ('/imu.subscription.depth', 'ten', "= 'ten': must be an integer"),
        ('/imu.subscription.depth', -1, '= -1: must be an integer, 1 to 100000'),
        ('/imu.subscription.depth', 0, '= 0: must be an integer, 1 to 100000'),
        ('/imu.subscription.depth', 2**40, 'must be an integer, 1 to 100000'),
        ('/imu.subscription.depth', True, 'must be an integer'),
    ],
)
def test_an_override_that_rclpy_would_ignore_or_fail_on(name, value, text):
    with pytest.raises(ConfigError, match='qos_overrides') as caught:
        qos.check_overrides({'sync.max_wait': 0.1, f'qos_overrides.{name}': value})
    assert text in str(caught.value)


def test_overrides_that_are_good():
    good = {'subscription.reliability': 'RELIABLE', 'publisher.depth': 7, 'subscription.history': 'keep_all'}
    qos.check_overrides({f'qos_overrides./preprocess/fused.{name}': value for name, value in good.items()})
