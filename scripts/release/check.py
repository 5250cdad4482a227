# SPDX-License-Identifier: Apache-2.0
"""Check all of a release that can be checked without the network, or name the step that fails; see docs/release.md."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from release import contents, licences, sbom
from release.command import ROOT, run
from release.empty_environment import EmptyEnvironment

BUILT = ROOT / 'build' / 'release' / 'dist'

#: The wheels that are compared: of this machine's CPU, and for GPUs where what compiles for them is.
TARGETS = ('x86_64', 'cuda') if shutil.which('nvcc') else ('x86_64',)

#: Commands of other checks, a line each: one that fails fails the release.
HOOKS: tuple[tuple[str, ...], ...] = (
    (sys.executable, 'scripts/rosdep_check.py'),
    ('make', '--no-print-directory', 'docs'),
    ('make', '--no-print-directory', 'docs-check'),
    ('make', '--no-print-directory', 'test', 'ARGS=-q test/package test/ros/test_security_policy.py'),
)


def clean_tree() -> str:
    """Everything is committed: what is built is the newest commit."""
    changed = run('git', 'status', '--porcelain')
    if changed:
        raise SystemExit(f'commit or remove what git status shows:\n{changed}')
    return run('git', 'log', '-1', '--format=%h %s').strip()


def versions() -> str:
    """package.xml, setup.py, both packages and CHANGELOG.rst name one version."""
    version = ElementTree.parse(ROOT / 'package.xml').getroot().findtext('version')
    found = {'setup.py': run(sys.executable, 'setup.py', '--version').strip()}
    for package in ('robocache_core', 'robocache_ros'):
        (found[package],) = re.findall("^__version__ = '(.+)'", (ROOT / package / '__init__.py').read_text(), re.M)
    sections = re.findall(r'^(\S+)(?: \(.+\))?\n-+$', (ROOT / 'CHANGELOG.rst').read_text(), re.M)
    found['CHANGELOG.rst'] = next(section for section in sections if section != 'Forthcoming')
    others = {name: other for name, other in found.items() if other != version}
    if others:
        raise SystemExit(f'package.xml has version {version}, but {others}: make them agree')
    if 'Forthcoming' in sections:
        return f'{version}; before the tag, CHANGELOG.rst needs a version and date in place of Forthcoming'
    return str(version)


def reproducible() -> str:
    """Two builds in two folders, with other modes of files and another time zone, are equal to the bit."""
    shutil.rmtree(BUILT, ignore_errors=True)
    hashes = []
    for folder, zone, umask in (('one', 'UTC', '022'), ('another/and/deeper', 'Asia/Tokyo', '077')):
        with tempfile.TemporaryDirectory() as name:
            place = Path(name) / folder
            place.mkdir(parents=True)
            for target in TARGETS:
                dist = f'{sys.executable} -m release.dist --target {target} --out {BUILT / folder}'
                run('sh', '-c', f'umask {umask}; exec {dist}', TMPDIR=str(place), TZ=zone)
        files = sorted((BUILT / folder).iterdir())
        hashes.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    if hashes[0] != hashes[1]:
        raise SystemExit(f'two builds differ: {hashes[0]} and {hashes[1]}')
    return ', '.join(f'{name} {value}' for name, value in hashes[0].items())


def wheel_contents() -> str:
    """Each wheel holds what it should and nothing else, and nothing of this machine."""
    wrong = [f'{each.name}: {line}' for each in wheels() for line in (*contents.faults(each), *sbom.faults(each))]
    if wrong:
        raise SystemExit('\n'.join(wrong))
    return ', '.join(f'{each.name} {each.stat().st_size} bytes' for each in wheels())


def metadata() -> str:
    """An index takes the metadata of sdist and wheels."""
    files = sorted((BUILT / 'one').iterdir())
    run(sys.executable, '-m', 'twine', '--no-color', 'check', *files)
    return f'{len(files)} files'


def empty_environment() -> str:
    """The wheel for CPUs runs the demo where nothing else is installed than what it needs."""
    environment = EmptyEnvironment()
    environment.make()
    (wheel,) = (each for each in wheels() if '+cuda' not in each.name)
    environment.install(wheel)
    with tempfile.TemporaryDirectory() as folder:
        return environment.demo(Path(folder))


def licences_of_dependencies() -> str:
    """Every package in that environment has a licence that pyproject.toml allows."""
    return licences.check(EmptyEnvironment())


def hooks() -> str:
    """The other checks, in the environment as it is without the tools of a release and what this make was given."""
    theirs = {name: value for name, value in os.environ.items() if name not in ('MAKEFLAGS', 'ARGS')}
    theirs['PYTHONPATH'] = theirs.pop('ROBOCACHE_PYTHONPATH', '')
    for command in HOOKS:
        run(*command, env=theirs)
    return ', '.join(' '.join(command[1:]) for command in HOOKS)


STEPS = (
    *(clean_tree, versions, reproducible, wheel_contents, metadata),
    *(empty_environment, licences_of_dependencies, hooks),
)


def wheels() -> list[Path]:
    """Return the wheels that `reproducible` built."""
    return sorted((BUILT / 'one').glob('*.whl'))


def main() -> None:
    """Do every step, or those that the command line names; the first that fails ends it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', nargs='+', choices=[step.__name__ for step in STEPS], metavar='STEP')
    only = parser.parse_args().only
    for step in STEPS:
        if only and step.__name__ not in only:
            continue
        begun = time.monotonic()
        try:
            said = step()
        except SystemExit as failed:
            raise SystemExit(f'release-check: {step.__name__}: {failed}') from None
        print(f'{step.__name__:25} {time.monotonic() - begun:4.0f} s  {said}', flush=True)
    print(f'release-check: {"these steps are" if only else "all of it is"} green')


if __name__ == '__main__':
    main()
