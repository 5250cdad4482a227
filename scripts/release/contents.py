# SPDX-License-Identifier: Apache-2.0
"""What a wheel holds, and must not hold."""

from __future__ import annotations

import email
import json
import re
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from release.command import ROOT

#: Where these are looked for, `*` is any part of a name.
REQUIRED = (
    *('_robocache_core.*.so', 'robocache_core/py.typed', 'robocache_ros/py.typed', 'robocache_sim/py.typed'),
    *('*.dist-info/licenses/LICENSE', '*.dist-info/sboms/robocache_ros.cdx.json'),
    *('*/include/robocache_ros/robocache/fused_frame.hpp', '*/include/robocache_ros/robocache/json.hpp'),
    *('*/share/robocache_ros/package.xml', '*/share/ament_index/resource_index/packages/robocache_ros'),
    *('*/share/robocache_ros/launch/preprocess.launch.py', '*/share/robocache_ros/config/preprocess.yaml'),
    '*/share/robocache_ros/config/fastdds_large_data.xml',
)

#: Files of other kinds have no place in a wheel: bags, images, archives, sources of tests.
SUFFIXES = {'', '.hpp', '.json', '.py', '.rviz', '.so', '.txt', '.typed', '.xml', '.yaml'}
FOLDERS = {'benchmark', 'build', 'scripts', 'support', 'test', 'tests'}


def faults(wheel: Path) -> list[str]:
    """Return a line for each thing that is wrong with the contents of ``wheel``."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    paths = [PurePosixPath(name) for name in files]
    wrong = [f'{pattern} is not in it' for pattern in REQUIRED if not any(path.match(pattern) for path in paths)]
    wrong += [
        f'{path} does not belong in it'
        for path in paths
        if '.dist-info' not in path.parts[0] and (path.suffix not in SUFFIXES or FOLDERS & set(path.parts))
    ]
    wrong += [
        f'{name} has a path of this machine: {here}'
        for name, data in files.items()
        for here in paths_of_this_machine()
        if here.encode() in data
    ]
    return wrong + _unnamed(files)


def paths_of_this_machine() -> set[str]:
    """Folders of the one who builds: the tree, home, the environment and its Python, and where files are temporary."""
    folders = {ROOT, Path.home(), Path(sys.prefix), Path(sys.base_prefix), Path(tempfile.gettempdir())}
    return {f'{folder}/' for folder in folders if folder not in (Path('/'), Path('/usr'))}


def _unnamed(files: dict[str, bytes]) -> list[str]:
    """A line for each dependency of the metadata that the bill of materials does not name."""
    (described,) = (data for name, data in files.items() if name.endswith('.dist-info/METADATA'))
    boms = [json.loads(data) for name, data in files.items() if name.endswith('.cdx.json')]
    named = {component['name'] for bom in boms for component in bom.get('components', ())}
    needed = email.message_from_bytes(described).get_all('Requires-Dist', [])
    names = {re.split(r'[^\w.-]', requirement)[0] for requirement in needed}
    return [f'{name} is not in the bill of materials' for name in sorted(names - named)] if boms else []
