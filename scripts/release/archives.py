# SPDX-License-Identifier: Apache-2.0
"""Archives whose bytes follow from names and contents alone: no times, owners, or modes of the machine that builds."""

from __future__ import annotations

import gzip
import sys
import tarfile
from pathlib import Path

from release.command import run


def write_sdist(tar: Path, to: Path, epoch: int) -> None:
    """Write the files of ``tar``, as setuptools packs them, to ``to``, a ``.tar.gz``, dated ``epoch`` [s]."""
    with (
        tarfile.open(tar) as given,
        open(to, 'wb') as file,
        gzip.GzipFile('', 'wb', mtime=0, fileobj=file) as packed,
        tarfile.open(fileobj=packed, mode='w', format=tarfile.PAX_FORMAT) as normal,
    ):
        for member in sorted(given.getmembers(), key=lambda member: member.name):
            plain = tarfile.TarInfo(member.name)
            plain.type, plain.size, plain.mtime = member.type, member.size, epoch
            plain.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            normal.addfile(plain, given.extractfile(member) if member.isfile() else None)


def unpack_wheel(wheel: Path, into: Path) -> Path:
    """Unpack ``wheel`` into the folder ``into``; return the folder of its contents."""
    _wheel('unpack', wheel, '--dest', into)
    (folder,) = into.iterdir()
    return folder


def pack_wheel(folder: Path, into: Path, epoch: int) -> Path:
    """Pack an unpacked wheel with a new RECORD, dated ``epoch`` [s]; return its path in the folder ``into``."""
    for path in folder.rglob('*'):
        path.chmod(0o755 if path.is_dir() else 0o644)
    into.mkdir(parents=True, exist_ok=True)
    before = set(into.glob('*.whl'))
    _wheel('pack', folder, '--dest-dir', into, SOURCE_DATE_EPOCH=str(epoch))
    (wheel,) = set(into.glob('*.whl')) - before
    return wheel


def _wheel(*arguments: str | Path, **environ: str) -> None:
    run(sys.executable, '-m', 'wheel', *arguments, **environ)
