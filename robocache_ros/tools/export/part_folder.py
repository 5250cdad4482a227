# SPDX-License-Identifier: Apache-2.0
"""The folder ``OUT.part`` in which a training set grows, until it is whole and becomes ``OUT``."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robocache_ros.tools.export.writer import UnusableError

_PROGRESS = 'progress'


class PartFolder:
    """``OUT.part``, and in it which bags are written; one process at a time has it.

    Args:
        out: where the set will be.

    Raises:
        UnusableError: ``out`` exists or names no folder.
    """

    def __init__(self, out: Path) -> None:
        if out.exists() or out.is_symlink():
            raise UnusableError(f'{out} exists: choose another name, or remove it')
        self.out, self.path = out, out.with_name(f'{out.name}.part')
        self._progress = self.path / _PROGRESS

    def open(self, settings: Mapping[str, Any]) -> None:
        """Make it, or go on with it; nobody else has it until it is closed.

        ``settings``: what makes the set; what was written by others is not gone on with.

        Raises:
            UnusableError: another process writes it, or what is in it was made by other settings, or by something else.
        """
        if self.path.is_dir() and not self._progress.exists() and any(self.path.iterdir()):
            raise UnusableError(f'{self.path} has files that no export left there: remove it')
        self._progress.mkdir(parents=True, exist_ok=True)
        self._lock = (self._progress / 'lock').open('w')
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise UnusableError(f'{self.path} is being written by another process') from error
        if self._read('settings') != json.loads(json.dumps(settings)):
            if self.written(0) is not None:
                self.close()
                raise UnusableError(
                    f'{self.path} was begun with other bags, formats, versions or another configuration: remove it'
                )
            self._begin(settings)

    def _begin(self, settings: Mapping[str, Any]) -> None:
        """Remove what an export left that wrote no bag: its folders would be part of the set."""
        for path in self.path.iterdir():
            if path != self._progress:
                shutil.rmtree(path)
        self._write('settings', settings)

    def close(self) -> None:
        """Let others have it."""
        self._lock.close()

    @property
    def spool(self) -> Path:
        """Folder for what is needed on the way; emptied when it is asked for."""
        spool = self._progress / 'spool'
        shutil.rmtree(spool, ignore_errors=True)
        spool.mkdir()
        return spool

    def written(self, index: int) -> dict[str, Any] | None:
        """Return what was noted of the bag ``index``; None where it is not written."""
        return self._read(f'bag-{index}')

    def note(self, index: int, record: Mapping[str, Any]) -> None:
        """Note that a bag is written; what it has in files of the set is on the disk before the note of it."""
        os.sync()
        self._write(f'bag-{index}', record)

    def remove(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path)

    def complete(self) -> None:
        """Make it ``OUT``; until then the next export goes on with it."""
        os.sync()  # a name must not outlive its files' contents
        self.path.rename(self.out)
        shutil.rmtree(self.out / _PROGRESS)

    def _read(self, name: str) -> dict[str, Any] | None:
        file = self._progress / f'{name}.json'
        return json.loads(file.read_bytes()) if file.exists() else None

    def _write(self, name: str, record: Mapping[str, Any]) -> None:
        file = self._progress / f'{name}.json'
        new = file.with_suffix('.new')
        with new.open('w', encoding='utf-8') as stream:
            json.dump(record, stream)
            stream.flush()
            os.fsync(stream.fileno())
        new.rename(file)
