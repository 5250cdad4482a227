# SPDX-License-Identifier: Apache-2.0
"""What coverage-guided fuzzing gathered is taken as it should be, and its checks find faults that are planted."""

from __future__ import annotations

import json
import struct
import tracemalloc
from typing import Any, NoReturn

import pytest
from support.fuzz.targets import TARGETS
from support.fuzz_coverage import corpus

from robocache_core import backends, deskew, jpeg, payload, rectify
from robocache_core.ops.grid import VoxelResult
from robocache_core.time_field import _DoubtError
from robocache_ros import decode, definitions, record_file
from robocache_ros.bag_files import mcap, sqlite_pages

#: Bytes that one input may take at most: a chunk of a bag and what is copied of it, an image of the most pixels.
MEMORY = 16 << 20


def _raise(error: Exception) -> Any:
    def raise_it(*_: object, **__: object) -> NoReturn:
        raise error

    return raise_it


def _nothing(*_: object, **__: object) -> None:
    pass


#: By target, what is replaced by what: checks that are gone, errors that are not documented, results that differ.
PLANTED: dict[str, tuple[Any, str, Any]] = {
    'compressed': (jpeg, '_huffman_tables', _raise(struct.error('too short'))),
    'jpeg': (backends.reference_module(), 'jpeg_damage', lambda plan, data: 0),
    'image': (backends.reference_module(), 'prepare_image', _nothing),
    'calibration': (rectify, 'check_info', _nothing),
    'depth': (backends.reference_module(), 'prepare_depth', _nothing),
    'cloud': (VoxelResult, 'dropped', {}),
    'times': (deskew, 'find_time_field', _raise(_DoubtError('is in doubt'))),
    'scan': (decode, '_check_laser_scan', _nothing),
    'numbers': (decode, 'MAX_READING', float('inf')),
    'mcap': (mcap, '_record_ns', lambda message: 0),
    'sqlite': (sqlite_pages.Pages, '_integer', _raise(OverflowError('too large'))),
    'definition': (definitions, '_DEEPEST', 1 << 20),
    'record': (record_file, '_is_window', lambda window: len(window) == 2),
    'payload': (payload, '_json', lambda text, what: json.loads(text)),
}


def inputs(name: str) -> list[bytes]:
    return [*TARGETS[name].seeds(), *corpus.inputs(name)]


@pytest.mark.parametrize('name', TARGETS)
def test_every_input_that_is_kept_is_taken_within_its_memory(name: str) -> None:
    for number, data in enumerate(inputs(name)):
        tracemalloc.start()
        try:
            TARGETS[name].check(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < MEMORY, f'input {number} takes {peak >> 20} MiB'


@pytest.mark.parametrize('name', TARGETS)
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attribute, fault = PLANTED[name]
    monkeypatch.setattr(owner, attribute, fault)
    for data in inputs(name):
        try:
            TARGETS[name].check(data)
        except Exception:
            return
    pytest.fail('no check finds it')


def test_the_corpus_stays_small() -> None:
    assert sum(path.stat().st_size for path in corpus.FOLDER.iterdir()) < 200_000
    assert set(corpus.names()) == TARGETS.keys()
