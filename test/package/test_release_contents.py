# SPDX-License-Identifier: Apache-2.0
"""`make release-check` names what a wheel lacks, what does not belong in it, and what it gives away of a machine."""

import json
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INFO = 'robocache_ros-1.0.dist-info'
DATA = 'robocache_ros-1.0.data/data'
BOM = {'components': [{'name': 'numpy'}, {'name': 'opencv-python-headless'}]}

GOOD = {
    '_robocache_core.cpython-311-x86_64-linux-gnu.so': '\x7fELF',
    **{f'robocache_{name}/py.typed': '' for name in ('core', 'ros', 'sim')},
    'robocache_core/samples.py': 'one = 1\n',
    f'{INFO}/METADATA': 'Name: robocache_ros\nRequires-Dist: numpy\nRequires-Dist: opencv-python-headless>=4\n\nText\n',
    f'{INFO}/licenses/LICENSE': 'Apache',
    f'{INFO}/sboms/robocache_ros.cdx.json': json.dumps(BOM),
    **{f'{DATA}/include/robocache_ros/robocache/{name}': '' for name in ('fused_frame.hpp', 'json.hpp')},
    f'{DATA}/share/ament_index/resource_index/packages/robocache_ros': '',
    **{
        f'{DATA}/share/robocache_ros/{name}': ''
        for name in ('package.xml', 'launch/preprocess.launch.py', 'config/preprocess.yaml',
                     'config/fastdds_large_data.xml')
    },
}  # fmt: skip


@pytest.fixture
def contents(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'scripts')
    from release import contents

    yield contents
    for name in [name for name in sys.modules if name.partition('.')[0] == 'release']:
        del sys.modules[name]


def faults(contents, folder, files):
    wheel = folder / 'robocache_ros-1.0-py3-none-any.whl'
    with zipfile.ZipFile(wheel, 'w') as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return contents.faults(wheel)


def test_a_whole_wheel_has_no_fault(contents, tmp_path):
    assert faults(contents, tmp_path, GOOD) == []


@pytest.mark.parametrize('missing', sorted(name for name in GOOD if not name.endswith(('METADATA', 'samples.py'))))
def test_what_is_missing_is_named(contents, tmp_path, missing):
    (line,) = faults(contents, tmp_path, {name: text for name, text in GOOD.items() if name != missing})
    assert line.endswith(' is not in it')
    assert line.split()[0].rpartition('/')[2].split('.')[0] in missing


@pytest.mark.parametrize('extra', ['test/core/test_a.py', 'robocache_core/frame.png', 'robocache_core/a.mcap', 'a.cpp'])
def test_what_does_not_belong_in_it_is_named(contents, tmp_path, extra):
    assert faults(contents, tmp_path, {**GOOD, extra: ''}) == [f'{extra} does not belong in it']


@pytest.mark.parametrize('name', ['_robocache_core.cpython-311-x86_64-linux-gnu.so', f'{INFO}/METADATA'])
def test_a_path_of_the_machine_is_found_in_any_file(contents, tmp_path, name):
    here = f'{ROOT}/robocache_core/csrc/a.cpp'
    wrong = faults(contents, tmp_path, {**GOOD, name: GOOD[name] + here})
    assert f'{name} has a path of this machine: {ROOT}/' in wrong


def test_a_dependency_that_the_bill_of_materials_lacks_is_named(contents, tmp_path):
    files = {**GOOD, f'{INFO}/sboms/robocache_ros.cdx.json': json.dumps({'components': BOM['components'][:1]})}
    assert faults(contents, tmp_path, files) == ['opencv-python-headless is not in the bill of materials']
