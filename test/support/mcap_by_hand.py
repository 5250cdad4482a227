# SPDX-License-Identifier: Apache-2.0
"""MCAP files written record by record (mcap.dev/spec), for what no writer of bags would write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

MAGIC = b'\x89MCAP0\r\n'


@dataclass(frozen=True)
class Channel:
    """A topic: the schema's ``definition`` and its ``encoding``, and how its messages are serialized."""

    topic: str
    msgtype: str
    definition: bytes = b''
    encoding: str = 'ros2msg'
    serialization: str = 'cdr'
    metadata: tuple[tuple[str, str], ...] = ()


def record(opcode: int, content: bytes) -> bytes:
    return struct.pack('<BQ', opcode, len(content)) + content


def text(value: str | bytes) -> bytes:
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack('<I', len(raw)) + raw


def _described(number: int, channel: Channel) -> bytes:
    schema = struct.pack('<H', number) + text(channel.msgtype) + text(channel.encoding) + text(channel.definition)
    metadata = b''.join(text(part) for pair in channel.metadata for part in pair)
    head = struct.pack('<HH', number, number) + text(channel.topic) + text(channel.serialization)
    return record(0x03, schema) + record(0x04, head + text(metadata))


def write(
    path: Path,
    channels: Sequence[Channel],
    messages: Sequence[tuple[int, int, bytes]],
    *,
    per_chunk: int = 0,
    compression: str = '',
    compress: Callable[[bytes], bytes] = bytes,
    index: bool = True,
    repeat: bool = True,
    checksums: bool = True,
    profile: str = 'ros2',
) -> Path:
    """Write ``(channel, record_ns, raw)`` in their order; ``per_chunk`` 0 writes no chunks, ``index`` a summary.

    ``repeat`` repeats the channels in the summary, as most writers do, and ``checksums`` gives each chunk one.
    """
    described = b''.join(_described(number, channel) for number, channel in enumerate(channels, 1))
    out = bytearray(MAGIC + record(0x01, text(profile) + text('by hand')))
    chunk_indexes = b''
    if not per_chunk:
        out += described
    for first in range(0, len(messages), per_chunk or max(len(messages), 1)):
        part = messages[first : first + per_chunk] if per_chunk else messages
        body = b''.join(record(0x05, struct.pack('<HIQQ', k + 1, 0, ns, ns) + raw) for k, ns, raw in part)
        if not per_chunk:
            out += body
            continue
        plain = described + body
        packed = compress(plain)
        times = [ns for _, ns, _ in part]
        checksum = zlib.crc32(plain) if checksums else 0
        head = struct.pack('<QQQI', min(times), max(times), len(plain), checksum) + text(compression)
        chunk = record(0x06, head + struct.pack('<Q', len(packed)) + packed)
        sizes = text(compression) + struct.pack('<QQ', len(packed), len(plain))
        place = struct.pack('<QQQQ', min(times), max(times), len(out), len(chunk))
        chunk_indexes += record(0x08, place + text(b'') + struct.pack('<Q', 0) + sizes)
        out += chunk
    out += record(0x0F, struct.pack('<I', 0))
    start = len(out) if index else 0
    if index:
        out += (described if repeat else b'') + chunk_indexes + record(0x0B, _statistics(channels, messages, per_chunk))
    footer = record(0x02, struct.pack('<QQI', start, 0, 0))[:-4]
    checksum = zlib.crc32(out[start:] + footer) if index else 0
    out += footer + struct.pack('<I', checksum) + MAGIC
    path.write_bytes(out)
    return path


def _statistics(channels: Sequence[Channel], messages: Sequence[tuple[int, int, bytes]], per_chunk: int) -> bytes:
    times = [ns for _, ns, _ in messages] or [0]
    num_chunks = -(-len(messages) // per_chunk) if per_chunk else 0
    counts = {number: sum(k + 1 == number for k, _, _ in messages) for number in range(1, len(channels) + 1)}
    head = struct.pack(
        '<QHIIIIQQ', len(messages), len(channels), len(channels), 0, 0, num_chunks, min(times), max(times)
    )
    return head + text(b''.join(struct.pack('<HQ', key, count) for key, count in counts.items()))
