# SPDX-License-Identifier: Apache-2.0
"""What resample and fuse give for any input: both backends the same, and what NumPy, SciPy and pandas give."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robocache_core import backends, ops
from robocache_core.ops.resampling import METHODS, OUTSIDES

INF, NAN = math.inf, math.nan
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
FAR = (1 << 63) - 1
INT64 = np.iinfo(np.int64)

seeds = st.integers(0, 2**32 - 1)


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """As integers, so that NaN equals NaN and 0 does not equal -0."""
    return tensor.view({1: torch.bool, 2: torch.int16, 4: torch.int32}[tensor.element_size()])


def assert_same(result: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...]) -> None:
    for a, b in zip(result, expected, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(bits(a), bits(b))


# --- any input


@st.composite
def strided(draw, tensor: torch.Tensor) -> torch.Tensor:
    """The same shape with other strides; where a stride becomes 0, elements become equal."""
    how = draw(st.sampled_from(['contiguous', 'reversed', 'gaps', 'expanded']))
    if how == 'reversed':
        axes = tuple(reversed(range(tensor.dim())))
        return tensor.permute(axes).contiguous().permute(axes)
    if how == 'gaps':
        wide = torch.zeros(*tensor.shape[:-1], tensor.shape[-1] * 3 + 1, dtype=tensor.dtype)
        wide[..., 1::3] = tensor
        return wide[..., 1::3]
    axis = draw(st.integers(0, tensor.dim() - 1))
    if how == 'expanded' and tensor.shape[axis]:
        return tensor.narrow(axis, 0, 1).expand(tensor.shape)
    return tensor


def extreme(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Instants over all of int64, many near its ends and near ±2^62, so that differences do not fit it."""
    edges = np.array([INT64.min, -(1 << 62), 0, (1 << 62), INT64.max - 16])
    near = edges[rng.integers(0, len(edges), shape)] + rng.integers(0, 16, shape)
    anywhere = rng.integers(INT64.min, INT64.max, shape, endpoint=True)
    return np.where(rng.random(shape) < 0.5, near, anywhere)


@st.composite
def instants(draw, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(draw(seeds))
    if draw(st.booleans()):
        return rng.integers(-3, 33, shape)  # so few that many are equal, and many are met
    return extreme(rng, shape)


@st.composite
def streams(draw, batch: int, method: str, dtype: torch.dtype, unsorted: str):
    samples = draw(st.sampled_from([0, 1, 2, 3, 9, 70]))
    width = 4 if method == 'slerp' else draw(st.sampled_from([0, 1, 3, 20]))
    rng = np.random.default_rng(draw(seeds))
    values = rng.normal(size=(batch, samples, width))
    odd = rng.choice([NAN, INF, -INF, -0.0, 0.0, 1e-45, 3e38, 6e-8, 65519.0], values.shape)
    values = np.where(rng.random(values.shape) < draw(st.sampled_from([0.0, 0.2])), odd, values)
    values[rng.random((batch, samples)) < 0.1] = 0  # quaternions without a direction
    with np.errstate(over='ignore'):
        tensor = torch.from_numpy(values.astype(np.float32)).to(dtype)
    stamps = draw(instants((batch, samples)))
    if unsorted == 'refuse':
        stamps.sort(axis=1)
    return draw(strided(tensor)), draw(strided(torch.from_numpy(stamps)))


@st.composite
def cases(draw, num_streams: int):
    batch, num_targets = draw(st.sampled_from([0, 1, 2, 3])), draw(st.sampled_from([0, 1, 5, 80]))
    unsorted, dtype = draw(st.sampled_from(['refuse', 'sort'])), draw(st.sampled_from([None, *DTYPES]))
    of = [draw(st.sampled_from(DTYPES))] * num_streams
    if dtype is not None:
        of = [draw(st.sampled_from(DTYPES)) for _ in range(num_streams)]
    methods = [draw(st.sampled_from(METHODS)) for _ in range(num_streams)]
    settings = {
        'method': methods,
        'tolerance_ns': [draw(st.sampled_from([0, 1, 3, 20, 1 << 61, FAR])) for _ in range(num_streams)],
        'outside': [draw(st.sampled_from(OUTSIDES if method == 'linear' else OUTSIDES[:2])) for method in methods],
        'unsorted': unsorted,
        'dtype': dtype,
    }
    given = [draw(streams(batch, method, kind, unsorted)) for method, kind in zip(methods, of, strict=True)]
    return given, draw(strided(torch.from_numpy(draw(instants((batch, num_targets)))))), settings


def one_by_one(given, targets, settings) -> tuple[torch.Tensor, torch.Tensor]:
    """What ``fuse`` gives, from ``resample``."""
    parts = []
    for i, (values, stamps) in enumerate(given):
        own = {name: value[i] if isinstance(value, list) else value for name, value in settings.items()}
        parts.append(ops.resample(values, stamps, targets, **own))
    return torch.cat([values for values, _ in parts], dim=2), torch.stack([ok for _, ok in parts], dim=2)


@given(cases(num_streams=1))
@settings(max_examples=300, deadline=None)
def test_parity(assert_parity, case):
    given, targets, settings = case
    result, valid = assert_parity(ops.fuse, given, targets, **settings)
    assert result.shape == (*targets.shape, given[0][0].shape[2])
    assert valid.shape == (*targets.shape, 1)
    assert_same((result, valid), one_by_one(given, targets, settings))


@given(cases(num_streams=3))
@settings(max_examples=100, deadline=None)
def test_fuse_parity_and_agreement_with_resample(assert_parity, case):
    given, targets, settings = case
    assert_same(assert_parity(ops.fuse, given, targets, **settings), one_by_one(given, targets, settings))


def test_fuse_parity_of_many_targets_and_streams_of_any_width(assert_parity):
    """More rows than a block of a GPU takes at once, of streams that are little work and of one that is much."""
    generator = torch.Generator().manual_seed(0)
    widths = (*[1] * 15, 40, 0)
    given = [(torch.randn(1, 50, width, generator=generator), torch.arange(50)[None] * 1000) for width in widths]
    targets = torch.randint(-100, 50_000, (1, 40_000), generator=generator)
    assert_parity(ops.fuse, given, targets, method='linear', tolerance_ns=FAR)


@given(cases(num_streams=2), st.randoms())
@settings(max_examples=100, deadline=None)
def test_neither_strides_nor_the_order_of_targets_count(case, random):
    given, targets, settings = case
    result, valid = ops.fuse(given, targets, **settings)
    contiguous = [(values.contiguous(), stamps.contiguous()) for values, stamps in given]
    assert_same(ops.fuse(contiguous, targets.contiguous(), **settings), (result, valid))
    order = random.sample(range(targets.shape[1]), targets.shape[1])
    assert_same(ops.fuse(given, targets[:, order], **settings), (result[:, order], valid[:, order]))


@given(cases(num_streams=1))
@settings(max_examples=100, deadline=None)
def test_outside_changes_what_is_not_valid_alone(case):
    [(values, stamps)], targets, settings = case
    settings = {name: value[0] if isinstance(value, list) else value for name, value in settings.items()}
    held, valid = ops.resample(values, stamps, targets, **settings | {'outside': 'hold'})
    zeroed = ops.resample(values, stamps, targets, **settings | {'outside': 'zero'})
    assert_same(zeroed, (torch.where(valid[..., None], held, 0.0), valid))
    if settings['method'] == 'linear':
        line, on_line = ops.resample(values, stamps, targets, **settings | {'outside': 'extrapolate'})
        assert not (valid & ~on_line).any()
        kept = valid | ~on_line
        assert_same((line[kept],), (held[kept],))


@given(seeds, st.sampled_from(METHODS), st.booleans())
@settings(max_examples=50, deadline=None)
def test_sort_takes_samples_in_any_order(seed, method, small):
    """The same as in order, as long as equal stamps stay in theirs: the last of them counts."""
    rng = np.random.default_rng(seed)
    stamps = np.sort(rng.integers(0, 30, 40) if small else extreme(rng, (40,)))
    values = torch.from_numpy(rng.normal(size=(40, 4)).astype(np.float32))
    targets = torch.from_numpy(rng.integers(-5, 35, (1, 30)) if small else extreme(rng, (1, 30)))
    places = np.argsort(stamps[rng.permutation(40)], kind='stable')
    shuffled_stamps, shuffled_values = np.empty_like(stamps), torch.empty_like(values)
    shuffled_stamps[places], shuffled_values[torch.from_numpy(places)] = stamps, values
    how = {'method': method, 'tolerance_ns': FAR}
    expected = ops.resample(values[None], torch.from_numpy(stamps)[None], targets, **how)
    result = ops.resample(
        shuffled_values[None], torch.from_numpy(shuffled_stamps)[None], targets, unsorted='sort', **how
    )
    assert_same(result, expected)


@pytest.fixture
def any_threads():
    yield
    ops.set_num_threads(0)


@pytest.mark.usefixtures('any_threads')
@pytest.mark.parametrize('unsorted', ['refuse', 'sort'])
@pytest.mark.parametrize('same_times', [False, True])
def test_the_number_of_threads_does_not_count(unsorted, same_times):
    rng = np.random.default_rng(7)
    given = []
    for width, dtype in ((300, torch.bfloat16), (4, torch.float32), (90, torch.float16)):
        stamps = rng.integers(0, 10**6, (5, 400))
        if unsorted == 'refuse':
            stamps.sort(axis=1)
        stamps = torch.from_numpy(stamps)
        values = torch.from_numpy(rng.normal(size=(5, 400, width))).to(dtype)
        given.append((values, stamps[:1].expand(5, -1) if same_times else stamps))
    targets = torch.from_numpy(rng.integers(0, 10**6, (5, 200)))
    targets = targets[:1].expand(5, -1) if same_times else targets
    how = {'method': ('linear', 'slerp', 'previous'), 'tolerance_ns': 10**4, 'dtype': torch.float16}

    def run(threads: int) -> tuple[torch.Tensor, torch.Tensor]:
        ops.set_num_threads(threads)
        return ops.fuse(given, targets, unsorted=unsorted, **how)

    expected = run(1)
    with backends.use('reference'):
        assert_same(ops.fuse(given, targets, unsorted=unsorted, **how), expected)
    for threads in (2, 3, 8):
        for _ in range(3):
            assert_same(run(threads), expected)


@given(seeds, st.sampled_from(METHODS), st.sampled_from(DTYPES), st.sampled_from(DTYPES))
@settings(max_examples=50, deadline=None)
def test_dtype_of_the_result(seed, method, dtype, out_dtype):
    """It is that of float32 values, rounded once."""
    rng = np.random.default_rng(seed)
    values = torch.from_numpy(rng.normal(size=(2, 20, 4))).to(dtype)
    stamps, targets = torch.from_numpy(np.sort(rng.integers(0, 99, (2, 20)))), torch.arange(-9, 111).expand(2, -1)
    how = {'method': method, 'tolerance_ns': 9}
    exact, valid = ops.resample(values.float(), stamps, targets, **how)
    assert_same(ops.resample(values, stamps, targets, dtype=out_dtype, **how), (exact.to(out_dtype), valid))


# --- oracles
#
# Linear: alpha is float32, so off by 2^-25, times |b - a| (below 8 here), plus three roundings of float32 values below
# 8: less than 2e-6. Nearest and previous take a sample as it is: no tolerance.


def track(seed: int, samples: int, *, start: int = 1_790_000_000_000_000_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    stamps = start + np.sort(rng.choice(10**9, samples, replace=False))
    return np.clip(rng.normal(size=(samples, 3)), -4, 4).astype(np.float32), stamps


def resampled(assert_parity, values, stamps, targets, **how) -> tuple[np.ndarray, np.ndarray]:
    tensors = torch.from_numpy(values)[None], torch.from_numpy(stamps)[None], torch.from_numpy(targets)[None]
    result, valid = assert_parity(ops.resample, *tensors, **how)
    return result[0].numpy(), valid[0].numpy()


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_linear_against_numpy(assert_parity, seed):
    values, stamps = track(seed, 50)
    targets = np.random.default_rng(seed).integers(stamps[0] - 10**8, stamps[-1] + 10**8, 60)
    result, valid = resampled(assert_parity, values, stamps, targets, method='linear', tolerance_ns=FAR)
    expected = np.stack([np.interp(targets - stamps[0], stamps - stamps[0], column) for column in values.T], axis=1)
    np.testing.assert_allclose(result, expected, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(valid, (targets >= stamps[0]) & (targets <= stamps[-1]))


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_extrapolation_against_scipy(assert_parity, seed):
    """Beyond an end the error of alpha grows with it."""
    interpolate = pytest.importorskip('scipy.interpolate')
    values, stamps = track(seed, 20)
    targets = np.random.default_rng(seed).integers(stamps[0] - 10**8, stamps[-1] + 10**8, 60)
    result, valid = resampled(
        assert_parity, values, stamps, targets, method='linear', tolerance_ns=FAR, outside='extrapolate'
    )
    assert valid.all()
    line = interpolate.interp1d(stamps - stamps[0], values.astype(np.float64), axis=0, fill_value='extrapolate')
    beyond = np.maximum((stamps[0] - targets) / (stamps[1] - stamps[0]), (targets - stamps[-1]) / np.diff(stamps)[-1])
    error = np.abs(result - line(targets - stamps[0])).max(axis=1)
    assert (error <= 2e-6 * (1 + np.maximum(beyond, 0))).all()


@given(seeds, st.sampled_from(['nearest', 'previous']))
@settings(max_examples=30, deadline=None)
def test_nearest_and_previous_against_scipy(assert_parity, seed, method):
    interpolate = pytest.importorskip('scipy.interpolate')
    rng = np.random.default_rng(seed)
    stamps = np.sort(rng.choice(200, 30, replace=False)) * 2
    values = rng.normal(size=(30, 3)).astype(np.float32)
    targets = rng.integers(stamps[0], stamps[-1], 60, endpoint=True)
    result, valid = resampled(assert_parity, values, stamps, targets, method=method, tolerance_ns=FAR)
    assert valid.all()
    np.testing.assert_array_equal(result, interpolate.interp1d(stamps, values, kind=method, axis=0)(targets))


@given(seeds, st.sampled_from(['nearest', 'previous']), st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_nearest_and_previous_against_pandas(assert_parity, seed, method, tolerance):
    """Of equal stamps pandas takes the last before a target, but the first after one: it is given the last alone."""
    pandas = pytest.importorskip('pandas')
    rng = np.random.default_rng(seed)
    stamps = np.sort(1_790_000_000_000_000_000 + rng.integers(0, 600, 40))
    values = rng.normal(size=(40, 1)).astype(np.float32)
    targets = np.sort(1_790_000_000_000_000_000 + rng.integers(-50, 650, 60))
    result, valid = resampled(assert_parity, values, stamps, targets, method=method, tolerance_ns=tolerance)
    table = pandas.DataFrame({'stamp': stamps, 'value': values[:, 0]}).drop_duplicates('stamp', keep='last')
    direction = {'nearest': 'nearest', 'previous': 'backward'}[method]
    expected = pandas.merge_asof(
        pandas.DataFrame({'stamp': targets}), table, on='stamp', direction=direction, tolerance=tolerance
    )['value'].to_numpy()
    np.testing.assert_array_equal(valid, ~np.isnan(expected))
    np.testing.assert_array_equal(result[valid, 0], expected[valid])


@given(seeds, st.sampled_from(DTYPES))
@settings(max_examples=30, deadline=None)
def test_slerp_against_scipy(assert_parity, seed, dtype):
    """Ours and SciPy's both go the shortest way; what differs is alpha in float32 and the rounding of the result."""
    transform = pytest.importorskip('scipy.spatial.transform')
    rng = np.random.default_rng(seed)
    stamps = np.sort(rng.choice(10**9, 40, replace=False))
    targets = rng.integers(stamps[0], stamps[-1], 100, endpoint=True)
    values = torch.from_numpy(rng.normal(size=(1, 40, 4))).to(dtype)
    result, valid = assert_parity(
        ops.resample, values, torch.from_numpy(stamps)[None], torch.from_numpy(targets)[None],
        method='slerp', tolerance_ns=FAR,
    )  # fmt: skip
    assert valid.all()
    rotations = transform.Rotation.from_quat(values[0].double().numpy())
    expected = transform.Slerp(stamps, rotations)(targets)
    error = (expected.inv() * transform.Rotation.from_quat(result[0].double().numpy())).magnitude()
    tolerance = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    assert error.max() < tolerance, 'rad'
