# SPDX-License-Identifier: Apache-2.0
"""``doctor`` in a whole environment, and in broken ones."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import robocache_core
from robocache_core import backends
from robocache_ros import dds_environment
from robocache_ros.tools import doctor

ROOT = Path(__file__).parents[2]


def run(path=(), **environ):
    """Run ``doctor`` with ``path`` before all other modules; return its exit code and what it printed."""
    before = [str(folder) for folder in (*path, ROOT)]
    inherited = [os.environ['PYTHONPATH']] if os.environ.get('PYTHONPATH') else []
    done = subprocess.run(
        [sys.executable, '-m', 'robocache_ros.tools.doctor'],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(before + inherited), **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert not done.stderr
    return done.returncode, done.stdout


def finding(printed, subject):
    """Return level and text of the finding about ``subject``, and its fix."""
    lines = printed.splitlines()
    for number, text in enumerate(lines):
        if text[7:].startswith(f'{subject} '):
            after = lines[number + 1] if number + 1 < len(lines) else ''
            return text[:5].strip(), text[24:], after.partition('-> ')[2]
    raise AssertionError(f'{subject} is not in:\n{printed}')


def test_whole_environment():
    code, printed = run()
    assert code == 0, printed
    assert printed.startswith(f'RoboCache {robocache_core.__version__}\n')
    assert printed.endswith('The node can run.\n')
    assert 'FAIL' not in printed
    active = backends.active()
    level, what, _ = finding(printed, 'backend')
    assert what.startswith(f'{active.name}, for tensors on the CPU: {active.reason}')
    assert level == ('warn' if active.name == 'reference' else 'ok')


def test_a_machine_without_a_gpu_is_no_fault(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    monkeypatch.setattr(Path, 'exists', lambda path: False)
    found = doctor.gpu()
    assert found.level == 'ok'
    assert 'torch.cuda.is_available() is False; the CPU computes' in found.what
    monkeypatch.setattr(Path, 'exists', lambda path: True)
    assert doctor.gpu().level == 'warn'


def test_a_gpu_that_fails_is_reported_and_the_node_runs_all_the_same(monkeypatch):
    def fail(index):
        raise RuntimeError('CUDA driver version is insufficient')

    module = SimpleNamespace(Uploader=fail)
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr('torch.cuda.current_device', lambda: 0)
    monkeypatch.setattr(backends, 'cuda', lambda: SimpleNamespace(module=module))
    found = doctor.gpu()
    assert found.level == 'warn'
    assert 'CUDA driver version is insufficient' in found.what


def test_reference_is_named_with_its_reason():
    code, printed = run(ROBOCACHE_BACKEND='reference')
    level, what, fix = finding(printed, 'backend')
    assert (code, level, fix) == (0, 'warn', 'unset ROBOCACHE_BACKEND')
    assert what.startswith('reference, for tensors on the CPU: ROBOCACHE_BACKEND=reference')


def test_unknown_backend_keeps_the_node_from_running():
    code, printed = run(ROBOCACHE_BACKEND='abacus')
    level, what, _ = finding(printed, 'backend')
    assert (code, level) == (1, 'FAIL')
    assert 'ROBOCACHE_BACKEND=abacus' in what
    assert printed.endswith('The node cannot run: backend.\n')


def test_broken_installation(tmp_path):
    (tmp_path / 'cv2.py').write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    (tmp_path / 'rosbags.py').write_text("raise ModuleNotFoundError(\"No module named 'rosbags'\", name='rosbags')")
    code, printed = run([tmp_path])
    level, what, fix = finding(printed, 'cv2')
    assert (code, level, what) == (1, 'FAIL', 'broken: libGL.so.1: cannot open shared object file')
    assert 'python3-opencv' in fix
    assert printed.splitlines()[-1].startswith('The node cannot run: cv2')
    assert finding(printed, 'rosbags') == (
        'warn',
        'not installed: bags are read by installed types alone; no `simulate`, `faults`, `init --live`, '
        '`export --format mcap`',
        'pip install rosbags',
    )


@pytest.mark.parametrize(
    ('text', 'what'),
    [
        ("raise ModuleNotFoundError('no', name='sensor')", 'not installed'),
        ("raise ModuleNotFoundError('no driver', name='driver')", 'broken: no driver'),
        ("raise AttributeError('two\\nlines')", 'broken: two lines'),
        ('raise RuntimeError', 'broken: RuntimeError'),
    ],
)
def test_whatever_an_import_raises_is_a_finding(monkeypatch, tmp_path, text, what):
    (tmp_path / 'sensor.py').write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor.installed('sensor', doctor.FAIL, '', 'buy one') == doctor.Finding('FAIL', 'sensor', what, 'buy one')


def test_nothing_but_the_standard_library():
    """On a bare Python everything is missing, and each is a finding."""
    done = subprocess.run(
        [sys.executable, '-S', '-m', 'robocache_ros.tools.doctor'],  # -S: no site-packages
        env={'PATH': os.environ['PATH'], 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout
    assert not done.stderr
    for module in doctor.REQUIRED:
        assert finding(done.stdout, module)[:2] == ('FAIL', 'not installed')
    assert finding(done.stdout, 'numpy')[2] == doctor.REQUIRED['numpy']


def test_the_environment_it_asks_for_is_in_force_when_set():
    environment = dds_environment.environment('jazzy', dds_environment.share_directory(), {})
    assert doctor.profile({'ROS_DISTRO': 'jazzy', **environment}).level == doctor.OK
    assert '64 MiB' in doctor.profile({'ROS_DISTRO': 'jazzy', **environment}).what
    assert doctor.allocator(environment).level == doctor.OK


def test_fixes_name_the_values_to_set():
    unset = doctor.profile({'ROS_DISTRO': 'kilted'})
    assert unset.level == doctor.WARN
    assert (
        unset.fix
        == f'export FASTDDS_DEFAULT_PROFILES_FILE={dds_environment.share_directory() / dds_environment.PROFILE}'
    )
    assert doctor.allocator({}).fix.startswith('export MALLOC_MMAP_THRESHOLD_=33554432 ')


@pytest.mark.parametrize(
    ('text', 'expected'),
    [(None, 'No such file'), ('<dds>', 'cannot be read'), ('<dds/>', 'sets no shared-memory segment')],
)
def test_profile_that_does_nothing(tmp_path, text, expected):
    path = tmp_path / 'profile.xml'
    if text is not None:
        path.write_text(text)
    found = doctor.profile({'ROS_DISTRO': 'jazzy', 'FASTRTPS_DEFAULT_PROFILES_FILE': str(path)})
    assert found.level == doctor.WARN
    assert expected in found.what


@pytest.mark.parametrize(
    ('module', 'distro', 'said'),
    [
        ('tf2_ros', 'jazzy', 'apt install ros-jazzy-tf2-ros-py'),
        ('tf2_msgs', 'kilted', 'apt install ros-kilted-tf2-msgs'),
        (
            'tf2_ros',
            '',
            'not among the wheels: source an installation of ROS 2; without it set <stream>.extrinsics, which '
            "`init BAG` takes from the bag's /tf_static",
        ),
        *((module, '', 'not among the wheels: ') for module in ('launch_ros', 'sensor_msgs_py', 'tf2_msgs')),
        ('matplotlib', '', 'apt install python3-matplotlib, or pip install matplotlib'),
    ],
)
def test_a_remedy_is_one_that_there_is(module, distro, said):
    assert doctor.remedy(module, {'ROS_DISTRO': distro}).startswith(said)
    assert module in doctor.OPTIONAL


def test_other_middleware_is_a_warning():
    assert doctor.middleware({'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp'}).level == doctor.WARN
    assert doctor.middleware({'RMW_IMPLEMENTATION': 'rmw_fastrtps_cpp'}).level == doctor.OK


def test_shared_memory_too_small(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.shutil, 'disk_usage', lambda path: SimpleNamespace(total=64 << 20, free=64 << 20))
    found = doctor.shared_memory(tmp_path)
    assert (found.level, found.fix.startswith('docker run --shm-size')) == (doctor.WARN, True)
    assert '64 of 64 MiB free' in found.what


def test_shared_memory_absent(tmp_path):
    assert doctor.shared_memory(tmp_path / 'absent').level == doctor.WARN
