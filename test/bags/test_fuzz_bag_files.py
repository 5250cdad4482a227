# SPDX-License-Identifier: Apache-2.0
"""Of a file that is damaged anyhow, what is before the damage is read, and nothing is missing without a word."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from support.fuzz import COUNT, bag_files
from support.fuzz.driven import is_line

from robocache_ros.bag_files import compression
from robocache_ros.bags import BagError, open_bag

FILES = COUNT // 3
#: Bytes that a chunk may have when it is decompressed, and that reading may take: a chunk, what it
#: holds, and what is copied of it.
MOST, MEMORY = 4 << 20, 12 << 20


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, 'MAX_BYTES', MOST)


@pytest.mark.parametrize('storage', bag_files.STORAGES)
def test_a_whole_file_is_read_without_a_word(storage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / 'bag').write_bytes(bag_files.whole(storage).data)
    bag = open_bag(tmp_path / 'bag')
    assert list(bag.messages(bag.topics)) == bag_files.MESSAGES
    assert not bag.defects
    assert not caplog.records


@pytest.mark.parametrize('storage', bag_files.STORAGES)
def test_a_damaged_file_gives_what_is_before_the_damage_and_names_what_is_missing(
    storage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, file = tmp_path / 'bag', bag_files.whole(storage)
    read = 0
    for serial in range(FILES):
        damaged = bag_files.damaged(storage, serial)
        path.write_bytes(damaged.data)
        caplog.clear()
        found, lines = measured(path)
        lines += [record.getMessage() for record in caplog.records]
        case = f'{storage} {serial}: {damaged.done}: {lines}'
        assert all(map(is_line, lines)), case
        begin = min((at for at, _ in damaged.touched), default=len(file.data))
        lost = Counter(file.before(begin)) - Counter(found)
        assert not lost, f'{case}: {len(lost)} messages before it are lost'
        if not lines:
            changed = Counter(bag_files.MESSAGES) - Counter(found)
            allowed = [] if file.has_checksums else file.inside(damaged.touched)
            assert not changed - Counter(allowed), f'{case}: {len(changed)} messages are lost or changed'
            assert len(bag_files.MESSAGES) - len(allowed) <= len(found) <= len(bag_files.MESSAGES), case
            assert [ns for _, ns, _ in found] == sorted(ns for _, ns, _ in found), case
        read += bool(found)
    assert read > FILES / 2


def measured(path: Path) -> tuple[list[bag_files.Message], list[str]]:
    """The messages of a bag, and the lines that name its damage; reading takes no more than ``MEMORY``."""
    found: list[bag_files.Message] = []
    tracemalloc.start()
    try:
        bag = open_bag(path)
        found += bag.messages(bag.topics)
        return found, list(bag.defects)
    except BagError as error:
        return found, [str(error)]
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MEMORY, f'{peak >> 20} MiB'
