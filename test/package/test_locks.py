# SPDX-License-Identifier: Apache-2.0
"""requirements/lock has every pin of requirements/, and a hash of every file that may be installed."""

import re
import runpy
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / 'requirements'
LOCKS = runpy.run_path(str(ROOT / 'scripts' / 'release' / 'lock.py'))['LOCKS']

#: Each machine has its own build of it: with_env.sh installs it last, by its version alone.
UNLOCKED = {'torch'}

#: What a lock is made for: Linux on x86_64, and these versions of Python.
PYTHONS = ('3.10', '3.11', '3.12', '3.13')


def entries(lock):
    """Pairs of requirement and hashes of a lock."""
    text = (REQUIREMENTS / 'lock' / f'{lock}.txt').read_text().replace('\\\n', ' ')
    for line in text.splitlines():
        requirement, *hashes = line.split('--hash=')
        yield Requirement(requirement), [hash_.strip() for hash_ in hashes]


def pins(requirements, python):
    """Version by name, of those that ``python`` on Linux gets."""
    place = {
        **{'python_version': python, 'python_full_version': f'{python}.1', 'implementation_name': 'cpython'},
        **{'sys_platform': 'linux', 'platform_machine': 'x86_64', 'platform_python_implementation': 'CPython'},
    }
    return {
        canonicalize_name(one.name): str(one.specifier)
        for one in requirements
        if one.marker is None or one.marker.evaluate(place)
    }


@pytest.mark.parametrize('python', PYTHONS)
@pytest.mark.parametrize('lock', LOCKS)
def test_a_lock_has_every_pin_of_its_sources(lock, python):
    lines = [line.split('#')[0].strip() for source in LOCKS[lock]
             for line in (REQUIREMENTS / f'{source}.txt').read_text().splitlines()]  # fmt: skip
    asked_for = pins([Requirement(line) for line in lines if line], python)
    locked = pins([requirement for requirement, _ in entries(lock)], python)
    missing = {name: pin for name, pin in asked_for.items() if name not in UNLOCKED and locked.get(name) != pin}
    assert not missing, f'requirements/lock/{lock}.txt lacks {missing}: run make lock'


@pytest.mark.parametrize('lock', LOCKS)
def test_everything_that_is_locked_has_one_version_and_hashes(lock):
    for requirement, hashes in entries(lock):
        assert re.fullmatch(r'==[\w.+]+', str(requirement.specifier)), str(requirement)
        assert hashes, str(requirement)
        assert all(re.fullmatch('sha256:[0-9a-f]{64}', value) for value in hashes), str(requirement)


@pytest.mark.parametrize('lock', LOCKS)
def test_a_lock_names_no_package_index(lock):
    assert '://' not in (REQUIREMENTS / 'lock' / f'{lock}.txt').read_text()


def test_the_environment_is_installed_by_hashes():
    """Each distribution that `make` can set up has its lock."""
    script = (ROOT / 'scripts' / 'with_env.sh').read_text()
    assert len(re.findall(r'pip_install --require-hashes .*-r "requirements/lock/\$distro.txt"', script)) == 1
    assert {path.stem for path in (REQUIREMENTS / 'lock').iterdir()} == set(LOCKS)
