# SPDX-License-Identifier: Apache-2.0
"""Which files a bag has, by its metadata.yaml or without it, and each of them opened by what it begins with."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath

import yaml

from robocache_core.text import printable
from robocache_ros.bag_files import compression, mcap, sqlite
from robocache_ros.bag_files.channel import BagFile, FileError

_SUFFIXES = ('.mcap', '.db3')
_ZSTD_SUFFIX = '.zstd'
_ROS1_SUFFIX, _ROS1_MAGIC = '.bag', b'#ROSBAG V'


@dataclass(frozen=True)
class Listing:
    """The files of a bag in the order of their recording, and a line for each that is missing or not read."""

    files: tuple[Path, ...]
    defects: tuple[str, ...] = ()


def files_of(path: Path) -> Listing:
    """Find the files of the bag at ``path``, a folder or a file.

    A folder's metadata.yaml only gives their names: storage, compression and topics are read from the files.

    Raises:
        FileError: there is none.
    """
    if not path.is_dir():
        return Listing((path,))
    found = sorted((file for file in path.iterdir() if _is_storage(file)), key=_natural)
    listed, defect = _listed(path / 'metadata.yaml')
    if listed is None:
        listing = Listing(tuple(found), (f'{defect}: the files of the folder are read in the order of their names',))
    else:
        present = {name: file for name in listed if (file := _existing(path / name)) is not None}
        missing = [
            f'{printable(name)} is listed in metadata.yaml, and missing' for name in listed if name not in present
        ]
        unlisted = [
            f'{file.name} is not listed in metadata.yaml, and not read: it opens by itself'
            for file in found
            if file not in present.values()
        ]
        listing = Listing(tuple(present.values()), (*missing, *unlisted))
    if not listing.files and (old := sorted(path.glob(f'*{_ROS1_SUFFIX}'))):
        raise _ros1(old[0])
    if not listing.files:
        raise FileError(
            '; '.join(listing.defects) if found or listed else f'{defect}, and the folder has no file of a bag'
        )
    return listing


@contextmanager
def opened(path: Path) -> Iterator[BagFile]:
    """Open a file of a bag: MCAP or SQLite, as it is or compressed as a whole.

    Raises:
        FileError: it is neither, or damaged from its beginning on.
    """
    if path.suffix == _ROS1_SUFFIX:
        raise _ros1(path)
    with ExitStack() as stack:
        if (start := _start(path)).startswith(compression.ZSTD_MAGIC):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix='robocache-'))
            packed, path = path, Path(folder) / path.name.removesuffix(_ZSTD_SUFFIX)
            with packed.open('rb') as source, path.open('wb') as unpacked:
                compression.decompress_file(source, unpacked)
            start = _start(path)
        if start.startswith(_ROS1_MAGIC):
            raise _ros1(path)
        if start.startswith(mcap.MAGIC):
            opened: BagFile = mcap.McapFile(path)
        elif start == sqlite.MAGIC:
            opened = sqlite.SqliteFile(path)
        else:
            raise FileError(f'{path.name} begins neither as an MCAP nor as an SQLite database')
        stack.callback(opened.close)
        yield opened


def _ros1(path: Path) -> FileError:
    return FileError(
        f'{path.name} is a ROS 1 bag: convert it first: rosbags-convert --src {path} --dst {path.with_suffix("")}'
    )


def _start(path: Path) -> bytes:
    with path.open('rb') as file:
        return file.read(len(sqlite.MAGIC))


def _listed(metadata: Path) -> tuple[list[str] | None, str]:
    """Return the names in a metadata.yaml; None and what is wrong with it where there are none to be read."""
    try:
        tree = yaml.safe_load(metadata.read_text(encoding='utf-8'))
        return [PurePath(name).name for name in tree['rosbag2_bagfile_information']['relative_file_paths']], ''
    except FileNotFoundError:
        return None, 'there is no metadata.yaml'
    except (OSError, ValueError, TypeError, LookupError, RecursionError, yaml.YAMLError) as error:
        return None, f'metadata.yaml cannot be read ({printable(" ".join(str(error).split()))})'


def _existing(path: Path) -> Path | None:
    """A listed file, or what became of it when someone compressed or unpacked it."""
    twins = (path, path.with_name(path.name + _ZSTD_SUFFIX), path.with_name(path.name.removesuffix(_ZSTD_SUFFIX)))
    return next((twin for twin in twins if twin.is_file()), None)


def _is_storage(file: Path) -> bool:
    return file.is_file() and file.name.removesuffix(_ZSTD_SUFFIX).endswith(_SUFFIXES)


def _natural(file: Path) -> list[tuple[int, str]]:
    """Order in which ``bag_2`` comes before ``bag_10``."""
    return [(int(part), '') if part.isdigit() else (-1, part) for part in re.split(r'(\d+)', file.name)]
