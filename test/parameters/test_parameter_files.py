# SPDX-License-Identifier: Apache-2.0
"""Params files, by their sections, and dicts, as rcl and YAML read them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from support.params import as_tree

from robocache_core.config import CameraConfig, ImuConfig, LidarConfig, PipelineConfig, SyncConfig
from robocache_core.tunable import ConfigError
from robocache_ros import parameters, params_file
from robocache_ros.parameters import NodeConfig


def test_a_configuration_survives_a_dict() -> None:
    pipeline = PipelineConfig(
        lidars=(LidarConfig('top', topic='/a', extrinsics=(0.0, 0.0, 1.5, 0.0, 0.0, 0.0, 1.0)),),
        cameras=(CameraConfig('front', topic='/b', letterbox=True, tolerance_ns=33_333_333),),
        imus=(ImuConfig('imu', topic='/c', fields=('orientation',)),),
        sync=SyncConfig(rate_hz=20.0),
        target_frame='base_link',
    )
    node = NodeConfig(publish_images=True)
    tree = yaml.safe_load(yaml.safe_dump(as_tree(pipeline, node)))
    assert parameters.from_dict(tree, warn=pytest.fail) == (pipeline, node)


def test_a_file_s_sections_match_as_rcl_matches_them(make_node, tmp_path: Path) -> None:
    path = tmp_path / 'params.yaml'
    path.write_text(
        '/**:\n  ros__parameters: {lidars: [lidar], lidar: {tolerance: 0.01, read: previous}}\n'
        '/robot/preprocess:\n  ros__parameters: {lidar: {tolerance: 0.02}}\n'
        'robot:\n  other:\n    ros__parameters: {lidar: {tolerance: 0.03}}\n'
    )
    (lidar,) = parameters.read(make_node(file=path, namespace='/robot'), pytest.fail)[0].lidars
    assert (lidar.tolerance_ns, lidar.read) == (20_000_000, 'previous')
    assert parameters.from_file(path, '/robot/preprocess')[0].lidars == (lidar,)
    assert parameters.from_file(path, '/robot/other')[0].lidars[0].tolerance_ns == 30_000_000
    assert parameters.from_file(path, '/preprocess')[0].lidars[0].tolerance_ns == 10_000_000


#: Text of a params file, and what is said of it to the node /robot/preprocess; None: it holds something for it.
FILES = {
    'the node': ('/robot/preprocess: {ros__parameters: {}}', None),
    'every node': ('/**: {ros__parameters: {}}', None),
    'the name alone in any namespace': ('/**/preprocess: {ros__parameters: {}}', None),
    'a section without parameters': ('/**: {ros__parameters: }', None),
    'values that YAML refuses and rcl takes': (
        '/**: {ros__parameters: {a: 2001-99-99, b: !own c, d: !!python/name:os.system e, f: =, <<: 3}}',
        None,
    ),
    'empty': ('', 'its sections: none'),
    'a scalar': ('preprocess', 'its sections: none'),
    'no ros__parameters': ('/robot/preprocess: {lidars: [lidar]}', 'its sections: none'),
    'the name alone': ('preprocess: {ros__parameters: {}}', 'its sections: /preprocess'),
    'other nodes': ('{a: {b: {ros__parameters: {}}}, /c/d: {ros__parameters: {}}}', 'its sections: /a/b, /c/d'),
}


@pytest.mark.parametrize(('text', 'said'), FILES.values(), ids=FILES)
def test_a_file_without_a_section_for_the_node(tmp_path: Path, text: str, said: str | None) -> None:
    path = tmp_path / 'params.yaml'
    path.write_text(text)
    argv = ['preprocess', '--ros-args', '-r', '__ns:=/robot', '--params-file', str(path), '-p', 'autostart:=true']
    lines = list(params_file.explain_unmatched(argv, '/robot/preprocess'))
    if said is None:
        assert lines == []
    else:
        (line,) = lines
        assert line == f'{path} has no effect: it has no ros__parameters for /robot/preprocess; {said}'
        with pytest.raises(ConfigError, match='has no ros__parameters for /robot/preprocess; its sections'):
            parameters.from_file(path, '/robot/preprocess')
