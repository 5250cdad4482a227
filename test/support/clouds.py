# SPDX-License-Identifier: Apache-2.0
"""Clouds of any layout, for the tests of what reads them."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import strategies as st

from robocache_core.ops import PoseTable
from robocache_core.samples import CloudLayout, PointField

INF, NAN = math.inf, math.nan
COORDINATES = ('float32', 'float64')
OTHERS = ('int8', 'uint8', 'int16', 'uint16', 'int32', 'uint32', 'float32', 'float64')
SPECIAL = [NAN, INF, -INF, -0.0, 0.0, 1e-45, 1e38, -3e38, 2.0**31, 2.0**23]


def packed(points: list | np.ndarray, names: tuple[str, ...] = ('x', 'y', 'z')) -> tuple[torch.Tensor, CloudLayout]:
    """A cloud of float32 fields without gaps."""
    array = np.asarray(points, dtype=np.float32).reshape(-1, len(names))
    return torch.from_numpy(array.reshape(-1).view(np.uint8).copy()), CloudLayout.packed(names, len(array))


@st.composite
def clouds(draw):
    """A cloud with gaps between fields, points and rows, and what a channel may read beside x y z."""
    names = draw(st.permutations(['x', 'y', 'z', 'a', 'b', 'unused']))
    fields, offset = [], 0
    for name in names:
        dtype = draw(st.sampled_from(COORDINATES if name in 'xyz' else OTHERS))
        field = PointField(name, offset + draw(st.integers(0, 3)), dtype, draw(st.integers(1, 2)))
        fields.append(field)
        offset = field.offset + field.nbytes
    width, height = draw(st.sampled_from([(0, 1), (3, 0), (1, 1), (40, 1), (7, 5), (64, 4)]))
    point_step = offset + draw(st.integers(0, 5))
    row_step = width * point_step + draw(st.integers(0, 9))
    big = draw(st.booleans())
    layout = CloudLayout(tuple(fields), width, height, point_step, row_step, big)

    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    data = rng.integers(0, 256, row_step * height + draw(st.integers(0, 4)), dtype=np.uint8)
    for field in fields:
        if field.name == 'unused' or not layout.num_points:
            continue  # random bytes: nothing may read them
        dtype = np.dtype(field.dtype).newbyteorder('>' if big else '<')
        view = np.ndarray((height, width), dtype, data, field.offset, (row_step, point_step))
        if dtype.kind == 'f':
            # Multiples of 1/8 are on many boundaries of GRID.
            exact = rng.integers(-20, 20, (height, width)) / 8
            values = np.where(rng.random((height, width)) < 0.5, exact, rng.normal(size=(height, width)))
            special = rng.choice(SPECIAL, (height, width))
            with np.errstate(over='ignore'):
                view[...] = np.where(rng.random((height, width)) < 0.04, special, values)
        else:
            info = np.iinfo(field.dtype)
            view[...] = rng.integers(info.min, info.max, (height, width), dtype=field.dtype, endpoint=True)
    return torch.from_numpy(data), layout


def rotations() -> st.SearchStrategy[torch.Tensor | None]:
    def make(angle: float, tilt: float, shift: float) -> torch.Tensor:
        c, s = math.cos(angle), math.sin(angle)
        d, t = math.cos(tilt), math.sin(tilt)
        turn = torch.tensor([[c, -s, 0, shift], [s, c, 0, -shift], [0, 0, 1, 0.1], [0, 0, 0, 1]])
        return turn @ torch.tensor([[1.0, 0, 0, 0], [0, d, -t, 0], [0, t, d, 0], [0, 0, 0, 1]])

    angle = st.floats(-3, 3)
    return st.none() | st.builds(make, angle, angle, st.floats(-1, 1))


def pose_tables(field: str, first: float, last: float) -> st.SearchStrategy[PoseTable]:
    """Pose tables for a field whose values are about ``first`` to ``last``; some start late or end early."""

    def make(num: int, begin: float, end: float, poses: list[torch.Tensor | None]) -> PoseTable:
        rows = [torch.eye(4)[:3] if pose is None else pose[:3] for pose in poses]
        table = torch.stack([rows[i % len(rows)] for i in range(num)])
        return PoseTable(field, table, begin, (num - 1) / (end - begin))

    middle = (first + last) / 2
    return st.builds(
        make,
        st.integers(1, 70),
        st.floats(2 * first - middle, middle - 1),
        st.floats(middle + 1, 2 * last - middle),
        st.lists(rotations(), min_size=3, max_size=9),
    )
