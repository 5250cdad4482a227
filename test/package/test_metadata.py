# SPDX-License-Identifier: Apache-2.0
"""What package.xml, setup.py and the code say of each other."""

import ast
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import robocache_core

ROOT = Path(__file__).parents[2]
MANIFEST = ElementTree.parse(ROOT / 'package.xml').getroot()
SETUP = (ROOT / 'setup.py').read_text()

#: Keys of rosdep by the module that they bring, where the names differ.
KEYS = {
    'cv2': 'python3-opencv',
    'matplotlib': 'python3-matplotlib',
    'numpy': 'python3-numpy',
    'pybind11': 'pybind11-dev',
    'rosbags': 'python3-rosbags-pip',
    'setuptools': 'python3-setuptools',
    'tf2_ros': 'tf2_ros_py',
    'torch': 'python3-torch',
    'yaml': 'python3-yaml',
    'hypothesis': 'python3-hypothesis',
    'pytest': 'python3-pytest',
}


def declared(*tags):
    return {element.text for tag in tags for element in MANIFEST.iter(tag)}


def imported(*folders):
    """Return the top-level modules that the files in ``folders`` import when they run, and where."""
    modules = {}
    for path in (path for folder in folders for path in sorted((ROOT / folder).rglob('*.py'))):
        tree = ast.parse(path.read_text())
        for_types = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING'
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if node in for_types:
                continue
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            else:
                continue
            modules.update((name.split('.')[0], path.relative_to(ROOT)) for name in names)
    ours = {'robocache_core', 'robocache_ros', 'robocache_sim', '_robocache_core', 'support'}
    return {name: path for name, path in modules.items() if name not in sys.stdlib_module_names | ours}


def test_versions_agree():
    version = MANIFEST.findtext('version')
    assert re.search(r"version='([^']*)'", SETUP).group(1) == version
    assert robocache_core.__version__ == version
    newest = re.search(r'^(\d+\.\d+\.\d+) \(', (ROOT / 'CHANGELOG.rst').read_text(), re.MULTILINE)
    assert newest.group(1) == version


def test_manifest_is_a_ros_package():
    assert MANIFEST.get('format') == '3'
    assert MANIFEST.findtext('name') == 'robocache_ros'
    assert MANIFEST.findtext('license') == 'Apache-2.0'
    assert MANIFEST.findtext('export/build_type') == 'ament_python'
    # colcon takes a package whose maintainer's address it cannot parse for plain Python, without a word.
    assert re.fullmatch(r'[\w.+-]+@[\w-]+(\.[\w-]+)+', MANIFEST.find('maintainer').get('email'))
    assert (ROOT / 'resource' / 'robocache_ros').is_file()


@pytest.mark.parametrize('folder', ['robocache_core', 'robocache_ros', 'robocache_sim', 'launch'])
def test_every_import_is_declared(folder):
    runtime = declared('depend', 'exec_depend')
    missing = {name: str(path) for name, path in imported(folder).items() if KEYS.get(name, name) not in runtime}
    assert not missing, f'not in package.xml: {missing}'


def test_every_declared_message_package_is_used():
    used = imported('robocache_core', 'robocache_ros', 'robocache_sim', 'launch', 'test', 'docs', 'benchmark')
    words = {name for name in declared('exec_depend') if name.endswith(('_msgs', '_interfaces', 'sensor_msgs_py'))}
    doctor = (ROOT / 'robocache_ros' / 'tools' / 'doctor.py').read_text()
    assert {name for name in words if name not in used and f"'{name}'" not in doctor} == set()


def test_console_scripts_exist():
    scripts = re.findall(r"'(\w+) = ([\w.]+):(\w+)'", SETUP)
    assert {name for name, _, _ in scripts} == {'preprocess', 'replay', 'simulate', 'doctor'}
    for _, module, function in scripts:
        tree = ast.parse((ROOT / f'{module.replace(".", "/")}.py').read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, module


def test_requirements_are_pinned():
    for path in sorted((ROOT / 'requirements').glob('*.txt')):
        for line in path.read_text().splitlines():
            requirement = line.split('#')[0].strip()
            assert not requirement or re.match(r'[\w.\[\]-]+==[\d.]+(\s*;.*)?$', requirement), f'{path.name}: {line}'


def test_every_source_file_names_its_licence():
    suffixes = {'.py', '.cpp', '.hpp', '.cu', '.sh', '.xml', '.yaml'}
    folders = ['robocache_core', 'robocache_ros', 'robocache_sim', 'launch', 'config', 'scripts', 'test']
    files = [path for folder in folders for path in (ROOT / folder).rglob('*') if path.suffix in suffixes]
    files += [ROOT / 'setup.py', ROOT / 'Makefile', ROOT / 'package.xml', ROOT / '.ci' / 'run']
    assert [str(path) for path in files if 'SPDX-License-Identifier: Apache-2.0' not in path.read_text()[:600]] == []


def test_setup_needs_nothing_that_an_old_setuptools_lacks():
    """ROS 2 Jazzy's Ubuntu has setuptools 68, and colcon takes that one."""
    modules = set(re.findall(r'^(?:from|import) (setuptools[\w.]*)', SETUP, re.MULTILINE))
    assert modules == {'setuptools', 'setuptools.command.build_ext'}
