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

from robocache_ros.tools.export.writer import ExportError

_PROGRESS = 'progress'


class PartFolder:
    """``OUT.part``, and in it which bags are written; one process at a time has it.

    Args:
        out: where the set will be.
        settings: what makes the set; what was written by others is not gone on with.

    Raises:
        ExportError: ``out`` exists, another process writes it, or what is in ``OUT.part`` was made by other settings.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        self.out, self.path = out, out.with_name(f'{out.name}.part')
        if out.exists():
            raise ExportError(f'{out} exists: choose another name, or remove it')
        self._progress = self.path / _PROGRESS
        self._progress.mkdir(parents=True, exist_ok=True)
        self._lock = (self._progress / 'lock').open('w')
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise ExportError(f'{self.path} is being written by another process') from error
        known = self._read('settings')
        if known is None:
            self._write('settings', settings)
        elif known != json.loads(json.dumps(settings)):
            self.close()
            raise ExportError(f'{self.path} was begun with other bags, formats or another configuration: remove it')

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
        """Note that a bag is written."""
        self._write(f'bag-{index}', record)

    def complete(self) -> None:
        """Make it ``OUT``."""
        shutil.rmtree(self._progress)
        os.sync()  # a name must not outlive its files' contents
        self.path.rename(self.out)

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
