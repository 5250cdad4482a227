# SPDX-License-Identifier: Apache-2.0
"""Bags as others record them, whole and not, by name: each is written by its maker, which knows what it then holds.

How many messages a bag holds of each stream is what its maker wrote, less what it then cut away.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from support import bags, mcap_by_hand, sqlite_by_hand

try:
    from compression import zstd
except ImportError:
    from backports import zstd

TOPICS = {'lidar': '/points', 'camera': '/image_raw', 'imu': '/imu'}
KINDS = {'/points': 'sensor_msgs/msg/PointCloud2', '/image_raw': 'sensor_msgs/msg/Image', '/imu': 'sensor_msgs/msg/Imu'}
MESSAGES = sorted(
    [
        *bags.every(100, '/points', bags.cloud, 3000),
        *bags.every(100, '/image_raw', bags.image, 3000),
        *bags.every(10, '/imu', bags.imu, 3000),
    ],
    key=lambda message: message[0],
)
WHOLE = {'lidar': 30, 'camera': 30, 'imu': 300}


@dataclass
class Case:
    """A bag, the messages that it holds by stream, and words of the lines that name what is wrong with it."""

    path: Path
    counts: dict[str, int] = field(default_factory=lambda: dict(WHOLE))
    named: tuple[str, ...] = ()
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)


MAKERS: dict[str, Callable[[Path], Case]] = {}


def maker(name: str) -> Callable[[Callable[[Path], Case]], Callable[[Path], Case]]:
    def register(make: Callable[[Path], Case]) -> Callable[[Path], Case]:
        assert name not in MAKERS
        MAKERS[name] = make
        return make

    return register


def raw_of(message: object) -> bytes:
    return bytes(bags.STORE.serialize_cdr(message, message.__msgtype__))


def by_hand(messages: list[tuple]) -> list[tuple[int, int, bytes]]:
    """(topic's number, record_ns, raw) as the writers by hand take them."""
    numbers = {topic: number for number, topic in enumerate(KINDS)}
    return [(numbers[topic], bags.START_NS + int(ms * bags.MS), raw_of(message)) for ms, topic, message in messages]


def counted(messages: list[tuple[int, int, bytes]]) -> dict[str, int]:
    names = list(TOPICS)
    return {name: sum(names[number] == name for number, _, _ in messages) for name in names}


RAW = by_hand(MESSAGES)
CHANNELS = [mcap_by_hand.Channel(topic, kind) for topic, kind in KINDS.items()]
# --- whole bags: storages, compressions, splits


def compressed_bag(path: Path, storage: str, mode: str) -> Path:
    writer = Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
    writer.set_compression(CompressionMode[mode], CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for ms, topic, message in MESSAGES:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message.__msgtype__, typestore=bags.STORE)
            writer.write(connections[topic], bags.START_NS + int(ms * bags.MS), raw_of(message))
    return path


for storage, mode in [*itertools.product(('mcap', 'sqlite3'), ('MESSAGE', 'FILE')), ('mcap', 'STORAGE')]:
    maker(f'{storage} compressed by {mode.lower()}')(
        lambda path, storage=storage, mode=mode: Case(compressed_bag(path / 'bag', storage, mode))
    )
for storage in ('mcap', 'sqlite3'):
    maker(f'{storage}')(lambda path, storage=storage: Case(bags.write(path / 'bag', MESSAGES, storage)))
    maker(f'{storage} opened by its file')(
        lambda path, storage=storage: Case(next(bags.write(path / 'bag', MESSAGES, storage).glob('bag.[md]*')))
    )
for version in (1, 2, 3, 4):
    maker(f'sqlite3 of version {version}')(
        lambda path, version=version: Case(
            sqlite_by_hand.write(path / 'a.db3', list(KINDS.items()), RAW, version=version)
        )
    )
for per_chunk, index, compression in itertools.product((0, 50), (True, False), ('', 'zstd')):
    if per_chunk or not compression:
        maker(f'mcap {per_chunk} a chunk, {"with" if index else "without"} index, {compression or "plain"}')(
            lambda path, per_chunk=per_chunk, index=index, compression=compression: Case(
                mcap_by_hand.write(
                    path / 'a.mcap', CHANNELS, RAW, per_chunk=per_chunk, index=index, compression=compression,
                    compress=zstd.compress if compression else bytes,
                )
            )
        )  # fmt: skip


@maker('mcap of chunks whose times overlap')
def _(path: Path) -> Case:
    shuffled = [message for first in (1, 0) for message in RAW[first::2]]
    return Case(mcap_by_hand.write(path / 'a.mcap', CHANNELS, shuffled, per_chunk=60))


@maker('mcap whose index does not describe its channels')
def _(path: Path) -> Case:
    return Case(mcap_by_hand.write(path / 'a.mcap', CHANNELS, RAW, per_chunk=60, repeat=False))


@maker('mcap without chunks, out of order')
def _(path: Path) -> Case:
    return Case(mcap_by_hand.write(path / 'a.mcap', CHANNELS, RAW[::-1], index=False))


@maker('mcap of another profile')
def _(path: Path) -> Case:
    return Case(mcap_by_hand.write(path / 'a.mcap', CHANNELS, RAW, per_chunk=50, profile=''))


def metadata(folder: Path, files: list[str], **changes: object) -> None:
    """A metadata.yaml that says as much as the reader must believe."""
    tree = {'version': 9, 'storage_identifier': 'mcap', 'relative_file_paths': files, **changes}
    (folder / 'metadata.yaml').write_text(yaml.safe_dump({'rosbag2_bagfile_information': tree}))


def split(folder: Path, num: int = 12, storage: str = 'mcap') -> list[list[tuple[int, int, bytes]]]:
    """A bag in ``num`` files, bag_0 to bag_11; returns the messages of each."""
    folder.mkdir()
    size = -(-len(RAW) // num)
    parts = [RAW[k * size : (k + 1) * size] for k in range(num)]
    suffix = {'mcap': 'mcap', 'sqlite3': 'db3'}[storage]
    for k, part in enumerate(parts):
        if storage == 'mcap':
            mcap_by_hand.write(folder / f'bag_{k}.mcap', CHANNELS, part, per_chunk=10)
        else:
            sqlite_by_hand.write(folder / f'bag_{k}.db3', list(KINDS.items()), part)
    metadata(folder, [f'bag_{k}.{suffix}' for k in range(num)], storage_identifier=storage)
    return parts


for storage in ('mcap', 'sqlite3'):

    @maker(f'{storage} split')
    def _(path: Path, storage: str = storage) -> Case:
        split(path / 'bag', storage=storage)
        return Case(path / 'bag')

    @maker(f'{storage} split, one missing')
    def _(path: Path, storage: str = storage) -> Case:
        parts = split(path / 'bag', storage=storage)
        next((path / 'bag').glob('bag_11.*')).unlink()
        return Case(
            path / 'bag', counted(RAW[: sum(map(len, parts[:11]))]), ('bag_11', 'listed in metadata.yaml, and missing')
        )

    @maker(f'{storage} split, without metadata')
    def _(path: Path, storage: str = storage) -> Case:
        split(path / 'bag', storage=storage)
        (path / 'bag' / 'metadata.yaml').unlink()
        return Case(path / 'bag', named=('there is no metadata.yaml',))

    @maker(f'{storage} with an empty storage identifier')
    def _(path: Path, storage: str = storage) -> Case:
        split(path / 'bag', storage=storage)
        text = (path / 'bag' / 'metadata.yaml').read_text()
        (path / 'bag' / 'metadata.yaml').write_text(re.sub('storage_identifier: .*', "storage_identifier: ''", text))
        return Case(path / 'bag')


@maker('a split that is still being recorded')
def _(path: Path) -> Case:
    parts = split(path / 'bag')
    metadata(path / 'bag', [f'bag_{k}.mcap' for k in range(11)])
    return Case(path / 'bag', counted(RAW[: sum(map(len, parts[:11]))]), ('bag_11.mcap is not listed',))


@maker('a split with an empty file')
def _(path: Path) -> Case:
    parts = split(path / 'bag')
    (path / 'bag' / 'bag_11.mcap').write_bytes(b'')
    return Case(path / 'bag', counted(RAW[: sum(map(len, parts[:11]))]), ('bag_11.mcap cannot be read',))


@maker('metadata that is no YAML')
def _(path: Path) -> Case:
    split(path / 'bag')
    (path / 'bag' / 'metadata.yaml').write_text('{[')
    return Case(path / 'bag', named=('metadata.yaml cannot be read',))


@maker('a compressed file that was unpacked')
def _(path: Path) -> Case:
    bag = compressed_bag(path / 'bag', 'mcap', 'FILE')
    (packed,) = bag.glob('*.zstd')
    packed.with_suffix('').write_bytes(zstd.decompress(packed.read_bytes()))
    packed.unlink()
    return Case(bag)
