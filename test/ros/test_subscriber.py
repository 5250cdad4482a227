# SPDX-License-Identifier: Apache-2.0
"""FusedSubscriber behind a real publisher, and what it counts."""

from __future__ import annotations

import array
import dataclasses
import json
import time

import numpy as np
import pytest
import rclpy
import torch
from rclpy.serialization import deserialize_message
from std_msgs.msg import UInt8MultiArray

from robocache_core.frame import FusedFrame
from robocache_ros import encode, qos
from robocache_ros.subscriber import FusedSubscriber

GIVE_UP_S = 20.0
FRAME = FusedFrame(
    stamp_ns=1_700_000_000_000_000_001,
    epoch=0,
    sequence=0,
    frame_id='base_link',
    tensors={'imu': torch.arange(12.0).reshape(2, 6), 'front': torch.ones(3, 4, 5, dtype=torch.bfloat16)},
    valid={'imu': True, 'front': True},
    age_ns={'imu': 0, 'front': 5},
)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    rclpy.init(domain_id=62)
    node = rclpy.create_node('consumer')
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


def spin_until(node, done) -> None:
    give_up = time.monotonic() + GIVE_UP_S
    while not done():
        assert time.monotonic() < give_up, 'nothing came'
        rclpy.spin_once(node, timeout_sec=0.1)


def message(sequence: int) -> UInt8MultiArray:
    raw = bytes(encode.encode_fused(dataclasses.replace(FRAME, sequence=sequence)))
    return deserialize_message(raw, UInt8MultiArray)


def test_frames_arrive_as_they_were_sent(node) -> None:
    frames: list[FusedFrame] = []
    subscriber = FusedSubscriber(node, frames.append)
    publisher = node.create_publisher(UInt8MultiArray, '/preprocess/fused', qos.reliable())
    spin_until(node, lambda: publisher.get_subscription_count() == 1)
    for sequence in range(3):
        publisher.publish(message(sequence))
    spin_until(node, lambda: len(frames) == 3)
    assert [frame.sequence for frame in frames] == [0, 1, 2]
    for name, tensor in FRAME.tensors.items():
        assert torch.equal(frames[2].tensors[name], tensor)
        assert frames[2].tensors[name].dtype == tensor.dtype
    assert (frames[0].stamp_ns, frames[0].valid, frames[0].age_ns) == (FRAME.stamp_ns, FRAME.valid, FRAME.age_ns)
    assert (subscriber.received, subscriber.missed, subscriber.bad_payloads) == (3, 0, 0)


def test_the_node_keeps_the_subscription(node) -> None:
    frames: list[FusedFrame] = []
    FusedSubscriber(node, frames.append, '/elsewhere', 2)
    publisher = node.create_publisher(UInt8MultiArray, '/elsewhere', qos.reliable())
    spin_until(node, lambda: publisher.get_subscription_count() == 1)
    publisher.publish(message(0))
    spin_until(node, lambda: frames)


def test_destroy_ends_the_subscription(node) -> None:
    subscriber = FusedSubscriber(node, print)
    assert [s.topic_name for s in node.subscriptions].count('/preprocess/fused') == 1
    subscriber.destroy()
    assert [s.topic_name for s in node.subscriptions].count('/preprocess/fused') == 0


def test_tensors_view_the_message(node) -> None:
    frames: list[FusedFrame] = []
    subscriber = FusedSubscriber(node, frames.append)
    msg = message(0)
    subscriber._on_message(msg)
    start = np.frombuffer(msg.data, np.uint8).ctypes.data
    for tensor in frames[0].tensors.values():
        assert start < tensor.data_ptr() < start + len(msg.data)


def test_bad_payloads_are_counted_and_logged(node, capfd: pytest.CaptureFixture) -> None:
    frames: list[FusedFrame] = []
    subscriber = FusedSubscriber(node, frames.append)
    for data in (b'', b'garbage', message(0).data.tobytes()[:-1]):
        subscriber._on_message(UInt8MultiArray(data=array.array('B', data)))
    subscriber._on_message(message(0))
    assert (subscriber.received, subscriber.bad_payloads, len(frames)) == (1, 3, 1)
    log = capfd.readouterr().err
    assert '/preprocess/fused: not a fused frame: 0 bytes (1 so far)' in log


def payload_of(name: str) -> bytes:
    """A payload with a tensor of this name, of a type that does not exist."""
    header = json.dumps({'__metadata__': {}, name: {'dtype': 'F99', 'shape': [1], 'data_offsets': [0, 4]}}).encode()
    return len(header).to_bytes(8, 'little') + header + bytes(4)


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('a\udc80', r"tensor 'a\udc80': dtype 'F99' (1 so far)"),
        ('\x1b[2J', r"tensor '\x1b[2J': dtype 'F99' (1 so far)"),
        ('x\n[ERROR] forged', r"tensor 'x\n[ERROR] forged': dtype 'F99' (1 so far)"),
        ('n' * 1_000_000, "n… (1000000 characters): dtype 'F99' (1 so far)"),
    ],
)
def test_what_a_stranger_named_a_tensor_is_logged_escaped_and_cut(node, capfd, name: str, text: str) -> None:
    frames: list[FusedFrame] = []
    subscriber = FusedSubscriber(node, frames.append)
    subscriber._on_message(UInt8MultiArray(data=array.array('B', payload_of(name))))
    log = capfd.readouterr().err
    assert text in log
    assert len(log) < 500
    subscriber._on_message(message(0))
    assert len(frames) == 1


def test_frames_lost_on_the_way_are_counted(node) -> None:
    subscriber = FusedSubscriber(node, lambda frame: None)
    for sequence in (5, 6, 9, 10, 0, 1, 3):  # two lost; the pipeline is started again; one lost
        subscriber._on_message(message(sequence))
    assert (subscriber.received, subscriber.missed) == (7, 3)


def test_an_exception_of_the_callback_is_the_callers(node) -> None:
    def fail(frame: FusedFrame) -> None:
        raise RuntimeError('in the callback')

    with pytest.raises(RuntimeError, match='in the callback'):
        FusedSubscriber(node, fail)._on_message(message(0))
