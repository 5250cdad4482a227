# SPDX-License-Identifier: Apache-2.0
"""Bounded inboxes: what gives way, and that it is counted."""

import threading

import pytest
from support.runtime import SetClock

from robocache_core.config import QueueConfig
from robocache_core.ledger import Account
from robocache_core.units import SECOND
from robocache_ros.inbox import Arrival, Inbox, Inboxes


def arrival(order, nbytes=10, arrived_ns=0):
    return Arrival(f'message {order}', nbytes, arrived_ns, order)


def orders(dropped):
    return [(item.order, reason) for item, reason in dropped]


def test_drop_oldest():
    inbox = Inbox(QueueConfig(depth=2))
    assert inbox.put(arrival(0)) == inbox.put(arrival(1)) == []
    assert orders(inbox.put(arrival(2))) == [(0, 'inbox_full')]
    assert inbox.take(0)[0].order == 1


def test_drop_newest():
    inbox = Inbox(QueueConfig(depth=1, policy='drop_newest'))
    inbox.put(arrival(0))
    assert orders(inbox.put(arrival(1))) == [(1, 'inbox_full')]
    assert inbox.take(0)[0].order == 0


def test_latest():
    inbox = Inbox(QueueConfig(policy='latest'))
    inbox.put(arrival(0))
    assert orders(inbox.put(arrival(1))) == [(0, 'superseded')]
    assert len(inbox) == 1


def test_bytes_bound_the_inbox_but_one_message_always_fits():
    inbox = Inbox(QueueConfig(max_bytes=25))
    for i in range(3):
        dropped = inbox.put(arrival(i))
    assert orders(dropped) == [(0, 'inbox_full')]
    assert inbox.nbytes == 20
    assert orders(inbox.put(arrival(3, nbytes=1000))) == [(1, 'inbox_full'), (2, 'inbox_full')]
    assert len(inbox) == 1


def test_age_bounds_the_inbox():
    inbox = Inbox(QueueConfig(max_age_ns=SECOND))
    inbox.put(arrival(0, arrived_ns=0))
    inbox.put(arrival(1, arrived_ns=SECOND))
    taken, dropped = inbox.take(SECOND + 1)
    assert taken.order == 1
    assert orders(dropped) == [(0, 'inbox_age')]


@pytest.fixture
def accounts():
    return {'a': Account(), 'b': Account()}


def make(accounts, clock=None, **queue):
    inboxes = Inboxes(
        {name: QueueConfig(**queue) for name in accounts},
        lambda name: accounts[name].receive(),
        lambda name, reason: accounts[name].drop(reason),
        clock or SetClock(),
    )
    inboxes.open()
    return inboxes


def test_messages_come_out_in_the_order_of_arrival_over_all_streams(accounts):
    inboxes = make(accounts)
    for i, name in enumerate('abba'):
        inboxes.put(name, i, 1)
    assert [inboxes.take(0)[1].message for _ in range(4)] == [0, 1, 2, 3]
    assert inboxes.take(0.0) is None


def test_everything_is_counted(accounts):
    inboxes = make(accounts, depth=3)
    for i in range(10):
        inboxes.put('a', i, 1)
    assert accounts['a'].counts().dropped == {'inbox_full': 7}
    assert accounts['a'].counts().held == len(inboxes) == 3
    inboxes.close('deactivated')
    assert accounts['a'].counts().dropped == {'inbox_full': 7, 'deactivated': 3}
    inboxes.put('a', 11, 1)
    assert accounts['a'].counts().received == 10


@pytest.fixture
def blocked(monkeypatch):
    """Set once a ``put`` has found no room; it keeps the lock until it waits."""
    event, has_room = threading.Event(), Inbox.has_room

    def look(inbox, nbytes):
        room = has_room(inbox, nbytes)
        if not room:
            event.set()
        return room

    monkeypatch.setattr(Inbox, 'has_room', look)
    return event


def test_block_waits_for_room(accounts, blocked):
    inboxes = make(accounts, depth=1, policy='block')
    inboxes.put('a', 0, 1)
    second = threading.Thread(target=inboxes.put, args=('a', 1, 1))
    second.start()
    assert blocked.wait(5)
    assert inboxes.take(5.0)[1].message == 0
    assert inboxes.take(5.0)[1].message == 1
    second.join(5)
    assert not second.is_alive()
    assert accounts['a'].counts().dropped == {}


def test_close_frees_a_put_that_is_blocked(accounts, blocked):
    inboxes = make(accounts, depth=1, policy='block')
    inboxes.put('a', 0, 1)
    second = threading.Thread(target=inboxes.put, args=('a', 1, 1))
    second.start()
    assert blocked.wait(5)
    inboxes.close('deactivated')
    second.join(5)
    assert not second.is_alive()
    counts = accounts['a'].counts()
    assert counts.received == 1
    assert counts.dropped == {'deactivated': 1}


def test_events_keep_their_place_among_the_messages(accounts):
    inboxes = make(accounts)
    inboxes.put('a', 0, 1)
    inboxes.put_event(lambda: 'event')
    inboxes.put('a', 1, 1)
    assert inboxes.take(0.0)[1].message == 0
    assert inboxes.take(0.0)() == 'event'
    assert inboxes.take(0.0)[1].message == 1
    inboxes.put_event(lambda: 'last')
    assert inboxes.take(0.0)() == 'last'


def test_block_keeps_what_is_old(accounts):
    clock = SetClock()
    inboxes = make(accounts, clock, policy='block', max_age_ns=0)
    inboxes.put('a', 0, 1)
    clock.advance(10.0)
    assert inboxes.take(0.0)[1].message == 0


def test_many_threads_lose_nothing(accounts):
    inboxes = make(accounts, depth=10)
    threads = [threading.Thread(target=lambda n=name: [inboxes.put(n, i, 1) for i in range(500)]) for name in 'aabb']
    for thread in threads:
        thread.start()
    taken = 0
    while any(thread.is_alive() for thread in threads) or len(inboxes):
        taken += inboxes.take(0.01) is not None
    counts = [account.counts() for account in accounts.values()]
    assert sum(c.received for c in counts) == 2000
    assert sum(c.dropped.get('inbox_full', 0) for c in counts) + taken == 2000
