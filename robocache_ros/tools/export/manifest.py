# SPDX-License-Identifier: Apache-2.0
"""What a training set says of itself: from which bags, by which configuration and versions, and what became of it."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import robocache_ros
from robocache_ros.bag_outcome import BagOutcome
from robocache_ros.bags import Bag, BagError
from robocache_ros.offline import TARGETS
from robocache_ros.pixels import JPEG_DECODER

NAME = 'manifest.json'
#: Libraries that a frame's bits, or a file's, could depend on.
_LIBRARIES = ('numpy', 'torch', 'opencv-python-headless', 'simplejpeg', 'rosbags', 'pyarrow', 'av')


def identity(bag: Bag) -> dict[str, Any]:
    """What a bag is, wherever it is: its name, its bounds, and the SHA-256 of each of its files."""
    return {
        'name': name_of(bag),
        'start_ns': bag.start_ns,
        'end_ns': bag.end_ns,
        'messages': bag.count,
        'files': {path.name: sha256_of(path) for path in bag.files},
    }


def name_of(bag: Bag) -> str:
    """What a set calls a bag: that of its folder, or of its file without the suffix; links are followed."""
    path = bag.path.resolve()
    return path.name if path.is_dir() else path.stem


def check_given_once(bags: Sequence[Bag], identities: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a bag whose files are all in another one, by whatever path or name.

    Raises:
        BagError: there is one.
    """
    contents = [set(identity['files'].values()) for identity in identities]
    for index, content in enumerate(contents):
        for before in range(index):
            if content <= contents[before] or contents[before] <= content:
                raise BagError(f'{bags[index].path}: has the same messages as {bags[before].path}: give each bag once')


def state_of(bag: Bag) -> list[tuple[int, int]]:
    """Of each file of a bag its size and when it was last written: another one where it is written while it is read."""
    return [(stat.st_size, stat.st_mtime_ns) for stat in (path.stat() for path in bag.files)]


def outcome(digests: Sequence[str], found: BagOutcome) -> dict[str, Any]:
    """What became of a bag: its frames, their SHA-256, the accounts of targets and streams, what is wrong with it."""
    accounts = {
        name: {'received': each.received, 'used': each.used, 'held': each.held, 'dropped': each.dropped}
        for name, each in found.counts.items()
    }
    targets = accounts.pop(TARGETS)
    return {
        'frames': len(digests),
        'sha256': of_frames(digests),
        'defects': list(found.defects),
        'warnings': list(found.warnings),
        **{what: dict(sorted(counts.items())) for what, counts in found.lacking.items()},
        'targets': targets,
        'streams': accounts,
    }


def of_frames(digests: Iterable[str]) -> str:
    """SHA-256 of all frames in their order, from the digest of each: that of ``replay``'s summary."""
    return hashlib.sha256(''.join(digests).encode()).hexdigest()


def manifest(
    bags: Sequence[Mapping[str, Any]], digests: Sequence[str], configuration: str, formats: Sequence[str]
) -> dict[str, Any]:
    """The manifest of a set; ``bags`` has of each its identity and outcome, ``digests`` those of all frames."""
    return {
        'version': 1,
        **made_by(),
        'formats': list(formats),
        'frames': len(digests),
        'sha256': of_frames(digests),
        'bags': list(bags),
        'configuration': configuration,
    }


def made_by() -> dict[str, Any]:
    """The version of this package, and of all else that a set could depend on."""
    versions = {'python': platform.python_version(), **_versions(), 'jpeg_decoder': JPEG_DECODER}
    return {'robocache': robocache_ros.__version__, 'versions': versions}


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    sha = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()
