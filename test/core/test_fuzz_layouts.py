# SPDX-License-Identifier: Apache-2.0
"""Clouds of any layout, most of them nonsense, over bytes of any content: refused by name, or the reference's bits.

``make sanitize`` runs this under AddressSanitizer: the buffers are exactly as large as the layout says.
"""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robocache_core import ops
from robocache_core.ops import VoxelGrid
from robocache_core.samples import CloudLayout, DataError, PointField

GRID = VoxelGrid((-4.0, -4.0, -4.0), (1.0, 0.5, 2.0), (8, 16, 4))
CHANNELS = ('count', 'mean:x', 'mean:a', 'max:b', 'min:a')
DTYPES = ('int8', 'uint8', 'int16', 'uint16', 'int32', 'uint32', 'float32', 'float64')
REASONS = {'bad_layout', 'field_beyond_point_step', 'row_step_too_small', 'data_too_short', 'missing_field'}
GUARD = 64


@st.composite
def layouts(draw) -> CloudLayout:
    """A layout that holds, all fields in random places, which may overlap."""
    fields = []
    for name in ('x', 'y', 'z', 'a', 'b'):
        dtype = draw(st.sampled_from(('float32', 'float64') if name in 'xyz' else DTYPES))
        fields.append(PointField(name, draw(st.integers(0, 40)), dtype, draw(st.integers(1, 3))))
    point_step = max(field.offset + field.nbytes for field in fields) + draw(st.integers(0, 3))
    width, height = draw(st.integers(0, 9)), draw(st.integers(0, 4))
    row_step = width * point_step + draw(st.integers(0, 7))
    return CloudLayout(tuple(draw(st.permutations(fields))), width, height, point_step, row_step, draw(st.booleans()))


@st.composite
def broken(draw) -> CloudLayout:
    """A layout that holds but for one number."""
    layout = draw(layouts())
    number = st.integers(-3, 90) | st.sampled_from([-(2**31), 2**31 - 1, 2**32, 2**62])
    what = draw(st.sampled_from(['width', 'height', 'point_step', 'row_step', 'offset', 'count', 'name']))
    if what in ('offset', 'count', 'name'):
        index = draw(st.integers(0, 4))
        value = draw(st.text(max_size=2)) if what == 'name' else draw(number)
        fields = list(layout.fields)
        fields[index] = dataclasses.replace(fields[index], **{what: value})
        return dataclasses.replace(layout, fields=tuple(fields))
    return dataclasses.replace(layout, **{what: draw(number)})


def content(layout: CloudLayout, nbytes: int, seed: int) -> torch.Tensor:
    """Bytes of points near the grid, with some that are random: NaN, infinities, numbers of any size."""
    random = np.random.default_rng(seed)
    data = random.integers(0, 256, nbytes, np.uint8)
    order = '>' if layout.is_bigendian else '<'
    for field in layout.fields:
        for point in range(min(layout.num_points, 64)):
            row, column = divmod(point, layout.width)
            start = row * layout.row_step + column * layout.point_step + field.offset
            inside = 0 <= start <= nbytes - np.dtype(field.dtype).itemsize  # whatever the field's count is
            if inside and field.dtype in ('float32', 'float64') and random.random() < 0.9:
                value = np.array(random.uniform(-5, 5), np.dtype(field.dtype).newbyteorder(order)).tobytes()
                data[start : start + len(value)] = np.frombuffer(value, np.uint8)
    return torch.from_numpy(data).clone()  # an allocation of its own, of that very size


def guarded(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """A buffer of the shape between two guards, and all of it."""
    size = int(np.prod(shape))
    whole = torch.full((size + 2 * GUARD,), 77, dtype=dtype)
    return whole[GUARD : GUARD + size].view(shape), whole


def assert_guards_stand(whole: torch.Tensor) -> None:
    assert bool((whole[:GUARD] == 77).all())
    assert bool((whole[-GUARD:] == 77).all())


@given(layouts(), st.integers(0, 2**32 - 1), st.integers(1, 40))
@settings(max_examples=150, deadline=None)
def test_a_layout_that_holds_gives_the_same_bits_and_stays_in_its_buffers(assert_parity, layout, seed, max_voxels):
    data = content(layout, layout.row_step * layout.height, seed)
    sparse = assert_parity(ops.voxelize_sparse, data, layout, GRID, CHANNELS, max_voxels=max_voxels)
    dense = assert_parity(ops.voxelize_dense, data, layout, GRID, CHANNELS)
    assert int(sparse.counts.sum()) + sum(sparse.dropped.values()) == layout.num_points

    out, wholes = zip(
        guarded((max_voxels, 3), torch.int32),
        guarded((max_voxels, len(CHANNELS)), torch.float32),
        guarded((max_voxels,), torch.int32),
        strict=True,
    )
    ops.voxelize_sparse(data, layout, GRID, CHANNELS, out=out)
    tensor, whole = guarded(tuple(dense.tensor.shape), torch.float32)
    ops.voxelize_dense(data, layout, GRID, CHANNELS, out=tensor)
    for each in (*wholes, whole):
        assert_guards_stand(each)


@given(broken() | layouts(), st.integers(0, 2000), st.integers(0, 2**32 - 1))
@settings(max_examples=250, deadline=None)
def test_any_layout_over_any_bytes_is_refused_by_name_or_gives_the_same_bits(assert_parity, layout, nbytes, seed):
    data = content(layout, nbytes, seed) if 0 < layout.width < 100 else torch.zeros(nbytes, dtype=torch.uint8)
    expected = _refusal(layout, nbytes)
    if expected is None:
        # A type that x cannot have, or more points than are allowed, is refused all the same.
        with contextlib.suppress(DataError, ValueError):
            assert_parity(ops.voxelize_sparse, data, layout, GRID, CHANNELS)
        return
    assert expected in REASONS
    for operation in (ops.voxelize_dense, ops.voxelize_sparse):
        with pytest.raises(DataError) as refused:
            operation(data, layout, GRID, CHANNELS)
        assert refused.value.reason == expected


def _refusal(layout: CloudLayout, nbytes: int) -> str | None:
    """Why the layout does not hold over so many bytes; None where it does and has the fields."""
    try:
        layout.validate(nbytes)
        for name in ('x', 'y', 'z', 'a', 'b'):
            layout.field(name)
    except DataError as error:
        return error.reason
    return None
