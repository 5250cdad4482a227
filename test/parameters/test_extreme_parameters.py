# SPDX-License-Identifier: Apache-2.0
"""Every parameter at its extremes: refused by name, or accepted and then good for frames."""

from __future__ import annotations

import math

import pytest
from support.runtime import Bench, assert_adds_up, cloud, image, imu, make

from robocache_core.config import CameraConfig, ImuConfig, LidarConfig, MessageVectorConfig, PipelineConfig
from robocache_core.tunable import ConfigError
from robocache_ros import parameters
from robocache_ros.parameter_spec import Spec, tunables

BASE = {
    'lidars': ['lidar'],
    'cameras': ['front'],
    'imus': ['imu'],
    'vectors': ['state'],
    'target_frame': 'base_link',
    'lidar.topic': '/lidar',
    'lidar.voxel.channels': ['count', 'mean:z'],
    'lidar.voxel.size': [4.0, 4.0, 4.0],
    'lidar.extrinsics': [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
    'front.width': 8,
    'front.height': 6,
    'front.required': False,
    'imu.required': False,
    'imu.extrinsics': [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
    'state.message': 'sensor_msgs/msg/Imu',
    'state.fields': ['orientation.w', 'angular_velocity.x'],
    'state.interpolation': 'nearest',
    'state.required': False,
    'compute.device': 'cpu',
}
DESKEWED = BASE | {'lidar.deskew.source': 'imu'}
NUMBERS = [0.0, -0.0, 1e-300, 5e-324, 1e-9, 0.5, 1e9, 1e18, 1e300, 1e308]
EXTREMES = {
    float: [*NUMBERS, *(-number for number in NUMBERS), math.inf, -math.inf, math.nan],
    int: [0, -1, 1, 2, 2**15, 2**31 - 1, 2**31, 2**53, 2**63 - 1, -(2**63)],
    str: ['', ' ', 'x', '/', 'a' * 10_000, '\udc80', '__metadata__', 'lidar', 'nearest'],
    bool: [False, True],
}
LEFT_OUT = {'compute.num_threads', 'compute.device', 'autostart'}  # a thousand threads are allowed, and slow


def specs() -> list[Spec]:
    streams = (LidarConfig('lidar'), CameraConfig('front'), ImuConfig('imu'), MessageVectorConfig('state'))
    found = [spec for stream in streams for spec in tunables(stream, f'{stream.name}.')]
    found += tunables(PipelineConfig(lidars=(LidarConfig('lidar'),)))
    return [spec for spec in found if spec.name not in LEFT_OUT]


def values(spec: Spec) -> list:
    alone = EXTREMES[spec.element]
    if not spec.is_array:
        return alone
    length = spec.meta['length'] or 1
    default = list(BASE.get(spec.name, spec.default)) or [0.0] * 6 + [1.0]
    return [[], *([value] * length for value in alone), *([value, *default[1:]] for value in alone)]


def run(bench: Bench) -> None:
    """Put in a second of messages; whatever becomes of them has a reason."""
    for ms in range(0, 1000, 100):
        for name in ('imu', 'state'):
            bench.put(name, *(imu(ms + 10 * i) for i in range(10)))
        bench.put('front', image(ms))
        bench.put('lidar', cloud(ms))
        bench.work()
    bench.runtime.pipeline.give_up()
    bench.work()
    assert_adds_up(bench.runtime)
    assert bench.log.of('error') == []
    for account in (*bench.runtime.pipeline.ledger.values(), bench.runtime.pipeline.targets):
        assert not [reason for reason in account.counts().dropped if reason.startswith('internal_error')]


@pytest.mark.parametrize('base', [BASE, DESKEWED], ids=['plain', 'deskewed'])
@pytest.mark.parametrize('spec', specs(), ids=lambda spec: spec.name)
def test_an_extreme_value_is_refused_by_name_or_gives_frames(spec: Spec, base: dict) -> None:
    for value in values(spec):
        try:
            config, _ = parameters.from_dict(base | {spec.name: value}, warn=lambda line: None)
            bench = make(config)
        except ConfigError:
            continue
        run(bench)


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'sync.max_wait': 1e308}, r'sync.max_wait = 1e\+308: must be within 1e\+09 s'),
        ({'lidar.tolerance': 1e10}, r'lidar.tolerance = 10000000000.0: must be within 1e\+09 s'),
        ({'imu.window_offset': -1e308}, r'imu.window_offset = -1e\+308: must be within'),
        ({'sync.rate_hz': 1e-300}, r'sync.rate_hz = 1e-300: must be 0, or at least 0.001 Hz'),
        ({'sync.rate_hz': math.nan}, r'sync.rate_hz = nan: must be finite'),
        ({'lidar.voxel.lower': [-1e308, 0.0, 0.0]}, r'lidar.voxel.lower = .*: must be at least -1e\+06 m'),
        ({'lidar.voxel.upper': [1e308, 10.0, 10.0]}, r'lidar.voxel.upper = .*: must be at most 1e\+06 m'),
        (
            {'lidar.voxel.size': [0.001, 100.0, 100.0], 'lidar.voxel.upper': [20_000.0, 5.0, 5.0]},
            r'lidar.voxel.size = .*: needs 1 to 16777216 voxels along an axis',
        ),
        (
            {'lidar.voxel.output': 'dense', 'lidar.voxel.size': [0.05, 0.05, 0.1]},
            r'lidar.voxel.size = .* would take 2.5 GiB, must be at most 2 GiB',
        ),
        ({'front.width': 16384, 'front.height': 16384, 'front.dtype': 'float32'}, r'would take 3.0 GiB'),
        ({'cameras': ['__metadata__']}, r"stream name '__metadata__': must have at most 100 characters, and not be"),
        ({'cameras': ['c' * 1000]}, r'stream name .*\(1000 characters\): must have at most 100 characters'),
    ],
)
def test_what_would_fail_in_every_frame_is_refused_at_once(changes: dict, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parameters.from_dict(BASE | changes, warn=lambda line: None)
