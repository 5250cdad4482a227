# SPDX-License-Identifier: Apache-2.0
"""A clock that is off by a constant, which ``stamp_offset`` takes away: the same bits as with a clock that is right."""

import dataclasses

import numpy as np
import pytest
import torch
from support import driving
from support.driving import T0, Robot, assert_ledger, image

from robocache_core import payload
from robocache_core.config import CameraConfig, DeskewConfig, PipelineConfig
from robocache_core.pipeline import Pipeline
from robocache_core.samples import CloudLayout, DataError, LidarScan, PointField, VectorSample, restamped
from robocache_core.units import MS, SECOND

IDENTITY = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
#: Time fields of a point: NumPy type, unit in ns, and whether times are absolute.
TIMES = {
    'since the stamp': ('uint32', 'ns', 1, 'start'),
    'absolute in ns': ('float64', 'ns', 1, 'absolute'),
    'absolute in s': ('float64', 's', SECOND, 'absolute'),
}


def config(times, **offsets_ns):
    _, unit, _, reference = TIMES[times]
    deskew = DeskewConfig(source='imu', time_field='t', time_unit=unit, time_reference=reference)
    streams = {
        'lidar': driving.lidar(deskew=deskew),
        'imu': dataclasses.replace(driving.IMU, extrinsics=IDENTITY),
        'front': CameraConfig('front', width=4, height=2),
    }
    streams |= {name: dataclasses.replace(streams[name], stamp_offset_ns=ns) for name, ns in offsets_ns.items()}
    return PipelineConfig(lidars=(streams['lidar'],), imus=(streams['imu'],), cameras=(streams['front'],))


def robot(times, **clocks_ns):
    """A robot that turns by 90 degrees in 100 ms, by clocks that are ahead by so much."""
    dtype, _, unit_ns, reference = TIMES[times]

    def scan(ns):
        stamp_ns = ns + clocks_ns.get('lidar', 0)
        points = np.zeros(40, [('xyz', '<f4', 3), ('t', np.dtype(dtype).newbyteorder('<'))])
        points['xyz'] = (2.5, 0.5, 0.5)
        points['t'] = (np.linspace(0, 99 * MS, 40) + (stamp_ns if reference == 'absolute' else 0)) / unit_ns
        fields = *(PointField(axis, 4 * i, 'float32') for i, axis in enumerate('xyz')), PointField('t', 12, dtype)
        layout = CloudLayout(fields, 40, 1, points.itemsize, 40 * points.itemsize)
        return LidarScan(stamp_ns, 'lidar', torch.from_numpy(points.view(np.uint8)), layout)

    def reading(ns):
        values = torch.tensor([0.0, 0.0, 10 * np.pi / 2, 0.0, 0.0, (ns - T0) / SECOND])
        return VectorSample(ns + clocks_ns.get('imu', 0), 'imu', values)

    return Robot(lidar=scan, imu=reading, front=lambda ns: image(ns + clocks_ns.get('front', 0)))


EVENTS = sorted(
    [*(('imu', ms) for ms in range(0, 700, 5)), *(('front', ms) for ms in range(0, 700, 50)),
     *(('lidar', ms) for ms in range(100, 600, 100))],
    key=lambda event: event[1],
)  # fmt: skip


def digests(times, clocks_ns, offsets_ns):
    pipeline = Pipeline(config(times, **offsets_ns))
    frames = robot(times, **clocks_ns).feed(pipeline, *EVENTS)
    assert_ledger(pipeline)
    assert {tuple(frame.stamp_offset_ns.items()) for frame in frames} == {tuple(offsets_ns.items())}
    assert all(payload.decode(payload.encode(frame)).stamp_offset_ns == offsets_ns for frame in frames)
    return [payload.digest(dataclasses.replace(frame, stamp_offset_ns={})) for frame in frames]


@pytest.mark.parametrize('times', TIMES)
@pytest.mark.parametrize('name', ['lidar', 'imu', 'front'])
@pytest.mark.parametrize('ahead_s', [37, -18, 3600.0])
def test_an_offset_takes_a_clock_that_is_off_away(times, name, ahead_s):
    ahead_ns = round(ahead_s * SECOND)
    if ahead_s > 0 and times == 'absolute in ns' and name == 'lidar':
        assert ahead_ns % 256 == 0  # what a float64 holds of a time in ns
    right = digests(times, {}, {})
    assert len(right) == 5
    assert digests(times, {name: ahead_ns}, {name: -ahead_ns}) == right


def test_what_an_offset_leaves_without_a_time_is_dropped_by_name():
    pipeline = Pipeline(config('since the stamp', lidar=-2 * 10**18))
    refused = []
    pipeline.on_refused = lambda *args: refused.append(args)
    robot('since the stamp').feed(pipeline, ('imu', 0), ('lidar', 0), ('front', 0))
    assert pipeline.ledger['lidar'].counts().dropped == {'bad_stamp': 1}
    assert 'the stamp 1000.000000000 s would become -1999999000.000000000 s' in refused[0][2]
    assert_ledger(pipeline)


@pytest.mark.parametrize('stamp_ns', [0, -1, 2**31 * SECOND])
def test_a_stamp_that_no_header_can_have_is_refused(stamp_ns):
    with pytest.raises(DataError, match='correct stamp_offset') as refusal:
        restamped(VectorSample(T0, 'imu', torch.zeros(6)), stamp_ns)
    assert refusal.value.reason == 'bad_stamp'
