# SPDX-License-Identifier: Apache-2.0
"""A ``FusedFrame`` as bytes and back: a safetensors file whose metadata holds the rest of the frame.

The file is an 8-byte little-endian header length, a JSON header padded with spaces to a multiple of 8, and the
tensors' bytes without a gap. Tensors are written in order of their alignment, so each one is aligned to its type
(to 8 bytes where its neighbours' sizes allow) and can be read in place. Any safetensors reader opens it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import torch

from robocache_core.byte_views import view_on_host
from robocache_core.device import copy_to_host, on_host
from robocache_core.dtypes import itemsize
from robocache_core.frame import SCHEMA, FusedFrame
from robocache_core.ledger import Reason
from robocache_core.samples import DataError
from robocache_core.text import shown
from robocache_core.validation import check_bytes

if TYPE_CHECKING:
    from typing_extensions import Buffer

BufferT = TypeVar('BufferT', bound='Buffer')

DTYPES: Mapping[str, torch.dtype] = {
    'BOOL': torch.bool,
    'U8': torch.uint8,
    'I8': torch.int8,
    'I16': torch.int16,
    'I32': torch.int32,
    'I64': torch.int64,
    'F16': torch.float16,
    'BF16': torch.bfloat16,
    'F32': torch.float32,
    'F64': torch.float64,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_ALIGNMENT = 8
_MAX_HEADER = 100_000_000  # the limit that other safetensors readers have
_MAX_DIMS = 16
_INT64 = 1 << 63


def parts(frame: FusedFrame) -> list[bytes | memoryview]:
    """The file in pieces, to be written one after another.

    A contiguous tensor on the CPU is viewed, not copied: write the pieces before it changes. Those on a GPU are copied
    to the CPU, with one wait.

    Raises:
        TypeError: a tensor's type has no name in safetensors.
        ValueError: a tensor is called ``__metadata__``.
    """
    head, tensors = _laid_out(frame)
    return [head, *(tensor.numpy().data for tensor in on_host(tensors))]


def write(frame: FusedFrame, allocate: Callable[[int], BufferT]) -> BufferT:
    """Write the file to the buffer that ``allocate`` gives for its number of bytes, and return that.

    Every tensor is copied once, straight into the buffer, from a GPU too, with one wait. Raises as ``parts`` does.
    """
    head, tensors = _laid_out(frame)
    sizes = [len(head), *(tensor.numel() for tensor in tensors)]
    buffer = allocate(sum(sizes))
    bytes_, whole = memoryview(buffer), torch.frombuffer(buffer, dtype=torch.uint8)
    bytes_[: len(head)] = head
    elsewhere = []
    for tensor, begin, size in zip(tensors, itertools.accumulate(sizes), sizes[1:], strict=False):
        if tensor.is_cpu:
            bytes_[begin : begin + size] = tensor.numpy().data
        else:
            elsewhere.append((tensor, whole[begin : begin + size]))
    copy_to_host([tensor for tensor, _ in elsewhere], [place for _, place in elsewhere])
    return buffer


def _laid_out(frame: FusedFrame) -> tuple[bytes, list[torch.Tensor]]:
    """All that comes before the data, and each tensor's bytes ``[nbytes] uint8``, where it is, in the file's order."""
    header: dict[str, Any] = {'__metadata__': _metadata(frame)}
    raw: dict[str, torch.Tensor] = {}
    for name, tensor in frame.tensors.items():
        if tensor.dtype not in _NAMES:
            raise TypeError(f"tensor '{name}': {tensor.dtype} cannot be written, only {', '.join(map(str, _NAMES))}")
        if name in header:
            raise ValueError(f"tensor '{name}': the name is reserved")
        raw[name] = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
        header[name] = {'dtype': _NAMES[tensor.dtype], 'shape': list(tensor.shape)}
    # Sizes that keep a larger alignment go first: every tensor is then aligned to its own type without a gap,
    # which the format forbids. The sort is stable, so equal frames give equal bytes.
    order = sorted(raw, key=lambda name: -math.gcd(raw[name].numel(), _ALIGNMENT))
    end = 0
    for name in order:
        begin, end = end, end + raw[name].numel()
        header[name]['data_offsets'] = [begin, end]
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, 'little') + text, [raw[name] for name in order]


def encode(frame: FusedFrame) -> bytes:
    """``frame`` as the bytes of a safetensors file; raises as ``parts`` does."""
    return b''.join(parts(frame))


def digest(frame: FusedFrame) -> str:
    """SHA-256 of all that the frame says but how long it took: equal frames have equal digests, and only they."""
    sha = hashlib.sha256()
    for part in parts(dataclasses.replace(frame, latency_ns={})):
        sha.update(part)
    return sha.hexdigest()


def decode(buffer: Buffer | torch.Tensor) -> FusedFrame:
    """The frame in ``buffer`` (bytes, bytearray, array, memoryview, ndarray or tensor of uint8).

    The tensors view the buffer and keep it alive; do not write to those of a read-only buffer. A tensor whose
    bytes are not aligned in memory is copied; in a file that ``encode`` wrote all are aligned. A buffer on a GPU stays
    there but for its header; that is waited for, and so is whether the bytes of each bool tensor are bools.

    Raises:
        DataError: ``bad_payload``; nothing else, whatever the bytes are.
        RuntimeError: ``buffer`` is on a GPU, which has failed.
        ValueError, TypeError: ``buffer`` is a tensor, and not ``[nbytes]`` uint8, contiguous.
    """
    data = buffer if isinstance(buffer, torch.Tensor) else view_on_host(buffer)
    check_bytes(data)
    header, start = _header(data)
    metadata = header.pop('__metadata__', None)
    if not isinstance(metadata, dict):
        _refuse('no __metadata__')
    body = data[start:]
    tensors, spans = {}, []
    for name, entry in header.items():
        begin, end, dtype, shape = _entry(name, entry, body.numel())
        tensors[name] = _view(body[begin:end], dtype, shape, name)
        spans.append((begin, end))
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            _refuse(f'tensors overlap or leave a gap at byte {min(begin, position)} of the data')
        position = end
    if position != body.numel():
        _refuse(f'{body.numel()} bytes of data, the tensors take {position}')
    return _frame(metadata, tensors)


def _refuse(what: str) -> NoReturn:
    raise DataError(Reason.BAD_PAYLOAD, f'not a fused frame: {what}')


def _metadata(frame: FusedFrame) -> dict[str, str]:
    metadata = {
        'robocache_schema': str(frame.schema),
        'stamp_ns': str(frame.stamp_ns),
        'epoch': str(frame.epoch),
        'sequence': str(frame.sequence),
        'frame_id': frame.frame_id,
        'valid': json.dumps(frame.valid),
        'age_ns': json.dumps(frame.age_ns),
        'latency_ns': json.dumps(frame.latency_ns),
    }
    named = {
        'given_up': frame.given_up,
        'damaged': frame.damaged,
        'columns': frame.columns,
        'stamped_by_arrival': frame.stamped_by_arrival,
        'stamp_offset_ns': frame.stamp_offset_ns,
    }
    return metadata | {key: json.dumps(names) for key, names in named.items() if names}


def _parsed(text: bytes | str, what: str) -> Any:
    """What the JSON in ``text`` holds, without a key twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError('a key occurs twice')
        return found

    try:
        return json.loads(text.decode() if isinstance(text, bytes) else text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        _refuse(f'{what}: {error}')


def _json(text: bytes | str, what: str) -> dict[str, Any]:
    """The object in ``text``, without a key twice."""
    value = _parsed(text, what)
    if not isinstance(value, dict):
        _refuse(f'{what} is not an object')
    return value


def _header(data: torch.Tensor) -> tuple[dict[str, Any], int]:
    """The header, and where the data after it start."""
    size = data.numel()
    if size < 8:
        _refuse(f'{size} bytes')
    length = int.from_bytes(_read(data[:8]), 'little')
    if length > min(_MAX_HEADER, size - 8):
        _refuse(f'a header of {length} bytes in {size}')
    return _json(_read(data[8 : 8 + length]), 'header'), 8 + length


def _read(data: torch.Tensor) -> bytes:
    return data.cpu().numpy().tobytes()


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < _INT64


def _entry(name: str, entry: Any, nbytes: int) -> tuple[int, int, torch.dtype, list[int]]:
    """Begin, end, type and shape of a tensor, all checked against each other and ``nbytes`` of data."""
    if not isinstance(entry, dict):
        _refuse(f'tensor {shown(name)} is not an object')
    kind, shape, offsets = entry.get('dtype'), entry.get('shape'), entry.get('data_offsets')
    dtype = DTYPES.get(kind) if isinstance(kind, str) else None
    if dtype is None:
        _refuse(f'tensor {shown(name)}: dtype {shown(kind)}')
    if not isinstance(shape, list) or len(shape) > _MAX_DIMS or not all(map(_is_size, shape)):
        _refuse(f'tensor {shown(name)}: shape {shown(shape)}')
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        _refuse(f'tensor {shown(name)}: data_offsets {shown(offsets)}')
    begin, end = offsets
    # An empty tensor's other sizes count too: their product becomes its strides.
    if math.prod(max(size, 1) for size in shape) * itemsize(dtype) >= _INT64:
        _refuse(f'tensor {shown(name)}: shape {shown(shape)}')
    if not begin <= end <= nbytes or end - begin != math.prod(shape) * itemsize(dtype):
        _refuse(f'tensor {shown(name)}: {kind} {shown(shape)} in bytes {begin} to {end} of {nbytes}')
    return begin, end, dtype, shape


def _view(raw: torch.Tensor, dtype: torch.dtype, shape: list[int], name: str) -> torch.Tensor:
    """``raw [nbytes] uint8`` as ``dtype`` in ``shape``, in place where it is aligned."""
    if dtype == torch.bool and bool((raw > 1).any()):
        _refuse(f'tensor {shown(name)}: a bool that is neither 0 nor 1')
    if raw.data_ptr() % itemsize(dtype) or raw.storage_offset() % itemsize(dtype):
        raw = raw.clone()
    return raw.view(dtype).view(shape)


def _names(found: Any, key: str) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(type(value) is str for value in found):
        _refuse(f'metadata {key} is not a list of names')
    return tuple(found)


def _frame(metadata: dict[str, Any], tensors: dict[str, torch.Tensor]) -> FusedFrame:
    def text(key: str) -> str:
        value = metadata.get(key)
        if not isinstance(value, str):
            _refuse(f'metadata {key} = {shown(value)}')
        return value

    def integer(key: str) -> int:
        digits = text(key)
        try:
            value = int(digits)
        except ValueError:
            value = _INT64
        if not -_INT64 <= value < _INT64:
            _refuse(f'metadata {key} = {shown(digits)}')
        return value

    def mapping(key: str, of: type) -> dict[str, Any]:
        found = _json(text(key), f'metadata {key}')
        if not all(type(value) is of for value in found.values()):
            _refuse(f'metadata {key}: values are not all {of.__name__}')
        return found

    def names(key: str) -> tuple[str, ...]:
        return _names(_parsed(text(key), f'metadata {key}') if key in metadata else [], key)

    columns = _json(text('columns'), 'metadata columns') if 'columns' in metadata else {}
    schema = integer('robocache_schema')
    if schema != SCHEMA:
        _refuse(f'schema {schema}, this reader knows {SCHEMA}')
    return FusedFrame(
        stamp_ns=integer('stamp_ns'),
        epoch=integer('epoch'),
        sequence=integer('sequence'),
        frame_id=text('frame_id'),
        tensors=tensors,
        valid=mapping('valid', bool),
        age_ns=mapping('age_ns', int),
        latency_ns=mapping('latency_ns', int),
        given_up=names('given_up'),
        damaged=names('damaged'),
        columns={name: _names(found, 'columns') for name, found in columns.items()},
        stamped_by_arrival=names('stamped_by_arrival'),
        stamp_offset_ns=mapping('stamp_offset_ns', int) if 'stamp_offset_ns' in metadata else {},
        schema=schema,
    )
