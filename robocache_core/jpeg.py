# SPDX-License-Identifier: Apache-2.0
"""What a JPEG says of itself, read without decoding it, and whether its entropy-coded data are whole.

A decoder fills what it cannot read with whatever comes out, and reports success. ``damage_in`` reads every Huffman code
of a sequential JPEG instead: data that were cut or changed end too early or too late, hold a code that is none, or give
values that no 8-bit image has. Progressive images are checked by their markers alone.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robocache_core import backends
from robocache_core.ledger import Reason
from robocache_core.samples import DataError

START = b'\xff\xd8\xff'

#: Most scans, and most segments, of an image: an encoder makes at most some ten scans.
MAX_SCANS, MAX_SEGMENTS = 32, 1024

#: Most components of an image.
MAX_COMPONENTS = 4

_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_DHT, _END, _SCAN, _DQT, _RESTART = 0xC4, 0xD9, 0xDA, 0xDB, 0xDD
_MARKER = re.compile(rb'\xff[^\x00\xd0-\xd7\xff]')  # in entropy-coded data, where FF 00 is a byte and D0..D7 restart

#: What ``backends.*.jpeg_damage`` can find, by its number.
DAMAGES = (
    '',
    'it has a code that is none',
    'a block has more than 64 coefficients',
    'a coefficient is beyond what 8-bit pixels give',
    'its data end too early',
    'bytes are left behind its data',
    'a restart marker is missing or out of order',
)


@dataclass(frozen=True)
class Component:
    """A component of the image: blocks of 8 x 8 pixels in an MCU, and its quantisation table."""

    number: int
    across: int
    down: int
    table: int


@dataclass(frozen=True, eq=False)
class ScanPlan:
    """What the codes of a scan mean.

    Attributes:
        begin, end: of its entropy-coded data, bytes.
        num_mcus: in the scan.
        restart: MCUs between restart markers; 0: there are none.
        blocks: ``[B, 4]`` int32, of each block of an MCU its component's place in the scan, its DC table, its AC table,
            and its quantisation table.
        codes: ``[tables, 65536]`` uint16, by the next 16 bits: length of the code << 8 | symbol; 0: no code.
        quanta: ``[tables, 64]`` int32, in zigzag order.
    """

    begin: int
    end: int
    num_mcus: int
    restart: int
    blocks: npt.NDArray[np.int32]
    codes: npt.NDArray[np.uint16]
    quanta: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Segment:
    """A marker with its parameters; ``data`` of a scan: where its entropy-coded data begin and end."""

    marker: int
    content: bytes
    data: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Jpeg:
    """An image whose markers are whole, but for the last ones where it is cut short.

    Attributes:
        width, height: px.
        num_channels: of a pixel.
        is_sequential: else it is progressive.
        segments: in order.
        is_whole: whether it has its end.
    """

    width: int
    height: int
    num_channels: int
    is_sequential: bool
    segments: tuple[Segment, ...]
    is_whole: bool = True


def read_jpeg(data: npt.NDArray[np.uint8], *, may_be_cut: bool = False) -> Jpeg:
    """Read the markers of a JPEG ``[nbytes] uint8``, whatever follows its end.

    ``may_be_cut``: take one that is cut short behind the begin of its first scan.

    Raises:
        DataError: ``decode_failed`` (cut short, or a segment is malformed), ``too_costly``, ``unknown_encoding`` (not 8
            bits a channel, or lossless, hierarchical or arithmetic), ``empty_image`` (no pixels; or its height is
            behind its first scan, where decoders do not look).
    """
    segments, is_whole = _segments(data)
    has_scan = any(segment.marker == _SCAN for segment in segments)
    if not is_whole and not (may_be_cut and has_scan):
        raise DataError(Reason.DECODE_FAILED, f'the JPEG of {data.size} bytes is cut short: its end is missing')
    frames = [segment for segment in segments if segment.marker in _FRAMES]
    if len(frames) != 1 or len(frames[0].content) < 6 or not has_scan:
        raise DataError(Reason.DECODE_FAILED, f'the JPEG of {data.size} bytes cannot be decoded: it has no image')
    marker, content = frames[0].marker, frames[0].content
    if marker not in (*_SEQUENTIAL, _PROGRESSIVE) or content[0] != 8:
        raise DataError(
            Reason.UNKNOWN_ENCODING,
            f'a JPEG of process {marker - 0xC0} with {content[0]} bits: must be sequential or progressive with 8',
        )
    height, width = int.from_bytes(content[1:3], 'big'), int.from_bytes(content[3:5], 'big')
    if not (width and height):
        raise DataError(Reason.EMPTY_IMAGE, f'a JPEG of {width} x {height} pixels')
    return Jpeg(width, height, content[5], marker in _SEQUENTIAL, segments, is_whole)


def ended(jpeg: Jpeg, data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the bytes of a JPEG with an end, behind its last scan where it has none: decoders refuse one without."""
    if jpeg.is_whole:
        return data
    end = max(segment.data[1] for segment in jpeg.segments)
    return np.append(data[:end], np.array([0xFF, _END], np.uint8))


def damage_in(jpeg: Jpeg, data: npt.NDArray[np.uint8]) -> str:
    """Return what is wrong with the entropy-coded data of a JPEG, in words; empty where nothing was found."""
    if not jpeg.is_whole:
        return 'it is cut short: its end is missing'
    try:
        plans = scan_plans(jpeg)
    except (IndexError, ValueError, KeyError):
        return 'its tables are malformed'
    for plan in plans:
        damage = backends.active().module.jpeg_damage(plan, data)
        if damage:
            return DAMAGES[damage]
    return ''


def _segments(data: npt.NDArray[np.uint8]) -> tuple[tuple[Segment, ...], bool]:
    """All segments up to the end of the image, or of the data; whether the image has its end."""
    view = data.data
    segments: list[Segment] = []
    at = 2
    num_scans = 0
    while True:
        while at + 1 < data.size and view[at] == view[at + 1] == 0xFF:  # fill bytes
            at += 1
        if at + 1 >= data.size:
            return tuple(segments), False
        if view[at] != 0xFF:
            raise DataError(Reason.DECODE_FAILED, f'the JPEG cannot be decoded: byte {at} is no marker')
        marker = view[at + 1]
        if marker == _END:
            return tuple(segments), True
        begin, size = at + 4, int.from_bytes(view[at + 2 : at + 4], 'big')
        at = begin + size - 2
        if size < 2 or at > data.size:
            return tuple(segments), False
        span = 0, 0
        if marker == _SCAN:
            num_scans += 1
            found = _MARKER.search(view, at)
            span = at, data.size if found is None else found.start()
            at = span[1]
        if num_scans > MAX_SCANS or len(segments) >= MAX_SEGMENTS:
            raise DataError(
                Reason.TOO_COSTLY,
                f'a JPEG of more than {MAX_SCANS} scans or {MAX_SEGMENTS} segments: cameras make none',
            )
        segments.append(Segment(marker, bytes(view[begin : begin + size - 2]), span))


def scan_plans(jpeg: Jpeg) -> list[ScanPlan]:
    """Plan of every scan of a sequential image whose codes are known.

    An image without Huffman tables, as some cameras send it, has those of the standard, which are not known here.

    Raises:
        IndexError, ValueError, KeyError: its tables are malformed.
    """
    plans: list[ScanPlan] = []
    codes: dict[int, bytes] = {}
    quanta: dict[int, list[int]] = {}
    components: dict[int, Component] = {}
    restart = 0
    for segment in jpeg.segments if jpeg.is_sequential else ():
        content = segment.content
        if segment.marker == _DHT:
            codes |= _huffman_tables(content)
        elif segment.marker == _DQT:
            quanta |= _quantisation_tables(content)
        elif segment.marker == _RESTART:
            restart = int.from_bytes(content[:2], 'big')
        elif segment.marker in _SEQUENTIAL:
            components = _components(content)
        elif segment.marker == _SCAN and codes:
            plans.append(_scan_plan(jpeg, segment, components, codes, quanta, restart))
    return plans


def _huffman_tables(content: bytes) -> dict[int, bytes]:
    """Tables of a segment by class << 4 | number: 16 numbers of codes by length, then the symbols."""
    tables = {}
    while content:
        size = 16 + sum(content[1:17])
        if len(content) < 1 + size or size > 272:
            raise ValueError('a table is malformed')
        tables[content[0]] = content[1 : 1 + size]
        content = content[1 + size :]
    return tables


def _quantisation_tables(content: bytes) -> dict[int, list[int]]:
    tables = {}
    while content:
        width = 2 if content[0] >> 4 else 1
        values = content[1 : 1 + 64 * width]
        if len(values) < 64 * width:
            raise ValueError('a table is malformed')
        tables[content[0] & 15] = [int.from_bytes(values[i : i + width], 'big') for i in range(0, 64 * width, width)]
        content = content[1 + 64 * width :]
    return tables


def _components(content: bytes) -> dict[int, Component]:
    rows = (content[i : i + 3] for i in range(6, 6 + 3 * content[5], 3))
    components = {row[0]: Component(row[0], row[1] >> 4, row[1] & 15, row[2]) for row in rows}
    sizes = {size for component in components.values() for size in (component.across, component.down)}
    if not 1 <= len(components) == content[5] <= MAX_COMPONENTS or not sizes <= {1, 2, 3, 4}:
        raise ValueError('the components are malformed')
    return components


def _scan_plan(
    jpeg: Jpeg,
    segment: Segment,
    components: dict[int, Component],
    codes: dict[int, bytes],
    quanta: dict[int, list[int]],
    restart: int,
) -> ScanPlan:
    content = segment.content
    chosen = [(components[content[i]], content[i + 1]) for i in range(1, 1 + 2 * content[0], 2)]
    if not 1 <= content[0] <= MAX_COMPONENTS or len({component.number for component, _ in chosen}) < len(chosen):
        raise ValueError('the components of a scan are malformed')
    most_across, most_down = (max(getattr(c, axis) for c in components.values()) for axis in ('across', 'down'))
    if len(chosen) == 1:  # its blocks come one by one, as many as its own pixels need
        ((only, _),) = chosen
        width, height = -(-jpeg.width * only.across // most_across), -(-jpeg.height * only.down // most_down)
        num_mcus = -(-width // 8) * -(-height // 8)
        num_blocks = [1]
    else:
        num_mcus = -(-jpeg.width // (8 * most_across)) * -(-jpeg.height // (8 * most_down))
        num_blocks = [component.across * component.down for component, _ in chosen]
    tables = sorted({key for _, table in chosen for key in (table >> 4, 0x10 | (table & 15))})
    steps = sorted({component.table for component, _ in chosen})
    blocks = [
        (i, tables.index(table >> 4), tables.index(0x10 | (table & 15)), steps.index(component.table))
        for i, (component, table) in enumerate(chosen)
        for _ in range(num_blocks[i])
    ]
    return ScanPlan(
        *segment.data,
        num_mcus=num_mcus,
        restart=restart,
        blocks=np.array(blocks, np.int32).reshape(-1, 4),
        codes=_code_tables(tuple(codes[key] for key in tables)),
        quanta=np.array([quanta[step] for step in steps], np.int32),
    )


@functools.lru_cache(maxsize=16)
def _code_tables(tables: tuple[bytes, ...]) -> npt.NDArray[np.uint16]:
    """``ScanPlan.codes``; kept, as a camera's images have the same."""
    return np.stack([_code_table(table) for table in tables])


def _code_table(table: bytes) -> npt.NDArray[np.uint16]:
    """By the next 16 bits, length << 8 | symbol of the code that they start with; 0: none."""
    lengths = np.repeat(np.arange(1, 17), np.frombuffer(table[:16], np.uint8))
    symbols = np.frombuffer(table[16:], np.uint8)
    spans = 1 << (16 - lengths)
    if spans.sum() > 1 << 16:
        raise ValueError('a table has more codes than there are')
    found = np.repeat((lengths << 8 | symbols).astype(np.uint16), spans)
    return np.pad(found, (0, (1 << 16) - found.size))
