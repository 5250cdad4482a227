# SPDX-License-Identifier: Apache-2.0
"""The reader of fused frames in C++, under ASan and UBSan: what Python reads, and no crash by other bytes."""

import json
import random
import subprocess
from pathlib import Path

import pytest
import torch

from robocache_core import payload
from robocache_core.frame import FusedFrame
from robocache_core.samples import DataError

ROOT = Path(__file__).parents[2]
FLAGS = ('-std=c++17', '-O0', '-Wall', '-Wextra', '-Wshadow', '-Werror', '-fsanitize=address,undefined')
FRAMES = {
    'all types': FusedFrame(
        *(1_700_000_000_123_456_789, 2, 7, 'base_link'),
        tensors={
            str(dtype).removeprefix('torch.'): torch.arange(6).reshape(2, 3).to(dtype)
            for dtype in payload.DTYPES.values()
        },
        valid={'front': True, 'lidar': False},
        age_ns={'front': -5_000_000, 'lidar': 12},
        columns={'odom': ('pose.pose.position.x', 'position[elbow]')},
    ),
    'empty': FusedFrame(-1, 0, 0, '', tensors={}, valid={}, age_ns={}),
    'no voxel': FusedFrame(5, 0, 0, 'map', {'lidar.coords': torch.zeros(0, 3, dtype=torch.int32)}, {}, {}),
    'scalar': FusedFrame(5, 0, 0, 'map', {'one': torch.tensor(1.5)}, {}, {}),
    'names of others': FusedFrame(
        5, 0, 0, 'a"b\\c\n/é€😀', {'ü\t😀': torch.ones(1)}, {'ü\t😀': True}, {}, columns={'ü\t😀': ('\u0001', '\x7f')}
    ),
}


@pytest.fixture(scope='module')
def reader(tmp_path_factory):
    """Read files, and return the text of each."""
    program = tmp_path_factory.mktemp('cpp') / 'reader'
    include = ROOT / 'robocache_core/include'
    subprocess.run(['g++', *FLAGS, f'-I{include}', ROOT / 'test/package/cpp_reader.cpp', '-o', program], check=True)

    def read(files):
        done = subprocess.run([program, *files], capture_output=True, check=True)
        assert done.stderr == b''
        texts = done.stdout.decode(errors='surrogateescape').split('end\n')
        assert len(texts) == len(files) + 1
        return texts[:-1]

    return read


def text_of(frame):
    """What the program prints of a frame."""
    lines = [f'{name} {getattr(frame, name)}' for name in ('stamp_ns', 'epoch', 'sequence', 'frame_id')]
    for key, values in (('valid', frame.valid), ('age_ns', frame.age_ns)):
        lines += [f'{key} {name} {int(value)}' for name, value in sorted(values.items())]
    lines += [f'column {name} {column}' for name, columns in sorted(frame.columns.items()) for column in columns]
    names = {dtype: name for name, dtype in payload.DTYPES.items()}
    for name, tensor in sorted(frame.tensors.items()):
        raw = bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist()).hex()
        lines.append(' '.join(('tensor', name, names[tensor.dtype], *map(str, tensor.shape), f':{raw}')))
    return '\n'.join(lines) + '\n'


def written(folder, contents):
    paths = [folder / f'{number}.safetensors' for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def test_it_reads_what_python_writes(reader, tmp_path):
    texts = reader(written(tmp_path, [payload.encode(frame) for frame in FRAMES.values()]))
    assert texts == [text_of(frame) for frame in FRAMES.values()]


def test_it_refuses_what_is_cut_short(reader, tmp_path):
    whole = payload.encode(FRAMES['all types'])
    texts = reader(written(tmp_path, [whole[:length] for length in range(0, len(whole), 7)]))
    assert all(text.startswith('refused not a fused frame: ') for text in texts)


def test_it_refuses_another_schema(reader, tmp_path):
    other = payload.encode(FRAMES['empty']).replace(b'"robocache_schema":"1"', b'"robocache_schema":"2"')
    assert reader(written(tmp_path, [other])) == ['refused not a fused frame: schema 2, this reader knows 1\n']


def test_what_a_stranger_wrote_is_shown_as_printable_characters(reader, tmp_path):
    foreign = payload.encode(FRAMES['scalar']).replace(b'"F32"', b'"\x1b[3"')
    assert reader(written(tmp_path, [foreign])) == ['refused not a fused frame: dtype ?[3\n']


@pytest.mark.parametrize(
    ('tensors', 'why'),
    [
        ({'a': ('F32', [4], 0, 16), 'b': ('F32', [-1, 0], 16, 16)}, 'b: no tensor has its shape'),
        ({'a': ('F32', [4], 0, 16), 'b': ('U8', [0, 2**62, 2**62], 16, 16)}, 'b: no tensor has its shape'),
        ({'a': ('F32', [2**62], 0, 16)}, 'a: no tensor has its shape'),
        ({'a': ('F32', [2**32, 4], 0, 16)}, 'a: its shape does not fit its bytes'),
        ({'a': ('F32', [4], 0, 2**32 + 16)}, 'a: data_offsets'),
        ({'a': ('F32', [4], 0, 16), 'b': ('U8', [16], 0, 16)}, 'tensors overlap or leave a gap at byte 0'),
        ({'a': ('F32', [1], 0, 4), 'b': ('F32', [2], 8, 16)}, 'tensors overlap or leave a gap at byte 4'),
        ({'a': ('F32', [3], 0, 12)}, '16 bytes of data, the tensors take 12'),
        ({'a': ('BOOL', [16], 0, 16)}, 'a: a bool that is neither 0 nor 1'),
    ],
)
def test_it_refuses_tensors_that_python_refuses(reader, tmp_path, tensors, why):
    empty = payload.encode(FRAMES['empty'])
    entries = {
        name: {'dtype': dtype, 'shape': shape, 'data_offsets': [begin, end]}
        for name, (dtype, shape, begin, end) in tensors.items()
    }
    header = json.dumps(json.loads(empty[8:]) | entries).encode()
    content = len(header).to_bytes(8, 'little') + header + bytes([2] * 16)
    with pytest.raises(DataError):
        payload.decode(content)
    assert reader(written(tmp_path, [content])) == [f'refused not a fused frame: {why}\n']


def test_no_bytes_crash_it_and_it_reads_nothing_else_than_python(reader, tmp_path):
    chance, whole, damaged = random.Random(1), payload.encode(FRAMES['all types']), []
    for _ in range(1500):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            content[chance.randrange(600 if chance.random() < 0.9 else len(content))] = chance.choice(
                b'0123456789{}[]",:-e\xff\x00'
            )
        damaged.append(bytes(content))
    for content, text in zip(damaged, reader(written(tmp_path, damaged)), strict=True):
        try:
            frame = payload.decode(content)
        except DataError:
            continue  # stricter in what it checks: metadata of which the C++ frame has nothing, and UTF-8
        if not text.startswith('refused'):
            assert text == text_of(frame)
