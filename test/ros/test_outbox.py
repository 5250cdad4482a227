# SPDX-License-Identifier: Apache-2.0
"""Frames that wait to be published: in order, few of them, and none is lost."""

import threading
import time

import pytest
from support.runtime import LIDAR, cloud, make

from robocache_core.config import PipelineConfig
from robocache_ros import outbox
from robocache_ros.outbox import Outbox

GIVE_UP_S = 20.0


class Slow:
    """Publishes what it is given when it is let, and fails with the frames named."""

    def __init__(self, failing=()):
        self.published, self.failures, self.failing = [], 0, failing
        self.begun, self.go_on = threading.Semaphore(0), threading.Semaphore(0)
        self.outbox = Outbox(self.publish, self.fail)

    def publish(self, frame, began_ns):
        self.begun.release()
        assert self.go_on.acquire(timeout=GIVE_UP_S)
        if frame in self.failing:
            raise RuntimeError('planted')
        self.published.append((frame, began_ns, threading.current_thread().name))

    def fail(self):
        self.failures += 1


def put_aside(slow, *frames):
    """Puts frames on a thread; returns it."""
    thread = threading.Thread(target=lambda: [slow.outbox.put(frame, 10 * frame) for frame in frames])
    thread.start()
    return thread


def test_frames_are_published_in_order_on_a_thread_beside():
    slow = Slow()
    slow.outbox.start()
    putting = put_aside(slow, 1, 2, 3, 4)
    slow.go_on.release(4)
    putting.join(GIVE_UP_S)
    slow.outbox.stop()
    assert slow.published == [(n, 10 * n, 'robocache-publisher') for n in (1, 2, 3, 4)]


def test_the_next_frame_waits_and_the_one_after_it_holds_back_who_puts_it():
    slow = Slow()
    slow.outbox.start()
    slow.outbox.put(1, 0)
    assert slow.begun.acquire(timeout=GIVE_UP_S)
    slow.outbox.put(2, 0)  # returns: it waits while 1 is being published
    putting = put_aside(slow, 3)
    putting.join(0.05)
    assert putting.is_alive()
    slow.go_on.release(3)
    putting.join(GIVE_UP_S)
    slow.outbox.stop()
    assert [frame for frame, *_ in slow.published] == [1, 2, 3]


def test_what_waits_is_published_before_it_stops():
    slow = Slow()
    slow.outbox.start()
    slow.outbox.put(1, 0)
    assert slow.begun.acquire(timeout=GIVE_UP_S)
    slow.outbox.put(2, 0)
    slow.go_on.release(2)
    slow.outbox.stop()
    assert [frame for frame, *_ in slow.published] == [1, 2]
    assert not [thread for thread in threading.enumerate() if thread.name == 'robocache-publisher']


def test_a_frame_that_cannot_be_published_is_reported_and_the_next_one_is():
    slow = Slow(failing=(1,))
    slow.outbox.start()
    slow.go_on.release(2)
    put_aside(slow, 1, 2).join(GIVE_UP_S)
    slow.outbox.stop()
    assert ([frame for frame, *_ in slow.published], slow.failures) == ([2], 1)


@pytest.mark.parametrize('num_waiting', [1, 2])
def test_a_publication_that_does_not_end_is_named(monkeypatch, num_waiting):
    monkeypatch.setattr(outbox, 'STOP_S', 0.05)
    slow = Slow()
    slow.outbox.start()
    for number in range(num_waiting):
        slow.outbox.put(number, 0)
        assert number or slow.begun.acquire(timeout=GIVE_UP_S)
    with pytest.raises(TimeoutError, match=r'still being published after 0\.05 s'):
        slow.outbox.stop()
    slow.go_on.release(num_waiting)


def test_without_a_thread_a_frame_is_published_as_it_is_put():
    slow = Slow()
    slow.go_on.release()
    slow.outbox.put(1, 0)
    assert slow.published == [(1, 0, threading.current_thread().name)]


def test_the_worker_computes_while_a_frame_is_being_published():
    bench = make(PipelineConfig(lidars=(LIDAR,)))
    published, go_on = threading.Semaphore(0), threading.Event()
    worker = bench.runtime.worker

    def publish(frame, began_ns):
        published.release()
        assert go_on.wait(GIVE_UP_S)
        bench.frames.append(frame)

    worker._publish = publish
    worker.start()
    for number in range(2):
        bench.put('lidar', cloud(number * 100))
    assert published.acquire(timeout=GIVE_UP_S)
    give_up = time.monotonic() + GIVE_UP_S
    while bench.runtime.pipeline.targets.counts().used < 2:
        assert time.monotonic() < give_up, 'the second frame is not computed'
        time.sleep(0.001)
    assert bench.frames == []
    go_on.set()
    worker.stop()
    assert [frame.sequence for frame in bench.frames] == [0, 1]
