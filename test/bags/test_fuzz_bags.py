# SPDX-License-Identifier: Apache-2.0
"""A bag of malformed and extreme messages gives the frames, drops and explanations that they give in the node."""

from __future__ import annotations

import dataclasses
import logging
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest
from rclpy.serialization import deserialize_message, serialize_message
from support import bags
from support.driving import assert_ledger
from support.fuzz import COUNT, fuzzed, on_the_wire, readings
from support.fuzz.changes import bytes_changed
from support.fuzz.driven import CASES, LIDAR, Driven, is_line
from support.runtime import cloud

from robocache_core.frame import FusedFrame
from robocache_core.ledger import Reason
from robocache_ros import parameters
from robocache_ros.offline import fused_frames
from robocache_ros.sources import routes

pytestmark = pytest.mark.filterwarnings('error')


def content(frame: FusedFrame) -> tuple[Any, ...]:
    tensors = {name: (tensor.shape, sha256(tensor.numpy()).digest()) for name, tensor in frame.tensors.items()}
    return frame.stamp_ns, frame.epoch, frame.sequence, frame.frame_id, frame.valid, frame.age_ns, tensors


@pytest.mark.parametrize('name', CASES)
def test_a_bag_of_them_gives_the_same_frames_and_drops(name: str, tmp_path: Path) -> None:
    driven = Driven(CASES[name])
    pipeline = driven.pipeline
    by_stream = {'' if route.is_calibration else route.stream.name: route for route in routes(pipeline.config)}
    records, contents = [], []
    for serial in range(COUNT):
        messages = [(stream, each, on_the_wire(each.message)) for stream, each in driven.case.messages(serial)]
        if any(raw is None for _, _, raw in messages):
            continue
        for stream, each, raw in messages:
            route = by_stream[stream]
            records.append((route.absolute_topic, route.type_name, raw))
            received = dataclasses.replace(each, message=deserialize_message(raw, route.message))
            contents += map(content, driven.send(stream, received))
    pipeline.give_up()
    contents += map(content, pipeline.poll())
    found = fused_frames(bags.write_raw(tmp_path / 'bag', records), pipeline.config)
    assert list(map(content, found)) == contents
    assert len(contents) > COUNT / 10
    for stream, account in pipeline.ledger.items():
        assert found.pipeline.ledger[stream].counts() == account.counts()
    assert {key: each.message for key, each in found.explanations.items()} == driven.explained()


def test_any_static_transforms_of_a_bag_cost_no_more_than_their_frames(tmp_path: Path, caplog) -> None:
    """The last one of a frame that can be used holds: what all of them make is a tree, or none."""
    config, _ = parameters.from_dict(LIDAR | {'lidar.extrinsics': [], 'lidar.voxel.channels': ['count']})
    transforms = [fuzzed('TFMessage', serial).message for serial in range(COUNT)]
    clouds = [serialize_message(cloud(100 * at, frame)) for at, frame in enumerate(readings.FRAMES)]
    records = [('/tf_static', 'tf2_msgs/msg/TFMessage', raw) for raw in map(transforms_on_the_wire, transforms) if raw]
    records += [('/lidar', 'sensor_msgs/msg/PointCloud2', raw) for raw in clouds]
    with caplog.at_level(logging.WARNING):
        found = fused_frames(bags.write_raw(tmp_path / 'bag', records), config)
        frames = list(found)
    counts = found.pipeline.ledger['lidar'].counts()
    assert counts.dropped.keys() <= {'no_transform'}
    assert counts.used == len(frames) > 0
    lines = [record.getMessage() for record in caplog.records]
    assert lines
    assert all(map(is_line, lines))


def transforms_on_the_wire(message: Any) -> bytes | None:
    try:
        return bytes(bags.STORE.serialize_cdr(message, message.__msgtype__))
    except UnicodeEncodeError:
        return None


@pytest.mark.parametrize('name', CASES)
def test_bytes_that_were_changed_behind_the_sender_cost_their_message(name: str, tmp_path: Path) -> None:
    """Of half of the messages: what is no message any more is dropped, and what is another one is used or dropped."""
    case = CASES[name]
    config, _ = parameters.from_dict(case.parameters)
    by_stream = {'' if route.is_calibration else route.stream.name: route for route in routes(config)}
    records = []
    for serial in range(COUNT):
        for stream, each in case.messages(serial):
            raw, route = on_the_wire(each.message), by_stream[stream]
            if raw is not None:
                damaged = bytes_changed(Random(serial), raw) if serial % 2 else raw
                records.append((route.absolute_topic, route.type_name, damaged))
    found = fused_frames(bags.write_raw(tmp_path / 'bag', records), config)
    assert list(found)
    assert_ledger(found.pipeline)
    reasons = {reason for account in found.pipeline.ledger.values() for reason in account.counts().dropped}
    assert Reason.UNDESERIALIZABLE in reasons or name == 'calibrations'
    assert Reason.INTERNAL_ERROR not in reasons
    assert all(is_line(each.message) for each in found.explanations.values())
