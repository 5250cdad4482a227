# SPDX-License-Identifier: Apache-2.0
"""Vectors: which numbers a configuration asks for, and the signs of quaternions in a window."""

import math

import numpy as np
import pytest
import torch

from robocache_core import MessageVectorConfig, Pipeline, PipelineConfig, SyncConfig, VectorSample, ops
from robocache_core.field_paths import parse_path
from robocache_core.streams.message_vector import PRESETS
from robocache_core.tunable import ConfigError

POSE = 'geometry_msgs/msg/PoseStamped'


def of(*fields, **settings):
    return MessageVectorConfig('state', message='x_msgs/msg/Thing', fields=fields, **settings)


def path_of(prefix, axes):
    return [f'{prefix}.{axis}' for axis in axes]


@pytest.mark.parametrize(
    ('text', 'steps', 'columns'),
    [
        ('a', ('a',), ('a',)),
        ('pose.pose.position.x', ('pose', 'pose', 'position', 'x'), ('pose.pose.position.x',)),
        ('axes[3]', ('axes', 3), ('axes[3]',)),
        ('a[1][2].b_2', ('a', 1, 2, 'b_2'), ('a[1][2].b_2',)),
        ('data[:2]', ('data',), ('data[0]', 'data[1]')),
        ('p[0].data[:1]', ('p', 0, 'data'), ('p[0].data[0]',)),
    ],
)
def test_a_path(text, steps, columns):
    path = parse_path(text)
    assert (path.steps, path.columns) == (steps, columns)


@pytest.mark.parametrize(
    'text',
    ['', '.', 'a.', '.a', 'a..b', 'a b', '_a', '1a', 'a[]', 'a[-1]', 'a[:0]', 'a[:2].b', 'a[1', 'ä', 'a[1:2]', 'a\n'],
)
def test_what_is_no_path(text):
    assert parse_path(text) is None
    with pytest.raises(ConfigError, match=r'state\.fields has'):
        of(text)


@pytest.mark.parametrize(
    ('fields', 'widths', 'methods'),
    [
        (['a', 'b'], (2,), ('linear',)),
        (path_of('q', 'xyzw'), (4,), ('slerp',)),
        (['a', *path_of('q', 'xyzw'), 'b', 'c'], (1, 4, 2), ('linear', 'slerp', 'linear')),
        ([*path_of('p', 'xyzw'), *path_of('q', 'xyzw')], (4, 4), ('slerp', 'slerp')),
        (path_of('v', 'xyz'), (3,), ('linear',)),
        ([*path_of('v', 'xyz'), 'q.w'], (4,), ('linear',)),
        (path_of('q', 'wxyz'), (4,), ('linear',)),
    ],
)
def test_quaternions_are_found_among_the_columns(fields, widths, methods):
    assert (of(*fields).widths, of(*fields).methods) == (widths, methods)
    assert of(*fields, interpolation='previous').methods == ('previous',) * len(widths)


@pytest.mark.parametrize('message', PRESETS)
def test_what_is_known_of_a_type(message):
    preset = PRESETS[message]
    config = MessageVectorConfig('state', message=message, joints=('a',) if message.endswith('JointState') else ())
    assert config.stamped_by_arrival != preset.has_header
    assert (len(config.columns) > 0) == (len(preset.fields) > 0)
    assert len(config.columns) == sum(config.widths)
    assert not MessageVectorConfig('state', message=message, stamp='header').stamped_by_arrival


@pytest.mark.parametrize(('dtype', 'found'), [('auto', torch.float32), ('float64', torch.float64)])
def test_a_type_of_ones_own_is_float32_unless_it_is_said(dtype, found):
    assert of('a', dtype=dtype).values_dtype == found


# ---- rows -----------------------------------------------------------------------------------------------------------

MS, PERIOD_MS = 10**6, 10


def window(quaternions, interpolation='linear'):
    """The rows of a window that has each of some quaternions, 10 ms apart, at an instant."""
    config = MessageVectorConfig(
        'state', message=POSE, fields=tuple(path_of('pose.orientation', 'xyzw')), interpolation=interpolation,
        window_size=len(quaternions), window_period_ns=PERIOD_MS * MS,
    )  # fmt: skip
    pipeline = Pipeline(PipelineConfig(vectors=(config,), sync=SyncConfig(rate_hz=1000 / PERIOD_MS)))
    for i, quaternion in enumerate(quaternions):
        pipeline.receive('state')
        values = torch.tensor(quaternion, dtype=torch.float32)
        pipeline.push('state', VectorSample((1000 + i * PERIOD_MS) * MS, '', values))
    pipeline.give_up()
    return pipeline.poll()[-1].tensors['state'].cpu().numpy()


def turn(degrees, sign=1):
    half = math.radians(degrees) / 2
    return [0.0, 0.0, sign * math.sin(half), sign * math.cos(half)]


@pytest.mark.parametrize('interpolation', ['linear', 'nearest', 'previous'])
@pytest.mark.parametrize('signs', [(1, 1, 1, 1), (-1, 1, -1, 1), (-1, -1, -1, -1), (1, 1, 1, -1)])
@pytest.mark.parametrize('first', [0, 150, 300, 400])
def test_rows_are_those_of_the_rotations_whatever_the_signs(signs, first, interpolation):
    """Each is near the next, and w of the last is not negative."""
    angles = [first + 30 * i for i in range(4)]
    expected = window([turn(angle) for angle in angles], interpolation)
    rows = window([turn(angle, sign) for angle, sign in zip(angles, signs, strict=True)], interpolation)
    assert rows.tobytes() == expected.tobytes(), 'one rotation has one quaternion, to the bit'
    assert (np.einsum('ij,ij->i', rows[1:], rows[:-1]) > 0).all()
    assert rows[-1, 3] >= 0


@pytest.mark.parametrize(
    ('quaternion', 'row'),
    [([0, 0, 0, -1], [0, 0, 0, 1]), ([-1, 0, 0, 0], [1, 0, 0, 0]), ([0, 0, -1, 0], [0, 0, 1, 0])],
)
def test_the_last_row_has_a_sign_of_its_own_where_w_is_0(quaternion, row):
    (found,) = window([quaternion])
    assert found.tobytes() == np.array(row, np.float32).tobytes(), 'without -0'


def test_without_a_message_rows_are_zeros():
    config = MessageVectorConfig('state', message='sensor_msgs/msg/NavSatFix', required=False, window_size=2)
    other = MessageVectorConfig('other', message=POSE)
    pipeline = Pipeline(PipelineConfig(vectors=(config, other), sync=SyncConfig(rate_hz=10.0)))
    for ms in range(0, 1000, 50):
        pipeline.receive('other')
        pipeline.push('other', VectorSample((1000 + ms) * MS, '', torch.tensor([0.0] * 6 + [1.0])))
    pipeline.give_up()
    frames = pipeline.poll()
    assert len(frames) >= 3
    for frame in frames:
        assert frame.tensors['state'].dtype == torch.float64
        assert frame.tensors['state'].tolist() == [[0.0] * 3] * 2
        assert frame.tensors['state.valid'].tolist() == [False, False]
        assert frame.columns['state'] == ('latitude', 'longitude', 'altitude')


# ---- float64 --------------------------------------------------------------------------------------------------------


def test_float64_is_mixed_in_float64():
    """From NumPy's own interpolation; alpha is a float32."""
    rng = np.random.default_rng(0)
    stamps = np.cumsum(rng.integers(1, 10**8, 50))
    values = 48 + rng.uniform(-1e-3, 1e-3, (50, 3))
    targets = np.sort(rng.integers(stamps[0], stamps[-1], 200))
    found, valid = ops.resample(
        torch.from_numpy(values)[None], torch.from_numpy(stamps)[None], torch.from_numpy(targets)[None],
        method='linear', tolerance_ns=10**9,
    )  # fmt: skip
    expected = np.stack([np.interp(targets, stamps, column) for column in values.T], axis=1)
    assert found.dtype == torch.float64
    assert valid.all()
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=0, atol=3e-10 * 2)
    for method in ('nearest', 'previous', 'linear'):
        held, _ = ops.resample(
            torch.from_numpy(values)[None], torch.from_numpy(stamps)[None], torch.from_numpy(stamps)[None],
            method=method, tolerance_ns=0,
        )  # fmt: skip
        assert held[0].numpy().tobytes() == values.tobytes()


def test_float64_and_others_are_not_mixed():
    stamps = torch.zeros(1, 1, dtype=torch.int64)
    double, single = torch.zeros(1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1)
    with pytest.raises(TypeError, match='without dtype'):
        ops.fuse([(single, stamps), (double, stamps)], stamps, method='linear', tolerance_ns=0)
    with pytest.raises(TypeError, match=r'streams\[1\] values are float64: must be given without dtype'):
        ops.fuse(
            [(single, stamps), (double, stamps)], stamps, method='linear', tolerance_ns=0, dtype=torch.float32
        )  # fmt: skip


@pytest.mark.parametrize(
    'values', [torch.ones(1), torch.ones(3), torch.ones(2, 1), torch.ones(2, dtype=torch.float64)], ids=repr
)
def test_a_reading_that_is_not_of_its_stream_is_refused(values):
    """Neither spread over a row nor cast; those around it give what they would without it."""
    config = PipelineConfig(vectors=(of('a', 'b'),), sync=SyncConfig(trigger='state'))
    with_it, without_it = Pipeline(config), Pipeline(config)
    for pipeline in (with_it, without_it):
        for number in range(4):
            pipeline.receive('state')
            pipeline.push('state', VectorSample(number * 10**8, 'state', torch.full((2,), float(number))))
            if pipeline is with_it and number == 1:
                pipeline.receive('state')
                with pytest.raises(ValueError, match=r'state: values .* must be \[2\] torch.float32'):
                    pipeline.push('state', VectorSample(150_000_000, 'state', values))
    found, expected = with_it.poll(), without_it.poll()
    assert len(found) >= 3
    rows, expected_rows = ([frame.tensors['state'].tolist() for frame in frames] for frames in (found, expected))
    assert rows == expected_rows
    assert with_it.ledger['state'].counts().dropped == {'internal_error': 1}
