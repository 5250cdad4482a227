# SPDX-License-Identifier: Apache-2.0
"""Archives of a release are the same bytes, whoever packs them, where, and when."""

import os
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EPOCH = 1_700_000_001

FILES = {
    'robocache_ros-1.0/b.py': 'b = 1\n',
    'robocache_ros-1.0/a.sh': '#!/bin/sh\n',
    'robocache_ros-1.0/deeper/c.txt': 'c\n',
}
WHEEL = {
    'robocache_ros-1.0/robocache_ros/b.py': 'b = 1\n',
    'robocache_ros-1.0/robocache_ros/a.py': 'a = 1\n',
    'robocache_ros-1.0/robocache_ros-1.0.dist-info/METADATA': 'Metadata-Version: 2.4\nName: robocache_ros\n',
    'robocache_ros-1.0/robocache_ros-1.0.dist-info/WHEEL': 'Wheel-Version: 1.0\nTag: py3-none-any\n',
    'robocache_ros-1.0/robocache_ros-1.0.dist-info/RECORD': '',
}


@pytest.fixture
def archives(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'scripts')
    from release import archives

    yield archives
    for name in ('release', 'release.archives', 'release.command'):
        sys.modules.pop(name)


def written(files, folder, order, mode, mtime):
    """Write ``files`` below ``folder``, as another machine would have them; return the top folder."""
    for name in sorted(files, reverse=order):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[name])
        path.chmod(mode | (0o100 if path.suffix == '.sh' else 0))
        os.utime(path, (mtime, mtime))
    return folder / 'robocache_ros-1.0'


MACHINES = [('one', False, 0o600, 1_000_000_000), ('another/and/deeper', True, 0o664, 1_500_000_000)]


def test_sdists_of_two_machines_are_equal(archives, tmp_path):
    packed = []
    for name, order, mode, mtime in MACHINES:
        top = written(FILES, tmp_path / name, order, mode, mtime)
        with tarfile.open(tmp_path / 'given.tar', 'w') as tar:
            for path in sorted(top.rglob('*'), reverse=order):
                tar.add(path, path.relative_to(top.parent), recursive=False)
        archives.write_sdist(tmp_path / 'given.tar', tmp_path / 'sdist.tar.gz', EPOCH)
        packed.append((tmp_path / 'sdist.tar.gz').read_bytes())
    assert packed[0] == packed[1]
    with tarfile.open(tmp_path / 'sdist.tar.gz') as tar:
        found = {member.name: (member.mode, member.mtime, member.uid, member.uname) for member in tar}
    assert list(found) == sorted(found)
    assert found['robocache_ros-1.0/a.sh'] == (0o755, EPOCH, 0, '')
    assert found['robocache_ros-1.0/b.py'] == (0o644, EPOCH, 0, '')


def test_wheels_of_two_machines_are_equal(archives, tmp_path):
    packed = []
    for name, order, mode, mtime in MACHINES:
        top = written(WHEEL, tmp_path / name, order, mode, mtime)
        wheel = archives.pack_wheel(top, tmp_path / 'wheels' / name, EPOCH)
        assert wheel.name == 'robocache_ros-1.0-py3-none-any.whl'
        packed.append(wheel.read_bytes())
    assert packed[0] == packed[1]
    with zipfile.ZipFile(wheel) as contents:
        modes = {Path(info.filename).name: info.external_attr >> 16 & 0o777 for info in contents.infolist()}
        assert modes.pop('RECORD') == 0o664  # as the library `wheel` sets it
        assert set(modes.values()) == {0o644}
    unpacked = archives.unpack_wheel(wheel, tmp_path / 'unpacked')
    assert (unpacked / 'robocache_ros' / 'b.py').read_text() == 'b = 1\n'
