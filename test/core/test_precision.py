# SPDX-License-Identifier: Apache-2.0
"""Values and results of 16 and 32 bits against float64, within bounds that are derived, on the CPU and on a GPU.

u(t) is the unit roundoff of a type: rounding to nearest moves x by at most u(t) |x|, or half its least subnormal step.
All arithmetic between is in float32, of which u = 2^-24.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support import on_gpu

from robocache_core import ops

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
ROUNDOFF = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
HALF_SUBNORMAL = {torch.float32: 2.0**-150, torch.float16: 2.0**-25, torch.bfloat16: 2.0**-134}
U = 2.0**-24

START_NS = 1_760_000_000_000_000_000


@pytest.fixture(params=['cpu', 'cuda'])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == 'cuda' and (why_not := on_gpu.why_not()) is not None:
        pytest.skip(why_not)
    return request.param


def rounded(dtype: torch.dtype, exact: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """The bound of a result: it was off by ``before`` when it was rounded to ``dtype``."""
    return before + ROUNDOFF[dtype] * (exact.abs() + before) + HALF_SUBNORMAL[dtype]


@pytest.mark.parametrize('out_dtype', FLOATS)
@pytest.mark.parametrize('dtype', FLOATS)
def test_resample_linear(device, dtype, out_dtype):
    generator = torch.Generator().manual_seed(0)
    batch, samples, width, num = 3, 41, 7, 67
    values = (torch.randn(batch, samples, width, generator=generator) * 50).to(dtype)
    steps = torch.randint(1, 20_000_000, (batch, samples), generator=generator)
    stamps = START_NS + steps.cumsum(1)
    span = (stamps[:, -1:] - stamps[:, :1]).double()
    targets = stamps[:, :1] + (torch.rand(batch, num, generator=generator, dtype=torch.float64) * span).long()

    found, valid = ops.resample(
        values.to(device), stamps.to(device), targets.to(device),
        method='linear', tolerance_ns=10**12, unsorted='trust', dtype=out_dtype,
    )  # fmt: skip
    assert valid.all()
    assert found.dtype == out_dtype

    after = torch.searchsorted(stamps, targets, right=True).clamp(1, samples - 1)
    rows = torch.arange(batch)[:, None]
    t0, t1 = stamps.gather(1, after - 1), stamps.gather(1, after)
    alpha = ((targets - t0).double() / (t1 - t0).double())[..., None]
    a, b = values.double()[rows, after - 1], values.double()[rows, after]
    exact = a + (b - a) * alpha
    # a + (b - a) * alpha with |a|, |b| <= M: the difference is off by u 2M, alpha by u, which is u 2M of the product,
    # the product by another u 2M, the sum by u M; 7 u M, and one more for what these errors add to each other.
    bound = rounded(out_dtype, exact, 8 * U * torch.maximum(a.abs(), b.abs()))
    error = (found.cpu().double() - exact).abs()
    assert (error <= bound).all(), (error / bound).max()


@pytest.mark.parametrize('out_dtype', FLOATS)
@pytest.mark.parametrize(('encoding', 'pixel', 'channels'), [('rgb8', np.uint8, 3), ('mono16', np.uint16, 1), ('32FC1', np.float32, 1)])  # fmt: skip  # noqa: E501
def test_image_bilinear(device, encoding, pixel, channels, out_dtype):
    random = np.random.default_rng(0)
    height, width, out_height, out_width = 37, 61, 23, 29
    largest = 100.0 if pixel == np.float32 else float(np.iinfo(pixel).max)
    pixels = (random.random((height, width, channels)) * largest).astype(pixel)
    scale, mean, std = 1 / largest, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = ops.prepare_image(
        torch.from_numpy(pixels.reshape(-1).view(np.uint8)).to(device),
        encoding=encoding, width=width, height=height, step=width * channels * pixels.itemsize,
        out_width=out_width, out_height=out_height, scale=scale, mean=mean, std=std, dtype=out_dtype,
    )  # fmt: skip
    assert found.dtype == out_dtype

    x0, x1, fx = _taps(out_width, width)
    y0, y1, fy = _taps(out_height, height)
    source = pixels.astype(np.float64).transpose(2, 0, 1)
    rows = source[:, :, x0] * (1 - fx) + source[:, :, x1] * fx
    blended = torch.from_numpy(rows[:, y0] * (1 - fy)[:, None] + rows[:, y1] * fy[:, None])
    factor = torch.tensor([scale / s for s in std[:channels]], dtype=torch.float64)[:, None, None]
    offset = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)][:channels], dtype=torch.float64)[
        :, None, None
    ]
    exact = blended * factor + offset
    # Blended: of 8 bits the fractions are rounded to 2^-14, which is 1/64 of a step at the most. Of two lerps one upon
    # the other, of pixels up to P, each is off by 5 u P (difference, product, sum), and the fractions by u P together:
    # 12 u P with what they add to each other. Normalised: factor, product, offset and sum round once each.
    blend = (1 / 64 if pixel == np.uint8 else 0.0) + 12 * U * largest
    before = factor * blend + 4 * U * ((blended.abs() + blend) * factor + offset.abs())
    error = (found.cpu().double() - exact).abs()
    bound = rounded(out_dtype, exact, before)
    assert (error <= bound).all(), (error / bound).max()


def _taps(size: int, source: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each pixel of a result: the two that it is between, and where; edges clamped."""
    at = np.clip((np.arange(size) + 0.5) * (source / size) - 0.5, 0, source - 1)
    first = np.floor(at).astype(int)
    return first, np.minimum(first + 1, source - 1), at - first
