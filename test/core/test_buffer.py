# SPDX-License-Identifier: Apache-2.0
"""The bounded, stamp-ordered buffer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robocache_core.buffer import StreamBuffer
from robocache_core.ledger import Account
from robocache_core.samples import VectorSample


def sample(stamp_ns, width=6):
    return VectorSample(stamp_ns, 'imu', torch.zeros(width))


def make(depth=100, max_bytes=1 << 20, span_ns=1000):
    account = Account()
    return StreamBuffer(account, depth=depth, max_bytes=max_bytes, span_ns=span_ns), account


def push(buffer, account, *stamps):
    for stamp in stamps:
        account.receive()
        buffer.push(sample(stamp))


def stamps(entries):
    return [entry.sample.stamp_ns for entry in entries]


def test_samples_come_in_the_order_of_their_stamps():
    buffer, account = make()
    push(buffer, account, 30, 10, 20)
    assert stamps(buffer) == [10, 20, 30]
    assert buffer.newest_ns == 30


def test_duplicate_stamp_is_dropped():
    buffer, account = make()
    push(buffer, account, 10, 10)
    assert account.counts().dropped == {'duplicate': 1}


def test_depth_bytes_and_span_bound_the_buffer():
    cases = (({'depth': 2}, 'buffer_full'), ({'max_bytes': 48}, 'buffer_full'), ({'span_ns': 10}, 'buffer_age'))
    for bound, reason in cases:
        buffer, account = make(**bound)
        push(buffer, account, 10, 20, 30)
        assert stamps(buffer) == [20, 30]
        assert account.counts().dropped == {reason: 1}


def test_one_sample_is_kept_however_large():
    buffer, account = make(max_bytes=1)
    push(buffer, account, 10)
    assert stamps(buffer) == [10]


def test_nearest_prefers_the_earlier_of_two_as_near():
    buffer, account = make()
    push(buffer, account, 10, 20)
    assert buffer.nearest(15).sample.stamp_ns == 10
    assert buffer.nearest(16).sample.stamp_ns == 20
    assert buffer.nearest(0).sample.stamp_ns == 10
    assert buffer.nearest(99).sample.stamp_ns == 20


def test_previous_never_looks_ahead_where_it_can():
    buffer, account = make()
    push(buffer, account, 10, 20)
    assert buffer.previous(20).sample.stamp_ns == 20
    assert buffer.previous(19).sample.stamp_ns == 10
    assert buffer.previous(5).sample.stamp_ns == 10


def test_window_has_the_neighbour_on_either_side():
    buffer, account = make()
    push(buffer, account, 10, 20, 30, 40, 50)
    assert stamps(buffer.window(25, 35)) == [20, 30, 40]
    assert stamps(buffer.window(20, 30)) == [20, 30]
    assert stamps(buffer.window(0, 99)) == [10, 20, 30, 40, 50]


def test_discarding_keeps_the_newest_sample_before():
    buffer, account = make()
    push(buffer, account, 10, 20, 30)
    buffer.discard_before(25)
    assert stamps(buffer) == [20, 30]
    assert account.counts().dropped == {'unselected': 1}
    push(buffer, account, 10)
    assert account.counts().dropped == {'unselected': 1, 'late': 1}


def test_empty_buffer_answers():
    buffer, _ = make()
    assert buffer.nearest(1) is None
    assert buffer.previous(1) is None
    assert buffer.at(1) is None
    assert buffer.window(0, 1) == ()


def test_a_used_sample_is_not_dropped_as_well():
    buffer, account = make()
    push(buffer, account, 10)
    entry = buffer.at(10)
    entry.hold()
    buffer.clear('time_jump')
    entry.use()
    entry.release('unselected')
    assert account.counts().used == 1
    assert account.counts().dropped == {}


@pytest.mark.parametrize('targets', [('missing:front',), ('unselected', 'missing:front'), ('missing:front', 'overrun')])
def test_the_reason_of_a_target_stands_whenever_the_buffer_lets_go(targets):
    for at in range(len(targets) + 1):
        buffer, account = make()
        push(buffer, account, 10)
        entry = buffer.at(10)
        for _ in targets:
            entry.hold()
        for number, reason in enumerate(targets):
            if number == at:
                buffer.clear('time_jump')
            entry.release(reason)
        if at == len(targets):
            buffer.clear('time_jump')
        assert account.counts().dropped == {'missing:front': 1}


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just('push'), st.integers(0, 300)),
            st.tuples(st.just('discard'), st.integers(0, 300)),
            st.tuples(st.just('clear'), st.just(0)),
        ),
        max_size=60,
    )
)
def test_ledger_adds_up_after_any_sequence(steps):
    buffer, account = make(depth=5, span_ns=150)
    for step, value in steps:
        if step == 'push':
            push(buffer, account, value)
        elif step == 'discard':
            buffer.discard_before(value)
        else:
            buffer.clear('time_jump')
        assert stamps(buffer) == sorted(set(stamps(buffer)))
        assert len(buffer) <= 5
        assert account.counts().held == len(buffer)
