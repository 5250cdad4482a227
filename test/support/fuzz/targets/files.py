# SPDX-License-Identifier: Apache-2.0
"""Files from elsewhere: bags of both storages, their definitions, records of the flight recorder, fused frames."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import lz4.frame
import torch
from support import mcap_by_hand, sqlite_by_hand
from support.foreign_bags import zstd
from support.fuzz.targets.target import Target, check_line, refusals

from robocache_core import payload
from robocache_core.frame import FusedFrame
from robocache_core.tunable import ConfigError
from robocache_ros import bag_types, record_file
from robocache_ros.bag_files import FileError, compression, opened
from robocache_ros.bags import BagError, open_bag
from robocache_ros.cdr import reader

#: Bytes of a chunk at most, so that a small file cannot take much memory.
MOST = 1 << 20
_TYPE = 'a_msgs/msg/Odd'
_TOPICS = [('/small', 'std_msgs/msg/String'), ('/large', 'sensor_msgs/msg/Image')]
_MESSAGES = [(at % 2, 1000 + (at ^ 1), b'\0\1\0\0' + b'<%02d>' % at * (3 + 900 * (at == 3))) for at in range(6)]


class _Lines(logging.Handler):
    """Keeps what is logged, as it would be shown."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def _logged() -> Iterator[list[str]]:
    logger, handler = logging.getLogger('robocache_ros'), _Lines()
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


@cache
def _folder() -> Path:
    """A folder for the file at hand, in memory where there is one."""
    memory = Path('/dev/shm')
    folder = tempfile.TemporaryDirectory(prefix='robocache-fuzz-', dir=memory if memory.is_dir() else None)
    _kept.enter_context(folder)
    return Path(folder.name)


_kept = ExitStack()


def _written(name: str, data: bytes) -> Path:
    path = _folder() / name
    path.write_bytes(data)
    return path


def check_bag(data: bytes) -> None:
    """A file of a bag: it is read as far as it can be, twice in the same way, and what is missing is named."""
    path = _written('bag', data)
    with _logged() as lines, patch.object(compression, 'MAX_BYTES', MOST):
        _read_alone(path)
        lines.clear()
        try:
            bag = open_bag(path)
            found = list(bag.messages(bag.topics))
            assert list(bag.messages(bag.topics)) == found
            lines += bag.defects
        except BagError as error:
            lines.append(str(error))
        else:
            if not lines:
                assert [ns for _, ns, _ in found] == sorted(ns for _, ns, _ in found), 'out of order'
                assert len(found) == bag.count, f'{len(found)} of {bag.count}'
    for line in lines:
        check_line(line)


def _read_alone(path: Path) -> None:
    """Read it by itself: what opens bags takes any exception for damage, and would hide one that is not foreseen."""
    with suppress(FileError), opened(path) as file:
        keys = {channel.key for channel in file.channels}
        assert all(key in keys for key, _, _ in file.messages(keys))


def check_definition(data: bytes) -> None:
    """The definition of a message type, as a bag has it."""
    topic = SimpleNamespace(msgtype=_TYPE, definition=data.decode(errors='replace'))
    bag = SimpleNamespace(path=Path('bag'), topics={'/odd': topic})
    try:
        reader(bag_types.types_in(bag)(_TYPE))
    except ConfigError as error:
        check_line(error)


def check_record(data: bytes) -> None:
    """A file of the flight recorder."""
    try:
        record_file.read(_written('record.jsonl', data))
    except record_file.RecordError as error:
        check_line(error)


def check_payload(data: bytes) -> None:
    """A fused frame: one that is read can be written, and is the same when it is read again."""
    with refusals('bad_payload'):
        frame = payload.decode(data)
        again = payload.decode(payload.encode(frame))
        assert payload.digest(again) == payload.digest(frame)


def _frames() -> Iterator[bytes]:
    tensors = {'lidar.coords': torch.arange(6, dtype=torch.int32).view(2, 3), 'front': torch.ones(1, 2, 2).half()}
    frame = FusedFrame(
        stamp_ns=1, epoch=0, sequence=3, frame_id='base_link', tensors=tensors, valid={'front': True},
        age_ns={'front': 5}, latency_ns={'compute': 7}, given_up=('imu',), columns={'state': ('x', 'y')},
    )  # fmt: skip
    yield payload.encode(frame)
    yield payload.encode(FusedFrame(1, 0, 0, '', {}, {}, {}, {}))


def _records() -> Iterator[bytes]:
    header = {
        'kind': 'header', 'version': record_file.VERSION, 'node': 'n', 'cause': 'c', 'blocker': '', 'steady_ns': 1,
        'ros_time_ns': 1, 'max_wait_ns': 1, 'streams': {'lidar': {'tolerance_ns': 1, 'window_ns': [0, 1]}},
    }  # fmt: skip
    for kind in record_file.Kind:
        values = {name: _VALUES[_first(record_file._TYPES[name])] for name in kind.fields}
        yield '\n'.join(map(json.dumps, (header, {'kind': kind.value, 'steady_ns': 1, **values}))).encode()


_VALUES = {str: 'lidar', int: 1, dict: {}, list: []}


def _first(kind: type | tuple[type, ...]) -> type:
    return kind[0] if isinstance(kind, tuple) else kind


def _bag(write: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'bag'
        write(path)
        return path.read_bytes()


def _mcaps() -> Iterator[bytes]:
    channels = [mcap_by_hand.Channel(*topic) for topic in _TOPICS]
    for per_chunk, method, compress, index in (
        (0, '', bytes, True), (3, '', bytes, True), (3, 'zstd', zstd.compress, True),
        (2, 'lz4', lz4.frame.compress, False),
    ):  # fmt: skip
        yield _bag(
            lambda path, p=per_chunk, m=method, c=compress, i=index: mcap_by_hand.write(
                path, channels, _MESSAGES, per_chunk=p, compression=m, compress=c, index=i
            )
        )


def _databases() -> Iterator[bytes]:
    whole = _bag(lambda path: sqlite_by_hand.write(path, _TOPICS, _MESSAGES, version=2))
    yield whole
    yield whole[: len(whole) * 4 // 5]


def _definitions() -> Iterator[bytes]:
    yield b'std_msgs/Header header\nfloat64[3] a\nuint8 A=1\nstring<5>[] names\n'
    yield b'B[<=3] b\n' + b'=' * 80 + b'\nMSG: a_msgs/B\nint32 x 5\n'
    yield b'Odd[] odd\n'


TARGETS = {
    'mcap': Target(check_bag, _mcaps, 8192),
    'sqlite': Target(check_bag, _databases, 65536),
    'definition': Target(check_definition, _definitions, 1024),
    'record': Target(check_record, _records),
    'payload': Target(check_payload, _frames, 2048),
}
