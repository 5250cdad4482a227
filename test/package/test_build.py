# SPDX-License-Identifier: Apache-2.0
"""Builds and installs a copy of the source tree in every supported way.

The module is compiled once, by the plain colcon build; the others are given its build folder.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from robocache_ros import dds_environment

ROOT = Path(__file__).parents[2]
TOOLS = {
    *('preprocess', 'replay', 'simulate', 'faults', 'inspect', 'explain', 'export', 'view', 'init', 'doctor'),
    'security_policy',
}
EXTENSION = f'_robocache_core{sysconfig.get_config_var("EXT_SUFFIX")}'
COMPILER = (os.environ.get('CXX') or sysconfig.get_config_var('CXX') or 'c++').split()[0]

#: Printed by an interpreter elsewhere: where the modules come from, and what runs.
WHO = """
import json
import robocache_core
from robocache_core import backends
from robocache_ros import dds_environment
said = {'core': robocache_core.__file__, 'share': str(dds_environment.share_directory())}
print(json.dumps({**said, 'backend': backends.active().name, 'reason': backends.active().reason}))
"""

pytestmark = [
    pytest.mark.skipif(
        'ROBOCACHE_INSTALL_PREFIX' in os.environ, reason='runs in `colcon test`: would build within the build, no end'
    ),
    pytest.mark.skipif(not (ROOT / '.git').exists(), reason='copies what git knows of, and this is no git checkout'),
]
needs_compiler = pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f'no C++ compiler ({COMPILER})')
needs_colcon = pytest.mark.skipif(shutil.which('colcon') is None, reason='colcon is not installed')


@pytest.fixture(scope='module', autouse=True)
def _quick_compiler(tmp_path_factory):
    """Compile without optimisation, in half of the time: the environment's own build shows that the other one works."""
    compiler = tmp_path_factory.mktemp('compiler') / 'c++'
    compiler.write_text(f'#!/bin/sh\nexec {COMPILER} "$@" -O0\n')
    compiler.chmod(0o755)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv('CXX', str(compiler))
        yield


def run(command, cwd, check=True, **environ):
    """Run ``command`` and return what it printed; ``environ`` is added to the environment, None removes."""
    # One kind of GPU: whether the others compile too is for the build of the environment to show.
    env = {
        **os.environ,
        'ROBOCACHE_CUDA': 'auto',
        'ROBOCACHE_CUDA_ARCHS': '90-real',
        'AMENT_PREFIX_PATH': os.environ.get('AMENT_PREFIX_PATH') or sys.prefix,
        **environ,
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={name: str(value) for name, value in env.items() if value is not None},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert not check or done.returncode == 0, f'{command} ended with {done.returncode}:\n{done.stdout[-6000:]}'
    return done.stdout if check else (done.returncode, done.stdout)


def who(site, cwd):
    """Return what ``WHO`` says with the packages in ``site``, from outside of the source tree."""
    # -S and the folders by name: what puts an editable installation on the path is not read; nor is an installed one.
    others = [path for path in sys.path if path.endswith('-packages') and not list(Path(path).glob('_robocache_core*'))]
    path = [str(site), *others]
    return json.loads(run([sys.executable, '-S', '-c', WHO], cwd, PYTHONPATH=os.pathsep.join(path)))


def site_packages(prefix):
    """Return the folder under ``prefix`` that holds the packages."""
    (package,) = Path(prefix).glob('**/*-packages/robocache_core')
    return package.parent


def pip_install(source, prefix, *options, check=True, **environ):
    """Install into ``prefix`` with what is installed here; nothing is fetched."""
    command = [
        *(sys.executable, '-m', 'pip', 'install', '--no-index', '--no-deps', '--no-build-isolation'),
        *('--ignore-installed', '--prefix', prefix, *options, '.'),
    ]
    return run(command, source, check=check, PIP_DISABLE_PIP_VERSION_CHECK='1', **environ)


def in_workspace(workspace, *commands):
    """Run a shell in which the plain installation is sourced, as a user would."""
    script = ' && '.join(['. install/setup.sh', *commands])
    return run(['sh', '-c', script], workspace, COLCON_CURRENT_PREFIX=None, PYTHONPATH=os.environ.get('PYTHONPATH'))


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A workspace's ``src`` with a copy of all that git knows of or would add."""
    copy = tmp_path_factory.mktemp('workspace') / 'src' / 'robocache'
    for name in run(['git', 'ls-files', '-z', '-co', '--exclude-standard'], ROOT).rstrip('\0').split('\0'):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope='module')
def workspace(source):
    """The workspace after a plain ``colcon build``."""
    workspace = source.parents[1]
    before = set(source.rglob('*'))
    run(['colcon', 'build', '--event-handlers', 'console_direct+'], workspace)
    assert set(source.rglob('*')) == before, 'the build left files in the source tree'
    return workspace


@pytest.fixture
def compiled(workspace):
    """The folder of setuptools with the module that the plain build compiled."""
    return workspace / 'build' / 'robocache_ros' / 'build'


@needs_colcon
def test_colcon_takes_it_for_a_ros_package(source):
    assert run(['colcon', 'list'], source.parents[1]).split()[-1] == '(ros.ament_python)'


@needs_colcon
@needs_compiler
def test_plain_build(workspace, tmp_path):
    prefix = workspace / 'install' / 'robocache_ros'
    site = site_packages(prefix)
    assert (site / EXTENSION).is_file()
    said = who(site, tmp_path)
    assert said['core'] == str(site / 'robocache_core' / '__init__.py')
    assert said['share'] == str(prefix / 'share' / 'robocache_ros')
    assert said['backend'] == 'cpu', said['reason']
    assert said['reason'].endswith(str(site / EXTENSION))
    share = Path(said['share'])
    assert (share / dds_environment.PROFILE).is_file()
    assert (share / 'config' / 'preprocess.yaml').is_file()
    for name in ('grafana_dashboard.json', 'foxglove_layout.json', 'robocache.rviz'):
        assert (share / 'config' / name).is_file()
    assert {path.name for path in (share / 'launch').iterdir()} >= {'preprocess.launch.py', 'replay.launch.py'}


@needs_colcon
@needs_compiler
def test_sourced_workspace_is_a_ros_overlay(workspace):
    """Where `ros2 run` and `ros2 launch` look: the index, and lib/<package>/<tool>."""
    prefix = workspace / 'install' / 'robocache_ros'
    assert {path.name for path in (prefix / 'lib' / 'robocache_ros').iterdir()} == TOOLS
    printed = in_workspace(
        workspace,
        'python3 -c \'from ament_index_python import get_package_prefix as p; print(p("robocache_ros"))\'',
        f'{prefix}/lib/robocache_ros/doctor',
    )
    assert printed.splitlines()[0] == str(prefix)
    assert str(site_packages(prefix) / EXTENSION) in printed


@needs_colcon
@needs_compiler
def test_symlink_install(workspace, source, compiled, tmp_path):
    build, install = workspace / 'build_symlink', workspace / 'install_symlink'
    shutil.copytree(compiled, build / 'robocache_ros' / 'build')
    bases = ['--build-base', build, '--install-base', install]
    before = set(source.rglob('*'))
    run(['colcon', 'build', '--symlink-install', *bases], workspace)
    assert set(source.rglob('*')) == before, 'the build left files in the source tree'
    site = build / 'robocache_ros'
    assert (site / EXTENSION).is_file()
    said = who(site, tmp_path)
    assert Path(said['core']).resolve() == source / 'robocache_core' / '__init__.py'
    assert said['backend'] == 'cpu', said['reason']
    assert said['reason'].endswith(str(site / EXTENSION))
    assert {path.name for path in (install / 'robocache_ros' / 'lib' / 'robocache_ros').iterdir()} == TOOLS


@needs_colcon
@needs_compiler
def test_colcon_test(workspace):
    prefix = workspace / 'install' / 'robocache_ros'
    run(
        ['colcon', 'test', '--return-code-on-test-failure', '--event-handlers', 'console_direct+', '--pytest-args',
         'test/package/test_build.py', 'test/package/test_installed.py'],
        workspace,
        ROBOCACHE_INSTALL_PREFIX=prefix,
    )  # fmt: skip
    run(['colcon', 'test-result', '--verbose'], workspace)
    (report,) = (workspace / 'build').rglob('pytest.xml')
    cases = {
        (case.get('classname').split('.')[-1], case.get('name')): case.find('skipped')
        for case in ElementTree.parse(report).getroot().iter('testcase')
    }
    assert cases['test_installed', 'test_compiled_module_is_the_installed_one'] is None
    skipped = cases['test_build', 'test_colcon_test']
    assert 'would build within the build' in skipped.get('message')


@needs_colcon
@needs_compiler
def test_pip_install(workspace, source, compiled, tmp_path):
    copy = tmp_path / 'source'
    shutil.copytree(source, copy)
    shutil.copytree(compiled, copy / 'build')
    prefix = tmp_path / 'prefix'
    pip_install(copy, prefix)
    site = site_packages(prefix)
    said = who(site, tmp_path)
    assert said['core'] == str(site / 'robocache_core' / '__init__.py')
    assert said['backend'] == 'cpu', said['reason']
    assert said['share'] == str(prefix / 'share' / 'robocache_ros')
    assert {path.name for path in (prefix / 'bin').iterdir()} == TOOLS


def test_without_a_compiler_the_reference_runs_and_says_so(source, tmp_path):
    copy, prefix = tmp_path / 'source', tmp_path / 'prefix'
    shutil.copytree(source, copy)
    nothing = tmp_path / 'bin'
    nothing.mkdir()
    printed = pip_install(copy, prefix, '--verbose', PATH=nothing, CXX=None, CC=None)
    (line,) = (line for line in printed.splitlines() if 'no C++ compiler' in line)
    assert 'the slower NumPy reference will run' in line
    assert 'apt install g++' in line
    site = site_packages(prefix)
    assert not list(prefix.rglob('_robocache_core*'))
    said = who(site, tmp_path)
    assert said['core'] == str(site / 'robocache_core' / '__init__.py')
    assert said['backend'] == 'reference'
    assert "No module named '_robocache_core'" in said['reason']


@needs_compiler
def test_a_compiler_that_fails_fails_the_build(source, tmp_path):
    copy = tmp_path / 'source'
    shutil.copytree(source, copy)
    code, printed = pip_install(copy, tmp_path / 'prefix', check=False, CXX=shutil.which('false'), ROBOCACHE_CUDA='0')
    assert code != 0, printed
    assert f"'{shutil.which('false')}' failed" in printed


@needs_compiler
@pytest.mark.parametrize(
    ('environ', 'said'),
    [
        ({'ROBOCACHE_CUDA': 'yes'}, 'ROBOCACHE_CUDA=yes: must be auto, 0 or 1'),
        ({'ROBOCACHE_CUDA': '1', 'CUDACXX': None, 'CUDA_HOME': None, 'PATH': '/nowhere'}, 'nvcc is not found'),
        ({'CUDACXX': shutil.which('false')}, 'returned non-zero exit status'),
        pytest.param(
            {'ROBOCACHE_CUDA_ARCHS': 'hopper'},
            "ROBOCACHE_CUDA_ARCHS has 'hopper': must be like 90, 90-real or 90-virtual",
            marks=pytest.mark.skipif(shutil.which('nvcc') is None, reason='nvcc is not installed'),
        ),
    ],
)
def test_what_cannot_be_built_for_a_gpu_fails_the_build(source, tmp_path, environ, said):
    environ = {'CXX': shutil.which(COMPILER), **environ}
    command = [sys.executable, 'setup.py', 'build_ext', '--build-lib', tmp_path, '--build-temp', tmp_path]
    code, printed = run(command, source, check=False, **environ)
    assert code != 0
    assert said in printed


@needs_compiler
@pytest.mark.skipif(shutil.which('nvcc') is None, reason='nvcc is not installed')
def test_the_build_has_cuda_where_nvcc_is_and_says_for_what(workspace):
    site = site_packages(workspace / 'install' / 'robocache_ros')
    asked = 'import _robocache_core as core; print(core.cuda_archs, core.GpuError.__name__)'
    assert run([sys.executable, '-S', '-c', asked], workspace, PYTHONPATH=site).split() == ['90-real', 'GpuError']
