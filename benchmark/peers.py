# SPDX-License-Identifier: Apache-2.0
"""The libraries that we are measured against; one that is not installed is named, never passed over."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from pathlib import Path
from types import ModuleType

_REQUIREMENTS = Path(__file__).parent.parent / 'requirements' / 'bench.txt'

#: By distribution: the module that is imported, and what its shared libraries need of the system.
_PEERS = {
    'small_gicp': ('small_gicp', ''),
    'kiss-icp': ('kiss_icp.voxelization', ''),
    'open3d-cpu': ('open3d', 'apt install libusb-1.0-0 libgl1 libx11-6 libgomp1'),
    'opencv-python-headless': ('cv2', ''),
    'scipy': ('scipy', ''),
    'simplejpeg': ('simplejpeg', ''),
}


class Peers:
    """The peers that can be imported here.

    Attributes:
        modules: by distribution.
        versions: by distribution, of those that were imported.
        missing: by distribution, of those that were not: why, and how to install it.
    """

    def __init__(self) -> None:
        self.modules: dict[str, ModuleType] = {}
        self.versions: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        for name, (module, system) in _PEERS.items():
            try:
                self.modules[name] = importlib.import_module(module)
            except ImportError as error:
                how = f'pip install {pinned(name)}'
                self.missing[name] = f'{error}; {how}' + (f'; {system}' if system else '')
            else:
                self.versions[name] = _version(name, self.modules[name])

    def get(self, name: str) -> ModuleType | None:
        """The module of a distribution, None where it is missing."""
        return self.modules.get(name)


def pinned(name: str) -> str:
    """A distribution with the version in which it is measured, ``name==version`` where requirements say so."""
    for line in _REQUIREMENTS.read_text().splitlines():
        if re.match(rf'{re.escape(name)}\b(?!-)', line):
            return line.partition('#')[0].partition(';')[0].strip()
    return name


def _version(name: str, module: ModuleType) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # a system's package, such as Debian's python3-opencv
        return str(getattr(module, '__version__', 'unknown'))
