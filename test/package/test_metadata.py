# SPDX-License-Identifier: Apache-2.0
"""package.xml, setup.py and the code agree."""

import ast
import re
import runpy
import sys
import xml.etree.ElementTree as ElementTree
from importlib import metadata
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement

import robocache_core
import robocache_ros
from robocache_ros.tools import doctor

ROOT = Path(__file__).parents[2]
MANIFEST = ElementTree.parse(ROOT / 'package.xml').getroot()

#: Keys of rosdep by the module that they bring, where the names differ.
KEYS = {
    'cv2': 'python3-opencv',
    'matplotlib': 'python3-matplotlib',
    'numpy': 'python3-numpy',
    'prometheus_client': 'python3-prometheus-client',
    'pybind11': 'pybind11-dev',
    'setuptools': 'python3-setuptools',
    'tf2_ros': 'tf2_ros_py',
    'torch': 'python3-torch',
    'yaml': 'python3-yaml',
    'hypothesis': 'python3-hypothesis',
    'pytest': 'python3-pytest',
}

#: Optional, and rosdep has no key for them, or one of pip, with which no ROS distribution can release the package.
WITHOUT_KEY = {'av', 'cuda_buffer', 'opentelemetry', 'pyarrow', 'ray', 'rerun', 'rosbags', 'simplejpeg', 'webdataset'}


def declared(*tags):
    return {element.text for tag in tags for element in MANIFEST.iter(tag)}


def modules_of(path):
    """Return the full names of the modules that a file imports when it runs."""
    tree = ast.parse(path.read_text())
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING'
        for inner in ast.walk(node)
    }
    names = set()
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
    return names


def imported(*folders):
    """Return the top-level modules of others that the files in ``folders`` import, and where."""
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob('*.py'))]
    modules = {name.split('.')[0]: path.relative_to(ROOT) for path in files for name in modules_of(path)}
    ours = {'robocache_core', 'robocache_ros', 'robocache_sim', '_robocache_core', 'support'}
    return {name: path for name, path in modules.items() if name not in sys.stdlib_module_names | ours}


@pytest.fixture
def given(monkeypatch):
    """What setup.py gives to setuptools."""
    arguments = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(setuptools, 'setup', arguments.update)
    runpy.run_path('setup.py')
    return arguments


def test_names_and_versions_agree(given):
    assert given['name'] == MANIFEST.findtext('name')
    version = MANIFEST.findtext('version')
    assert given['version'] == robocache_core.__version__ == robocache_ros.__version__ == version
    titles = (ROOT / 'CHANGELOG.rst').read_text().splitlines()
    assert next(line for line in titles if line[:1].isdigit()).split()[0] == version


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
    runtime = declared('depend', 'exec_depend') | WITHOUT_KEY
    missing = {name: str(path) for name, path in imported(folder).items() if KEYS.get(name, name) not in runtime}
    assert not missing, f'not in package.xml: {missing}'


def test_every_declared_message_package_is_used():
    used = imported('robocache_core', 'robocache_ros', 'robocache_sim', 'launch', 'test', 'docs', 'benchmark')
    words = {name for name in declared('exec_depend') if name.endswith(('_msgs', '_interfaces', 'sensor_msgs_py'))}
    asked_for = {*doctor.REQUIRED, *doctor.OPTIONAL}
    assert {name for name in words if name not in used and name not in asked_for} == set()


def test_console_scripts_exist(given):
    scripts = [script.split(' = ') for script in given['entry_points']['console_scripts']]
    expected = {'preprocess', 'replay', 'simulate', 'faults', 'inspect', 'explain', 'export', 'view', 'init', 'doctor'}
    expected |= {'security_policy'}
    assert {name for name, _ in scripts} == expected
    for name, value in scripts:
        assert callable(metadata.EntryPoint(name, value, 'console_scripts').load()), name


def test_every_package_is_installed(given):
    folders = {path.parent for name in ('robocache_core', 'robocache_ros', 'robocache_sim')
               for path in (ROOT / name).rglob('*.py')}  # fmt: skip
    assert set(given['packages']) == {'.'.join(folder.relative_to(ROOT).parts) for folder in folders}


def test_requirements_are_pinned():
    lines = [line.split('#')[0].strip() for path in (ROOT / 'requirements').glob('*.txt')
             for line in path.read_text().splitlines()]  # fmt: skip
    requirements = [Requirement(line) for line in lines if line]
    assert len(requirements) > 10
    for requirement in requirements:
        (pin,) = requirement.specifier
        assert (pin.operator, '*' in pin.version) == ('==', False), str(requirement)


def test_every_source_file_names_its_licence():
    suffixes = {'.py', '.cpp', '.hpp', '.cu', '.sh', '.xml', '.yaml'}
    folders = ['robocache_core', 'robocache_ros', 'robocache_sim', 'launch', 'config', 'scripts', 'test']
    files = [path for folder in folders for path in (ROOT / folder).rglob('*') if path.suffix in suffixes]
    files += [ROOT / 'setup.py', ROOT / 'Makefile', ROOT / 'package.xml', ROOT / '.ci' / 'run']
    assert [str(path) for path in files if 'SPDX-License-Identifier: Apache-2.0' not in path.read_text()[:600]] == []


def test_setup_needs_nothing_that_an_old_setuptools_lacks():
    """ROS 2 Jazzy's Ubuntu has setuptools 68, and colcon takes that one."""
    modules = {name for name in modules_of(ROOT / 'setup.py') if name.split('.')[0] == 'setuptools'}
    assert modules == {'setuptools', 'setuptools.command.build_ext'}
