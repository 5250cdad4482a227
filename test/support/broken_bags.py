# SPDX-License-Identifier: Apache-2.0
"""Bags that are cut, damaged, or have topics and messages that cannot be read: they join ``MAKERS``."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
import sqlite3
from pathlib import Path

from support import bags, mcap_by_hand, sqlite_by_hand
from support.foreign_bags import (
    CHANNELS,
    KINDS,
    MAKERS,
    MESSAGES,
    RAW,
    TOPICS,
    WHOLE,
    Case,
    by_hand,
    counted,
    maker,
    raw_of,
    zstd,
)

__all__ = ['MAKERS', 'TOPICS', 'WHOLE']

SERVICE = (
    'service_msgs/ServiceEventInfo info\nRequest[<=1] request\n---\nResponse[<=1] response',
    'example_interfaces/srv/AddTwoInts_Event',
)
FOREIGN = [
    mcap_by_hand.Channel('/add/_service_event', SERVICE[1], SERVICE[0].encode()),
    mcap_by_hand.Channel('/unknown', 'my_msgs/msg/Thing', b'', encoding='unknown'),
    mcap_by_hand.Channel('/nested', 'my_msgs/msg/Outer', b'my_msgs/Inner inner\n'),
    mcap_by_hand.Channel('/no_text', 'my_msgs/msg/Bytes', b'\xff\xfe\x00'),
    mcap_by_hand.Channel('/json', 'my.Json', b'{}', encoding='jsonschema', serialization='json'),
    mcap_by_hand.Channel('/schemaless', '', b'', encoding=''),
    mcap_by_hand.Channel('/hash', 'my_msgs/msg/Hash', b'int32 x', metadata=(('topic_type_hash', 'RIHS01_00'),)),
    mcap_by_hand.Channel('/qos', 'std_msgs/msg/Empty', b'', metadata=(('offered_qos_profiles', '{[ no YAML'),)),
]


def whole_messages(mcap: bytes, at: int) -> int:
    """Messages of an MCAP of no chunks that end before byte ``at``."""
    sizes = itertools.accumulate(9 + 22 + len(raw) for _, _, raw in RAW)
    start = mcap.index(RAW[0][2]) - 31
    return sum(start + size <= at for size in sizes)


for share in (0.25, 0.5, 0.9):

    @maker(f'mcap of no chunks, cut at {share}')
    def _(path: Path, share: float = share) -> Case:
        data = mcap_by_hand.write(path / 'a.mcap', CHANNELS, RAW).read_bytes()
        at = int(share * len(data))
        (path / 'a.mcap').write_bytes(data[:at])
        return Case(path / 'a.mcap', counted(RAW[: whole_messages(data, at)]), ('a.mcap is cut off', f'of {at};'))

    @maker(f'mcap of plain chunks, cut at {share}')
    def _(path: Path, share: float = share) -> Case:
        data = mcap_by_hand.write(path / 'a.mcap', CHANNELS, RAW, per_chunk=50).read_bytes()
        at = int(share * len(data))
        (path / 'a.mcap').write_bytes(data[:at])
        last = sum(data[:at].find(raw_message(*message)) >= 0 for message in RAW)
        return Case(path / 'a.mcap', counted(RAW[:last]), ('a.mcap is cut off', f'of {at};'))

    @maker(f'sqlite3 cut at {share}')
    def _(path: Path, share: float = share) -> Case:
        data = sqlite_by_hand.write(path / 'a.db3', list(KINDS.items()), RAW).read_bytes()
        at = int(share * len(data))
        (path / 'a.db3').write_bytes(data[:at])
        pages = data[: at // 4096 * 4096]
        kept = [message for message in RAW if pages.find(message[2]) >= 0]
        assert 0.2 * share * len(RAW) < len(kept) < len(RAW)
        return Case(path / 'a.db3', counted(kept), ('a.db3 is cut off', f'{at} of {len(data)} bytes'))


def raw_message(number: int, record_ns: int, raw: bytes) -> bytes:
    """The record of a message as the writer by hand writes it."""
    return mcap_by_hand.record(
        5, number.__add__(1).to_bytes(2, 'little') + bytes(4) + 2 * record_ns.to_bytes(8, 'little') + raw
    )


@maker('mcap of zstd chunks, cut')
def _(path: Path) -> Case:
    data = mcap_by_hand.write(
        path / 'a.mcap', CHANNELS, RAW, per_chunk=120, compression='zstd', compress=zstd.compress
    ).read_bytes()
    second = data.index(b'\x28\xb5\x2f\xfd', data.index(b'\x28\xb5\x2f\xfd') + 1)
    (path / 'a.mcap').write_bytes(data[: second + 10])
    return Case(path / 'a.mcap', counted(RAW[:120]), ('a.mcap is cut off',))


@maker('mcap with a chunk that is damaged')
def _(path: Path) -> Case:
    file = mcap_by_hand.write(path / 'a.mcap', CHANNELS, RAW, per_chunk=60)
    data = bytearray(file.read_bytes())
    data[data.index(RAW[70][2]) + 5] ^= 1
    file.write_bytes(data)
    return Case(file, counted(RAW[:60] + RAW[120:]), ('is damaged and left out',))


@maker('mcap followed by zeros instead of its index')
def _(path: Path) -> Case:
    data = mcap_by_hand.write(path / 'a.mcap', CHANNELS, RAW).read_bytes()
    end = data.index(raw_message(*RAW[-1])) + len(raw_message(*RAW[-1]))
    (path / 'a.mcap').write_bytes(data[:end] + bytes(5000))
    return Case(path / 'a.mcap', named=('a.mcap is cut off',))


@maker('a compressed file that is cut')
def _(path: Path) -> Case:
    plain = mcap_by_hand.write(path / 'plain.mcap', CHANNELS, RAW)
    half = plain.read_bytes()[: plain.stat().st_size // 2]
    packed = zstd.compress(half)
    plain.unlink()
    (path / 'a.mcap.zstd').write_bytes(packed)
    return Case(path / 'a.mcap.zstd', counted(RAW[: whole_messages(half, len(half))]), ('cut off',))


@maker('a database with its write-ahead log')
def _(path: Path) -> Case:
    file = sqlite_by_hand.write(path / 'src.db3', list(KINDS.items()), RAW[:200])
    database = sqlite3.connect(file)
    database.execute('PRAGMA journal_mode=WAL')
    rows = [(number + 1, ns, raw) for number, ns, raw in RAW[200:]]
    database.executemany('INSERT INTO messages(topic_id, timestamp, data) VALUES(?, ?, ?)', rows)
    database.commit()
    for suffix in ('', '-wal'):  # as a recorder that was killed leaves them
        shutil.copy(f'{file}{suffix}', path / f'a.db3{suffix}')
    database.close()
    return Case(path / 'a.db3')


# --- foreign topics, missing topics, bad messages


for name, channels in {'all': FOREIGN, **{channel.topic: [channel] for channel in FOREIGN}}.items():

    @maker(f'mcap with a foreign topic: {name}')
    def _(path: Path, channels: list[mcap_by_hand.Channel] = channels) -> Case:
        others = [(3 + k, RAW[10 * k][1], b'whatever') for k in range(len(channels))]
        return Case(
            mcap_by_hand.write(
                path / 'a.mcap', CHANNELS + channels, sorted(RAW + others, key=lambda m: m[1]), per_chunk=50
            )
        )


@maker('sqlite3 with foreign topics')
def _(path: Path) -> Case:
    topics = [*KINDS.items(), ('/add/_service_event', SERVICE[1]), ('/unknown', 'my_msgs/msg/Thing')]
    definitions = [
        (SERVICE[1], 'ros2msg', SERVICE[0]),
        ('my_msgs/msg/Thing', 'unknown', ''),
        (KINDS['/imu'], 'ros2msg', '---'),
    ]
    others = [(3, RAW[0][1], b'x'), (4, RAW[1][1], b'')]
    return Case(sqlite_by_hand.write(path / 'a.db3', topics, RAW + others, definitions=definitions))


@maker('a wanted type whose definition and hash are wrong')
def _(path: Path) -> Case:
    channels = [
        dataclasses.replace(c, definition=b'---\nno type', metadata=(('topic_type_hash', 'RIHS01_12'),))
        for c in CHANNELS
    ]
    return Case(mcap_by_hand.write(path / 'a.mcap', channels, RAW, per_chunk=50), named=('type hash is RIHS01_12',))


@maker('a wanted topic that is no CDR')
def _(path: Path) -> Case:
    channels = [CHANNELS[0], dataclasses.replace(CHANNELS[1], serialization='json'), CHANNELS[2]]
    return Case(
        mcap_by_hand.write(path / 'a.mcap', channels, RAW, per_chunk=50), WHOLE | {'camera': 0}, ("'json', not CDR",)
    )


for storage in ('mcap', 'sqlite3'):

    @maker(f'{storage} of topics without a slash')
    def _(path: Path, storage: str = storage) -> Case:
        bare = {topic.lstrip('/'): kind for topic, kind in KINDS.items()}
        if storage == 'mcap':
            channels = [mcap_by_hand.Channel(*item) for item in bare.items()]
            return Case(mcap_by_hand.write(path / 'a.mcap', channels, RAW, per_chunk=50))
        return Case(sqlite_by_hand.write(path / 'a.db3', list(bare.items()), RAW))


for missing in TOPICS.values():

    @maker(f'without {missing}')
    def _(path: Path, missing: str = missing) -> Case:
        left = [message for message in MESSAGES if message[1] != missing]
        return Case(bags.write(path / 'bag', left), counted(by_hand(left)), ('has no messages on', missing))


for size, number in itertools.product((0, 3, 40), (0, 1, 2)):

    @maker(f'a message of {size} bytes on {list(KINDS)[number]}')
    def _(path: Path, size: int = size, number: int = number) -> Case:
        bad = (number, bags.START_NS + 1_005 * bags.MS, b'\x00\x01\x00\x00'.ljust(size, b'\xff')[:size])
        name = list(TOPICS)[number]
        counts = counted([*RAW, bad])
        messages = sorted([*RAW, bad], key=lambda m: m[1])
        named = (f'{list(KINDS)[number]}, recorded at {bad[1]} ns: {size} bytes',)
        return Case(
            mcap_by_hand.write(path / 'a.mcap', CHANNELS, messages, per_chunk=50), counts, named,
            {name: {'undeserializable': 1}},
        )  # fmt: skip


@maker('a topic of two types')
def _(path: Path) -> Case:
    other = mcap_by_hand.Channel('/imu', 'std_msgs/msg/String')
    numbers = {0: 1, 1: 2, 2: 3}  # the other type comes first
    messages = [(0, RAW[0][1], b'x'), *((numbers[number], ns, raw) for number, ns, raw in RAW)]
    return Case(
        mcap_by_hand.write(path / 'a.mcap', [other, *CHANNELS], messages, per_chunk=50),
        named=("/imu: it has messages of several types: 'sensor_msgs/msg/Imu' is read",),
    )


@maker('a bad /tf_static')
def _(path: Path) -> Case:
    channel = mcap_by_hand.Channel('/tf_static', 'tf2_msgs/msg/TFMessage')
    nan = raw_of(bags.transforms(('base_link', 'lidar', (float('nan'), 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))))
    messages = [(3, bags.START_NS, nan), (3, bags.START_NS + 1, b'\x00\x01'), *RAW]
    return Case(
        mcap_by_hand.write(path / 'a.mcap', [*CHANNELS, channel], messages, per_chunk=50),
        named=("to 'lidar' is ignored", 'is not finite', f'recorded at {bags.START_NS + 1} ns is ignored'),
    )


@maker('a /tf_static of another type')
def _(path: Path) -> Case:
    channel = mcap_by_hand.Channel('/tf_static', 'tf/tfMessage')
    file = mcap_by_hand.write(path / 'a.mcap', [*CHANNELS, channel], [(3, bags.START_NS, b'x'), *RAW], per_chunk=50)
    return Case(file, named=('/tf_static is ignored: it is tf/tfMessage',))


def clouds_of(**changes: int) -> list[tuple]:
    """All messages, the clouds changed."""
    return [
        (ms, topic, dataclasses.replace(message, **changes) if topic == '/points' else message)
        for ms, topic, message in MESSAGES
    ]


@maker('clouds of row_step 0')
def _(path: Path) -> Case:
    return Case(bags.write(path / 'bag', clouds_of(row_step=0)))


@maker('one cloud that is too short')
def _(path: Path) -> Case:
    messages = [
        (ms, topic, dataclasses.replace(message, width=2, row_step=24) if (ms, topic) == (1000, '/points') else message)
        for ms, topic, message in MESSAGES
    ]
    named = ('lidar: message dropped (data_too_short)',)
    return Case(bags.write(path / 'bag', messages), named=named, dropped={'lidar': {'data_too_short': 1}})
