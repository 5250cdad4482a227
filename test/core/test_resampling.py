# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from robocache_core import ops

INF, NAN = math.inf, math.nan
FAR = (1 << 63) - 1

# --- the rule


def read(
    stamps: list, targets: list, method: str, tolerance: int = FAR, values: list | None = None, **how: str
) -> list[tuple]:
    """(value, valid) at each target; a sample's value is its number unless given."""
    samples = torch.tensor(values if values is not None else list(range(len(stamps))), dtype=torch.float32)
    result, valid = ops.resample(
        samples.reshape(1, -1, 1), torch.tensor([stamps], dtype=torch.int64), torch.tensor([targets]),
        method=method, tolerance_ns=tolerance, **how,
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
        assert read((100, 200, 200, 200, 200, 300), [200], method, 0) == [(4, True)]

    def test_equal_stamps_before_the_last_are_never_read(self):
        assert read((100, 100, 200, 200), [150, 160], 'linear') == [(2, True), pytest.approx((2.2, True))]
        assert read((100, 100, 200, 200), [90, 199, 201], 'nearest') == [(1, True), (3, True), (3, True)]
        assert read((200, 200), [100, 300], 'previous', 50) == [(1, False), (1, False)], 'the one that is held'

    def test_unsorted_stamps_are_sorted_with_their_samples(self):
        shuffled = {'stamps': [300, 100, 200, 100], 'values': [3, 7, 2, 1], 'unsorted': 'sort'}
        assert read(targets=[100, 150, 300], method='linear', **shuffled) == [(1, True), (1.5, True), (3, True)]
        assert read(targets=[190, 310], method='nearest', **shuffled) == [(2, True), (3, True)]

    def test_stamps_that_descend_are_refused_by_name_and_nothing_is_written(self):
        out = torch.full((2, 1, 1), 7.0), torch.zeros(2, 1, dtype=torch.bool)
        stamps = torch.tensor([[1, 2, 2, 3], [5, 6, 4, 9]])
        with pytest.raises(ValueError, match=r'^stamps_ns\[1, 2\] = 4 follows 6: must be ascending'):
            ops.resample(
                torch.zeros(2, 4, 1), stamps, torch.zeros(2, 1).long(), method='linear', tolerance_ns=0, out=out
            )
        assert out[0].eq(7).all()
        streams = [(torch.zeros(2, 2, 1), torch.zeros(2, 2).long()), (torch.zeros(2, 4, 1), stamps)]
        with pytest.raises(ValueError, match=r'^streams\[1\] stamps_ns\[1, 2\] = 4 follows 6'):
            ops.fuse(streams, torch.zeros(2, 1).long(), method='linear', tolerance_ns=0)

    def test_a_long_row_that_descends_anywhere_is_refused(self):
        for at in (1, 2, 1023, 1024, 1025, 2047, 2048, 2999):
            stamps = torch.arange(3000)
            stamps[at] = stamps[at - 1] - 1
            with pytest.raises(ValueError, match=rf'stamps_ns\[0, {at}\]'):
                read(stamps.tolist(), [5], 'nearest')
            with pytest.raises(ValueError, match=rf'stamps_ns\[0, {at}\]'):
                ops.resample(
                    torch.zeros(1, 3000, 1), torch.stack([stamps, stamps], 1)[None, :, 0], torch.tensor([[5]]),
                    method='nearest', tolerance_ns=0,
                )  # fmt: skip

    @pytest.mark.parametrize('method', ['linear', 'nearest', 'previous'])
    def test_outside_zero(self, method):
        """Whatever is not valid: before, beyond the tolerance after, and in a gap."""
        expected = [(0, False), (0, False), (0, False), (7, True)]
        assert read((100, 1000), [50, 500, 1500, 100], method, 10, [7, 8], outside='zero') == expected

    def test_outside_extrapolate(self):
        """On the line through the two samples at the end, each of them within the tolerance."""
        line = {'method': 'linear', 'values': [10, 20, 40], 'outside': 'extrapolate'}
        assert read((100, 200, 300), [50, 350, 150], **line) == [(5, True), (50, True), (15, True)]
        assert read((100, 200, 300), [50, 350], tolerance=150, **line) == [(5, True), (50, True)]
        assert read((100, 200, 300), [50, 350], tolerance=149, **line) == [(10, False), (40, False)], 'held'
        assert read((100, 200, 300), [110], tolerance=50, **line) == [(10, False)], 'no extrapolation into a gap'

    def test_extrapolation_needs_two_stamps(self):
        line = {'method': 'linear', 'outside': 'extrapolate'}
        assert read((100,), [50, 100, 150], **line) == [(0, False), (0, True), (0, False)]
        assert read((100, 100), [50, 100, 150], **line) == [(1, False), (1, True), (1, False)]
        equal = {'values': [9, 10, 9, 20], **line}
        assert read((100, 100, 200, 200), [50, 250], **equal) == [(5, True), (25, True)], 'of equal stamps the last'
        assert read([], [50], **line) == [(0, False)]

    def test_extrapolation_at_the_ends_of_int64(self):
        line = {'method': 'linear', 'outside': 'extrapolate', 'values': [0, 1]}
        assert read((-FAR - 1, -FAR - 1), [5], **line) == [(1, False)]
        assert read((-FAR, -FAR + 4), [-FAR - 1], **line) == [(-0.25, True)]
        assert read((FAR - 5, FAR - 1), [FAR], **line) == [(1.25, True)]
        assert read((-FAR, 0), [FAR], **line) == [(1, False)], 'the other end is farther than any tolerance'

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


# --- refusals

VALUES, STAMPS, TARGETS = torch.zeros(2, 3, 4), torch.arange(6).view(2, 3), torch.zeros(2, 5, dtype=torch.int64)


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        ({'stamps_ns': STAMPS.flip(1)}, ValueError, r'stamps_ns\[0, 1\] = 1 follows 2: must be ascending'),
        ({'stamps_ns': STAMPS.double()}, TypeError, 'stamps_ns is torch.float64'),
        ({'stamps_ns': STAMPS[:, :2]}, ValueError, 'stamps_ns has shape'),
        ({'stamps_ns': STAMPS[0]}, ValueError, 'stamps_ns has shape'),
        (
            {'values': VALUES.double(), 'dtype': torch.float32},
            TypeError,
            'values are float64: must be given without dtype',
        ),
        ({'values': VALUES.long()}, TypeError, 'values is torch.int64'),
        ({'values': VALUES[0]}, ValueError, 'values has shape'),
        ({'values': VALUES[..., :3], 'method': 'slerp'}, ValueError, 'values has width 3: must be 4'),
        ({'values': VALUES.to('meta')}, ValueError, 'values is on meta'),
        ({'values': VALUES.to_sparse()}, ValueError, 'values has layout torch.sparse_coo'),
        ({'values': torch.complex(VALUES, VALUES).conj().imag}, ValueError, r'values has .* is_neg\(\) True'),
        ({'targets_ns': TARGETS.int()}, TypeError, 'targets_ns is torch.int32'),
        ({'targets_ns': TARGETS[:1]}, ValueError, 'targets_ns has batch size 1: must be 2'),
        ({'targets_ns': TARGETS[0]}, ValueError, 'targets_ns has shape'),
        ({'method': 'cubic'}, ValueError, "method = 'cubic'"),
        ({'tolerance_ns': -1}, ValueError, 'tolerance_ns = -1'),
        ({'tolerance_ns': 1 << 63}, ValueError, 'tolerance_ns'),
        ({'tolerance_ns': 1.0}, TypeError, 'tolerance_ns = 1.0: must be int'),
        ({'method': 3}, TypeError, 'method = 3: must be str'),
        ({'outside': 'clamp'}, ValueError, "outside = 'clamp': must be one of hold, zero, extrapolate for linear"),
        ({'outside': 'extrapolate', 'method': 'slerp'}, ValueError, 'must be one of hold, zero for slerp'),
        ({'outside': 'extrapolate', 'method': 'nearest'}, ValueError, 'must be one of hold, zero for nearest'),
        ({'outside': 'extrapolate', 'method': 'previous'}, ValueError, 'must be one of hold, zero for previous'),
        ({'unsorted': 'keep'}, ValueError, "unsorted = 'keep': must be one of refuse, sort, trust"),
        ({'dtype': torch.float64}, TypeError, 'dtype is torch.float64'),
        ({'dtype': torch.float16, 'out': (torch.empty(2, 5, 4), torch.empty(2, 5).bool())}, TypeError, 'values'),
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
        ({'tolerance_ns': [1, 2.0]}, TypeError, 'tolerance_ns has 2.0: must be int'),
        ({'outside': ['hold', 'clamp']}, ValueError, r"streams\[1\] outside = 'clamp'"),
        ({'out': (torch.empty(2, 5, 8), torch.empty(2, 5, 1, dtype=torch.bool))}, ValueError, 'valid'),
    ],
)
def test_fuse_arguments_that_are_not_allowed(arguments, error, message):
    given = {'streams': [(VALUES, STAMPS)] * 2, 'targets_ns': TARGETS, 'method': 'linear', 'tolerance_ns': 0}
    with pytest.raises(error, match=message):
        ops.fuse(**{**given, **arguments})
