# SPDX-License-Identifier: Apache-2.0
"""``scripts/with_env.sh`` on machines where something is missing: one clear line, and nothing left behind."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path('scripts') / 'with_env.sh'

pytestmark = pytest.mark.skipif(shutil.which('bash') is None, reason='bash is not installed')


@pytest.fixture
def tree(tmp_path):
    """A source tree with nothing set up: the script and what it reads first."""
    for name in ('scripts', 'requirements'):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def python(tmp_path):
    """Make a stand-in for a Python of some version, with modules that it cannot import."""

    def make(version, absent=('rclpy',)):
        path = tmp_path / 'python'
        refuse = '|'.join(f'*"import {name}"*' for name in absent)
        path.write_text(f'#!/bin/sh\ncase "$*" in {refuse}) exit 1;; *version_info*) echo {version};; esac\n')
        path.chmod(0o755)
        return str(path)

    return make


def run(tree, *arguments, **environ):
    """Run the script with ``environ`` alone; return its exit code and the lines that it printed."""
    done = subprocess.run(
        [tree / SCRIPT, *arguments],
        env={'PATH': os.environ['PATH'], 'HOME': str(tree), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout.splitlines()


def fails(tree, *arguments, **environ):
    """Return the only line with which the script fails."""
    code, (line,) = run(tree, *arguments, **environ)
    assert code == 1
    assert not list(tree.glob('build/*'))
    return line


def test_python_too_old(tree, python):
    line = fails(tree, 'true', PYTHON=python('3.9'))
    assert 'is Python 3.9, 3.10 or newer is needed' in line


def test_python_too_new_for_the_wheels(tree, python):
    line = fails(tree, 'true', PYTHON=python('3.14'))
    assert 'for Python 3.10 to 3.13' in line
    assert 'source an installation of ROS 2' in line


def test_no_python(tree):
    assert 'python-of-nowhere is not found: apt install python3' in fails(tree, 'true', PYTHON='python-of-nowhere')


def test_no_venv(tree, python):
    line = fails(tree, 'true', PYTHON=python('3.12', absent=['venv']))
    assert line.endswith('cannot make virtual environments: apt install python3.12-venv')


def test_unknown_distribution(tree, python):
    assert 'ROS=melodic: must be jazzy or kilted' in fails(tree, '--ros', 'melodic', 'true', PYTHON=python('3.12'))


def test_other_distribution_than_the_sourced_one(tree, python):
    line = fails(tree, '--ros', 'kilted', 'true', PYTHON=python('3.12', absent=['none']), ROS_DISTRO='jazzy')
    assert 'ROS 2 jazzy is sourced and hides the wheels of kilted' in line


def test_sourced_for_another_python_is_told_and_passed_over(tree, python):
    code, lines = run(tree, 'true', PYTHON=python('3.12', absent=['rclpy', 'venv']), ROS_DISTRO='jazzy')
    assert code == 1
    assert 'ROS 2 jazzy is sourced, but' in lines[0]
    assert lines[0].endswith('cannot import its rclpy: taking the wheels')


def test_no_network(tree):
    code, lines = run(tree, 'true', PYTHON=sys.executable, PIP_NO_INDEX='1', PIP_FIND_LINKS='', PIP_RETRIES='0')
    assert code == 1
    assert lines[0].endswith('this takes some minutes and 3 GB, once')
    assert 'pip could not install' in lines[-1]
    assert 'no network?' in lines[-1]
    assert not list(tree.glob('build/*/.environment')), 'a failed set-up must be tried again'
