# SPDX-License-Identifier: Apache-2.0
"""The payload against the safetensors library, both ways, and against garbage."""

from __future__ import annotations

import array
import dataclasses
import json
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robocache_core import payload
from robocache_core.frame import FusedFrame
from robocache_core.samples import DataError

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int32, torch.int64, torch.uint8, torch.bool]
MORE_DTYPES = [*DTYPES, torch.float64, torch.int8, torch.int16]


def make_tensor(dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    values = torch.arange(math.prod(shape)).reshape(shape)
    return (values % 2 if dtype == torch.bool else values % 100).to(dtype)


def make_frame(**tensors: torch.Tensor) -> FusedFrame:
    return FusedFrame(
        stamp_ns=1_700_000_000_123_456_789,
        epoch=2,
        sequence=41,
        frame_id='base_link',
        tensors=tensors,
        valid={'lidar': True, 'front': False},
        age_ns={'lidar': 0, 'front': -3_000_000},
        latency_ns={'compute': 1_234_567},
    )


def the_library():
    return pytest.importorskip('safetensors.torch', reason='safetensors is not installed')


def assert_same(a: FusedFrame, b: FusedFrame) -> None:
    assert list(a.tensors) == list(b.tensors)
    for name, tensor in a.tensors.items():
        assert b.tensors[name].dtype == tensor.dtype
        assert b.tensors[name].shape == tensor.shape
        assert torch.equal(b.tensors[name], tensor)
    for item in dataclasses.fields(a):
        if item.name not in ('tensors', 'views'):
            assert getattr(a, item.name) == getattr(b, item.name)


shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)
tensors = st.dictionaries(st.text(max_size=8), st.builds(make_tensor, st.sampled_from(MORE_DTYPES), shapes), max_size=6)


@given(tensors)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_roundtrip_of_any_tensors(tensors: dict[str, torch.Tensor]) -> None:
    frame = make_frame(**tensors)
    data = payload.encode(frame)
    assert_same(frame, payload.decode(data))
    assert payload.encode(payload.decode(data)) == data


@given(tensors)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_library_reads_what_we_write(tensors: dict[str, torch.Tensor]) -> None:
    read = the_library().load(payload.encode(make_frame(**tensors)))
    assert set(read) == set(tensors)
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


@given(tensors)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_we_read_what_the_library_writes(tensors: dict[str, torch.Tensor]) -> None:
    data = payload.encode(make_frame())
    metadata = json.loads(data[8:])['__metadata__']
    frame = payload.decode(the_library().save(tensors, metadata))
    assert frame.frame_id == 'base_link'
    assert set(frame.tensors) == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(frame.tensors[name], tensor)


@pytest.mark.parametrize('dtype', MORE_DTYPES)
def test_every_dtype(dtype: torch.dtype) -> None:
    frame = make_frame(a=make_tensor(dtype, (3, 5)), b=make_tensor(dtype, ()), c=make_tensor(dtype, (0, 4)))
    assert_same(frame, payload.decode(payload.encode(frame)))


@pytest.mark.parametrize('member', ['given_up', 'damaged'])
def test_streams_are_named_only_where_there_are_any(member: str) -> None:
    frame = make_frame(x=make_tensor(torch.float32, (3,)))
    named = dataclasses.replace(frame, **{member: ('front', 'imu')})
    assert member.encode() not in payload.encode(frame)
    assert_same(named, payload.decode(payload.encode(named)))
    assert payload.digest(named) != payload.digest(frame)


def test_special_floats_keep_their_bits() -> None:
    bits = torch.tensor([0x7FC00001, -0x80000000, 0x7F800000, 1], dtype=torch.int32)
    read = payload.decode(payload.encode(make_frame(x=bits.view(torch.float32)))).tensors['x']
    assert torch.equal(read.view(torch.int32), bits)


@given(st.lists(st.tuples(st.sampled_from(DTYPES), shapes), max_size=8))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_tensors_lie_aligned(kinds: list[tuple[torch.dtype, tuple[int, ...]]]) -> None:
    made = {f't{i}': make_tensor(dtype, shape) for i, (dtype, shape) in enumerate(kinds)}
    data = payload.encode(make_frame(**made))
    length = int.from_bytes(data[:8], 'little')
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    for name, tensor in made.items():
        begin = header[name]['data_offsets'][0]
        assert begin % tensor.element_size() == 0
        if tensor.nbytes % 8 == 0:
            assert begin % 8 == 0


@pytest.mark.parametrize(
    'kind', [bytes, bytearray, lambda b: array.array('B', b), memoryview, lambda b: np.frombuffer(b, np.uint8)]
)
def test_tensors_view_the_buffer(kind) -> None:
    buffer = kind(payload.encode(make_frame(x=make_tensor(torch.float32, (4, 3)), v=make_tensor(torch.bool, (5,)))))
    start = np.frombuffer(buffer, np.uint8).ctypes.data
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        frame = payload.decode(buffer)
    for tensor in frame.tensors.values():
        assert start < tensor.data_ptr() < start + len(buffer)


def test_a_writable_view_writes_through() -> None:
    buffer = bytearray(payload.encode(make_frame(x=torch.zeros(4))))
    payload.decode(buffer).tensors['x'].fill_(1.0)
    assert torch.equal(payload.decode(bytes(buffer)).tensors['x'], torch.ones(4))


def test_a_view_keeps_its_buffer_alive() -> None:
    tensor = payload.decode(payload.encode(make_frame(x=torch.arange(100_000)))).tensors['x']
    assert torch.equal(tensor, torch.arange(100_000))


def test_the_file_is_written_to_a_buffer_of_the_callers() -> None:
    for tensors in (
        {'x': torch.arange(5.0), 'y': torch.arange(12).reshape(3, 4).T, 'z': torch.zeros(0, 3)},
        {'flag': torch.tensor(True), 'half': torch.ones(3, dtype=torch.bfloat16)},
        {},
    ):
        frame = make_frame(**tensors)
        buffer = payload.write(frame, bytearray)
        assert isinstance(buffer, bytearray)
        assert buffer == payload.encode(frame)


def test_parts_view_the_tensors() -> None:
    tensor = torch.arange(8, dtype=torch.float32)
    last = payload.parts(make_frame(x=tensor))[-1]
    tensor[0] = 42.0
    assert np.frombuffer(last, np.float32)[0] == 42.0


@pytest.mark.parametrize('offset', range(1, 8))
def test_a_misaligned_buffer_is_read(offset: int) -> None:
    frame = make_frame(x=make_tensor(torch.float32, (3,)), y=make_tensor(torch.int64, (2,)))
    padded = memoryview(bytes(offset) + payload.encode(frame))[offset:]
    assert_same(frame, payload.decode(padded))


def test_a_tensor_is_a_buffer_and_is_viewed() -> None:
    frame = make_frame(x=make_tensor(torch.float32, (3,)), y=make_tensor(torch.int64, (2,)))
    data = torch.frombuffer(bytearray(payload.encode(frame)), dtype=torch.uint8)
    read = payload.decode(data)
    assert_same(frame, read)
    for tensor in read.tensors.values():
        assert tensor.untyped_storage().data_ptr() == data.untyped_storage().data_ptr()


@pytest.mark.parametrize(
    ('data', 'error', 'text'),
    [
        (torch.zeros(100), TypeError, 'data is torch.float32: must be torch.uint8'),
        (torch.zeros(10, 10, dtype=torch.uint8), ValueError, r'data has shape \(10, 10\): must have 1 dimensions'),
        (torch.zeros(100, dtype=torch.uint8)[::2], ValueError, 'data has stride 2: must be contiguous'),
    ],
)
def test_a_tensor_that_is_no_buffer_is_refused(data: torch.Tensor, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        payload.decode(data)


def test_strided_and_differentiable_tensors_are_written() -> None:
    strided = torch.arange(12.0).reshape(3, 4).T[1:]
    frame = make_frame(x=strided, y=torch.ones(2, requires_grad=True))
    read = payload.decode(payload.encode(frame)).tensors
    assert torch.equal(read['x'], strided)
    assert not read['y'].requires_grad


def test_cuda_tensors_are_written() -> None:
    if not torch.cuda.is_available():
        pytest.skip('no CUDA device')
    tensor = torch.arange(10, device='cuda')
    read = payload.decode(payload.encode(make_frame(x=tensor))).tensors['x']
    assert read.device.type == 'cpu'
    assert torch.equal(read, tensor.cpu())


def test_equal_frames_give_equal_bytes() -> None:
    made = {f't{i}': make_tensor(dtype, (3, i)) for i, dtype in enumerate(DTYPES)}
    clones = {name: tensor.clone() for name, tensor in made.items()}
    assert payload.encode(make_frame(**made)) == payload.encode(make_frame(**clones))


def test_what_cannot_be_written_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"'z'.*complex64"):
        payload.encode(make_frame(z=torch.zeros(2, dtype=torch.complex64)))
    with pytest.raises(ValueError, match='__metadata__'):
        payload.encode(make_frame(__metadata__=torch.zeros(2)))


# ---- garbage --------------------------------------------------------------------------------------------------------


def assert_bad(data: bytes, match: str | None = None) -> None:
    with pytest.raises(DataError, match=match) as caught:
        payload.decode(data)
    assert caught.value.reason == 'bad_payload'


def only_bad_payload(data: bytes) -> None:
    """Decoding ``data`` gives a frame whose tensors can be read, or ``bad_payload``."""
    reason, tensors = 'bad_payload', {}
    try:
        tensors = payload.decode(data).tensors
    except DataError as error:
        reason = error.reason
    assert reason == 'bad_payload'
    for tensor in tensors.values():
        tensor.clone()


def file_of(header: object, data: bytes = b'') -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, 'little') + text + data


GOOD = payload.encode(make_frame(a=make_tensor(torch.float32, (2, 3)), b=make_tensor(torch.bool, (5,))))
METADATA = json.loads(GOOD[8 : 8 + int.from_bytes(GOOD[:8], 'little')])['__metadata__']


@given(st.binary(max_size=200))
def test_garbage(data: bytes) -> None:
    assert_bad(data)


@given(st.binary(max_size=100), st.binary(max_size=50))
def test_garbage_header(header: bytes, data: bytes) -> None:
    assert_bad(file_of(header, data))


def test_truncated_anywhere() -> None:
    for size in range(len(GOOD)):
        assert_bad(GOOD[:size])


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
@settings(max_examples=500)
def test_a_changed_byte(position: int, value: int) -> None:
    changed = bytearray(GOOD)
    changed[position] = value
    only_bad_payload(bytes(changed))


numbers = st.one_of(st.integers(-2, 40), st.integers(-(1 << 70), 1 << 70), st.floats(), st.booleans())
json_values = st.recursive(
    st.one_of(st.none(), numbers, st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
entries = st.fixed_dictionaries(
    {
        'dtype': st.sampled_from([*payload.DTYPES, 'F8', 3]),
        'shape': st.lists(numbers, max_size=3) | json_values,
        'data_offsets': st.lists(st.integers(0, 40), min_size=2, max_size=2) | json_values,
    }
)


@given(
    st.dictionaries(st.text(max_size=3), entries | json_values, max_size=3),
    st.dictionaries(st.sampled_from(list(METADATA)), st.text(max_size=12) | json_values, max_size=2),
    st.binary(max_size=40),
)
@settings(max_examples=500, deadline=None)
def test_a_header_of_nonsense(header: dict, metadata: dict, data: bytes) -> None:
    only_bad_payload(file_of(header | {'__metadata__': METADATA | metadata}, data))


@pytest.mark.parametrize(
    ('entry', 'match'),
    [
        ({'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 7]}, 'bytes 0 to 7'),
        ({'dtype': 'F32', 'shape': [2], 'data_offsets': [8, 0]}, 'bytes 8 to 0'),
        ({'dtype': 'F32', 'shape': [4], 'data_offsets': [0, 16]}, 'of 8'),
        ({'dtype': 'F32', 'shape': [-2], 'data_offsets': [0, 8]}, 'shape'),
        ({'dtype': 'F32', 'shape': [True, 2], 'data_offsets': [0, 8]}, 'shape'),
        ({'dtype': 'F32', 'shape': [0, 1 << 40, 1 << 40], 'data_offsets': [0, 0]}, 'shape'),
        ({'dtype': 'U8', 'shape': [1] * 1000, 'data_offsets': [0, 1]}, 'shape'),
        ({'dtype': 'F8_E4M3', 'shape': [8], 'data_offsets': [0, 8]}, 'dtype'),
        ({'dtype': 'BOOL', 'shape': [8], 'data_offsets': [0, 8]}, 'neither 0 nor 1'),
        ({'dtype': 'F32', 'shape': [1], 'data_offsets': [4, 8]}, 'gap'),
        ({'dtype': 'F32', 'shape': [1], 'data_offsets': [0, 4]}, '8 bytes of data'),
        ([], 'not an object'),
    ],
)
def test_a_bad_entry(entry: object, match: str) -> None:
    assert_bad(file_of({'__metadata__': METADATA, 'x': entry}, b'\x02' * 8), match)


def test_overlapping_tensors() -> None:
    entry = {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]}
    assert_bad(file_of({'__metadata__': METADATA, 'x': entry, 'y': entry}, bytes(8)), 'overlap')


@pytest.mark.parametrize(
    'change',
    [
        {'stamp_ns': 'soon'},
        {'stamp_ns': str(1 << 64)},
        {'epoch': 3},
        {'sequence': None},
        {'valid': '[]'},
        {'valid': '{"lidar": 1}'},
        {'age_ns': '{"lidar": 0.5}'},
        {'age_ns': '{'},
        {'given_up': '{}'},
        {'given_up': '[1]'},
        {'given_up': '["front"'},
        {'given_up': None},
        {'damaged': '{}'},
        {'damaged': '[1]'},
        {'robocache_schema': '2'},
        {'frame_id': None},
    ],
)
def test_bad_metadata(change: dict) -> None:
    assert_bad(file_of({'__metadata__': METADATA | change}), next(iter(change)).replace('robocache_', ''))


def test_headers_that_hurt_parsers() -> None:
    assert_bad(file_of(b'[' * 100_000))
    assert_bad(file_of(b'{"a":' * 100_000))
    assert_bad(file_of(b'{"__metadata__":{},"__metadata__":{}}'), 'twice')
    assert_bad((1 << 63).to_bytes(8, 'little') + b'{}')
    assert_bad(file_of(b'9' * 10_000))
    assert_bad(file_of({'x': {}}), 'no __metadata__')
    assert_bad(file_of(b'\xff\xfe'))


def test_digest_tells_frames_apart_by_everything_but_latency():
    one = make_frame(a=torch.ones(1))
    assert payload.digest(one) == payload.digest(dataclasses.replace(one, latency_ns={'lidar': 1}))
    for change in ({'stamp_ns': 1}, {'epoch': 9}, {'valid': {}}, {'tensors': {'a': torch.zeros(1)}}):
        assert payload.digest(one) != payload.digest(dataclasses.replace(one, **change))
