# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robocache_core import ops

INF, NAN = math.inf, math.nan
METHODS = ('linear', 'slerp', 'nearest', 'previous')
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
FAR = (1 << 63) - 1


def strided(tensor: torch.Tensor, how: str) -> torch.Tensor:
    """The same elements with other strides."""
    if how == 'transposed':
        return tensor.transpose(0, 1).contiguous().transpose(0, 1)
    if how == 'gaps':
        wide = torch.zeros(*tensor.shape[:-1], tensor.shape[-1] * 3 + 1, dtype=tensor.dtype)
        wide[..., 1::3] = tensor
        return wide[..., 1::3]
    return tensor


layouts = st.sampled_from(['contiguous', 'transposed', 'gaps'])


@st.composite
def streams(draw, batch: int, method: str, dtype: torch.dtype):
    samples = draw(st.sampled_from([0, 1, 2, 3, 9]))
    width = 4 if method == 'slerp' else draw(st.sampled_from([0, 1, 3, 6]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.normal(size=(batch, samples, width))
    odd = rng.choice([NAN, INF, -INF, -0.0, 0.0, 1e-45, 3e38, 6e-8, 65519.0], values.shape)
    values = np.where(rng.random(values.shape) < draw(st.sampled_from([0.0, 0.2])), odd, values)
    values[rng.random((batch, samples)) < 0.1] = 0  # quaternions without a direction
    with np.errstate(over='ignore'):
        tensor = torch.from_numpy(values.astype(np.float32)).to(dtype)
    if draw(st.booleans()):
        stamps = np.sort(rng.integers(0, 30, (batch, samples)), axis=1)  # equal ones among them
    else:
        limits = np.iinfo(np.int64)
        stamps = np.sort(rng.integers(limits.min, limits.max, (batch, samples), endpoint=True), axis=1)
    if draw(st.booleans()) and batch:
        tensor, stamps = tensor[:1].expand(batch, -1, -1), np.broadcast_to(stamps[:1], stamps.shape)
        return tensor, torch.from_numpy(stamps[:1].copy()).expand(batch, -1)
    return strided(tensor, draw(layouts)), strided(torch.from_numpy(stamps.copy()), draw(layouts))


@st.composite
def cases(draw, num_streams: int):
    batch, num_targets = draw(st.sampled_from([0, 1, 2, 3])), draw(st.sampled_from([0, 1, 5, 40]))
    dtype = draw(st.sampled_from(DTYPES))
    methods = [draw(st.sampled_from(METHODS)) for _ in range(num_streams)]
    given = [draw(streams(batch, method, dtype)) for method in methods]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    targets = rng.integers(-3, 33, (batch, num_targets))
    if draw(st.booleans()):
        limits = np.iinfo(np.int64)
        targets = rng.integers(limits.min, limits.max, (batch, num_targets), endpoint=True)
    tolerances = [draw(st.sampled_from([0, 1, 3, 1 << 61, FAR])) for _ in range(num_streams)]
    return given, strided(torch.from_numpy(targets), draw(layouts)), methods, tolerances


@given(cases(num_streams=1))
@settings(max_examples=400, deadline=None)
def test_parity(assert_parity, case):
    [(values, stamps)], targets, [method], [tolerance] = case
    result, valid = assert_parity(ops.resample, values, stamps, targets, method=method, tolerance_ns=tolerance)
    assert result.shape == (*targets.shape, values.shape[2])
    assert valid.shape == targets.shape


@given(cases(num_streams=3))
@settings(max_examples=200, deadline=None)
def test_fuse_parity_and_agreement_with_resample(assert_parity, case):
    given, targets, methods, tolerances = case
    result, valid = assert_parity(ops.fuse, given, targets, method=methods, tolerance_ns=tolerances)
    parts = [
        ops.resample(values, stamps, targets, method=method, tolerance_ns=tolerance)
        for (values, stamps), method, tolerance in zip(given, methods, tolerances, strict=True)
    ]
    expected = torch.cat([values for values, _ in parts], dim=2)
    bits = torch.int32 if result.dtype == torch.float32 else torch.int16
    assert torch.equal(result.view(bits), expected.view(bits))
    assert torch.equal(valid, torch.stack([ok for _, ok in parts], dim=2))


# --- the rule


def read(stamps: list, targets: list, method: str, tolerance: int = FAR, values: list | None = None) -> list[tuple]:
    """(value, valid) at each target; a sample's value is its number unless given."""
    samples = torch.tensor(values if values is not None else list(range(len(stamps))), dtype=torch.float32)
    result, valid = ops.resample(
        samples.reshape(1, -1, 1), torch.tensor([stamps], dtype=torch.int64), torch.tensor([targets]),
        method=method, tolerance_ns=tolerance,
    )  # fmt: skip
    return list(zip(result[0, :, 0].tolist(), valid[0].tolist(), strict=True))


@pytest.mark.usefixtures('each_backend')
class TestRule:
    STAMPS = (100, 200, 300)

    @pytest.mark.parametrize('method', ['linear', 'nearest', 'previous'])
    def test_a_target_on_a_stamp_gives_that_sample(self, method):
        assert read(self.STAMPS, [300, 100, 200], method, 0) == [(2, True), (0, True), (1, True)]

    def test_linear(self):
        assert read(self.STAMPS, [125, 250], 'linear', 75) == [(0.25, True), (1.5, True)]

    def test_linear_needs_a_sample_within_the_tolerance_on_both_sides(self):
        assert read(self.STAMPS, [125, 175], 'linear', 74) == [(0, False), (1, False)], 'the nearest is held'
        assert read(self.STAMPS, [99, 301], 'linear') == [(0, False), (2, False)], 'nothing is extrapolated'

    def test_nearest(self):
        expected = [(0, True), (0, True), (1, True), (2, True)]
        assert read(self.STAMPS, [50, 150, 151, 350], 'nearest', 50) == expected, 'of two equally near the earlier'
        assert read(self.STAMPS, [49, 351], 'nearest', 50) == [(0, False), (2, False)]

    def test_previous(self):
        assert read(self.STAMPS, [199, 299, 350], 'previous', 99) == [(0, True), (1, True), (2, True)]
        assert read(self.STAMPS, [199, 350], 'previous', 49) == [(1, False), (2, False)], 'the nearest is held'
        assert read(self.STAMPS, [99], 'previous') == [(0, False)]

    @pytest.mark.parametrize('method', ['linear', 'nearest', 'previous'])
    def test_of_equal_stamps_the_last_counts(self, method):
        assert read((100, 100, 200), [100], method, 0) == [(1, True)]

    @pytest.mark.parametrize('method', ['linear', 'nearest', 'previous'])
    def test_one_sample(self, method):
        expected = [(7, method == 'nearest'), (7, True), (7, method in ('nearest', 'previous'))]
        assert read([100], [90, 100, 110], method, 10, [7]) == expected

    @pytest.mark.parametrize('method', ['linear', 'nearest', 'previous'])
    def test_no_sample_gives_zeros_that_are_not_valid(self, method):
        assert read([], [100, 200], method) == [(0, False), (0, False)]

    def test_stamps_are_never_floats(self):
        """A nanosecond counts, today and at the ends of int64."""
        now = 1_790_000_000_123_456_789
        assert read((now, now + 4), [now + 1], 'linear', 3) == [(0.25, True)]
        assert read((-FAR, FAR), [0, FAR - 1], 'nearest', FAR) == [(0, True), (1, True)]
        assert read((-FAR, FAR), [0], 'linear') == [(0.5, True)]

    def test_samples_that_are_held_keep_their_bits(self):
        value = torch.tensor([0x7FA01234, -0x80000000], dtype=torch.int64).to(torch.int32).view(torch.float32)
        result, _ = ops.resample(
            value.reshape(1, 1, 2), torch.tensor([[5]]), torch.tensor([[5, 9]]), method='linear', tolerance_ns=0
        )
        assert torch.equal(result.view(torch.int32), value.view(torch.int32).expand(1, 2, 2))

    def test_out_is_written(self):
        values, stamps, targets = torch.rand(2, 5, 3), torch.arange(10).view(2, 5), torch.tensor([[1, 3], [6, 8]])
        out = torch.full((2, 2, 3), NAN), torch.zeros(2, 2, dtype=torch.bool)
        result = ops.resample(values, stamps, targets, method='nearest', tolerance_ns=0, out=out)
        assert result[0] is out[0]
        assert result[1] is out[1]
        assert torch.equal(out[0], torch.stack([values[0, [1, 3]], values[1, [1, 3]]]))
        assert out[1].all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_linear_against_numpy(assert_parity, seed):
    rng = np.random.default_rng(seed)
    stamps = 1_790_000_000_000_000_000 + np.unique(rng.integers(0, 10**9, 50))
    targets = rng.integers(stamps[0], stamps[-1], 30, endpoint=True)
    values = rng.normal(size=(50, 3)).astype(np.float32)[: len(stamps)]
    result, valid = assert_parity(
        ops.resample, torch.from_numpy(values)[None], torch.from_numpy(stamps)[None], torch.from_numpy(targets)[None],
        method='linear', tolerance_ns=FAR,
    )  # fmt: skip
    assert valid.all()
    start = stamps[0]
    expected = np.stack([np.interp(targets - start, stamps - start, column) for column in values.T], axis=1)
    np.testing.assert_allclose(result[0].numpy(), expected, rtol=0, atol=2e-6)


# --- slerp


def slerp(a: list, b: list, targets: list, dtype: torch.dtype = torch.float32) -> tuple[list, list]:
    values = torch.tensor([[a, b]], dtype=torch.float64).to(dtype)
    result, valid = ops.resample(
        values, torch.tensor([[0, 100]]), torch.tensor([targets]), method='slerp', tolerance_ns=100
    )
    return result[0].tolist(), valid[0].tolist()


def about_z(degrees: float) -> list[float]:
    half = math.radians(degrees) / 2
    return [0, 0, math.sin(half), math.cos(half)]


@pytest.mark.usefixtures('each_backend')
class TestSlerp:
    @pytest.mark.parametrize('angle', [0, 1e-9, 1e-4, 1, 30, 90, 150, 179.9])
    def test_turns_evenly(self, angle):
        result, valid = slerp(about_z(10), about_z(10 + angle), [25, 50, 90])
        for row, share in zip(result, (0.25, 0.5, 0.9), strict=True):
            assert row == pytest.approx(about_z(10 + angle * share), abs=2e-7)
        assert all(valid)

    def test_goes_the_shortest_way(self):
        result, _ = slerp(about_z(0), about_z(270), [50])
        assert result[0] == pytest.approx(about_z(-45), abs=2e-7)

    def test_half_a_turn(self):
        """Two ways are equally short: one of them is taken, evenly."""
        result, valid = slerp(about_z(0), about_z(180), [50])
        assert [abs(v) for v in result[0]] == pytest.approx(about_z(90), abs=1e-6)
        assert valid == [True]

    def test_any_length_goes_in_and_length_1_comes_out(self):
        result, _ = slerp([0, 0, 0, 5], [0, 0, 1e-3, 1e-3], [50])
        assert result[0] == pytest.approx(about_z(45), abs=2e-7)

    @pytest.mark.parametrize('bad', [[0, 0, 0, 0], [NAN, 0, 0, 1], [INF, 0, 0, 0]])
    def test_without_a_direction_the_nearest_is_held_and_not_valid(self, bad):
        result, valid = slerp(bad, about_z(90), [0, 30, 80, 100])
        assert torch.tensor(result[:2]).equal(torch.tensor([bad, bad])) or math.isnan(bad[0])
        assert result[2] == result[3] == pytest.approx(about_z(90))
        assert valid == [True, False, False, True]


@given(st.integers(0, 2**32 - 1), st.sampled_from(DTYPES))
@settings(max_examples=50, deadline=None)
def test_slerp_against_scipy(assert_parity, seed, dtype):
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
    assert error.max() < tolerance


# --- refusals

VALUES, STAMPS, TARGETS = torch.zeros(2, 3, 4), torch.arange(6).view(2, 3), torch.zeros(2, 5, dtype=torch.int64)


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        ({'stamps_ns': STAMPS.flip(1)}, ValueError, 'stamps_ns: must be ascending'),
        ({'stamps_ns': STAMPS.double()}, TypeError, 'stamps_ns is torch.float64'),
        ({'stamps_ns': STAMPS[:, :2]}, ValueError, 'stamps_ns has shape'),
        ({'stamps_ns': STAMPS[0]}, ValueError, 'stamps_ns has shape'),
        ({'values': VALUES.double()}, TypeError, 'values is torch.float64'),
        ({'values': VALUES[0]}, ValueError, 'values has shape'),
        ({'values': VALUES[..., :3], 'method': 'slerp'}, ValueError, 'values has width 3: must be 4'),
        ({'values': VALUES.to('meta')}, ValueError, 'values is on meta'),
        ({'targets_ns': TARGETS.int()}, TypeError, 'targets_ns is torch.int32'),
        ({'targets_ns': TARGETS[:1]}, ValueError, 'targets_ns has batch size 1: must be 2'),
        ({'targets_ns': TARGETS[0]}, ValueError, 'targets_ns has shape'),
        ({'method': 'cubic'}, ValueError, "method = 'cubic'"),
        ({'tolerance_ns': -1}, ValueError, 'tolerance_ns = -1'),
        ({'tolerance_ns': 1 << 63}, ValueError, 'tolerance_ns'),
        ({'out': (torch.empty(2, 5, 4),)}, ValueError, 'out has 1'),
        ({'out': (torch.empty(2, 5, 3), torch.empty(2, 5, dtype=torch.bool))}, ValueError, 'values'),
        ({'out': (torch.empty(2, 5, 4).half(), torch.empty(2, 5, dtype=torch.bool))}, TypeError, 'values'),
        ({'out': (torch.empty(2, 5, 4), torch.empty(2, 5))}, TypeError, 'valid'),
        ({'out': (torch.empty(2, 5, 8)[..., ::2], torch.empty(2, 5, dtype=torch.bool))}, ValueError, 'strides'),
    ],
)
def test_arguments_that_are_not_allowed(arguments, error, message):
    given = {'values': VALUES, 'stamps_ns': STAMPS, 'targets_ns': TARGETS, 'method': 'linear', 'tolerance_ns': 0}
    with pytest.raises(error, match=message):
        ops.resample(**{**given, **arguments})


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        ({'streams': []}, ValueError, 'streams: needs at least one'),
        ({'streams': [(VALUES, STAMPS), (VALUES.half(), STAMPS)]}, TypeError, r'streams\[1\] values are torch.float16'),
        ({'streams': [(VALUES, STAMPS), (VALUES, STAMPS.flip(1))]}, ValueError, r'streams\[1\] stamps_ns'),
        ({'streams': [(VALUES, STAMPS), (VALUES[:1], STAMPS[:1])]}, ValueError, 'batch size 2: must be 1'),
        ({'method': ['linear']}, ValueError, 'method has 1 elements'),
        ({'method': ['linear', 'cubic']}, ValueError, r"streams\[1\] method = 'cubic'"),
        ({'tolerance_ns': [1, 2, 3]}, ValueError, 'tolerance_ns has 3 elements'),
        ({'out': (torch.empty(2, 5, 8), torch.empty(2, 5, 1, dtype=torch.bool))}, ValueError, 'valid'),
    ],
)
def test_fuse_arguments_that_are_not_allowed(arguments, error, message):
    given = {'streams': [(VALUES, STAMPS)] * 2, 'targets_ns': TARGETS, 'method': 'linear', 'tolerance_ns': 0}
    with pytest.raises(error, match=message):
        ops.fuse(**{**given, **arguments})
