# SPDX-License-Identifier: Apache-2.0
"""The files of a bag, cut anywhere: what is whole before the cut is read, in order, and nothing else."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from support import mcap_by_hand, sqlite_by_hand
from support.foreign_bags import zstd

from robocache_ros.bag_files import opened
from robocache_ros.bag_files.source import Source
from robocache_ros.bags import BagError, open_bag

TOPICS = [('/small', 'std_msgs/msg/String'), ('/large', 'sensor_msgs/msg/Image')]
CHANNELS = [mcap_by_hand.Channel(*topic) for topic in TOPICS]
PAGE = 4096


def body(number: int, size: int) -> bytes:
    """A message that can be found in a file: its number from end to end."""
    return b'\0\1\0\0' + (b'<%06d>' % number) * (size // 8)


#: Messages of some bytes, and of several pages of a database.
MESSAGES = [(number % 2, 1000 + number, body(number, 20_000 if number % 2 else 400)) for number in range(300)]
WRITERS: dict[str, Callable[[Path], Path]] = {
    'mcap': lambda path: mcap_by_hand.write(path, CHANNELS, MESSAGES),
    'mcap of chunks': lambda path: mcap_by_hand.write(path, CHANNELS, MESSAGES, per_chunk=30),
    'mcap of chunks without checksums': lambda path: mcap_by_hand.write(
        path, CHANNELS, MESSAGES, per_chunk=30, checksums=False
    ),
    'mcap of zstd': lambda path: mcap_by_hand.write(
        path, CHANNELS, MESSAGES, per_chunk=30, compression='zstd', compress=zstd.compress
    ),
    'sqlite3': lambda path: sqlite_by_hand.write(path, TOPICS, MESSAGES),
}


@pytest.fixture(scope='module', params=WRITERS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """Name of a storage, and the bytes of a bag in it."""
    return request.param, WRITERS[request.param](tmp_path_factory.mktemp('whole') / 'bag').read_bytes()


def read(path: Path) -> list[tuple[int, int, bytes]]:
    with opened(path) as file:
        numbers = {channel.key: [name for name, _ in TOPICS].index(channel.topic) for channel in file.channels}
        return [(numbers[key], ns, raw) for key, ns, raw in file.messages(numbers)]


def test_a_whole_file_gives_every_message(whole: tuple[str, bytes], tmp_path: Path) -> None:
    (tmp_path / 'bag').write_bytes(whole[1])
    assert read(tmp_path / 'bag') == MESSAGES


@pytest.mark.parametrize('percent', [3, 17, 31, 50, 58, 73, 89, 97])
def test_a_cut_file_gives_what_is_before_the_cut(whole: tuple[str, bytes], percent: int, tmp_path: Path) -> None:
    storage, data = whole
    path, at = tmp_path / 'bag', len(data) * percent // 100
    path.write_bytes(data[:at])
    found = read(path)
    if storage == 'mcap of zstd':  # a block of it is decompressed as a whole, or not
        assert found == MESSAGES[: len(found)]
        assert len(found) >= len(MESSAGES) * percent // 100 - 60
    else:
        end = at // PAGE * PAGE if storage == 'sqlite3' else at
        assert found == [m for m in MESSAGES if 0 <= data.rfind(m[2][-8:]) <= end - 8]
    with opened(path) as file:
        (defect,) = file.defects
        assert f'{len(found)} messages are read' in defect
        assert sum(channel.count for channel in file.channels) == len(found)


class _Shrinking:
    """An open file that is cut to ``size`` bytes ahead of a read."""

    def __init__(self, file: BinaryIO, path: Path, size: int, num_reads: int) -> None:
        self._file, self._path, self._size, self._num_reads = file, path, size, num_reads
        self.seek, self.fileno, self.close = file.seek, file.fileno, file.close

    def read(self, size: int) -> bytes:
        if self._num_reads == 0:
            os.truncate(self._path, self._size)
        self._num_reads -= 1
        return self._file.read(size)


def before(data: bytes, at: int) -> int:
    """How many messages of ``data`` end at byte ``at`` or before it."""
    return sum(0 <= data.rfind(raw[-8:]) <= at - 8 for _, _, raw in MESSAGES)


#: An MCAP of each kind whose messages can be found in it.
PLAIN = ['mcap', 'mcap of chunks', 'mcap of chunks without checksums']


@pytest.mark.parametrize('offset', [-31, -27, -20, 0, 200, 20_000])
@pytest.mark.parametrize('number', [150, 175, 176])  # the first of its chunk, one across the end of a block, the next
@pytest.mark.parametrize('storage', PLAIN)
def test_a_file_that_is_cut_once_it_is_open_gives_what_is_before_the_cut(
    storage: str, number: int, offset: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = WRITERS[storage](tmp_path / 'bag')
    data = path.read_bytes()
    at = data.index(MESSAGES[number][2]) + offset
    bag = open_bag(path)
    found = bag.messages([name for name, _ in TOPICS])
    first = next(found)
    os.truncate(path, at)
    raws = [raw for _, _, raw in (first, *found)]
    assert raws == [raw for _, _, raw in MESSAGES[: before(data, at)]]
    counts = [(sum(k == kind for k, _, _ in MESSAGES[: len(raws)]), name) for kind, (name, _) in enumerate(TOPICS)]
    expected = [f'{path}: {n} of 150 messages on {name} are read' for n, name in counts]
    assert sorted(caplog.messages) == sorted(expected)


@pytest.mark.parametrize('offset', [-31, -27, -20, 0, 200])
@pytest.mark.parametrize('storage', [*PLAIN, 'mcap of zstd'])
def test_a_file_that_is_cut_amid_a_chunk_gives_what_is_before_the_cut(
    storage: str, offset: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = WRITERS[storage](tmp_path / 'bag').read_bytes()
    at = (len(data) // 2 if storage == 'mcap of zstd' else data.index(MESSAGES[40][2])) + offset
    for num_reads in range(12):
        path = tmp_path / f'{num_reads}'
        path.write_bytes(data)
        with opened(path) as file:
            file._file._file = _Shrinking(file._file._file, path, at, num_reads)
            found = [(key - 1, ns, raw) for key, ns, raw in file.messages({1, 2})]
        assert found == MESSAGES[: len(found)]
        assert len(found) >= before(data, at)
    assert not caplog.messages


@pytest.mark.parametrize('storage', [*PLAIN, 'mcap of zstd'])
def test_a_file_that_is_cut_while_it_is_opened_gives_what_is_before_the_cut(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its index, of which the end is then gone, and without."""
    data, real = WRITERS[storage](tmp_path / 'bag').read_bytes(), Source.read
    num_cut = 0
    for at in (len(data) // 2, len(data) * 2 // 3 + 5):
        for num_reads in (0, 1, 2, 3, 5, 8, 13, 21, 34, 55):
            for end in (len(data), len(data) - 1):  # a file that is cut by a byte has no index
                path, waits = tmp_path / f'{at} {num_reads} {end}', iter([False] * num_reads + [True])
                path.write_bytes(data[:end])

                def read_and_cut(self: Source, place: int, size: int, path: Path = path, at: int = at, waits=waits):
                    if next(waits, False):
                        os.truncate(path, at)
                    return real(self, place, size)

                with monkeypatch.context() as patched:
                    patched.setattr(Source, 'read', read_and_cut)
                    bag = open_bag(path)
                if path.stat().st_size == end:
                    continue  # it was opened by fewer reads
                num_cut += 1
                raws = [raw for _, _, raw in bag.messages([name for name, _ in TOPICS])]
                assert raws == [raw for _, _, raw in MESSAGES[: len(raws)]]
                assert len(raws) >= before(data, at)
                if end < len(data):
                    assert any('cut off' in line for line in bag.defects), bag.defects
    assert num_cut >= 20


def test_a_bag_that_is_cut_between_its_opening_and_its_reading_says_what_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = WRITERS['mcap of chunks'](tmp_path / 'bag')
    data = path.read_bytes()
    bag = open_bag(path)
    os.truncate(path, data.index(MESSAGES[200][2]))
    found = list(bag.messages([name for name, _ in TOPICS]))
    assert len(found) == 200
    expected = [f'100 of 150 messages on {name} are read' for name, _ in TOPICS]
    assert sorted(line.partition(': ')[2] for line in caplog.messages) == sorted(expected)


def test_messages_come_whole_wherever_a_block_ends(tmp_path: Path) -> None:
    messages = [(0, number, b'%05d' % number + bytes(number % 7)) for number in range(40_000)]
    path = mcap_by_hand.write(tmp_path / 'bag', CHANNELS, messages, per_chunk=len(messages), checksums=False)
    with opened(path) as file:
        assert list(file.messages({1})) == [(1, ns, raw) for _, ns, raw in messages]


def test_a_record_that_is_longer_than_its_chunk_ends_what_is_read_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = WRITERS['mcap of chunks without checksums'](tmp_path / 'bag')
    data = path.read_bytes()
    at = data.index(MESSAGES[45][2]) - 23  # high bytes of the length of its record
    path.write_bytes(data[:at] + b'\1' + data[at + 1 :])
    assert read(path) == MESSAGES[:45] + MESSAGES[60:]
    (line,) = caplog.messages
    assert line.endswith('is left out from a record on that is longer than the chunk')


@pytest.mark.parametrize('wanted', [{1, 2}, {2}])
def test_a_chunk_without_a_checksum_is_in_memory_once(wanted: set[int], tmp_path: Path) -> None:
    """Its messages are read one by one, on the channels that are asked for."""
    messages = [(number % 2, number, bytes(1 << 20)) for number in range(16)]
    path = mcap_by_hand.write(tmp_path / 'bag', CHANNELS, messages, per_chunk=len(messages), checksums=False)
    with opened(path) as file:
        tracemalloc.start()
        try:
            found = list(file.messages(wanted))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert found == [(channel + 1, ns, raw) for channel, ns, raw in messages if channel + 1 in wanted]
    assert peak < (len(found) + 2) << 20


@pytest.mark.parametrize('number', [150, 151])  # on a page of the tree, and on pages behind it
def test_a_database_that_is_damaged_inside_gives_the_rows_that_are_whole(number: int, tmp_path: Path) -> None:
    path = WRITERS['sqlite3'](tmp_path / 'bag')
    data = bytearray(path.read_bytes())
    page = data.rindex(MESSAGES[number][2][-8:]) // PAGE * PAGE - (number % 2) * PAGE
    data[page : page + PAGE] = b'\xff' * PAGE
    path.write_bytes(data)
    found = read(path)
    assert len(MESSAGES) - 15 < len(found) < len(MESSAGES)
    assert found == [message for message in MESSAGES if message in found]


@pytest.mark.parametrize('size', [0, 1, 7, 16, 30, 99, 200])
def test_a_file_that_is_hardly_there_is_refused_on_one_line(
    whole: tuple[str, bytes], size: int, tmp_path: Path
) -> None:
    (tmp_path / 'bag').write_bytes(whole[1][:size])
    with pytest.raises(BagError) as caught:
        open_bag(tmp_path / 'bag')
    assert '\n' not in str(caught.value)
