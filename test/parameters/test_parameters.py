# SPDX-License-Identifier: Apache-2.0
"""Parameters of real nodes, and params files through rcl."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.parameter import Parameter
from support.params import as_tree

from robocache_core.config import (
    CameraConfig,
    ImuConfig,
    LidarConfig,
    PipelineConfig,
    QueueConfig,
    SyncConfig,
    VoxelConfig,
)
from robocache_core.tunable import ConfigError
from robocache_ros import parameters
from robocache_ros.parameter_spec import tunables
from robocache_ros.parameters import NodeConfig

DEFAULT = PipelineConfig(lidars=(LidarConfig('lidar', topic='/lidar'),))
Type = Parameter.Type
warn = pytest.fail


def write(tmp_path: Path, text: str, key: str = 'preprocess') -> Path:
    path = tmp_path / 'params.yaml'
    named = text if 'lidars:' in text else f'lidars: [lidar]\n{text}'
    indented = ''.join(f'    {line}\n' for line in named.splitlines())
    path.write_text(f'{key}:\n  ros__parameters:\n{indented}')
    return path


def set_one(node: Node, name: str, value: object, kind: Type | None = None):
    return node.set_parameters([Parameter(name, kind, value)])[0]


# ---- reading --------------------------------------------------------------------------------------------------------


def test_defaults_are_those_of_the_config(make_node) -> None:
    assert parameters.read(make_node(), warn) == (DEFAULT, NodeConfig())


def test_overrides_reach_nested_tunables_in_their_units(make_node) -> None:
    node = make_node(
        lidars=['top', 'rear'],
        cameras=['front'],
        imus=['imu'],
        top__voxel__size=[0.1, 0.2, 0.3],
        top__queue__max_age=0.25,
        rear__topic='/rear/points',
        front__dtype='float32',
        imu__window_period=0.0025,
        imu__window_offset=-0.01,
        sync__max_wait=0.05,
        target_frame='base_link',
        diagnostics_period=0.5,
        autostart=True,
    )
    pipeline, node_config = parameters.read(node, warn)
    assert pipeline == PipelineConfig(
        lidars=(
            LidarConfig(
                'top', topic='/top', voxel=VoxelConfig(size=(0.1, 0.2, 0.3)), queue=QueueConfig(max_age_ns=250_000_000)
            ),
            LidarConfig('rear', topic='/rear/points'),
        ),
        cameras=(CameraConfig('front', topic='/front', dtype='float32'),),
        imus=(ImuConfig('imu', topic='/imu', window_period_ns=2_500_000, window_offset_ns=-10_000_000),),
        target_frame='base_link',
        sync=SyncConfig(max_wait_ns=50_000_000),
    )
    assert node_config == NodeConfig(autostart=True, diagnostics_period_ns=500_000_000)
    assert parameters.autostart(node)


def test_a_class_s_own_default_holds_for_nested_tunables(make_node) -> None:
    node = make_node(imus=['imu'])
    assert node.get_parameter('imu.queue.depth').value == ImuConfig('imu').queue.depth
    assert node.get_parameter('lidar.queue.depth').value == LidarConfig('lidar').queue.depth


def test_empty_arrays_in_a_file(make_node, tmp_path: Path) -> None:
    file = write(tmp_path, 'lidars: []\ncameras: [front]\nimus: []\n')
    pipeline, _ = parameters.read(make_node(file=file), warn)
    assert pipeline == PipelineConfig(cameras=(CameraConfig('front', topic='/front'),))


def test_empty_arrays_have_their_type(make_node) -> None:
    node = make_node()
    assert node.get_parameter('cameras').type_ == Type.STRING_ARRAY
    assert node.get_parameter('lidar.extrinsics').type_ == Type.DOUBLE_ARRAY


def test_integers_are_taken_where_doubles_are_due(make_node, tmp_path: Path) -> None:
    file = write(tmp_path, 'lidar:\n  tolerance: 1\n  max_range: 100\n  voxel:\n    lower: [-10, -10, -2]\n')
    node = make_node(file=file)
    (lidar,) = parameters.read(node, warn)[0].lidars
    assert lidar.tolerance_ns == 1_000_000_000
    assert (lidar.max_range, lidar.voxel.lower) == (100.0, (-10.0, -10.0, -2.0))
    assert node.get_parameter('lidar.tolerance').type_ == Type.DOUBLE


def test_nanoseconds_are_exact(make_node) -> None:
    for period_ns in (1_000, 3_333_333, 5_000_001, 2_000_000_003):
        spec = next(s for s in parameters.tunables(ImuConfig('imu')) if s.name == 'window_period')
        assert spec.to_config(spec.check(period_ns / 1e9)) == period_ns


BAD = [
    ({'lidar__tolerance': -0.1}, 'lidar.tolerance = -0.1: must be at least 0 s'),
    ({'lidar__tolerance': float('inf')}, 'lidar.tolerance = inf: must be finite'),
    ({'lidar__tolerance': 'long'}, "lidar.tolerance = 'long': must be a number"),
    ({'lidar__required': 1}, 'lidar.required = 1: must be true or false'),
    ({'lidar__queue__depth': 8.0}, 'lidar.queue.depth = 8.0: must be an integer'),
    ({'lidar__queue__depth': True}, 'lidar.queue.depth = True: must be an integer'),
    ({'lidar__queue__depth': 0}, 'lidar.queue.depth = 0: must be at least 1'),
    ({'lidar__queue__policy': 'newest'}, "lidar.queue.policy = 'newest': must be one of drop_oldest, "),
    ({'lidar__voxel__size': [0.1, 0.1]}, 'lidar.voxel.size = [0.1, 0.1]: needs 3 elements'),
    ({'lidar__voxel__size': 0.1}, 'lidar.voxel.size = 0.1: must be an array, each a number'),
    ({'lidar__voxel__channels': 'count'}, "lidar.voxel.channels = 'count': must be an array, each a string"),
    ({'lidar__voxel__lower': [99.0, 0.0, 0.0]}, 'lidar.voxel.lower.x = 99.0: must be less than'),
    ({'target_frame': '/base_link'}, "target_frame = '/base_link': must be without the slash before it"),
    ({'lidar__min_range': 300.0}, 'lidar.min_range = 300.0: must be less than'),
    ({'lidar__extrinsics': [0.0] * 6}, 'lidar.extrinsics = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]: needs 7 elements'),
    ({'lidar__topic': 5}, 'lidar.topic = 5: must be a string'),
    ({'backpressure__low_watermark': 9}, 'backpressure.low_watermark = 9: needs'),
    ({'sync__trigger': 'lidra'}, "sync.trigger = 'lidra': must name a stream (lidar)"),
    ({'diagnostics_period': 0.0}, 'diagnostics_period = 0.0: must be at least 0.01 s'),
    ({'lidars': 'lidar'}, "lidars = 'lidar': must be an array, each a string"),
    ({'lidars': ['a b']}, "stream name 'a b': must be"),
    *(
        ({'lidars': [name]}, f'stream name {name!r}: must be')
        for name in ('sync', 'lidars', 'cameras', 'target_frame', 'autostart', 'use_sim_time', 'upload', 'decode')
    ),
    ({'cameras': ['lidar']}, "stream name 'lidar': is used more than once"),
]


@pytest.mark.parametrize(('overrides', 'text'), BAD)
def test_a_bad_value_is_refused_by_name_at_configure(make_node, overrides: dict, text: str) -> None:
    node = make_node(**overrides)  # the constructor lives
    with pytest.raises(ConfigError, match=re.escape(text)):
        parameters.read(node, warn)


@pytest.mark.parametrize(('overrides', 'text'), BAD)
def test_a_dict_is_refused_in_the_same_words(overrides: dict, text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(text)):
        parameters.from_dict(
            {'lidars': ['lidar']} | {name.replace('__', '.'): value for name, value in overrides.items()}
        )


def test_an_empty_array_for_a_scalar_is_refused(make_node, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape('lidar.topic = None: must be a string')):
        parameters.read(make_node(file=write(tmp_path, 'lidar:\n  topic: []\n')), warn)


@pytest.mark.parametrize('text', ['lidars: []', 'lidar: {topic: /points}  # but not in lidars: [...]'])
def test_no_stream_is_refused(make_node, tmp_path: Path, text: str) -> None:
    """No sensor is a default: one that nobody named would block every frame."""
    with pytest.raises(ConfigError, match='needs at least one stream'):
        parameters.read(make_node(file=write(tmp_path, text)), [].append)


def test_autostart_of_a_wrong_type_is_refused(make_node) -> None:
    with pytest.raises(ConfigError, match="autostart = 'yes': must be true or false"):
        parameters.autostart(make_node(autostart='yes'))


# ---- unknown names --------------------------------------------------------------------------------------------------


def test_unknown_names_are_reported(make_node) -> None:
    node = make_node(
        lidar__voxle__size=[0.1, 0.1, 0.1],
        rear__topic='/rear',
        whatever=1,
        **{'qos_overrides./lidar.subscription.depth': 3},
        lidar__tolerance=0.2,
        use_sim_time=False,
    )
    lines: list[str] = []
    parameters.read(node, lines.append)
    log = '\n'.join(lines)
    assert "parameter 'lidar.voxle.size' is unknown and has no effect; did you mean 'lidar.voxel.size'?" in log
    assert "parameter 'rear.topic' is unknown and has no effect: no stream 'rear' is named" in log
    assert "parameter 'whatever' is unknown" in log
    assert log.count('is unknown') == 3


@pytest.mark.parametrize(
    ('value', 'said'),
    [
        (
            {'voxle': {'size': [1.0, 1.0, 1.0]}},
            ".voxle.size' is unknown and has no effect; did you mean 'lidar.voxel.size'?",
        ),
        ('/points', "' is unknown and has no effect: it is a section; its parameters are 'lidar.…'"),
    ],
)
def test_unknown_names_in_a_dict(value, said) -> None:
    lines: list[str] = []
    parameters.from_dict({'lidars': ['lidar'], 'lidar': value, 'use_sim_time': True}, lines.append)
    assert lines == [f"parameter 'lidar{said}"]


def test_parameters_of_a_stream_that_is_not_named_any_more_give_one_line() -> None:
    tree = as_tree(PipelineConfig(lidars=(LidarConfig('lidar'),), cameras=(CameraConfig('front'),)), NodeConfig())
    lines: list[str] = []
    parameters.from_dict({**tree, 'cameras': []}, lines.append)
    (line,) = lines
    assert re.fullmatch(
        r"\d+ parameters 'front\.…' have no effect: no stream 'front' is named in lidars, .*, depths or grids",
        line,
    )


# ---- changes --------------------------------------------------------------------------------------------------------


def test_a_change_before_configure_counts(make_node) -> None:
    node = make_node()
    assert set_one(node, 'lidar.voxel.max_voxels', 10).successful
    assert set_one(node, 'lidar.tolerance', 1).successful  # an integer, as `ros2 param set` sends it
    assert set_one(node, 'lidar.extrinsics', [], Type.BOOL_ARRAY).successful  # `[]` as `ros2 param set` sends it
    (lidar,) = parameters.read(node, warn)[0].lidars
    assert (lidar.voxel.max_voxels, lidar.tolerance_ns, lidar.extrinsics) == (10, 1_000_000_000, ())


def test_a_bad_change_is_refused_with_a_reason(make_node) -> None:
    node = make_node()
    result = set_one(node, 'lidar.voxel.max_voxels', 0)
    assert not result.successful
    assert result.reason == 'lidar.voxel.max_voxels = 0: must be at least 1'
    result = set_one(node, 'lidar.queue.depth', 0)  # rclpy's own check of the range
    assert not result.successful
    assert 'lidar.queue.depth' in result.reason
    result = set_one(node, 'lidar.tolerance', 'long')
    assert not result.successful
    assert 'type' in result.reason
    assert parameters.read(node, warn) == (DEFAULT, NodeConfig())


def test_a_bad_override_can_be_mended(make_node) -> None:
    node = make_node(lidar__tolerance='long')
    assert not set_one(node, 'lidar.tolerance', 'longer').successful
    assert set_one(node, 'lidar.tolerance', 0.1).successful
    assert parameters.read(node, warn) == (DEFAULT, NodeConfig())


def test_a_stream_named_later_gets_its_parameters(make_node) -> None:
    node = make_node(rear__topic='/rear/image')
    assert not node.has_parameter('rear.topic')
    assert set_one(node, 'cameras', ['rear']).successful
    assert set_one(node, 'rear.width', 320).successful
    (camera,) = parameters.read(node, warn)[0].cameras
    assert (camera.topic, camera.width) == ('/rear/image', 320)


def test_changes_are_refused_while_configured(make_node) -> None:
    node = make_node(kind=LifecycleNode)
    assert set_one(node, 'lidar.tolerance', 0.2).successful
    node.trigger_configure()
    result = set_one(node, 'lidar.tolerance', 0.3)
    assert (result.successful, result.reason) == (
        False,
        'lidar.tolerance cannot be changed while inactive: clean up first',
    )
    node.trigger_activate()
    result = set_one(node, 'lidar.tolerance', 0.3)
    assert (result.successful, result.reason) == (
        False,
        'lidar.tolerance cannot be changed while active: deactivate and clean up first',
    )
    assert set_one(node, 'use_sim_time', True).successful  # not ours
    node.trigger_deactivate()
    node.trigger_cleanup()
    assert set_one(node, 'lidar.tolerance', 0.3).successful
    assert parameters.read(node, warn)[0].lidars[0].tolerance_ns == 300_000_000


# ---- descriptors ----------------------------------------------------------------------------------------------------


def test_descriptors_tell_meaning_unit_and_range(make_node) -> None:
    node = make_node(cameras=['front'])
    tolerance = node.describe_parameter('lidar.tolerance')
    assert tolerance.description == 'greatest distance of a valid sample to its instant [s]'
    assert tolerance.type == Type.DOUBLE.value
    assert tolerance.additional_constraints == 'at least 0'
    assert not tolerance.floating_point_range  # it has no upper end, which a range cannot say
    width = node.describe_parameter('front.width').integer_range[0]
    assert (width.from_value, width.to_value) == (1, 16384)
    period = node.describe_parameter('diagnostics_period').floating_point_range[0]
    assert (period.from_value, period.to_value) == (0.01, 3600.0)
    assert 'drop_newest' in node.describe_parameter('lidar.queue.policy').additional_constraints


def test_every_parameter_has_a_description_and_can_be_set(make_node) -> None:
    node = make_node(cameras=['front'], imus=['imu'])
    for spec in parameters._specs(parameters.StreamNames(('lidar',), ('front',), ('imu',))):
        descriptor = node.describe_parameter(spec.name)
        assert descriptor.description
        assert descriptor.type == spec.type.value
        assert not descriptor.read_only


# ---- ranges ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'config', [LidarConfig('a'), VoxelConfig(), CameraConfig('a'), ImuConfig('a'), QueueConfig(), SyncConfig()]
)
def test_a_parameter_has_the_range_of_its_tunable(config: object) -> None:
    """A bound is inside the range; beyond it the parameter and the configuration refuse a value alike."""
    checked = 0
    for spec in tunables(config):
        for bound, outwards in zip(spec.bounds, (-1, 1), strict=True):
            if bound is None or '.' in spec.name:
                continue
            inside, outside = spec.element(bound), spec.element(bound + outwards)
            length = spec.meta['length'] or 1
            assert spec.check([inside] * length if spec.is_array else inside) is not None
            value = [outside] * length if spec.is_array else outside
            with pytest.raises(ConfigError, match=spec.name):
                spec.check(value)
            with pytest.raises(ConfigError, match=spec.field):
                dataclasses.replace(config, **{spec.field: spec.to_config(value)})
            checked += 1
    assert checked >= 2
