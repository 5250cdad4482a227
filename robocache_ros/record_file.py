# SPDX-License-Identifier: Apache-2.0
"""What the flight recorder has, as a file of JSON lines: a header, and an entry a line."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robocache_core.text import shown
from robocache_core.units import SECOND
from robocache_ros.recorder import Entry, Kind

#: Bumped when what reads a file would have to change.
VERSION = 1
#: Files of a node that stay in a folder.
MAX_FILES = 10
#: When a file was written, UTC, as its name has it.
_STAMP = '_'.join('[0-9]' * digits for digits in (8, 6, 9))
_HEADER: Mapping[str, Any] = {
    **dict.fromkeys(('node', 'cause', 'blocker'), str),
    **dict.fromkeys(('steady_ns', 'ros_time_ns', 'max_wait_ns'), int),
    'streams': dict,
}
_TYPES: Mapping[str, Any] = {
    **dict.fromkeys(('kind', 'stream', 'reason', 'detail'), str),
    **dict.fromkeys(('steady_ns', 'nbytes', 'epoch', 'sequence', 'keep_every', 'num_waiting'), int),
    'stamp_ns': (int, type(None)),  # None of a message whose stamp cannot be read
    **dict.fromkeys(('picks', 'valid', 'latency_ns'), dict),
    **dict.fromkeys(('given_up', 'damaged'), list),
}


class RecordError(ValueError):
    """A file that is no record."""


@dataclass(frozen=True)
class Record:
    """A file that was read: its header (docs/flight_recorder.md), and the entries by their fields, in order."""

    header: Mapping[str, Any]
    entries: Sequence[Mapping[str, Any]]


def write(folder: Path, node: str, header: Mapping[str, Any], entries: Sequence[Entry]) -> Path:
    """Write a file into ``folder``, which is made if it is not there; the oldest of ``node`` beyond ``MAX_FILES`` go.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prefix = f'record_{node.strip("/").replace("/", ".")}_'
    seconds, nanoseconds = divmod(time.time_ns(), SECOND)
    path = folder / f'{prefix}{time.strftime("%Y%m%d_%H%M%S", time.gmtime(seconds))}_{nanoseconds:09d}.jsonl'
    part = path.with_suffix('.part')
    try:
        with part.open('w', encoding='utf-8') as file:
            file.write(json.dumps({'kind': 'header', 'version': VERSION, 'node': node, **header}) + '\n')
            file.writelines(json.dumps(_fields(entry)) + '\n' for entry in entries)
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    for old in sorted(folder.glob(f'{prefix}{_STAMP}.jsonl'))[:-MAX_FILES]:
        old.unlink(missing_ok=True)
    return path


def read(path: Path) -> Record:
    """Return what is in a file.

    Raises:
        OSError: it cannot be read.
        RecordError: it is no record, or one of another version.
    """
    lines = path.read_bytes().splitlines()
    parsed = [_parse(path, number, line) for number, line in enumerate(lines, 1)]
    if not parsed or parsed[0].get('kind') != 'header':
        raise RecordError(f'{path}: has no header: it is no file of the flight recorder')
    header, *entries = parsed
    if header.get('version') != VERSION:
        version = shown(header.get('version'))
        raise RecordError(f'{path}: is of version {version}, must be {VERSION}: use the tool of its node')
    if not _is_header(header):
        raise RecordError(f'{path}: its header lacks {", ".join(_HEADER)}, or has them of other types')
    for number, entry in enumerate(entries, 2):
        if not _is_entry(entry):
            raise RecordError(f'{path}: line {number} is no entry of the flight recorder')
    return Record(header, entries)


def _fields(entry: Entry) -> dict[str, Any]:
    named = dict(zip(entry.kind.fields, entry.values, strict=True))
    return {'kind': entry.kind.value, 'steady_ns': entry.steady_ns, **named}


def _is_header(fields: Mapping[str, Any]) -> bool:
    if not all(isinstance(fields.get(name), kind) for name, kind in _HEADER.items()):
        return False
    return all(
        isinstance(stream, dict) and isinstance(stream.get('tolerance_ns'), int) and _is_window(stream.get('window_ns'))
        for stream in fields['streams'].values()
    )


def _is_entry(fields: Mapping[str, Any]) -> bool:
    kind = next((each for each in Kind if each.value == fields.get('kind')), None)
    if kind is None or fields.keys() != {'kind', 'steady_ns', *kind.fields}:
        return False
    if not all(isinstance(value, _TYPES[name]) for name, value in fields.items()):
        return False
    if fields.get('stamp_ns', 0) is None and kind is not Kind.ARRIVED:
        return False
    names = [*fields.get('given_up', ()), *fields.get('damaged', ())]
    return all(isinstance(name, str) for name in names) and all(map(_is_pick, fields.get('picks', {}).values()))


def _is_window(window: Any) -> bool:
    return window is None or (isinstance(window, list) and [type(each) for each in window] == [int, int])


def _is_pick(pick: Any) -> bool:
    return isinstance(pick, list) and [type(each) for each in pick] == [int, int, int, bool]


def _parse(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordError(f'{path}: line {number} is no JSON: it is no file of the flight recorder') from error
    if not isinstance(parsed, dict):
        raise RecordError(f'{path}: line {number} is no JSON object: it is no file of the flight recorder')
    return parsed
