# SPDX-License-Identifier: Apache-2.0
"""What fuzzing found beside the seeds of a target, and is kept: a zip each."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parents[2] / 'corpus'
#: Bytes of a target's zip at most.
MOST = 14_000
#: Of every entry, so that equal inputs give equal files.
_DATE = (2026, 1, 1, 0, 0, 0)


def names() -> list[str]:
    """The targets of which something is kept: all but one that is new."""
    return sorted(path.stem for path in FOLDER.glob('*.zip'))


def inputs(target: str) -> list[bytes]:
    """What is kept of a target, if anything is."""
    if not _path(target).exists():
        return []
    with zipfile.ZipFile(_path(target)) as file:
        return [file.read(name) for name in file.namelist()]


def keep(target: str, found: Iterable[bytes]) -> int:
    """Keep as many of what was found as there is room for, in the order of their digests; return how many."""
    FOLDER.mkdir(exist_ok=True)
    kept: list[bytes] = []
    for data in sorted(set(found), key=lambda data: sha256(data).digest()):
        _write(target, [*kept, data])
        if _path(target).stat().st_size <= MOST:
            kept.append(data)
    _write(target, kept)
    return len(kept)


def _write(target: str, kept: list[bytes]) -> None:
    with zipfile.ZipFile(_path(target), 'w', zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for number, data in enumerate(kept):
            file.writestr(zipfile.ZipInfo(f'{number:03d}', _DATE), data, zipfile.ZIP_DEFLATED, 9)


def _path(target: str) -> Path:
    return FOLDER / f'{target}.zip'
