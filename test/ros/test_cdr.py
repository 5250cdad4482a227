# SPDX-License-Identifier: Apache-2.0
"""Serialized messages, read in place: rclpy, which copies them, finds the same in them, and refuses the same."""

from random import Random

import numpy as np
import pytest
from geometry_msgs.msg import Point32, Polygon, PolygonStamped
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import (
    CameraInfo,
    CompressedImage,
    Image,
    Imu,
    JointState,
    Joy,
    LaserEcho,
    LaserScan,
    MultiEchoLaserScan,
    NavSatFix,
    PointCloud2,
)
from support import bags
from support.fuzz import COUNT, fuzzed, on_the_wire
from support.fuzz.changes import bytes_changed
from support.runtime import cloud, header, imu

from robocache_core.tunable import ConfigError
from robocache_ros.cdr import deserialize, header_stamp_ns

SCAN = LaserScan(header=header(0), ranges=[1.0, 2.5], intensities=[3.0])


def are_equal(found, rclpys):
    if hasattr(rclpys, 'get_fields_and_field_types'):
        return all(are_equal(getattr(found, name), getattr(rclpys, name)) for name in vars(found))
    if isinstance(found, list):
        return len(found) == len(rclpys) and all(map(are_equal, found, rclpys))
    if isinstance(found, np.ndarray):
        return np.asarray(rclpys, found.dtype).tobytes() == found.tobytes()
    return type(found) is type(rclpys) and (found == rclpys or found != found)


def read(raw, kind):
    try:
        return deserialize(raw, kind)
    except ValueError:
        return None


def read_by_rclpy(raw, kind):
    try:
        return deserialize_message(raw, kind)
    except Exception:  # rclpy has no public name for what rmw raises
        return None


def test_structures_of_numbers_are_a_view_and_read_by_name_as_rclpy_reads_them():
    points = [Point32(x=float(i), y=-0.5 * i, z=1e-3 * i) for i in range(5)]
    raw = serialize_message(PolygonStamped(header=header(0), polygon=Polygon(points=points)))
    found = deserialize(raw, PolygonStamped).polygon.points
    assert isinstance(found, np.recarray)
    assert np.shares_memory(found, np.frombuffer(raw, np.uint8))
    assert [(p.x, p.y, p.z) for p in found] == [(p.x, p.y, p.z) for p in points]
    assert len(deserialize(serialize_message(PolygonStamped()), PolygonStamped).polygon.points) == 0
    for size in range(len(raw)):
        assert read(raw[:size], PolygonStamped) is None, size


def test_structures_that_hold_arrays_are_read_one_by_one():
    scan = deserialize(serialize_message(MultiEchoLaserScan(ranges=[LaserEcho(echoes=[1.0, 2.0])])), MultiEchoLaserScan)
    assert [each.echoes.tolist() for each in scan.ranges] == [[1.0, 2.0]]


@pytest.mark.parametrize(
    'kind', [PointCloud2, LaserScan, Image, CompressedImage, Imu, CameraInfo, JointState, NavSatFix, Joy]
)
def test_rclpy_finds_the_same_in_every_message_whole_and_damaged(kind):
    refused = 0
    for serial in range(COUNT):
        whole = on_the_wire(fuzzed(kind.__name__, serial).message)
        for raw in () if whole is None else (whole, bytes_changed(Random(serial), whole)):
            found, rclpys = read(raw, kind), read_by_rclpy(raw, kind)
            assert (found is None) == (rclpys is None)
            assert found is None or are_equal(found, rclpys)
            assert found is not None or raw is not whole
            refused += found is None
    assert refused


@pytest.mark.parametrize('message', [cloud(0), SCAN, imu(0), CameraInfo(d=[0.5] * 5)], ids=lambda m: type(m).__name__)
def test_every_cut_is_refused(message):
    raw = serialize_message(message)
    for size in range(len(raw)):
        with pytest.raises(ValueError, match=r'^they [ -~]+$'):
            deserialize(raw[:size], type(message))


def test_the_bytes_of_a_message_are_not_copied():
    raw = serialize_message(cloud(0))
    assert np.shares_memory(deserialize(raw, PointCloud2).data, np.frombuffer(raw, np.uint8))


@pytest.mark.parametrize('little_endian', [True, False])
def test_either_order_of_bytes_is_read(little_endian):
    here = bags.STORE.deserialize_cdr(serialize_message(SCAN), 'sensor_msgs/msg/LaserScan')
    raw = bytes(bags.STORE.serialize_cdr(here, 'sensor_msgs/msg/LaserScan', little_endian=little_endian))
    found = deserialize(raw, LaserScan)
    assert (found.ranges.tolist(), found.intensities.tolist()) == ([1.0, 2.5], [3.0])
    assert header_stamp_ns(raw) == found.header.stamp.sec * 10**9 + found.header.stamp.nanosec


@pytest.mark.parametrize('size', [0, 4, 15])
def test_what_is_too_short_for_a_header_has_no_stamp(size):
    assert header_stamp_ns(serialize_message(imu(0))[:size]) is None


def test_a_type_that_cannot_be_read_is_named():
    class Wide:
        @classmethod
        def get_fields_and_field_types(cls):
            return {'text': 'sequence<wstring>'}

    with pytest.raises(ConfigError, match='Wide has a member of type wstring, which cannot be read'):
        deserialize(serialize_message(imu(0)), Wide)


def test_a_member_without_members_takes_a_byte():
    class Twice:
        @classmethod
        def get_fields_and_field_types(cls):
            return {'first': 'std_msgs/Empty', 'second': 'uint8', 'bounded': 'sequence<uint8, 4>', 'text': 'string<5>'}

    found = deserialize(b'\0\1\0\0\7\x08\0\0\2\0\0\0\x09\x0a\0\0\2\0\0\0a\0', Twice)
    assert (found.second, found.bounded.tolist(), found.text) == (8, [9, 10], 'a')
